# sympy annotates many results as Basic, so the type checker cannot follow its arithmetic.
# pyright: reportArgumentType=false, reportAssignmentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportReturnType=false
"""Schemes: what the rows of the table rest on, where it is not covered by the sections before."""

import sympy as sp

from derivations.rules import Combine, Evaluate, Numeric, Orderings, SumOver
from derivations.statement import Builder, Statement, at, eq, le, lt, step
from derivations.verification import distance, output_law, total_variation
from derivations.vocabulary import over, pos, summing, token, x, y


def rand_hlm() -> Statement:
    """Derive the bias of skipping at random."""
    lemma = total_variation()
    chance = sp.Symbol("c", positive=True)
    line = eq(x * chance * (1 - sp.Min(1, y / x)), chance * pos(x - y))
    claim = eq(over(x * chance * (1 - sp.Min(1, y / x))), chance * distance)
    return Statement(
        name="schemes.rand_hlm",
        title="Skipping at random",
        source="U, arXiv:2412.12687 (the baseline); its bias here",
        status="new",
        functions=("schemes.evaluate",),
        tests=(
            "test_rand_hlm_bias",
            "test_random_skipping_is_biased_in_proportion_and_defaults_to_the_rate_of_the_threshold",
        ),
        assumptions=(
            "Every draft is kept with the same probability c; risk is bias (verification.risk_is_bias).",
        ),
        lemmas=(lemma,),
        claims=(claim,),
        steps=(
            step("One token's part of the risk is", line, Orderings((x, y))),
            step("The bias is the share skipped times TV(x, y).", claim, summing(), line, lemma.claims[0]),
        ),
    )


def downlink_resampling() -> Statement:
    """Show that DSSD puts out the law of speculative sampling with scalars on the uplink."""
    exact = output_law()
    refused, distance = sp.symbols("P_rej T", positive=True)
    accept_known = eq(sp.Min(1, y / x), sp.Min(x, y) / x)
    claim = eq(x * (sp.Min(x, y) / x) + refused * pos(y - x) / distance, y)
    return Statement(
        name="schemes.downlink_resampling",
        title="Index and one probability up, a distribution down",
        source="DSSD, arXiv:2507.12000",
        status="printed",
        functions=("schemes.evaluate",),
        tests=(
            "test_a_residual_drawn_on_the_device_gives_the_llms_law",
            "test_protocols_of_several_drafts_are_exact_on_a_chain",
        ),
        assumptions=(
            "The server has d, x_d and its own y, enough for the test; after a rejection, of chance P_rej, "
            "it sends y, and the device, which has x, draws from the residual (y - x)_+ / T, T = TV(x, y).",
        ),
        lemmas=(exact,),
        claims=(claim,),
        steps=(
            step(
                "The test, which uses x and y at the draft only, in two forms.",
                accept_known,
                Orderings((x, y)),
            ),
            step(
                "The output has the law of the lemma: no bias.",
                claim,
                Combine((x, 1)),
                accept_known,
                exact.claims[0],
            ),
        ),
        glue="Who draws does not change the law of what is drawn.",
    )


def recorded_rounds() -> Statement:
    """Count the tokens of a round over a run of given acceptances."""
    claims, steps = [], []
    for number in (3, 4):
        keep = sp.symbols(f"a_1:{number + 1}", positive=True)
        exactly = [sp.Mul(*keep[:j]) * (1 - keep[j]) for j in range(number)] + [sp.Mul(*keep)]
        outcomes = sp.Add(*(j * chance for j, chance in enumerate(exactly)))
        tails = sp.Add(*(sp.Mul(*keep[: j + 1]) for j in range(number)))
        kept = eq(outcomes, tails)
        certain = eq(sp.Add(*exactly), 1)
        committed = eq(
            sp.Add(*((j + 1) * chance for j, chance in enumerate(exactly[:-1]))) + number * exactly[-1],
            tails + 1 - sp.Mul(*keep),
        )
        claims += [kept, committed]
        steps += [
            step(f"A run of {number} drafts: the outcomes exhaust all cases.", certain, Evaluate()),
            step(
                "Kept drafts, outcome by outcome, are the sum of the products of acceptances.",
                kept,
                Evaluate(),
            ),
            step("With the replaced draft, and nothing after a run kept whole:", committed, Evaluate()),
        ]
    return Statement(
        name="schemes.recorded_rounds",
        title="Tokens a round keeps",
        source="here",
        status="new",
        functions=("schemes.rounds.recorded_rounds",),
        tests=(
            "test_recorded_rounds_of_one_run_commit_the_derived_tokens",
            "test_rounds_over_a_recording_are_those_of_a_replay_with_dice",
        ),
        assumptions=(
            "Draft i of the run is kept with chance a_i = 1 - beta_i if all before it were; then the run "
            "ends.",
        ),
        claims=tuple(claims),
        steps=tuple(steps),
        glue="The same for every length: E[N] is the sum over j >= 1 of P(N >= j).",
    )


def lattice() -> Statement:
    """Count the lattice points that K probabilities can take."""
    levels, kept = sp.symbols("ell K", integer=True, positive=True)
    first = sp.Symbol("j", integer=True, nonnegative=True)
    pairs_of = eq(sp.Sum(sp.S.One, (first, 0, levels)), sp.binomial(levels + 1, 1))
    pascal = eq(
        sp.binomial(levels + kept, kept),
        sp.binomial(levels + kept - 1, kept) + sp.binomial(levels + kept - 1, kept - 1),
    )
    bits, size = sp.symbols("b V", integer=True, positive=True)
    sets = at(sp.binomial(size, kept), {size: 32000, kept: 2})
    counts = at(sp.binomial(levels + kept - 1, kept - 1), {levels: 100, kept: 2})
    index, index_low = le(sets, at(2**bits, {bits: 29})), lt(at(2**bits, {bits: 28}), sets)
    value, value_low = le(counts, at(2**bits, {bits: 7})), lt(at(2**bits, {bits: 6}), counts)
    both = eq(at(bits + 7, {bits: 29}), 36)
    return Statement(
        name="schemes.lattice",
        title="Bits of a lattice distribution",
        source="SQS, arXiv:2510.09942",
        status="printed",
        functions=("schemes.table.lattice_bit",),
        tests=(
            "test_lattice_bits_count_what_can_be_sent",
            "test_lattice_bits",
        ),
        assumptions=(
            "K counts that are not negative and sum to ell; the set of K tokens is one of C(V, K).",
        ),
        claims=(pairs_of, pascal, both),
        steps=(
            step("Two counts: ell + 1 ways.", pairs_of, Evaluate()),
            step(
                "With K + 1 counts the last is 0, or take one off it: Pascal's rule, so the ways are C(ell + "
                "K - 1, K - 1) by induction.",
                pascal,
                Evaluate(),
            ),
            step("K = 2, ell = 100, V = 32000: the set fits 29 bits,", index, Numeric()),
            step("not 28;", index_low, Numeric()),
            step("the counts fit 7,", value, Numeric()),
            step("not 6:", value_low, Numeric()),
            step("together", both, Numeric()),
        ),
    )


def conformal_dropped_mass() -> Statement:
    """Bound the mean mass that C-SQS drops."""
    start, end = sp.symbols("b_1 b_end", real=True)
    target = sp.Symbol("alpha", nonnegative=True)
    rate = sp.Symbol("eta", positive=True)
    rounds = sp.Symbol("T", integer=True, positive=True)
    D = sp.IndexedBase("d")
    B = sp.IndexedBase("b")
    now, then, mass = sp.symbols("b_n b_next d", real=True)
    update = eq(then, now - rate * (mass - target))
    line = eq(rate * mass, now - then + rate * target)
    dropped = sp.Sum(D[token], (token, 1, rounds))
    telescoped = eq(
        rate * dropped,
        sp.Sum(B[token], (token, 1, rounds))
        - sp.Sum(B[token + 1], (token, 1, rounds))
        + rounds * rate * target,
    )
    ends = eq(sp.Sum(B[token], (token, 1, rounds)) - sp.Sum(B[token + 1], (token, 1, rounds)), start - end)
    total_drop = eq(rate * dropped, start - end + rounds * rate * target)
    low = le(-rate * (1 - target), end)
    most = le(mass, 1)
    above = sp.Symbol("b_plus", nonnegative=True)
    update_above = eq(then, above - rate * (mass - target))
    falls = le(-rate * (1 - target), then)
    update_below = eq(then, now + rate * target)
    rises = le(now, then)
    claim = le(dropped / rounds, target + (start + rate * (1 - target)) / (rate * rounds))
    return Statement(
        name="schemes.conformal_dropped_mass",
        title="Mean mass that C-SQS drops",
        source="SQS, arXiv:2510.09942; the constant is derived here",
        status="new",
        functions=("schemes.rules.conformal_sizes",),
        tests=(
            "test_mean_dropped_mass_of_c_sqs_is_within_its_bound",
            "test_the_conformal_threshold_keeps_the_dropped_mass_near_its_target",
        ),
        assumptions=(
            "b_next = b_n - eta (d - alpha), d in [0, 1] the mass below the threshold b_n; 0 <= alpha <= 1; "
            "T tokens.",
            "b_plus is a threshold that is not negative; a threshold of at most 0 drops nothing (d = 0).",
            "b_1 >= -eta (1 - alpha), and so the last threshold b_end is too, by the first two steps and "
            "induction. The difference of the two shifted sums is b_1 - b_end (telescoping).",
        ),
        assumed=(update, most, update_above, update_below, low, ends),
        claims=(falls, rises, total_drop, claim),
        steps=(
            step(
                "From above 0 the threshold falls by at most eta (1 - alpha),",
                falls,
                Combine((1, rate)),
                update_above,
                most,
            ),
            step("from below it rises.", rises, Combine(), update_below),
            step("One token's update, rearranged.", line, Combine((1,)), update),
            step(
                "Sum over the tokens.",
                telescoped,
                SumOver(token, rounds, ((now, B[token]), (then, B[token + 1]), (mass, D[token]))),
                line,
            ),
            step("The thresholds telescope.", total_drop, Combine(), telescoped, ends),
            step(
                "The last threshold is bounded from below.",
                claim,
                Combine((1 / (rate * rounds), 1 / (rate * rounds))),
                total_drop,
                low,
            ),
        ),
        departs="PEERS.md prints (|b_1| + 1 + eta alpha)/(eta T) for the excess. The derivation gives (b_1 + "
        "eta (1 - alpha))/(eta T), which is smaller whenever eta (1 - 2 alpha) <= 1.",
    )


BUILDERS: tuple[Builder, ...] = (
    rand_hlm,
    downlink_resampling,
    recorded_rounds,
    lattice,
    conformal_dropped_mass,
)
