"""The link: every closed form against quadrature, quantiles, simulation or 40-digit arithmetic."""

import dataclasses
import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from cuhlm_theory import capacity
from cuhlm_theory.errors import CuhlmError, DivergentError, MissingInputError
from cuhlm_theory.parameters import FixedRate, Link

SNRS = st.floats(1e-4, 1e4)
WIDTHS = st.floats(1e3, 1e8)
PAYLOADS = st.floats(1.0, 1e7)
FADINGS = ["awgn", "rayleigh-ergodic", "rayleigh-outage", "rayleigh-arq", "short-packet"]


def link(fading="awgn", **changes):
    return dataclasses.replace(
        Link(bandwidth_hz=2e6, snr=7.0, outage=0.05, block_error=1e-4, fading=fading), **changes
    )


def ergodic_in_40_digits(mean_snr):
    with mpmath.workdps(40):
        x = 1 / mpmath.mpf(mean_snr)
        if x < 1e4:
            return float(mpmath.exp(x) * mpmath.e1(x) / mpmath.ln(2))
        series = mpmath.fsum((-1) ** n * mpmath.factorial(n) / x ** (n + 1) for n in range(9))
        return float(series / mpmath.ln(2))


# decibels and the link budget


@pytest.mark.parametrize(
    ("snr_db", "snr"), [(0.0, 1.0), (10.0, 10.0), (-20.0, 0.01), (3.0, 1.9952623149688795)]
)
def test_decibels_at_known_points(snr_db, snr):
    assert capacity.snr_from_db(snr_db) == pytest.approx(snr, rel=1e-15)
    assert capacity.db_from_snr(snr) == pytest.approx(snr_db, abs=1e-14)


@given(st.floats(-2900.0, 1500.0))
def test_decibels_go_there_and_back(snr_db):
    assert capacity.db_from_snr(capacity.snr_from_db(snr_db)) == pytest.approx(snr_db, abs=1e-9)


def test_decibels_of_any_kind_of_number_become_float64():
    for snr_db in (np.float32(3.0), 3, [3], "3"):
        snr = capacity.snr_from_db(snr_db)
        assert snr.dtype == np.float64
        assert snr == pytest.approx(1.9952623149688795, rel=1e-15)


def test_a_dead_link_has_minus_infinity_decibels():
    assert capacity.snr_from_db(-math.inf) == 0.0
    assert capacity.db_from_snr(0.0) == -math.inf


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1500.5])
def test_refuses_decibels_that_no_link_has(bad):
    with pytest.raises(ValueError, match=rf"^snr_db must be at most 1500; got {bad:g}$"):
        capacity.snr_from_db([0.0, bad])


def test_received_snr_of_a_link_budget_done_in_decibels():
    # 23 dBm - 110 dB - (-174 dBm/Hz + 60 dB) = 27 dB
    snr = capacity.received_snr(10**2.3 * 1e-3, 1e-11, 10**-17.4 * 1e-3, 1e6)
    assert capacity.db_from_snr(snr) == pytest.approx(27.0, abs=1e-10)


def test_log_distance_loses_ten_n_decibels_a_decade():
    gain = capacity.log_distance_path_gain([1.0, 10.0, 100.0], 1e-3, 3.5)
    np.testing.assert_allclose(10 * np.log10(gain), [-30.0, -65.0, -100.0], atol=1e-12)
    from_ten = capacity.log_distance_path_gain(100.0, 1e-3, 3.5, reference_distance_m=10.0)
    assert from_ten == pytest.approx(10**-6.5)


# Shannon


@given(WIDTHS, st.integers(1, 40))
def test_awgn_capacity_counts_the_bits_of_two_to_the_m_levels(width, m):
    assert capacity.awgn_capacity_bit_per_s(width, 2.0**m - 1) == pytest.approx(m * width, rel=1e-14)


@given(SNRS)
def test_awgn_capacity_inverts(snr):
    assert 2.0 ** float(capacity.awgn_capacity_bit_per_s(1.0, snr)) - 1 == pytest.approx(snr, rel=1e-9)


def test_awgn_capacity_keeps_its_precision_at_vanishing_snr():
    assert capacity.awgn_capacity_bit_per_s(1.0, 1e-18) == pytest.approx(1e-18 / math.log(2), rel=1e-15)
    assert capacity.awgn_capacity_bit_per_s(5.0, 0.0) == 0.0


def test_capacity_at_fixed_power_tends_to_the_wideband_limit():
    power_over_noise = 1e6  # P g / N0 [Hz]
    widths = np.array([1e5, 1e6, 1e7, 1e9])
    rates = capacity.awgn_capacity_bit_per_s(widths, capacity.received_snr(1.0, 1e-6, 1e-12, widths))
    assert np.all(np.diff(rates) > 0)
    assert rates[-1] == pytest.approx(power_over_noise / math.log(2), rel=1e-3)


# Rayleigh, ergodic


@given(st.floats(1e-3, 1e5))
def test_ergodic_capacity_is_the_mean_over_the_exponential_density(mean_snr):
    mean, error = integrate.quad(
        lambda t: math.log2(1 + mean_snr * t) * math.exp(-t), 0, np.inf, epsabs=0, epsrel=1e-9
    )
    got = float(capacity.rayleigh_ergodic_capacity_bit_per_s(3.0, mean_snr))
    assert got == pytest.approx(3.0 * mean, rel=1e-8, abs=3 * error)


@pytest.mark.parametrize(
    "mean_snr",
    [1e-305, 1e-200, 1e-9, 1e-4, 0.005, 1 / 101, 1 / 99.99, 0.03, 0.1, 0.15, 1.0, 10.0, 1e3, 1e9, 1e150],
)
def test_ergodic_capacity_to_the_last_digits(mean_snr):
    got = float(capacity.rayleigh_ergodic_capacity_bit_per_s(1.0, mean_snr))
    assert got == pytest.approx(ergodic_in_40_digits(mean_snr), rel=3e-15)


@given(SNRS)
def test_fading_costs_rate_on_average(mean_snr):
    fading = capacity.rayleigh_ergodic_capacity_bit_per_s(1.0, mean_snr)
    assert 0 < fading < capacity.awgn_capacity_bit_per_s(1.0, mean_snr)


def test_ergodic_capacity_at_high_snr_loses_eulers_constant():
    loss = math.log2(1e12) - float(capacity.rayleigh_ergodic_capacity_bit_per_s(1.0, 1e12))
    assert loss == pytest.approx(np.euler_gamma / math.log(2), rel=1e-9)


@pytest.mark.parametrize("mean_snr", [0.0, 5e-324, 1e-310])
def test_ergodic_capacity_of_a_dying_link_goes_to_zero_linearly(mean_snr):
    got = float(capacity.rayleigh_ergodic_capacity_bit_per_s(8.0, mean_snr))
    assert got == pytest.approx(8.0 * mean_snr / math.log(2), rel=1e-9, abs=1e-323)


def test_the_mean_latency_of_a_rate_adaptive_link_grows_without_end():
    def truncated(floor):  # E[1/C; SNR > floor], mean SNR 2
        return integrate.quad(lambda v: math.exp(v - math.exp(v) / 2) / 2 / math.log2(1 + math.exp(v)),
                              math.log(floor), 6)[0]  # fmt: skip

    per_decade = math.log(2) * math.log(10) / 2
    assert truncated(1e-7) - truncated(1e-6) == pytest.approx(per_decade, rel=1e-5)
    assert truncated(1e-8) - truncated(1e-7) == pytest.approx(per_decade, rel=1e-6)


def test_refuses_a_mean_that_diverges_and_names_the_knobs():
    with pytest.raises(DivergentError) as caught:
        capacity.rate_adaptive_mean_latency_s([0.0, 690.0], 1e6, 10.0)
    assert str(caught.value) == (
        "fading must be rayleigh-arq, or rayleigh-outage, for a finite mean latency: that of a rate-adaptive "
        "link over Rayleigh fading is infinite for every payload above 0 bit (got 690 bit), because deep "
        "fades weigh as 1/SNR"
    )
    assert isinstance(caught.value, CuhlmError)


def test_even_a_fraction_of_a_bit_diverges_but_nothing_takes_no_time():
    with pytest.raises(DivergentError):
        capacity.rate_adaptive_mean_latency_s(1e-9, 1e6, 10.0)
    np.testing.assert_array_equal(
        capacity.rate_adaptive_mean_latency_s(np.zeros((2, 1)), 1e6, np.ones(3)), np.zeros((2, 3))
    )


# Rayleigh, outage


@given(SNRS, st.floats(1e-6, 0.999))
def test_outage_capacity_fails_exactly_with_the_outage_probability(mean_snr, outage):
    rate = float(capacity.rayleigh_outage_capacity_bit_per_s(1.0, mean_snr, outage))
    needed = 2.0**rate - 1
    assert stats.expon(scale=mean_snr).cdf(needed) == pytest.approx(outage, rel=1e-6)


def test_outage_capacity_grows_with_what_may_be_lost():
    rates = capacity.rayleigh_outage_capacity_bit_per_s(2.0, 10.0, [1e-12, 0.01, 0.5, 1 - 1e-12])
    assert np.all(np.diff(rates) > 0)
    assert rates[0] == pytest.approx(2.0 * 10.0 * 1e-12 / math.log(2), rel=1e-9)


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.1, 1.5])
def test_refuses_an_outage_that_is_none(bad):
    with pytest.raises(ValueError, match=rf"^outage must lie in \(0, 1\); got {bad:g}$"):
        capacity.rayleigh_outage_capacity_bit_per_s(1.0, 1.0, [0.5, bad])


# Rayleigh, repeated until received


@given(st.floats(0.0, 20.0), SNRS)
def test_success_probability_is_the_tail_of_the_snr(rate, mean_snr):
    tail = stats.expon(scale=mean_snr).sf(2.0**rate - 1)
    assert capacity.arq_success_probability(rate, mean_snr) == pytest.approx(tail, rel=1e-9, abs=1e-300)


def test_success_probability_at_its_limits():
    assert capacity.arq_success_probability(0.0, 0.0) == 1.0
    assert capacity.arq_success_probability(0.0, 5.0) == 1.0
    assert capacity.arq_success_probability(1.0, 0.0) == 0.0
    assert capacity.arq_success_probability(1e5, 1e150) == 0.0


@given(st.floats(1e-6, 1e8))
def test_the_best_rate_beats_a_brute_force_search(mean_snr):
    best = float(capacity.arq_spectral_efficiency(mean_snr))
    found = optimize.minimize_scalar(
        lambda log_rate: (2.0 ** math.exp(log_rate) - 1) / mean_snr - log_rate,  # -ln(R p)
        bounds=(math.log(best) - 3, math.log(best) + 1.5),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert math.exp(found.x) == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("mean_snr", [0.0, 1e-3, 1.0, math.e, 2 * math.e**2, 1e6])
def test_the_best_rate_solves_its_lambert_equation(mean_snr):
    w = float(capacity.arq_spectral_efficiency(mean_snr)) * math.log(2)
    assert w * math.exp(w) == pytest.approx(mean_snr, rel=1e-13)


def test_repeating_takes_as_long_as_a_simulation_of_it():
    rng = np.random.default_rng(7)
    bits, width, mean_snr, rate = 690.0, 1e5, 4.0, 2.5
    gains = rng.exponential(mean_snr, size=(20_000, 60))
    received = width * np.log2(1 + gains) >= width * rate
    assert received.any(axis=1).all()
    times = (received.argmax(axis=1) + 1) * bits / (width * rate)
    standard_error = times.std() / math.sqrt(times.size)
    got = float(capacity.arq_mean_latency_s(bits, width, mean_snr, rate))
    assert abs(times.mean() - got) < 4 * standard_error
    assert standard_error < 0.01 * got


@given(SNRS, st.floats(0.01, 12.0))
def test_no_fixed_rate_is_faster_than_the_best_one(mean_snr, rate):
    best = capacity.arq_mean_latency_s(690.0, 1e6, mean_snr)
    assert best <= capacity.arq_mean_latency_s(690.0, 1e6, mean_snr, rate) * (1 + 1e-12)


def test_repeating_at_its_limits():
    assert capacity.arq_mean_latency_s(0.0, 1e6, 0.0) == 0.0
    assert capacity.arq_mean_latency_s(1.0, 1e6, 0.0) == math.inf
    assert capacity.arq_mean_latency_s(1.0, 1e6, 5.0, 0.0) == math.inf
    assert capacity.arq_mean_latency_s(1.0, 1e6, 5.0, 2000.0) == math.inf


# short packets


@given(PAYLOADS, SNRS, st.floats(1e-9, 0.49))
def test_blocklength_put_back_into_the_normal_approximation_gives_the_bits(bits, snr, block_error):
    n = float(capacity.short_packet_blocklength(bits, snr, block_error))
    dispersion = (1 - (1 + snr) ** -2) * math.log2(math.e) ** 2
    back = n * math.log2(1 + snr) - math.sqrt(n * dispersion) * stats.norm.isf(block_error)
    assert back == pytest.approx(bits, rel=1e-7)


@given(PAYLOADS, SNRS)
def test_short_packets_are_slower_than_shannon_and_approach_it(bits, snr):
    shannon = bits / float(capacity.awgn_capacity_bit_per_s(1e6, snr))
    ten, half = (float(capacity.short_packet_latency_s(bits, 1e6, snr, e)) for e in (0.1, 0.5 - 1e-12))
    assert ten > shannon
    assert half == pytest.approx(shannon, rel=1e-6)


def test_overhead_of_the_690_bit_packet_against_the_whole_distribution():
    n = capacity.short_packet_blocklength([690.0, 736_000.0], 10.0, 1e-3)
    overhead = n * math.log2(11) / [690.0, 736_000.0] - 1
    np.testing.assert_allclose(overhead, [0.0950964, 0.00278629], rtol=1e-5)


def test_short_packet_latency_is_one_channel_use_a_second_and_hertz():
    n = capacity.short_packet_blocklength(690.0, 2.0, 0.01)
    assert capacity.short_packet_latency_s(690.0, 1e5, 2.0, 0.01) == pytest.approx(float(n) / 1e5)


def test_short_packets_at_their_limits():
    assert capacity.short_packet_blocklength(0.0, 3.0, 0.01) == 0.0
    assert capacity.short_packet_blocklength(0.0, 0.0, 0.01) == 0.0
    assert capacity.short_packet_blocklength(1.0, 0.0, 0.01) == math.inf
    assert capacity.short_packet_blocklength(1.0, 1e150, 0.01) > 0  # nothing overflows
    # n is a function of B / SNR and of Q^-1(eps) / SNR^(1/2) as the SNR vanishes
    tiny = float(capacity.short_packet_blocklength(100.0, 1e-14, 0.01))
    assert tiny == pytest.approx(100 * float(capacity.short_packet_blocklength(100.0, 1e-12, 0.01)), rel=1e-9)


@pytest.mark.parametrize("bad", [0.0, 0.5, 0.7, -1.0])
def test_refuses_a_block_error_that_no_code_has(bad):
    with pytest.raises(ValueError, match=rf"^block_error must lie in \(0, 0.5\); got {bad:g}$"):
        capacity.short_packet_blocklength(1.0, 1.0, bad)


# one link, any fading


def test_limits_are_taken_quietly_even_where_numpy_raises():
    with np.errstate(all="raise"):
        assert capacity.db_from_snr(0.0) == -math.inf
        assert capacity.rayleigh_ergodic_capacity_bit_per_s(1.0, 0.0) == 0.0
        assert capacity.arq_success_probability([1e5, 12.0, 1.0], [1e150, 1.0, 0.0]).tolist() == [0.0] * 3
        assert capacity.short_packet_blocklength([0.0, 1.0, 1e150], [0.0, 0.0, 1e-200], 0.1).tolist() == [
            0.0,
            math.inf,
            math.inf,
        ]
    assert capacity.arq_mean_latency_s(1e10, 1e6, 1e-320) == math.inf  # B / rate overflows


def test_the_rate_of_a_link_is_that_of_its_fading():
    expected = {
        "awgn": 2e6 * 3.0,
        "rayleigh-ergodic": 2e6 * ergodic_in_40_digits(7.0),
        "rayleigh-outage": 2e6 * math.log2(1 - 7.0 * math.log(0.95)),
    }
    for fading, rate in expected.items():
        assert capacity.rate_bit_per_s(link(fading)) == pytest.approx(rate, rel=1e-12)
        assert capacity.attempt_latency_s(link(fading), 690.0) == pytest.approx(690.0 / rate, rel=1e-12)


def test_the_rate_of_repetition_is_its_goodput():
    got = float(capacity.rate_bit_per_s(link("rayleigh-arq")))
    grid = np.linspace(0.5, 5.0, 20_001)
    assert got == pytest.approx(2e6 * np.max(grid * np.exp(-(2**grid - 1) / 7.0)), rel=1e-8)
    repeated = float(capacity.arq_mean_latency_s(690.0, 2e6, 7.0))
    assert capacity.attempt_latency_s(link("rayleigh-arq"), 690.0) == pytest.approx(repeated, rel=1e-14)
    assert 690.0 / got == pytest.approx(repeated, rel=1e-14)


def test_the_rate_of_a_short_packet_depends_on_its_size():
    bits = np.array([0.0, 690.0, 736_000.0])
    rates = capacity.rate_bit_per_s(link("short-packet"), bits)
    times = capacity.attempt_latency_s(link("short-packet"), bits)
    np.testing.assert_array_equal(times, capacity.short_packet_latency_s(bits, 2e6, 7.0, 1e-4))
    assert rates[0] == 0.0
    np.testing.assert_allclose(rates[1:] * times[1:], bits[1:], rtol=1e-13)
    assert rates[1] < rates[2] < 6e6
    strong = link("short-packet", snr=1e6)  # one bit in less than one channel use
    assert capacity.rate_bit_per_s(strong, 1.0) == pytest.approx(
        1 / float(capacity.attempt_latency_s(strong, 1.0))
    )
    with pytest.raises(
        MissingInputError, match=r"^the rate of a short packet depends on its size: give bits$"
    ):
        capacity.rate_bit_per_s(link("short-packet"))


@pytest.mark.parametrize("fading", FADINGS)
def test_latency_grows_with_bits_and_falls_with_snr_and_bandwidth(fading):
    bits = np.array([[0.0, 0.5], [690.0, 736_000.0]])
    times = capacity.attempt_latency_s(link(fading), bits)
    assert times.shape == bits.shape
    assert times.dtype == np.float64
    assert times[0, 0] == 0.0
    assert np.all(np.diff(times.ravel()) > 0)
    assert np.all(capacity.attempt_latency_s(link(fading, snr=8.0), bits).ravel()[1:] < times.ravel()[1:])
    np.testing.assert_allclose(capacity.attempt_latency_s(link(fading, bandwidth_hz=4e6), bits), times / 2)


@pytest.mark.parametrize("fading", FADINGS)
def test_a_dead_link_takes_for_ever_except_for_nothing(fading):
    dead = link(fading, snr=0.0)
    np.testing.assert_array_equal(capacity.attempt_latency_s(dead, [0.0, 1.0]), [0.0, math.inf])
    assert capacity.rate_bit_per_s(dead, 1.0) == 0.0


@pytest.mark.parametrize("fading", FADINGS)
@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_refuses_bits_that_no_packet_has(fading, bad):
    for function in (capacity.attempt_latency_s, capacity.rate_bit_per_s, capacity.packet_latency_s):
        with pytest.raises(ValueError, match=r"^bits must be (finite|at least 0); got"):
            function(link(fading), bad)


def test_mean_latency_repeats_what_is_lost():
    outage_rate = math.log2(1 - 7.0 * math.log(0.95))
    for fading, bits, expected in [
        ("awgn", 6e6, 1.0),
        ("rayleigh-arq", 690.0, float(capacity.arq_mean_latency_s(690.0, 2e6, 7.0))),
        ("rayleigh-outage", 690.0, float(capacity.arq_mean_latency_s(690.0, 2e6, 7.0, outage_rate))),
        ("short-packet", 690.0, float(capacity.short_packet_latency_s(690.0, 2e6, 7.0, 1e-4)) / (1 - 1e-4)),
    ]:
        assert capacity.packet_latency_s(link(fading), bits) == pytest.approx(expected, rel=1e-12)


def test_the_ergodic_link_has_a_latency_but_no_mean_latency():
    assert math.isfinite(float(capacity.attempt_latency_s(link("rayleigh-ergodic"), 690.0)))
    with pytest.raises(DivergentError, match="rayleigh-arq"):
        capacity.packet_latency_s(link("rayleigh-ergodic"), 690.0)
    assert capacity.packet_latency_s(link("rayleigh-ergodic"), 0.0) == 0.0


# refusals

GOOD = {
    "bits": 690.0, "bandwidth_hz": 1e6, "snr": 3.0, "mean_snr": 3.0, "outage": 0.1, "block_error": 0.1,
    "spectral_efficiency": 1.0, "tx_power_w": 1.0, "path_gain": 1.0, "noise_psd_w_per_hz": 1.0,
    "distance_m": 2.0, "reference_gain": 1.0, "exponent": 2.0, "reference_distance_m": 1.0,
}  # fmt: skip
POSITIVE = {"bandwidth_hz", "noise_psd_w_per_hz", "distance_m", "reference_distance_m"}
TAKES = {
    "db_from_snr": ["snr"],
    "received_snr": ["tx_power_w", "path_gain", "noise_psd_w_per_hz", "bandwidth_hz"],
    "log_distance_path_gain": ["distance_m", "reference_gain", "exponent", "reference_distance_m"],
    "awgn_capacity_bit_per_s": ["bandwidth_hz", "snr"],
    "rayleigh_ergodic_capacity_bit_per_s": ["bandwidth_hz", "mean_snr"],
    "rayleigh_outage_capacity_bit_per_s": ["bandwidth_hz", "mean_snr", "outage"],
    "arq_success_probability": ["spectral_efficiency", "mean_snr"],
    "arq_spectral_efficiency": ["mean_snr"],
    "arq_mean_latency_s": ["bits", "bandwidth_hz", "mean_snr", "spectral_efficiency"],
    "rate_adaptive_mean_latency_s": ["bits", "bandwidth_hz", "mean_snr"],
    "short_packet_blocklength": ["bits", "snr", "block_error"],
    "short_packet_latency_s": ["bits", "bandwidth_hz", "snr", "block_error"],
}
CASES = [(function, name) for function, names in TAKES.items() for name in names]


@pytest.mark.parametrize(("function", "name"), CASES)
def test_refuses_what_is_not_physical(function, name):
    good = {key: GOOD[key] for key in TAKES[function]}
    if function == "rate_adaptive_mean_latency_s":
        good["bits"] = 0.0
    getattr(capacity, function)(**good)
    bad_values = {math.nan: "be finite; got nan", math.inf: "be finite; got inf", "x": "be numbers; got 'x'"}
    bound = {"outage": r"lie in \(0, 1\)", "block_error": r"lie in \(0, 0.5\)"}
    bad_values[-0.5] = f"{bound.get(name, 'be positive' if name in POSITIVE else 'be at least 0')}; got -0.5"
    if name in POSITIVE:
        bad_values[0.0] = "be positive; got 0"
    for bad, text in bad_values.items():
        with pytest.raises(ValueError, match=f"^{name} must {text}$"):
            getattr(capacity, function)(**(good | {name: bad}))


@pytest.mark.parametrize("function", TAKES)
def test_arguments_broadcast(function):
    shape = (2, 1, 3)
    arguments = {name: np.full((1, 3), GOOD[name]) for name in TAKES[function]}
    if function == "rate_adaptive_mean_latency_s":
        arguments["bits"] = np.zeros((1, 3))
    first = TAKES[function][0]
    arguments[first] = np.broadcast_to(arguments[first], shape)
    got = getattr(capacity, function)(**arguments)
    assert got.shape == shape
    assert got.dtype == np.float64
    one = getattr(capacity, function)(**{name: value.flat[0] for name, value in arguments.items()})
    assert one.shape == ()
    np.testing.assert_array_equal(got, np.full(shape, float(one)))


def test_a_link_of_one_rate_carries_bits_at_it():
    link = FixedRate(rate_bit_per_s=2e6)
    bits = np.array([0.0, 1.0, 736_000.0])
    assert capacity.rate_bit_per_s(link) == capacity.rate_bit_per_s(link, bits) == 2e6
    same = Link(bandwidth_hz=1e6, snr=3.0)  # W log2(1 + 3)
    for latency_s in (capacity.attempt_latency_s, capacity.packet_latency_s):
        np.testing.assert_allclose(latency_s(link, bits), bits / 2e6, rtol=1e-15)
        np.testing.assert_allclose(latency_s(link, bits), latency_s(same, bits), rtol=1e-15)
    with pytest.raises(ValueError, match="bits must be at least 0"):
        capacity.attempt_latency_s(link, -1.0)
