"""The uncertainty's functions are the derived integrals and moments."""

import itertools

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from cuhlm_theory import uncertainty
from tests.joins.formula import claim, derived, statement, value

few = settings(max_examples=20)
units = st.floats(0.0, 1.0)


@settings(max_examples=8)
@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3), st.floats(0.5, 3.0))
def test_mean_uncertainty_is_the_derived_integral(logits, top):
    theta = sp.Symbol("theta", positive=True)
    formula = claim("uncertainty.mean_uncertainty", "ubar").rhs
    weights = [sp.exp(sp.Float(z - max(logits)) / theta) for z in logits]
    softmax = weights[0] / sp.Add(*weights)
    kept = formula.replace(lambda e: getattr(e, "name", None) == "pi_d", lambda *_: softmax)
    expected = value(kept, theta_max=top)
    assert float(uncertainty.mean_uncertainty(logits, 0, max_temperature=top)) == pytest.approx(
        expected, abs=2e-6
    )


@pytest.mark.parametrize("number", [2, 3, 50])
def test_equal_logits_share(number):
    assert float(uncertainty.mean_uncertainty(np.zeros(number), 0)) == pytest.approx(1 - 1 / number, abs=1e-9)


@few
@given(units, st.floats(-1.0, 1.0))
def test_pmf_has_the_derived_generating_function(mean, mark):
    law = claim(
        "uncertainty.disagreement_count_pmf",
        "Sum(ubar**n*w**n*(1 - ubar)**(20 - n)*binomial(20, n), (n, 0, 20))",
    ).rhs
    pmf = uncertainty.disagreement_count_pmf(mean, 20)
    assert float(pmf @ mark ** np.arange(21)) == pytest.approx(value(law, ubar=mean, w=mark), abs=1e-9)


@few
@given(units, st.integers(1, 100))
def test_sampled_uncertainty_has_the_derived_moments(mean, samples):
    *_, unbiased, variance = statement("uncertainty.disagreement_count_pmf").claims
    pmf, u = uncertainty.disagreement_count_pmf(mean, samples), np.arange(samples + 1) / samples
    centre = float(pmf @ u)
    assert centre == pytest.approx(value(unbiased.rhs, ubar=mean), abs=1e-9)
    assert float(pmf @ (u - centre) ** 2) == pytest.approx(
        value(variance.rhs, ubar=mean, M=samples), abs=1e-9
    )


@few
@given(st.lists(units, min_size=3, max_size=12), st.integers(1, 100))
def test_attenuation_factor(means, samples):
    if np.var(means) < 1e-6:
        return
    factor = uncertainty.attenuation_factor(means, samples)
    slope = claim("uncertainty.attenuation_factor", "a_M", 0).rhs
    within = float(np.mean(np.array(means) * (1 - np.array(means))))
    assert factor == pytest.approx(value(slope, a=1.0, var=float(np.var(means)), w=within, M=samples))


@few
@given(st.floats(0.1, 2.0), st.floats(-0.5, 0.5), st.floats(0.05, 1.0), units)
def test_attenuated_line_and_back(slope, intercept, factor, mean):
    a, b = uncertainty.attenuated_line(slope, intercept, factor, mean)
    expected = derived(
        "uncertainty.attenuated_line", "b_M", **{"a": slope, "b": intercept, "lambda": factor, "m_1": mean}
    )
    assert float(a) == pytest.approx(factor * slope)
    assert float(b) == pytest.approx(expected, abs=1e-12)
    assert uncertainty.restored_line(a, b, factor, mean) == pytest.approx((slope, intercept), abs=1e-9)
    moved = derived(
        "uncertainty.attenuated_line", "u_M", **{"a": slope, "b": intercept, "lambda": factor, "m_1": mean}
    )
    assert float(-b / a) == pytest.approx(moved, abs=1e-9)


@few
@given(st.floats(-1.0, 1.0), st.floats(0.05, 1.0))
def test_attenuated_correlation(correlation, factor):
    expected = derived("uncertainty.attenuated_correlation", "r_M", **{"r": correlation, "lambda": factor})
    assert float(uncertainty.attenuated_correlation(correlation, factor)) == pytest.approx(
        expected, abs=1e-12
    )


def test_regression_on_samples_is_attenuated_as_derived():
    # an independent route: simulate the errors in variables
    rng = np.random.default_rng(4)
    mean = rng.beta(0.6, 1.2, size=200_000)
    beta = 0.7 * mean - 0.03
    sampled = rng.binomial(20, mean) / 20
    slope = np.cov(beta, sampled)[0, 1] / np.var(sampled)
    assert slope == pytest.approx(0.7 * uncertainty.attenuation_factor(mean, 20), rel=5e-3)


@few
@given(st.lists(units, min_size=3, max_size=12), st.floats(0.1, 2.0), st.floats(-0.5, 0.5))
def test_many_samples_are_the_mean_uncertainty(means, slope, intercept):
    """The limit M -> infinity: the factor is 1, so line and correlation are those of the mean."""
    if np.var(means) < 1e-4:
        return
    (limit,) = [
        c.rhs for c in statement("uncertainty.attenuation_factor").claims if isinstance(c.lhs, sp.Limit)
    ]
    factors = [float(uncertainty.attenuation_factor(means, 10**power)) for power in range(0, 13, 2)]
    assert np.all(np.diff(factors) >= 0)
    assert factors[-1] == pytest.approx(float(limit), abs=1e-7)
    assert uncertainty.attenuated_line(slope, intercept, factors[-1], float(np.mean(means))) == pytest.approx(
        (slope, intercept), abs=1e-6
    )
    for mean in means[:2]:  # the sampled measure itself concentrates
        pmf, grid = uncertainty.disagreement_count_pmf(mean, 4000), np.arange(4001) / 4000
        assert float(pmf @ (np.abs(grid - mean) > 0.05)) < 1e-6


@few
@given(st.lists(st.floats(-6.0, 6.0), min_size=3, max_size=7, unique=True))
def test_the_least_uncertain_tokens_are_the_likeliest(logits):
    order = np.argsort(logits)
    u = uncertainty.mean_uncertainty(np.array(logits))
    assert np.all(np.diff(u[order]) <= 1e-12)
    (claim,) = statement("uncertainty.likeliest").claims
    for low, high in itertools.pairwise(order):
        assert value(claim.lhs, ubar_i=u[high]) <= value(claim.rhs, ubar_j=u[low]) + 1e-12
