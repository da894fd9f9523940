"""Faults that were planted and that no test noticed, each with a test that does."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from calibration import collect, promises
from calibration.compare import _predictions
from calibration.decoding import Clock, Settings, laws, records
from calibration.decoding import single as loop
from cuhlm_theory import bootstrap
from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.contexts import Skips, Tokens
from cuhlm_theory.drafting import sync_break_even_risk
from cuhlm_theory.parameters import Budget, Codec, Latency, Link, System
from cuhlm_theory.recommendation import Question
from cuhlm_theory.rejection import Line
from cuhlm_theory.schemes import SCHEMES
from tests.worlds import random_world, table

SYSTEM = System(
    link=Link(bandwidth_hz=1e3, snr=3.0),
    codec=Codec(vocab_size=6),
    latency=Latency(slm_s=0.01, llm_s=0.1),
)
PROFILE = np.array([[0.5, 0.2, 0.0], [0.4, 0.3, 0.0]])


def tokens(**columns):
    given = {"uncertainty": np.array([0.2, 0.9]), "rejection": np.array([0.1, 0.4])}
    return Tokens(**given, k_grid=np.array([1, 4, 8]), tv_profile=PROFILE, **columns)


def test_a_size_between_two_recorded_ones_is_charged_the_tv_of_the_smaller():
    """A larger size loses less, so the TV of the larger would be no bound."""
    for k, column in ((1, 0), (2, 0), (3, 0), (4, 1), (7, 1), (8, 2)):
        np.testing.assert_array_equal(tokens().truncation_tv(np.full(2, k)), PROFILE[:, column])
    ledger = SCHEMES["cu-hlm-offline"].using(threshold=-1.0, offline_k=3).ledger(tokens(), SYSTEM)
    assert ledger.mean(ledger.truncation) == pytest.approx(PROFILE[:, 0].mean())


def test_a_randomised_threshold_truncates_as_often_as_its_ends_do():
    one, two = (
        Skips(transmit=np.array([a]), risk=np.zeros(1), truncates=np.array([b]), excess=np.zeros(1))
        for a, b in ((1.0, 1.0), (0.0, 0.0))
    )
    for share in (0.0, 0.25, 1.0):
        assert one.mixed(two, share).truncates == pytest.approx(1.0 - share)
        assert two.mixed(one, share).truncates == pytest.approx(share)
    numbers = {"threshold": 0.5, "upper_threshold": 1.0, "mix": 0.25, "offline_k": 4}
    never = {"skip_mass": np.zeros((2, 2)), "skip_risk": np.zeros((2, 2))}
    never["skip_mass"][:, 1] = 1.0  # nothing is skipped at 0.5, and everything at 1
    recorded = tokens(threshold_grid=np.array([0.5, 1.0]), **never)
    ledger = SCHEMES["cu-hlm-offline"].using(**numbers).ledger(recorded, SYSTEM)
    assert ledger.mean(ledger.truncation) == pytest.approx(0.75 * PROFILE[:, 1].mean())


def test_replicates_that_equal_the_estimate_count_half():
    """Half of them below and half above leave a symmetric sample without a correction of its bias."""
    side = np.linspace(0.01, 2.0, 400)
    replicates = np.concatenate([-side, np.zeros(200), side])
    low, high = bootstrap.bca_interval(0.0, replicates, [-1.0, 0.0, 1.0])
    assert low == pytest.approx(-high)
    assert high == pytest.approx(bootstrap.percentile_interval(replicates)[1], abs=0.02)


def test_a_bet_is_placed_before_its_outcome_is_seen():
    rng = np.random.default_rng(0)
    z = rng.random(40)
    placed = promises.bets(z, 0.2, 0.1)
    for place in range(40):
        other = z.copy()
        other[place:] = rng.random(40 - place)
        np.testing.assert_array_equal(promises.bets(other, 0.2, 0.1)[: place + 1], placed[: place + 1])


def test_the_truncation_of_a_context_is_recorded_where_its_draft_was_skipped_too():
    settings = Settings(scheme=SCHEMES["cu-hlm-offline"].using(threshold=0.6, offline_k=2), temperature=1.0)
    logits = np.array([2.0, 1.0, 0.5, 0.0, -1.0, -2.0])
    here = laws.Context(logits, settings, SYSTEM)
    skips = here.skip()
    assert 0.0 < skips.sum() < 6.0
    expected = 0.5 * np.abs(here.x - np.append(here.x[:2], np.full(4, here.x[2:].mean()))).sum()
    for draft in (int(np.argmax(skips)), int(np.argmin(skips))):
        row = records.new_row(draft=draft)
        waiting = [(row, here)]
        loop._measure(waiting, np.roll(logits, 1)[None])
        assert row["truncation_tv"] == pytest.approx(expected)
        assert waiting == []


def test_the_passes_that_warm_a_model_up_are_not_in_its_latency(monkeypatch):
    torch = pytest.importorskip("torch")
    spent = [100.0] * collect._WARM_UP + [float(n) for n in range(1, collect._TIMED + 1)]
    clock = np.repeat(np.cumsum([0.0, *spent]), 2)[1:-1]  # each pass starts when the last one has ended
    ticks = iter(clock.tolist())
    monkeypatch.setattr(collect.time, "perf_counter", lambda: next(ticks))

    def model(**given):
        return SimpleNamespace(logits=torch.zeros(1, 1, 4), past_key_values=None)

    model.device = torch.device("cpu")
    assert collect.decode_latency_s(model, [1, 2]) == pytest.approx((1.0 + collect._TIMED) / 2.0)


def test_two_samples_are_resampled_independently():
    """Alike samples drawn alike would always differ by nothing."""
    num, how = 30, SimpleNamespace(seed=0, num_resamples=4000)
    draws = _predictions._Draws.of([f"p/{n}" for n in range(num)], [f"p/{n}" for n in range(num)], how)
    values = np.random.default_rng(3).random(num)
    sums = np.stack([values, np.ones(num)])
    errors = draws.errors(SimpleNamespace(expected=sums, drawn=sums))
    assert np.std(errors) == pytest.approx(np.sqrt(2.0 / num) * np.std(values), rel=0.05)
    assert abs(errors.mean()) < 0.1 * np.std(errors)


def test_rounds_of_texts_that_count_alike_stay_apart():
    scheme = SCHEMES["u-hlm"].using(threshold=0.5)
    rows = [records.new_row(position=n % 2, round=n % 2, drafted=1, tv=0.1 * n) for n in range(4)]
    table = {**records.columns(rows), "prompt": np.array([0, 0, 1, 1])}
    ledger = records.ledger(table, scheme, Clock(system=SYSTEM).system)
    np.testing.assert_array_equal(ledger.prompt, [0, 0, 1, 1])
    np.testing.assert_array_equal(ledger.tokens, np.ones(4))
    np.testing.assert_allclose(ledger.bias, 0.1 * np.arange(4), atol=1e-7)


def test_the_break_even_risk_counts_the_rejections_of_drafts_that_are_sent():
    """The skipped ones are rejected less often: over all drafts the rejections would be too few."""
    world = random_world(1)
    latency = Latency(slm_s=0.01, llm_s=0.1, downlink_bit_per_s=100.0)
    system = replace(SYSTEM, latency=latency)
    line = Line(0.8, -0.05, 0.6)
    found = Question(line=line, tokens=table(world), system=system, budget=Budget(bias=0.05)).answer()
    found._numbers["threshold"] = 0.5
    found.operating_scheme = found.operating_scheme.using(threshold=0.5)
    sync = found.verify_on_sync()
    sent = world.x * (world.u > found.operating.threshold)
    rejected = (sent * np.maximum(0.0, 1.0 - world.y / world.x)).sum() / sent.sum()
    ledger = found.operating_scheme.ledger(table(world), system)
    chance = sent.sum() / world.x.sum()
    codec = system.codec
    expected = sync_break_even_risk(
        latency,
        chance,
        ledger.mean(ledger.uplink_s) / chance,
        float(packet_latency_s(system.link, codec.bits_per_index + codec.prob_bits)),
        transmitted_rejection=rejected,
        answer_bit=codec.bits_per_index,
        kept_bit=1.0,
        rejected_bit=codec.vocab_size * codec.prob_bits,
    )
    assert sync["break_even_risk"] == pytest.approx(float(expected), rel=1e-6)
