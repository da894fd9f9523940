"""How slow long runs over printed fading get: the tail, the truncated mean, and simulated runs."""

import math

import numpy as np
import pytest
from scipy import integrate

from cuhlm_theory import run_length

LINK = {"bits": 512_000.0, "bandwidth_hz": 1e6, "mean_snr": 10**-0.892}


def draw(rng, shape):
    snr = rng.exponential(LINK["mean_snr"], shape)
    return LINK["bits"] * math.log(2) / (LINK["bandwidth_hz"] * np.log1p(snr))


def test_the_tail_is_that_of_drawn_packets():
    drawn = draw(np.random.default_rng(0), 200_000)
    for time in (2.0, 10.0, 100.0):
        p = float(run_length.tail_probability(time, **LINK))
        assert np.mean(drawn > time) == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / len(drawn)))
    assert float(run_length.tail_probability(1e-9, **LINK)) == 1.0


def test_the_truncated_mean_is_what_its_tail_says():
    c = float(run_length.tail_scale_s(**LINK))
    by_tail = integrate.quad(lambda t: float(run_length.tail_probability(t, **LINK)), 0.0, 50.0, limit=200)[0]
    cut = by_tail - 50.0 * float(run_length.tail_probability(50.0, **LINK))
    assert run_length._truncated_mean_s(c, LINK["mean_snr"], 50.0) == pytest.approx(cut, rel=1e-6)


def test_the_quantiles_of_runs_are_those_of_a_simulation():
    rng = np.random.default_rng(1)
    means = np.concatenate([draw(rng, (500, 2000)).mean(axis=1) for _ in range(8)])
    for chance in (0.1, 0.5, 0.9):
        expected = float(run_length.mean_latency_quantile_s(2000, chance, **LINK))
        share = np.mean(means <= expected)
        assert share == pytest.approx(chance, abs=0.03)


def test_nothing_sent_takes_no_time_however_long_the_run():
    assert run_length.mean_latency_quantile_s([10, 1000], 0.5, 0.0, 1e6, 1.0).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"chance": 1.0}, r"chance must lie in \(0, 1\); got 1.0"),
        ({"num_packets": 0}, "num_packets"),
        ({"mean_snr": 0.0}, "mean_snr must be"),
    ],
)
def test_refuses_what_is_no_run(change, said):
    given = {"num_packets": 10, "chance": 0.5, **LINK, **change}
    with pytest.raises(ValueError, match=said):
        run_length.mean_latency_quantile_s(**given)
