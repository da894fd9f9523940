"""Truncation's functions are the derived sums and bounds."""

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from cuhlm_theory import truncation
from cuhlm_theory.verification import output_law, rejection_probability, residual, total_variation
from tests.joins.formula import derived, on_vocabulary, statement, value
from tests.joins.test_verification import laws

few = settings(max_examples=25)


@few
@given(laws(1), st.data())
def test_truncation_tv_is_the_sum_of_positive_deviations_of_the_tail(one, data):
    (x,) = one
    k = data.draw(st.integers(1, x.size - 1))
    tail = np.sort(x)[: x.size - k]
    claim = statement("truncation.truncation_tv").claims[0]
    numbers = {"n": tail.size, "mbar": float(tail.mean())}
    for side in (claim.lhs, claim.rhs):
        written = side.subs({s: numbers[s.name] for s in side.free_symbols if s.name in numbers}).doit()
        entries = {a: float(tail[int(a.indices[0]) - 1]) for a in written.atoms(sp.Indexed)}
        assert float(truncation.truncation_tv(x, k)) == pytest.approx(
            float(written.xreplace(entries)), abs=1e-12
        )
    assert float(truncation.truncation_tv(x, k)) == pytest.approx(
        float(total_variation(x, truncation.reconstruct(x, k))), abs=1e-12
    )
    assert float(truncation.reconstruct(x, k).sum()) == pytest.approx(1.0)


@few
@given(laws(1))
def test_truncation_tv_falls_with_k_and_the_exact_rule_is_brute_force(one):
    (x,) = one
    profile = np.array([float(truncation.truncation_tv(x, k)) for k in range(1, x.size + 1)])
    assert np.all(np.diff(profile) <= 1e-15)
    assert profile[-1] == 0.0
    for budget in (0.0, 0.01, 0.1):
        assert int(truncation.exact_k(x, budget)) == 1 + int(np.argmax(profile <= budget + 1e-12))


@few
@given(laws(2, 4), st.integers(1, 3))
def test_the_bias_of_truncation_is_at_most_its_tv(pair, k):
    x, y = pair
    rebuilt = truncation.reconstruct(x, k)
    q = output_law(x, y, verify_with=rebuilt)
    claim = statement("truncation.exact_rule").claims[0]
    bound = on_vocabulary(claim.rhs, x=x, xhat=rebuilt) / 2
    assert bound == pytest.approx(float(truncation.truncation_tv(x, k)), abs=1e-12)
    assert float(total_variation(q, y)) <= bound + 1e-12


@few
@given(st.floats(1e-3, 1.0), st.floats(1e-6, 1 - 1e-6), st.floats(0.0, 1.0))
def test_printed_bound_is_the_derived_quotient_inside_its_interval(tv, chance, rejection):
    lower, upper = statement("truncation.printed_bound").claims[:2]
    ratio = float(truncation.printed_bound(tv, chance, rejection)) / tv
    assert ratio == pytest.approx(value(lower.rhs, x_d=chance, x_o=1 - chance, beta=rejection), rel=1e-9)
    assert value(lower.lhs) <= ratio <= value(upper.rhs) + 1e-12


@few
@given(laws(1), st.floats(0.01, 0.5), st.floats(0.0, 1.0), st.data())
def test_the_printed_rule_keeps_at_least_as_many(one, budget, rejection, data):
    (x,) = one
    chance = float(x[data.draw(st.integers(0, x.size - 1))])
    assert int(truncation.printed_k(x, budget, chance, rejection)) >= int(truncation.exact_k(x, budget))


def test_the_exact_case_in_which_the_printed_figure_of_merit_bounds_nothing():
    x, y = np.array([0.5, 0.3, 0.2]), np.array([0.5, 0.28, 0.22])
    rebuilt = truncation.reconstruct(x, 1)
    first, second = (np.maximum(y - law, 0) for law in (x, rebuilt))
    apart = float(total_variation(first / first.sum(), second / second.sum()))
    tv = float(truncation.truncation_tv(x, 1))
    assert apart == pytest.approx(1.0)
    assert tv == pytest.approx(0.05)
    for chance in x:
        for rejection in (0.0, 0.5, 1.0):
            assert float(truncation.printed_bound(tv, chance, rejection)) < 0.32
    assert float(truncation.resampling_tv_bound(tv, float(total_variation(x, y)))) >= apart


@few
@given(laws(3, 4))
def test_the_bound_on_resampling_that_holds_and_its_sharper_form(three):
    x, rebuilt, y = three
    first, second = np.maximum(y - x, 0), np.maximum(y - rebuilt, 0)
    if first.sum() < 1e-6 or second.sum() < 1e-6:
        return
    apart = float(total_variation(first / first.sum(), second / second.sum()))
    moved, spread = float(total_variation(x, rebuilt)), float(first.sum())
    sharp, loose = (
        value(c.rhs, T_k=moved, S=spread) for c in statement("truncation.resampling_tv_bound").claims
    )
    assert apart <= sharp + 1e-12
    got = float(truncation.resampling_tv_bound(moved, spread))
    assert sharp - 1e-12 <= got or got == pytest.approx(min(sharp, 1.0)) or got == 1.0
    assert got <= loose + 1e-12


@few
@given(laws(2), st.data())
def test_skipping_adds_at_most_the_risk_to_the_recorded_bias(pair, data):
    """Each claim with the numbers of a draft that is kept with some chance, among the entries sent."""
    x, y = np.sort(pair[0])[::-1], pair[1]
    k = data.draw(st.integers(1, x.size))
    d, share = data.draw(st.integers(0, k - 1)), data.draw(st.floats(0.0, 1.0))
    seen = truncation.reconstruct(x, k)
    accepts, answer = 1.0 - rejection_probability(seen, y), residual(seen, y)
    never = float(x @ (1.0 - accepts))
    excess = share * x[d] * (1.0 - accepts[d])
    moved, same, bound = statement("truncation.recorded_account").claims
    plain = x * accepts + never * answer
    kept = np.where(np.arange(x.size) == d, share, 0.0)
    numbers = {"P_0": never, "P": never - excess}
    output = np.array(
        [value(moved.rhs, x=x[i], s=kept[i], a=accepts[i], r=answer[i], **numbers) for i in range(x.size)]
    )
    assert output == pytest.approx(plain + kept * x * (1.0 - accepts) - excess * answer, abs=1e-12)
    assert value(same.rhs, x=x[d], y=y[d], s=share) == pytest.approx(excess, abs=1e-12)
    known = float(total_variation(plain, y))
    assert float(total_variation(output, y)) <= value(bound.rhs, TV_0=known, rho=excess) + 1e-12


@few
@given(laws(2), st.data())
def test_drafting_from_what_is_left_is_exact(pair, data):
    x, y = pair
    kept = truncation.drop_tail(x, data.draw(st.integers(1, x.size)))
    assert output_law(kept, y) == pytest.approx(y, abs=1e-12)


@few
@given(laws(1), st.integers(2, 12))
def test_quantisation_is_within_its_bound(one, bits):
    (x,) = one
    bound = derived_bound(x.size, bits)
    assert float(truncation.quantisation_tv_bound(x.size, bits)) == pytest.approx(min(bound, 1.0))
    assert float(truncation.quantisation_tv(x, bits)) <= bound + 1e-12
    lattice = truncation.quantise(x, bits) * (2**bits - 1)
    assert lattice == pytest.approx(np.round(lattice), abs=1e-6)


def derived_bound(entries: int, bits: int) -> float:
    return derived("truncation.quantisation_tv_bound", "T", n=entries, ell=2**bits - 1)


@few
@given(laws(1))
def test_everything_kept_is_nothing_lost_and_no_budget_keeps_all_that_differs(one):
    """The limits k = V and theta -> 0."""
    (x,) = one
    assert truncation.reconstruct(x, x.size) == pytest.approx(x, abs=1e-15)
    assert float(truncation.truncation_tv(x, x.size)) == 0.0
    least = np.sort(x)
    different = least - least[0] > 1e-9
    needed = max(int(different.sum()), 1)  # the entries above the smallest value
    assert int(truncation.exact_k(x, 0.0)) <= needed
    assert float(truncation.truncation_tv(x, int(truncation.exact_k(x, 0.0)))) <= 1e-12
    chance = float(x[0])
    assert int(truncation.printed_k(x, 0.0, chance, 0.5)) == int(truncation.exact_k(x, 0.0))
    assert int(truncation.exact_k(x, 1.0)) == 1
