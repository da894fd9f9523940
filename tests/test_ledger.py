"""A ledger's seconds and means are the proven ones; its intervals cover what they should."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuhlm_theory import bootstrap
from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.estimate import Estimate
from cuhlm_theory.parameters import Codec, Latency, Link, System
from cuhlm_theory.rejection import Line
from cuhlm_theory.schemes import SCHEMES, Ledger, charged, joined
from cuhlm_theory.throughput import round_latency_s
from tests.worlds import World, random_world, recording, table

SYSTEM = System(
    link=Link(bandwidth_hz=1e3, snr=3.0),  # 2000 bit/s
    codec=Codec(vocab_size=6),  # 3 bits an index, 11 an entry
    latency=Latency(
        slm_s=0.01, llm_s=0.1, round_trip_s=0.02, downlink_bit_per_s=500.0, llm_per_token_s=0.004
    ),
)
WORLD = random_world(1)
U_HLM = SCHEMES["u-hlm"].using(threshold=0.5)
seconds = st.floats(0.001, 10.0)


def easy_and_hard(seed, num_texts, length):
    """Texts that differ: half of them meet the contexts of one world, half those of a harder one."""
    worlds = (WORLD, World(x=WORLD.x, y=WORLD.y[::-1], u=np.clip(WORLD.u + 0.3, 0.0, 0.99)))
    parts = [recording(one, num_texts // 2, length, seed + place) for place, one in enumerate(worlds)]
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("uncertainty", "rejection", "draft_prob", "llm_prob", "tv")
    }
    prompt = np.concatenate((parts[0].prompt, parts[1].prompt + num_texts // 2))
    return Tokens(prompt=prompt, **columns)


@settings(max_examples=25)
@given(seconds, seconds, seconds, st.floats(0.0, 1.0), st.floats(1.0, 1e6), st.floats(0.0, 1.0))
def test_a_round_of_one_draft_costs_what_the_proven_latency_says(slm, llm, trip, part, rate, chance):
    latency = Latency(
        slm_s=slm, llm_s=llm, round_trip_s=trip, llm_per_token_s=part * llm, downlink_bit_per_s=rate
    )
    system = replace(SYSTEM, latency=latency)
    asks, keeps = (
        sum(
            charged(
                system,
                drafts=1,
                slm_catch_up=0,
                llm_calls=n,
                llm_width=n,
                catch_up=1 - n,
                uplink_bit=66 * n,
                downlink_bit=3 * n,
            ).values()
        )
        for n in (1, 0)
    )
    expected = round_latency_s(latency, chance, packet_latency_s(SYSTEM.link, 66), downlink_bit=3)
    assert chance * asks + (1 - chance) * keeps == pytest.approx(float(expected))


@pytest.mark.parametrize("name", ["hlm", "rand-hlm", "u-hlm", "slm"])
def test_the_ledger_of_single_drafts_has_the_proven_mean(name):
    ledger = SCHEMES[name].given({"threshold": 0.5, "skip_rate": 0.3}).ledger(table(WORLD), SYSTEM)
    chance = ledger.mean(ledger.llm_calls)
    latency = replace(SYSTEM.latency, llm_per_token_s=0.0) if name == "slm" else SYSTEM.latency
    bits = 66 + 3 * (1 - chance) / chance if chance else 0  # the skipped tokens travel with the next draft
    expected = round_latency_s(latency, chance, packet_latency_s(SYSTEM.link, bits), downlink_bit=3)
    assert ledger.mean(ledger.seconds) == pytest.approx(float(expected))
    np.testing.assert_array_equal(ledger.tokens, 1.0)


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("recorded", [False, True])
def test_every_scheme_fills_every_column_and_averages_its_rounds(name, recorded):
    tokens = recording(WORLD, num_texts=3, length=12, seed=3) if recorded else table(WORLD)
    numbers = {"threshold": 0.5, "skip_rate": 0.4, "num_drafts": 3, "offline_k": 3, "num_candidates": 3}
    numbers["line"] = Line(0.8, -0.05)
    ledger = SCHEMES[name].given(numbers).ledger(tokens, SYSTEM)
    rows = len(ledger)
    assert np.all(ledger.weight > 0.0)
    assert (ledger.prompt is None) != recorded
    for column in ("tokens", "drafts", "entries", "uplink_bit", "downlink_bit", "llm_calls", "llm_width"):
        assert getattr(ledger, column).shape == (rows,), column
    for column in ("slm_s", "uplink_s", "llm_s", "other_s", "bias", "risk", "truncation"):
        assert getattr(ledger, column).shape == (rows,), column
    row, share = ledger.outcome(), ledger.weight / ledger.weight.sum()
    mean_tokens, mean_s = share @ ledger.tokens, share @ ledger.seconds
    assert row.tokens_per_round == pytest.approx(mean_tokens)
    assert row.throughput_token_per_s == pytest.approx(mean_tokens / mean_s)
    assert row.latency_s == pytest.approx(mean_s / mean_tokens)
    assert row.mean_rate_token_per_s == pytest.approx(share @ (ledger.tokens / ledger.seconds))
    assert row.uplink_bit_per_token == pytest.approx(share @ ledger.uplink_bit / mean_tokens)
    assert row.risk == pytest.approx(share @ ledger.risk / mean_tokens)
    if row.bias is not None:
        assert row.bias == pytest.approx(share @ ledger.bias / mean_tokens)
    if recorded:  # every recorded token is committed once
        texts = ledger.sums("tokens")["tokens"]
        np.testing.assert_allclose(texts / texts.sum(), 1 / 3)


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_pays_alike_for_the_tokens_that_its_server_never_saw(name):
    scheme = SCHEMES[name].given(
        {"threshold": 0.5, "skip_rate": 0.4, "num_drafts": 3, "line": Line(0.8, -0.05)}
    )
    free = replace(SYSTEM, latency=replace(SYSTEM.latency, charge_resync=False))
    charged, neglected = (scheme.ledger(table(WORLD), one).outcome() for one in (SYSTEM, free))
    unseen = scheme.verification.asks * (not scheme.drafts_several) * charged.skip_rate
    assert charged.resync_bit_per_token == pytest.approx(3 * unseen)
    assert charged.uplink_bit_per_token - neglected.uplink_bit_per_token == pytest.approx(3 * unseen)
    assert charged.resync_s_per_token == pytest.approx(3 * unseen / 2000)
    assert charged.latency_s - neglected.latency_s == pytest.approx(3 * unseen / 2000)
    assert (neglected.resync_bit_per_token, neglected.resync_s_per_token) == (0.0, 0.0)


def test_nobody_is_told_where_nothing_is_ever_sent():
    row = SCHEMES["u-hlm"].using(threshold=1.0).ledger(table(WORLD), SYSTEM).outcome()
    assert (row.skip_rate, row.uplink_bit_per_token, row.resync_bit_per_token) == (1.0, 0.0, 0.0)


def test_intervals_cover_the_truth_as_often_as_they_say():
    """Texts of independent contexts: the truth is the outcome of the enumerated world."""
    truth = U_HLM.ledger(table(WORLD), SYSTEM).outcome()
    wanted = (truth.throughput_token_per_s, truth.bias)
    num, covered = 150, np.zeros(2)
    for seed in range(num):
        found = U_HLM.ledger(recording(WORLD, 40, 6, seed), SYSTEM).estimates(num_resamples=200)
        covered += [one.low <= value <= one.high for one, value in zip(found, wanted, strict=True)]
    error = np.sqrt(0.95 * 0.05 / num)
    assert np.all(np.abs(covered / num - 0.93) <= 4 * error)  # percentiles of 40 texts are a little narrow


def test_texts_that_differ_widen_the_interval_and_shuffled_tokens_do_not():
    tokens = easy_and_hard(0, num_texts=20, length=30)
    mixed = replace(tokens, prompt=np.random.default_rng(0).permutation(tokens.prompt))
    apart, alike = (U_HLM.ledger(one, SYSTEM).estimates(num_resamples=400)[0] for one in (tokens, mixed))
    assert apart.value == pytest.approx(alike.value)
    assert apart.high - apart.low > 1.5 * (alike.high - alike.low)


def test_a_ratio_of_two_ledgers_is_sharper_when_it_is_paired():
    tokens = easy_and_hard(1, num_texts=20, length=30)
    ledgers = [row.ledger(tokens, SYSTEM) for row in (U_HLM, U_HLM.using(threshold=0.55))]
    sums = [one.sums("tokens", "seconds") for one in ledgers]

    def rates(place, seed):
        counts = bootstrap.cluster_counts(20, 500, np.random.default_rng(seed))
        return (counts @ sums[place]["tokens"]) / (counts @ sums[place]["seconds"])

    paired, apart = (Estimate.of(1.0, rates(0, 0) / rates(1, seed)) for seed in (0, 1))
    assert paired.high - paired.low < 0.5 * (apart.high - apart.low)


def test_one_text_or_none_has_no_interval_and_says_so():
    for tokens in (table(WORLD), recording(WORLD, 1, 30, 0)):
        speed, bias = U_HLM.ledger(tokens, SYSTEM).estimates()
        assert (speed.ci95, bias.ci95) == (None, None)
        assert "no interval" in speed.how
    dead = replace(SYSTEM, link=replace(SYSTEM.link, snr=0.0))
    speed, _ = U_HLM.ledger(recording(WORLD, 5, 10, 0), dead).estimates()
    assert (speed.value, speed.ci95) == (0.0, None)
    with pytest.raises(ValueError, match=r"i\.i\.d\. tokens has no texts"):
        U_HLM.ledger(table(WORLD), SYSTEM).sums("tokens")


def test_two_ledgers_below_each_other_are_the_rounds_of_both():
    ones = [
        SCHEMES["dssd"].using(num_drafts=3).ledger(recording(WORLD, 2, 15, seed), SYSTEM) for seed in (0, 1)
    ]
    both = joined(*ones)
    assert len(both) == sum(map(len, ones))
    totals = (
        [np.sum(one.weight * one.seconds) for one in ones],
        [np.sum(one.weight * one.tokens) for one in ones],
    )
    assert both.outcome().latency_s == pytest.approx(sum(totals[0]) / sum(totals[1]))
    np.testing.assert_allclose(
        both.sums("drafts")["drafts"], sum(one.sums("drafts")["drafts"] for one in ones)
    )
    assert both.scheme == "dssd"


def test_the_entries_are_those_of_a_distribution_that_is_sent():
    world, sent = WORLD, (WORLD.x * (WORLD.u > 0.5)).sum(axis=1)
    sizes = np.argmax(world.tv_profile() <= 0.1, axis=1) + 1
    exact = SCHEMES["cu-hlm-exact"].using(threshold=0.5, truncation_budget=0.1)
    assert exact.ledger(table(world), SYSTEM).outcome().k_mean == pytest.approx(
        (sent * sizes).sum() / sent.sum()
    )
    assert SCHEMES["floor"].using(threshold=0.5).ledger(table(world), SYSTEM).outcome().k_mean is None
    assert exact.using(threshold=1.0).ledger(table(world), SYSTEM).outcome().k_mean is None  # nothing is sent


def test_a_ledger_says_what_it_is_in_one_line():
    assert repr(U_HLM.ledger(recording(WORLD, 2, 5, 0), SYSTEM)).startswith("Ledger(u-hlm: ")
    assert "2 texts" in repr(U_HLM.ledger(recording(WORLD, 2, 5, 0), SYSTEM))
    assert "i.i.d. tokens" in repr(U_HLM.ledger(table(WORLD), SYSTEM))
    one = U_HLM.ledger(table(WORLD), SYSTEM)
    assert one == one
    assert one != U_HLM.ledger(table(WORLD), SYSTEM)
    assert isinstance(one, Ledger)
    assert len({one, one}) == 1


def test_tokens_print_one_line_and_compare_by_identity():
    tokens = table(WORLD)
    assert repr(tokens) == "Tokens(30 tokens; profiles: skip, truncation, server)"
    assert (
        repr(recording(WORLD, 2, 5, 0)) == "Tokens(10 tokens, 2 prompts; profiles: skip, truncation, server)"
    )
    assert repr(Tokens(uncertainty=np.zeros(1), rejection=np.zeros(1))) == "Tokens(1 token; profiles: none)"
    assert tokens == tokens
    assert tokens != table(WORLD)
    assert len({tokens, tokens}) == 1
