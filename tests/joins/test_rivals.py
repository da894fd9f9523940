"""The rivals' formulas are the derived ones, on numbers and on small vocabularies."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuhlm_theory import kept_law, rivals
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.drafting import best_num_drafts, expected_tokens_per_round
from cuhlm_theory.schemes.payload import DenseLattice, IndexAlone, round_to_lattice
from cuhlm_theory.schemes.verification import Lenient
from cuhlm_theory.verification import total_variation
from tests.joins.formula import derived, on_vocabulary, statement, value
from tests.joins.test_verification import laws

few = settings(max_examples=25)
times = st.floats(1e-4, 1.0)


@few
@given(st.floats(0.05, 0.95), st.integers(1, 40), times, times, times)
def test_latency_and_best_count_over_a_delay_are_the_derived_ones(alpha, count, draft, verify, delay):
    same = statement("rivals.delay_ratio").claims[0]
    numbers = {"alpha": alpha, "k": count, "c_d": draft, "c_v": verify, "d": delay}
    latency = value(same.lhs, **numbers)
    assert float(rivals.delayed_latency_s(alpha, count, draft, verify, delay)) == pytest.approx(latency)
    ratio = float(rivals.delay_ratio(draft, verify, delay))
    assert value(same.rhs, L=ratio, **numbers) == pytest.approx(latency)
    best = int(best_num_drafts(alpha, ratio))
    here = value(same.lhs, **numbers | {"k": best})
    assert here <= (draft + verify) / alpha ** (best + 1) * (1 + 1e-9)  # the printed rule
    if best > 1:
        before = value(same.lhs, **numbers | {"k": best - 1})
        assert before > (draft + verify) / alpha**best * (1 - 1e-9)
    critical = derived("rivals.delay_ratio", "d", alpha=alpha, c_d=draft, c_v=verify)
    assert float(rivals.critical_delay_s(alpha, draft, verify)) == pytest.approx(critical)


@few
@given(st.floats(0.05, 0.95), times, times, st.lists(times, min_size=2, max_size=4), st.integers(0, 99))
def test_the_value_of_the_state_is_what_the_affine_latency_leaves(alpha, draft, verify, delays, seed):
    weight = np.random.default_rng(seed).dirichlet(np.ones(len(delays)))
    mean = float(weight @ delays)
    count = int(best_num_drafts(alpha, rivals.delay_ratio(draft, verify, mean)))
    (claim,) = statement("rivals.state_value").claims
    tokens = float(expected_tokens_per_round(alpha, count))
    fixed = value(claim.rhs, a=count * (draft + verify) + verify, B=tokens, dbar=mean)
    own = [
        float(
            rivals.delayed_latency_s(
                alpha, best_num_drafts(alpha, rivals.delay_ratio(draft, verify, d)), draft, verify, d
            )
        )
        for d in delays
    ]
    best = on_vocabulary(claim.lhs, w=weight, C=np.array(own))
    assert float(rivals.state_value_s(alpha, draft, verify, delays, weight)) == pytest.approx(
        fixed - best, abs=1e-9
    )


@few
@given(laws(1, 5), st.integers(3, 40))
def test_the_dense_lattice_costs_no_more_than_derived(one, levels):
    (x,) = one
    y = np.roll(x, 1)
    ranked = -np.sort(-x)
    kept = np.arange(1, 6)
    tail = np.clip(1 - np.cumsum(ranked), 0, 1)
    bound = statement("rivals.dense_lattice").claims[0]
    names = {str(symbol) for symbol in bound.rhs.free_symbols}
    assert names == {"t", "n", "ell"}
    most = min(value(bound.rhs, t=float(t), n=int(n), ell=levels) for t, n in zip(tail, kept, strict=True))
    rounded = round_to_lattice(x, levels)
    assert float(total_variation(rounded, x)) <= most + 1e-9
    tokens = Tokens(
        uncertainty=np.array([0.5]),
        rejection=np.array([0.5]),
        tv=np.array([float(total_variation(x, y))]),
        k_grid=kept,
        tail_mass=tail[None],
    )
    accepted = DenseLattice(lattice_levels=levels).acceptance(tokens, np.array([5]))
    assert float(accepted[0]) == pytest.approx(max(1 - float(tokens.tv[0]) - most, 0), abs=1e-12)
    assert float(accepted[0]) <= 1 - float(total_variation(rounded, y)) + 1e-9


@few
@given(laws(2, 4), st.integers(1, 30))
def test_one_proposal_a_token_whatever_the_pair(pair, most):
    x, y = pair
    chance, law, claim, capped, _ = statement("rivals.one_proposal_a_token").claims
    apart = on_vocabulary(chance.lhs, x=x, y=y)
    if apart < 1e-6:
        return
    assert apart == pytest.approx(float(total_variation(x, y)), abs=1e-12)
    assert [
        value(law.lhs, x=float(a), y=float(b), T=apart) for a, b in zip(x, y, strict=True)
    ] == pytest.approx((np.maximum(y - x, 0) / apart).tolist())
    assert claim.rhs == 1 == float(rivals.proposals_per_token(apart))
    assert float(rivals.proposals_per_token(apart, most)) == pytest.approx(
        value(capped.rhs, r=1 - apart, M=most)
    )
    left = float(rivals.fall_back_probability(apart, most))
    assert left == pytest.approx(apart * (1 - apart) ** most)
    assert left <= (most / (most + 1)) ** most / (most + 1) + 1e-12  # where the derived slope is 0


@few
@given(laws(2, 5), st.integers(1, 5))
def test_the_certificate_of_a_truncated_residual_is_derived(pair, kept):
    x, y = pair
    claim = statement("rivals.truncated_residual").claims[2]
    sent = np.argsort(-y, kind="stable")[:kept]
    known = float(np.maximum(y - x, 0)[sent].sum())
    tail = max(1 - float(y[sent].sum()), 0.0)
    certificate = rivals.residual_certificate(x, y, kept)
    if known + tail > 1e-9:
        assert float(certificate) == pytest.approx(value(claim.rhs, K=known, t=tail), abs=1e-9)


@few
@given(laws(2, 4))
def test_matching_keeps_what_is_derived_and_never_more_than_verification(pair):
    x, y = pair
    _, claim = statement("rivals.matching").claims
    kept = on_vocabulary(claim.lhs, x=x, y=y)
    assert kept <= value(claim.rhs, T=float(total_variation(x, y))) + 1e-9
    tokens = Tokens(uncertainty=np.zeros(4), rejection=np.zeros(4), llm_prob=y, weight=x)
    chance = IndexAlone().acceptance(tokens, np.zeros(4, int))
    assert float(tokens.weight @ chance) == pytest.approx(kept)


@few
@given(laws(2, 4), st.lists(st.floats(0, 1), min_size=4, max_size=4), st.floats(0.05, 1.0))
def test_acceptance_and_bias_of_any_rule_are_derived(pair, chance, lenience):
    x, y = pair
    claim, tight, keeps, _ = statement("rivals.lossy_acceptance").claims
    apart = float(total_variation(x, y))
    any_rule, lenient = x * np.array(chance), x * Lenient(lenience=lenience).acceptance(x, y)
    for kept in (any_rule, lenient):
        bias = float(kept_law.bias(kept, y))
        assert kept.sum() <= value(claim.rhs, T=apart, b=bias) + 1e-9
    assert lenient.sum() == pytest.approx(1 - apart + float(kept_law.bias(lenient, y)))  # nothing wasted
    for i in range(4):
        sides = [value(side, x=float(x[i]), y=float(y[i]), e=chance[i]) for side in (tight.lhs, tight.rhs)]
        assert sides[0] == pytest.approx(sides[1])
        assert lenient[i] == pytest.approx(
            value(keeps.rhs, x=float(x[i]), y=float(y[i]), z=lenience * float(x[i]))
        )


@few
@given(st.floats(0.05, 0.95), st.integers(1, 20), times)
def test_what_a_unit_of_bias_saves_is_derived(alpha, count, seconds):
    rises, lossy, most, _ = statement("rivals.lossy_bias_price").claims
    tokens = float(expected_tokens_per_round(alpha, count))
    numbers = {"D": seconds, "B": tokens, "delta": (count + 1) * alpha**count, "beta": 1 - alpha}
    price = float(rivals.lossy_bias_price_s(alpha, count, seconds))
    assert price == pytest.approx(value(lossy.rhs, **numbers))
    assert price <= value(most.rhs, **numbers) + 1e-12
    step = 1e-6
    ends = [float(expected_tokens_per_round(alpha + sign * step, count)) for sign in (-1, 1)]
    assert value(rises.rhs, alpha=alpha, k=count) == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-5)


@few
@given(laws(2, 4), st.floats(0.05, 1.0))
def test_a_block_stands_as_derived(pair, stands):
    x, y = pair
    onward, claim, exact, more = statement("rivals.block_survival").claims
    excess = float(np.maximum(stands * y - x, 0).sum())
    passed = on_vocabulary(
        onward.lhs.subs({one: stands for one in onward.free_symbols if str(one) == "p"}), x=x, y=y
    )
    assert passed == pytest.approx(value(onward.rhs, p=stands, D=excess), abs=1e-9)
    if excess + 1 - stands > 1e-9:
        assert value(claim.lhs, p=stands, D=excess, h=excess / (excess + 1 - stands)) == pytest.approx(stands)
    entry = {"x": float(x[0]), "y": float(y[0]), "p": stands}
    assert value(exact.lhs, D=1.0, **entry) == pytest.approx(value(exact.rhs, **entry))
    curve = rivals.survival_curve(y / x, np.zeros(4, int), 4)  # one round, over the four tokens
    p = 1.0
    for place, ratio in enumerate(y / x):
        assert value(more.lhs, s=p * math.exp(-0.1), **entry | {"x": 1.0, "y": float(ratio)}) <= p + 1e-9
        p = min(1.0, p * float(ratio))
        assert float(curve[place]) == pytest.approx(p)
