"""A question and its answer: thresholds, the point without profiles, what to run, and what more buys."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import CuhlmError, InfeasibleError
from cuhlm_theory.explanation import Gain, explain, gains
from cuhlm_theory.parameters import Budget, Codec, Latency, Link, System
from cuhlm_theory.recommendation import Question
from cuhlm_theory.rejection import Line
from cuhlm_theory.schemes import SCHEMES
from tests.worlds import random_world, recording, table

SYSTEM = System(
    link=Link(bandwidth_hz=1e3, snr=3.0),
    codec=Codec(vocab_size=6),
    latency=Latency(slm_s=0.01, llm_s=0.1, charge_resync=False),
)
SLOW_ANSWERS = Latency(
    slm_s=0.01, llm_s=0.1, round_trip_s=0.02, downlink_bit_per_s=300.0, llm_per_token_s=0.004
)
QUESTION = Question(
    line=Line(0.8, -0.05, 0.6), tokens=table(random_world(1)), system=SYSTEM, budget=Budget(bias=0.05)
)


def law(uncertainty, rejection, weight=None):
    tokens = Tokens(
        uncertainty=np.asarray(uncertainty),
        rejection=np.asarray(rejection),
        weight=np.empty(0) if weight is None else np.asarray(weight),
    )
    return replace(QUESTION, tokens=tokens)


def test_a_line_that_does_not_rise_has_no_operating_point_and_says_why():
    with pytest.raises(CuhlmError, match=r"does not rise \(slope -0.1\).*calibrate on more prompts"):
        replace(QUESTION, line=Line(-0.1, -0.05))


def test_the_cost_of_a_transmission_is_that_of_the_best_size():
    world, price_s = random_world(1), 0.3
    air_s = np.arange(1, 7) * 11 / 2000
    sent = (world.x * (world.u > QUESTION.answer().operating_scheme.threshold)).sum(axis=1)
    size = np.argmin(sent[:, None] * air_s + price_s * world.tv_profile(), axis=1)
    expected = 0.1 + (sent * air_s[size]).sum() / sent.sum()
    assert QUESTION.answer(bound=False).transmit_s(price_s) == pytest.approx(expected)
    flat = law([0.2], [0.1])
    uplink_s = packet_latency_s(SYSTEM.link, 6 * 11)  # k = 30 is more than V
    assert flat.answer(bound=False).transmit_s(price_s) == pytest.approx(0.1 + float(uplink_s))


def test_what_a_skip_costs_later_is_saved_by_a_transmission():
    told = replace(SYSTEM, latency=replace(SYSTEM.latency, charge_resync=True))
    cost_s = replace(QUESTION, system=told).answer(bound=False).transmit_s(0.3)
    neglected = QUESTION.answer(bound=False)
    point = replace(QUESTION, system=told).answer(bound=False).operating_scheme.threshold
    assert point == neglected.operating_scheme.threshold
    assert cost_s == pytest.approx(neglected.transmit_s(0.3) - 3 / 2000)


@pytest.mark.parametrize("price_s", [0.05, 0.2, 1.0, 5.0])
def test_the_cost_optimal_threshold_falls_with_snr_and_bandwidth_and_solves_its_equation(price_s):
    found = []
    for snr, bandwidth in [(0.1, 1e3), (1.0, 1e3), (1.0, 1e4), (100.0, 1e4)]:
        link = Link(bandwidth_hz=bandwidth, snr=snr)
        asked = replace(QUESTION, bias_price_s=price_s, system=replace(SYSTEM, link=link))
        value = asked.answer(bound=False).thresholds()["cost_optimal"]
        cost_s = asked.answer(bound=False).transmit_s(price_s)
        assert value == pytest.approx(min(max((cost_s / price_s + 0.05) / 0.8, 0.0), 1.0))
        found.append(value)
    assert all(a >= b for a, b in itertools.pairwise(found))


def test_thresholds_without_delta_or_price_are_none():
    asked = replace(law([0.2, 0.9], [0.1, 0.5]), line=Line(0.8, -0.05))
    found = asked.answer().thresholds()
    assert (found["risk_prone"], found["cost_optimal"]) == (None, None)
    assert found["risk_averse"] == pytest.approx(0.0625)
    assert QUESTION.answer().thresholds()["risk_prone"] == pytest.approx(0.8125)


def test_an_atom_that_does_not_fit_is_not_skipped():
    asked = law([0.1, 0.4, 0.4, 0.9], [0.02, 0.2, 0.2, 0.5])
    found = asked.answer()
    assert found.operating_scheme.threshold == 0.1
    assert found.operating.risk == pytest.approx(0.005)
    assert found.binds == "bias"
    stuck = law([0.4], [0.2]).answer()
    assert (stuck.operating_scheme.threshold, stuck.operating.skip_rate) == (-1.0, 0.0)
    assert replace(asked, budget=Budget(bias=1.0)).answer().binds == "none"
    assert replace(asked, budget=Budget(bias=0.5, risk=0.01)).answer().binds == "risk"


def test_a_uniform_law_meets_the_closed_form():
    nodes = (np.arange(20_000) + 0.5) / 20_000
    asked = replace(law(nodes, Line(0.815, -0.066)(nodes)), line=Line(0.815, -0.066))
    found = asked.answer()
    assert found.operating_scheme.threshold == pytest.approx(
        0.066 / 0.815 + (2 * 0.05 / 0.815) ** 0.5, abs=1e-4
    )
    assert found.bias_bound is None
    assert found.certificate() is None
    assert found.truncation_orders() is None


def test_the_rows_use_the_trigger_of_the_operating_point():
    found = QUESTION.answer()
    assert found.missing == {}
    assert set(found.ledgers) == set(SCHEMES)
    for name in ("u-hlm", "cu-hlm-offline", "cu-hlm-exact", "floor"):
        assert found.schemes[name]["threshold"] == found.operating_scheme.threshold
        assert found.schemes[name]["skip_rate"] == pytest.approx(found.operating.skip_rate)
    assert found.schemes["cu-hlm-exact"]["latency_s"] == found.operating.latency_s
    assert found.schemes["rand-hlm"]["skip_rate"] == pytest.approx(found.operating.skip_rate)


def test_numbers_can_be_changed_for_the_schemes_beside():
    rows, missing = QUESTION.answer().beside(("u-hlm", "rand-hlm"), threshold=0.2, skip_rate=0.4)
    assert missing == {}
    assert [scheme.threshold for scheme, _ in rows] == [0.2, None]
    assert rows[1][1].outcome().skip_rate == pytest.approx(0.4)
    rows, _ = QUESTION.answer().beside(("rand-hlm", "u-hlm"), threshold=0.2)
    assert rows[0][1].outcome().skip_rate == pytest.approx(rows[1][1].outcome().skip_rate)
    rows, _ = QUESTION.answer().beside(("u-hlm", "floor"), equal_bias=0.03)
    assert [ledger.outcome().bias for _, ledger in rows] == pytest.approx([0.03, 0.03])


def _offline_k(asked):
    ((row, _),) = asked.answer().beside(("cu-hlm-offline",))[0]
    return row.payload.offline_k


def test_the_offline_size_is_given_or_follows_its_rule():
    assert _offline_k(replace(QUESTION, offline_k=2)) == 2
    found, tokens = QUESTION.answer(), QUESTION.tokens
    theta = found.point.truncation or QUESTION.budget.bias - found.point.risk
    profile, beta = random_world(1).tv_profile(), Line(0.8, -0.05)(tokens.uncertainty)
    weight = tokens.draft_prob
    scale = (1 - weight) * np.log1p(np.exp(-1)) + weight * np.log1p(np.exp(-beta))
    merit = [float(np.sum(tokens.weight * 2 * np.repeat(profile[:, k - 1], 6) / scale)) for k in range(1, 7)]
    assert _offline_k(QUESTION) == 1 + int(np.argmax(np.array(merit) <= theta + 1e-9))


@pytest.mark.parametrize("latency", [SYSTEM.latency, SLOW_ANSWERS])
def test_verify_on_sync_is_compared_at_the_same_trigger(latency):
    system = replace(SYSTEM, latency=latency)
    asked = replace(QUESTION, budget=Budget(bias=0.2), system=system)
    found = asked.answer()
    sync = found.verify_on_sync()
    for key, bonus in (("latency_s", False), ("latency_with_bonus_s", True)):
        row = _sync(found, bonus)
        assert sync[key] == row.latency_s
    assert sync["exact_wins"] == (sync["risk"] < sync["break_even_risk"])  # i.i.d. tokens: the form is exact
    everything = replace(QUESTION, budget=Budget(bias=1.0)).answer()
    assert everything.verify_on_sync() is None


def _sync(found, bonus):
    ((_, ledger),) = found.beside(("verify-on-sync",), bonus=bonus)[0]
    return ledger.outcome()


@pytest.mark.parametrize("rate", [10.0, 100.0, 1e3, 1e4])
def test_the_break_even_risk_decides_on_any_down_link(rate):
    """A run that is cut short waits for a law; that costs as much as CU-HLM's uplink on a slow down-link."""
    latency = replace(SLOW_ANSWERS, downlink_bit_per_s=rate)
    asked = replace(QUESTION, system=replace(SYSTEM, latency=latency))
    for threshold in (0.3, 0.5, 0.8):
        found = asked.answer()
        found._numbers["threshold"] = threshold
        found.operating_scheme = found.operating_scheme.using(threshold=threshold)
        sync = found.verify_on_sync()
        assert sync["exact_wins"] == (sync["risk"] < sync["break_even_risk"])


def test_the_exact_rule_never_sends_more_than_the_printed_one():
    found = QUESTION.answer().truncation_orders()
    for entry in found["exact_over_printed"]:
        assert entry["ratio"] == pytest.approx(entry["exact_bit"] / entry["printed_bit"])
        assert entry["ratio"] <= 1 + 1e-12
    biases = [entry["sample_then_truncate_bias"] for entry in found["orders"]]
    assert biases[-1] == pytest.approx(0.0, abs=1e-12)
    assert found["orders"][2]["bit"] == 33


def _explained(asked):
    found = asked.answer()
    return explain(found, gains(found))


@pytest.mark.parametrize("bias", [0.01, 0.05, 0.12])
def test_the_multiplier_is_the_slope_of_the_certified_optimum(bias):
    """Finite differences on both sides of the budget: the optimum is convex in it, with slope -lambda."""
    found, step = replace(QUESTION, budget=Budget(bias=bias)).answer().point, 1e-6
    less, more = (
        replace(QUESTION, budget=Budget(bias=bias + h)).answer().point.optimum_s for h in (-step, step)
    )
    assert found.multiplier_s > 0.0
    assert (less - found.optimum_s) / step == pytest.approx(found.multiplier_s, rel=1e-6)
    assert (found.optimum_s - more) / step == pytest.approx(found.multiplier_s, rel=1e-6)
    assert (
        f"{found.multiplier_s:.4g} s a token per unit"
        in _explained(replace(QUESTION, budget=Budget(bias=bias)))[1]
    )
    far = replace(QUESTION, budget=Budget(bias=bias + 0.001)).answer().point.optimum_s
    assert found.optimum_s - far <= 0.001 * found.multiplier_s + 1e-12  # "at most"


def test_gains_are_differences_of_answers_and_the_multiplier_of_the_link_is_its_time_on_air():
    found = QUESTION.answer()
    gained = {gain.change: gain.saved_s for gain in gains(found)}
    louder = replace(SYSTEM, link=Link(bandwidth_hz=1e3, snr=3.0 * 10**0.1))
    again = replace(QUESTION, system=louder).answer().operating.latency_s
    assert gained["One more dB of SNR"] == pytest.approx(found.operating.latency_s - again)
    sent_s = found.operating.latency_s - 0.01 - found.operating.llm_calls_per_token * 0.1
    shorter = 1 - np.log2(1 + 3.0) / np.log2(1 + 3.0 * 10**0.1)
    assert gained["One more dB of SNR"] == pytest.approx(sent_s * shorter, rel=0.05)  # to first order
    assert gained["10 % less LLM latency"] == pytest.approx(
        0.01 * found.operating.llm_calls_per_token, rel=0.05
    )
    per_bit = found.operating.uplink_bit_per_token / 11 / 2000
    assert gained["One more bit a probability"] == pytest.approx(-per_bit, rel=0.05)


def test_a_change_without_an_answer_is_said_to_change_nothing():
    dead = replace(
        QUESTION, budget=Budget(bias=1.0), system=replace(SYSTEM, link=Link(bandwidth_hz=1e3, snr=0))
    )
    sentences = _explained(dead)
    assert "One more dB of SNR saves 0 ms a token (0.00%)." in sentences
    found = dead.answer()
    lost = [Gain(change="Silence", saved_s=None)]
    assert explain(found, lost)[-1] == "Silence would not change what is possible."


def test_explanations_of_a_slack_budget_and_of_one_that_cannot_grow():
    slack = replace(QUESTION, budget=Budget(bias=1.0))
    assert _explained(slack)[0].startswith("No budget binds")
    fixed = replace(QUESTION, budget=Budget(bias=0.5, risk=0.01, truncation=0.002))
    text = _explained(fixed)[0]
    assert "truncation budget of 0.002 binds" in text or "risk budget of 0.01 binds" in text


def test_charged_quantisation_shows_in_the_rows():
    few = replace(SYSTEM, codec=replace(SYSTEM.codec, prob_bits=5))
    asked = replace(QUESTION, system=few, charge_quantisation=True, budget=Budget(bias=0.06))
    found = asked.answer()
    row = found.schemes["cu-hlm-exact"]
    assert row["bias"] == pytest.approx(found.bias_bound)
    assert row["truncation_bias"] >= 2 / (4 * 31) - 1e-12
    assert found.point.bias <= 0.06 + 1e-9
    with pytest.raises(InfeasibleError, match=r"quantisation alone .* prob_bits"):
        replace(asked, budget=Budget(bias=0.001)).answer()


# What to run


def recorded(**changes):
    return replace(QUESTION, tokens=recording(random_world(1), num_texts=30, length=12, seed=7), **changes)


@pytest.fixture(scope="module")
def best():
    return recorded().answer()


def test_what_is_recommended_is_the_fastest_that_is_known_to_be_within_the_budget(best):
    rates = {row["name"]: row["throughput_token_per_s"] for row in best.schemes}
    within = {row["name"] for row in best.schemes if row["bias"] is not None and row["bias"] <= 0.05 + 1e-9}
    within -= {"cu-hlm-online"}  # whose bias is an estimate
    assert best.scheme == max(within, key=rates.get)
    assert best.throughput.value == pytest.approx(rates[best.scheme])
    assert best.bias.value <= 0.05 + 1e-9
    assert best.threshold == best.schemes[best.scheme]["threshold"]
    assert list(rates.values()) == sorted(rates.values(), reverse=True)  # the table, fastest first
    assert {"llm", "slm", "hlm"} <= set(rates)


@pytest.mark.parametrize("bias", [0.0, 0.01, 0.05, 0.2, 1.0])
@pytest.mark.parametrize("bandwidth_hz", [100.0, 1e3, 1e5])
def test_no_budget_is_ever_exceeded(bias, bandwidth_hz):
    system = replace(SYSTEM, link=replace(SYSTEM.link, bandwidth_hz=bandwidth_hz))
    best = recorded(budget=Budget(bias=bias), system=system).answer(bound=False)
    assert best.bias.value <= bias + 1e-9
    for name in (best.scheme, *best.equal_within_error, *([best.next_best] if best.next_best else [])):
        assert best.schemes[name]["bias"] <= bias + 1e-9
        assert best.schemes[name]["bias_account"] != "estimate"


def test_no_answer_is_longer_than_ten_lines():
    system = replace(SYSTEM, link=replace(SYSTEM.link, bandwidth_hz=100.0))
    assert len(recorded(budget=Budget(bias=0.2), system=system).answer(bound=False).lines()) <= 10


def test_the_first_screen_has_at_most_ten_lines_and_says_what_to_do(best):
    lines = repr(best).splitlines()
    assert len(lines) <= 10
    assert all(len(line) <= 110 for line in lines)
    assert lines[0].startswith(f"Run {best.scheme}")
    assert f"{best.throughput!r}" in lines[1]
    assert "0.05 allowed" in lines[2]
    assert any("the LLM alone" in line for line in lines) or best.scheme == "llm"
    assert best._repr_html_().startswith("<pre>Run ")


def test_a_ratio_is_paired_over_texts_and_that_of_the_rates(best):
    for name in ("llm", "hlm", "u-hlm"):
        ratio = best.over(name, of="cu-hlm-exact")
        rates = [best.schemes[one]["throughput_token_per_s"] for one in ("cu-hlm-exact", name)]
        assert ratio.value == pytest.approx(rates[0] / rates[1])
        assert ratio.low <= ratio.value <= ratio.high
    same = best.over("cu-hlm-exact", of="cu-hlm-exact")
    assert (same.value, same.low, same.high) == (1.0, 1.0, 1.0)
    loose = best.replace(bias=0.2)
    paired = _width(loose.over("u-hlm", of="cu-hlm-exact"))
    apart = [_width(loose.ledgers[name].estimates()[0]) for name in ("u-hlm", "cu-hlm-exact")]
    assert paired < 0.7 * np.hypot(*apart)


def _width(estimate):
    return (estimate.high - estimate.low) / estimate.value


def test_schemes_that_are_alike_are_said_to_be_equal(best, monkeypatch):
    twin = replace(best.ledgers[best.scheme], scheme="twin")
    asked = recorded().answer()
    rows, missing = best.beside()
    named = replace(SCHEMES[best.scheme], name="twin")
    monkeypatch.setattr(type(asked), "evaluated", ([*rows, (named, twin)], missing))
    monkeypatch.setitem(SCHEMES, "twin", named)
    assert {asked.scheme, *asked.equal_within_error} >= {best.scheme, "twin"}
    assert asked.next_best not in ("twin", best.scheme)
    assert "as fast within the error" in asked.sentence


def test_schemes_that_are_told_apart_are_not_said_to_be_equal(best):
    assert best.over(best.next_best).low > 1.0
    for name in best.equal_within_error:
        assert best.over(name).low <= 1.0


def test_a_law_has_no_texts_and_its_answer_no_interval():
    found = law([0.1, 0.9], [0.02, 0.5]).answer()
    assert (found.throughput.ci95, found.over("llm").ci95) == (None, None)
    assert found.equal_within_error == []
    assert repr(found).startswith("Run ")


def test_one_text_gives_no_interval():
    found = replace(QUESTION, tokens=recording(random_world(1), num_texts=1, length=40, seed=7)).answer()
    assert (found.throughput.ci95, found.over("llm").ci95) == (None, None)


def test_exact_ties_of_a_law_are_equal():
    everything = law([0.1, 0.9], [0.0, 0.0]).answer()  # the device alone is right: what skips all is as fast
    names = [everything.scheme, *everything.equal_within_error]
    rates = {row["name"]: row["throughput_token_per_s"] for row in everything.schemes}
    assert {"slm", "u-hlm", "kept-law"} <= set(names)
    assert [rates[name] for name in names] == pytest.approx([rates["slm"]] * len(names))


@pytest.mark.parametrize("bias", [0.0, 0.02, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("bandwidth_hz", [300.0, 1e3, 3e3])
def test_the_kept_law_is_the_fastest_from_the_budget_that_is_said(bias, bandwidth_hz):
    system = replace(SYSTEM, link=replace(SYSTEM.link, bandwidth_hz=bandwidth_hz))
    best = recorded(budget=Budget(bias=bias), system=system).answer(bound=False)
    needed = best._bias_that_skipping_needs()
    if SCHEMES[best.scheme].writes == "hybrid" or needed is None:
        pytest.skip("a scheme that skips is the fastest, or none ever is")
    assert needed > bias
    for at, faster in ((needed + 1e-6, True), (needed - 1e-6, False)):
        if at > bias:
            kept = best.replace(bias=at).ledgers["kept-law"]
            assert (kept.per_token(kept.seconds) * best.throughput.value < 1.0) == faster


def test_the_same_question_with_other_fields(best):
    other = best.replace(bias=0.2, link=Link(bandwidth_hz=2e3, snr=3.0), tx_power_w=0.1)
    asked = other.question
    assert (asked.budget.bias, asked.system.link.bandwidth_hz, asked.system.tx_power_w) == (0.2, 2e3, 0.1)
    assert (asked.tokens, asked.line) == (best.question.tokens, best.question.line)
    assert best.question.budget.bias == 0.05
    assert other.throughput.value > best.throughput.value
    assert best.replace(line=Line(0.9, 0.0)).question.line == Line(0.9, 0.0)
    with pytest.raises(TypeError, match="colour"):
        best.replace(colour="blue")


def test_it_leaves_as_plain_data(best):
    plain = best.to_dict()
    assert (plain["scheme"], plain["throughput_token_per_s"]) == (best.scheme, best.throughput.value)
    assert json.loads(json.dumps(plain))["equal_within_error"] == best.equal_within_error
    assert plain["over_llm"]["ratio"] == best.over("llm").value
    row = best.operating_row()
    assert row["bias_bound"] <= row["bias_budget"] + 1e-9


def test_where_nothing_is_within_the_budget_the_knobs_are_named():
    dead = replace(SYSTEM, link=Link(bandwidth_hz=1e3, snr=0.0))
    best = law([0.4], [0.2]).answer().replace(system=dead)
    assert best.schemes[best.scheme]["uplink_bit_per_token"] == 0.0


def test_a_table_answers_by_name_and_leaves_as_data(best):
    rows = best.schemes
    assert rows["llm"]["bias"] == 0.0
    assert len(rows) == len(rows.to_dict()) == len(list(rows))
    with pytest.raises(KeyError, match="no row 'magic'; the rows are "):
        rows["magic"]
    lines = repr(rows).splitlines()
    assert len(lines) == 1 + len(rows)
    assert lines[1].startswith(rows.rows[0]["name"])
    assert len({len(line) for line in lines}) <= 2  # aligned; a trailing blank may fall away
    assert rows.cells()[0] == ["name", *rows.shown]


def test_drafting_stops_at_the_confidence_that_is_fastest():
    found = recorded().answer()
    scheme, tuned = next(row for row in found.evaluated[0] if row[0].name == "confidence-stop")
    every = [
        scheme.using(confidence=value).ledger(found.contexts, found.question.system).rate_token_per_s
        for value in (0.05, 0.4, scheme.draft.confidence - 0.05, scheme.draft.confidence + 0.05)
        if 0.0 < value < 1.0
    ]
    assert tuned.rate_token_per_s >= max(every)
    assert scheme.draft.confidence != SCHEMES["confidence-stop"].draft.confidence
