"""Thresholds: printed numbers, risk by quadrature, enumeration and simulation, and the price of bias."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, special

from cuhlm_theory.rejection import line
from cuhlm_theory.threshold import (
    BetaLaw,
    EmpiricalLaw,
    bias_price_for_budget,
    bias_price_for_threshold,
    budget_for_bias_price,
    cost_optimal,
    risk,
    risk_averse,
    risk_beta,
    risk_budget,
    risk_budget_beta,
    risk_budget_empirical,
    risk_budget_uniform,
    risk_empirical,
    risk_prone,
    risk_uniform,
    skip_probability,
    skip_rate,
)

slopes, intercepts, units = st.floats(0.05, 4.0), st.floats(-1.5, 1.5), st.floats(0.0, 1.0)

LINES = {
    "published": (0.815, -0.066),
    "clipped at 1": (1.6, -0.2),
    "positive intercept": (0.5, 0.2),
    "positive intercept, clipped": (2.0, 0.3),
    "through the origin": (0.7, 0.0),
    "never rejects": (0.5, -0.6),
    "always rejects": (0.5, 1.2),
    "steep": (30.0, -12.0),
}
LAWS = {"uniform": (1.0, 1.0), "low": (0.6, 2.5), "high": (3.0, 1.5), "ends": (0.4, 0.3)}


def by_quadrature(t, slope, intercept, alpha, beta):
    """R(t) by adaptive quadrature over the quantile of u, split at the corners of the line."""
    corners = [
        special.betainc(alpha, beta, min(max(c, 0.0), t))
        for c in (-intercept / slope, (1 - intercept) / slope)
    ]
    ends = [0.0, *sorted(corners), special.betainc(alpha, beta, t)]
    return sum(
        integrate.quad(
            lambda p: float(np.clip(slope * special.betaincinv(alpha, beta, p) + intercept, 0.0, 1.0)),
            low,
            high,
            epsabs=1e-11,
            limit=200,
        )[0]
        for low, high in itertools.pairwise(ends)
        if high > low
    )


def test_published_thresholds_to_the_printed_digits():
    assert f"{risk_averse(0.815, -0.066):.4f}" == "0.0810"
    assert f"{risk_averse(0.82, -0.06):.4f}" == "0.0732"
    assert f"{risk_prone(0.815, -0.066, 0.5955):.4f}" == "0.8117"
    assert f"{risk_prone(0.82, -0.06, 0.2926):.2f}" == "0.43"
    assert risk_averse([0.5, 0.25], 0.1).tolist() == [-0.2, -0.4]  # as printed, not clipped
    assert risk_prone(0.5, [0.1, -0.4], 0.8) == pytest.approx([1.4, 2.4])


@given(slopes, intercepts, units)
def test_printed_thresholds_solve_the_line(slope, intercept, delta):
    assert slope * risk_averse(slope, intercept) + intercept == pytest.approx(0.0, abs=1e-12)
    assert slope * risk_prone(slope, intercept, delta) + intercept == pytest.approx(delta, abs=1e-12)
    assert risk_prone(slope, intercept, 0.0) == risk_averse(slope, intercept)


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("law", LAWS)
def test_risk_agrees_with_quadrature(name, law):
    slope, intercept = LINES[name]
    alpha, beta = LAWS[law]
    for t in (0.0, 0.07, 0.35, 0.8, 1.0):
        truth = by_quadrature(t, slope, intercept, alpha, beta)
        assert risk_beta(t, slope, intercept, alpha, beta) == pytest.approx(truth, abs=1e-8)
        assert risk(t, slope, intercept, BetaLaw(alpha=alpha, beta=beta)) == pytest.approx(truth, abs=1e-8)
        if law == "uniform":
            assert risk_uniform(t, slope, intercept) == pytest.approx(truth, abs=1e-9)
    outside = risk_beta([-1.0, 2.0], slope, intercept, alpha, beta)
    assert outside == pytest.approx(risk_beta([0.0, 1.0], slope, intercept, alpha, beta))
    assert risk_uniform([-1.0, 2.0], slope, intercept) == pytest.approx(
        risk_uniform([0.0, 1.0], slope, intercept)
    )


def test_no_rounding_makes_a_risk_negative():
    assert risk_beta(0.4, 3.0, -1.2, 1.0, 1.7) == 0.0  # the line leaves 0 at 0.4; the sum is -1e-16


def test_a_budget_that_is_just_the_risk_of_skipping_everything_skips_everything():
    everything = float(risk_beta(1.0, 0.8, -0.1, 2.0, 1.5))
    assert risk_budget_beta(0.8, -0.1, everything, 2.0, 1.5).threshold == 1.0


@given(slopes, st.floats(-1.5, 0.0), units)
def test_uniform_budget_is_the_stated_closed_form_where_the_line_is_not_clipped(slope, intercept, budget):
    start = -intercept / slope
    stated = start + math.sqrt(2.0 * budget / slope)
    got = risk_budget_uniform(slope, intercept, budget)
    if stated <= min(1.0, (1.0 - intercept) / slope):
        assert got.threshold == pytest.approx(stated, rel=1e-12)
        assert got.risk == pytest.approx(budget, abs=1e-12)
    else:
        assert got.threshold == 1.0 or got.threshold > (1.0 - intercept) / slope


@settings(max_examples=60)
@given(slopes, intercepts, units, st.sampled_from(sorted(LAWS)))
def test_budget_is_met_and_one_step_further_is_not(slope, intercept, budget, name):
    alpha, beta = LAWS[name]
    law = BetaLaw(alpha=alpha, beta=beta)
    got = risk_budget(slope, intercept, budget, law)
    direct = risk_budget_beta(slope, intercept, budget, alpha, beta)
    assert got.threshold == pytest.approx(direct.threshold, abs=1e-7)
    assert 0.0 <= got.threshold <= 1.0
    assert got.tie_probability == direct.tie_probability == 1.0
    assert got.risk <= budget + 1e-12
    assert got.risk == pytest.approx(risk_beta(got.threshold, slope, intercept, alpha, beta), abs=1e-12)
    assert got.skip_rate == pytest.approx(special.betainc(alpha, beta, got.threshold), abs=1e-12)
    assert got.skip_rate == pytest.approx(skip_rate(got.threshold, law), abs=1e-12)
    if got.threshold < 1.0:
        # sup: a little more threshold spends more than the budget
        assert risk_beta(got.threshold + 1e-5, slope, intercept, alpha, beta) > budget
    else:
        assert risk_beta(1.0, slope, intercept, alpha, beta) <= budget + 1e-12


@pytest.mark.parametrize(
    ("slope", "intercept", "budget", "threshold"),
    [
        (0.5, 0.2, 0.05, (math.sqrt(0.04 + 0.05) - 0.2) / 0.5),  # b > 0: b t + a t^2 / 2 = eps
        (2.0, 0.3, 0.3, 0.35 + 0.3 - 0.91 / 4.0),  # past the corner at 0.35 the risk grows at rate 1
        (2.0, -0.5, 0.4, 0.75 + 0.4 - 0.25),  # u_0 = 1/4, u_1 = 3/4, triangle 1/4
        (0.5, 1.2, 0.4, 0.4),  # always rejected: R(t) = t
        (0.5, -0.6, 0.0, 1.0),  # never rejected
        (0.5, -0.2, 0.0, 0.4),  # a zero budget still skips what is free
        (0.5, 0.2, 0.0, 0.0),
        (0.5, 0.0, 1.0, 1.0),  # more than can be spent
    ],
)
def test_uniform_budget_where_the_stated_form_does_not_hold(slope, intercept, budget, threshold):
    assert risk_budget_uniform(slope, intercept, budget).threshold == pytest.approx(threshold, abs=1e-12)
    by_bisection = risk_budget_beta(slope, intercept, budget, 1.0, 1.0)
    assert by_bisection.threshold == pytest.approx(threshold, abs=1e-12)


def test_uniform_is_the_default_law():
    law = BetaLaw()
    assert risk_budget(0.815, -0.066, 0.05, law) == risk_budget_uniform(0.815, -0.066, 0.05)
    for t in np.linspace(0.0, 1.0, 41):
        assert risk(t, 0.815, -0.066, law) == risk_uniform(t, 0.815, -0.066)
    assert risk_budget(0.8, -0.1, 0.05, BetaLaw(alpha=2.0, beta=1.0)) == risk_budget_beta(
        0.8, -0.1, 0.05, 2.0, 1.0
    )


def test_risk_of_a_simulated_decoder_within_four_standard_errors():
    rng = np.random.default_rng(0)
    num = 200_000
    u = rng.beta(0.6, 2.5, num)
    rejected = rng.random(num) < line(u, 1.6, -0.2)
    got = risk_budget_beta(1.6, -0.2, 0.05, 0.6, 2.5)
    spent = np.where(u <= got.threshold, rejected, False)
    assert abs(spent.mean() - 0.05) <= 4.0 * spent.std() / math.sqrt(num)
    assert abs(np.mean(u <= got.threshold) - got.skip_rate) <= 4.0 * 0.5 / math.sqrt(num)


atoms = st.integers(0, 4).map(lambda i: i / 4.0)
recorded = st.lists(
    st.tuples(atoms, st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 3)), min_size=1, max_size=12
)


@given(recorded, units)
def test_empirical_budget_agrees_with_enumeration(tokens, budget):
    u, beta, weight = (np.array(column, dtype=float) for column in zip(*tokens, strict=True))
    assume(weight.sum() > 0)
    mass = weight / weight.sum()
    got = risk_budget_empirical(u, beta, budget, weight=weight)
    below, at = (mass * beta)[u < got.threshold].sum(), (mass * beta)[u == got.threshold].sum()
    share = skip_probability(u, got.threshold, got.tie_probability)
    assert got.risk == pytest.approx(np.sum(mass * beta * share), abs=1e-12)
    assert got.skip_rate == pytest.approx(np.sum(mass * share), abs=1e-12)
    if np.sum(mass * beta) > budget * (1 + 1e-9):
        assert got.risk == pytest.approx(budget, abs=1e-12)  # the budget is met exactly
        assert below <= budget + 1e-12
        assert below + at > budget - 1e-12
        assert got.tie_probability == pytest.approx((budget - below) / at, abs=1e-9)
    elif np.sum(mass * beta) < budget:
        assert (got.threshold, got.tie_probability, got.skip_rate) == (1.0, 1.0, pytest.approx(1.0))
    # no threshold rule within the budget skips more
    for t, nu in itertools.product(np.arange(5) / 4.0, np.linspace(0.0, 1.0, 11)):
        other = skip_probability(u, t, nu)
        if np.sum(mass * beta * other) <= budget:
            assert np.sum(mass * other) <= got.skip_rate + 1e-9


def test_an_atom_that_does_not_fit_is_split_and_one_that_fits_is_not():
    u, beta = [0.0, 0.0, 0.5, 0.5, 0.9], [0.0, 0.1, 0.4, 0.6, 1.0]
    split = risk_budget_empirical(u, beta, 0.12)
    assert split.threshold == 0.5
    assert split.tie_probability == pytest.approx(0.5)  # 0.02 + 0.5 * 0.2
    assert split.risk == pytest.approx(0.12)
    assert split.skip_rate == pytest.approx(0.6)
    whole = risk_budget_empirical(u, beta, 0.22)
    assert whole.threshold == 0.9
    assert whole.tie_probability == pytest.approx(0.0, abs=1e-12)
    assert whole.risk == pytest.approx(0.22)
    assert whole.skip_rate == pytest.approx(0.8)
    first = risk_budget_empirical(u, beta, 0.005)
    assert (first.threshold, first.skip_rate) == (0.0, pytest.approx(0.1))
    assert first.tie_probability == pytest.approx(0.25)
    nothing = risk_budget_empirical([0.3, 0.6], [1.0, 1.0], 0.0)
    assert (nothing.threshold, nothing.tie_probability, nothing.risk, nothing.skip_rate) == (
        0.3,
        0.0,
        0.0,
        0.0,
    )
    free = risk_budget_empirical([0.3, 0.6], [0.0, 1.0], 0.0)
    assert (free.threshold, free.tie_probability, free.skip_rate) == (0.6, 0.0, 0.5)


def test_rounding_of_a_sum_does_not_split_the_last_atom():
    u, beta = np.linspace(0.0, 1.0, 10), np.full(10, 0.1)
    got = risk_budget_empirical(u, beta, 0.1)  # ten times 0.01 is not quite 0.1
    assert (got.threshold, got.tie_probability) == (1.0, 1.0)


def test_empirical_law_goes_to_the_continuous_one():
    u = (np.arange(20_000) + 0.5) / 20_000
    law = EmpiricalLaw(uncertainty=u)
    exact = risk_budget_uniform(0.815, -0.066, 0.05)
    got = risk_budget(0.815, -0.066, 0.05, law)
    assert got.threshold == pytest.approx(exact.threshold, abs=1e-4)
    assert got.skip_rate == pytest.approx(exact.skip_rate, abs=1e-4)
    assert risk(0.6, 0.815, -0.066, law) == pytest.approx(risk_uniform(0.6, 0.815, -0.066), abs=1e-4)
    assert skip_rate(0.6, law) == pytest.approx(0.6)
    assert skip_rate(-0.1, law) == 0.0


def test_recorded_rejections_and_weights_replace_the_line():
    u, beta = np.array([0.1, 0.5, 0.5]), np.array([1.0, 0.2, 0.8])
    law = EmpiricalLaw(uncertainty=u, rejection=beta, weight=np.array([2.0, 1.0, 1.0]))
    assert risk(0.1, 0.8, 0.0, law) == pytest.approx(0.5)
    assert risk(0.5, 0.8, 0.0, law) == pytest.approx(0.75)
    assert skip_rate(0.1, law) == pytest.approx(0.5)
    assert risk_budget(0.8, 0.0, 0.6, law) == risk_budget_empirical(u, beta, 0.6, weight=[2, 1, 1])
    assert risk_budget(0.8, 0.0, 0.6, law).tie_probability == pytest.approx(0.4)
    assert law.rejections(0.8, 0.0) is beta
    assert EmpiricalLaw(uncertainty=u).rejections(0.8, 0.1) == pytest.approx([0.18, 0.5, 0.5])


def test_recorded_tokens_may_come_in_any_shape():
    u, beta, weight = (
        np.array([0.1, 0.9, 0.5, 0.5]),
        np.array([0.0, 1.0, 0.4, 0.6]),
        np.array([1.0, 2.0, 3.0, 4.0]),
    )
    flat = risk_budget_empirical(u, beta, 0.1, weight=weight)
    square = {"uncertainty": u.reshape(2, 2), "rejection": beta.reshape(2, 2), "weight": weight.reshape(2, 2)}
    assert risk_budget_empirical(budget=0.1, **square) == flat
    assert risk_empirical([0.3, 0.5, 1.0], **square) == pytest.approx([0.0, 0.36, 0.56])


def test_nothing_is_skipped_below_0_and_everything_above_1():
    for law in (BetaLaw(), BetaLaw(alpha=2.0, beta=0.5), EmpiricalLaw(uncertainty=np.array([0.0, 0.5, 1.0]))):
        assert [skip_rate(t, law) for t in (-0.5, 1.5)] == [0.0, 1.0]


def test_skip_probability_of_each_side():
    got = skip_probability([[0.1, 0.2, 0.3]], [[0.2], [0.3]], [[0.25], [1.0]])
    assert got.tolist() == [[1.0, 0.25, 0.0], [1.0, 1.0, 1.0]]
    assert skip_probability(0.2, 0.2) == 1.0


@given(slopes, intercepts, st.floats(0.0, 3.0), st.floats(0.0, 3.0))
def test_cost_optimal_threshold_minimises_the_cost_of_every_token(slope, intercept, tau, price):
    u = np.linspace(0.0, 1.0, 201)
    skip_cost = price * line(u, slope, intercept)
    best = np.minimum(skip_cost, tau)
    t = cost_optimal(slope, intercept, tau, price, clip=False)
    cost = np.where(u <= t, skip_cost, tau)
    assert cost == pytest.approx(best, abs=1e-9)
    clipped = cost_optimal(slope, intercept, tau, price)
    assert clipped == max(t, 0.0)
    assert 0.0 <= clipped <= 1.0


def test_cost_optimal_of_any_finite_times_is_computed_in_float64():
    assert cost_optimal(1.0, 0.0, 1e300, 1e-300) == 1.0  # the ratio overflows
    tau, price = np.float32(0.1), np.float32(0.3)
    assert cost_optimal(0.5, 0.0, tau, price) == pytest.approx(float(tau) / float(price) / 0.5, rel=1e-15)


def test_cost_optimal_formula_and_its_ends():
    assert cost_optimal(0.8, -0.05, 0.2, 0.5) == pytest.approx((0.4 + 0.05) / 0.8)
    assert cost_optimal(2.0, -0.5, 0.3, 0.4) == pytest.approx(0.625)
    assert cost_optimal(2.0, -0.5, 0.4, 0.4) == 1.0  # a bias of 1 costs no more than transmitting
    assert cost_optimal(0.8, 0.3, 0.1, 1.0) == 0.0
    assert cost_optimal(0.8, 0.3, 0.1, 1.0, clip=False) == pytest.approx(-0.25)
    assert cost_optimal(0.8, -0.1, 0.5, 0.0) == 1.0
    assert cost_optimal(0.8, -0.1, 0.0, 0.0) == 1.0
    assert cost_optimal(0.8, -0.1, np.inf, 1.0) == 1.0
    assert cost_optimal(0.8, -0.1, 1.0, np.inf) == pytest.approx(0.125)
    assert cost_optimal(0.8, -0.1, 0.0, 1.0) == pytest.approx(0.125)
    assert cost_optimal(0.8, [-0.1, -0.2], [[0.0], [0.4]], 1.0) == pytest.approx(
        np.array([[0.125, 0.25], [0.625, 0.75]])
    )


@given(slopes, intercepts, st.floats(0.01, 1.0))
def test_cost_optimal_threshold_never_grows_with_snr_or_bandwidth(slope, intercept, price):
    snr = np.geomspace(1e-2, 1e4, 40)
    bandwidth_hz = np.geomspace(1e4, 1e8, 30)[:, None]
    transmit_s = 690.0 / (bandwidth_hz * np.log2(1.0 + snr)) + 0.05
    t = cost_optimal(slope, intercept, transmit_s, price)
    assert np.all(np.diff(t, axis=0) <= 0.0)
    assert np.all(np.diff(t, axis=1) <= 0.0)


@given(st.floats(0.05, 4.0), st.floats(-0.9, 0.9), st.floats(0.0, 1.0), st.floats(0.01, 5.0))
def test_threshold_and_price_there_and_back(slope, intercept, t, tau):
    beta = line(t, slope, intercept)
    assume(1e-6 < beta < 1.0 - 1e-6)
    price = bias_price_for_threshold(t, slope, intercept, tau)
    assert price == pytest.approx(tau / beta)
    assert cost_optimal(slope, intercept, tau, price) == pytest.approx(t, abs=1e-9)


def test_price_where_the_line_is_flat():
    assert bias_price_for_threshold(0.05, 0.8, -0.1, 0.3) == np.inf
    assert bias_price_for_threshold([0.75, 0.9], 2.0, -0.4, 0.3).tolist() == [0.3, 0.3]
    assert bias_price_for_threshold([0.05, 0.5], 0.8, -0.1, [[0.3], [0.6]]).tolist() == [
        [np.inf, pytest.approx(1.0)],
        [np.inf, pytest.approx(2.0)],
    ]


@settings(max_examples=40)
@given(
    st.floats(0.05, 4.0),
    st.floats(-0.9, 0.9),
    st.floats(0.001, 0.9),
    st.floats(0.01, 5.0),
    st.sampled_from(["uniform", "low", "high"]),
)
def test_budget_and_price_there_and_back(slope, intercept, budget, tau, name):
    law = BetaLaw(alpha=LAWS[name][0], beta=LAWS[name][1])
    spent = risk_budget(slope, intercept, budget, law)
    beta = line(spent.threshold, slope, intercept)
    assume(spent.threshold < 1.0 and 1e-4 < beta < 1.0 - 1e-6)
    price = bias_price_for_budget(budget, slope, intercept, tau, law)
    assert price == pytest.approx(tau / beta)
    assert budget_for_bias_price(price, slope, intercept, tau, law) == pytest.approx(budget, abs=1e-7)


def test_price_of_a_budget_is_its_derivative():
    slope, intercept, tau, law, step = 0.815, -0.066, 0.4, BetaLaw(alpha=0.6, beta=2.5), 1e-5
    latency = [
        tau * (1.0 - risk_budget(slope, intercept, e, law).skip_rate) for e in (0.05 - step, 0.05 + step)
    ]
    price = bias_price_for_budget(0.05, slope, intercept, tau, law)
    assert price == pytest.approx((latency[0] - latency[1]) / (2 * step), rel=1e-5)


def test_prices_at_the_ends():
    law = BetaLaw()
    assert bias_price_for_budget(0.9, 0.8, -0.1, 0.3, law) == 0.0  # nothing binds
    assert bias_price_for_budget(0.0, 0.8, -0.1, 0.3, law) == np.inf
    assert bias_price_for_budget(0.0, 0.8, 0.2, 0.3, law) == pytest.approx(1.5)
    assert budget_for_bias_price(0.0, 0.8, -0.1, 0.3, law) == pytest.approx(risk_uniform(1.0, 0.8, -0.1))
    assert budget_for_bias_price(10.0, 0.8, 0.2, 0.3, EmpiricalLaw(uncertainty=np.zeros(3))) == 0.0
    all_of_it = risk_uniform(1.0, 0.8, -0.1)
    assert bias_price_for_budget(float(all_of_it), 0.8, -0.1, 0.3, law) == pytest.approx(0.3 / 0.7)


def test_price_of_an_atom_covers_a_range_of_budgets():
    law = EmpiricalLaw(uncertainty=np.array([0.2, 0.6, 0.6]))
    prices = {round(bias_price_for_budget(e, 0.5, 0.0, 0.3, law), 9) for e in (0.04, 0.1, 0.2)}
    assert prices == {1.0}
    assert budget_for_bias_price(1.0, 0.5, 0.0, 0.3, law) == pytest.approx((0.1 + 0.3 + 0.3) / 3)


GOOD = {
    "threshold": 0.4, "slope": 0.8, "intercept": -0.1, "delta": 0.5, "budget": 0.05,
    "alpha": 2.0, "beta": 1.5, "uncertainty": [0.2, 0.7], "rejection": [0.1, 0.6], "weight": [1.0, 2.0],
    "tie_probability": 0.5, "transmit_s": 0.1, "bias_price_s": 1.0,
}  # fmt: skip
TAKES = {
    risk_averse: ["slope", "intercept"],
    risk_prone: ["slope", "intercept", "delta"],
    risk_uniform: ["threshold", "slope", "intercept"],
    risk_budget_uniform: ["slope", "intercept", "budget"],
    risk_beta: ["threshold", "slope", "intercept", "alpha", "beta"],
    risk_budget_beta: ["slope", "intercept", "budget", "alpha", "beta"],
    risk_empirical: ["threshold", "uncertainty", "rejection", "weight"],
    risk_budget_empirical: ["uncertainty", "rejection", "budget", "weight"],
    skip_probability: ["uncertainty", "threshold", "tie_probability"],
    cost_optimal: ["slope", "intercept", "transmit_s", "bias_price_s"],
    bias_price_for_threshold: ["slope", "intercept", "transmit_s"],
    BetaLaw: ["alpha", "beta"],
    EmpiricalLaw: ["uncertainty", "rejection"],
}
POSITIVE, SECONDS = {"slope", "alpha", "beta"}, {"transmit_s", "bias_price_s"}
WITHIN_ONE = {"delta", "budget", "uncertainty", "rejection", "tie_probability"}


@pytest.mark.parametrize(
    ("function", "name"), [(function, name) for function, names in TAKES.items() for name in names]
)
def test_refuses_what_is_no_chance_shape_or_time(function, name):
    good = {argument: np.asarray(GOOD[argument]) for argument in TAKES[function]}
    if function is bias_price_for_threshold:
        good["threshold"] = 0.4
    function(**good)
    bad_values = {math.nan: "be finite; got nan"}
    if name in SECONDS:
        bad_values = {bad: rf"be at least 0 \(infinite is allowed\); got {bad:g}" for bad in (math.nan, -0.5)}
    if name in POSITIVE:
        bad_values |= {bad: f"be positive; got {bad:g}" for bad in (0.0, -0.5)}
    if name in WITHIN_ONE:
        bad_values |= {bad: rf"lie in \[0, 1\]; got {bad:g}" for bad in (1.5, -0.5)}
    if name == "weight":
        bad_values[-0.5] = "be at least 0; got -0.5"
    for bad, text in bad_values.items():
        wrong = np.where(np.arange(good[name].size) == 0, bad, good[name]).reshape(good[name].shape)
        with pytest.raises(ValueError, match=f"^{name} must {text}$"):
            function(**(good | {name: wrong}))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: risk_averse(0.0, 0.1), "slope must be positive; got 0"),
        (lambda: risk_averse(0.5, np.nan), "intercept must be finite; got nan"),
        (lambda: risk_prone(-1.0, 0.1, 0.5), "slope must be positive; got -1"),
        (lambda: risk_prone(1.0, 0.1, 1.5), r"delta must lie in \[0, 1\]; got 1.5"),
        (lambda: risk_uniform(0.5, 0.0, 0.0), "slope must be positive; got 0"),
        (lambda: risk_uniform(np.nan, 1.0, 0.0), "threshold must be finite; got nan"),
        (lambda: risk_budget_uniform(0.0, 0.0, 0.1), "slope must be positive; got 0"),
        (lambda: risk_budget_uniform(1.0, 0.0, -0.1), r"budget must lie in \[0, 1\]; got -0.1"),
        (lambda: risk_beta(0.5, 1.0, 0.0, 0.0, 1.0), "alpha must be positive; got 0"),
        (lambda: risk_beta(0.5, 1.0, 0.0, 1.0, -1.0), "beta must be positive; got -1"),
        (lambda: risk_budget_beta(1.0, 0.0, 1.1, 1.0, 1.0), r"budget must lie in \[0, 1\]; got 1.1"),
        (lambda: risk_budget_beta(1.0, 0.0, 0.1, 0.0, 1.0), "alpha must be positive; got 0"),
        (lambda: BetaLaw(beta=0.0), "beta must be positive; got 0"),
        (lambda: EmpiricalLaw(uncertainty=np.array([1.2])), r"uncertainty must lie in \[0, 1\]; got 1.2"),
        (
            lambda: EmpiricalLaw(uncertainty=np.array([0.2]), rejection=np.array([-0.5])),
            r"rejection must lie in \[0, 1\]; got -0.5",
        ),
        (lambda: risk_empirical(0.5, [], []), "^uncertainty must hold at least 1 token; got 0$"),
        (
            lambda: risk_empirical(0.5, [0.1], [0.1, 0.2]),
            "rejection must have as many tokens as uncertainty, 1; got 2",
        ),
        (lambda: risk_empirical(0.5, [0.1], [0.1], weight=[1, 1]), "weight must have as many tokens"),
        (lambda: risk_empirical(0.5, [0.1], [0.1], weight=[0]), "weight must have a positive sum; got 0"),
        (lambda: risk_budget_empirical([0.1], [0.1], 1.1), r"budget must lie in \[0, 1\]; got 1.1"),
        (lambda: risk_budget_empirical([0.1], [np.nan], 0.1), "rejection must be finite; got nan"),
        (lambda: skip_probability(0.5, np.nan), "threshold must be finite; got nan"),
        (lambda: skip_probability(0.5, 0.5, 1.2), r"tie_probability must lie in \[0, 1\]; got 1.2"),
        (lambda: skip_rate(np.nan, BetaLaw()), "threshold must be finite; got nan"),
        (lambda: cost_optimal(0.0, 0.0, 0.1, 1.0), "slope must be positive; got 0"),
        (
            lambda: cost_optimal(1.0, 0.0, -0.1, 1.0),
            r"transmit_s must be at least 0 \(infinite is allowed\); got -0.1",
        ),
        (lambda: cost_optimal(1.0, 0.0, 0.1, np.nan), "bias_price_s must be at least 0"),
        (lambda: bias_price_for_threshold(1.5, 1.0, 0.0, 0.1), r"uncertainty must lie in \[0, 1\]; got 1.5"),
        (lambda: bias_price_for_threshold(0.5, 1.0, 0.0, -0.1), "transmit_s must be at least 0"),
        (lambda: bias_price_for_budget(1.5, 1.0, 0.0, 0.1, BetaLaw()), r"budget must lie in \[0, 1\]"),
        (lambda: budget_for_bias_price(-1.0, 1.0, 0.0, 0.1, BetaLaw()), "bias_price_s must be at least 0"),
    ],
)
def test_refuses_bad_input(call, text):
    with pytest.raises(ValueError, match=text):
        call()
