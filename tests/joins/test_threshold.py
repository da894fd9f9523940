"""Thresholds are the derived ones, and what they promise is what integrals and brute force give."""

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta as beta_law

from cuhlm_theory.law import Beta, Recorded, Uniform, bias_price_for_budget, budget_for_bias_price
from cuhlm_theory.rejection import Line
from cuhlm_theory.risk import between_thresholds, between_thresholds_bound
from tests.joins.formula import derived, on_vocabulary, statement, value

few = settings(max_examples=25)
slopes, intercepts, budgets = st.floats(0.1, 3.0), st.floats(-0.5, 0.5), st.floats(1e-4, 0.9)


@few
@given(slopes, intercepts, st.floats(0.0, 1.0))
def test_risk_averse_and_risk_prone(slope, intercept, delta):
    averse = derived("threshold.risk_averse", "u", a=slope, b=intercept)
    assert float(Line(slope, intercept).risk_averse) == pytest.approx(averse)
    prone = derived("threshold.risk_prone", "u", a=slope, b=intercept, Delta=delta)
    assert float(Line(slope, intercept, delta).risk_prone) == pytest.approx(prone)


@few
@given(slopes, intercepts, budgets)
def test_risk_budget_uniform_takes_the_branch_that_was_derived(slope, intercept, budget):
    if intercept > 0:
        within = derived("threshold.risk_uniform", "t", a=slope, b=intercept, epsilon=budget)
        start, edge = 0.0, (1 - intercept) / slope
        full = (1 - intercept**2) / (2 * slope)
    else:
        start = -intercept / slope
        within = derived("threshold.risk_uniform", "ustar", a=slope, u_0=start, epsilon=budget)
        edge, full = (1 - intercept) / slope, 1 / (2 * slope)
    if budget <= full:
        expected = within
    elif intercept <= 0:
        expected = derived("threshold.risk_uniform", "w", a=slope, u_0=start, epsilon=budget)
    else:
        expected = edge + budget - full
    got = Uniform().within(budget, Line(slope, intercept))
    assert got.threshold == pytest.approx(min(expected, 1.0), abs=1e-9)
    spent = quad(lambda u: float(Line(slope, intercept)(u)), 0, got.threshold, limit=200)[0]
    assert spent == pytest.approx(got.risk, abs=1e-6)
    assert got.risk <= budget + 1e-9


def test_the_case_in_which_the_printed_root_is_wrong():
    assert Uniform().within(0.5, Line(2.0, 0.0)).threshold == pytest.approx(0.75)


@few
@given(slopes, intercepts, st.floats(0.5, 4.0), st.floats(0.5, 4.0), st.floats(0.05, 0.95))
def test_risk_beta_is_the_integral_of_line_times_density(slope, intercept, first, second, at):
    law = beta_law(first, second)
    kinks = [p for p in (-intercept / slope, (1 - intercept) / slope) if 0 < p < at]
    expected = quad(
        lambda u: float(Line(slope, intercept)(u)) * law.pdf(u), 0, at, points=kinks or None, limit=300
    )[0]
    assert float(Beta(first, second).risk(at, Line(slope, intercept))) == pytest.approx(expected, abs=2e-5)


@few
@given(slopes, intercepts, st.floats(0.5, 4.0), st.floats(0.5, 4.0), st.floats(0.001, 0.3))
def test_risk_budget_beta_spends_the_budget(slope, intercept, first, second, budget):
    found = Beta(first, second).within(budget, Line(slope, intercept))
    spent = float(Beta(first, second).risk(found.threshold, Line(slope, intercept)))
    assert spent <= budget + 1e-9
    assert found.threshold == 1.0 or spent == pytest.approx(budget, abs=1e-6)


@few
@given(st.integers(0, 1000), st.floats(0.01, 0.5))
def test_risk_budget_empirical_splits_the_atom_as_derived_and_no_rule_skips_more(seed, budget):
    rng = np.random.default_rng(seed)
    u = rng.integers(0, 6, size=40) / 6
    rejection = 0.9 * u  # non-decreasing in u, as Neyman and Pearson ask
    found = Recorded(u, rejection).within(budget)
    atom = u == found.threshold
    below = float(rejection[u < found.threshold].sum() / u.size)
    weight = float(atom.mean())
    if 0.0 < found.tie_probability < 1.0:
        expected = derived(
            "threshold.risk_empirical",
            "pi",
            epsilon=budget,
            R_below=below,
            w=weight,
            beta=float(rejection[atom][0]),
        )
        assert found.tie_probability == pytest.approx(expected)
    assert found.risk <= budget + 1e-12
    for _ in range(20):  # random rules, scaled into the budget
        rule = rng.random(u.size) ** rng.integers(1, 4)
        risk = float((rule * rejection).mean())
        rule *= min(1.0, budget / risk) if risk > 0 else 1.0
        assert rule.mean() <= found.skip_rate + 1e-9


@few
@given(st.floats(0.1, 0.7), st.floats(-0.3, 0.2), st.floats(0.01, 10.0), st.floats(0.01, 100.0))
def test_cost_optimal_and_the_price_of_bias_are_inverse(slope, intercept, send, price):
    numbers = {"a": slope, "b": intercept, "c": send, "lambda": price}
    expected = derived("threshold.cost_optimal", "u", **numbers)
    got = float(Line(slope, intercept).cost_optimal(send, price))
    assert got == pytest.approx(1.0 if price <= send else min(max(expected, 0.0), 1.0))
    if 0.0 < got < 1.0:
        back = derived("threshold.bias_price", "lambda", a=slope, b=intercept, c=send, u=got)
        assert back == pytest.approx(price, rel=1e-6)
        assert float(Line(slope, intercept).bias_price_s(got, send)) == pytest.approx(back)

        def cost(t):
            return quad(lambda u: price * float(Line(slope, intercept)(u)), 0, t)[0] + (1 - t) * send

        assert cost(got) <= min(cost(max(got - 0.05, 0)), cost(min(got + 0.05, 1))) + 1e-9


def test_cost_optimal_where_the_line_clips():
    assert float(Line(2.0, 0.0).cost_optimal(1.0, 1.0)) == 1.0


@few
@given(st.floats(0.2, 0.9), st.floats(0.01, 0.2), st.floats(0.01, 10.0), st.floats(1e-4, 0.05))
def test_the_price_of_a_budget_for_the_uniform_law(slope, zero, send, budget):
    if zero + np.sqrt(2 * budget / slope) >= 1:
        return
    law = Uniform()
    price = bias_price_for_budget(budget, Line(slope, -slope * zero), send, law)
    root = statement("threshold.bias_price").claims[1].rhs
    expected = value(root, a=slope, epsilon=budget, c=send)
    assert price == pytest.approx(expected, rel=1e-6)
    back = derived("threshold.bias_price", "epsilon", **{"a": slope, "c": send, "lambda": price})
    assert back == pytest.approx(budget, rel=1e-5)
    assert budget_for_bias_price(price, Line(slope, -slope * zero), send, law) == pytest.approx(
        budget, rel=1e-5
    )


@few
@given(slopes, intercepts, budgets)
def test_monotone(slope, intercept, budget):
    t = np.linspace(0, 1, 21)
    assert np.all(np.diff(Uniform().risk(t, Line(slope, intercept))) >= -1e-12)
    more = Uniform().within(min(1.1 * budget, 1.0), Line(slope, intercept))
    assert more.threshold >= Uniform().within(budget, Line(slope, intercept)).threshold - 1e-12
    sends = np.linspace(0.1, 5, 9)
    assert np.all(np.diff(Line(slope, intercept).cost_optimal(sends, 2.0)) >= 0)


@settings(max_examples=10)
@given(
    st.floats(0.1, 0.8), st.floats(-0.3, 0.1), st.floats(0.6, 4.0), st.floats(0.6, 4.0), st.floats(0.4, 0.95)
)
def test_risk_beta_is_the_derived_sum_of_two_integrals(slope, intercept, first, second, at):
    claim = statement("threshold.risk_beta").claims[1].rhs
    start = max(-intercept / slope, 0.0)
    for name, alpha in (("f_1", first + 1), ("f", first)):
        law = beta_law(alpha, second)
        mass = law.cdf(at) - law.cdf(start)
        claim = claim.replace(
            lambda e, name=name: isinstance(e, sp.Integral) and e.function.func.__name__ == name,
            lambda *_, mass=mass: sp.Float(mass),
        )
    numbers = {"a": slope, "b": intercept, "mu": first / (first + second)}
    assert float(Beta(first, second).risk(at, Line(slope, intercept))) == pytest.approx(
        value(claim, **numbers) if at > start else 0.0, abs=1e-9
    )


@few
@given(st.floats(0.05, 0.9), st.floats(0.01, 0.8))
def test_a_flat_line_rejects_every_token_alike(intercept, budget):
    """The limit a -> 0: beta = b, so the budget buys eps / b of the tokens."""
    for slope in (1e-9, 1e-12):
        got = Uniform().within(budget, Line(slope, intercept))
        assert got.threshold == pytest.approx(min(budget / intercept, 1.0), rel=1e-6)
        assert float(Uniform().risk(0.5, Line(slope, intercept))) == pytest.approx(0.5 * intercept, rel=1e-6)
        sends = float(Line(slope, intercept).cost_optimal(1.0, 0.5 / intercept))
        keeps = float(Line(slope, intercept).cost_optimal(1.0, 2.0 / intercept))
        assert (sends, keeps) == (1.0, 0.0)


@few
@given(slopes, st.floats(-0.5, 0.0), st.floats(0.01, 0.99))
def test_the_price_of_one_more_skipped_token_is_the_rejection_at_the_edge(slope, intercept, at):
    """dR/dS = beta(t) by central differences, for a uniform and a beta-distributed uncertainty."""
    step = 1e-6
    for first, second in ((1.0, 1.0), (2.0, 3.0)):
        risk = Beta(first, second).risk([at - step, at + step], Line(slope, intercept))
        mass = beta_law(first, second).cdf([at - step, at + step])
        ratio = (risk[1] - risk[0]) / (mass[1] - mass[0])
        assert ratio == pytest.approx(float(Line(slope, intercept)(at)), abs=1e-4)


@few
@given(slopes, st.floats(0.05, 0.6), st.integers(2, 40), st.integers(0, 1000))
def test_risk_between_the_thresholds_and_its_bound_are_the_derived_ones(slope, delta, grid, seed):
    low = np.random.default_rng(seed).uniform(0, 0.3)
    line = Line(slope, -slope * low, delta)
    law = np.random.default_rng(seed).dirichlet(np.ones(grid + 1))
    u = np.arange(grid + 1) / grid
    inside = (u > line.risk_averse) & (u <= line.risk_prone)
    _, bound, term, _, _, on_grid, *_ = statement("threshold.grid_risk").claims
    beta = line(u)
    terms = [
        value(term.rhs, beta=float(b), p=float(p)) for b, p in zip(beta[inside], law[inside], strict=True)
    ]
    assert float(between_thresholds(law, line)) == pytest.approx(sum(terms), abs=1e-12)
    squared = grid * float((law[inside] ** 2).sum())
    printed = value(bound.rhs, Delta=delta, a=slope, F=squared) / 2
    assert float(between_thresholds_bound(law, line)) == pytest.approx(printed, abs=1e-12)
    if inside.any():
        given_values = {"t": 1.7, "M": grid}
        chosen = {one: given_values[str(one)] for one in on_grid.free_symbols if str(one) in given_values}
        sides = (
            on_vocabulary(side.subs(chosen), beta=beta[inside], p=law[inside])
            for side in (on_grid.lhs, on_grid.rhs)
        )
        assert next(sides) <= next(sides) + 1e-12
