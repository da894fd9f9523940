"""Latency and throughput against simulated rounds, and the published figures they make consistent or not."""

import inspect
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.headline import headline_consistency, headline_region
from cuhlm_theory.parameters import Codec, FixedRate, Latency, RateTrace, System
from cuhlm_theory.schemes import SCHEMES
from cuhlm_theory.throughput import (
    devices_served,
    floor_latency_s,
    framed,
    mean_rate_latency_ratio,
    mean_rate_speedup,
    mean_rate_token_per_s,
    rate_for_speedup_bit_per_s,
    renewal_throughput_token_per_s,
    round_latency_s,
    round_parts_s,
    skip_saves_s,
    speedup_ceiling,
    speedup_over_hlm,
    transmission_latency_s,
    transmit_probability_for_speedup,
)
from tests.worlds import random_world, recording

PLAIN = Latency(slm_s=0.02, llm_s=0.3)
FULL = Latency(slm_s=0.02, llm_s=0.3, round_trip_s=0.05, downlink_bit_per_s=1000.0, llm_per_token_s=0.004)
seconds = st.floats(1e-4, 10.0)
chances = st.floats(0.01, 0.99)


def test_what_a_skip_saves_is_what_one_pass_less_takes():
    """Passes of the server counted one by one, with and without one draft that is asked about."""

    def server_s(asks):
        seconds, waiting = 0.0, 0
        for asked in asks:
            waiting += 1
            if asked:
                parts = {"drafts": 1, "slm_catch_up": 0, "uplink_s": 0.7, "downlink_bit": 200}
                seconds += sum(round_parts_s(FULL, llm_calls=1, llm_fed=waiting, **parts)[1:])
                waiting = 0
        return seconds

    asks = np.random.default_rng(0).random(50) < 0.4
    asks[[20, -1]] = True
    without = asks.copy()
    without[20] = False
    saved = skip_saves_s(FULL, 0.7, downlink_bit=200)
    assert server_s(asks) - server_s(without) == pytest.approx(float(saved)) == pytest.approx(1.25 - 0.004)
    assert skip_saves_s(PLAIN, 0.7) == transmission_latency_s(PLAIN, 0.7)


def test_a_server_with_that_many_devices_is_just_busy():
    """Passes of every device, drawn for a while, fill the time: at 20 % more it falls behind."""
    rng, chance, rate, while_s = np.random.default_rng(1), 0.3, 2.0, 400.0
    held = float(devices_served(FULL, chance, rate))
    for more in (1.0, 1.2):
        num_tokens = round(more * held * rate * while_s)
        asks = np.flatnonzero(rng.random(num_tokens) < chance)
        widths = np.diff(asks, prepend=-1)
        busy_s = np.sum(FULL.llm.fixed_s + FULL.llm.per_token_s * widths)
        assert busy_s / while_s == pytest.approx(more, abs=0.04)
    assert devices_served(PLAIN, 0.0, 1.0) == np.inf


def test_a_transmission_costs_round_trip_uplink_llm_and_downlink():
    assert transmission_latency_s(FULL, 0.7, downlink_bit=200) == pytest.approx(0.05 + 0.7 + 0.3 + 0.2)
    assert transmission_latency_s(PLAIN, 0.7, downlink_bit=200) == pytest.approx(1.0)


def test_a_server_that_answers_nothing_spends_no_time_on_it():
    assert transmission_latency_s(FULL, 0.7) == pytest.approx(0.05 + 0.7 + 0.3)
    assert round_latency_s(FULL, 0.25, 0.7) == pytest.approx(0.02 + 0.25 * 1.05 + 0.75 * 0.004)


def test_latencies_of_any_kind_of_number_add_up_in_float64():
    got = transmission_latency_s(PLAIN, np.float32(0.7))
    assert got.dtype == np.float64
    assert got == pytest.approx(0.3 + float(np.float32(0.7)), rel=1e-15)


def test_a_round_costs_a_transmission_as_often_as_there_is_one():
    expected = 0.02 + 0.25 * (0.05 + 0.7 + 0.3 + 0.2) + 0.75 * 0.004
    assert round_latency_s(FULL, 0.25, 0.7, downlink_bit=200) == pytest.approx(expected)


def test_a_dead_link_hurts_only_who_transmits():
    np.testing.assert_allclose(round_latency_s(PLAIN, [0.0, 0.5], math.inf), [0.02, math.inf])


def test_the_two_averages_of_simulated_rounds():
    rng = np.random.default_rng(0)
    sent = rng.random(200_000) < 0.3
    duration = 0.02 + sent * 1.0
    clock_rate = len(sent) / duration.sum()
    assert renewal_throughput_token_per_s(np.ones(len(sent)), duration) == pytest.approx(clock_rate)
    kinds = ([1.0, 1.0], [1.02, 0.02], [0.3, 0.7])
    error = 4 * math.sqrt(0.21 / len(sent))
    assert 1 / clock_rate == pytest.approx(1 / float(renewal_throughput_token_per_s(*kinds)), abs=error)
    by_hand = 0.3 / 1.02 + 0.7 / 0.02
    assert mean_rate_token_per_s(*kinds) == pytest.approx(by_hand)
    assert np.mean(1 / duration) == pytest.approx(by_hand, abs=error * (50 - 1))


@given(chance=chances, up=seconds, full=seconds)
def test_speedup_is_the_ratio_of_the_two_latencies(chance, up, full):
    expected = (0.02 + full + 0.3) / (0.02 + chance * (up + 0.3))
    assert speedup_over_hlm(PLAIN, chance, up, full) == pytest.approx(expected)


@given(chance=chances, ratio=st.floats(1e-3, 1.0), full=st.floats(1e-3, 1e4))
def test_no_latency_reaches_the_ceiling(chance, ratio, full):
    assert speedup_over_hlm(PLAIN, chance, ratio * full, full) < speedup_ceiling(chance, ratio)


def test_the_ceiling_is_approached_on_a_slow_link():
    got = speedup_over_hlm(PLAIN, 0.252, 0.026 * 1e9, 1e9)
    assert got == pytest.approx(float(speedup_ceiling(0.252, 0.026)), rel=1e-6)


def test_the_published_ceilings():
    assert round(float(speedup_ceiling(1 - 0.748, 1 - 0.974)), 1) == 152.6
    assert round(float(speedup_ceiling(1 - 0.4593, 1.0)), 3) == 1.849
    assert round(float(mean_rate_speedup(0.4593, 4.35)), 2) == 2.54
    assert round(float(mean_rate_latency_ratio(0.4593, 2.54)), 2) == 4.35


@given(skip=chances, ratio=st.floats(1.0, 1e3))
def test_the_mean_rate_speedup_inverts_and_is_the_average_of_rates(skip, ratio):
    gain = float(mean_rate_speedup(skip, ratio))
    assert mean_rate_latency_ratio(skip, gain) == pytest.approx(ratio)
    rate = mean_rate_token_per_s([1.0, 1.0], [ratio, 1.0], [1 - skip, skip])
    assert gain == pytest.approx(float(rate) * ratio)


@given(chance=chances, up=seconds)
def test_the_floor_is_a_round_that_sends_an_index(chance, up):
    assert floor_latency_s(FULL, chance, up) == pytest.approx(
        0.02 + chance * (0.05 + up + 0.3) + (1 - chance) * 0.004
    )


@given(chance=chances, up=seconds, full=seconds)
def test_the_transmit_probability_for_a_speedup_inverts_the_speedup(chance, up, full):
    gain = float(speedup_over_hlm(PLAIN, chance, up, full))
    assert transmit_probability_for_speedup(gain, PLAIN, up, full) == pytest.approx(chance)


def test_a_speedup_beyond_the_device_needs_a_negative_probability():
    assert transmit_probability_for_speedup(1e6, PLAIN, 0.1, 1.0) < 0
    assert transmit_probability_for_speedup(1e-3, PLAIN, 0.1, 1.0) == 1


@given(
    gain=st.floats(0.5, 300.0),
    chance=st.floats(0.0, 1.0),
    ratio=st.floats(1e-3, 1.0),
    slm=st.floats(1e-3, 1.0),
    llm=st.floats(1e-3, 1.0),
    rate=st.floats(1e2, 1e9),
)
def test_the_rate_interval_is_where_the_speedup_holds(gain, chance, ratio, slm, llm, rate):
    latency, full = Latency(slm_s=slm, llm_s=llm, round_trip_s=0.01, llm_per_token_s=0.001), 736e3
    low, high = rate_for_speedup_bit_per_s(gain, latency, chance, ratio * full, full)
    got = float(speedup_over_hlm(latency, chance, ratio * full / rate, full / rate))
    if abs(got / gain - 1) > 1e-9:
        assert (low <= rate <= high) == (got > gain)


def test_the_rate_interval_can_be_open_above_when_hlm_itself_is_fast_enough():
    low, high = rate_for_speedup_bit_per_s(1.2, PLAIN, 0.5, 736e3, 736e3)
    assert (low, high) == (0.0, math.inf)
    low, high = rate_for_speedup_bit_per_s(0.9, PLAIN, 1.0, 2 * 736e3, 736e3)
    assert low > 0
    assert high == math.inf


@given(
    gain=st.floats(0.2, 3.0),
    chance=st.floats(0.0, 1.0),
    ratio=st.floats(0.1, 5.0),
    trip=st.floats(0.0, 1.0),
    each=st.floats(0.0, 0.3),
)
def test_the_speedup_is_the_wanted_one_at_either_end_of_the_rates(gain, chance, ratio, trip, each):
    latency = Latency(slm_s=0.2, llm_s=0.3, round_trip_s=trip, llm_per_token_s=each)
    for rate in rate_for_speedup_bit_per_s(gain, latency, chance, ratio * 1e3, 1e3):
        if 1.0 < rate < 1e6:
            got = speedup_over_hlm(latency, chance, ratio * 1e3 / rate, 1e3 / rate)
            assert got == pytest.approx(gain, rel=1e-6)


def test_where_a_fast_link_just_reaches_the_speedup_the_payloads_decide():
    """With every token sent both schemes compute for as long: what is sent decides, at any rate alike."""
    latency = Latency(slm_s=0.25, llm_s=0.5)
    for payload in (500.0, 1000.0):
        assert rate_for_speedup_bit_per_s(1.0, latency, 1.0, payload, 1000.0) == (0.0, math.inf)
    assert np.all(np.isnan(rate_for_speedup_bit_per_s(1.0, latency, 1.0, 1001.0, 1000.0)))
    # and where the payloads are even, the computing decides
    assert rate_for_speedup_bit_per_s(1.0, latency, 0.5, 2000.0, 1000.0) == (0.0, math.inf)
    assert np.all(np.isnan(rate_for_speedup_bit_per_s(2.0, latency, 1.0, 500.0, 1000.0)))


def test_rates_scale_with_the_payloads():
    per_bit = rate_for_speedup_bit_per_s(2.0, PLAIN, 0.9, 0.1, 1.0)
    assert per_bit[1] > 0.0
    for bits in (1e-3, 1e6):
        assert rate_for_speedup_bit_per_s(2.0, PLAIN, 0.9, 0.1 * bits, bits) == (
            0.0,
            pytest.approx(per_bit[1] * bits),
        )


def test_rounds_are_averaged_along_the_last_axis():
    tokens, time, weight = [[1.0, 3.0], [2.0, 2.0]], [[0.5, 1.5], [1.0, 4.0]], [[1.0, 3.0], [1.0, 1.0]]
    assert renewal_throughput_token_per_s(tokens, time, weight).tolist() == [10 / 5, 4 / 5]
    assert mean_rate_token_per_s(tokens, time, weight).tolist() == [(2 + 3 * 2) / 4, (2 + 0.5) / 2]


def test_the_abstracts_do_not_fit_one_operating_point():
    cu, u = headline_consistency()
    assert (cu.name, cu.fits, round(cu.ceiling, 1)) == ("cu-hlm", False, 152.6)
    assert (u.name, u.fits, round(u.ceiling, 3)) == ("u-hlm", False, 1.849)
    assert cu.max_transmit_probability == pytest.approx(1 / (206 * 0.026))
    assert cu.max_payload_ratio == pytest.approx(1 / (206 * 0.252))
    assert u.max_transmit_probability == pytest.approx(1 / 2.54)
    assert round(u.mean_rate_latency_ratio, 2) == 4.35
    assert (cu.speedup, cu.skip_rate, cu.compression) == (206, 0.748, 0.974)
    assert (u.speedup, u.skip_rate, u.compression) == (2.54, 0.4593, 0.0)


def test_the_headline_region_is_where_the_speedup_holds():
    codec = Codec(vocab_size=32000)
    rows = headline_region(206, [0.252, 0.1], [30, 832], [(0.01, 0.1)], bandwidths_hz=[180e3], codec=codec)
    assert [row.max_rate_bit_per_s is None for row in rows] == [False, True, False, False]
    assert rows == headline_region(206, [0.252, 0.1], [30, 832], [(0.01, 0.1)], bandwidths_hz=[180e3])
    assert {(row.speedup, row.slm_s, row.llm_s, row.bandwidths_hz) for row in rows} == {
        (206, 0.01, 0.1, (180e3,))
    }
    for row in rows:
        ratio = row.k / 32000
        assert row.ceiling == pytest.approx(1 / (row.transmit_probability * ratio))
        if row.max_rate_bit_per_s is None:
            assert row.ceiling < 206
            assert row.max_snr_db == (None,)
            continue
        rate = row.max_rate_bit_per_s
        got = speedup_over_hlm(
            Latency(slm_s=0.01, llm_s=0.1), row.transmit_probability, row.k * 23 / rate, 736e3 / rate
        )
        assert got == pytest.approx(206)
        (snr_db,) = row.max_snr_db
        assert 180e3 * math.log2(1 + 10 ** (snr_db / 10)) == pytest.approx(rate)


ARGUMENTS = {  # what a function takes, with the least and the largest value of each
    transmission_latency_s: {"uplink_s": (0, None), "downlink_bit": (0, None)},
    round_latency_s: {"transmit_probability": (0, 1), "uplink_s": (0, None), "downlink_bit": (0, None)},
    renewal_throughput_token_per_s: {"num_tokens": (0, None), "duration_s": (0, None), "weight": (0, None)},
    mean_rate_token_per_s: {"num_tokens": (0, None), "duration_s": (0, None), "weight": (0, None)},
    speedup_over_hlm: {"transmit_probability": (0, 1), "uplink_s": (0, None)},
    speedup_ceiling: {"transmit_probability": (0, 1), "payload_ratio": (0, 1)},
    mean_rate_speedup: {"skip_rate": (0, 1), "latency_ratio": (0, None)},
    mean_rate_latency_ratio: {"skip_rate": (0, 1), "speedup": (1, None)},
    floor_latency_s: {"transmit_probability": (0, 1)},
    transmit_probability_for_speedup: {"speedup": (0, None), "uplink_s": (0, None)},
    rate_for_speedup_bit_per_s: {
        "speedup": (0, None), "transmit_probability": (0, 1),
        "payload_bit": (0, None), "full_payload_bit": (0, None),
    },
}  # fmt: skip
ABOVE_ZERO = {
    speedup_ceiling: {"transmit_probability", "payload_ratio"},
    mean_rate_speedup: {"latency_ratio"},
    mean_rate_latency_ratio: {"skip_rate"},
    transmit_probability_for_speedup: {"speedup"},
    rate_for_speedup_bit_per_s: {"speedup", "payload_bit", "full_payload_bit"},
}


@pytest.mark.parametrize(
    ("function", "name"), [(function, name) for function, names in ARGUMENTS.items() for name in names]
)
def test_refuses_what_is_no_latency_share_or_size(function, name):
    good = dict.fromkeys(ARGUMENTS[function], 1.0)
    if "latency" in inspect.signature(function).parameters:
        good["latency"] = PLAIN
    for argument in ("full_uplink_s", "index_uplink_s"):
        if argument in inspect.signature(function).parameters:
            good[argument] = 1.0
    function(**good)
    least, largest = ARGUMENTS[function][name]
    bad_values = {
        math.nan: "be (finite|at least 0); got nan",
        least - 0.5: rf"(be|lie).*; got {least - 0.5:g}",
    }
    if largest is not None:
        bad_values[largest + 0.5] = rf"lie in \[0, 1\]; got {largest + 0.5:g}"
    if name in ABOVE_ZERO.get(function, ()):
        bad_values[0.0] = "be positive; got 0"
    for bad, text in bad_values.items():
        with pytest.raises(ValueError, match=f"^{name} must {text}$"):
            function(**(good | {name: bad}))


def test_the_refused_value_is_the_one_that_is_too_small():
    with pytest.raises(ValueError, match=r"^speedup must be at least 1; got 0.25$"):
        mean_rate_latency_ratio(0.5, [1.5, 1.0, 0.25])
    with pytest.raises(ValueError, match=r"^uplink_s must be at least 0; got -0.25$"):
        transmission_latency_s(PLAIN, [1.0, 0.0, -0.25])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: transmission_latency_s(PLAIN, -1.0), "uplink_s must be at least 0; got -1"),
        (lambda: transmission_latency_s(PLAIN, math.nan), "uplink_s must be at least 0; got nan"),
        (lambda: round_latency_s(PLAIN, 1.1, 0.1), r"transmit_probability must lie in \[0, 1\]"),
        (lambda: renewal_throughput_token_per_s([-1.0], [1.0]), "num_tokens must be at least 0"),
        (lambda: mean_rate_token_per_s([1.0], [1.0], [-1.0]), "weight must be at least 0"),
        (lambda: speedup_ceiling(0.0, 0.5), "transmit_probability must be positive"),
        (lambda: speedup_ceiling(0.5, 1.5), r"payload_ratio must lie in \[0, 1\]"),
        (lambda: mean_rate_speedup(0.5, 0.0), "latency_ratio must be positive"),
        (lambda: mean_rate_latency_ratio(0.5, 0.5), "speedup must be at least 1; got 0.5"),
        (lambda: transmit_probability_for_speedup(0.0, PLAIN, 1, 1), "speedup must be positive"),
        (lambda: rate_for_speedup_bit_per_s(2, PLAIN, 0.5, 0.0, 1.0), "payload_bit must be positive"),
    ],
)
def test_refusals_name_the_argument(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("name", ["hlm", "kept-law", "dssd", "verify-on-sync", "slm", "llm"])
def test_framing_is_charged_once_a_request_whatever_it_holds(name):
    """Counted request by request on recorded texts; a server that writes by itself asks nobody."""
    tokens = recording(random_world(7, num_contexts=20, vocab_size=4), num_texts=6, length=12, seed=6)
    latency = Latency(slm_s=0.01, llm_s=0.05, round_trip_s=0.02)
    system = System(link=FixedRate(rate_bit_per_s=1e4), codec=Codec(vocab_size=4), latency=latency)
    scheme = SCHEMES[name].given({"threshold": 0.3, "num_drafts": 3})
    plain, longer = (scheme.ledger(tokens, one) for one in (system, framed(system, 272.0)))
    requests = 0.0 if name == "llm" else plain.per_token(plain.answered)
    added_s = longer.per_token(longer.seconds) - plain.per_token(plain.seconds)
    assert added_s == pytest.approx(requests * 272.0 / 1e4, abs=1e-12)
    assert (requests > 0.0) == (name not in ("slm", "llm"))


def test_over_a_trace_a_frame_of_its_own_takes_no_less_than_within_its_packet():
    trace = RateTrace(time_s=[0.0, 1.0, 2.0], rate_bit_per_s=[1e3, 4e3, 5e2])
    system = System(link=trace, codec=Codec(vocab_size=4), latency=Latency(slm_s=0.01, llm_s=0.05))
    both_s = float(packet_latency_s(trace, 700.0 + 272.0))
    apart_s = float(packet_latency_s(trace, 700.0)) + framed(system, 272.0).latency.round_trip_s
    assert both_s <= apart_s < both_s + 0.1
