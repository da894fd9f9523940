"""Every scheme against exact enumeration of small vocabularies; the protocols run in test_simulation."""

import itertools
import math
from dataclasses import fields, replace

import numpy as np
import pytest

from cuhlm_theory.contexts import Tokens
from cuhlm_theory.drafting import sync_tokens_per_round
from cuhlm_theory.errors import DivergentError, InfeasibleError, MissingInputError
from cuhlm_theory.parameters import Codec, Latency, Link, System
from cuhlm_theory.rejection import Line
from cuhlm_theory.schemes import (
    NEVER_SKIP,
    SCHEMES,
    at_bias,
    at_bits,
    hlm_latency_s,
    independent_rounds,
    lattice_bit,
    line_up,
    recorded_rounds,
    resolved,
    scheme,
    single_draft_floor_s,
)
from cuhlm_theory.schemes import rounds as walks
from cuhlm_theory.schemes.evaluation import one_draft_bias
from cuhlm_theory.schemes.payload import ConformalLattice, conformal_sizes
from cuhlm_theory.verification import output_law
from tests.protocols import rounded
from tests.worlds import THRESHOLDS, World, random_world, recording, table

CANDIDATES = ("candidate_uncertainty", "candidate_prob", "candidate_llm_prob")
SYSTEM = System(
    link=Link(bandwidth_hz=1e3, snr=3.0),  # 2000 bit/s
    codec=Codec(vocab_size=6),  # 3 bits an index, 11 bits an entry
    latency=Latency(slm_s=0.01, llm_s=0.1, charge_resync=False),
    slm_energy_j=0.5,
)
NUMBERS = {"threshold": 0.5, "line": Line(0.8, -0.05), "offline_k": 3, "num_candidates": 3, "skip_rate": 0.4}
SINGLE = [name for name, row in SCHEMES.items() if not row.drafts_several]
SEVERAL = [name for name, row in SCHEMES.items() if row.drafts_several]
TOKENS = table(random_world(1))


OWNED = {number for row in SCHEMES.values() for number in row.numbers}


def tuned(name, **numbers):
    assert numbers.keys() <= OWNED
    return SCHEMES[name].given(NUMBERS | numbers)


def outcome(name, tokens=TOKENS, system=SYSTEM, **numbers):
    return achieved(tuned(name, **numbers), tokens, system)


def achieved(row, tokens=TOKENS, system=SYSTEM):
    return row.ledger(tokens, system).outcome()


def test_the_table_holds_the_schemes_of_the_command_line_contract_by_their_names():
    contract = (
        "slm llm hlm rand-hlm u-hlm cu-hlm-offline cu-hlm-online cu-hlm-exact floor dsd tk-slt tslt k-sqs "
    )
    contract += "c-sqs dssd confidence-stop heuristic verify-on-sync kept-law "
    contract += "kept-law-exact "
    contract += "specstop q-s asymspec ids-only lenience cascade typical block-verification"
    assert set(contract.split()) <= SCHEMES.keys()
    assert all(name == row.name for name, row in SCHEMES.items())


def test_an_unknown_scheme_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"scheme must be one of slm, llm.*got 'magic'"):
        scheme("magic")


def test_hlm_pays_everything_for_every_token():
    row = outcome("hlm")
    uplink_s = 6 * 11 / 2000
    assert row.bias == 0.0
    assert row.uplink_bit_per_token == pytest.approx(66)
    assert row.downlink_bit_per_token == pytest.approx(3)
    assert row.latency_s == pytest.approx(0.11 + uplink_s)
    assert row.mean_rate_token_per_s == pytest.approx(1 / row.latency_s)
    assert row.energy_j_per_token == pytest.approx(0.2 * uplink_s + 0.5)
    assert row.speedup_over_hlm == pytest.approx(1.0)
    assert row.floor_ratio == pytest.approx((0.11 + uplink_s) / (0.11 + 3 / 2000))
    assert (row.llm_calls_per_token, row.tokens_per_round, row.skip_rate) == (1, 1, 0)
    assert row.k_mean == pytest.approx(6)


def test_the_device_alone_has_the_bias_of_its_law_and_no_traffic():
    world = random_world(1)
    row = outcome("slm")
    assert row.bias == pytest.approx(0.5 * np.abs(world.x - world.y).sum(axis=1).mean(), abs=1e-12)
    assert (row.uplink_bit_per_token, row.llm_calls_per_token) == (0, 0)
    assert row.latency_s == pytest.approx(0.01)
    assert row.floor_ratio == pytest.approx(1.0)


def test_the_server_alone_is_exact_and_needs_no_device():
    row = outcome("llm")
    assert (row.bias, row.uplink_bit_per_token, row.llm_calls_per_token) == (0, 0, 1)
    assert row.latency_s == pytest.approx(0.1)
    assert (row.energy_j_per_token, row.floor_ratio, row.num_drafts) == (0, None, None)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_the_bias_of_skipping_is_that_of_the_enumerated_output_law(seed, threshold):
    world = random_world(seed)
    skip = (world.u <= threshold).astype(float)
    law = output_law(world.x, world.y, skip=skip)
    row = outcome("u-hlm", table(world), threshold=threshold)
    assert row.bias == pytest.approx(0.5 * np.abs(law - world.y).sum(axis=1).mean(), abs=1e-12)
    assert not row.bias_is_bound
    assert row.skip_rate == pytest.approx(float((world.x * skip).sum(axis=1).mean()))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("name", "k"), [("cu-hlm-offline", 3), ("cu-hlm-exact", None)])
def test_the_bias_with_truncation_bounds_that_of_the_enumerated_output_law(seed, name, k):
    world = random_world(seed)
    profile = world.tv_profile()
    sizes = np.argmax(profile <= 0.05, axis=1) + 1 if k is None else np.full(len(profile), k)
    received = np.stack([world.truncated(size)[c] for c, size in enumerate(sizes)])
    law = output_law(world.x, world.y, skip=(world.u <= 0.5).astype(float), verify_with=received)
    row = outcome(name, table(world), truncation_budget=0.05)
    assert row.bias_is_bound == (row.truncation_bias > 0)
    assert 0.5 * np.abs(law - world.y).sum(axis=1).mean() <= row.bias + 1e-12
    assert row.bias == pytest.approx(row.risk + row.truncation_bias)
    chance = (world.x * (world.u > 0.5)).sum(axis=1)
    assert row.k_mean == pytest.approx((chance * sizes).sum() / chance.sum())
    assert row.uplink_bit_per_token == pytest.approx((chance * sizes * 11).mean())


def test_truncation_is_charged_wherever_the_context_may_transmit_and_nowhere_else():
    world = random_world(1)
    world.u[0] = 0.05  # every draft of this context is skipped
    row = outcome("cu-hlm-offline", table(world), threshold=0.1)
    assert row.truncation_bias == pytest.approx(world.tv_profile()[1:, 2].sum() / 5)


def test_the_exact_rule_can_price_truncation_instead():
    world = random_world(2)
    price_s = 0.2
    cost = np.arange(1, 7) * 11 / 2000 + price_s * world.tv_profile()
    sizes = np.argmin(cost, axis=1) + 1
    row = outcome("cu-hlm-exact", table(world), truncation_price_s=price_s, threshold=-1)
    assert row.k_mean == pytest.approx(sizes.mean())
    assert row.truncation_bias == pytest.approx(world.tv_profile()[np.arange(5), sizes - 1].mean())


def test_the_printed_rule_follows_its_printed_bound_draft_by_draft():
    world = random_world(3)
    budget = 0.3
    total, bits = 0.0, 0.0
    for c in range(5):
        for d in range(6):
            if world.u[c, d] <= 0.5:
                continue
            beta = min(max(0.8 * world.u[c, d] - 0.05, 0.0), 1.0)
            scale = (1 - world.x[c, d]) * math.log1p(math.exp(-1)) + world.x[c, d] * math.log1p(
                math.exp(-beta)
            )
            size = next(k for k in range(1, 7) if 2 * world.tv_profile()[c, k - 1] / scale <= budget)
            total += world.x[c, d] / 5 * size
            bits += world.x[c, d] / 5 * size * 11
    row = outcome("cu-hlm-online", table(world), truncation_budget=budget)
    assert row.uplink_bit_per_token == pytest.approx(bits)
    assert row.k_mean * (1 - row.skip_rate) == pytest.approx(total)
    assert "depends on the draft" in row.bias_note
    assert not row.bias_is_bound


def test_random_skipping_is_biased_in_proportion_and_asks_for_its_rate():
    row = outcome("rand-hlm", skip_rate=0.25)
    assert row.bias == pytest.approx(0.25 * outcome("slm").bias)
    assert row.skip_rate == 0.25
    with pytest.raises(MissingInputError, match="skip_rate is not known; give --skip-rate or a threshold"):
        achieved(SCHEMES["rand-hlm"])
    for rate, truncates in (
        (0.0, 1.0),
        (0.25, 1.0),
        (1.0, 0.0),
    ):  # where nothing may be sent, nothing is lost
        skips = SCHEMES["rand-hlm"].using(skip_rate=rate).skip.skips(table(random_world(1)))
        np.testing.assert_array_equal(skips.truncates, truncates)


@pytest.mark.parametrize("seed", range(5))
def test_the_floor_sends_an_index_and_has_the_bias_of_a_server_that_draws(seed):
    world = random_world(seed)
    row = outcome("floor", table(world))
    skip = (world.u <= 0.5).astype(float)
    law = world.x * skip + (1 - (world.x * skip).sum(axis=1, keepdims=True)) * world.y
    assert row.bias == pytest.approx(0.5 * np.abs(law - world.y).sum(axis=1).mean())
    assert row.uplink_bit_per_token == pytest.approx(3 * (1 - row.skip_rate))
    assert row.floor_ratio == pytest.approx(1.0)
    assert row.latency_s == pytest.approx(single_draft_floor_s(SYSTEM, 1 - row.skip_rate))


def test_a_server_that_draws_can_be_worse_than_the_rejection_risk():
    worse = [
        outcome("floor", table(random_world(seed))).bias > outcome("u-hlm", table(random_world(seed))).bias
        for seed in range(10)
    ]
    assert any(worse)


@pytest.mark.parametrize("name", [name for name in SINGLE if name not in ("llm", "kept-law")])
@pytest.mark.parametrize("threshold", [NEVER_SKIP, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("snr", [0.1, 3.0, 100.0])
def test_no_single_draft_scheme_beats_the_floor(name, threshold, snr):
    system = replace(SYSTEM, link=replace(SYSTEM.link, snr=snr))
    row = outcome(name, system=system, threshold=threshold)
    assert row.floor_ratio >= 1 - 1e-12


def test_the_floor_does_not_bound_a_scheme_that_need_not_name_its_draft():
    """Where the device would have kept no token, one bit says so; the floor sends an index."""
    row, floor = (outcome(name, threshold=NEVER_SKIP) for name in ("kept-law", "floor"))
    assert row.uplink_bit_per_token == pytest.approx(1.0)
    assert row.latency_s < floor.latency_s
    assert (row.floor_ratio, outcome("kept-law-exact", threshold=0.2).floor_ratio) == (None, None)


@pytest.mark.parametrize("name", SINGLE)
def test_the_renewal_rate_is_the_inverse_latency_and_never_above_the_mean_rate(name):
    row = outcome(name)
    assert row.throughput_token_per_s == pytest.approx(1 / row.latency_s)
    assert row.mean_rate_token_per_s >= row.throughput_token_per_s - 1e-12
    assert row.speedup_over_hlm == pytest.approx(hlm_latency_s(SYSTEM) / row.latency_s)


def test_the_mean_rate_averages_the_two_kinds_of_rounds():
    row = outcome("u-hlm")
    sent_s, share = hlm_latency_s(SYSTEM), 1 - row.skip_rate
    assert row.mean_rate_token_per_s == pytest.approx(share / sent_s + (1 - share) / 0.01)
    assert row.latency_s == pytest.approx(0.01 + share * (sent_s - 0.01))


def test_protocol_options_add_their_seconds_and_bits():
    latency = Latency(
        slm_s=0.01,
        llm_s=0.1,
        round_trip_s=0.03,
        downlink_bit_per_s=100,
        llm_per_token_s=0.002,
        charge_resync=True,
    )
    plain, full = outcome("u-hlm"), outcome("u-hlm", system=replace(SYSTEM, latency=latency))
    share = 1 - plain.skip_rate
    resync_bit = 3 * plain.skip_rate
    assert full.uplink_bit_per_token - plain.uplink_bit_per_token == pytest.approx(resync_bit)
    extra = share * (0.03 + 3 / 100) + plain.skip_rate * 0.002 + resync_bit / 2000
    assert full.latency_s - plain.latency_s == pytest.approx(extra)
    assert outcome("llm", system=replace(SYSTEM, latency=latency)).latency_s == pytest.approx(0.1 + 3 / 100)
    assert outcome("floor", system=replace(SYSTEM, latency=latency)).floor_ratio == pytest.approx(1.0)
    assert outcome("slm", system=replace(SYSTEM, latency=latency)).latency_s == pytest.approx(0.01)


def test_a_dead_link_stops_what_must_transmit_and_nothing_else():
    dead = replace(SYSTEM, link=replace(SYSTEM.link, snr=0.0))
    assert outcome("hlm", system=dead).throughput_token_per_s == 0
    assert outcome("u-hlm", system=dead).latency_s == math.inf
    assert outcome("dssd", system=dead).throughput_token_per_s == 0
    everything = outcome("u-hlm", system=dead, threshold=1.0)
    assert everything.latency_s == pytest.approx(0.01)
    assert everything.speedup_over_hlm == math.inf
    assert outcome("slm", system=dead).floor_ratio == pytest.approx(1.0)
    assert math.isnan(outcome("hlm", system=dead).speedup_over_hlm)


def test_a_randomised_threshold_is_the_mixture_of_its_ends():
    low, high = (outcome("u-hlm", threshold=t) for t in (0.2, 0.6))
    mixed = outcome("u-hlm", threshold=0.2, upper_threshold=0.6, mix=0.25)
    for field in ("bias", "skip_rate", "latency_s", "uplink_bit_per_token"):
        assert getattr(mixed, field) == pytest.approx(
            0.75 * getattr(low, field) + 0.25 * getattr(high, field)
        )
    server = [outcome("floor", threshold=t).bias for t in (0.2, 0.6)]
    floor = outcome("floor", threshold=0.2, upper_threshold=0.6, mix=0.25)
    assert floor.bias == pytest.approx(0.75 * server[0] + 0.25 * server[1])


def test_off_the_grid_the_recorded_drafts_stand_for_their_contexts():
    world = random_world(4)
    row = outcome("u-hlm", table(world), threshold=0.47)
    skip = (world.u <= 0.47).astype(float)
    assert row.skip_rate == pytest.approx((world.x * skip).sum(axis=1).mean())
    assert row.bias == pytest.approx((world.x * world.beta * skip).sum(axis=1).mean())
    assert outcome("floor", table(world), threshold=0.47).bias is None


def test_a_law_without_profiles_serves_what_needs_none_and_names_the_column_otherwise():
    law = Tokens(uncertainty=np.array([0.1, 0.9]), rejection=np.array([0.1, 0.5]))
    assert outcome("u-hlm", law).bias == pytest.approx(0.05)
    assert outcome("slm", law).bias == pytest.approx(0.3)
    offline = outcome("cu-hlm-offline", law)
    assert offline.bias is None
    assert offline.risk == pytest.approx(0.05)
    with pytest.raises(MissingInputError, match="tv_profile"):
        outcome("cu-hlm-exact", law)
    with pytest.raises(MissingInputError, match="coarse_k_grid"):
        outcome("tk-slt", law)
    with pytest.raises(MissingInputError, match="max_prob"):
        outcome("confidence-stop", law)
    with pytest.raises(MissingInputError, match="rejection line"):
        achieved(SCHEMES["cu-hlm-online"])


# Several drafts a round


def test_payloads_of_the_schemes_with_several_drafts():
    per_draft = {
        "dsd": 66,
        "tk-slt": 3 * 16,
        "tslt": 3 * (16 + 3),
        "k-sqs": lattice_bit(3, 100, 6),
        "dssd": 3 + 8,
    }
    for name, bit in per_draft.items():
        row = outcome(name, num_drafts=4)
        assert row.uplink_bit_per_token * row.tokens_per_round == pytest.approx(4 * bit), name
        assert row.num_drafts == 4
        assert row.llm_calls_per_token * row.tokens_per_round == pytest.approx(1)
        assert row.bias == 0.0
        assert row.floor_ratio is None


def test_acceptance_of_each_drafting_law_sets_the_tokens_per_round():
    world = random_world(1)
    full = np.minimum(world.x, world.y).sum(axis=1).mean()
    top = np.minimum(world.candidates(3), world.y).sum(axis=1)
    lattice = np.minimum([rounded(law, 100) for law in world.candidates(3)], world.y).sum(axis=1)
    for name, alpha in (("dsd", full), ("dssd", full), ("tk-slt", top.mean()), ("k-sqs", lattice.mean())):
        expected = 1 + alpha + alpha**2 + alpha**3
        assert outcome(name, num_drafts=3).tokens_per_round == pytest.approx(expected), name


def test_latency_of_a_round_of_several_drafts():
    latency = Latency(slm_s=0.01, llm_s=0.1, round_trip_s=0.03, downlink_bit_per_s=100)
    system = replace(SYSTEM, latency=latency)
    row = outcome("dssd", system=system, num_drafts=2)
    alpha = float(np.minimum(random_world(1).x, random_world(1).y).sum(axis=1).mean())
    answer_bit = (1 - alpha**2) * 6 * 8 + alpha**2 * 3
    round_s = 2 * 0.01 + 2 * 11 / 2000 + 0.1 + 0.03 + answer_bit / 100
    assert row.latency_s == pytest.approx(round_s / (1 + alpha + alpha**2))
    assert row.downlink_bit_per_token == pytest.approx(answer_bit / (1 + alpha + alpha**2))
    assert row.energy_j_per_token == pytest.approx((0.2 * 2 * 11 / 2000 + 2 * 0.5) / (1 + alpha + alpha**2))


def test_the_default_draft_count_is_the_best_one():
    for name in ("dsd", "tk-slt", "dssd"):
        best = outcome(name)
        others = [outcome(name, num_drafts=g).latency_s for g in range(1, 30)]
        assert best.latency_s == pytest.approx(min(others))
        assert best.num_drafts == 1 + int(np.argmin(others))


def test_drafting_stops_when_confidence_is_low_and_at_the_longest_run():
    world = random_world(1)
    stop = float((world.x.max(axis=1) < 0.5).mean())
    row = outcome("confidence-stop", confidence=0.5, max_drafts=3)
    lengths = stop + 2 * (1 - stop) * stop + 3 * (1 - stop) ** 2
    assert row.num_drafts == pytest.approx(lengths)


@pytest.mark.parametrize("bonus", [False, True])
def test_verify_on_sync_follows_its_closed_form_for_independent_tokens(bonus):
    row = outcome("verify-on-sync", bonus=bonus)
    world = random_world(1)
    sent = world.u > 0.5
    chance = float((world.x * sent).sum(axis=1).mean())
    risk = float((world.x * world.beta * ~sent).sum(axis=1).mean())
    rejected = float((world.x * world.beta * sent).sum(axis=1).mean()) / chance
    tokens = sync_tokens_per_round(chance, risk, transmitted_rejection=rejected if bonus else None)
    assert row.tokens_per_round == pytest.approx(float(tokens))
    assert row.num_drafts == pytest.approx(1 / chance)
    assert row.uplink_bit_per_token == pytest.approx(11 / chance / float(tokens))
    assert row.latency_s == pytest.approx((0.01 / chance + 11 / 2000 / chance + 0.1) / float(tokens))
    assert row.bias == 0.0
    assert row.skip_rate == pytest.approx(1 - chance)


def test_verify_on_sync_needs_a_trigger_that_fires():
    with pytest.raises(DivergentError, match="max_drafts"):
        outcome("verify-on-sync", threshold=1.0)


def test_without_skipping_verify_on_sync_is_one_draft_a_round():
    row = outcome("verify-on-sync", threshold=NEVER_SKIP)
    assert (row.num_drafts, row.tokens_per_round) == (pytest.approx(1), pytest.approx(1))


@pytest.mark.parametrize(
    ("kept", "levels", "vocab_size", "bit"),
    [
        (1, 100, 32000, 15),
        (2, 100, 32000, 29 + 7),
        (6, 100, 6, math.ceil(math.log2(math.comb(105, 5)))),
        (100, 200, 1000, 465 + 270),
    ],
)
def test_lattice_bits(kept, levels, vocab_size, bit):
    exact = math.ceil(math.log2(math.comb(vocab_size, kept))) + math.ceil(
        math.log2(math.comb(levels + kept - 1, kept - 1))
    )
    assert lattice_bit(kept, levels, vocab_size) == exact == bit
    assert lattice_bit(kept, levels, vocab_size, send_size=True) == bit + math.ceil(math.log2(vocab_size))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((1, 100, 1), "vocab_size must be at least 2; got 1"),
        ((0, 100, 50), r"num_kept must lie in \[1, 50\]; got 0"),
        ((51, 100, 50), r"num_kept must lie in \[1, 50\]; got 51"),
        ((2, 0, 50), "levels must be at least 1; got 0"),
    ],
)
def test_lattice_bits_of_no_lattice_are_refused(arguments, text):
    with pytest.raises(ValueError, match=f"^{text}$"):
        lattice_bit(*arguments)


def test_the_conformal_threshold_keeps_the_dropped_mass_near_its_target():
    tokens = recording(random_world(5), num_texts=4, length=500, seed=1)
    rule = ConformalLattice(conformal_target=0.1, conformal_step=0.01, conformal_start=0.05)
    place = _conformal(tokens, rule)
    anew = replace(tokens, prompt=np.zeros(len(tokens)))
    np.testing.assert_array_equal(conformal_sizes(anew, rule), place + 1)
    by_profile = replace(anew, **dict.fromkeys(CANDIDATES))
    np.testing.assert_array_equal(conformal_sizes(by_profile, rule), place + 1)
    dropped = tokens.tail_mass[np.arange(len(tokens)), place]
    bound = 0.1 + (0.05 + 1 + 0.01 * 0.1) / (0.01 * len(tokens))
    assert dropped.mean() <= bound
    assert dropped.mean() == pytest.approx(0.1, abs=0.02)


def test_a_device_that_has_answered_before_begins_where_its_threshold_settles():
    tokens = recording(random_world(5), num_texts=40, length=50, seed=1)
    carried = ConformalLattice(conformal_target=0.1, conformal_step=0.01)
    settled = carried.settled(tokens)
    assert settled.settled(tokens) is settled
    assert carried.start == 0.01 < 0.05 < settled.start
    sizes = {
        rule: conformal_sizes(tokens, rule)
        for rule in (carried, settled, ConformalLattice(conformal_start=0.01))
    }
    dropped = {rule: _dropped(tokens, size) for rule, size in sizes.items()}
    assert dropped[settled].mean() == pytest.approx(0.1, abs=0.02)
    assert dropped[settled].mean() == pytest.approx(dropped[carried].mean(), abs=0.01)
    first = np.diff(tokens.prompt, prepend=-1) != 0
    at_start = np.maximum(np.sum(tokens.sorted_prob[first] >= settled.start, axis=1), 1)
    np.testing.assert_array_equal(sizes[settled][first], at_start)  # every answer begins anew
    system, scheme = SYSTEM, SCHEMES["c-sqs"].using(conformal_target=0.1, conformal_step=0.01)
    assert resolved(scheme, tokens, system).payload.start == settled.start


def _dropped(tokens, sizes):
    return tokens.tail_mass[np.arange(len(tokens)), sizes - 1]


def test_the_lattice_is_kept_as_often_as_the_law_that_is_sent_allows():
    """Entry by entry from both laws, in a recording that holds the likeliest tokens of each context only."""
    world = random_world(1, vocab_size=8)
    tokens = replace(table(world), prompt=None)
    for levels, size in itertools.product((3, 20), (1, 2, 4)):
        law = np.array([rounded(row, levels) for row in world.candidates(size)])
        exact = np.repeat(np.minimum(law, world.y).sum(axis=1), 8)
        order = np.argsort(-tokens.candidate_prob, axis=1)[:, :4]  # four are known
        known = {name: np.take_along_axis(getattr(tokens, name), order, axis=1) for name in CANDIDATES}
        scheme = SCHEMES["k-sqs"].using(num_candidates=size, lattice_levels=levels)
        few = replace(tokens, **known)
        found = scheme.payload.carried(few, SYSTEM, scheme.skip).acceptance
        np.testing.assert_allclose(found, exact, atol=1e-12)
        none = replace(tokens, **dict.fromkeys(CANDIDATES))
        assert np.all(scheme.payload.carried(none, SYSTEM, scheme.skip).acceptance <= exact + 1e-12)
    beyond = SCHEMES["k-sqs"].using(num_candidates=6, lattice_levels=20).payload
    least = beyond.carried(few, SYSTEM, scheme.skip).acceptance
    law = np.array([rounded(row, 20) for row in world.candidates(6)])
    assert np.all(least <= np.repeat(np.minimum(law, world.y).sum(axis=1), 8) + 1e-12)


def _conformal(tokens, rule):
    threshold, places = rule.conformal_start, []
    for ranked, tail in zip(tokens.sorted_prob, tokens.tail_mass, strict=True):
        places.append(max(int((ranked >= threshold).sum()), 1) - 1)
        threshold -= rule.conformal_step * (tail[places[-1]] - rule.conformal_target)
    return np.array(places)


# Rounds over a recording


def test_rounds_commit_every_recorded_token_once():
    rng = np.random.default_rng(0)
    prompt = np.repeat([0, 1, 2], [7, 1, 12])
    for bonus in (False, True):
        for most in (None, 1, 3):
            rounds = recorded_rounds(
                rng.random(20), rng.random(20) < 0.3, prompt, np.ones(20), max_drafts=most, bonus=bonus
            )
            assert np.sum(rounds.weight * rounds.num_tokens) == pytest.approx(20)
            assert np.all(rounds.num_drafts >= 1)
            np.testing.assert_allclose(rounds.draft_bit, rounds.num_drafts)


@pytest.mark.parametrize("bonus", [False, True])
def test_a_limit_that_no_run_reaches_changes_nothing(bonus):
    rng = np.random.default_rng(4)
    prompt = np.repeat([0, 1, 2, 3], [1, 9, 30, 12])
    keep, ends, ending_keep, bits = rng.random((4, 52))
    keep[rng.random(52) < 0.2], ends[30] = 0.0, 1.0  # the longest text has no run of more than 21
    given = {
        "ending_acceptance": ending_keep,
        "charges": walks.Charges(entries=3.0, bias=bits / 9),
        "bonus": bonus,
    }
    free, limited = (
        recorded_rounds(keep, ends, prompt, bits, **given, max_drafts=most) for most in (None, 29)
    )
    for field in fields(free):
        np.testing.assert_allclose(getattr(limited, field.name), getattr(free, field.name), rtol=1e-12)


@pytest.mark.parametrize("bonus", [False, True])
def test_where_every_draft_is_kept_a_round_commits_what_it_commits_when_kept(bonus):
    prompt, ends = np.repeat([0, 1], [5, 4]), np.array([0, 1, 0, 0, 0, 1, 0, 0, 1])
    sure = recorded_rounds(np.ones(9), ends, prompt, np.ones(9), bonus=bonus)
    np.testing.assert_array_equal(sure.num_tokens, sure.kept_tokens)
    np.testing.assert_array_equal(sure.all_kept, 1.0)
    unsure = recorded_rounds(np.full(9, 0.5), ends, prompt, np.ones(9), bonus=bonus)
    np.testing.assert_array_equal(unsure.kept_tokens, sure.kept_tokens)
    assert np.all(unsure.num_tokens >= unsure.all_kept * unsure.kept_tokens)


def test_without_bonus_a_round_ends_where_a_token_triggered_or_was_rejected():
    rng = np.random.default_rng(1)
    keep, ends = rng.random(50), rng.random(50) < 0.4
    rounds = recorded_rounds(keep, ends, np.zeros(50, int), np.ones(50), bonus=False)
    expected = np.where(ends, 1.0, 1.0 - keep)
    expected[-1] = 1.0
    assert rounds.weight.sum() == pytest.approx(expected.sum())
    np.testing.assert_allclose(rounds.weight[1:], expected[:-1])


def test_the_order_of_interleaved_prompts_does_not_matter():
    rng = np.random.default_rng(2)
    keep, ends = rng.random(12), rng.random(12) < 0.4
    prompt = np.repeat([0, 1], 6)
    mixed = np.array([0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11])
    one = recorded_rounds(keep, ends, prompt, np.arange(12.0))
    other = recorded_rounds(keep[mixed], ends[mixed], prompt[mixed], np.arange(12.0)[mixed])
    for field in ("weight", "num_tokens", "num_drafts", "all_kept", "draft_bit"):
        np.testing.assert_allclose(getattr(other, field), getattr(one, field)[mixed])


@pytest.mark.parametrize("bonus", [False, True])
def test_long_recordings_of_equal_tokens_approach_the_closed_form(bonus):
    keep, num = np.full(3000, 0.7), 3000
    recorded = recorded_rounds(
        keep, np.zeros(num), np.zeros(num, int), np.ones(num), max_drafts=4, bonus=bonus
    )
    closed = independent_rounds(0.0, 0.7, 0.7, 1.0, max_drafts=4, bonus=bonus)
    assert recorded.mean(recorded.num_tokens) == pytest.approx(closed.mean(closed.num_tokens), rel=2e-3)
    assert recorded.mean(recorded.all_kept) == pytest.approx(0.7**4, rel=2e-3)
    assert closed.mean(closed.num_tokens) == pytest.approx(sum(0.7**j for j in range(5 if bonus else 4)))


def test_rounds_refuse_what_is_not_a_probability():
    with pytest.raises(ValueError, match="acceptance must lie in"):
        recorded_rounds([1.5], [True], np.zeros(1, int), [1.0])
    with pytest.raises(ValueError, match="max_drafts must be at least 1"):
        recorded_rounds([0.5], [True], np.zeros(1, int), [1.0], max_drafts=0)


# Line-up


@pytest.mark.parametrize("wanted", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("name", ["rand-hlm", "u-hlm", "cu-hlm-exact", "cu-hlm-offline", "cu-hlm-online"])
def test_equal_bias_is_met_with_equality(name, wanted):
    found = at_bias(tuned(name, truncation_budget=0.01, offline_k=5), TOKENS, SYSTEM, wanted)
    assert achieved(found).bias == pytest.approx(wanted, rel=1e-9)


def test_equal_bias_leaves_exact_schemes_alone_and_refuses_what_truncation_spoils():
    rows = [tuned(name, offline_k=1) for name in SCHEMES]
    found, missing = line_up(rows, TOKENS, SYSTEM, equal_bias=0.01)
    assert "cu-hlm-offline" in missing
    assert "even if nothing is skipped" in missing["cu-hlm-offline"]
    several = {row.name: ledger.outcome().bias for row, ledger in found if row.drafts_several}
    assert set(SEVERAL) - set(several) == {"typical"}
    assert "at its strictest" in missing["typical"]
    lossy = {name for name in several if not SCHEMES[name].verification.exact}
    assert lossy == {"lenience", "cascade"}
    assert {several[name] for name in set(several) - lossy} == {0.0}
    assert 0.009 < several["lenience"] <= 0.01
    assert several["cascade"] <= 0.01


def test_at_equal_bias_uncertainty_beats_chance():
    world = random_world(1)
    informed = World(x=world.x, y=world.y, u=np.clip(world.beta, 0.01, 0.99))
    rows, _ = line_up([tuned("rand-hlm"), tuned("u-hlm")], table(informed), SYSTEM, equal_bias=0.03)
    by_chance, by_uncertainty = (ledger.outcome() for _, ledger in rows)
    assert by_uncertainty.skip_rate > by_chance.skip_rate


def test_equal_bias_allows_for_the_rounding_of_a_profile():
    tokens = replace(TOKENS, tv_profile=np.where(TOKENS.tv_profile < 1e-12, 1e-13, TOKENS.tv_profile))
    row = achieved(at_bias(tuned("cu-hlm-exact", truncation_budget=1e-13), tokens, SYSTEM, 0.0), tokens)
    assert (row.bias, row.skip_rate) == (pytest.approx(1e-13), 0.0)


def test_a_bias_beyond_reach_skips_everything():
    assert achieved(at_bias(tuned("u-hlm"), TOKENS, SYSTEM, 0.9)).skip_rate == pytest.approx(1.0)
    assert at_bias(tuned("rand-hlm"), TOKENS, SYSTEM, 0.9).skip.skip_rate == 1.0


@pytest.mark.parametrize("name", ["rand-hlm", "u-hlm", "cu-hlm-exact", "floor"])
def test_equal_bits_are_met_with_equality_or_need_no_skipping(name):
    few = at_bits(tuned(name), TOKENS, SYSTEM, 2.0)
    assert achieved(few).uplink_bit_per_token == pytest.approx(2.0)
    free = at_bits(tuned(name), TOKENS, SYSTEM, 1e6)
    assert achieved(free).skip_rate == pytest.approx(0.0, abs=1e-12)


def test_equal_bits_choose_the_most_candidates_that_fit():
    row = tuned("tk-slt", num_drafts=2)
    fitting = at_bits(row, TOKENS, SYSTEM, 40.0)
    assert achieved(fitting).uplink_bit_per_token <= 40.0
    more = fitting.using(num_candidates=fitting.payload.num_candidates + 1)
    assert achieved(more).uplink_bit_per_token > 40.0
    alone = achieved(row.using(num_candidates=1)).uplink_bit_per_token
    assert at_bits(row, TOKENS, SYSTEM, alone).payload.num_candidates == 1
    with pytest.raises(InfeasibleError, match="even with one candidate"):
        at_bits(row, TOKENS, SYSTEM, 1.0)


def test_both_wishes_at_once_are_refused():
    with pytest.raises(ValueError, match="exclude each other"):
        line_up([tuned("hlm")], TOKENS, SYSTEM, equal_bias=0.1, equal_bits=3.0)


@pytest.mark.parametrize(
    ("name", "number", "value", "words"),
    [
        ("u-hlm", "mix", 1.5, "mix must lie in"),
        ("u-hlm", "upper_threshold", 0.1, "upper_threshold must be at least 0.5"),
        ("dssd", "num_drafts", 0, "num_drafts must be at least 1"),
        ("confidence-stop", "max_drafts", 0, "max_drafts must be at least 1"),
        ("cu-hlm-offline", "offline_k", 2.5, "offline_k must be a whole number"),
        ("c-sqs", "conformal_step", 0.0, "conformal_step must be positive"),
        ("rand-hlm", "skip_rate", -0.1, "skip_rate must lie in"),
        ("cu-hlm-exact", "truncation_price_s", -1.0, "truncation_price_s must be at least 0"),
        ("cu-hlm-online", "truncation_budget", 2.0, "truncation_budget must lie in"),
        ("tslt", "candidate_bits", 0, "candidate_bits must be at least 1"),
        ("k-sqs", "lattice_levels", 0, "lattice_levels must be at least 1"),
        ("heuristic", "first_drafts", 0, "^first_drafts must be at least 1"),
        ("confidence-stop", "confidence", 1.5, "^confidence must lie in"),
    ],
)
def test_a_rule_refuses_values_out_of_bounds(name, number, value, words):
    with pytest.raises(ValueError, match=words):
        tuned(name).using(**{number: value})


def test_thresholds_of_the_world_cover_the_threshold_in_use():
    assert NUMBERS["threshold"] in THRESHOLDS


def test_a_number_goes_to_the_rule_that_owns_it_and_to_no_other():
    plain = SCHEMES["cu-hlm-exact"]
    other = plain.using(threshold=0.3, truncation_price_s=0.2)
    assert (other.skip.threshold, other.payload.truncation_price_s) == (0.3, 0.2)
    assert (other.draft, other.verification) == (plain.draft, plain.verification)
    assert plain.skip.threshold == 0.0  # a scheme is a value
    assert other.threshold == 0.3
    assert plain.using() == plain
    assert other.numbers == plain.numbers | {"threshold": 0.3, "truncation_price_s": 0.2}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hlm", "confidence is no number of hlm; it has none"),
        ("rand-hlm", "confidence is no number of rand-hlm; it has skip_rate"),
        ("dssd", "confidence is no number of dssd; it has num_drafts, adds_bonus"),
    ],
)
def test_a_number_that_no_rule_owns_is_refused_and_the_owned_ones_are_told(name, words):
    with pytest.raises(ValueError, match=f"^{words}$"):
        SCHEMES[name].using(confidence=0.5)
    assert SCHEMES[name].given({"confidence": 0.5}) == SCHEMES[name]  # meant for another row of the table


def test_what_the_rules_offer_is_combined_with_what_else_is_offered():
    tokens = table(random_world(1))
    of_rules = list(SCHEMES["verify-on-sync"].offered(tokens))
    counts = [{"bonus": None, "seen": 1}, {"seen": 2}]
    combined = list(SCHEMES["verify-on-sync"].offered(tokens, counts))
    assert combined == [one | count for one in of_rules for count in counts]
    assert {name for one in of_rules for name in one} == {"threshold", "bonus"}


def test_a_run_whose_last_token_the_server_writes_has_no_bonus():
    assert SCHEMES["verify-on-sync"].using(bonus=True).draft.adds_bonus
    with pytest.raises(ValueError, match="bonus is no number of kept-law-exact"):
        SCHEMES["kept-law-exact"].using(bonus=True)


def test_which_text_a_scheme_writes():
    written = {name: row.writes for name, row in SCHEMES.items()}
    hybrid = {"rand-hlm", "u-hlm", "cu-hlm-offline", "cu-hlm-online", "cu-hlm-exact", "floor", "kept-law"}
    hybrid |= {"lenience", "cascade", "typical"}
    assert {name for name, text in written.items() if text == "hybrid"} == hybrid
    assert [name for name, text in written.items() if text == "slm"] == ["slm"]


def test_at_equal_bias_a_server_that_draws_can_lose_to_one_that_verifies():
    """The floor bounds a skip rule, not a bias; its own bias can cost it skips."""
    fast = replace(SYSTEM, link=replace(SYSTEM.link, bandwidth_hz=1e9))
    faster = []
    for seed in range(12):
        world = random_world(seed)
        tokens = table(World(x=world.x, y=world.y, u=np.clip(world.beta, 0.01, 0.99)))
        rows, _ = line_up([tuned("u-hlm"), tuned("floor")], tokens, fast, equal_bias=0.03)
        verifies, draws = (ledger.outcome() for _, ledger in rows)
        assert (verifies.bias, draws.bias) == (pytest.approx(0.03), pytest.approx(0.03))
        assert verifies.floor_ratio >= 1 - 1e-12
        faster.append(verifies.latency_s < draws.latency_s)
    assert any(faster)


@pytest.mark.parametrize("name", [row.name for row in SCHEMES.values() if not row.drafts_several])
def test_the_bias_of_one_draft_is_that_of_its_ledger(name):
    tokens = table(random_world(3, num_contexts=20))
    for threshold in (-1.0, 0.3, 0.6, 1.0):
        numbers = {"threshold": threshold, "upper_threshold": 1.0, "mix": 0.25, "skip_rate": 0.4}
        row = SCHEMES[name].given({**numbers, "line": Line(0.8, 0.0)})
        ledger = row.ledger(tokens, SYSTEM)
        assert one_draft_bias(row, tokens, SYSTEM) == pytest.approx(ledger.per_token(ledger.bias), rel=1e-14)


def test_a_walk_is_remembered_by_its_numbers_alone():
    def walk(acceptance, bits):
        prompt = np.zeros(4, dtype=np.int64)
        return recorded_rounds(acceptance, [0, 1, 0, 1], prompt, bits, bonus=False)

    walks._walked.cache_clear()
    first = walk([0.5] * 4, [24.0] * 4)
    with pytest.raises(ValueError, match="read-only"):
        first.num_tokens[:] = -1.0  # it is what is remembered
    again, other = walk([0.5] * 4, [24.0] * 4), walk([0.5] * 4, [25.0] * 4)
    assert walks._walked.cache_info()[:2] == (1, 2)
    np.testing.assert_array_equal(again.num_tokens, walk(np.full(4, 0.5), [24] * 4).num_tokens)
    assert np.all(again.num_tokens > 0.0)
    np.testing.assert_allclose(other.draft_bit, again.draft_bit * 25.0 / 24.0)
