"""Several drafts a round: how many tokens a round makes, and how many drafts are best."""

import sympy as sp

from derivations.rules import (
    Coefficients,
    Combine,
    Evaluate,
    Numeric,
    OnlyRoot,
    Rename,
    Solve,
    SumOver,
)
from derivations.series import geometric
from derivations.statement import Builder, Proof, Statement, at, eq, le, lt, rounds_to, step

acceptance = sp.Symbol("alpha", positive=True)
drafts = sp.Symbol("gamma", integer=True, positive=True)
length = sp.Symbol("g", positive=True)
"""Number of drafts as a real number."""
ratio = sp.Symbol("L", positive=True)
index = sp.Symbol("i", integer=True, nonnegative=True)
power = sp.Symbol("q", positive=True)
"""alpha to the power gamma + 1, between 0 and 1."""

EXPECTED = (1 - acceptance ** (drafts + 1)) / (1 - acceptance)
SOURCE_SD = "SD eq. (1), arXiv:2211.17192v2"
SOURCE_TK = "TK, arXiv:2509.04576"


def expected_tokens() -> Statement:
    """Derive the tokens of a round as a sum over drafts, with its branch at acceptance 1."""
    tail = sp.Sum(acceptance**index, (index, 0, drafts))
    times = eq(tail * (1 - acceptance), 1 - acceptance ** (drafts + 1))
    mean = sp.Symbol("E_N", positive=True)
    definition = eq(mean, tail)
    scaled = eq(mean * (1 - acceptance), 1 - acceptance ** (drafts + 1))
    below = lt(acceptance, 1)
    claim = eq(mean, EXPECTED)
    certain = eq(sp.Sum(sp.Integer(1) ** index, (index, 0, drafts)), drafts + 1)
    limit = eq(sp.Limit((1 - acceptance ** (length + 1)) / (1 - acceptance), acceptance, 1, "-"), length + 1)
    return Statement(
        name="drafting.expected_tokens",
        title="Tokens of a round",
        source=SOURCE_SD,
        status="printed",
        functions=("drafting.expected_tokens_per_round",),
        tests=(
            "test_expected_tokens_and_its_branch",
            "test_tokens_per_round_of_simulated_rounds",
        ),
        assumptions=(
            "gamma drafts, each kept with chance alpha, independently, up to the first that is not; the LLM "
            "adds one token. More than i tokens come if the first i drafts were kept: chance alpha^i for i "
            "<= gamma.",
            "E_N is the sum of these chances; g is gamma taken as a real number. alpha < 1 is needed by the "
            "printed form alone.",
        ),
        assumed=(definition, below),
        claims=(times, claim, certain, limit),
        steps=(
            step("Sum the chances; times 1 - alpha the sum telescopes.", times, Evaluate()),
            step("That is E_N (1 - alpha).", scaled, Combine((1 - acceptance, 1)), definition, times),
            step("Divide, for alpha < 1: the printed form.", claim, Solve(mean), scaled, below),
            step("At alpha = 1, which the printed form leaves out, the sum is", certain, Evaluate()),
            step("and that is also its limit.", limit, Evaluate()),
        ),
    )


def draft_bound() -> Statement:
    """Bound the tokens of a round whatever the number of drafts."""
    below = lt(acceptance, 1)
    gap = eq(1 / (1 - acceptance) - EXPECTED, acceptance ** (drafts + 1) / (1 - acceptance))
    claim = lt((1 - power) / (1 - acceptance), 1 / (1 - acceptance))
    limit = eq(
        sp.Limit((1 - sp.exp(-ratio * length)) / (1 - acceptance), length, sp.oo, "-"), 1 / (1 - acceptance)
    )
    return Statement(
        name="drafting.draft_bound",
        title="A round never makes more than 1/(1 - alpha) tokens",
        source="here",
        status="new",
        functions=("drafting.best_drafts_on_link",),
        tests=(
            "test_expected_tokens_and_its_branch",
            "test_the_best_count_over_any_link_is_that_of_brute_force",
        ),
        assumptions=("alpha < 1; q = alpha^(gamma + 1) > 0.",),
        assumed=(below,),
        claims=(gap, claim),
        steps=(
            step("What is missing,", gap, Evaluate()),
            step("is positive,", claim, Coefficients(), below),
            step("and vanishes as drafts are added (alpha^g = exp(-L g)).", limit, Evaluate()),
        ),
    )


def latency_ratio() -> Statement:
    """Normalise the round time by the LLM's pass."""
    slm, up = sp.symbols("tau_SLM tau_up", positive=True)
    fixed, each, trip = sp.symbols("t_0 t_1 tau_rtt", nonnegative=True)
    passed = fixed + (length + 1) * each + trip
    claim = eq(
        (length * (slm + up) + passed) / passed.subs(length, 0),
        1 + length * (slm + up + each) / (fixed + each + trip),
    )
    bits, speed, one_pass = sp.symbols("B C tau_LLM", positive=True)
    published = {bits: 32000 * 16, speed: 50_000_000, one_pass: sp.Rational("0.0445")}
    slope = rounds_to(at(bits / (speed * one_pass), published), "0.23")
    return Statement(
        name="drafting.latency_ratio",
        title="Latency ratio",
        source=SOURCE_TK,
        status="printed",
        functions=("drafting.latency_ratio",),
        tests=(
            "test_latency_ratio",
            "test_the_latency_ratio_of_tk_slt_is_linear_in_k",
        ),
        assumptions=(
            "Every draft takes tau_SLM and a packet of tau_up, and B bits take B/C at C bit/s. One LLM pass "
            "a round is fed g + 1 tokens for t_0 + (g + 1) t_1, with a round trip of tau_rtt; tau_LLM is "
            "that of one token.",
        ),
        claims=(claim, slope),
        steps=(
            step("A round in units of a round without drafts is 1 + g L.", claim, Evaluate()),
            step(
                "16 bit for each of 32000 tokens at 50 Mbit/s are 0.23 passes of 44.5 ms, as TK prints.",
                slope,
                Numeric(),
            ),
        ),
    )


def speculation_speedup() -> Statement:
    """Derive the speed-up over the LLM alone and check the published examples."""
    round_time = 1 + drafts * ratio
    mean = sp.Symbol("E_N", positive=True)
    time, alone = sp.symbols("D D_LLM", positive=True)
    claim = eq(at((mean / time) / (1 / alone), {time: alone * round_time}), mean / (1 + drafts * ratio))

    def value(alpha: sp.Rational, count: int, cost: sp.Rational) -> sp.Expr:
        return at(EXPECTED / round_time, {acceptance: alpha, drafts: count, ratio: cost})

    sd = rounds_to(value(sp.Rational(4, 5), 5, sp.Rational("0.1417")), "2.159")
    tk = rounds_to(value(sp.Rational(3, 5), 7, sp.Rational("0.01")), "2.2972")
    return Statement(
        name="drafting.speculation_speedup",
        title="Speed-up of speculation",
        source="SD Theorem 3.8, arXiv:2211.17192v2; TK, arXiv:2509.04576",
        status="printed",
        functions=("drafting.speculation_speedup",),
        tests=(
            "test_speedup_and_operations",
            "test_the_speedup_table_of_speculative_decoding",
        ),
        assumptions=(
            "A round takes D = D_LLM (1 + gamma L), D_LLM a pass of the LLM, and makes E_N tokens; the LLM "
            "alone makes one a pass.",
        ),
        claims=(claim, sd, tk),
        steps=(
            step("Tokens over time, relative to one token a pass.", claim, Evaluate()),
            step("alpha = 0.8, L = 0.1417, five drafts:", sd, Numeric()),
            step("alpha = 0.6, L = 0.01, seven drafts:", tk, Numeric()),
        ),
    )


def operations_ratio() -> Statement:
    """Count operations per token."""
    cost = sp.Symbol("chat", nonnegative=True)
    mean = sp.Symbol("E_N", nonnegative=True)
    work = drafts * cost + drafts + 1
    tokens = sp.Symbol("N", positive=True)
    claim = eq(
        at(work / tokens, {tokens: EXPECTED}),
        (1 - acceptance) * (drafts * cost + drafts + 1) / (1 - acceptance ** (drafts + 1)),
    )
    powers = sp.IndexedBase("q")
    count = sp.Symbol("i", integer=True, positive=True)
    unit = le(power, 1)
    chances = sp.Sum(powers[count], (count, 1, drafts))
    summed = le(chances, drafts)
    mean_is = eq(mean, 1 + chances)
    least = le(mean, drafts + 1)
    number = rounds_to(at((drafts + 1) / EXPECTED, {acceptance: sp.Rational(3, 5), drafts: 2}), "1.53")
    return Statement(
        name="drafting.operations_ratio",
        title="Operations a token",
        source="SD Theorem 3.11, arXiv:2211.17192v2",
        status="printed",
        functions=("drafting.operations_ratio",),
        tests=(
            "test_speedup_and_operations",
            "test_the_speedup_table_of_speculative_decoding",
        ),
        assumptions=(
            "A draft costs chat LLM tokens; the LLM processes gamma + 1 positions; N = E_N tokens result "
            "(the statement on the tokens of a round). E_N is 1 plus the chances q_i = alpha^i <= 1, i from "
            "1 to gamma.",
        ),
        assumed=(unit, mean_is),
        claims=(claim, least, number),
        steps=(
            step("Operations over tokens.", claim, Evaluate()),
            step("Sum the chances.", summed, SumOver(count, drafts, ((power, powers[count]),)), unit),
            step(
                "A round never makes more tokens than the LLM processes, so a free draft model saves no "
                "operations.",
                least,
                Combine((1, 1)),
                mean_is,
                summed,
            ),
            step("alpha = 0.6, two drafts:", number, Numeric()),
        ),
    )


def speculation_never_pays() -> Statement:
    """Show that no number of drafts beats the LLM alone where alpha is at most L."""
    unit, smaller = le(power, 1), le(acceptance, ratio)
    powers = sp.IndexedBase("q")
    mean = sp.Symbol("E_N", positive=True)
    count = sp.Symbol("i", integer=True, positive=True)
    term = le(acceptance * power, acceptance)
    chances = sp.Sum(acceptance * powers[count], (count, 1, drafts))
    summed = le(chances, acceptance * drafts)
    mean_is = eq(mean, 1 + chances)
    claim = le(mean, 1 + drafts * ratio)
    return Statement(
        name="drafting.speculation_never_pays",
        title="Drafting does not pay where alpha is at most L",
        source="here",
        status="new",
        functions=("drafting.speculate",),
        tests=(
            "test_drafting_pays_if_and_only_if_some_count_does",
            "test_the_best_draft_count_is_that_of_brute_force",
        ),
        assumptions=(
            "alpha <= L. E_N is 1 plus the chances alpha^i = alpha q_i, i from 1 to gamma, with q_i = "
            "alpha^(i-1) <= 1.",
        ),
        assumed=(unit, smaller, mean_is),
        claims=(claim,),
        steps=(
            step("Each chance is at most alpha;", term, Coefficients(), unit),
            step("sum them.", summed, SumOver(count, drafts, ((power, powers[count]),)), term),
            step(
                "So no number of drafts makes up for its time.",
                claim,
                Combine((1, 1, drafts)),
                mean_is,
                summed,
                smaller,
            ),
        ),
    )


def speculate() -> Statement:
    """Show that one draft is enough where the acceptance exceeds the latency ratio."""
    pays = lt(ratio, acceptance)
    one = eq(EXPECTED.subs(drafts, 1), 1 + acceptance)
    gain = lt(1, (1 + acceptance) / (1 + ratio))
    return Statement(
        name="drafting.speculate",
        title="Drafting pays where alpha exceeds L",
        source="TK, arXiv:2509.04576 (asks for a speed-up above 1; the condition is made explicit here)",
        status="new",
        functions=("drafting.speculate",),
        tests=(
            "test_drafting_pays_if_and_only_if_some_count_does",
            "test_the_best_draft_count_is_that_of_brute_force",
        ),
        assumptions=("L < alpha.",),
        assumed=(pays,),
        claims=(one, gain),
        steps=(
            step("One draft makes this many tokens,", one, Evaluate()),
            step("so one draft is faster than none.", gain, Coefficients(), pays),
        ),
    )


def best_num_drafts() -> Statement:
    """Show that the speed-up has one peak, and where the search may stop."""
    mean = sp.Symbol("E", positive=True)
    here, there = mean / (1 + length * ratio), (mean + power) / (1 + (length + 1) * ratio)
    change = eq(
        (there - here) * (1 + length * ratio) * (1 + (length + 1) * ratio),
        power * (1 + length * ratio) - ratio * mean,
    )
    gain = power * (1 + length * ratio) - ratio * mean
    later = gain.subs({power: power * acceptance, length: length + 1, mean: mean + power}, simultaneous=True)
    step_down = eq(later - gain, -power * (1 - acceptance) * (1 + (length + 1) * ratio))
    below = lt(acceptance, 1)
    falls = lt(later, gain)
    return Statement(
        name="drafting.best_num_drafts",
        title="The speed-up has one peak",
        source="here",
        status="new",
        functions=("drafting.best_num_drafts",),
        tests=(
            "test_the_lambert_form_is_stationary_and_its_neighbour_the_best_count",
            "test_the_best_draft_count_is_that_of_brute_force",
        ),
        assumptions=("alpha < 1; E = E_N at g drafts, q = alpha^(g+1) is what one more draft adds.",),
        assumed=(below,),
        claims=(change, falls),
        steps=(
            step("One more draft changes the speed-up by a multiple of", change, Evaluate()),
            step("That bracket changes by", step_down, Evaluate()),
            step(
                "and so only falls: once the speed-up stops rising it never rises again.",
                falls,
                Coefficients(),
                below,
            ),
        ),
    )


def recorded_survival() -> Statement:
    """Show what is left of the closed forms where drafts are not kept with one chance."""
    first, here, after, later = sp.symbols("P_1 P Pprime Pdprime", nonnegative=True)
    chances = sp.IndexedBase("P")
    count = sp.Symbol("i", integer=True, positive=True)
    mean = sp.Symbol("E_N", positive=True)
    cost = sp.Symbol("L", positive=True)
    proof = Proof()
    total_of = sp.Sum(chances[count], (count, 1, drafts))
    mean_is = proof.assume(eq(mean, 1 + total_of))
    falls = proof.assume(le(here, first))
    smaller = proof.assume(le(first, cost))
    change = proof.step(
        "One more draft changes the speed-up by this, up to a positive factor.",
        eq(
            (mean + after) * (1 + drafts * cost) - mean * (1 + (drafts + 1) * cost),
            after * (1 + drafts * cost) - cost * mean,
        ),
        Evaluate(),
    )
    falling = proof.assume(le(later, after))
    peak = proof.step(
        "The next change is smaller, so that there is one peak.",
        le(
            later * (1 + (drafts + 1) * cost) - cost * (mean + after),
            after * (1 + drafts * cost) - cost * mean,
        ),
        Combine((1 + (drafts + 1) * cost,)),
        falling,
    )
    each = proof.step(
        "Where not even the first draft is kept as often as L, none is,",
        le(here, cost),
        Combine((1, 1)),
        falls,
        smaller,
    )
    summed = proof.step(
        "nor are all together:",
        le(total_of, drafts * cost),
        SumOver(count, drafts, ((here, chances[count]),)),
        each,
    )
    never = proof.step(
        "no number of drafts makes up for its time.",
        le(mean, 1 + drafts * cost),
        Combine((1, 1)),
        mean_is,
        summed,
    )
    return Statement(
        name="drafting.recorded_survival",
        title="Drafts of a recorded survival curve",
        source="here",
        status="new",
        functions=("drafting.best_drafts_of_survival",),
        tests=(
            "test_survival_and_its_one_peak",
            "test_the_best_count_of_a_survival_curve_is_that_of_brute_force",
        ),
        assumptions=(
            "P_i: chance that the first i drafts of a run are kept, whatever makes them; it cannot rise. "
            "More than i tokens come if they were, so that E_N = 1 + P_1 + ... + P_gamma. P, Pprime, "
            "Pdprime: the chances at any place, at gamma + 1 and at gamma + 2. L: time that a draft adds "
            "over that of a round without drafts; the speed-up over that round is E_N/(1 + gamma L).",
        ),
        assumed=proof.assumed,
        claims=(change, peak, never),
        steps=proof.steps,
    )


def continuous_num_drafts() -> Statement:
    """Derive the Lambert form of the best draft count."""
    log_alpha = sp.Symbol("kappa", positive=True)  # -ln alpha
    decay = sp.exp(-log_alpha * (length + 1))
    speed = (1 - decay) / (1 + length * ratio)
    numerator = log_alpha * decay * (1 + length * ratio) - ratio * (1 - decay)
    slope = eq(sp.Derivative(speed, length) * (1 + length * ratio) ** 2, numerator)
    curve = lt(sp.Derivative(numerator, length), 0)
    shifted = sp.Symbol("w", positive=True)
    put = shifted / log_alpha - 1 / log_alpha - 1 / ratio
    scaled = eq(
        numerator.subs(length, put) * sp.exp(shifted) / ratio,
        shifted * sp.exp(1 + log_alpha * (1 / ratio - 1)) - sp.exp(shifted),
    )
    exponent = log_alpha * (1 / ratio - 1)
    vanishes = eq(shifted * sp.exp(1 + exponent) - sp.exp(shifted), 0)
    as_w = eq(-shifted * sp.exp(-shifted), -sp.exp(-exponent) / sp.E)
    lambert = sp.Symbol("W", real=True)
    lambert_is = eq(lambert, -shifted)
    equation = eq(lambert * sp.exp(lambert), -sp.exp(-exponent) / sp.E)
    back = eq(put.subs(shifted, -lambert), (lambert + 1) / (-log_alpha) - 1 / ratio)
    branch = eq((log_alpha * (length + 1 / ratio) + 1).subs(length, put), shifted)
    less = lt(ratio, 1)
    positive = lt(0, log_alpha * (1 / ratio - 1))
    printed = at(
        (sp.LambertW(-(acceptance ** (1 / ratio - 1)) / sp.E, -1) + 1) / sp.log(acceptance) - 1 / ratio,
        {acceptance: sp.Rational(3, 5), ratio: sp.Rational(1, 100)},
    )
    number = rounds_to(printed, "6.8657")
    return Statement(
        name="drafting.continuous_num_drafts",
        title="Best draft count in closed form",
        source=SOURCE_TK,
        status="printed",
        functions=("drafting.continuous_num_drafts", "drafting.printed_num_drafts"),
        tests=(
            "test_the_lambert_form_is_stationary_and_its_neighbour_the_best_count",
            "test_the_lambert_form_is_stationary_and_rounds_to_the_search",
        ),
        assumptions=(
            "kappa = -ln alpha > 0, 0 < L < 1, g real. w = 1 + kappa (g + 1/L) > 1, so g = (w - 1)/kappa - "
            "1/L.",
            "At the best g the slope of the speed-up, so the bracket in w, vanishes; W = -w. Lambert's W "
            "solves W exp(W) = z; the branch W_(-1) is the solution below -1.",
        ),
        assumed=(less, vanishes, lambert_is),
        claims=(slope, curve, equation, back, number),
        steps=(
            step(
                "Slope of the speed-up, times the square of the round time (times 1 - alpha).",
                slope,
                Evaluate(),
            ),
            step(
                "The bracket falls in g: the speed-up has one stationary point, its maximum.",
                curve,
                Evaluate(),
            ),
            step("Write it in w,", scaled, Evaluate()),
            step(
                "so that it vanishes where -w exp(-w) has this value (times exp(-w), divided by the "
                "exponential that is free of w):",
                as_w,
                Combine((sp.exp(-shifted) * sp.exp(-1 - exponent),)),
                vanishes,
            ),
            step("W = -w is a value of Lambert's function.", equation, Rename(), as_w, lambert_is),
            step(
                "The exponent is positive, so the value lies in (0, 1/e) and both branches exist;",
                positive,
                Coefficients(),
                less,
            ),
            step(
                "w is 1 + kappa (g + 1/L) > 1, so W = -w lies below -1: the branch W_(-1).",
                branch,
                Evaluate(),
            ),
            step("Back in g: the printed form, with -kappa = ln alpha.", back, Evaluate()),
            step("alpha = 0.6, L = 0.01 (the better neighbour is 7):", number, Numeric()),
        ),
    )


def sync_tokens_per_round() -> Statement:
    """Derive the tokens that one round of verify-on-sync commits, for geometric runs."""
    trigger, keep_skip, keep_send = sp.symbols("p a_s a_t", positive=True)
    skip = 1 - trigger
    survive = sp.Symbol("r", positive=True)
    series = geometric(survive, "Draft n is reached, alive, with chance r^(n-1).")
    survive_is = eq(survive, skip * keep_skip)
    reach = sp.Symbol("A", positive=True)
    reach_is = eq(reach, series.total)
    reach_scaled = eq(reach * (1 - survive), 1)
    reach_value = eq(reach, 1 / (1 - survive))
    kept, whole, tokens, bonus, risk = sp.symbols("K F E_N E_bonus R", positive=True)
    kept_is = eq(kept, (skip * keep_skip + trigger * keep_send) * reach)
    whole_is = eq(whole, trigger * keep_send * reach)
    tokens_are = eq(tokens, kept + 1 - whole)
    bonus_is = eq(bonus, kept + 1)
    plain = eq(tokens, 1 / (1 - skip * keep_skip))
    with_bonus = eq(bonus, (1 + trigger * keep_send) / (1 - skip * keep_skip))
    risk_is = eq(keep_skip, 1 - risk / skip)
    claim = eq(tokens, 1 / (trigger + risk))
    claim_bonus = eq(bonus, (1 + trigger * keep_send) / (trigger + risk))
    claim_whole = eq(whole, trigger * keep_send / (trigger + risk))
    rolled = eq(
        1 / trigger - kept, 1 / trigger - (skip * keep_skip + trigger * keep_send) / (1 - skip * keep_skip)
    )
    none = eq(at(1 / (trigger + risk), {risk: 0}), 1 / trigger)
    return Statement(
        name="drafting.sync_tokens_per_round",
        title="Verify on sync: tokens a round",
        source="here",
        status="new",
        functions=("drafting.sync_tokens_per_round",),
        tests=(
            "test_sync_tokens_per_round",
            "test_sync_rounds_are_those_of_a_simulation",
        ),
        assumptions=(
            "Drafts are alike and independent: each triggers a transmission with chance p; skipped ones "
            "survive verification with chance a_s, the triggering one with a_t. R = (1 - p)(1 - a_s) is "
            "CU-HLM's risk at this trigger.",
            "Draft n is reached by the verification, alive, with chance r^(n-1), r = (1 - p) a_s; A is the "
            "sum of these chances. K: kept drafts; F: chance that the whole run is kept, the sum of r^(n-1) "
            "p a_t. E_N: tokens of a round; E_bonus: the same with the bonus.",
            "The first rejected draft is replaced by one token; the bonus is the LLM's own token after a "
            "run kept whole.",
        ),
        assumed=(
            survive_is,
            series.below_one,
            reach_is,
            kept_is,
            whole_is,
            tokens_are,
            bonus_is,
            risk_is,
        ),
        claims=(reach_scaled, plain, claim, claim_bonus, none, claim_whole),
        steps=(
            *series.steps,
            step("In short,", reach_scaled, Combine((1 - survive, 1)), reach_is, series.value),
            step("Drafts that are reached a round.", reach_value, Solve(reach), reach_scaled),
            step(
                "Kept drafts and one replacement unless the run was kept whole: the triggering draft's part "
                "cancels.",
                plain,
                Evaluate(),
                tokens_are,
                kept_is,
                whole_is,
                reach_value,
                survive_is,
            ),
            step(
                "With the bonus every round adds one token.",
                with_bonus,
                Evaluate(),
                bonus_is,
                kept_is,
                reach_value,
                survive_is,
            ),
            step("In terms of the risk:", claim, Evaluate(), plain, risk_is),
            step("and with the bonus:", claim_bonus, Evaluate(), with_bonus, risk_is),
            step(
                "The run is kept whole with chance",
                claim_whole,
                Evaluate(),
                whole_is,
                reach_value,
                survive_is,
                risk_is,
            ),
            step(
                "Drafts rolled back: run length 1/p less those kept.",
                rolled,
                Evaluate(),
                kept_is,
                reach_value,
                survive_is,
            ),
            step("Without risk the run is never cut short.", none, Evaluate()),
        ),
    )


def sync_latency() -> Statement:
    """Derive the latency of a token under verify-on-sync."""
    trigger, risk, keep_send = sp.symbols("p R a_t", positive=True)
    slm, fixed, packet = sp.symbols("tau_SLM t_0 tau_b", positive=True)
    each = sp.Symbol("t_1", nonnegative=True)
    well, law = sp.symbols("tau_ok tau_y", nonnegative=True)
    run, waits = sp.symbols("N_d q", positive=True)
    series = geometric(waits, "Draft n is made with chance q^(n-1), if none before it triggered.")
    waits_is = eq(trigger, 1 - waits)
    run_is = eq(run, series.total)
    run_scaled = eq(run * trigger, 1)
    run_value = eq(run, 1 / trigger)
    duration, tokens, mean = sp.symbols("D E_N T", positive=True)
    lemma = sync_tokens_per_round()
    tokens_are, whole_is = lemma.claims[2], lemma.claims[5]
    whole = sp.Symbol("F", positive=True)
    duration_is = eq(duration, run * (slm + packet + each) + fixed + whole * well + (1 - whole) * law)
    mean_is = eq(mean, duration / tokens)
    claim = eq(
        mean,
        ((slm + packet + each) / trigger + fixed + law) * (trigger + risk)
        - (law - well) * trigger * keep_send,
    )
    split = eq(
        at(claim.rhs, {law: 0, well: 0}),
        slm + packet + each + trigger * fixed + risk * ((slm + packet + each) / trigger + fixed),
    )
    return Statement(
        name="drafting.sync_latency",
        title="Verify on sync: latency of a token",
        source="here",
        status="new",
        functions=("drafting.sync_latency_s",),
        tests=(
            "test_sync_latency_and_its_break_even",
            "test_sync_rounds_are_those_of_a_simulation",
        ),
        assumptions=(
            "A draft triggers a transmission with chance p; q = 1 - p. A round makes N_d drafts on average, "
            "sends a packet of tau_b for each and runs the LLM once, over all of them: t_0 + N_d t_1 on "
            "average. R is CU-HLM's risk, E_N the tokens of a round and F the chance that its run is kept "
            "whole (lemma), a_t as there. The answer takes tau_ok then and tau_y, a law, otherwise. D: mean "
            "duration of a round; T: time a token.",
        ),
        assumed=(waits_is, series.below_one, run_is, duration_is, mean_is),
        lemmas=(lemma,),
        claims=(run_scaled, claim, split),
        steps=(
            *series.steps,
            step(
                "So the mean run, times p, is 1.",
                run_scaled,
                Combine((run, 1 - waits, 1)),
                waits_is,
                run_is,
                series.value,
            ),
            step("Mean run.", run_value, Solve(run), run_scaled),
            step(
                "Duration over tokens.",
                claim,
                Evaluate(),
                mean_is,
                duration_is,
                run_value,
                tokens_are,
                whole_is,
            ),
            step(
                "With answers that take no time and without risk it is the floor with a scalar more; risk "
                "costs whole rounds.",
                split,
                Evaluate(),
            ),
        ),
    )


def sync_break_even_risk() -> Statement:
    """Solve for the risk at which verify-on-sync and CU-HLM are equally fast."""
    trigger = sp.Symbol("p", positive=True)
    risk = sp.Symbol("R", real=True)
    keep_send, slm, fixed, packet, up = sp.symbols("a_t tau_SLM t_0 tau_b tau_k", positive=True)
    well, law, answer, each = sp.symbols("tau_ok tau_y tau_d t_1", nonnegative=True)
    busy = (slm + packet + each) / trigger + fixed + law
    sync = busy * (trigger + risk) - (law - well) * trigger * keep_send
    plain = slm + trigger * (up + fixed + answer) + each
    rises = lt(0, sp.Derivative(sync - plain, risk))
    equal = eq(sync - plain, 0)
    claim = eq(risk, (plain + (law - well) * trigger * keep_send) / busy - trigger)
    free = eq(
        at(claim.rhs, {law: 0, well: 0, answer: 0}),
        trigger * (trigger * up - packet) / (slm + packet + each + trigger * fixed),
    )
    return Statement(
        name="drafting.sync_break_even_risk",
        title="Verify on sync against CU-HLM",
        source="here",
        status="new",
        functions=("drafting.sync_break_even_risk",),
        tests=(
            "test_sync_latency_and_its_break_even",
            "test_at_the_break_even_risk_both_are_equally_fast",
        ),
        assumptions=(
            "Both at the same trigger of chance p, without the bonus token; R is CU-HLM's risk and a_t the "
            "chance that a transmitted draft is kept. Verify-on-sync sends tau_b a draft and waits tau_ok "
            "or tau_y, as before; CU-HLM sends tau_k a transmission and waits tau_d for the answer. A pass "
            "of the LLM takes t_0 and t_1 for each token it reads, and it reads every draft.",
        ),
        assumed=(equal,),
        claims=(rises, claim, free),
        steps=(
            step("Risk slows verify-on-sync (it biases CU-HLM instead).", rises, Evaluate()),
            step("Equal latency at", claim, OnlyRoot(risk), equal, rises),
            step("and with answers that take no time at", free, Evaluate()),
        ),
    )


def schedule() -> Statement:
    """Derive where a schedule of two drafts more and one fewer settles, whatever anything costs."""
    hazard = sp.Symbol("lambda", positive=True)
    drift = 3 * sp.exp(-hazard * length) - 1
    falls = lt(sp.Derivative(drift, length), 0)
    still = eq(drift, 0)
    claim = eq(length, sp.log(3) / hazard)
    return Statement(
        name="drafting.schedule",
        title="Where two drafts more and one fewer settle",
        source="here",
        status="new",
        functions=("schemes.recorded_scheduled_rounds", "schemes.independent_scheduled_rounds"),
        tests=(
            "test_a_schedule_keeps_one_round_in_three_whole",
            "test_scheduled_rounds_over_a_recording_are_those_of_its_replay",
        ),
        assumptions=(
            "The schedule of transformers: after a round that was kept whole, chance P, the next has two "
            "drafts more, after any other one fewer. Drafts are kept independently with chance alpha = "
            "exp(-lambda), so P = exp(-lambda g) with g drafts.",
            "Where the mean change is 0; what a draft, a pass and the link cost has no part in it.",
        ),
        assumed=(still,),
        claims=(claim,),
        steps=(
            step(
                "The number changes on average by 2 P - (1 - P) = 3 P - 1, which falls with it",
                falls,
                Evaluate(),
            ),
            step("and is 0 where one round in three is kept whole.", claim, OnlyRoot(length), still, falls),
        ),
    )


BUILDERS: tuple[Builder, ...] = (
    expected_tokens,
    draft_bound,
    latency_ratio,
    speculation_speedup,
    operations_ratio,
    speculate,
    speculation_never_pays,
    best_num_drafts,
    recorded_survival,
    continuous_num_drafts,
    sync_tokens_per_round,
    sync_latency,
    sync_break_even_risk,
    schedule,
)
