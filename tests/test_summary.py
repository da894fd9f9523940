"""A setting and its answer: thresholds, the point without profiles, and what more of a resource buys."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from cuhlm_theory import summary
from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import CuhlmError, InfeasibleError
from cuhlm_theory.explanation import Gain, explain, gains
from cuhlm_theory.parameters import Budget, Codec, Latency, Link, System
from cuhlm_theory.rejection import Line
from cuhlm_theory.schemes import SCHEMES, evaluate
from tests.worlds import random_world, table

SYSTEM = System(
    link=Link(bandwidth_hz=1e3, snr=3.0),
    codec=Codec(vocab_size=6),
    latency=Latency(slm_s=0.01, llm_s=0.1),
)
SLOW_ANSWERS = Latency(
    slm_s=0.01, llm_s=0.1, round_trip_s=0.02, downlink_bit_per_s=300.0, llm_prefill_s=0.004
)
SETTING = summary.Setting(
    slope=0.8,
    intercept=-0.05,
    delta=0.6,
    tokens=table(random_world(1)),
    system=SYSTEM,
    budget=Budget(bias=0.05),
)


def law(uncertainty, rejection, weight=None):
    tokens = Tokens(
        uncertainty=np.asarray(uncertainty),
        rejection=np.asarray(rejection),
        weight=np.empty(0) if weight is None else np.asarray(weight),
    )
    return replace(SETTING, tokens=tokens)


def test_a_line_that_does_not_rise_has_no_operating_point_and_says_why():
    with pytest.raises(CuhlmError, match=r"does not rise \(slope -0.1\).*calibrate on more prompts"):
        replace(SETTING, slope=-0.1)


def test_the_cost_of_a_transmission_is_that_of_the_best_size():
    world, price_s = random_world(1), 0.3
    cost = np.arange(1, 7) * 11 / 2000 + price_s * world.tv_profile()
    expected = 0.1 + cost.min(axis=1).mean()
    assert summary.transmit_s(SETTING, price_s) == pytest.approx(expected)
    flat = law([0.2], [0.1])
    uplink_s = packet_latency_s(SYSTEM.link, 6 * 11)  # k = 30 is more than V
    assert summary.transmit_s(flat, price_s) == pytest.approx(0.1 + float(uplink_s))


@pytest.mark.parametrize("price_s", [0.05, 0.2, 1.0, 5.0])
def test_the_cost_optimal_threshold_falls_with_snr_and_bandwidth_and_solves_its_equation(price_s):
    found = []
    for snr, bandwidth in [(0.1, 1e3), (1.0, 1e3), (1.0, 1e4), (100.0, 1e4)]:
        link = Link(bandwidth_hz=bandwidth, snr=snr)
        setting = replace(SETTING, bias_price_s=price_s, system=replace(SYSTEM, link=link))
        value = summary.thresholds(setting, summary.answer(setting, bound=False))["cost_optimal"]
        cost_s = summary.transmit_s(setting, price_s)
        assert value == pytest.approx(min(max((cost_s / price_s + 0.05) / 0.8, 0.0), 1.0))
        found.append(value)
    assert all(a >= b for a, b in itertools.pairwise(found))


def test_thresholds_without_delta_or_price_are_none():
    setting = replace(law([0.2, 0.9], [0.1, 0.5]), delta=None)
    found = summary.thresholds(setting, summary.answer(setting))
    assert (found["risk_prone"], found["cost_optimal"]) == (None, None)
    assert found["risk_averse"] == pytest.approx(0.0625)
    assert summary.thresholds(SETTING, summary.answer(SETTING))["risk_prone"] == pytest.approx(0.8125)


def test_an_atom_that_does_not_fit_is_not_skipped():
    setting = law([0.1, 0.4, 0.4, 0.9], [0.02, 0.2, 0.2, 0.5])
    found = summary.answer(setting)
    assert found.policy.threshold == 0.1
    assert found.row.risk == pytest.approx(0.005)
    assert found.binds == "bias"
    stuck = summary.answer(law([0.4], [0.2]))
    assert (stuck.policy.threshold, stuck.row.skip_rate) == (-1.0, 0.0)
    assert summary.answer(replace(setting, budget=Budget(bias=1.0))).binds == "none"
    assert summary.answer(replace(setting, budget=Budget(bias=0.5, risk=0.01))).binds == "risk"


def test_a_uniform_law_meets_the_closed_form():
    nodes = (np.arange(20_000) + 0.5) / 20_000
    setting = replace(law(nodes, Line(0.815, -0.066)(nodes)), slope=0.815, intercept=-0.066)
    found = summary.answer(setting)
    assert found.policy.threshold == pytest.approx(0.066 / 0.815 + (2 * 0.05 / 0.815) ** 0.5, abs=1e-4)
    assert found.bias_bound is None
    assert summary.certificate(setting, found) is None
    assert summary.truncation_orders(setting) is None


def test_the_rows_use_the_trigger_of_the_operating_point():
    found = summary.answer(SETTING)
    rows, missing = summary.scheme_rows(SETTING, found)
    assert missing == {}
    by_name = {row["name"]: row for row in rows}
    for name in ("u-hlm", "cu-hlm-offline", "cu-hlm-exact", "floor"):
        assert by_name[name]["threshold"] == found.policy.threshold
        assert by_name[name]["skip_rate"] == pytest.approx(found.row.skip_rate)
    assert by_name["cu-hlm-exact"]["latency_s"] == found.row.latency_s


def test_the_offline_size_is_given_or_follows_its_rule():
    assert summary.answer(replace(SETTING, offline_k=2)).policy.offline_k == 2
    theta = summary.answer(SETTING).policy.truncation_budget
    size = summary.answer(SETTING).policy.offline_k
    profile = random_world(1).tv_profile()
    beta = Line(0.8, -0.05)(SETTING.tokens.uncertainty)
    scale = (1 - SETTING.tokens.draft_prob) * np.log1p(np.exp(-1)) + SETTING.tokens.draft_prob * np.log1p(
        np.exp(-beta)
    )
    merit = [
        float(np.sum(SETTING.tokens.weight * 2 * np.repeat(profile[:, k - 1], 6) / scale))
        for k in range(1, 7)
    ]
    assert size == 1 + int(np.argmax(np.array(merit) <= theta + 1e-9))


@pytest.mark.parametrize("latency", [SYSTEM.latency, SLOW_ANSWERS])
def test_verify_on_sync_is_compared_at_the_same_trigger(latency):
    system = replace(SYSTEM, latency=latency)
    setting = replace(SETTING, budget=Budget(bias=0.2), system=system)
    found = summary.answer(setting)
    sync = summary.verify_on_sync(setting, found)
    for key, bonus in (("latency_s", False), ("latency_with_bonus_s", True)):
        row = evaluate(SCHEMES["verify-on-sync"], SETTING.tokens, system, replace(found.policy, bonus=bonus))
        assert sync[key] == row.latency_s
    assert sync["exact_wins"] == (sync["risk"] < sync["break_even_risk"])  # i.i.d. tokens: the form is exact
    everything = summary.answer(replace(SETTING, budget=Budget(bias=1.0)))
    assert summary.verify_on_sync(SETTING, everything) is None


@pytest.mark.parametrize("rate", [10.0, 100.0, 1e3, 1e4])
def test_the_break_even_risk_decides_on_any_down_link(rate):
    """A run that is cut short waits for a law; that costs as much as CU-HLM's uplink on a slow down-link."""
    latency = replace(SLOW_ANSWERS, downlink_bit_per_s=rate)
    setting = replace(SETTING, system=replace(SYSTEM, latency=latency))
    for threshold in (0.3, 0.5, 0.8):
        found = summary.answer(setting)
        policy = replace(found.policy, threshold=threshold)
        row = evaluate(SCHEMES["cu-hlm-exact"], setting.tokens, setting.system, policy)
        sync = summary.verify_on_sync(setting, replace(found, policy=policy, row=row))
        assert sync["exact_wins"] == (sync["risk"] < sync["break_even_risk"])


def test_the_exact_rule_never_sends_more_than_the_printed_one():
    found = summary.truncation_orders(SETTING)
    for entry in found["exact_over_printed"]:
        assert entry["ratio"] == pytest.approx(entry["exact_bit"] / entry["printed_bit"])
        assert entry["ratio"] <= 1 + 1e-12
    biases = [entry["sample_then_truncate_bias"] for entry in found["orders"]]
    assert biases[-1] == pytest.approx(0.0, abs=1e-12)
    assert found["orders"][2]["bit"] == 33


def _explained(setting):
    found = summary.answer(setting)
    return explain(setting.budget, found, gains(setting, found))


@pytest.mark.parametrize("bias", [0.01, 0.05, 0.12])
def test_the_multiplier_is_the_slope_of_the_certified_optimum(bias):
    """Finite differences on both sides of the budget: the optimum is convex in it, with slope -lambda."""
    found, step = summary.answer(replace(SETTING, budget=Budget(bias=bias))).point, 1e-6
    less, more = (
        summary.answer(replace(SETTING, budget=Budget(bias=bias + h))).point.optimum_s for h in (-step, step)
    )
    assert found.multiplier_s > 0.0
    assert (less - found.optimum_s) / step == pytest.approx(found.multiplier_s, rel=1e-6)
    assert (found.optimum_s - more) / step == pytest.approx(found.multiplier_s, rel=1e-6)
    assert (
        f"{found.multiplier_s:.4g} s a token per unit"
        in _explained(replace(SETTING, budget=Budget(bias=bias)))[1]
    )
    far = summary.answer(replace(SETTING, budget=Budget(bias=bias + 0.001))).point.optimum_s
    assert found.optimum_s - far <= 0.001 * found.multiplier_s + 1e-12  # "at most"


def test_gains_are_differences_of_answers_and_the_multiplier_of_the_link_is_its_time_on_air():
    found = summary.answer(SETTING)
    gained = {gain.change: gain.saved_s for gain in gains(SETTING, found)}
    louder = replace(SYSTEM, link=Link(bandwidth_hz=1e3, snr=3.0 * 10**0.1))
    again = summary.answer(replace(SETTING, system=louder)).row.latency_s
    assert gained["One more dB of SNR"] == pytest.approx(found.row.latency_s - again)
    sent_s = found.row.latency_s - 0.01 - found.row.llm_calls_per_token * 0.1
    shorter = 1 - np.log2(1 + 3.0) / np.log2(1 + 3.0 * 10**0.1)
    assert gained["One more dB of SNR"] == pytest.approx(sent_s * shorter, rel=0.05)  # to first order
    assert gained["10 % less LLM latency"] == pytest.approx(0.01 * found.row.llm_calls_per_token, rel=0.05)
    per_bit = found.row.uplink_bit_per_token / 11 / 2000
    assert gained["One more bit a probability"] == pytest.approx(-per_bit, rel=0.05)


def test_a_change_without_an_answer_is_said_to_change_nothing():
    dead = replace(
        SETTING, budget=Budget(bias=1.0), system=replace(SYSTEM, link=Link(bandwidth_hz=1e3, snr=0))
    )
    sentences = _explained(dead)
    assert "One more dB of SNR saves 0 ms a token (0.00%)." in sentences
    found = summary.answer(dead)
    lost = [Gain(change="Silence", saved_s=None)]
    assert explain(dead.budget, found, lost)[-1] == "Silence would not change what is possible."


def test_explanations_of_a_slack_budget_and_of_one_that_cannot_grow():
    slack = replace(SETTING, budget=Budget(bias=1.0))
    assert _explained(slack)[0].startswith("No budget binds")
    fixed = replace(SETTING, budget=Budget(bias=0.5, risk=0.01, truncation=0.002))
    text = _explained(fixed)[0]
    assert "truncation budget of 0.002 binds" in text or "risk budget of 0.01 binds" in text


def test_charged_quantisation_shows_in_the_rows():
    few = replace(SYSTEM, codec=replace(SYSTEM.codec, prob_bits=5))
    setting = replace(SETTING, system=few, charge_quantisation=True, budget=Budget(bias=0.06))
    found = summary.answer(setting)
    rows, _ = summary.scheme_rows(setting, found, ("cu-hlm-exact",))
    assert rows[0]["bias"] == pytest.approx(found.bias_bound)
    assert rows[0]["truncation_bias"] >= 2 / (4 * 31) - 1e-12
    assert found.point.bias <= 0.06 + 1e-9
    with pytest.raises(InfeasibleError, match=r"quantisation alone .* prob_bits"):
        summary.answer(replace(setting, budget=Budget(bias=0.001)))
