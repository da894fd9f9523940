"""The knapsack's closed form is the derived one, and its bound is below every policy."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cuhlm_theory.capacity import awgn_capacity_bit_per_s
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.optimisation import lower_hull, quantisation_profile, solve
from cuhlm_theory.parameters import Codec
from cuhlm_theory.payload import distribution_bit
from cuhlm_theory.truncation import quantisation_tv_bound, reconstruct, truncation_tv, tv_profile
from cuhlm_theory.verification import output_law, rejection_risk, total_variation
from tests.joins.formula import derived, statement, value
from tests.joins.test_verification import laws

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


@few
@given(st.integers(0, 10_000), st.floats(0.0, 3.0), st.floats(0.0, 3.0), st.floats(0.0, 100.0))
def test_an_action_that_is_best_at_two_prices_is_best_between_them(seed, low, high, ratio):
    rng = np.random.default_rng(seed)
    cost, loss = rng.random((2, 5))
    best = int(np.argmin(cost + low * loss))
    assume(best == int(np.argmin(cost + high * loss)))
    (claim,) = statement("optimise.settled").claims
    for other in range(5):
        numbers = {"t_1": cost[best], "b_1": loss[best], "t_2": cost[other], "b_2": loss[other], "r": ratio}
        numbers |= {"lambda_1": low, "lambda_2": high}
        mine, theirs = (value(side, **numbers) for side in (claim.lhs, claim.rhs))
        assert mine <= theirs + 1e-12
        price = (low + ratio * high) / (1.0 + ratio)
        assert (mine, theirs) == pytest.approx(tuple((cost + price * loss)[[best, other]]))


def test_truncation_is_due_in_full_where_a_context_may_transmit():
    x, skip = np.array([0.9, 0.1, 0.0]), np.array([1.0, 0.0, 0.0])
    y = rebuilt = reconstruct(x, 1)
    bias = float(total_variation(output_law(x, y, skip=skip, verify_with=rebuilt), y))
    claims = statement("optimise.separable_counterexample").claims
    assert bias == pytest.approx(float(claims[0].rhs))
    assert float(truncation_tv(x, 1)) * float(x @ (1 - skip)) == pytest.approx(float(claims[1].rhs))
    assert bias <= float(rejection_risk(x, y, skip)) + float(truncation_tv(x, 1)) + 1e-12


@few
@given(st.integers(0, 10_000), st.floats(0.1, 5.0))
def test_truncation_is_sunk_in_the_rule_and_weighs_on_the_size_as_derived(seed, price):
    rng = np.random.default_rng(seed)
    mass, rejected = rng.dirichlet(np.ones(6)), rng.random(6)
    uplink_s, llm_s = np.cumsum(rng.random(4)) * 0.3, 0.2
    lost = np.sort(rng.random(4))[::-1] * 0.2
    masks = np.array(list(itertools.product((False, True), repeat=6)))[:-1]  # all that may transmit
    total = np.array(
        [
            [mass @ np.where(skips, price * rejected, up + llm_s) + price * tv for skips in masks]
            for up, tv in zip(uplink_s, lost, strict=True)
        ]
    )  # [K, masks], by brute force
    sunk, _, late, turn = statement("optimise.kkt").claims
    best, chosen = np.unravel_index(np.argmin(total), total.shape)
    skips, send = masks[chosen], uplink_s[best] + llm_s
    gains = np.array(
        [
            value(sunk.rhs, w=float(w), beta=float(b), c=float(send), **{"lambda": price})
            for w, b in zip(mass, rejected, strict=True)
        ]
    )
    if np.any(gains > 0):  # else the rule never transmits, and nothing is due for truncation
        assert np.array_equal(skips, gains <= 0)
    chance = float(mass @ ~skips)
    weighed = chance * uplink_s + price * lost
    assert int(np.argmin(weighed)) == best
    for other in range(best + 1, 4):  # a larger size would need a dearer bias
        numbers = {"d_tau": uplink_s[other] - uplink_s[best], "d_TV": lost[best] - lost[other]}
        assert price <= value(turn.rhs, pi=chance, **numbers) + 1e-9
    # a draft that the rule with TV on the side of the transmission skips too many of
    beyond = 0.5 * float(lost[best])
    assert price * (send / price + beyond) - send == pytest.approx(
        value(late.rhs, e=beyond, **{"lambda": price})
    )


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
@given(laws(1, 6), st.floats(0.01, 5.0), st.floats(0.05, 1e3), st.floats(1.01, 100.0), st.floats(0.05, 1.0))
def test_a_context_at_its_best_size_is_the_derived_minimum_and_its_packet_may_grow_with_the_link(
    one, price, snr, better, chance
):
    (x,) = one
    claims = statement("optimise.transmit_cost").claims
    each = claims[0].lhs.expr
    codec, sizes = Codec(vocab_size=6), np.arange(1, 7)
    bits, lost = distribution_bit(codec, sizes), tv_profile(x, sizes)

    def cost(level):
        return chance * bits / float(awgn_capacity_bit_per_s(1e3, level)) + price * lost

    written = [
        value(each, B_k=float(b), TV_k=float(tv), W=1e3, gamma=snr, P=chance, **{"lambda": price})
        for b, tv in zip(bits, lost, strict=True)
    ]
    assert cost(snr) == pytest.approx(written)
    assert cost(better * snr).min() < cost(snr).min()
    # the counterexample: a better link, and a packet that takes longer
    for claim in claims[3:]:
        assert float(claim.lhs.doit()) < float(claim.rhs.doit())


def test_the_quantisation_that_is_charged_is_the_derived_bound():
    tokens = Tokens(uncertainty=np.zeros(1), rejection=np.zeros(1), k_grid=np.array([1, 30, 100]))
    got = quantisation_profile(tokens, Codec(vocab_size=100, prob_bits=6))
    assert got == pytest.approx(quantisation_tv_bound(np.array([2, 31, 100]), 6))
