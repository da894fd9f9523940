"""Rivals since mid-2025: delays, survival, proposals, matching, and what lossy acceptance costs."""

import sympy as sp

from derivations.rules import (
    Coefficients,
    Combine,
    Evaluate,
    Numeric,
    Orderings,
    Solve,
    SumOver,
    pairs,
)
from derivations.series import geometric
from derivations.statement import Builder, Proof, Statement, at, eq, le, lt, rounds_to
from derivations.truncation import quantisation_tv_bound
from derivations.verification import DISTRIBUTIONS, distance, total_variation
from derivations.vocabulary import Y, over, pos, size, summing, token, total, x, y

alpha, draft, verify = sp.symbols("alpha c_d c_v", positive=True)
delay = sp.Symbol("d", real=True)
count = sp.Symbol("k", positive=True)

STOP = "SpecStop, arXiv:2606.20591"
ASYM = "AsymSpec, arXiv:2608.04974"
MILLI = {draft: 1, verify: sp.Rational(1, 2)}


def delay_ratio() -> Statement:
    """Show that rounds over a link with a delay are speculative decoding at another ratio."""
    ratio, round_ms, power, tokens = sp.symbols("L D A B", positive=True)
    powers = (1 - alpha ** (count + 1)) / (1 - alpha)
    latency = (count * (draft + verify) + 2 * delay + verify) / powers
    edge = alpha**2 * (2 * delay + draft + 2 * verify) - (draft + verify) * (1 + alpha)
    critical = (draft + verify) * (1 + alpha) / (2 * alpha**2) - (draft + 2 * verify) / 2
    proof = Proof()
    ratio_is = proof.assume(eq(ratio, (draft + verify) / (2 * delay + verify)))
    same = proof.step(
        "Take the time of a round without drafts out of the round: what is left is that of SD at L.",
        eq(latency, (2 * delay + verify) / (powers / (count * ratio + 1))),
        Evaluate(),
        ratio_is,
    )
    affine = proof.step(
        "At fixed k the latency is affine in d, so only the mean of a random delay matters.",
        eq(sp.Derivative(latency, (delay, 2)), 0),
        Evaluate(),
    )
    more = proof.step(
        "One more draft, which adds A = alpha^(k+1) tokens to B, makes a token slower where c B > A D, D "
        "the round: the printed rule C(k, d) <= (c_d + c_v)/alpha^(k+1).",
        eq(
            ((round_ms + draft + verify) / (tokens + power) - round_ms / tokens) * tokens * (tokens + power),
            (draft + verify) * tokens - power * round_ms,
        ),
        Evaluate(),
    )
    single = [
        proof.assume(eq(symbol, value))
        for symbol, value in (
            (round_ms, draft + verify + 2 * delay + verify),
            (tokens, 1 + alpha),
            (power, alpha**2),
        )
    ]
    gain = proof.step(
        "From one draft to two B = 1 + alpha and A = alpha^2: a second one pays where this is positive.",
        eq(power * round_ms - (draft + verify) * tokens, edge),
        Evaluate(),
        *single,
    )
    rises = proof.step("It rises with the delay", lt(0, sp.Derivative(edge, delay)), Evaluate())
    zero = proof.assume(eq(edge, 0))
    claim = proof.step("and is 0 at", eq(delay, critical), Solve(delay), zero)
    printed = [
        proof.step(
            f"alpha = {a}: printed d_c = {shown} ms.",
            rounds_to(at(critical, {**MILLI, alpha: sp.Rational(a)}), shown),
            Numeric(),
        )
        for a, shown in (
            ("0.5", "3.5"),
            ("0.6", "2.333"),
            ("0.7", "1.602"),
            ("0.8", "1.109"),
            ("0.9", "0.759"),
        )
    ]
    printed += [
        proof.step(
            f"alpha = {a}, d = {d} ms, k = {k}: printed C = {shown} ms.",
            rounds_to(at(latency, {**MILLI, alpha: sp.Rational(a), delay: d, count: k}), shown),
            Numeric(),
        )
        for a, d, k, shown in (("0.7", 5, 3, "5.922"), ("0.7", 100, 10, "65.954"), ("0.9", 100, 26, "25.429"))
    ]
    return Statement(
        name="rivals.delay_ratio",
        title="Drafts over a link with a delay",
        source=STOP,
        status="printed",
        functions=("rivals.delay_ratio", "rivals.delayed_latency_s", "rivals.critical_delay_s"),
        tests=(
            "test_latency_and_best_count_over_a_delay_are_the_derived_ones",
            "test_no_count_is_faster_over_a_delay_than_the_best",
        ),
        assumptions=(
            "A round makes k drafts of c_d, verifies k + 1 tokens of c_v and waits the delay d twice; a "
            "draft is kept with chance alpha, i.i.d.; L > 0.",
        ),
        assumed=proof.assumed,
        claims=(same, affine, more, gain, rises, claim, *printed),
        steps=proof.steps,
    )


def state_value() -> Statement:
    """Show that knowing the state of the network never costs."""
    weight, best, now = sp.symbols("w C d", nonnegative=True)
    busy, tokens, mean = sp.symbols("a B dbar", positive=True)
    W, C, D = sp.IndexedBase("w"), sp.IndexedBase("C"), sp.IndexedBase("d")
    proof = Proof()
    unit, mean_is = proof.assume(eq(total(W[token]), 1)), proof.assume(eq(total(W[token] * D[token]), mean))
    least = proof.assume(le(best, (busy + 2 * now) / tokens))
    weighed = proof.step(
        "In each state its own count is at least as fast as the one for the mean.",
        le(weight * best, weight * (busy + 2 * now) / tokens),
        Combine((weight,)),
        least,
    )
    claim = proof.step(
        "On average over the states: the other side is affine, so it is what the mean delay takes.",
        le(total(W[token] * C[token]), (busy + 2 * mean) / tokens),
        SumOver(token, size, pairs((weight, best, now), (W[token], C[token], D[token]))),
        weighed,
        unit,
        mean_is,
    )
    return Statement(
        name="rivals.state_value",
        title="Value of knowing the delay",
        source=STOP,
        status="printed",
        functions=("rivals.state_value_s",),
        tests=(
            "test_the_value_of_the_state_is_what_the_affine_latency_leaves",
            "test_knowing_the_state_never_costs",
        ),
        assumptions=(
            "V states of chance w and delay d; C is the least latency in a state, over all counts; the "
            "count that is best for the mean delay dbar takes a = k (c_d + c_v) + c_v without delays and "
            "commits B tokens.",
        ),
        assumed=proof.assumed,
        claims=(claim,),
        steps=proof.steps,
    )


def dense_lattice() -> Statement:
    """Bound what a lattice over the whole vocabulary costs, and count its bits."""
    levels, vocab, bits = sp.symbols("ell V b", integer=True, positive=True)
    near, far, tail, acceptance = sp.symbols("T_l T_k t A", positive=True)
    proof = Proof()
    lemma = quantisation_tv_bound()
    rounding = lemma.claims[-1]
    entries = next(one for one in rounding.rhs.free_symbols if one.name == "n")
    lattice, price = next(one for one in rounding.rhs.free_symbols if one.name == "ell"), rounding.lhs
    nearest = proof.assume(le(near, far))
    triangle = proof.assume(le(far, tail + price))
    lossless = proof.assume(le(1 - distance - near, acceptance))
    bound = proof.step(
        "Round what is left without the tail: a lattice point too, so the nearest one is no farther,",
        le(near, tail + entries / (4 * lattice)),
        Combine(),
        nearest,
        triangle,
        rounding,
    )
    claim = proof.step(
        "and the acceptance loses no more than that, whichever n is best.",
        le(1 - distance - tail - entries / (4 * lattice), acceptance),
        Combine(),
        lossless,
        bound,
    )
    points = sp.binomial(levels + vocab - 1, levels)
    counted = []
    for level, wide in ((4, 58), (24, 296)):
        value = at(points, {levels: level, vocab: 50272})
        counted += [
            proof.step(
                f"V = 50272 and ell = {level}: {wide} bits hold it,",
                le(value, at(2**bits, {bits: wide})),
                Numeric(),
            ),
            proof.step("one less does not.", lt(at(2**bits, {bits: wide - 1}), value), Numeric()),
        ]
    return Statement(
        name="rivals.dense_lattice",
        title="A lattice over the whole vocabulary",
        source="QS, arXiv:2507.00605, the bits; the bound on the acceptance is new",
        status="new",
        functions=("schemes.payload.DenseLattice",),
        tests=(
            "test_the_dense_lattice_costs_no_more_than_derived",
            "test_the_printed_bits_of_the_dense_lattice",
        ),
        assumptions=(
            "x is replaced by the nearest lattice point, at TV distance T_l; T_k is the distance of the "
            "point that keeps the n largest entries, drops the tail of mass t (at distance t) and rounds "
            "(lemma), by the triangle inequality. A is 1 - TV(point, y), T = TV(x, y).",
        ),
        assumed=proof.assumed,
        lemmas=(lemma,),
        claims=(bound, claim, *counted),
        steps=proof.steps,
    )


def one_proposal_a_token() -> Statement:
    """Derive that recovery by proposals takes one proposal a verified token, for every pair."""
    lemma = total_variation()
    _, llm_side, _ = lemma.claims
    takes = pos(1 - x / y)
    refuses = sp.Symbol("r", positive=True)
    series = geometric(refuses, "Proposal n is made with chance r^(n-1), if those before it were refused.")
    index, most = sp.symbols("n M", integer=True, positive=True)
    free = sp.Symbol("T", positive=True)
    proof = Proof()
    refuses_is = proof.assume(eq(distance, 1 - refuses))
    one = proof.step("A proposal z ~ y is taken with", eq(y * takes, pos(y - x)), Orderings((x, y)))
    chance = proof.step("so in all with chance T,", eq(over(y * takes), distance), summing(), one, llm_side)
    law = proof.step(
        "and what is taken has the law of the residual.",
        eq(y * takes / distance, pos(y - x) / distance),
        Combine((1 / distance,)),
        one,
    )
    for line in series.steps:
        proof.step(line.text, line.claim, line.rule, *line.uses)
    claim = proof.step(
        "A draft is rejected with the same chance T: one proposal a verified token, whatever the pair.",
        eq(distance * series.total, 1),
        Combine((series.total, 1)),
        refuses_is,
        series.value,
    )
    capped = proof.step(
        "With at most M of them,",
        eq((1 - refuses) * sp.Sum(refuses ** (index - 1), (index, 1, most)), 1 - refuses**most),
        Evaluate(),
    )
    falls = free * (1 - free) ** most
    peak = proof.step(
        "and with T (1 - T)^M none is taken: at most where T = 1/(M + 1).",
        eq(sp.Derivative(falls, free), (1 - free) ** most * (1 - most * free / (1 - free))),
        Evaluate(),
    )
    return Statement(
        name="rivals.one_proposal_a_token",
        title="One proposal a verified token",
        source=f"{ASYM}; the mean is new",
        status="new",
        functions=("rivals.proposals_per_token", "rivals.fall_back_probability"),
        tests=(
            "test_one_proposal_a_token_whatever_the_pair",
            "test_the_protocol_of_proposals_run_with_dice",
        ),
        assumptions=(
            "The draft is rejected with chance T = TV(x, y), 0 < T < 1 "
            "(verification.rejection_probability); then the server sends z ~ y with y_z until the device "
            "takes one, with (1 - x_z/y_z)_+; r = 1 - T.",
        ),
        assumed=(*proof.assumed, series.below_one),
        lemmas=(lemma,),
        claims=(chance, law, claim, capped, peak),
        steps=proof.steps,
    )


def truncated_residual() -> Statement:
    """Bound what the device loses when only the largest entries of y come down."""
    known, outside, tail = sp.symbols("K O t", positive=True)
    proof = Proof()
    least = proof.assume(le(outside, tail))
    entry = proof.step(
        "An entry that is not sent misses at most itself.", le(pos(y - x), y), Orderings((x, y))
    )
    inside = proof.step(
        "The entries that are sent have excesses that sum to K, and are drawn more often by, in all,",
        eq(known * (1 / known - 1 / (known + outside)), outside / (known + outside)),
        Evaluate(),
    )
    claim = proof.step(
        "which is the distance; the device knows K and t.",
        le(outside / (known + outside), tail / (known + tail)),
        Coefficients(),
        least,
    )
    bias = proof.step(
        "Times the chance of a rejection, K + O, it is the bias of the token: at most t.",
        le((known + outside) * (outside / (known + outside)), tail),
        Coefficients(),
        least,
    )
    return Statement(
        name="rivals.truncated_residual",
        title="A residual from the largest entries, with a certificate",
        source=f"{ASYM}; the form of the certificate is new",
        status="new",
        functions=("rivals.truncated_residual", "rivals.residual_certificate"),
        tests=(
            "test_the_certificate_of_a_truncated_residual_is_derived",
            "test_the_bias_of_a_truncated_residual_is_within_its_certificate",
        ),
        assumptions=(
            "The K-part is the sum of (y - x)_+ over the entries that come down, O the sum over the others, "
            "t the mass of y there, so O <= t (first line, summed); T = K + O is the chance of a rejection.",
        ),
        assumed=proof.assumed,
        claims=(entry, inside, claim, bias),
        steps=proof.steps,
    )


def matching() -> Statement:
    """Compare a server that draws and matches with one that verifies."""
    lemma = total_variation()
    _, _, common = lemma.claims
    proof = Proof()
    unit, whole = proof.assume(le(x, 1)), proof.assume(le(y, 1))
    certain = proof.step(
        "A server that knows only the token takes its law for a sure one, x = 1, and keeps it with y_d.",
        eq(sp.Min(1, y / 1), y),
        Coefficients(),
        whole,
    )
    fewer = proof.step(
        "That is no more than verification keeps of the token's mass,",
        le(x * y, sp.Min(x, y)),
        Coefficients(),
        unit,
        whole,
    )
    claim = proof.step(
        "nor in the mean over drafts.", le(over(x * y), 1 - distance), summing(), fewer, common
    )
    return Statement(
        name="rivals.matching",
        title="A server that draws and matches",
        source="SpecEdge, arXiv:2505.17052; AceSpec, arXiv:2609.02514; the comparison is new",
        status="new",
        functions=("schemes.payload.IndexAlone",),
        tests=(
            "test_matching_keeps_what_is_derived_and_never_more_than_verification",
            "test_protocols_of_several_drafts_are_exact_on_a_chain",
        ),
        assumptions=(
            "The device sends tokens alone. The server draws z ~ y at every place, keeps the draft if z = "
            "d, and else puts out z: the law is y. T = TV(x, y).",
            "Drafts may be the likeliest token too, which is the least uncertain one "
            "(uncertainty.likeliest), the first recorded candidate.",
        ),
        assumed=proof.assumed,
        lemmas=(lemma,),
        claims=(certain, claim),
        steps=proof.steps,
    )


def lossy_acceptance() -> Statement:
    """Show that no rule accepts more than its bias pays for, and which rules reach that."""
    lemma = total_variation()
    _, _, common = lemma.claims
    kept, extra = sp.symbols("m e", nonnegative=True)
    bias, accepted = sp.symbols("b A", nonnegative=True)
    M = sp.IndexedBase("m")
    strict_share = sp.Min(1, y / x)
    proof = Proof()
    within, part = proof.assume(le(kept, x)), proof.assume(le(extra, 1))
    bias_is = proof.assume(eq(total(pos(M[token] - Y[token])), bias))
    accepted_is = proof.assume(eq(total(M[token]), accepted))
    line = proof.step(
        "What is kept of a token is within what both models share, or beyond the LLM's mass.",
        le(kept, sp.Min(x, y) + pos(kept - y)),
        Orderings((kept, x, y)),
        within,
    )
    claim = proof.step(
        "Sum over the vocabulary: acceptance above that of verification is paid for in bias, one for one.",
        le(accepted, 1 - distance + bias),
        summing((kept, M[token])),
        line,
        common,
        bias_is,
        accepted_is,
    )
    more = strict_share + extra * (1 - strict_share)
    tight = proof.step(
        "A rule that keeps all that verification keeps, and more, wastes nothing.",
        eq(x * more, sp.Min(x, y) + pos(x * more - y)),
        Orderings((x, y)),
        part,
    )
    level, lowered = sp.symbols("lambda z", positive=True)
    lower, lowered_is = proof.assume(le(lowered, x)), proof.assume(eq(x, lowered / level))
    keeps = proof.step(
        "Lenience, min(1, y/z) with z = lambda x, is such a rule: it keeps",
        le(sp.Min(x, y), x * sp.Min(1, y / lowered)),
        Orderings((x, y, lowered)),
        lower,
    )
    never = proof.step(
        "and puts no token out more than 1/lambda times as often as the LLM.",
        le(x * sp.Min(1, y / lowered), y / level),
        Orderings((y, lowered)),
        lowered_is,
    )
    return Statement(
        name="rivals.lossy_acceptance",
        title="A unit of bias buys a unit of acceptance, and no more",
        source="here; lenience is that of SD, arXiv:2211.17192v2, App. A.5",
        status="new",
        functions=("schemes.verification.Lossy",),
        tests=(
            "test_acceptance_and_bias_of_any_rule_are_derived",
            "test_lossy_protocols_have_the_law_and_the_bias_that_is_charged",
        ),
        assumptions=(
            "The server keeps draft d with a_d, so m = x a of its mass, 0 <= a <= 1, and else draws from (y "
            "- m)_+, which leaves the least bias of any replacement, b = the sum of (m - y)_+ "
            "(kept_law.achievability); A is the mean acceptance, T = TV(x, y).",
            "In the third line a = s + e (1 - s), s = min(1, y/x), 0 <= e <= 1; lenience has 0 < lambda <= "
            "1.",
        ),
        assumed=proof.assumed,
        lemmas=(lemma,),
        claims=(claim, tight, keeps, never),
        steps=proof.steps,
    )


def lossy_bias_price() -> Statement:
    """Compare what a unit of bias saves by lossy acceptance with what it saves by skipping."""
    duration, tokens, less, slope = sp.symbols("D B delta B_slope", positive=True)
    cost, skipped, spent, rejected, refused = sp.symbols("c sigma b beta_u beta", positive=True)
    length = sp.Symbol("k", integer=True, positive=True)
    powers = (1 - alpha ** (length + 1)) / (1 - alpha)
    proof = Proof()
    rises = proof.step(
        "A round of k drafts commits B = (1 - alpha^(k+1))/(1 - alpha) tokens, which rise by",
        eq(sp.Derivative(powers, alpha), (powers - (length + 1) * alpha**length) / (1 - alpha)),
        Evaluate(),
    )
    slope_is = proof.assume(eq(slope, (tokens - less) / refused))
    lossy = proof.step(
        "so a unit of bias, which buys a unit of acceptance, takes off a token's time D/B",
        eq(duration * slope / tokens**2, duration * (tokens - less) / (tokens**2 * refused)),
        Evaluate(),
        slope_is,
    )
    most = proof.step(
        "at most D/(B beta), whatever k.",
        le(duration * (tokens - less) / (tokens**2 * refused), duration / (tokens * refused)),
        Coefficients(),
    )
    spends = proof.assume(eq(spent, rejected * skipped))
    skipping = proof.step(
        "Skipping a share sigma of drafts that are rejected with chance beta_u costs the bias b = beta_u "
        "sigma and saves c each: the price of bias of threshold.bias_price.",
        eq(cost * skipped / spent, cost / rejected),
        Evaluate(),
        spends,
    )
    return Statement(
        name="rivals.lossy_bias_price",
        title="What a unit of bias saves by lossy acceptance, and by skipping",
        source="here",
        status="new",
        functions=("rivals.lossy_bias_price_s",),
        tests=(
            "test_what_a_unit_of_bias_saves_is_derived",
            "test_the_first_unit_of_bias_saves_more_by_skipping",
        ),
        assumptions=(
            "Lossy acceptance in rounds of k drafts that take D, each kept with chance alpha, i.i.d.; beta "
            "= 1 - alpha, delta = (k + 1) alpha^k. By rivals.lossy_acceptance the acceptance rises with the "
            "bias, one for one.",
            "Skipping in rounds of one draft: a call costs c, and beta_u is the rejection of the drafts at "
            "the edge of what is kept.",
        ),
        assumed=proof.assumed,
        claims=(rises, lossy, most, skipping),
        steps=proof.steps,
    )


def block_survival() -> Statement:
    """Prove block verification: its survival, that it is lossless, and that it keeps no fewer drafts."""
    stands, excess, scaled = sp.symbols("p D z", positive=True)
    single, stops = sp.symbols("s h", nonnegative=True)
    proof = Proof()
    unit, below = proof.assume(le(stands, 1)), proof.assume(le(single, stands))
    excess_is = proof.assume(eq(over(pos(stands * y - x)), excess))
    stops_is = proof.assume(eq(stops, excess / (excess + 1 - stands)))
    scaled_is, sums = proof.assume(eq(y, scaled / stands)), proof.assume(DISTRIBUTIONS[1])
    entry = proof.step(
        "With a token of x and y, z = p y, the run stands on with chance",
        eq(x * sp.Min(1, stands * y / x), stands * y - pos(stands * y - x)),
        Orderings((x, scaled)),
        scaled_is,
    )
    onward = proof.step(
        "so over all next tokens with",
        eq(over(x * sp.Min(1, stands * y / x)), stands - excess),
        summing(),
        entry,
        excess_is,
        sums,
    )
    claim = proof.step(
        "The block is at least j long if it is longer or the coin of draft j says so: with p_j again.",
        eq(stops + (1 - stops) * (stands - excess), stands),
        Evaluate(),
        stops_is,
    )
    exact = proof.step(
        "It ends at j with p - (p - D) = D, and the residual puts out (p y - x)_+ / D: after j tokens that "
        "stand, the next one has the law y.",
        eq(x * sp.Min(1, stands * y / x) + excess * (pos(stands * y - x) / excess), stands * y),
        Combine(),
        entry,
    )
    more = proof.step(
        "Drafts verified one by one stand with s <= p, and go on standing no more often (times x):",
        le(single * sp.Min(x, y), sp.Min(x, stands * y)),
        Orderings((x, y)),
        unit,
        below,
    )
    return Statement(
        name="rivals.block_survival",
        title="Block verification is lossless and keeps no fewer drafts",
        source="Block verification, arXiv:2403.10444; the induction is written out here",
        status="printed",
        functions=(
            "rivals.survival_curve",
            "rivals.independent_survival_curve",
            "schemes.rounds.block_rounds",
        ),
        tests=(
            "test_a_block_stands_as_derived",
            "test_block_verification_run_with_dice",
        ),
        assumptions=(
            "p_j = min(1, p_(j-1) y/x) along the drafts, p_0 = 1. After the last draft the whole block is "
            "taken with h = p; draft j ends the block with h = D/(D + 1 - p), D the sum of (p y - x)_+ over "
            "the next token, unless a later one does; then (p y - x)_+ / D puts out the next token.",
            "By induction from the last draft: given the first j + 1 drafts the block is at least j + 1 "
            "long with p_(j+1) = min(1, p y/x). s is the chance that drafts verified one by one stand.",
        ),
        assumed=proof.assumed,
        claims=(onward, claim, exact, more),
        steps=proof.steps,
    )


BUILDERS: tuple[Builder, ...] = (
    delay_ratio,
    state_value,
    dense_lattice,
    one_proposal_a_token,
    truncated_residual,
    matching,
    lossy_acceptance,
    lossy_bias_price,
    block_survival,
)
