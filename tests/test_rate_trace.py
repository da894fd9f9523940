"""A link whose rate varies: packets one by one, their mean, and what the theory makes of it."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuhlm_theory import capacity
from cuhlm_theory.optimisation import operating_point
from cuhlm_theory.parameters import Budget, Codec, FixedRate, Latency, RateTrace, System
from cuhlm_theory.rate_trace import packet_end_s, packet_mean_s, read_rate_trace
from cuhlm_theory.schemes import SCHEMES
from cuhlm_theory.schemes.ledger import resync_bit_per_skip, resync_s_per_skip
from tests.worlds import random_world, table

SPANS = st.lists(
    st.tuples(st.floats(0.01, 5.0), st.one_of(st.just(0.0), st.floats(1e2, 1e7))), min_size=2, max_size=9
).filter(lambda spans: any(rate for _, rate in spans))


def traced(spans):
    span_s, rate = map(np.array, zip(*spans, strict=True))
    return RateTrace(time_s=np.cumsum(span_s) - span_s, rate_bit_per_s=rate)


def sent_step_by_step(trace, start_s, bits):
    """Walk through the spans with what is left of a packet."""
    turn, place = divmod(start_s, trace.period_s)
    turn, span = int(turn), max(int(np.searchsorted(trace.edge_s, place, side="right")) - 1, 0)
    at = place
    while True:
        rate, end = trace.rate_bit_per_s[span], trace.edge_s[span + 1]
        if rate * (end - at) >= bits:
            return turn * trace.period_s + at + bits / rate
        bits, at, span = bits - rate * (end - at), end, span + 1
        if span == len(trace.rate_bit_per_s):
            turn, span, at = turn + 1, 0, 0.0


@given(SPANS, st.floats(0.0, 3.0), st.floats(1e-3, 2.7))
def test_a_packet_is_through_when_a_walk_through_the_rates_says_so(spans, start, share):
    trace = traced(spans)
    bits, start_s = share * float(trace.carried_bit[-1]), start * trace.period_s
    walked = sent_step_by_step(trace, start_s, bits)
    assert float(packet_end_s(trace, start_s, bits)) == pytest.approx(walked, rel=1e-6, abs=1e-6)


@settings(max_examples=40)
@given(SPANS, st.sampled_from([1e-6, 0.0137, 0.4141, 0.9973, 1.7321, 3.0103]))
def test_the_mean_over_a_trace_is_that_of_packets_at_random_times(spans, share):
    trace = traced(spans)
    bits, num = share * float(trace.carried_bit[-1]), 100_000
    start_s = (np.arange(num) + np.random.default_rng(0).random(num)) / num * trace.period_s
    lasts_s = packet_end_s(trace, start_s, bits) - start_s
    # one start a stratum: the error is that of strata that meet a jump or a kink
    assert float(packet_mean_s(trace, bits)) == pytest.approx(lasts_s.mean(), rel=1e-3)


@given(st.floats(1e2, 1e9), st.floats(0.0, 1e7))
def test_over_a_rate_that_never_changes_it_is_that_of_the_rate(rate, bits):
    trace = RateTrace(time_s=[0.0, 1.0, 3.0], rate_bit_per_s=[rate] * 3)
    alone = capacity.packet_latency_s(FixedRate(rate_bit_per_s=rate), bits)
    assert float(capacity.packet_latency_s(trace, bits)) == pytest.approx(float(alone), rel=1e-9)
    assert float(capacity.rate_bit_per_s(trace)) == pytest.approx(rate)


def test_short_packets_see_the_mean_of_the_inverse_rate_and_long_ones_the_mean_rate():
    trace = capacity.rayleigh_block_trace(
        1e6, 10.0, coherence_s=0.01, num_blocks=400, rng=np.random.default_rng(3)
    )
    short, long = 1.0, 1e8
    inverse = float(np.mean(1.0 / trace.rate_bit_per_s))
    assert float(packet_mean_s(trace, short)) == pytest.approx(short * inverse, rel=1e-2)
    assert float(packet_mean_s(trace, long)) == pytest.approx(long / trace.mean_bit_per_s, rel=1e-3)
    assert inverse > 1.1 / trace.mean_bit_per_s


def test_block_fading_has_the_ergodic_capacity_as_its_mean_rate():
    drawn = {"coherence_s": 0.5, "num_blocks": 40_000}
    trace = capacity.rayleigh_block_trace(2e6, 7.0, **drawn, rng=np.random.default_rng(0))
    ergodic = float(capacity.rayleigh_ergodic_capacity_bit_per_s(2e6, 7.0))
    error = np.std(trace.rate_bit_per_s) / math.sqrt(drawn["num_blocks"])
    assert trace.mean_bit_per_s == pytest.approx(ergodic, abs=4.0 * error)
    again = capacity.rayleigh_block_trace(2e6, 7.0, **drawn, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(trace.rate_bit_per_s, again.rate_bit_per_s)


# what the theory makes of it


TOKENS = table(random_world(0, num_contexts=8, vocab_size=64))


def system(coherence_s):
    """A device on a link that fades in blocks of a given length."""
    trace = capacity.rayleigh_block_trace(
        2e4, 3.0, coherence_s=coherence_s, num_blocks=500, rng=np.random.default_rng(5)
    )
    return System(
        link=trace,
        codec=Codec(vocab_size=64),
        latency=Latency(slm_s=0.01, llm_s=0.05),
    )


def rounds(ledger, num, rng):
    """Bits and seconds off the air of rounds as they come, each with the tokens skipped since the last."""
    row = rng.choice(len(ledger), num, p=ledger.weight / ledger.weight.sum())
    asks = ledger.llm_calls[row] > 0.0
    per_skip = resync_bit_per_skip(ledger.system)
    extra = per_skip * (~asks).sum() / asks.sum()  # what the ledger charges every transmission
    since = np.diff(np.flatnonzero(np.concatenate(([True], asks)))) - 1  # skips before each transmission
    bits = ledger.uplink_bit[row]
    bits[asks] += per_skip * since - extra
    return bits, ledger.off_air_s[row]


SCHEME = SCHEMES["cu-hlm-exact"].using(threshold=0.5)


def test_a_ledger_charges_what_rounds_at_random_times_take():
    ledger, rng = SCHEME.ledger(TOKENS, system(0.005)), np.random.default_rng(1)
    bits, off_s = rounds(ledger, 60_000, rng)
    trace = ledger.system.link
    start_s = rng.uniform(0.0, trace.period_s, len(bits))
    took_s = packet_end_s(trace, start_s, bits) - start_s + off_s
    error = took_s.std() / math.sqrt(len(bits))
    # the ledger puts the mean number of skipped tokens into every packet
    assert ledger.mean(ledger.seconds) == pytest.approx(took_s.mean(), abs=4.0 * error, rel=5e-3)
    at_mean_rate = replace(ledger.system, link=FixedRate(rate_bit_per_s=trace.mean_bit_per_s))
    affine = SCHEME.ledger(TOKENS, at_mean_rate)
    assert affine.mean(affine.uplink_s) < 0.97 * ledger.mean(ledger.uplink_s)


def throughput_one_after_another(ledger, num):
    """Tokens a second of a device that starts each round when the one before has ended."""
    bits, off_s = rounds(ledger, num, np.random.default_rng(2))
    now = 0.0
    for bit, off in zip(bits.tolist(), off_s.tolist(), strict=True):
        now = float(packet_end_s(ledger.system.link, now, bit)) + off
    return num / now


def test_throughput_over_a_trace_is_predicted_where_its_rate_changes_within_a_round():
    ledger = SCHEME.ledger(TOKENS, system(0.005))
    assert throughput_one_after_another(ledger, 20_000) == pytest.approx(ledger.rate_token_per_s, rel=0.02)


def test_where_the_rate_changes_slowly_a_busy_device_is_faster_than_predicted():
    """It starts few rounds where the rate is low, for there it waits."""
    ledger = SCHEME.ledger(TOKENS, system(5.0))
    assert throughput_one_after_another(ledger, 20_000) > 1.02 * ledger.rate_token_per_s


def test_nothing_is_proven_over_a_trace_and_a_skipped_token_costs_the_mean_rate():
    traced_system = system(0.005)
    assert operating_point(TOKENS, traced_system, Budget(bias=0.1)).optimum_s is None
    index_bit = resync_bit_per_skip(traced_system)
    assert resync_s_per_skip(traced_system) == index_bit / traced_system.link.mean_bit_per_s


# what a file may hold


def test_a_file_is_read_as_it_was_written(tmp_path, cuhlm_json):
    file = tmp_path / "link.csv"
    file.write_text("time_s,cell,rate_bit_per_s\n0,7,1e6\n0.5,7,0\n2,8,3e5\n")
    trace = read_rate_trace(file)
    np.testing.assert_array_equal(trace.edge_s, [0.0, 0.5, 2.0, 3.5])
    np.testing.assert_array_equal(trace.carried_bit, [0.0, 5e5, 5e5, 9.5e5])
    told = cuhlm_json("channel", "--rate-trace", file, "--bits", "2e5")
    assert told["latency_s"] == pytest.approx(float(packet_mean_s(trace, 2e5)))
    told = cuhlm_json("optimize", "--rate-trace", file, "--scheme", "hlm")
    assert told["inputs"]["rate_trace"] == str(file)
    assert told["certificate"] is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time_s\n0\n1\n", "its first line lacks the column of the rate"),
        ("time_s,rate_bit_per_s\n0,1\n", "at least 2 numbers"),
        ("time_s,rate_bit_per_s\n0,1\n0,2\n", "times must rise; got 0 after 0"),
        ("time_s,rate_bit_per_s\n0,0\n1,0\n", "the largest rate must be positive"),
        ("time_s,rate_bit_per_s\n0,fast\n1,2\n", "could not convert"),
        ("time_s,rate_bit_per_s\n0,-1\n1,2\n", "rates must be at least 0; got -1"),
        ("time_s,rate_bit_per_s\n0\n1,2\n", "must be a CSV"),
        ("time_s,rate_bit_per_s\n", "must be a CSV"),
    ],
)
def test_what_is_no_trace_is_one_line(tmp_path, assert_refused, text, words):
    file = tmp_path / "link.csv"
    file.write_text(text)
    assert_refused("channel", "--rate-trace", file, "--json", words=["--rate-trace", words])


def test_a_trace_stands_alone(tmp_path, assert_refused):
    call = ("channel", "--json", "--rate-trace")
    assert_refused(*call, tmp_path / "none.csv", words=["must be a file that exists"])
    for other in ("--rate-bit-per-s", "--snr-db"):
        both = (*call, tmp_path / "none.csv", other, "3")
        assert_refused(*both, words=[f"--rate-trace stands instead of {other}"])
