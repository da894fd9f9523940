"""Schemes: what the rows of the table rest on, where it is not covered by the sections before."""

import sympy as sp

from derivations.rules import Combine, Evaluate, Numeric, Orderings, SumOver, Telescope
from derivations.statement import Builder, Proof, Statement, at, eq, le, lt, step
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
        functions=("schemes.skip.AtRandom",),
        tests=(
            "test_rand_hlm_bias",
            "test_random_skipping_is_biased_in_proportion_and_asks_for_its_rate",
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
        functions=("schemes.verification.PrefixOnDevice",),
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
    last = sp.Symbol("n", integer=True, positive=True)
    stands, before, place = sp.symbols("A A_before j", nonnegative=True)
    A = sp.IndexedBase("A")
    proof = Proof()
    certain = proof.assume(eq(A[0], 1))
    coordinates = ((stands, A[token]), (before, A[token - 1]), (place, token))
    over_run = SumOver(token, last, coordinates)

    def run(expression: sp.Expr) -> sp.Sum:
        return sp.Sum(expression, (token, 1, last))

    ends = proof.step(
        "The run ends somewhere: what each draft loses telescopes,",
        eq(run(A[token - 1] - A[token]), A[0] - A[last]),
        Telescope(A[token - 1]),
    )
    outcomes = proof.step(
        "so with a run kept whole the outcomes exhaust all cases.",
        eq(run(A[token - 1] - A[token]) + A[last], 1),
        Combine(),
        ends,
        certain,
    )
    line = proof.step(
        "The run that ends at draft j keeps j - 1; by parts,",
        eq((place - 1) * (before - stands), ((place - 1) * before - place * stands) + stands),
        Evaluate(),
    )
    summed = proof.step(
        "summed over the drafts,",
        eq(
            run((token - 1) * (A[token - 1] - A[token])),
            run((token - 1) * A[token - 1] - token * A[token]) + run(A[token]),
        ),
        over_run,
        line,
    )
    gone = proof.step(
        "where the first sum telescopes,",
        eq(run((token - 1) * A[token - 1] - token * A[token]), -last * A[last]),
        Telescope((token - 1) * A[token - 1]),
    )
    kept = proof.step(
        "and with the n drafts of a run kept whole: the drafts kept are the sum of the chances to stand.",
        eq(run((token - 1) * (A[token - 1] - A[token])) + last * A[last], run(A[token])),
        Combine(),
        summed,
        gone,
    )
    committed = proof.step(
        "The draft that ends the run is replaced by one token; nothing follows a run kept whole.",
        eq(
            run((token - 1) * (A[token - 1] - A[token])) + run(A[token - 1] - A[token]) + last * A[last],
            run(A[token]) + 1 - A[last],
        ),
        Combine(),
        kept,
        outcomes,
    )
    for number in (3, 4):
        keep = sp.symbols(f"a_1:{number + 1}", positive=True)
        exactly = [sp.Mul(*keep[:j]) * (1 - keep[j]) for j in range(number)] + [sp.Mul(*keep)]
        tails = sp.Add(*(sp.Mul(*keep[: j + 1]) for j in range(number)))
        proof.step(
            f"Independent check, outcome by outcome, with {number} drafts.",
            eq(
                sp.Add(*((j + 1) * chance for j, chance in enumerate(exactly[:-1]))) + number * exactly[-1],
                tails + 1 - sp.Mul(*keep),
            ),
            Evaluate(),
        )
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
            "Draft j of a run of n is kept with chance a_j = 1 - beta_j if all before it were; the first "
            "that is not ends the run. A_j, the product of a_1 to a_j, is the chance that the run stands "
            "after j drafts, so it ends at draft j with chance A_before - A, A_before being A_(j-1).",
        ),
        assumed=proof.assumed,
        claims=(outcomes, kept, committed),
        steps=proof.steps,
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
        functions=("schemes.payload.lattice_bit",),
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
    start = sp.Symbol("b_1", real=True)
    target = sp.Symbol("alpha", nonnegative=True)
    rate = sp.Symbol("eta", positive=True)
    rounds, rising = sp.symbols("T r", integer=True, positive=True)
    D, B, C = sp.IndexedBase("d"), sp.IndexedBase("b"), sp.IndexedBase("c")
    now, then, mass = sp.symbols("b_n b_next d", real=True)
    coordinates = ((now, B[token]), (then, B[token + 1]), (mass, D[token]))
    proof = Proof()
    update = proof.assume(eq(then, now - rate * (mass - target)))
    above = sp.Symbol("b_plus", nonnegative=True)
    update_above = proof.assume(eq(then, above - rate * (mass - target)))
    most = proof.assume(le(mass, 1))
    falls = proof.step(
        "From above 0 the threshold falls by at most eta (1 - alpha),",
        le(-rate * (1 - target), then),
        Combine((1, rate)),
        update_above,
        most,
    )
    update_below = proof.assume(eq(then, now + rate * target))
    rises = proof.step("from below it does not fall.", le(now, then), Combine(), update_below)
    climb = proof.step(
        "So from r on, where it stays below 0 up to the end, its changes",
        le(sp.Sum(C[token] - C[token + 1], (token, 1, rising)), 0),
        SumOver(token, rising, ((now, C[token]), (then, C[token + 1]))),
        rises,
    )
    climbed = proof.step(
        "telescope",
        eq(sp.Sum(C[token] - C[token + 1], (token, 1, rising)), C[1] - C[rising + 1]),
        Telescope(C[token]),
    )
    lowest, end = sp.symbols("b_low b_end", real=True)
    lowest_is, end_is = proof.assume(eq(C[1], lowest)), proof.assume(eq(C[rising + 1], end))
    up = proof.step("to a rise:", le(lowest, end), Combine(), climb, climbed, lowest_is, end_is)
    low = proof.assume(le(-rate * (1 - target), lowest))
    ends_at = proof.step(
        "the last threshold is bounded from below, as the first of those was.",
        le(-rate * (1 - target), end),
        Combine(),
        low,
        up,
    )
    line = proof.step(
        "One token's update, rearranged.", eq(rate * mass, now - then + rate * target), Combine((1,)), update
    )
    dropped = sp.Sum(D[token], (token, 1, rounds))
    summed = proof.step(
        "Sum over the tokens.",
        eq(rate * dropped, sp.Sum(B[token] - B[token + 1], (token, 1, rounds)) + rounds * rate * target),
        SumOver(token, rounds, coordinates),
        line,
    )
    telescoped = proof.step(
        "The thresholds telescope,",
        eq(sp.Sum(B[token] - B[token + 1], (token, 1, rounds)), B[1] - B[rounds + 1]),
        Telescope(B[token]),
    )
    first_is, last_is = proof.assume(eq(B[1], start)), proof.assume(eq(B[rounds + 1], end))
    total_drop = proof.step(
        "so all that is dropped is",
        eq(rate * dropped, start - end + rounds * rate * target),
        Combine(),
        summed,
        telescoped,
        first_is,
        last_is,
    )
    claim = proof.step(
        "The last threshold is bounded.",
        le(dropped / rounds, target + (start + rate * (1 - target)) / (rate * rounds)),
        Combine((1 / (rate * rounds), 1 / (rate * rounds))),
        total_drop,
        ends_at,
    )
    return Statement(
        name="schemes.conformal_dropped_mass",
        title="Mean mass that C-SQS drops",
        source="SQS, arXiv:2510.09942; the constant is derived here",
        status="new",
        functions=("schemes.payload.conformal_sizes",),
        tests=(
            "test_mean_dropped_mass_of_c_sqs_is_within_its_bound",
            "test_the_conformal_threshold_keeps_the_dropped_mass_near_its_target",
        ),
        assumptions=(
            "b_next = b_n - eta (d - alpha), d in [0, 1] the mass below the threshold b_n; 0 <= alpha <= 1; "
            "T tokens; b_1 >= -eta (1 - alpha).",
            "b_plus is a threshold that is not negative; a threshold below 0 drops nothing (d = 0).",
            "b_low is the threshold after the last one that was not negative, or b_1 if all were: at least "
            "-eta (1 - alpha) by the first line. c_1 to c_r are the negative ones from it on, c_(r+1) = "
            "b_end the threshold after the T tokens.",
        ),
        assumed=proof.assumed,
        claims=(falls, rises, ends_at, total_drop, claim),
        steps=proof.steps,
        departs="SQS gives (|b_1| + 1 + eta alpha)/(eta T) for the excess. The derivation gives (b_1 + eta "
        "(1 - alpha))/(eta T), which is smaller whenever eta (1 - 2 alpha) <= 1.",
    )


BUILDERS: tuple[Builder, ...] = (
    rand_hlm,
    downlink_resampling,
    recorded_rounds,
    lattice,
    conformal_dropped_mass,
)
