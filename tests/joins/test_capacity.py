"""The channel's functions are the derived formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from cuhlm_theory import capacity
from cuhlm_theory.errors import DivergentError
from cuhlm_theory.parameters import Link, RateTrace
from cuhlm_theory.rate_trace import packet_mean_s
from tests.joins.formula import derived, statement, value

few = settings(max_examples=25)
snrs = st.floats(1e-2, 1e4)
bands = st.floats(1e3, 1e8)
chances = st.floats(1e-4, 0.499)


@few
@given(bands, snrs)
def test_awgn_capacity(width, snr):
    expected = derived("capacity.awgn_capacity", "C", W=width, S=snr, N=1.0)
    assert float(capacity.awgn_capacity_bit_per_s(width, snr)) == pytest.approx(expected, rel=1e-12)


@few
@given(bands, snrs)
def test_rayleigh_ergodic_capacity(width, snr):
    expected = derived("capacity.rayleigh_ergodic_capacity", "Cbar", W=width, gammabar=snr)
    assert float(capacity.rayleigh_ergodic_capacity_bit_per_s(width, snr)) == pytest.approx(
        expected, rel=1e-9
    )


@few
@given(bands, snrs, chances)
def test_rayleigh_outage_capacity(width, snr, outage):
    expected = derived(
        "capacity.rayleigh_outage_capacity", "C_epsilon", W=width, gammabar=snr, epsilon=outage
    )
    got = float(capacity.rayleigh_outage_capacity_bit_per_s(width, snr, outage))
    assert got == pytest.approx(expected, rel=1e-9)


@few
@given(st.floats(0.01, 12.0), snrs)
def test_arq_success_probability(rate, snr):
    expected = derived("capacity.arq_success_probability", "p", R=rate, gammabar=snr)
    assert float(capacity.arq_success_probability(rate, snr)) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@few
@given(st.floats(1.0, 1e6), bands, st.floats(0.01, 3.0), st.floats(0.5, 1e4))
def test_arq_mean_latency(bits, width, rate, snr):
    expected = derived("capacity.arq_mean_latency", "T", B=bits, W=width, R=rate, gammabar=snr)
    got = float(capacity.arq_mean_latency_s(bits, width, snr, rate))
    assert got == pytest.approx(expected, rel=1e-9)


@few
@given(snrs)
def test_arq_spectral_efficiency(snr):
    expected = derived("capacity.arq_spectral_efficiency", "R", gammabar=snr)
    best = float(capacity.arq_spectral_efficiency(snr))
    assert best == pytest.approx(expected, rel=1e-12)
    for other in (0.9 * best, 1.1 * best):  # brute force around the optimum
        assert capacity.arq_mean_latency_s(1.0, 1.0, snr, other) > capacity.arq_mean_latency_s(
            1.0, 1.0, snr, best
        )


@few
@given(st.floats(1.0, 1e6), snrs, chances)
def test_short_packet_blocklength(bits, snr, error):
    shannon = np.log2(1.0 + snr)
    dispersion = (1.0 - (1.0 + snr) ** -2) * np.log2(np.e) ** 2
    expected = derived(
        "capacity.short_packet_blocklength", "n", B=bits, C=shannon, D=dispersion, q=norm.isf(error)
    )
    got = float(capacity.short_packet_blocklength(bits, snr, error))
    assert got == pytest.approx(expected, rel=1e-9)
    assert got > bits / shannon
    # the normal approximation itself, forwards
    carried = got * shannon - np.sqrt(got * dispersion) * norm.isf(error)
    assert carried == pytest.approx(bits, rel=1e-6, abs=1e-6)


@few
@given(snrs, bands)
def test_link_budget_adds_up_in_decibels(snr, width):
    got = capacity.received_snr(0.2, 1e-9, 4e-21, width)
    by_db = capacity.db_from_snr(0.2) + capacity.db_from_snr(1e-9) - capacity.db_from_snr(4e-21)
    assert float(capacity.db_from_snr(got)) == pytest.approx(float(by_db) - 10 * np.log10(width), abs=1e-9)
    assert float(capacity.snr_from_db(capacity.db_from_snr(snr))) == pytest.approx(snr)


@few
@given(st.floats(1.0, 1e4), st.floats(1.5, 5.0))
def test_log_distance_path_gain(distance, exponent):
    line = statement("capacity.log_distance_path_gain").claims[2].rhs
    expected = value(line, d=distance, d_0=1.0, n=exponent, g_0=1e-4)
    gain = capacity.log_distance_path_gain(distance, 1e-4, exponent)
    assert float(capacity.db_from_snr(gain)) == pytest.approx(expected, abs=1e-9)


def test_the_mean_latency_that_diverges_is_refused_and_its_parts_grow():
    with pytest.raises(DivergentError):
        capacity.rate_adaptive_mean_latency_s(690, 1e6, 10.0)
    parts = [
        quad(lambda g: np.exp(-g / 10) / 10 / np.log2(1 + g), low, 1, limit=400)[0]
        for low in (1e-2, 1e-4, 1e-6)
    ]
    # equal growth per factor of 100: a logarithm that has no limit
    assert parts[2] - parts[1] == pytest.approx(parts[1] - parts[0], rel=0.02)


@few
@given(st.floats(1.0, 1e6), bands, snrs, st.sampled_from(["awgn", "rayleigh-ergodic", "rayleigh-arq"]))
def test_mean_packet_latency_falls_with_snr_and_bandwidth(bits, width, snr, fading):
    def latency(w, g):
        return float(capacity.packet_latency_s(Link(bandwidth_hz=w, snr=g, fading=fading), bits))

    if fading == "rayleigh-ergodic":  # a mean rate is no mean latency
        return
    assert latency(width, 1.1 * snr) < latency(width, snr)
    assert latency(1.1 * width, snr) < latency(width, snr)


@few
@given(bands, snrs, chances)
def test_mean_packet_latency_repeats_what_is_lost(width, snr, outage):
    link = Link(bandwidth_hz=width, snr=snr, fading="rayleigh-outage", outage=outage)
    once = float(capacity.attempt_latency_s(link, 690))
    expected = derived("capacity.mean_packet_latency", "Tbar", T=once, epsilon=outage)
    assert float(capacity.packet_latency_s(link, 690)) == pytest.approx(expected, rel=1e-12)


@few
@given(st.floats(1e-6, 0.1), snrs, chances)
def test_a_packet_of_less_than_a_bit_still_needs_the_channel_and_an_empty_one_does_not(bits, snr, error):
    assert float(capacity.short_packet_blocklength(bits, snr, error)) > 0.0
    assert float(capacity.short_packet_blocklength(0.0, snr, error)) == 0.0


@few
@given(snrs, st.floats(1e-6, 0.999))
def test_the_part_of_a_mean_that_diverges_is_above_its_derived_bound(snr, delta):
    bound, _ = statement("capacity.rate_adaptive_divergence").claims
    part = quad(  # over the logarithm of the SNR
        lambda v: np.exp(v - np.exp(v) / snr) / snr / np.log2(1 + np.exp(v)), np.log(delta), 0, limit=200
    )[0]
    assert value(bound.lhs, B=1.0, W=1.0, gammabar=snr, delta=delta) < part


@few
@given(st.lists(bands, min_size=2, max_size=8), st.floats(1.0, 1e6))
def test_the_latency_at_the_mean_rate_is_below_the_mean_latency(rates, bits):
    tangent = statement("capacity.mean_packet_latency").claims[0]
    mean = float(np.mean(rates))
    for rate in rates:
        left = value(tangent.lhs, c=rate, m=mean)
        assert left <= value(tangent.rhs, c=rate) + 1e-12 / rate
    assert bits / mean <= float(np.mean(bits / np.array(rates))) * (1 + 1e-12)


@few
@given(bands, st.floats(1e-6, 1e-3), chances)
def test_every_capacity_vanishes_with_the_snr_in_proportion(width, snr, outage):
    small = {
        capacity.awgn_capacity_bit_per_s: 1.0,
        capacity.rayleigh_ergodic_capacity_bit_per_s: 1.0,
        lambda w, g: capacity.rayleigh_outage_capacity_bit_per_s(w, g, outage): -np.log1p(-outage),
    }
    for rate, slope in small.items():
        assert float(rate(width, snr)) == pytest.approx(width * snr * slope / np.log(2), rel=3 * snr)
        assert float(rate(width, 0.0)) == 0.0


@few
@given(bands, st.floats(1e9, 1e12), chances)
def test_every_capacity_gains_one_bit_a_doubling_of_a_high_snr(width, snr, outage):
    for rate in (
        capacity.awgn_capacity_bit_per_s,
        capacity.rayleigh_ergodic_capacity_bit_per_s,
        lambda w, g: capacity.rayleigh_outage_capacity_bit_per_s(w, g, outage),
    ):
        assert float(rate(width, 2 * snr) - rate(width, snr)) == pytest.approx(width, rel=1e-4)


@few
@given(st.lists(st.tuples(st.floats(0.1, 9.0), st.floats(1e3, 1e6)), min_size=2, max_size=6), chances)
def test_packet_across_a_change_of_rate(spans, share):
    span_s, rate = map(np.array, zip(*spans, strict=True))
    span_s[-1] = span_s[-2]  # the last rate holds as long as the one before it
    bits = share * float(np.min(span_s * rate))
    starts = [
        derived("capacity.packet_across_a_change_of_rate", "S_1", B=bits, t_1=t, r_1=first, r_2=second)
        for t, first, second in zip(span_s, rate, np.roll(rate, -1), strict=True)
    ]
    trace = RateTrace(time_s=np.cumsum(span_s) - span_s, rate_bit_per_s=rate)
    assert float(packet_mean_s(trace, bits)) == pytest.approx(sum(starts) / span_s.sum(), rel=1e-9)
    if len(spans) == 2:
        both = dict(zip(("t_1", "t_2", "r_1", "r_2"), (*span_s, *rate), strict=True))
        mean = derived("capacity.packet_across_a_change_of_rate", "E", B=bits, **both)
        assert float(packet_mean_s(trace, bits)) == pytest.approx(mean, rel=1e-9)
