"""Uncertainty: the law of the sampled measure, its conditional mean, and what sampling does to a fit."""

import sympy as sp

from derivations.rules import (
    Combine,
    Evaluate,
    IntegrateOver,
    Linear,
    Monotone,
    Numeric,
    Rename,
    Solve,
    SumOver,
)
from derivations.statement import Builder, Proof, Statement, Step, at, eq, le, lt
from derivations.vocabulary import size, token, total

theta, top = sp.symbols("theta theta_max", positive=True)
samples = sp.Symbol("M", integer=True, positive=True)
mean = sp.Symbol("ubar", positive=True)
first, second = sp.symbols("m_1 m_2", real=True)
"""First and second moment of u-bar over tokens."""
slope, intercept = sp.symbols("a b", real=True)

SOURCE_CU = "CU eqs. (8)(9), arXiv:2505.11788v1"


def mean_uncertainty() -> Statement:
    """Derive the mean of the sampled uncertainty as an integral over the temperature."""
    gaps = sp.symbols("g_1 g_2", positive=True)
    z = sp.symbols("z_1:4", real=True)
    weights = [sp.exp(value / theta) for value in z]
    softmax = [weight / sp.Add(*weights) for weight in weights]
    others = eq(softmax[1] + softmax[2], 1 - softmax[0])
    shift = sp.Symbol("c", real=True)
    moved = [sp.exp((value + shift) / theta) for value in z]
    same = eq(moved[0] / sp.Add(*moved), softmax[0])
    keeps = sp.Function("pi_d", nonnegative=True)
    integral = sp.Integral((1 - keeps(theta)) / top, (theta, 0, top))
    definition = eq(mean, integral)
    unit = eq(sp.Integral(sp.S.One, (theta, 0, top)), top)
    flat = eq(
        integral,
        sp.Integral(sp.S.One, (theta, 0, top)) / top - sp.Integral(keeps(theta), (theta, 0, top)) / top,
    )
    claim = eq(mean, 1 - sp.Integral(keeps(theta), (theta, 0, top)) / top)
    winner = eq(sp.Limit(1 / (1 + sp.exp(-gaps[0] / theta) + sp.exp(-gaps[1] / theta)), theta, 0), 1)
    tie = eq(sp.Limit(1 / (2 + sp.exp(-gaps[0] / theta)), theta, 0), sp.Rational(1, 2))
    loser = eq(sp.Limit(sp.exp(-gaps[0] / theta) / (1 + sp.exp(-gaps[0] / theta)), theta, 0), 0)
    number = sp.Symbol("V", integer=True, positive=True)
    uniform = eq(1 - sp.Integral(1 / number, (theta, 0, top)) / top, 1 - 1 / number)
    return Statement(
        name="uncertainty.mean_uncertainty",
        title="Mean uncertainty without sampling",
        source="here; the sampled measure is CU eqs. (8)(9), arXiv:2505.11788v1",
        status="new",
        functions=("uncertainty.mean_uncertainty", "uncertainty.sampled_uncertainty"),
        tests=(
            "test_mean_uncertainty_is_the_derived_integral",
            "test_agrees_with_a_hundred_thousand_samples_within_four_standard_errors",
            "test_sampled_uncertainty_is_binomial_around_the_mean",
        ),
        assumptions=(
            "theta is uniform on (0, theta_max]; given theta, a sample d_m has law softmax(z/theta), "
            "independent of the draft d; pi_d(theta) is that softmax at d.",
            "ubar is the chance that a sample differs from d, given the logits z and d. z_1, z_2, z_3 are "
            "logits of three tokens of which the first is d, c a shift of all logits, g_1 and g_2 the gaps "
            "below a largest logit, V the number of equal logits.",
        ),
        assumed=(definition,),
        claims=(claim,),
        steps=(
            Step(
                text="The sample differs from d if it is any other token (three tokens shown).",
                claim=others,
                rule=Evaluate(),
            ),
            Step(text="Only differences of logits count.", claim=same, rule=Evaluate()),
            Step(text="Average over the temperature; the integral is linear,", claim=flat, rule=Linear()),
            Step(text="and the density integrates to 1,", claim=unit, rule=Evaluate()),
            Step(
                text="so that ubar is",
                claim=claim,
                rule=Combine((1, 1, 1 / top)),
                uses=(definition, flat, unit),
            ),
            Step(text="As theta falls to 0 a largest logit takes all,", claim=winner, rule=Evaluate()),
            Step(text="two largest ones share,", claim=tie, rule=Evaluate()),
            Step(
                text="and any other gets nothing: the integrand is bounded and the integral exists.",
                claim=loser,
                rule=Evaluate(),
            ),
            Step(text="With equal logits ubar is", claim=uniform, rule=Evaluate()),
        ),
    )


def likeliest() -> Statement:
    """Show that of two tokens of one context the likelier has the smaller mean uncertainty."""
    gap = sp.Symbol("g", nonnegative=True)
    logit = sp.Symbol("z_i", real=True)
    keeps, other = (sp.Function(name, nonnegative=True) for name in ("pi_i", "pi_j"))
    of_more, of_less = sp.symbols("ubar_i ubar_j", nonnegative=True)
    shrinks = sp.exp(-gap / theta)
    proof = Proof()
    definition, definition_less = (
        proof.assume(eq(u, 1 - sp.Integral(share(theta), (theta, 0, top)) / top))
        for u, share in ((of_more, keeps), (of_less, other))
    )
    proof.step(
        "Softmax weighs two logits a gap g apart by",
        eq(sp.exp((logit - gap) / theta) / sp.exp(logit / theta), shrinks),
        Evaluate(),
    )
    ratio = proof.assume(eq(other(theta), keeps(theta) * shrinks))
    falls = proof.step("which falls with the gap", le(0, sp.diff(-shrinks, gap)), Evaluate())
    start = proof.step("from", eq(sp.Limit(shrinks, gap, 0), 1), Evaluate())
    below = proof.step("and so is at most", le(shrinks, 1), Monotone(gap), falls, start)
    point = proof.step(
        "At every temperature the token of the larger logit is the likelier,",
        le(other(theta), keeps(theta)),
        Combine((1, keeps(theta))),
        ratio,
        below,
    )
    some = proof.assume(lt(0, top))
    integral = proof.step(
        "and so it is on average.",
        le(sp.Integral(other(theta), (theta, 0, top)), sp.Integral(keeps(theta), (theta, 0, top))),
        IntegrateOver(theta, 0, top),
        point,
        some,
    )
    claim = proof.step(
        "It is the less uncertain: the least uncertain tokens of a context are the likeliest.",
        le(of_more, of_less),
        Combine((1, 1, 1 / top)),
        definition,
        definition_less,
        integral,
    )
    return Statement(
        name="uncertainty.likeliest",
        title="The least uncertain tokens are the likeliest",
        source="here",
        status="new",
        functions=(
            "contexts.Tokens.likeliest",
            "contexts.Tokens.rounded_acceptance",
            "uncertainty.ContextUncertainty.candidates",
        ),
        tests=(
            "test_the_least_uncertain_tokens_are_the_likeliest",
            "test_candidates_hold_every_token_at_or_below_a_threshold",
            "test_the_lattice_is_kept_as_often_as_the_law_that_is_sent_allows",
        ),
        assumptions=(
            "Two tokens of one context, i and j, with logits z_i and z_i - g, g >= 0; pi_i(theta) and "
            "pi_j(theta) are their shares of softmax(z/theta), so that pi_j is pi_i times the ratio of their "
            "weights; ubar is the mean uncertainty (uncertainty.mean_uncertainty), theta in (0, theta_max].",
        ),
        assumed=proof.assumed,
        claims=(claim,),
        steps=proof.steps,
    )


def disagreement_count_pmf() -> Statement:
    """Derive the binomial law of the number of disagreeing samples."""
    count = sp.Symbol("n", integer=True, nonnegative=True)
    mark = sp.Symbol("w", real=True)
    chance = sp.Symbol("ubar", positive=True)
    one = 1 - chance + chance * mark
    generating = one**samples

    def pmf(number: sp.Expr, heads: sp.Expr) -> sp.Expr:
        return sp.binomial(number, heads) * chance**heads * (1 - chance) ** (number - heads)

    some = sp.Symbol("n", integer=True, positive=True)
    step = eq((1 - chance) * pmf(samples, some) + chance * pmf(samples, some - 1), pmf(samples + 1, some))
    start = eq(at(pmf(samples, some), {samples: 1, some: 1}), chance)
    mean_count = eq(sp.Subs(sp.Derivative(generating, mark), mark, 1), samples * chance)
    factorial_moment = eq(
        sp.Subs(sp.Derivative(generating, mark, mark), mark, 1), samples * (samples - 1) * chance**2
    )
    mean_u, mean_u2 = sp.symbols("E_u E_u2", nonnegative=True)
    mean_is = eq(mean_u, sp.Subs(sp.Derivative(generating, mark), mark, 1) / samples)
    second_is = eq(
        mean_u2,
        (
            sp.Subs(sp.Derivative(generating, mark, mark), mark, 1)
            + sp.Subs(sp.Derivative(generating, mark), mark, 1)
        )
        / samples**2,
    )
    unbiased = eq(mean_u, chance)
    variance = eq(mean_u2 - mean_u**2, chance * (1 - chance) / samples)
    fixed = sp.Integer(20)
    law = eq(
        sp.Sum(
            sp.binomial(fixed, count) * chance**count * (1 - chance) ** (fixed - count) * mark**count,
            (count, 0, fixed),
        ),
        one**fixed,
    )
    return Statement(
        name="uncertainty.disagreement_count_pmf",
        title="The sampled uncertainty is binomial",
        source="here",
        status="new",
        functions=("uncertainty.disagreement_count_pmf",),
        tests=(
            "test_pmf_has_the_derived_generating_function",
            "test_sampled_uncertainty_is_binomial_around_the_mean",
        ),
        assumptions=(
            "Given (z, d) the pairs (theta_m, d_m) are independent and alike, so the M indicators are "
            "independent, each 1 with chance ubar.",
            "w marks a disagreement: the generating function of the count is the sum of its chances times "
            "w^n, for independent samples the product of theirs. E_u and E_u2 are the first two moments of "
            "u = n/M.",
        ),
        assumed=(mean_is, second_is),
        claims=(step, law, unbiased, variance),
        steps=(
            Step(text="One sample disagrees with chance", claim=start, rule=Evaluate()),
            Step(
                text="A further one leaves the count n with chance 1 - ubar and adds one with chance ubar: "
                "the binomial law for M samples gives that for M + 1.",
                claim=step,
                rule=Evaluate(),
            ),
            Step(
                text="At the published M = 20 its generating function is the 20th power of that of one "
                "sample.",
                claim=law,
                rule=Evaluate(),
            ),
            Step(text="Its slope at w = 1 is the mean count,", claim=mean_count, rule=Evaluate()),
            Step(text="its curvature the second factorial moment.", claim=factorial_moment, rule=Evaluate()),
            Step(
                text="So u is unbiased for ubar,", claim=unbiased, rule=Evaluate(), uses=(mean_is, mean_count)
            ),
            Step(
                text="with variance ubar (1 - ubar) / M: ubar is the conditional mean of u, which has no "
                "such noise.",
                claim=variance,
                rule=Evaluate(),
                uses=(second_is, mean_is, factorial_moment, mean_count),
            ),
        ),
    )


def attenuation_factor() -> Statement:
    """Derive how much the sampling noise shrinks a least-squares slope."""
    lemma = disagreement_count_pmf()
    *_, unbiased, spread = lemma.claims
    var_mean, within = sp.symbols("var w", positive=True)
    var_is = eq(var_mean, second - first**2)
    within_is = eq(within, first - second)
    given_square = sp.Symbol("E_u2", nonnegative=True)
    conditional = eq(given_square, mean / samples + mean**2 * (1 - 1 / samples))
    weight = sp.Symbol("w_t", nonnegative=True)
    W, U, S = (sp.IndexedBase(name) for name in ("w_t", "ubar", "E_u2"))
    coordinates = ((weight, W[token]), (mean, U[token]), (given_square, S[token]))
    weighted = eq(weight * given_square, weight * mean / samples + weight * mean**2 * (1 - 1 / samples))
    square = sp.Symbol("m_M", nonnegative=True)
    totals = (
        eq(total(W[token] * U[token]), first),
        eq(total(W[token] * U[token] ** 2), second),
        eq(total(W[token] * S[token]), square),
    )
    total_is = eq(square, first / samples + second * (1 - 1 / samples))
    var_u = eq(square - first**2, var_mean + within / samples)
    cov_mean, cov_u = sp.symbols("c c_M", real=True)
    cov_same = eq(cov_u, cov_mean)
    a_fit, a_sampled = sp.symbols("a a_M", real=True)
    a_is = eq(a_fit, cov_mean / var_mean)
    sampled_is = eq(a_sampled, cov_u / (square - first**2))
    factor = sp.Symbol("lambda", positive=True)
    factor_is = eq(factor, var_mean / (var_mean + within / samples))
    claim = eq(a_sampled, a_fit * var_mean / (var_mean + within / samples))
    short = eq(a_sampled, a_fit * factor)
    many = eq(sp.Limit(var_mean / (var_mean + within / samples), samples, sp.oo, "-"), 1)
    return Statement(
        name="uncertainty.attenuation_factor",
        title="Errors in variables: the factor",
        source="here",
        status="new",
        functions=("uncertainty.attenuation_factor",),
        tests=(
            "test_attenuation_factor",
            "test_regression_on_samples_is_attenuated_as_derived",
        ),
        assumptions=(
            "Moments over V tokens with weights w_t: m_1 of ubar, m_2 of ubar^2, m_M of u^2; var = "
            "Var(ubar), w is the mean of ubar (1 - ubar); c = Cov(beta, ubar), c_M = Cov(beta, u).",
            "Given (z, d), u and beta are independent and E u = ubar, hence c_M = c (tower rule).",
            "E_u2 is the mean of u^2 given ubar. a and a_M are least-squares slopes, covariance over "
            "variance, on ubar and on u (of M samples); lambda names their ratio.",
        ),
        assumed=(*totals, var_is, within_is, cov_same, a_is, sampled_is, factor_is),
        lemmas=(lemma,),
        claims=(var_u, claim, short, many),
        steps=(
            Step(
                text="Second moment of u given ubar, noise plus square, solved from its variance (lemma): "
                "linear in ubar and ubar^2.",
                claim=conditional,
                rule=Solve(given_square),
                uses=(spread, unbiased),
            ),
            Step(text="Weight a token", claim=weighted, rule=Combine((weight,)), uses=(conditional,)),
            Step(
                text="and sum over the tokens.",
                claim=total_is,
                rule=SumOver(token, size, coordinates),
                uses=(weighted, *totals),
            ),
            Step(
                text="So the variance of u is that of ubar plus the mean noise.",
                claim=var_u,
                rule=Evaluate(),
                uses=(total_is, var_is, within_is),
            ),
            Step(
                text="The slope on u has the same covariance and the larger variance.",
                claim=claim,
                rule=Evaluate(),
                uses=(sampled_is, var_u, cov_same, a_is),
            ),
            Step(text="Name the factor.", claim=short, rule=Rename(), uses=(claim, factor_is)),
            Step(text="It tends to 1 as M grows.", claim=many, rule=Evaluate()),
        ),
    )


def attenuated_line() -> Statement:
    """Derive slope and intercept on the sampled uncertainty, and the shift of the zero."""
    factor = sp.Symbol("lambda", positive=True)
    mean_u, mean_beta = sp.symbols("m_1 m_beta", real=True)
    sampled_intercept = sp.Symbol("b_M", real=True)
    through = eq(mean_beta, slope * mean_u + intercept)
    fitted = eq(sampled_intercept, mean_beta - factor * slope * mean_u)
    claim = eq(sampled_intercept, intercept + (1 - factor) * slope * mean_u)
    nonzero = sp.Symbol("a", positive=True)
    zero = sp.Symbol("u_M", real=True)
    root_is = eq(factor * nonzero * zero + intercept + (1 - factor) * nonzero * mean_u, 0)
    moved = eq(zero, mean_u - (mean_u - (-intercept / nonzero)) / factor)
    restored = eq(intercept + (1 - factor) * slope * mean_u + (factor * slope - slope) * mean_u, intercept)
    return Statement(
        name="uncertainty.attenuated_line",
        title="Errors in variables: the line",
        source="here",
        status="new",
        functions=("uncertainty.attenuated_line", "uncertainty.restored_line"),
        tests=(
            "test_attenuated_line_and_back",
            "test_predicted_attenuation_is_what_a_regression_finds",
        ),
        assumptions=(
            "A least-squares line passes through the means: m_beta = a m_1 + b, and E u = E ubar = m_1.",
            "The slope on u is lambda a (the statement before); the line on u, of intercept b_M, is 0 at "
            "u_M.",
        ),
        assumed=(through, fitted, root_is),
        claims=(claim, restored, moved),
        steps=(
            Step(
                text="The line on u passes through the same means.",
                claim=claim,
                rule=Evaluate(),
                uses=(fitted, through),
            ),
            Step(text="Going back: b = b_M + (a_M - a) m_1.", claim=restored, rule=Evaluate()),
            Step(
                text="The risk-averse threshold fitted on u is pulled away from the mean by 1/lambda: "
                "thresholds fitted at one M do not carry over to another.",
                claim=moved,
                rule=Solve(zero),
                uses=(root_is,),
            ),
        ),
    )


def attenuated_correlation() -> Statement:
    """Derive how much the sampling noise shrinks a correlation."""
    factor = sp.Symbol("lambda", positive=True)
    cov = sp.Symbol("c", real=True)
    var_mean, var_u, var_beta = sp.symbols("var var_u var_beta", positive=True)
    factor_is = eq(var_u, var_mean / factor)
    on_mean, on_sample = sp.symbols("r r_M", real=True)
    mean_is = eq(cov, on_mean * sp.sqrt(var_mean * var_beta))
    sample_is = eq(on_sample, cov / sp.sqrt(var_u * var_beta))
    claim = eq(on_sample, on_mean * sp.sqrt(factor))
    example = eq(
        at(on_mean * sp.sqrt(factor), {on_mean: sp.Rational("0.9"), factor: sp.Rational("0.81")}),
        sp.Rational("0.81"),
    )
    return Statement(
        name="uncertainty.attenuated_correlation",
        title="Errors in variables: the correlation",
        source="here",
        status="new",
        functions=("uncertainty.attenuated_correlation", "uncertainty.restored_correlation"),
        tests=(
            "test_attenuated_correlation",
            "test_predicted_attenuation_is_what_a_regression_finds",
        ),
        assumptions=(
            "r and r_M are the correlations of ubar and of u with a quantity of variance var_beta that "
            "depends on (z, d) and the LLM only; both have covariance c; Var(u) = var / lambda by the "
            "factor's definition.",
        ),
        assumed=(factor_is, mean_is, sample_is),
        claims=(claim,),
        steps=(
            Step(
                text="Insert the covariance and the variance of u.",
                claim=claim,
                rule=Evaluate(),
                uses=(sample_is, mean_is, factor_is),
            ),
            Step(text="For instance,", claim=example, rule=Numeric()),
        ),
    )


BUILDERS: tuple[Builder, ...] = (
    mean_uncertainty,
    likeliest,
    disagreement_count_pmf,
    attenuation_factor,
    attenuated_line,
    attenuated_correlation,
)
