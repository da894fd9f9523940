"""Latency and throughput are the derived ones, and rise and fall as derived."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cuhlm_theory import throughput
from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.parameters import Codec, FixedRate, Latency, Link
from cuhlm_theory.payload import distribution_bit
from tests.joins.formula import derived, statement, value
from tests.test_phases import SYSTEM, at_rate, few_phases

few = settings(max_examples=25)
seconds = st.floats(0.001, 10.0)
shares = st.floats(0.01, 0.99)


@few
@given(seconds, seconds, seconds, shares, shares)
def test_round_latency(slm, llm, up, chance, part):
    tau = Latency(slm_s=slm, llm_s=llm, llm_per_token_s=part * llm)
    expected = value(
        statement("throughput.round_latency").claims[0].rhs,
        tau_SLM=slm,
        tau_LLM=llm,
        tau_k=up,
        p=chance,
        t_1=part * llm,
    )
    assert float(throughput.round_latency_s(tau, chance, up)) == pytest.approx(expected)
    plain = Latency(slm_s=slm, llm_s=llm)
    added = value(statement("throughput.transmission_latency").claims[0].rhs, tau_LLM=llm, tau_k=up)
    assert float(throughput.transmission_latency_s(plain, up)) == pytest.approx(added)


@few
@given(seconds, seconds, seconds, seconds, st.floats(1.0, 1e6), st.floats(1.0, 1e6))
def test_transmission_latency_adds_what_was_left_out(slm, llm, up, trip, bits, rate):
    tau = Latency(slm_s=slm, llm_s=llm, round_trip_s=trip, downlink_bit_per_s=rate)
    got = float(throughput.transmission_latency_s(tau, up, downlink_bit=bits))
    assert got == pytest.approx(trip + up + llm + bits / rate)


@few
@given(st.floats(1.0, 1e6), st.floats(1.0, 1e4), st.floats(1e3, 1e7), seconds)
def test_a_frame_is_a_longer_round_trip(payload, frame, rate, trip):
    latency = Latency(slm_s=0.01, llm_s=0.1, round_trip_s=trip)
    system = replace(SYSTEM, link=FixedRate(rate_bit_per_s=rate), latency=latency)
    got = throughput.framed(system, frame)
    expected = value(
        statement("throughput.headers").claims[0].lhs, B=payload, F=frame, v=1.0 / rate, tau_rtt=trip
    )
    assert float(packet_latency_s(got.link, payload)) + got.latency.round_trip_s == pytest.approx(expected)
    assert throughput.framed(system, 0.0) == system


@few
@given(st.lists(st.tuples(st.floats(0.1, 5), seconds, st.floats(0.1, 1)), min_size=2, max_size=6))
def test_renewal_throughput_is_tokens_over_time_and_below_the_mean_rate(rounds):
    tokens, time, weight = (np.array(column) for column in zip(*rounds, strict=True))
    mean_tokens, mean_time = np.average(tokens, weights=weight), np.average(time, weights=weight)
    rate = statement("throughput.renewal_throughput").claims[0].rhs
    got = float(throughput.renewal_throughput_token_per_s(tokens, time, weight))
    assert got == pytest.approx(value(rate, Nbar=mean_tokens, Dbar=mean_time))
    ones = np.ones_like(time)
    assert float(throughput.mean_rate_token_per_s(ones, time, weight)) >= 1 / mean_time - 1e-12
    assert float(throughput.mean_rate_token_per_s(tokens, time, weight)) == pytest.approx(
        float(np.average(tokens / time, weights=weight))
    )


@few
@given(shares, st.floats(1.0, 50.0))
def test_mean_rate_speedup_and_back(skip, ratio):
    forward, back = statement("throughput.mean_rate_speedup").claims[:2]
    speed = float(throughput.mean_rate_speedup(skip, ratio))
    assert speed == pytest.approx(value(forward.rhs, s=skip, r=ratio))
    assert value(back.rhs, s=skip, G=speed) == pytest.approx(ratio)
    assert float(throughput.mean_rate_latency_ratio(skip, speed)) == pytest.approx(ratio)


@few
@given(seconds, seconds, seconds, seconds, shares, shares)
def test_speedup_its_ceiling_and_its_inverse(slm, llm, one, two, chance, part):
    up, full = min(one, two), max(one, two)
    tau = Latency(slm_s=slm, llm_s=llm)
    gain = float(throughput.speedup_over_hlm(tau, chance, up, full))
    claim = statement("throughput.speedup_ceiling").claims[0]
    numbers = {"tau_SLM": slm, "tau_LLM": llm, "tau_k": up, "tau_V": full, "p": chance}
    assert gain == pytest.approx(value(claim.lhs, **numbers))
    ceiling = float(throughput.speedup_ceiling(chance, up / full))
    assert ceiling == pytest.approx(value(claim.rhs, **numbers))
    assert gain < ceiling
    tau = Latency(slm_s=slm, llm_s=llm, llm_per_token_s=part * llm)
    gain = float(throughput.speedup_over_hlm(tau, chance, up, full))
    seconds = {"tau_SLM": slm, "tau_k": up, "tau_V": full, "t_0": (1 - part) * llm, "t_1": part * llm}
    share = derived("throughput.transmit_probability_for_speedup", "p", G=gain, **seconds)
    assert share == pytest.approx(chance)
    assert float(throughput.transmit_probability_for_speedup(gain, tau, up, full)) == pytest.approx(chance)


@few
@given(seconds, seconds, seconds, seconds, shares)
def test_speedup_falls_with_share_and_packet(slm, llm, one, two, chance):
    up, full = min(one, two), max(one, two)
    tau = Latency(slm_s=slm, llm_s=llm)
    gain = float(throughput.speedup_over_hlm(tau, chance, up, full))
    assert float(throughput.speedup_over_hlm(tau, min(1.01 * chance, 1.0), up, full)) < gain
    assert float(throughput.speedup_over_hlm(tau, chance, 1.01 * up, full)) < gain
    assert float(throughput.speedup_over_hlm(tau, chance, up, 1.01 * full)) > gain


@few
@given(seconds, seconds, st.floats(10, 1e4), st.floats(1.0, 1e3), shares)
def test_speedup_limits_are_the_derived_ones(slm, llm, bits, more, chance):
    tau, full = Latency(slm_s=slm, llm_s=llm), bits * more
    slow, fast = (claim.rhs for claim in statement("throughput.speedup_over_hlm").claims[:2])
    numbers = {"B_k": bits, "B_V": full, "p": chance, "tau_SLM": slm, "tau_LLM": llm}

    def at(rate):
        return float(throughput.speedup_over_hlm(tau, chance, bits / rate, full / rate))

    assert at(1e-9) == pytest.approx(value(slow, **numbers), rel=1e-6)
    assert at(1e15) == pytest.approx(value(fast, **numbers), rel=1e-6)


@few
@given(seconds, seconds, seconds, st.floats(0.0, 5.0), shares)
def test_nothing_is_below_the_floor(slm, llm, index, extra, chance):
    tau = Latency(slm_s=slm, llm_s=llm)
    floor = float(throughput.floor_latency_s(tau, chance, index))
    assert floor == pytest.approx(slm + chance * (llm + index))
    assert float(throughput.round_latency_s(tau, chance, index + extra)) >= floor


@few
@given(st.floats(1.5, 300.0), seconds, seconds, shares, st.floats(10, 1e4), st.floats(1.0, 1e4))
def test_rates_at_which_a_speedup_is_reached(gain, slm, llm, chance, bits, more):
    full = bits * more
    tau = Latency(slm_s=slm, llm_s=llm)
    low, high = throughput.rate_for_speedup_bit_per_s(gain, tau, chance, bits, full)
    spare = full - gain * chance * bits
    needed = gain * (slm + chance * llm) - (slm + llm)
    assume(abs(spare) > 1e-6 * full and abs(needed) > 1e-6)
    if needed > 0 and spare > 0:
        assert (low, high) == (
            0.0,
            pytest.approx(derived("throughput.rate_for_speedup", "C", n=needed, d=spare)),
        )

        def reach(rate):
            return float(throughput.speedup_over_hlm(tau, chance, bits / rate, full / rate))

        assert reach(0.99 * high) > gain > reach(1.01 * high)
    elif needed > 0:
        assert math.isnan(low)
        assert math.isnan(high)


@few
@given(
    st.sampled_from(["awgn", "rayleigh-outage", "rayleigh-arq", "short-packet"]),
    st.floats(0.1, 100.0),
    st.integers(1, 30_000),
    st.floats(0.05, 0.9),
)
def test_throughput_rises_with_snr_and_falls_with_k_and_the_share_transmitted(fading, snr, k, chance):
    tau, codec = Latency(slm_s=0.01, llm_s=0.1), Codec(vocab_size=32_000)

    def rate(snr, k, chance):
        packet = packet_latency_s(Link(bandwidth_hz=1e6, snr=snr, fading=fading), distribution_bit(codec, k))
        return 1.0 / float(throughput.round_latency_s(tau, chance, packet))

    here = rate(snr, k, chance)
    assert rate(1.1 * snr, k, chance) > here
    assert rate(snr, k + 1, chance) < here
    assert rate(snr, k, 1.05 * chance) < here
    # no link: only what is kept; a perfect one: only computing
    assert rate(1e-12, k, chance) < 1e-3 * here
    fastest = 1.0 / (0.01 + 0.1 * chance)
    assert here < fastest
    assert rate(1e15, 1, chance) == pytest.approx(fastest, rel=1e-2)


@given(st.floats(1e2, 1e8), st.floats(0.0, 2.0))
@few
def test_a_setting_takes_the_derived_plane_over_every_link(rate, trip):
    tokens, found = few_phases()
    plane = statement("throughput.phase_regions").claims[0].rhs
    latency = replace(SYSTEM.latency, round_trip_s=trip)
    system = replace(SYSTEM, link=FixedRate(rate_bit_per_s=rate), latency=latency)
    for place in range(0, len(found.schemes), 97):
        expected = value(
            plane,
            cbar=found.compute_s[place],
            bbar=found.uplink_bit[place],
            nbar=found.round_trips[place],
            v=1.0 / rate,
            tau_rtt=trip,
        )
        ledger = at_rate(found.schemes[place], rate).ledger(tokens, system)
        assert ledger.outcome().latency_s == pytest.approx(expected, rel=1e-9)
        assert found.latency_s(rate, trip, math.inf)[place] == pytest.approx(expected, rel=1e-9)
