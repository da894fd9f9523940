"""Truncation: what the server rebuilds from k entries, and what that costs."""

import sympy as sp

from derivations.rules import (
    Coefficients,
    Combine,
    Evaluate,
    Largest,
    Monotone,
    Numeric,
    Orderings,
    Rename,
    SameSum,
    Substitute,
    SumOver,
)
from derivations.statement import Builder, Proof, Statement, at, eq, le, lt, rounds_to, step
from derivations.verification import data_processing, output_law
from derivations.vocabulary import X, Y, other, over, pos, s, size, summing, token, total, x, xh, y

tail, kept = sp.symbols("n k", integer=True, positive=True)
mean = sp.Symbol("mbar", positive=True)

SOURCE_CU = "CU eq. (16), arXiv:2505.11788v1"


def _softplus(value: sp.Expr) -> sp.Expr:
    return sp.log(1 + sp.exp(value))


def reconstruct() -> Statement:
    """Show that what the server rebuilds is a distribution."""
    spread = sp.Symbol("m", positive=True)
    top = sp.Symbol("s_k", positive=True)
    vocabulary = kept + tail
    mean_is = eq(spread, (1 - top) / tail)
    mass = eq(top + sp.Sum(spread, (token, kept + 1, vocabulary)), top + tail * spread)
    claim = eq(top + sp.Sum(spread, (token, kept + 1, vocabulary)), 1)
    return Statement(
        name="truncation.reconstruct",
        title="Reconstruction",
        source=SOURCE_CU,
        status="printed",
        functions=("truncation.reconstruct",),
        tests=(
            "test_the_bias_of_truncation_is_at_most_its_tv",
            "test_server_rebuilds_what_is_printed",
        ),
        assumptions=(
            "The k largest entries, of mass s_k, are kept; each of the other n = V - k gets m = (1 - s_k)/n.",
        ),
        assumed=(mean_is,),
        claims=(claim,),
        steps=(
            step("Sum the entries.", mass, Evaluate()),
            step("The tail mass comes back.", claim, Evaluate(), mean_is),
        ),
    )


def truncation_tv() -> Statement:
    """Derive TV_k and show that it falls with k."""
    half = eq(pos(x - mean), sp.Abs(x - mean) / 2 + x / 2 - mean / 2)
    coordinates = ((x, X[token]),)
    mass = eq(sp.Sum(X[token], (token, 1, tail)), tail * mean)
    deviations = sp.Sum(pos(X[token] - mean), (token, 1, tail))
    distances = sp.Sum(sp.Abs(X[token] - mean), (token, 1, tail))
    claim = eq(deviations, distances / 2)
    flipped = eq(pos(mean - x), pos(x - mean) + mean - x)
    below = sp.Sum(pos(mean - X[token]), (token, 1, tail))
    negative = eq(below, deviations)
    first = sp.Symbol("x_1", positive=True)
    lower = sp.Symbol("mbarprime", positive=True)
    largest = le(mean, first)
    rest_is = eq(lower, mean - (first - mean) / tail)
    balance = eq((tail + 1) * mean - first, tail * (mean - (first - mean) / tail))
    lower_mean = le(lower, mean)
    line = le(pos(lower - x), pos(mean - x))
    summed = le(
        sp.Sum(pos(lower - X[token]), (token, 1, tail)), sp.Sum(pos(mean - X[token]), (token, 1, tail))
    )
    lost = eq(pos(mean - first), 0)
    kept_part = eq(at(sp.Abs(x - xh), {xh: x}), 0)
    return Statement(
        name="truncation.truncation_tv",
        title="What truncation costs, and that it falls with k",
        source="here",
        status="new",
        functions=("truncation.truncation_tv", "truncation.tv_profile", "truncation.exact_k"),
        tests=(
            "test_truncation_tv_is_the_sum_of_positive_deviations_of_the_tail",
            "test_profile_never_rises_and_ends_at_zero",
        ),
        assumptions=(
            "The tail has n entries with mean mbar. For the step from k to k + 1 the tail has n + 1 entries, "
            "the largest of them is x_1, and the other n have mean mbarprime = mbar - (x_1 - mbar)/n.",
        ),
        assumed=(mass, largest, rest_is),
        claims=(claim, negative, summed),
        steps=(
            step("A kept entry adds nothing to the distance.", kept_part, Evaluate()),
            step("A tail entry, above or below the mean:", half, Orderings((x, mean))),
            step(
                "Deviations from the mean cancel, so TV_k is the sum of the positive ones,",
                claim,
                SumOver(token, tail, coordinates),
                half,
                mass,
            ),
            step("or, entry by entry the other way round,", flipped, Orderings((x, mean))),
            step("of the negative ones.", negative, SumOver(token, tail, coordinates), flipped, mass),
            step("Keeping one entry more: the mass of the others, by their new mean.", balance, Evaluate()),
            step("The new mean is no larger,", lower_mean, Combine((1, 1 / tail)), rest_is, largest),
            step("so no negative deviation grows,", line, Orderings((x, lower, mean)), lower_mean),
            step("nor their sum,", summed, SumOver(token, tail, coordinates), line),
            step("and the entry that left had none. So TV_k falls with k.", lost, Coefficients(), largest),
        ),
    )


def exact_rule() -> Statement:
    """Show that the output's bias is at most TV_k by data processing."""
    processing = data_processing()
    K, D, Q, QH, QS = (sp.IndexedBase(name) for name in ("K", "D", "q", "qhat", "q_s"))
    kernel = K[other, token]
    d_is = eq(D[other], over(kernel * (x - xh)))
    to_llm, to_output = eq(over(kernel * xh), Y[other]), eq(over(kernel * x), Q[other])
    to_risky, to_skipping = eq(over(kernel * xh), QH[other]), eq(over(kernel * x), QS[other])
    image = eq(over(kernel * (x - xh)), Q[other] - Y[other])
    image_skips = eq(over(kernel * (x - xh)), QS[other] - QH[other])
    moved, moved_skips = eq(Q[other], D[other] + Y[other]), eq(QS[other], D[other] + QH[other])
    claim = le(total(sp.Abs(Q[other] - Y[other]), other), over(sp.Abs(x - xh)))
    from_kernel = le(total(sp.Abs(QS[other] - QH[other]), other), over(sp.Abs(x - xh)))
    q, qh = sp.symbols("q qhat", positive=True)
    line = le(sp.Abs(q - y), sp.Abs(q - qh) + sp.Abs(qh - y))
    put = ((y, Y[other]), (q, QS[other]), (qh, QH[other]))
    away = total(sp.Abs(QH[other] - Y[other]), other)
    split = le(total(sp.Abs(QS[other] - Y[other]), other), total(sp.Abs(QS[other] - QH[other]), other) + away)
    bound = sp.Symbol("rhohat", nonnegative=True)
    from_risk = eq(away, 2 * bound)
    with_skips = le(total(sp.Abs(QS[other] - Y[other]), other) / 2, bound + over(sp.Abs(x - xh)) / 2)
    return Statement(
        name="truncation.exact_rule",
        title="The exact rule: bias is at most TV_k",
        source="here",
        status="new",
        functions=("truncation.exact_k",),
        tests=(
            "test_the_bias_of_truncation_is_at_most_its_tv",
            "test_truncation_tv_bounds_the_output_bias",
        ),
        assumptions=(
            "On V tokens, draft to output is one Markov kernel K, the same for drafts from x and from xhat: "
            "k depends on the context only. D is the image of x - xhat.",
            "Without skipping, the kernel turns xhat into y (verification is exact: verification.output_law) "
            "and x into q.",
            "With skipping, it turns xhat into qhat, whose total variation from y is the rejection risk "
            "rhohat of drafts from xhat (verification.risk_is_bias), and x into q_s.",
        ),
        assumed=(d_is, to_llm, to_output, to_risky, to_skipping, from_risk),
        lemmas=(processing,),
        claims=(claim, with_skips),
        steps=(
            step(
                "The image of a difference is the difference of the images.",
                image,
                SameSum(),
                to_llm,
                to_output,
            ),
            step("In short,", moved, Combine(), d_is, image),
            step("Data processing (lemma) with that name.", claim, Rename(), processing.claims[0], moved),
            step("With skipping, likewise,", image_skips, SameSum(), to_risky, to_skipping),
            step("in short", moved_skips, Combine(), d_is, image_skips),
            step("and, by data processing,", from_kernel, Rename(), processing.claims[0], moved_skips),
            step("The triangle inequality, one token,", line, Orderings((q, qh, y))),
            step("and summed.", split, SumOver(other, size, put), line),
            step(
                "The first part is data processing, the second the risk against xhat.",
                with_skips,
                Combine((sp.Rational(1, 2),) * 3, sums=True),
                split,
                from_kernel,
                from_risk,
            ),
        ),
        glue="TV_k <= theta therefore bounds the bias by theta for every LLM, and the smallest such k needs "
        "no y.",
    )


def printed_bound() -> Statement:
    """Bound the printed figure of merit by multiples of TV_k."""
    v = sp.Symbol("v", real=True)
    w, beta = sp.symbols("w beta", nonnegative=True)
    chance, rest = sp.symbols("x_d x_o", positive=True)
    slope = lt(0, sp.Derivative(_softplus(v), v))
    from_low = _softplus(w - 1)
    rises = lt(0, sp.Derivative(from_low, w))
    start = eq(sp.Limit(from_low, w, 0), _softplus(-1))
    low = le(_softplus(-1), from_low)
    falls = lt(sp.Derivative(_softplus(-beta), beta), 0)
    start_high = eq(sp.Limit(_softplus(-beta), beta, 0), sp.log(2))
    high = le(_softplus(-beta), sp.log(2))
    beta_is = eq(beta, 1 - w)
    below_two = lt(_softplus(-1), sp.log(2))
    low_beta = le(_softplus(-1), _softplus(-beta))
    one = eq(rest + chance, 1)
    denominator = rest * _softplus(-1) + chance * _softplus(-beta)
    under = le((rest + chance) * _softplus(-1), denominator)
    top = le(denominator, (rest + chance) * sp.log(2))
    low_one = le(_softplus(-1), denominator)
    top_one = le(denominator, sp.log(2))
    lower = le(2 / sp.log(2), 2 / denominator)
    upper = le(2 / denominator, 2 / _softplus(-1))
    ends = (
        rounds_to(2 / sp.log(2), "2.885"),
        rounds_to(2 / _softplus(-1), "6.384"),
    )
    more = lt(1, 2 / sp.log(2))
    return Statement(
        name="truncation.printed_bound",
        title="The printed rule never keeps fewer entries than the exact one",
        source="CU eqs. (23)(24)(26), arXiv:2505.11788v1, reconstructed",
        status="new",
        functions=(
            "truncation.printed_bound",
            "truncation.printed_budget",
            "truncation.printed_k",
            "truncation.printed_k_offline",
        ),
        tests=(
            "test_printed_bound_is_the_derived_quotient_inside_its_interval",
            "test_printed_bound_over_tv_reaches_both_ends",
            "test_printed_rule_agrees_with_brute_force_and_never_keeps_fewer",
        ),
        assumptions=(
            "U(k) = 2 TV_k / [x_o l(-1) + x_d l(-beta)] with l(v) = ln(1 + exp(v)), x_o = 1 - x_d, 0 <= beta "
            "<= 1, w = 1 - beta.",
        ),
        assumed=(beta_is, one),
        claims=(lower, upper, *ends, more),
        steps=(
            step("Softplus rises.", slope, Evaluate()),
            step("Follow it from -1 upwards:", rises, Evaluate()),
            step("it starts at l(-1),", start, Evaluate()),
            step("and stays above.", low, Monotone(w), rises, start),
            step("With w = 1 - beta:", low_beta, Rename(), low, beta_is),
            step("In beta it falls", falls, Evaluate()),
            step("from ln 2,", start_high, Evaluate()),
            step("and stays below.", high, Monotone(beta), falls, start_high),
            step("The two ends are ordered.", below_two, Numeric()),
            step(
                "The denominator is a mean of two such values: at least l(-1),",
                under,
                Combine((chance,)),
                low_beta,
            ),
            step("at most ln 2.", top, Combine((chance, rest)), high, below_two),
            step("The weights sum to 1.", low_one, Combine((1, _softplus(-1))), under, one),
            step("Likewise,", top_one, Combine((1, sp.log(2))), top, one),
            step(
                "Invert: U(k) is at least this multiple of TV_k,",
                lower,
                Combine((2 / (denominator * sp.log(2)),)),
                top_one,
            ),
            step("and at most this one.", upper, Combine((2 / (denominator * _softplus(-1)),)), low_one),
            step("In decimals, from", ends[0], Numeric()),
            step(
                "to (reached at beta = 1; the lower end would need x_d = 1, where nothing is truncated).",
                ends[1],
                Numeric(),
            ),
            step(
                "The multiple exceeds 1: U(k) <= theta implies TV_k <= theta, so the printed rule keeps at "
                "least as many.",
                more,
                Numeric(),
            ),
        ),
    )


def resampling_counterexample() -> Statement:
    """Show by an exact case that the printed figure of merit bounds no total variation."""
    half, fifth, tenth3 = sp.Rational(1, 2), sp.Rational(1, 5), sp.Rational(3, 10)
    shift = sp.Rational(1, 50)
    draft = (half, tenth3, fifth)
    rebuilt = (half, sp.Rational(1, 4), sp.Rational(1, 4))
    llm = (half, tenth3 - shift, fifth + shift)

    def law(first: tuple[sp.Symbol, ...]) -> list[sp.Expr]:
        parts = [pos(b - a) for a, b in zip(first, y_small, strict=True)]
        return [part / sp.Add(*parts) for part in parts]

    def half_l1(first: list[sp.Expr], second: list[sp.Expr]) -> sp.Expr:
        return sp.Add(*(sp.Abs(a - b) for a, b in zip(first, second, strict=True))) / 2

    # formulas in symbols; the numbers are put in only at the end
    x_small, hat_small, y_small = (sp.symbols(f"{name}_1:4", real=True) for name in ("x", "xhat", "y"))
    numbers = dict(zip((*x_small, *hat_small, *y_small), (*draft, *rebuilt, *llm), strict=True))
    with_x, with_hat = law(x_small), law(hat_small)
    residuals = [eq(at(with_x[place], numbers), value) for place, value in ((1, 0), (2, 1))]
    rebuilt_residuals = [eq(at(with_hat[place], numbers), value) for place, value in ((1, 1), (2, 0))]
    apart = eq(at(half_l1(with_x, with_hat), numbers), 1)
    cost = eq(at(half_l1(list(x_small), list(hat_small)), numbers), sp.Rational(1, 20))
    printed = printed_bound()
    moved = sp.Symbol("TV_k", positive=True)
    upper = printed.claims[1]
    any_draft = le(moved * upper.lhs, moved * upper.rhs)
    most = at(2 * moved / _softplus(-1), {moved: sp.Rational(1, 20)})
    largest = rounds_to(most, "0.319")
    claim = lt(most, 1)
    return Statement(
        name="truncation.resampling_counterexample",
        title="The printed figure of merit is not a bound on the resampling error",
        source="here",
        status="new",
        functions=("truncation.printed_bound",),
        tests=(
            "test_the_exact_case_in_which_the_printed_figure_of_merit_bounds_nothing",
            "test_resampling_bound_holds_where_the_printed_bound_fails",
        ),
        assumptions=(
            "Three tokens, x = (1/2, 3/10, 1/5), k = 1, so xhat = (1/2, 1/4, 1/4); y = (1/2, 14/50, 11/50).",
            "r and rhat are the normalised positive parts of y - x and y - xhat, which the server draws from "
            "after a rejection. U(k) with x_o = 1 - x_d and beta as in the lemma.",
        ),
        lemmas=(printed,),
        claims=(apart, claim),
        steps=(
            step("With x, the residual never draws the second token", residuals[0], Evaluate()),
            step("and always the third.", residuals[1], Evaluate()),
            step("With xhat it always draws the second", rebuilt_residuals[0], Evaluate()),
            step("and never the third.", rebuilt_residuals[1], Evaluate()),
            step("The two are as far apart as can be.", apart, Evaluate()),
            step("Truncation moved little:", cost, Evaluate()),
            step(
                "U(1), for any draft and any rejection probability, is bounded (lemma):",
                any_draft,
                Combine((moved,)),
                upper,
            ),
            step("here at most", largest, Numeric()),
            step("far below the total variation it is read as bounding.", claim, Numeric()),
        ),
        glue="The share of random trials in which this happens depends on how they are drawn; it is "
        "measured, not derived.",
    )


def resampling_tv_bound() -> Statement:
    """Derive a bound on the resampling error that does hold, and a sharper one."""
    one, two = sp.symbols("S Shat", positive=True)
    a, ah = sp.symbols("p phat", nonnegative=True)
    A, AH = sp.IndexedBase("p"), sp.IndexedBase("phat")
    line = le(pos(y - x) - pos(y - xh), pos(xh - x))
    line_back = le(pos(y - xh) - pos(y - x), pos(x - xh))
    near = le(sp.Abs(pos(y - x) - pos(y - xh)), sp.Abs(x - xh))
    moved = sp.Symbol("T_k", nonnegative=True)
    up_total, down_total = eq(over(pos(xh - x)), moved), eq(over(pos(x - xh)), moved)
    one_is, two_is = eq(one, over(pos(y - x))), eq(two, over(pos(y - xh)))
    forth_sum = le(over(pos(y - x)) - over(pos(y - xh)), moved)
    back_sum = le(over(pos(y - xh)) - over(pos(y - x)), moved)
    forth, back = le(one - two, moved), le(two - one, moved)
    gap = le(sp.Abs(one - two), moved)
    split = eq(a / one - ah / two, (a - ah) / one + ah * (two - one) / (one * two))
    step_up = le(a / one - ah / two, sp.Abs(a - ah) / one + ah * sp.Abs(one - two) / (one * two))
    step_down = le(ah / two - a / one, sp.Abs(a - ah) / one + ah * sp.Abs(one - two) / (one * two))
    each = le(sp.Abs(a / one - ah / two), sp.Abs(a - ah) / one + ah * sp.Abs(one - two) / (one * two))
    parts = total(sp.Abs(A[token] / one - AH[token] / two))
    unit = eq(total(AH[token]), two)
    summed = le(parts, total(sp.Abs(A[token] - AH[token])) / one + sp.Abs(one - two) / one)
    l1 = eq(over(sp.Abs(x - xh)), 2 * moved)
    named = le(total(sp.Abs(A[token] - AH[token])), 2 * moved)
    near_sum = le(over(sp.Abs(pos(y - x) - pos(y - xh))), 2 * moved)
    same = eq(total(sp.Abs(A[token] - AH[token])), over(sp.Abs(pos(y - x) - pos(y - xh))))
    claim = le(parts / 2, sp.Rational(3, 2) * moved / one)
    loose = le(parts / 2, 2 * moved / one)
    return Statement(
        name="truncation.resampling_tv_bound",
        title="A bound on the resampling error that holds",
        source="here",
        status="new",
        functions=("truncation.resampling_tv_bound",),
        tests=(
            "test_the_bound_on_resampling_that_holds_and_its_sharper_form",
            "test_resampling_bound_holds_where_the_printed_bound_fails",
        ),
        assumptions=(
            "p = (y - x)_+ and phat = (y - xhat)_+ sum to S = TV(x, y) and Shat; r = p/S, rhat = phat/Shat; "
            "T_k = TV(x, xhat).",
        ),
        assumed=(one_is, two_is, up_total, down_total, l1, unit, same),
        claims=(claim, loose),
        steps=(
            step(
                "One token's positive part falls by at most what xhat has more,", line, Orderings((x, y, xh))
            ),
            step("and rises by at most what x has more,", line_back, Orderings((x, y, xh))),
            step("so it moves by at most the difference.", near, Orderings((x, y, xh))),
            step("Sum the first,", forth_sum, summing(), line, up_total),
            step("the second,", back_sum, summing(), line_back, down_total),
            step("and the third.", near_sum, summing(), near, l1),
            step("So S exceeds Shat by at most T_k,", forth, Combine((1, 1, 1)), forth_sum, one_is, two_is),
            step("and the reverse,", back, Combine((1, 1, 1)), back_sum, one_is, two_is),
            step("hence", gap, Largest(), forth, back),
            step("Split the difference of the two laws at one token.", split, Evaluate()),
            step("Either sign of it", step_up, Orderings((a, ah, one, two))),
            step("is bounded,", step_down, Orderings((a, ah, one, two))),
            step("so its size is.", each, Largest(), step_up, step_down),
            step(
                "Sum over the vocabulary.",
                summed,
                SumOver(token, size, ((a, A[token]), (ah, AH[token]))),
                each,
                unit,
            ),
            step("The positive parts move by at most 2 T_k in all.", named, Combine(), same, near_sum),
            step(
                "Together, and halved: three halves of T_k over S,",
                claim,
                Combine((sp.Rational(1, 2), 1 / (2 * one), 1 / (2 * one))),
                summed,
                named,
                gap,
            ),
            step(
                "which implies the simpler bound ||x - xhat||_1 / S.",
                loose,
                Combine((1,)),
                claim,
            ),
        ),
    )


def drop_tail() -> Statement:
    """Show that drafting from what is left is exact."""
    exact = output_law()
    distance, refused = sp.symbols("T P_rej", positive=True)
    mass = sp.Symbol("s_k", positive=True)
    refused_is = eq(refused, distance)
    dropped = eq(at(x * sp.Min(1, y / mass) + refused * pos(y - x) / distance, {x: 0}), y)
    inside = eq((x / mass) * sp.Min(1, y / (x / mass)) + refused * pos(y - x / mass) / distance, y)
    return Statement(
        name="truncation.drop_tail",
        title="Draft from what is left: no bias for any k",
        source="TK, arXiv:2509.04576; SQS, arXiv:2510.09942",
        status="printed",
        functions=("truncation.drop_tail",),
        tests=(
            "test_drafting_from_what_is_left_is_exact",
            "test_dropping_the_tail_and_drafting_from_the_rest_is_unbiased",
        ),
        assumptions=(
            "d ~ xtilde = x/s_k on the k largest entries, 0 elsewhere, with s_k their mass; the server "
            "verifies with xtilde; P_rej, the chance of a rejection, is T = TV(xtilde, y) "
            "(verification.rejection_probability).",
        ),
        assumed=(refused_is,),
        lemmas=(exact,),
        claims=(dropped, inside),
        steps=(
            step(
                "A token that was dropped is never drafted, and comes back through the residual.",
                dropped,
                Evaluate(),
                refused_is,
            ),
            step(
                "A kept one has law y whatever its probability (lemma), so also the renormalised one.",
                inside,
                Substitute(((x, x / mass),)),
                exact.claims[0],
            ),
        ),
    )


def recorded_account() -> Statement:
    """Show that the recorded bias of truncation stands in for its bound while whole tokens are kept."""
    accepts = sp.Symbol("a", nonnegative=True)
    answer, back = sp.symbols("r g", nonnegative=True)
    never, refused = sp.symbols("P_0 P", nonnegative=True)
    plain, skipping, kept_too_much = sp.symbols("q_0 q e", nonnegative=True)
    QS, Q0, E = (sp.IndexedBase(name) for name in ("q", "q_0", "e"))
    bias, known, risk = sp.symbols("TV_q TV_0 rho", nonnegative=True)
    asked = x * accepts + never * answer
    output = x * s + x * (1 - s) * accepts + refused * answer
    proof = Proof()
    apart = proof.step(
        "Keeping a draft moves what would be refused of it, and takes as much off the answers.",
        eq(output, asked + x * s * (1 - accepts) - (never - refused) * answer),
        Evaluate(),
    )
    rule = proof.assume(eq(accepts, sp.Min(1, y / x)))
    excess = proof.step(
        "Where the server has x itself of a kept token, that is the excess of x over y.",
        eq(x * s * (1 - accepts), s * pos(x - y)),
        Orderings((x, y)),
        rule,
    )
    law = proof.assume(eq(skipping, plain + kept_too_much - back))
    line = proof.step(
        "One entry then exceeds y by at most what it did, and the excess.",
        le(pos(skipping - y), pos(plain - y) + kept_too_much),
        Orderings((plain, y, kept_too_much, back)),
        law,
    )
    sums = [
        proof.assume(eq(total(pos(QS[token] - Y[token])), bias)),
        proof.assume(eq(total(pos(Q0[token] - Y[token])), known)),
        proof.assume(eq(total(E[token]), risk)),
    ]
    coordinates = ((skipping, QS[token]), (plain, Q0[token]), (kept_too_much, E[token]), (y, Y[token]))
    summed = proof.step(
        "Sum over the vocabulary:",
        le(total(pos(QS[token] - Y[token])), known + risk),
        SumOver(token, size, coordinates),
        line,
        *sums[1:],
    )
    claim = proof.step(
        "risk, and the bias with nothing skipped.", le(bias, known + risk), Combine(), sums[0], summed
    )
    return Statement(
        name="truncation.recorded_account",
        title="The recorded bias of truncation, and what skipping adds",
        source="here",
        status="new",
        functions=("contexts.Tokens.output_bias_at",),
        tests=(
            "test_skipping_adds_at_most_the_risk_to_the_recorded_bias",
            "test_the_recorded_account_is_above_the_exact_bias_of_every_output",
        ),
        assumptions=(
            "A draft of law x is kept with probability s, else verified with xhat: accepted with a = "
            "min(1, y/xhat), replaced by a token of law r if not; P is the chance of a replacement and P_0 "
            "that with nothing kept. Tokens with s > 0 are among the entries sent, xhat = x. TV_0 is the "
            "bias with nothing kept, which a trace records at some sizes, TV_q that of the law q written, "
            "rho the risk; g = (P_0 - P) r, and e = s (x - y)+ is what keeping has of a token beyond y.",
            "TV_0 can rise with k, so a recorded size bounds no other: between sizes TV_k is charged.",
        ),
        assumed=proof.assumed,
        claims=(apart, excess, claim),
        steps=proof.steps,
    )


def quantisation_tv_bound() -> Statement:
    """Bound what rounding to a lattice costs."""
    entries, rounded = sp.symbols("n R", positive=True)
    high, low = sp.symbols("h l", nonnegative=True)
    levels = sp.Symbol("ell", positive=True)
    whole = eq(high + low, rounded)
    ranked = le(rounded * low, (entries - rounded) * high)
    share = le(rounded**2 / entries, high)
    cost = sp.Symbol("T", positive=True)
    cost_is = eq(levels * cost, rounded - high)
    most = le(levels * cost, rounded - rounded**2 / entries)
    square = eq(entries / 4 - (rounded - rounded**2 / entries), (entries - 2 * rounded) ** 2 / (4 * entries))
    quarter = le(rounded - rounded**2 / entries, entries / 4)
    claim = le(cost, entries / (4 * levels))
    return Statement(
        name="truncation.quantisation_tv_bound",
        title="Quantisation to a lattice",
        source="here; the lattice is that of SQS, arXiv:2510.09942",
        status="new",
        functions=("truncation.quantisation_tv_bound", "truncation.quantise", "truncation.quantisation_tv"),
        tests=(
            "test_quantisation_is_within_its_bound",
            "test_quantised_distribution_is_the_nearest_on_the_lattice",
            "test_quantisation_bound_is_reached",
        ),
        assumptions=(
            "n entries in units of 1/ell; the remainders sum to the whole number R, and the R largest are "
            "rounded up. h and l: sums of the remainders rounded up and down.",
            "A remainder r rounded up adds 1 - r, so ell TV = R - h (the positive part of the change).",
            "Every remainder rounded up is at least every one rounded down, so their means are ordered: h/R "
            ">= l/(n - R).",
        ),
        assumed=(whole, ranked, cost_is),
        claims=(claim,),
        steps=(
            step(
                "The largest R remainders hold at least their share.",
                share,
                Combine((1 / entries, rounded / entries)),
                ranked,
                whole,
            ),
            step("So the change is at most", most, Combine((1, 1)), cost_is, share),
            step("A quarter of n exceeds that by a square:", square, Evaluate()),
            step("hence", quarter, Combine((1,)), square),
            step(
                "and the total variation is at most", claim, Combine((1 / levels, 1 / levels)), most, quarter
            ),
        ),
    )


BUILDERS: tuple[Builder, ...] = (
    reconstruct,
    truncation_tv,
    exact_rule,
    printed_bound,
    resampling_counterexample,
    resampling_tv_bound,
    recorded_account,
    drop_tail,
    quantisation_tv_bound,
)
