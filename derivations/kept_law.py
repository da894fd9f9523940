"""The kept law: what a server needs to know, and the least bias there is."""

import sympy as sp

from derivations.payload import resync as run_of_indices
from derivations.rules import (
    Coefficients,
    Combine,
    Evaluate,
    Numeric,
    Orderings,
    Rename,
    SameSum,
    SignPatterns,
    Solve,
    SumOver,
    pairs,
)
from derivations.series import geometric
from derivations.statement import Builder, Proof, Statement, at, eq, le, lt, rounds_to
from derivations.vocabulary import pos, size, sums_to_one, token, total

m, y, q, s = sp.symbols("m y q s", nonnegative=True)
x = sp.Symbol("x", positive=True)
M, Y, Q, S, X = (sp.IndexedBase(name) for name in ("m", "y", "q", "s", "x"))
asks, rest = sp.symbols("p R", positive=True)
bias = sp.Symbol("b", nonnegative=True)

COORDINATES = pairs((m, y, q, s, x), (M[token], Y[token], Q[token], S[token], X[token]))
MASS = eq(total(M[token]), 1 - asks)
(LLM,) = sums_to_one(Y)
EXCESS, REST = total(pos(M[token] - Y[token])), total(pos(Y[token] - M[token]))

KEEPS = (
    "In one context the device keeps token d, and sends nothing, with sub-probability m_d; with probability "
    "p, 1 less the sum of m, it asks the server. y is the LLM's law on V tokens, zeros allowed."
)


def _summing(*more: tuple[sp.Basic, sp.Expr]) -> SumOver:
    return SumOver(token, size, (*COORDINATES, *more))  # type: ignore[arg-type]


def converse() -> Statement:
    """Show that no server has less bias than what the device keeps above the LLM's law."""
    answer = sp.Symbol("a", nonnegative=True)
    distance = sp.Symbol("TV", nonnegative=True)
    proof = Proof()
    output = proof.assume(eq(q, m + asks * answer))
    distance_is = proof.assume(eq(distance, total(pos(Q[token] - Y[token]))))
    above = proof.step("What is kept is put out, whatever comes on top.", le(m, q), Coefficients(), output)
    line = proof.step(
        "So one entry of the output exceeds y by at least what m does.",
        le(pos(m - y), pos(q - y)),
        Orderings((m, q, y)),
        above,
    )
    summed = proof.step(
        "Sum over the vocabulary:", le(EXCESS, total(pos(Q[token] - Y[token]))), _summing(), line
    )
    claim = proof.step("the right side is the bias.", le(EXCESS, distance), Combine(), summed, distance_is)
    return Statement(
        name="kept_law.converse",
        title="No server has less bias than this",
        source="here",
        status="new",
        functions=("kept_law.bias", "kept_law.kept"),
        tests=(
            "test_bias_is_the_derived_excess_and_no_answer_has_less",
            "test_no_server_does_better",
        ),
        assumptions=(
            KEEPS,
            "a is the law of what the device puts out when it asks: any law, whatever was sent, whatever the "
            "server knows and does. q is the law of the output, TV = TV(q, y) as the sum of positive parts "
            "(verification.total_variation).",
        ),
        assumed=proof.assumed,
        claims=(above, claim),
        steps=proof.steps,
    )


def _balance(proof: Proof) -> tuple:
    """Write down that what is left of y is what m has above y and what the device asks for."""
    rest_is = proof.assume(eq(rest, REST))
    bias_is = proof.assume(eq(bias, EXCESS))
    mass, unit = proof.assume(MASS), proof.assume(LLM)
    line = proof.step("The two positive parts,", eq(pos(y - m), pos(m - y) + y - m), Orderings((m, y)))
    sums = proof.step("summed: m has 1 - p, y has 1.", eq(REST, EXCESS + asks), _summing(), line, mass, unit)
    both = proof.step(
        "So what is left of y is the excess of m and the chance to ask,",
        eq(rest, bias + asks),
        Combine((1, 1, -1)),
        rest_is,
        sums,
        bias_is,
    )
    return rest_is, bias_is, both


def achievability() -> Statement:
    """Show that a server that knows m reaches the least bias."""
    law = m + asks * pos(y - m) / rest
    distance = sp.Symbol("TV", nonnegative=True)
    proof = Proof()
    rest_is, _, both = _balance(proof)
    output = proof.assume(eq(q, law))
    distance_is = proof.assume(eq(distance, total(pos(Q[token] - Y[token]))))
    enough = proof.step("which is at least the chance to ask.", le(asks, rest), Combine(), both)
    flipped = proof.step("Its total,", eq(REST, rest), Combine((-1,)), rest_is)
    unit = proof.step("makes the output a law.", eq(total(Q[token]), 1), _summing(), output, flipped, MASS)
    line = proof.step(
        "Where m is above y the server adds nothing; elsewhere it fills up to at most y.",
        eq(pos(law - y), pos(m - y)),
        Orderings((m, y)),
        enough,
    )
    named = proof.step("Name the entry q.", eq(pos(q - y), pos(m - y)), Rename(), line, output)
    summed = proof.step(
        "Sum over the vocabulary:", eq(total(pos(Q[token] - Y[token])), EXCESS), _summing(), named
    )
    claim = proof.step(
        "the bias is the least there is.", eq(distance, EXCESS), Combine(), distance_is, summed
    )
    never = proof.step("A device that never asks puts out m.", eq(at(law, {asks: 0}), m), Evaluate())
    return Statement(
        name="kept_law.achievability",
        title="A server that knows the kept law has the least bias",
        source="here",
        status="new",
        functions=("kept_law.bias", "kept_law.answer_law", "kept_law.output_law"),
        tests=(
            "test_the_output_has_the_derived_law_and_bias",
            "test_the_output_is_what_a_walk_through_all_drafts_gives_and_its_bias_the_excess_of_m",
        ),
        assumptions=(
            KEEPS,
            "Asked, the server draws from (y - m)_+ / R, R the sum of (y - m)_+; p > 0, and so R > 0. b is "
            "the sum of (m - y)_+; q is the law of the output and TV = TV(q, y) "
            "(verification.total_variation). The draft that was not kept is not used.",
        ),
        assumed=proof.assumed,
        claims=(unit, claim, never),
        steps=proof.steps,
    )


def support() -> Statement:
    """Bound the tokens that a threshold on the mean uncertainty can keep, and the bits to name them."""
    node = sp.Symbol("k", integer=True, positive=True)
    nodes = sp.Symbol("K", integer=True, positive=True)
    W, P, C, H = (sp.IndexedBase(name) for name in ("w", "pi", "c", "h"))
    certain, kept = sp.symbols("c h", nonnegative=True)
    edge = sp.Symbol("e", positive=True)
    number = sp.Symbol("n", nonnegative=True)
    mixture = sp.Sum(W[node] * P[node, token], (node, 1, nodes))
    proof = Proof()
    weights = proof.assume(eq(sp.Sum(W[node], (node, 1, nodes)), 1))
    softmax = proof.assume(eq(total(P[node, token]), 1))
    certain_is = proof.assume(eq(C[token], mixture))
    kept_is = proof.assume(le(kept * edge, certain))
    number_is = proof.assume(eq(total(H[token]), number))
    mixed = proof.step(
        "A mixture of laws, summed over the tokens first:", eq(total(mixture), 1), SameSum(), softmax, weights
    )
    unit = proof.step("so 1 - ubar sums to 1.", eq(total(C[token]), 1), Rename(), mixed, certain_is)
    coordinates = ((certain, C[token]), (kept, H[token]))
    packed = proof.step(
        "Each kept token takes at least e of it:",
        le(number * edge, 1),
        SumOver(token, size, coordinates),
        kept_is,
        number_is,
        unit,
    )
    bound = proof.step("so there are at most", le(number, 1 / edge), Combine((1 / edge,)), packed)
    half = proof.assume(lt(sp.Rational(1, 2), edge))
    below_two = proof.step("Below a threshold of 1/2", lt(1 / edge, 2), Coefficients(), half)
    one = proof.step("fewer than two: at most one.", lt(number, 2), Combine((1, 1)), bound, below_two)
    most, vocabulary, prob_bits = sp.symbols("N V b_prob", integer=True, positive=True)
    bits = sp.ceiling(sp.log(most + 1, 2)) + number * (sp.ceiling(sp.log(vocabulary, 2)) + prob_bits)
    packet = proof.step(
        "A packet says how many there are and sends index and probability of each; of at most one token "
        "among 32000, with 8 bits:",
        eq(at(bits, {most: 1, vocabulary: 32000, prob_bits: 8, number: 1}), 24),
        Numeric(),
    )
    count = sp.Symbol("j", integer=True, nonnegative=True)
    fits = proof.step(
        "The count: j bits tell 2^j cases apart, enough for 0 to N = 2^j - 1.",
        eq(at(sp.ceiling(sp.log(most + 1, 2)), {most: 2**count - 1}), count),
        Evaluate(),
    )
    return Statement(
        name="kept_law.support",
        title="A threshold keeps at most 1/(1 - u_th) tokens",
        source="here",
        status="new",
        functions=("kept_law.most_kept_tokens", "kept_law.payload_bit"),
        tests=(
            "test_the_tokens_a_threshold_keeps_and_their_bits_are_the_derived_ones",
            "test_a_threshold_keeps_no_more_tokens_than_its_bound",
        ),
        assumptions=(
            "c_d = 1 - ubar_d is a mean of softmax probabilities pi over K temperatures with weights w "
            "(uncertainty.mean_uncertainty): nodes of a quadrature, or the M samples of the published "
            "measure where all tokens share them. Sampled afresh for each token, c need not sum to 1.",
            "h_d is 1 where d is kept, ubar_d <= u_th, and else 0; e = 1 - u_th > 0, so h e <= c; n is the "
            "number of tokens kept. e > 1/2 is used by the lines on thresholds below 1/2 alone.",
            "Both sides know N >= n; a packet has b_prob bits a probability.",
        ),
        assumed=proof.assumed,
        claims=(bound, one, packet, fits),
        steps=proof.steps,
        glue="An integral over the temperature is the limit of such means.",
    )


def equals_risk() -> Statement:
    """Compare the least bias with the rejection risk of a skip rule."""
    kept = x * s
    proof = Proof()
    unit = proof.assume(le(s, 1))
    line = proof.step(
        "What is kept of a draft exceeds y by at most its share of what the whole does.",
        le(pos(kept - y), s * pos(x - y)),
        Orderings((x, y)),
        unit,
    )
    claim = proof.step(
        "Sum over the vocabulary: the right side is the rejection risk.",
        le(total(pos(X[token] * S[token] - Y[token])), total(S[token] * pos(X[token] - Y[token]))),
        _summing(),
        line,
    )
    whole = proof.step(
        "A draft that is always kept: no difference,", eq(at(pos(kept - y), {s: 1}), pos(x - y)), Evaluate()
    )
    none = proof.step(
        "nor for one that never is. So bias is risk where s is 0 or 1.",
        eq(at(pos(kept - y), {s: 0}), 0),
        Evaluate(),
    )
    case = {x: sp.Rational(4, 5), y: sp.Rational(2, 5), s: sp.Rational(1, 2)}
    free = proof.step(
        "In between it may be less. Half of a draft of 4/5 fits below 2/5:",
        eq(at(pos(kept - y), case), 0),
        Numeric(),
    )
    charged = proof.step("where the risk is", eq(at(s * pos(x - y), case), sp.Rational(1, 5)), Numeric())
    return Statement(
        name="kept_law.equals_risk",
        title="The least bias is at most the risk",
        source="here",
        status="new",
        functions=("kept_law.bias", "verification.rejection_risk"),
        tests=(
            "test_bias_and_risk_differ_as_derived",
            "test_bias_is_at_most_the_risk_and_equal_to_it_where_a_draft_is_kept_whole_or_not_at_all",
        ),
        assumptions=(
            "A draft d ~ x is kept with probability s_d: m = x s. Its rejection risk is the sum of s (x - "
            "y)_+ (verification.risk_is_bias).",
        ),
        assumed=proof.assumed,
        claims=(claim, whole, none, free, charged),
        steps=proof.steps,
    )


def several_drafts() -> Statement:
    """Show that a run of kept drafts can be verified with the kept law alone, exactly."""
    proof = Proof()
    _, bias_is, both = _balance(proof)
    positive = sp.Symbol("m", positive=True)
    left = proof.step(
        "A draft that is kept and left; where m = 0 none is kept.",
        eq(positive * sp.Min(1, y / positive), sp.Min(positive, y)),
        Orderings((positive, y)),
    )
    lost = proof.step(
        "One that is kept and not left,",
        eq(positive * (1 - sp.Min(1, y / positive)), pos(positive - y)),
        Orderings((positive, y)),
    )
    drawn = sp.Symbol("rho", positive=True)
    drawn_is = proof.assume(eq(drawn, asks + EXCESS))
    all_drawn = proof.step(
        "or refused: together the chance that the server draws.",
        eq(drawn, rest),
        Combine((1, -1, -1)),
        drawn_is,
        bias_is,
        both,
    )
    law = sp.Min(m, y) + drawn * pos(y - m) / rest
    at_rest = proof.step(
        "Left and drawn fill each entry up to y.", eq(law.subs(drawn, rest), y), Orderings((m, y))
    )
    claim = proof.step(
        "So the token has law y, whatever m is.",
        eq(law, y),
        Combine((1, pos(y - m) / rest)),
        at_rest,
        all_drawn,
    )
    number = 3
    kept, llm = sp.symbols(f"m_1:{number + 1}", positive=True), sp.symbols(f"y_1:{number + 1}", positive=True)
    chance = asks + sp.Add(*(a * (1 - sp.Min(1, b / a)) for a, b in zip(kept, llm, strict=True)))
    spread = sp.Add(*(pos(b - a) for a, b in zip(kept, llm, strict=True)))
    for place in range(number):
        a, b = kept[place], llm[place]
        proof.step(
            f"Independent check with {number} tokens, every sign pattern of m and y: token {place + 1}.",
            eq(a * sp.Min(1, b / a) + chance * pos(b - a) / spread, b),
            SignPatterns(kept, llm, rest=asks),
        )
    return Statement(
        name="kept_law.several_drafts",
        title="Several drafts, exact, with the kept law alone",
        source="here",
        status="new",
        functions=("kept_law.acceptance", "kept_law.several_drafts_law"),
        tests=(
            "test_the_parts_of_a_token_of_several_drafts_are_the_derived_ones",
            "test_three_tokens_of_the_several_draft_form_have_the_joint_law_of_the_llm",
            "test_a_token_of_the_several_draft_form_has_the_law_of_the_llm",
        ),
        assumptions=(
            KEEPS,
            "The device drafts on while it keeps and sends the run at its first refusal. The server leaves "
            "draft d with min(1, y_d/m_d); at the first that it does not leave, and at the refusal, it "
            "draws from (y - m)_+ / R, R the sum of (y - m)_+ and positive. b is the sum of (m - y)_+; rho "
            "is the chance that the token of a position is drawn: the device refused, or the server did not "
            "leave.",
            "m is that of the context of the position: the server needs it for each position of the run.",
        ),
        assumed=proof.assumed,
        claims=(left, lost, all_drawn, claim),
        steps=proof.steps,
        glue="Given the text so far, what device and server do at the next position does not depend on which "
        "round it is or how it began, and what lies beyond a drawn token is drafted anew. So each token has "
        "law y given those before it, and the text has the LLM's law.",
    )


def tokens_per_round() -> Statement:
    """Count the tokens of a round of several drafts."""
    goes_on = sp.Symbol("r", positive=True)
    series = geometric(goes_on, "Token n of a round is reached with chance r^(n-1).")
    tokens, risk = sp.symbols("E_N R", positive=True)
    proof = Proof()
    proof.assume(series.below_one)
    for line in series.steps:
        proof.step(line.text, line.claim, line.rule, *line.uses)
    goes_is = proof.assume(eq(goes_on, 1 - asks - risk))
    tokens_are = proof.assume(eq(tokens, series.total))
    scaled = proof.step(
        "Each token that is reached is put out: times 1 - r their number is 1.",
        eq(tokens * (1 - goes_on), 1),
        Combine((1 - goes_on, 1)),
        tokens_are,
        series.value,
    )
    inserted = proof.step(
        "A round goes on where the draft is kept and left.",
        eq(tokens * (asks + risk), 1),
        Combine((1, -tokens)),
        scaled,
        goes_is,
    )
    claim = proof.step("Solve.", eq(tokens, 1 / (asks + risk)), Solve(tokens), inserted)
    positive, llm = sp.symbols("m y", positive=True)
    from_text = proof.step(
        "One token of the text: the chance that it is a draft, kept and left, and its share of y.",
        eq(llm * sp.Min(1, positive / llm), sp.Min(positive, llm)),
        Orderings((positive, llm)),
    )
    return Statement(
        name="kept_law.tokens_per_round",
        title="Tokens of a round of several drafts",
        source="here",
        status="new",
        functions=("kept_law.tokens_per_round",),
        tests=(
            "test_tokens_of_a_round_are_derived",
            "test_ten_thousand_rounds_follow_their_law",
            "test_a_text_of_the_llm_tells_the_rounds_of_this_scheme",
        ),
        assumptions=(
            "Positions are alike and independent: a draft is refused with chance p, kept and not left with "
            "chance R, the mean of the sum of (m - y)_+; r = 1 - p - R is the chance that a round goes on.",
            "p + R is the mean of the sum of (y - m)_+ (kept_law.several_drafts): a round ends with a token "
            "that the server draws, which counts. E_N: tokens of a round.",
            "In general positions are not alike: given a text of law y, token w goes on with min(1, "
            "m_w/y_w), independently of the others, and a recording tells the rounds "
            "(verification.kept_given_token with m for x).",
        ),
        assumed=proof.assumed,
        claims=(claim, from_text),
        steps=proof.steps,
    )


def downlink() -> Statement:
    """Count what the server sends back."""
    vocabulary, run, prob_bits = sp.symbols("V n b_prob", integer=True, positive=True)
    bits = sp.ceiling(sp.log(vocabulary, 2)) + sp.ceiling(sp.log(run + 1, 2))
    proof = Proof()
    place = sp.Symbol("j", integer=True, nonnegative=True)
    places = proof.step(
        "Of a run of n drafts 0 to n may be left: j bits tell n + 1 = 2^j numbers apart.",
        eq(at(sp.ceiling(sp.log(run + 1, 2)), {run: 2**place - 1}), place),
        Evaluate(),
    )
    number = proof.step(
        "With 49152 tokens and runs of 7 drafts, index and count take",
        eq(at(bits, {vocabulary: 49152, run: 7}), 19),
        Numeric(),
    )
    dense = proof.step(
        "where the law y, from which the device would draw, takes",
        eq(at(vocabulary * prob_bits, {vocabulary: 49152, prob_bits: 8}), 393216),
        Numeric(),
    )
    alone = proof.step(
        "A single draft has no count.", eq(at(bits, {vocabulary: 49152, run: 0}), 16), Numeric()
    )
    return Statement(
        name="kept_law.downlink",
        title="One index comes back, and how much of the run stands",
        source="here",
        status="new",
        functions=("payload.index_only_bit",),
        tests=(
            "test_what_comes_back_is_the_derived_number_of_bits",
            "test_a_server_with_the_kept_law_draws_by_itself",
        ),
        assumptions=(
            "The server knows m and y and draws the token by itself: the device needs its index among V and "
            "the number of drafts, of a run of n, that were left before it.",
            "A scheme whose device draws from (y - x)_+ needs y: V probabilities of b_prob bits.",
        ),
        claims=(places, number, dense, alone),
        steps=proof.steps,
    )


def quantised_down() -> Statement:
    """Show that rounding the kept law down costs skips and no bias."""
    lower, kept = sp.symbols("mprime h", nonnegative=True)
    D, H = sp.IndexedBase("mprime"), sp.IndexedBase("h")
    levels = sp.Symbol("ell", positive=True)
    number = sp.Symbol("n", nonnegative=True)
    proof = Proof()
    below = proof.assume(le(lower, m))
    near = proof.assume(le(m, lower + kept / levels))
    number_is = proof.assume(eq(total(H[token]), number))
    line = proof.step(
        "Less is kept, so less of it exceeds y.",
        le(pos(lower - y), pos(m - y)),
        Orderings((lower, m, y)),
        below,
    )
    coordinates = ((lower, D[token]), (kept, H[token]))
    claim = proof.step(
        "Sum over the vocabulary: for every y the bias does not grow.",
        le(total(pos(D[token] - Y[token])), EXCESS),
        _summing(*coordinates),
        line,
    )
    skips = proof.step(
        "What is kept less is at most a step of the grid for each token of the support.",
        le(total(M[token]), total(D[token]) + number / levels),
        _summing(*coordinates),
        near,
        number_is,
    )
    return Statement(
        name="kept_law.quantised_down",
        title="Rounding the kept law down costs no bias",
        source="here",
        status="new",
        functions=("kept_law.round_down",),
        tests=(
            "test_rounding_down_has_the_derived_price",
            "test_rounding_down_costs_skips_and_no_bias",
        ),
        assumptions=(
            "mprime is m rounded down to multiples of 1/ell; the device keeps draft d with mprime_d/x_d, so "
            "what the server is told is what is kept. h_d is 1 where m_d > 0, else 0; n is their number.",
        ),
        assumed=proof.assumed,
        claims=(claim, skips),
        steps=proof.steps,
    )


def beats_llm_alone() -> Statement:
    """Solve for the skip rate at which one draft a round is as fast as the LLM alone."""
    slm, up, saves, later = sp.symbols("tau_SLM tau_up g tau_skip", positive=True)
    fixed, each = sp.symbols("t_0 t_1", nonnegative=True)
    skips = sp.Symbol("s", real=True)
    more = sp.Symbol("d", positive=True)
    alone = fixed + each
    proof = Proof()
    saves_is = proof.assume(eq(saves, up + fixed - later))
    latency = slm + up + fixed + each - skips * saves
    mean = proof.step(
        "A skip spares a packet and the fixed part of a pass, and costs what telling the token later takes.",
        eq(latency, slm + (1 - skips) * (up + fixed) + skips * later + each),
        Evaluate(),
        saves_is,
    )
    equal = proof.assume(eq(latency, alone))
    claim = proof.step("Equal times at", eq(skips, (slm + up) / saves), Solve(skips), equal)
    faster = proof.step(
        "A round that skips more is faster,",
        lt(latency.subs(skips, claim.rhs + more), alone),
        Evaluate(),
    )
    slower = proof.step(
        "and one that skips less slower.", lt(alone, latency.subs(skips, claim.rhs - more)), Evaluate()
    )
    never = proof.step(
        "No rate is enough where a draft, with what is told later, takes longer than the fixed part.",
        eq((claim.rhs - 1) * saves, slm + later - fixed),
        Evaluate(),
        saves_is,
    )
    return Statement(
        name="kept_law.beats_llm_alone",
        title="When one draft a round beats the LLM alone",
        source="here",
        status="new",
        functions=("kept_law.llm_break_even_skip_rate",),
        tests=(
            "test_the_break_even_skip_rate_is_derived",
            "test_at_the_break_even_skip_rate_a_round_takes_as_long_as_the_llm_alone",
        ),
        assumptions=(
            "A round drafts for tau_SLM and asks with chance 1 - s: an uplink of tau_up and a pass of t_0, "
            "with t_1 for every token that it reads (passes.skipping_saves_the_fixed_part). A skipped token "
            "is told for tau_skip with a later packet; g > 0. The LLM alone takes t_0 + t_1 a token and no "
            "uplink.",
        ),
        assumed=proof.assumed,
        claims=(claim, faster, slower, mean, never),
        steps=proof.steps,
    )


def resync() -> Statement:
    """Count the bits a token by which the server learns what was skipped."""
    lemma = run_of_indices()
    mean = lemma.claims[1]
    (skips,), length = mean.rhs.free_symbols, mean.lhs
    index_bits, spent = sp.symbols("b_index u_bits", positive=True)
    proof = Proof()
    below = proof.assume(lt(skips, 1))
    spent_is = proof.assume(eq(spent, (1 - skips) * length * index_bits))
    claim = proof.step(
        "A transmission, one token in 1/(1 - s), brings the run before it.",
        eq(spent, skips * index_bits),
        Evaluate(),
        spent_is,
        mean,
    )
    most = proof.step(
        "Less than one index a token,", lt(skips * index_bits, index_bits), Coefficients(), below
    )
    bits = proof.step(
        "of 151936 tokens one takes (bit)", eq(at(sp.ceiling(sp.log(size, 2)), {size: 151936}), 18), Numeric()
    )
    number = proof.step(
        "and at 78 % skipped a token costs (bit)",
        rounds_to(at(skips * index_bits, {skips: sp.Rational("0.78"), index_bits: 18}), "14.0"),
        Numeric(),
    )
    return Statement(
        name="kept_law.resync",
        title="Re-synchronisation costs an index for each skipped token",
        source="here",
        status="new",
        functions=("payload.resync_bit",),
        tests=(
            "test_resynchronisation_takes_the_derived_bits_a_token",
            "test_resynchronising_sends_an_index_for_each_skipped_token",
        ),
        assumptions=(
            "Tokens are skipped with chance s, independently; ell is the mean run before a transmission "
            "(lemma); the server must have the tokens before it answers, each an index of b_index bits. "
            "u_bits is what that takes a token.",
            "Due for every scheme that skips, whatever it sends besides.",
        ),
        assumed=proof.assumed,
        lemmas=(lemma,),
        claims=(claim, most, bits, number),
        steps=proof.steps,
    )


def newsvendor() -> Statement:
    """Derive the best share of a draft to keep, with a certificate against every other rule."""
    ratio, below, weight = sp.symbols("rho g w", nonnegative=True)
    best = sp.Symbol("sstar", nonnegative=True)
    ask, price = sp.symbols("c lambda", positive=True)
    drafts, groups = sp.symbols("N G", integer=True, positive=True)
    group = sp.Symbol("n", integer=True, positive=True)
    W, G, RHO = (sp.IndexedBase(name) for name in ("w", "g", "rho"))
    proof = Proof()
    indicator = proof.assume(le(below, 1))
    chosen = proof.assume(eq(pos(best - ratio), below * (best - ratio)))
    tangent = proof.step(
        "For any share the excess lies above this line,",
        le(below * (s - ratio), pos(s - ratio)),
        Orderings((s, ratio)),
        indicator,
    )
    line = proof.step(
        "which touches it at sstar.",
        le(pos(best - ratio) + below * (s - best), pos(s - ratio)),
        Combine((1, 1)),
        tangent,
        chosen,
    )
    weighed = proof.step(
        "Weigh each draft",
        le(weight * pos(best - ratio) + weight * below * (s - best), weight * pos(s - ratio)),
        Combine((weight,)),
        line,
    )
    fewer = sp.Symbol("F", nonnegative=True)

    def over_drafts(expression: sp.Expr) -> sp.Sum:
        return sp.Sum(expression, (token, 1, drafts))

    fewer_is = proof.assume(eq(over_drafts(W[token] * G[token]), fewer))
    spent, least_spent = sp.symbols("b bstar", nonnegative=True)
    spent_is = proof.assume(eq(spent, over_drafts(W[token] * pos(s - RHO[token]))))
    least_is = proof.assume(eq(least_spent, over_drafts(W[token] * pos(best - RHO[token]))))
    summed = proof.step(
        "and sum over the drafts that look alike;",
        le(
            over_drafts(W[token] * pos(best - RHO[token])) + fewer * (s - best),
            over_drafts(W[token] * pos(s - RHO[token])),
        ),
        SumOver(token, drafts, ((weight, W[token]), (below, G[token]), (ratio, RHO[token]))),
        weighed,
        fewer_is,
    )
    named = proof.step(
        "in short,",
        le(least_spent + fewer * (s - best), spent),
        Combine((1, 1, -1)),
        summed,
        spent_is,
        least_is,
    )
    first_order = (price * fewer - ask) * (s - best)
    quantile = proof.assume(eq(fewer, ask / price))
    inside = proof.step(
        "Where sstar is a quantile at the level c/lambda, no share gains to first order;",
        eq(first_order, 0),
        Evaluate(),
        quantile,
    )
    cost, least = ask * (1 - s) + price * spent, ask * (1 - best) + price * least_spent
    optimum = proof.step("so sstar costs least.", le(least, cost), Combine((price, 1)), named, inside)
    cut, few, unit = (proof.assume(claim) for claim in (eq(best, 1), le(fewer, ask / price), le(s, 1)))
    clipped = proof.step(
        "Where it is cut to 1, a smaller share loses,", le(0, first_order), Coefficients(), cut, few, unit
    )
    proof.step("so sstar costs least there too.", optimum, Combine((price, 1)), named, clipped)
    mass, value = sp.Symbol("v", nonnegative=True), sp.Symbol("d", real=True)
    Mass, Value, Share, Spent = (sp.IndexedBase(name) for name in ("v", "d", "s", "b"))
    value_is = proof.assume(eq(value, least))
    short = proof.step("Call the least cost of the group d", le(value, cost), Combine(), optimum, value_is)
    shared = proof.step("and weigh the group.", le(mass * value, mass * cost), Combine((mass,)), short)

    def over_groups(expression: sp.Expr) -> sp.Sum:
        return sp.Sum(expression, (group, 1, groups))

    asked = ask * over_groups(Mass[group] * (1 - Share[group]))
    dual = over_groups(Mass[group] * Value[group])
    everything = proof.step(
        "Sum over the groups,",
        le(dual, asked + price * over_groups(Mass[group] * Spent[group])),
        SumOver(
            group,
            groups,
            ((mass, Mass[group]), (value, Value[group]), (s, Share[group]), (spent, Spent[group])),
        ),
        shared,
    )
    budget = sp.Symbol("epsilon", positive=True)
    within = proof.assume(le(over_groups(Mass[group] * Spent[group]), budget))
    certificate = proof.step(
        "and let the rule spend at most epsilon: every lambda bounds the time that asking takes, for every "
        "rule that tells no more drafts apart.",
        le(dual - price * budget, asked),
        Combine((1, price)),
        everything,
        within,
    )
    Best, Least = sp.IndexedBase("sstar"), sp.IndexedBase("bstar")
    attained = proof.step(
        "The best shares themselves", eq(mass * value, mass * least), Combine((mass,)), value_is
    )
    exhausted = proof.assume(eq(over_groups(Mass[group] * Least[group]), budget))
    summed_best = proof.step(
        "summed, where they spend the whole budget,",
        eq(dual, ask * over_groups(Mass[group] * (1 - Best[group])) + price * budget),
        SumOver(
            group,
            groups,
            ((mass, Mass[group]), (value, Value[group]), (best, Best[group]), (least_spent, Least[group])),
        ),
        attained,
        exhausted,
    )
    tight = proof.step(
        "reach the bound: they are optimal.",
        eq(dual - price * budget, ask * over_groups(Mass[group] * (1 - Best[group]))),
        Combine(),
        summed_best,
    )
    slow, fast, little, much = sp.symbols("t_2 t_1 b_2 b_1", nonnegative=True)
    dearer = sp.Symbol("e", positive=True)
    cheap = proof.assume(le(fast + price * much, slow + price * little))
    dear = proof.assume(le(slow + (price + dearer) * little, fast + (price + dearer) * much))
    scaled = proof.step(
        "Two prices, lambda and lambda + e, and what is best at each: add the two comparisons.",
        le(dearer * little, dearer * much),
        Combine((1, 1)),
        cheap,
        dear,
    )
    falls = proof.step(
        "The dearer bias is, the less of it is bought", le(little, much), Combine((1 / dearer,)), scaled
    )
    rises = proof.step(
        "and the more is asked: the map between budget and price runs one way.",
        le(fast, slow),
        Combine((1, price)),
        cheap,
        falls,
    )
    return Statement(
        name="kept_law.newsvendor",
        title="The best kept law is a quantile",
        source="here (the newsvendor problem; Lagrange)",
        status="new",
        functions=(
            "kept_law.best_kept_share",
            "kept_law.best_kept_shares",
            "kept_law.kept_share_cost_s",
            "kept_law.least_transmit_probability",
        ),
        tests=(
            "test_the_best_share_is_the_derived_quantile_and_its_bound_holds",
            "test_the_quantile_costs_least",
            "test_the_shares_within_a_budget_are_those_of_a_linear_programme_and_certified",
            "test_every_level_bounds_every_kept_law_of_the_groups",
        ),
        assumptions=(
            "Drafts that look alike to the device get one share s, 0 <= s <= 1: m = x s, with bias the mean "
            "of (s - rho)_+ over drafts of weights w, rho = y_d/x_d (kept_law.achievability). To ask takes "
            "c seconds; a unit of bias may cost lambda. A group of N drafts costs c (1 - s) + lambda b.",
            "g_i says whether rho_i < sstar: 1 if so, 0 if rho_i > sstar, anything between for a tie; F is "
            "the sum of w g. Either F = c/lambda, so sstar is a quantile of rho at that level, or sstar = 1 "
            "and F <= c/lambda. b and bstar: bias at s and sstar.",
            "Group n of G has mass v_n, least cost d_n, share s_n, best share sstar_n, and bias b_n and "
            "bstar_n. The last line but four takes best shares that spend the budget epsilon.",
            "A share that is itself drawn costs no less than its mean, by the second line with sstar the "
            "mean. The sum of m is at most 1 because s is.",
            "t_1, b_1 and t_2, b_2: time to ask and bias of what is best at lambda and at lambda + e.",
        ),
        assumed=proof.assumed,
        claims=(inside, clipped, optimum, certificate, tight, falls, rises),
        steps=proof.steps,
    )


def one_step_look_ahead() -> Statement:
    """Show when drafting one more token is decided by that token alone, and when it is not."""
    now, later, weight = sp.symbols("P Pprime h", nonnegative=True)
    mean, price = sp.symbols("mu k", positive=True)
    accepted = sp.Symbol("a", nonnegative=True)
    plan = sp.Symbol("N", integer=True, positive=True)
    LATER, H = sp.IndexedBase("Pprime"), sp.IndexedBase("h")
    proof = Proof()
    chance = proof.assume(le(accepted, 1))
    lasts = proof.step(
        "A draft can only end the run: its chance to stand never rises.",
        le(now * accepted, now),
        Coefficients(),
        chance,
    )
    falls = proof.assume(le(later, now))
    stop = proof.assume(le(now * mean, price))
    line = proof.step(
        "If one more draft does not pay,", le(later * mean, now * mean), Combine((mean,)), falls
    )
    each = proof.step("no later one does;", le(later * mean, price), Combine(), line, stop)
    weighed = proof.step(
        "weighed with the chance that a plan gets so far",
        le(weight * (later * mean - price), 0),
        Combine((weight,)),
        each,
    )
    plans = proof.step(
        "and summed over all drafts of any plan: to go on gains nothing.",
        le(sp.Sum(H[token] * (LATER[token] * mean - price), (token, 1, plan)), 0),
        SumOver(token, plan, ((later, LATER[token]), (weight, H[token]))),
        weighed,
    )
    go = proof.assume(le(price, later * mean))
    pays = proof.step(
        "While one more draft pays, to draft it and then stop is no worse than to stop now.",
        le(0, later * mean - price),
        Combine(),
        go,
    )
    good, length = sp.symbols("chi n", positive=True)
    draft = sp.Symbol("c", positive=True)
    rate = (1 + good * length) / (1 + draft + good * (length - 1) * draft)
    case = {good: sp.Rational(3, 10), length: 8, draft: sp.Rational(1, 5)}
    best = proof.step(
        "Not in general. One draft decides: with chance 0.3 it and seven more are all left, else none. To "
        "draft it, and the rest if it goes well, makes, in tokens a pass,",
        rounds_to(at(rate, case), "2.099"),
        Numeric(),
    )
    alone = proof.step("more than the 1 of stopping at once,", lt(1, at(rate, case)), Numeric())
    misses = proof.step(
        "and yet at that rate the one draft by itself does not pay: the look-ahead stops at once.",
        lt(at(good, case), at(draft * rate, case)),
        Numeric(),
    )
    return Statement(
        name="kept_law.one_step_look_ahead",
        title="One more draft: when looking one step ahead is optimal",
        source="textbook (monotone case of optimal stopping); the counterexample here",
        status="new",
        functions=(),
        tests=(
            "test_looking_one_step_ahead_is_optimal_for_alike_drafts_and_not_in_general",
            "test_no_number_of_alike_drafts_beats_the_one_where_the_next_stops_paying",
        ),
        assumptions=(
            "A round of several drafts is to make the most tokens a second: at the best rate gstar it is "
            "worth its tokens less gstar times its duration. One more draft takes c seconds, so k = gstar "
            "c; it adds P mu tokens, P the chance that the run so far stands and mu the mean chance that "
            "the next draft does, which is the same whatever came before (drafts alike and independent).",
            "a is the chance with which a draft is left. Pprime: the chance that the run stands at some "
            "later draft; h: the chance that a plan of at most N more drafts gets to it.",
            "In the example a pass takes 1, a draft c = 1/5, chi = 3/10, n = 8, and the device sees how the "
            "first draft went; a round makes one token more than the drafts that are left. A rule that goes "
            "on while P mu is at least some theta, theta <= 3/10, finds the optimum there: what fails is "
            "theta = gstar c.",
        ),
        assumed=proof.assumed,
        claims=(lasts, plans, pays, best, alone, misses),
        steps=proof.steps,
    )


BUILDERS: tuple[Builder, ...] = (
    converse,
    achievability,
    support,
    equals_risk,
    quantised_down,
    newsvendor,
    beats_llm_alone,
    resync,
    several_drafts,
    tokens_per_round,
    downlink,
    one_step_look_ahead,
)
