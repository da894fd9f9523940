"""The knapsack's closed form is the derived one, and its bound is below every policy."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cuhlm_theory.optimise import lower_hull, quantisation_profile, solve
from cuhlm_theory.parameters import Codec, Tokens
from cuhlm_theory.truncation import quantisation_tv_bound, reconstruct, truncation_tv
from cuhlm_theory.verification import output_law, rejection_risk, total_variation
from tests.joins.formula import derived, statement, value

few = settings(max_examples=25)


@few
@given(st.floats(0.1, 5.0), st.floats(0.01, 1.0), st.floats(0.01, 0.5), st.floats(0.0, 1.0))
def test_two_actions_mix_as_derived(saved, slow, width, where):
    fast, low = slow, 0.0
    budget = where * width
    assume(1e-6 < where < 1 - 1e-6)
    solved = solve([[fast + saved, fast]], [[low, low + width]], [1.0], budget)
    numbers = {"t_1": fast + saved, "t_2": fast, "b_1": low, "d": width, "epsilon": budget}
    assert solved.multiplier_s == pytest.approx(derived("optimise.lagrangian", "lambda", **numbers))
    assert solved.share == pytest.approx(derived("optimise.lagrangian", "pi", **numbers))
    assert solved.latency_s == pytest.approx(derived("optimise.lagrangian", "T", **numbers))
    assert solved.gap_s == pytest.approx(0.0, abs=1e-9)
    worth = statement("optimise.lagrangian").claims[-1].rhs
    more = solve([[fast + saved, fast]], [[low, low + width]], [1.0], budget * 1.0001)
    assert (more.latency_s - solved.latency_s) / (1e-4 * budget) == pytest.approx(
        value(worth, **numbers), rel=1e-3
    )


@few
@given(st.integers(0, 10_000), st.floats(0.05, 0.5), st.floats(0.0, 5.0))
def test_every_multiplier_bounds_every_policy(seed, budget, price):
    rng = np.random.default_rng(seed)
    cost, loss = rng.random((3, 3)), rng.random((3, 3)) * 0.6
    cost[:, 0], loss[:, 0] = 1.0, 0.0
    weight = rng.dirichlet(np.ones(3))
    dual = float(weight @ (cost + price * loss).min(axis=1)) - price * budget
    solved = solve(cost, loss, weight, budget)
    assert dual <= solved.latency_s + 1e-9
    assert solved.dual_s == pytest.approx(solved.latency_s, abs=1e-9)
    assert solved.bias <= budget + 1e-9
    rows = np.arange(3)
    for choice in itertools.product(range(3), repeat=3):  # brute force over all deterministic policies
        if weight @ loss[rows, choice] <= budget:
            assert solved.latency_s <= weight @ cost[rows, choice] + 1e-9


@few
@given(st.integers(0, 10_000), st.floats(0.0, 10.0))
def test_some_vertex_of_the_hull_is_as_good_as_any_action(seed, price):
    rng = np.random.default_rng(seed)
    loss, cost = rng.random((1, 7)), rng.random((1, 7))
    total = (cost + price * loss)[0]
    assert total[lower_hull(loss, cost)[0]].min() == pytest.approx(total.min())


def test_truncation_is_due_in_full_where_a_context_may_transmit():
    x, skip = np.array([0.9, 0.1, 0.0]), np.array([1.0, 0.0, 0.0])
    y = rebuilt = reconstruct(x, 1)
    bias = float(total_variation(output_law(x, y, skip=skip, verify_with=rebuilt), y))
    claims = statement("optimise.separable_counterexample").claims
    assert bias == pytest.approx(float(claims[0].rhs))
    assert float(truncation_tv(x, 1)) * float(x @ (1 - skip)) == pytest.approx(float(claims[1].rhs))
    assert bias <= float(rejection_risk(x, y, skip)) + float(truncation_tv(x, 1)) + 1e-12


def test_the_rule_for_one_token_is_the_threshold_with_the_price_of_truncation_added():
    slope, intercept, send, lost, price = 0.8, -0.05, 0.3, 0.02, 2.0
    edge = derived("optimise.kkt", "u", a=slope, b=intercept, c=send, TV=lost, **{"lambda": price})
    for u in (edge - 0.01, edge + 0.01):
        keeps = price * (slope * u + intercept) <= send + price * lost
        assert keeps == (u < edge)


def test_the_quantisation_that_is_charged_is_the_derived_bound():
    tokens = Tokens(uncertainty=np.zeros(1), rejection=np.zeros(1), k_grid=np.array([1, 30, 100]))
    got = quantisation_profile(tokens, Codec(vocab_size=100, prob_bits=6))
    assert got == pytest.approx(quantisation_tv_bound(np.array([2, 31, 100]), 6))
