"""The knapsack's closed form is the derived one, and its bound is below every policy."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cuhlm_theory.contexts import Tokens
from cuhlm_theory.optimise import lower_hull, quantisation_profile, separable_actions, solve
from cuhlm_theory.optimise.actions import Curves
from cuhlm_theory.parameters import Budget, Codec, Latency, Link, System
from cuhlm_theory.payload import distribution_bit
from cuhlm_theory.rejection import Line
from cuhlm_theory.summary import Setting, transmit_s
from cuhlm_theory.truncation import quantisation_tv_bound, reconstruct, truncation_tv, tv_profile
from cuhlm_theory.verification import output_law, rejection_risk, total_variation
from tests.joins.formula import derived, statement, value
from tests.joins.test_verification import laws
from tests.worlds import World, table

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


@few
@given(
    st.floats(0.2, 0.9),
    st.floats(-0.1, 0.05),
    st.floats(0.1, 1.0),
    st.floats(0.0, 0.05),
    st.floats(0.02, 0.3),
)
def test_the_optimum_skips_up_to_the_derived_edge(slope, intercept, send, lost, budget):
    u = np.linspace(0.0, 1.0, 41)
    tokens = Tokens(
        uncertainty=u,
        rejection=Line(slope, intercept)(u),
        k_grid=np.array([1]),
        tv_profile=np.full((u.size, 1), lost),
    )
    weight = np.full(u.size, 1 / u.size)
    always = np.ones((u.size, 1))
    choices = separable_actions(
        Curves(
            thresholds=np.array([-1.0]),
            transmit=always,
            risk=0 * always,
            sizes=np.array([1]),
            truncation=lost * always,
            send_s=np.array([send]),
            base_s=0.0,
            weight=weight,
        ),
        tokens,
    )
    assume(lost < budget < float((choices.bias[:, 0] * weight).sum()))
    solved = solve(choices.latency_s, choices.bias, weight, budget)
    edge = derived(
        "optimise.kkt", "u", a=slope, b=intercept, c=send, TV=lost, **{"lambda": solved.multiplier_s}
    )
    skips = (1 - solved.share) * (solved.within == 0) + solved.share * (solved.beyond == 0)
    assert np.all(skips[u < edge - 1e-6] == 1.0)
    assert np.all(skips[u > edge + 1e-6] == 0.0)


@few
@given(laws(1, 6), st.floats(0.5, 5.0), st.floats(0.01, 2.0))
def test_a_device_changes_its_size_at_the_derived_multiplier(one, bits, chance):
    (x,) = one
    tv = tv_profile(x, np.arange(1, 7))
    uplink_s = bits * np.arange(1, 7)
    kept = np.unique(lower_hull(tv[None, :], uplink_s[None, :])[0])
    turn, rate, mediant = (claim for claim in statement("optimise.operating_point").claims)
    edges = []
    for small, large in itertools.pairwise(kept):  # neighbours on the hull
        numbers = {"d_tau": uplink_s[large] - uplink_s[small], "d_TV": tv[small] - tv[large]}
        edges.append(numbers)
        mu = value(turn.rhs, **numbers)
        assert value(rate.rhs, P=chance, mu=mu) == pytest.approx(value(rate.lhs, P=chance, **numbers))
        cost = uplink_s + mu * tv
        assert cost[[small, large]] == pytest.approx(cost.min(), rel=1e-9)
        below, above = (uplink_s + factor * mu * tv for factor in (0.999, 1.001))
        assert below[small] < below[large]
        assert above[small] > above[large]
    for large, small in itertools.pairwise(reversed(edges)):  # towards smaller sizes
        numbers = {**large, "d_tau2": small["d_tau"], "d_TV2": small["d_TV"]}
        assert value(mediant.lhs, **numbers) <= value(mediant.rhs, **numbers) * (1 + 1e-9)


@few
@given(laws(1, 6), st.floats(0.01, 5.0), st.floats(0.05, 1e3), st.floats(1.01, 100.0))
def test_a_transmission_at_its_best_size_is_the_derived_minimum_and_cheaper_on_a_better_link(
    one, price, snr, better
):
    (x,) = one
    tokens, codec = table(World(x=x[None], y=x[None], u=np.full((1, 6), 0.5))), Codec(vocab_size=6)
    each = statement("optimise.transmit_cost").claims[0].lhs.expr

    def cost(level):
        system = System(
            link=Link(bandwidth_hz=1e3, snr=level), codec=codec, latency=Latency(slm_s=0.01, llm_s=0.1)
        )
        setting = Setting(
            slope=0.8, intercept=-0.05, delta=None, tokens=tokens, system=system, budget=Budget(bias=0.05)
        )
        return transmit_s(setting, price)

    sizes = [
        value(
            each,
            B_k=float(distribution_bit(codec, k)),
            TV_k=float(truncation_tv(x, k)),
            W=1e3,
            gamma=snr,
            **{"lambda": price},
        )
        for k in range(1, 7)
    ]
    assert cost(snr) == pytest.approx(0.1 + min(sizes))
    assert cost(better * snr) < cost(snr)


def test_the_quantisation_that_is_charged_is_the_derived_bound():
    tokens = Tokens(uncertainty=np.zeros(1), rejection=np.zeros(1), k_grid=np.array([1, 30, 100]))
    got = quantisation_profile(tokens, Codec(vocab_size=100, prob_bits=6))
    assert got == pytest.approx(quantisation_tv_bound(np.array([2, 31, 100]), 6))
