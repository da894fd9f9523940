"""Where skipping becomes the fastest, and where it beats the LLM alone: schemes are evaluated again there."""

from dataclasses import replace

import numpy as np
import pytest

from cuhlm_theory.crossover import changes
from cuhlm_theory.parameters import Budget, Codec, FixedRate, Latency, System
from cuhlm_theory.recommendation import Question
from cuhlm_theory.rejection import Line
from cuhlm_theory.schemes import SCHEMES
from cuhlm_theory.schemes.ledger import resync_s_per_skip
from tests.worlds import random_world, recording

TOKENS = recording(random_world(5), num_texts=20, length=15, seed=2)
THRESHOLD = float(np.median(TOKENS.uncertainty))
SKIPPING = [SCHEMES[name].using(threshold=THRESHOLD) for name in ("kept-law", "floor", "u-hlm")]
OTHERS = [SCHEMES["llm"], SCHEMES["dssd"].using(num_drafts=2), SCHEMES["tk-slt"].using(num_drafts=3)]


def system(**parts):
    latency = {"slm_s": 0.02, "llm_s": 0.03, "slm_per_token_s": 0.005, "llm_per_token_s": 0.01} | parts
    return System(
        link=FixedRate(rate_bit_per_s=parts.pop("rate", 2e3)),
        codec=Codec(vocab_size=6),
        latency=Latency(**{name: value for name, value in latency.items() if name != "rate"}),
    )


def fastest(schemes, asked):
    return max(1.0 / one.ledger(TOKENS, asked).outcome().latency_s for one in schemes)


@pytest.mark.parametrize("each", [0.0, 0.01])
def test_at_a_change_both_sides_are_equally_fast(each):
    asked = system(llm_per_token_s=each)
    found = {
        one.quantity: one
        for one in changes(*([row.ledger(TOKENS, asked) for row in side] for side in (SKIPPING, OTHERS)))
    }
    assert {"llm_latency_s", "slm_latency_s"} <= set(found)
    for quantity, change in found.items():
        if quantity.startswith("rate"):
            there = system(llm_per_token_s=each, rate=2e3 * change.value)
        else:
            name = {"llm_latency_s": "llm_s", "slm_latency_s": "slm_s"}.get(quantity, quantity)
            there = system(llm_per_token_s=each, **{name: change.value})
        assert fastest(SKIPPING, there) == pytest.approx(fastest(OTHERS, there), rel=1e-6)
        (then,) = (row for row in SKIPPING if row.name == change.then)
        assert fastest([then], there) == pytest.approx(fastest(SKIPPING, there), rel=1e-6)


def test_what_a_token_adds_to_a_pass_is_against_skipping():
    """Skipping does not save it: the LLM must be slower by as much before skipping pays."""
    needed = []
    for each in (0.0, 0.02):
        asked = system(llm_per_token_s=each)
        first, second = ([row.ledger(TOKENS, asked) for row in side] for side in (SKIPPING[:1], OTHERS[:1]))
        needed += [one.value for one in changes(first, second) if one.quantity == "llm_latency_s"]
    assert needed[1] == pytest.approx(needed[0] + 0.02, rel=1e-6)  # the fixed part alone decides


def reweighted(ledger, skip_rate):
    """Seconds a token if the share of rows that ask were another."""
    asks = ledger.llm_calls > 0.0
    means = [np.average(ledger.seconds[here], weights=ledger.weight[here]) for here in (asks, ~asks)]
    return (1.0 - skip_rate) * means[0] + skip_rate * means[1]


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize(("each", "slm_s"), [(0.0, 0.018), (0.01, 0.012)])
def test_the_break_even_against_the_llm_alone_is_where_the_rounds_take_as_long(told, each, slm_s):
    asked = system(llm_per_token_s=each, charge_resync=told, slm_s=slm_s, round_trip_s=0.001, rate=5e4)
    best = Question(line=Line(0.8, -0.05, 0.6), tokens=TOKENS, system=asked, budget=Budget(bias=0.02)).answer(
        bound=False
    )
    assert best.over("llm").value < 1.1
    even = best.to_dict()["llm_break_even"]
    ledger = best.ledgers[even["scheme"]]
    assert even["skip_rate"] == pytest.approx(ledger.outcome().skip_rate)
    if told:  # to tell a skipped token costs the skip that follows, and not the rows that ask
        told_s = resync_s_per_skip(asked) * (1.0 - ledger.per_token(ledger.llm_calls))
        ledger = replace(
            ledger,
            uplink_s=ledger.uplink_s
            - (ledger.llm_calls > 0.0) * told_s / ledger.per_token(ledger.llm_calls)
            + (ledger.llm_calls == 0.0) * resync_s_per_skip(asked),
        )
    assert reweighted(ledger, even["needed_skip_rate"]) == pytest.approx(0.03, rel=1e-9)
    (line,) = (line for line in best.lines() if line.startswith("  even"))
    assert f"{even['scheme']} beats the LLM alone from {even['needed_skip_rate']:.1%} skipped" in line


def test_no_break_even_is_said_where_the_llm_alone_is_far_behind():
    best = Question(
        line=Line(0.8, -0.05, 0.6), tokens=TOKENS, system=system(llm_s=1.0), budget=Budget(bias=0.2)
    ).answer(bound=False)
    assert best.over("llm").value > 1.1
    assert best.llm_break_even is None
    assert not any(line.startswith("  even") for line in best.lines())


def test_a_draft_that_takes_longer_than_what_is_fixed_never_beats_the_llm_alone():
    best = Question(
        line=Line(0.8, -0.05, 0.6),
        tokens=TOKENS,
        system=system(llm_s=0.03, llm_per_token_s=0.02, slm_s=0.02),
        budget=Budget(bias=0.05),
    ).answer(bound=False)
    assert best.scheme == "llm"
    assert best.llm_break_even["needed_skip_rate"] > 1.0
    assert any("at no skip rate" in line for line in best.lines())
