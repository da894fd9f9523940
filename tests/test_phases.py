"""Every setting over every link: against evaluating each over the link, and the regions between them."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from cuhlm_theory.parameters import Codec, FixedRate, Latency, Link, System
from cuhlm_theory.phases import phases
from cuhlm_theory.schemes import SCHEMES, at_bias
from tests.worlds import random_world, recording

SYSTEM = System(
    link=Link(bandwidth_hz=1e6, snr=3.0),
    codec=Codec(vocab_size=4),
    latency=Latency(slm_s=0.01, llm_s=0.05),
)
BIASES = (0.0, 0.05)


@functools.cache
def few_phases():
    """A recording of 6 texts and its phases."""
    tokens = recording(random_world(7, num_contexts=20, vocab_size=4), num_texts=6, length=12, seed=6)
    return tokens, phases(tokens, SYSTEM, BIASES, max_drafts=3)


def over(rate, round_trip_s, downlink_rate):
    latency = replace(SYSTEM.latency, round_trip_s=round_trip_s, downlink_bit_per_s=downlink_rate)
    return replace(SYSTEM, link=FixedRate(rate_bit_per_s=rate), latency=latency)


def at_rate(scheme, rate):
    """The setting over a link: its price of truncation is in bits."""
    price = scheme.numbers.get("truncation_price_s")
    return scheme if price is None else scheme.using(truncation_price_s=price / rate)


@pytest.mark.parametrize(
    ("rate", "round_trip_s", "downlink_rate"), [(50.0, 0.0, np.inf), (1e4, 0.02, 1e3), (1e7, 0.3, 1e7)]
)
@pytest.mark.parametrize("bias", BIASES)
def test_the_fastest_setting_is_that_of_evaluating_each_over_the_link(
    bias, rate, round_trip_s, downlink_rate
):
    tokens, found = few_phases()
    system = over(rate, round_trip_s, downlink_rate)
    least_s = found.least_s(bias, rate, round_trip_s, downlink_rate)
    latency_s = found.latency_s(rate, round_trip_s, downlink_rate)
    reached = dict.fromkeys(least_s, False)
    for place, scheme in enumerate(found.schemes):
        if place % 5 and latency_s[place] > 1.0001 * least_s.get(scheme.name, 0.0):
            continue
        ledger = at_rate(scheme, rate).ledger(tokens, system)
        taken_s = ledger.per_token(ledger.seconds)
        if ledger.per_token(ledger.bias) <= bias + 1e-9:
            assert taken_s >= least_s[scheme.name] * (1.0 - 1e-9)
            reached[scheme.name] |= taken_s <= least_s[scheme.name] * (1.0 + 1e-9)
    assert all(reached.values())


def test_every_scheme_is_tried_and_a_bias_is_spent_whole():
    tokens, found = few_phases()
    estimated = {name for name, row in SCHEMES.items() if row.payload.depends_on_draft}
    assert {scheme.name for scheme in found.schemes} == SCHEMES.keys() - estimated
    for name in ("kept-law", "u-hlm", "cu-hlm-exact"):
        at = at_bias(SCHEMES[name], tokens, SYSTEM, 0.05).ledger(tokens, SYSTEM)
        biases = [bias for bias, row in zip(found.bias, found.schemes, strict=True) if row.name == name]
        assert np.min(np.abs(np.array(biases) - at.per_token(at.bias))) < 1e-9


def test_where_one_setting_is_the_fastest_is_convex():
    _, found = few_phases()
    rng = np.random.default_rng(3)
    inverse, trip = rng.uniform(1e-8, 1e-2, (2, 400)), rng.uniform(0.0, 0.1, (2, 400))
    places = [found.latency_s(1.0 / inverse[end], trip[end], np.inf).argmin(axis=-1) for end in (0, 1)]
    same = places[0] == places[1]
    assert same.sum() > 20
    share = rng.random(400)
    mixed = [share * ends[0] + (1.0 - share) * ends[1] for ends in (inverse, trip)]
    latency_s = found.latency_s(1.0 / mixed[0], mixed[1], np.inf)
    there = latency_s[np.arange(400), places[0]]
    np.testing.assert_allclose(latency_s.min(axis=-1)[same], there[same], rtol=1e-12)


def test_a_larger_bias_and_a_better_link_are_never_slower():
    _, found = few_phases()
    rate, trip = np.meshgrid(np.geomspace(10.0, 1e8, 9), np.geomspace(1e-4, 1.0, 7))
    slow, fast = (np.min([*found.least_s(bias, rate, trip, rate).values()], axis=0) for bias in BIASES)
    assert np.all(fast <= slow + 1e-15)
    assert np.all(np.diff(slow, axis=1) <= 1e-12)
    assert np.all(np.diff(slow, axis=0) >= -1e-12)


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ((0.0, 0.0), "rate must be positive"),
        ((1.0, -1.0), "round_trip_s"),
        ((1.0, 0.0, 0.0), "downlink_rate"),
    ],
)
def test_a_link_that_is_none_is_refused(link, words):
    with pytest.raises(ValueError, match=words):
        few_phases()[1].least_s(0.05, *link)
    with pytest.raises(ValueError, match="biases must lie in"):
        phases(few_phases()[0], SYSTEM, [1.5])


def test_no_more_drafts_are_tried_than_the_longest_text_has():
    tokens = recording(random_world(7, num_contexts=20, vocab_size=4), num_texts=3, length=5, seed=6)
    counts = [one.numbers.get("num_drafts") or 1 for one in phases(tokens, SYSTEM, [0.0]).schemes]
    assert max(counts) == 5
