"""Draft counts and rounds are the derived ones, and a simulation of rounds agrees."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuhlm_theory import drafting
from cuhlm_theory.parameters import FixedRate, Latency
from cuhlm_theory.schemes import independent_scheduled_rounds
from cuhlm_theory.schemes.draft import Scheduled
from tests.joins.formula import derived, statement, value

few = settings(max_examples=25)
chances = st.floats(0.02, 0.98)
seconds = st.floats(0.001, 1.0)


@few
@given(chances, st.integers(1, 12))
def test_expected_tokens_and_its_branch(alpha, drafts):
    expected = derived("drafting.expected_tokens", "E_N", alpha=alpha, gamma=drafts)
    assert float(drafting.expected_tokens_per_round(alpha, drafts)) == pytest.approx(expected, rel=1e-9)
    assert expected <= 1 / (1 - alpha)  # strictly, but for rounding
    certain = statement("drafting.expected_tokens").claims[2].rhs
    assert float(drafting.expected_tokens_per_round(1.0, drafts)) == value(certain, gamma=drafts)


@few
@given(chances, st.integers(1, 12), st.floats(0.001, 2.0))
def test_speedup_and_operations(alpha, drafts, ratio):
    mean = float(drafting.expected_tokens_per_round(alpha, drafts))
    speed = statement("drafting.speculation_speedup").claims[0].rhs
    got = float(drafting.speculation_speedup(alpha, drafts, ratio))
    assert got == pytest.approx(value(speed, E_N=mean, gamma=drafts, L=ratio))
    work = statement("drafting.operations_ratio").claims[0].rhs
    expected = value(work, alpha=alpha, gamma=drafts, chat=0.1)
    assert float(drafting.operations_ratio(alpha, drafts, 0.1)) == pytest.approx(expected)
    assert float(drafting.operations_ratio(alpha, drafts)) >= 1.0 - 1e-12


@few
@given(chances, st.floats(0.005, 2.0))
def test_drafting_pays_if_and_only_if_some_count_does(alpha, ratio):
    best = max(float(drafting.speculation_speedup(alpha, count, ratio)) for count in range(1, 200))
    if abs(alpha - ratio) > 1e-9:
        assert bool(drafting.speculate(alpha, ratio)) == (best > 1.0)


@few
@given(chances, st.floats(0.01, 0.9))
def test_the_lambert_form_is_stationary_and_its_neighbour_the_best_count(alpha, ratio):
    real = float(drafting.continuous_num_drafts(alpha, ratio))

    def speed(g):
        return (1 - alpha ** (g + 1)) / (1 + g * ratio)

    step = 1e-4
    assert speed(real) >= max(speed(real - step), speed(real + step)) - 1e-12
    counts = np.arange(1, 1000)
    peak = int(counts[np.argmax(drafting.speculation_speedup(alpha, counts, ratio))])
    best = int(drafting.best_num_drafts(alpha, ratio))
    assert float(drafting.speculation_speedup(alpha, best, ratio)) == pytest.approx(
        float(drafting.speculation_speedup(alpha, peak, ratio)), rel=1e-12
    )
    printed = int(drafting.printed_num_drafts(alpha, ratio))
    assert float(drafting.speculation_speedup(alpha, printed, ratio)) == pytest.approx(
        float(drafting.speculation_speedup(alpha, best, ratio)), rel=1e-12
    )


@few
@given(seconds, seconds, seconds, st.floats(0.0, 1.0), seconds, st.integers(1, 9))
def test_latency_ratio(slm, llm, up, part, trip, drafts):
    tau = Latency(slm_s=slm, llm_s=llm, llm_per_token_s=part * llm, round_trip_s=trip)
    ratio = float(drafting.latency_ratio(tau, up))
    round_time = statement("drafting.latency_ratio").claims[0].rhs
    expected = value(
        round_time, tau_SLM=slm, tau_up=up, g=drafts, t_0=(1 - part) * llm, t_1=part * llm, tau_rtt=trip
    )
    assert 1 + drafts * ratio == pytest.approx(expected)


@few
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8), st.floats(0.001, 2.0))
def test_survival_and_its_one_peak(chances, ratio):
    curve = np.sort(chances)[::-1]
    change, _, never = statement("drafting.recorded_survival").claims
    tokens = 1.0 + np.concatenate(([0.0], np.cumsum(curve)))
    place = np.arange(len(tokens))
    speedup = tokens / (1.0 + place * ratio)
    scale = (1.0 + place[1:] * ratio) * (1.0 + place[:-1] * ratio)
    changes = [
        value(change.rhs, Pprime=after, gamma=count, L=ratio, E_N=mean)
        for count, (after, mean) in enumerate(zip(curve, tokens, strict=False))
    ]
    np.testing.assert_allclose(np.diff(speedup) * scale, changes, atol=1e-12)
    assert np.all(np.diff(changes) <= 1e-12)
    if curve[0] <= ratio:
        assert np.all(tokens <= value(never.rhs, gamma=1.0, L=ratio) + (place - 1) * ratio + 1e-12)
    plan = drafting.best_drafts_of_survival(
        curve, Latency(slm_s=ratio, llm_s=1.0), FixedRate(rate_bit_per_s=1.0), 0
    )
    assert plan.speedup == pytest.approx(speedup[1:].max())
    assert plan.speculate == (plan.speedup > 1.0)


@few
@given(st.floats(0.05, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_sync_tokens_per_round(trigger, rejected, rejected_sent):
    risk = (1 - trigger) * rejected
    numbers = {"p": trigger, "R": risk, "a_t": 1 - rejected_sent}
    name = "drafting.sync_tokens_per_round"
    assert float(drafting.sync_tokens_per_round(trigger, risk)) == pytest.approx(
        value(statement(name).claims[2].rhs, **numbers)
    )
    with_bonus = float(drafting.sync_tokens_per_round(trigger, risk, transmitted_rejection=rejected_sent))
    assert with_bonus == pytest.approx(value(statement(name).claims[3].rhs, **numbers))


def test_sync_rounds_simulated_agree_within_4_standard_errors():
    rng = np.random.default_rng(11)
    trigger, rejected, rejected_sent, rounds = 0.3, 0.2, 0.5, 40_000
    tokens = np.empty(rounds)
    for i in range(rounds):
        run = rng.geometric(trigger)
        alive = rng.random(run) >= np.r_[np.full(run - 1, rejected), rejected_sent]
        kept = run if alive.all() else int(np.argmin(alive))
        tokens[i] = kept + (kept < run)
    expected = float(drafting.sync_tokens_per_round(trigger, (1 - trigger) * rejected))
    assert abs(tokens.mean() - expected) < 4 * tokens.std() / np.sqrt(rounds)


@few
@given(st.floats(0.05, 1.0), st.floats(0.0, 0.5), st.floats(0.0, 1.0), seconds, seconds, seconds, seconds)
@pytest.mark.parametrize("rate", [1e3, math.inf])
def test_sync_latency_and_its_break_even(rate, trigger, rejected, rejected_sent, slm, llm, packet, up):
    risk = (1 - trigger) * rejected
    tau = Latency(slm_s=slm, llm_s=llm, downlink_bit_per_s=rate, llm_per_token_s=0.1 * llm)
    answers = {"transmitted_rejection": rejected_sent, "kept_bit": 3.0, "rejected_bit": 500.0}
    numbers = {"p": trigger, "R": risk, "a_t": 1 - rejected_sent, "tau_SLM": slm, "t_0": 0.9 * llm}
    numbers |= {"tau_b": packet, "tau_k": up, "t_1": 0.1 * llm}
    numbers |= {"tau_ok": 3.0 / rate, "tau_y": 500.0 / rate, "tau_d": 8.0 / rate}
    expected = value(statement("drafting.sync_latency").claims[1].rhs, **numbers)
    got = float(drafting.sync_latency_s(tau, trigger, risk, packet, bonus=False, **answers))
    assert got == pytest.approx(expected)
    edge = value(statement("drafting.sync_break_even_risk").claims[1].rhs, **numbers)
    got = float(drafting.sync_break_even_risk(tau, trigger, up, packet, answer_bit=8.0, **answers))
    assert got == pytest.approx(edge, rel=1e-9, abs=1e-9)
    if 0.0 <= edge <= 1.0 - trigger:  # there both schemes take as long
        cuhlm = slm + trigger * (up + llm + 8.0 / rate) + (1 - trigger) * 0.1 * llm
        equal = drafting.sync_latency_s(tau, trigger, edge, packet, bonus=False, **answers)
        assert float(equal) == pytest.approx(cuhlm)


def test_a_schedule_keeps_one_round_in_three_whole():
    """Up by two, down by one: in the steady state a third of the rounds is kept, away from both ends."""
    settled = statement("drafting.schedule").claims[0]
    for alpha in (0.8, 0.9):
        rounds = independent_scheduled_rounds(alpha, 1.0, Scheduled(max_drafts=60))
        assert rounds.mean(rounds.all_kept) == pytest.approx(1 / 3, abs=0.01)
        number = value(settled.rhs, **{"lambda": -math.log(alpha)})
        assert rounds.mean(rounds.num_drafts) == pytest.approx(number, rel=0.2)
