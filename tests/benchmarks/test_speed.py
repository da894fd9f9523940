"""How long things take beside one read of the same numbers, or beside another library that does the same.

``python -m tests.benchmarks.table`` runs all of it, on a machine that does nothing else, and writes the table
of `tests/README.md`. Nothing here passes or fails by time.
"""

import json
import subprocess
import sys

import numpy as np
import pytest
from scipy.optimize import brentq

import cuhlm_theory as cuhlm
from cuhlm_theory import capacity, recommendation, truncation
from cuhlm_theory.optimisation import operating_point, solve, solve_lp
from cuhlm_theory.parameters import Budget, Codec, Latency, Link, System
from cuhlm_theory.rejection import Line

pytestmark = pytest.mark.slow

VOCAB_SIZE = 151_936
KEPT = 30
NUM_POINTS = 1_000_000
RNG = np.random.default_rng(0)
LINE = Line(0.815, -0.066)
LATENCY = Latency(slm_s=0.02, llm_s=0.06)
LINK = Link(bandwidth_hz=1e6, snr=10.0)
CALIBRATIONS = ("smollm2", "qwen2.5-coder")


def softmax(logits):
    law = np.exp(logits - logits.max())
    return law / law.sum()


SHAPES = {
    "Zipf": lambda: RNG.permutation(softmax(-1.2 * np.log(np.arange(1.0, VOCAB_SIZE + 1)))),
    "Gaussian logits, deviation 3": lambda: softmax(RNG.normal(0.0, 3.0, VOCAB_SIZE)),
    "Gaussian logits, deviation 6": lambda: softmax(RNG.normal(0.0, 6.0, VOCAB_SIZE)),
    "nearly flat": lambda: softmax(RNG.normal(0.0, 0.01, VOCAB_SIZE)),
}
TRUNCATION = {
    "np.sort": np.sort,
    "one read": np.sum,
    "exact_k": lambda law: truncation.exact_k(law, 0.05),
    "printed_k": lambda law: truncation.printed_k(law, 0.05, 0.5, 0.3),
    "tv_profile": lambda law: truncation.tv_profile(law, [1, 2, 5, 10, 30, 100, 300, 1000]),
    "reconstruct": lambda law: truncation.reconstruct(law, KEPT),
}


@pytest.fixture(scope="module")
def laws():
    return {shape: draw() for shape, draw in SHAPES.items()}


@pytest.mark.parametrize("what", TRUNCATION)
@pytest.mark.parametrize("shape", SHAPES)
def test_truncation_at_the_largest_vocabulary(benchmark, laws, shape, what):
    benchmark.group = f"truncation, {shape}"
    benchmark.extra_info["what"] = what
    benchmark(TRUNCATION[what], laws[shape])


CLOSED = {
    "one read": np.sum,
    "threshold of least cost": lambda x: LINE.cost_optimal(0.1, x),
    "rejection line": lambda x: LINE(x / NUM_POINTS),
    "AWGN capacity": lambda x: capacity.awgn_capacity_bit_per_s(1e6, x),
    "outage capacity": lambda x: capacity.rayleigh_outage_capacity_bit_per_s(1e6, x, 0.1),
    "latency with retransmission": lambda x: capacity.arq_mean_latency_s(1e3, 1e6, x),
    "ergodic capacity": lambda x: capacity.rayleigh_ergodic_capacity_bit_per_s(1e6, x),
    "short packet": lambda x: capacity.short_packet_latency_s(690.0, 1e6, x, 1e-3),
}


@pytest.mark.parametrize("what", CLOSED)
def test_a_million_closed_forms(benchmark, what):
    """SNRs from -20 to 40 dB, of which the threshold makes prices of bias."""
    benchmark.group = "closed forms"
    benchmark.extra_info |= {"what": what, "count": NUM_POINTS}
    benchmark(CLOSED[what], 10.0 ** np.random.default_rng(0).uniform(-2.0, 4.0, NUM_POINTS))


def test_a_thousand_root_finds(benchmark):
    benchmark.group = "closed forms"
    benchmark.extra_info |= {"what": "threshold of least cost by scipy's root-find", "count": 1000}
    prices = np.random.default_rng(0).uniform(0.15, 2.0, 1000)

    def excess_s(uncertainty, price):
        return LINE(uncertainty) * price - 0.1

    found = benchmark(lambda: [brentq(excess_s, 0.0, 1.0, args=(price,)) for price in prices])
    np.testing.assert_allclose(found, LINE.cost_optimal(0.1, prices, clip=False), atol=1e-9)


def knapsack():
    """6 000 contexts with 20 actions, as convex as a truncation profile is."""
    rng = np.random.default_rng(0)
    bias = np.sort(rng.random((6000, 20)), axis=1) * rng.random((6000, 1))
    latency = np.sort(rng.random((6000, 20)), axis=1)[:, ::-1]
    return latency, bias, np.full(6000, 1 / 6000)


@pytest.mark.parametrize(("what", "solver"), [("closed form", solve), ("cvxpy and Clarabel", solve_lp)])
def test_a_knapsack(benchmark, what, solver):
    benchmark.group = "best randomised policy, 6 000 contexts of 20 sizes"
    benchmark.extra_info["what"] = what
    solve_lp([[1.0, 0.0]], [[0.0, 0.1]], [1.0], 0.05)  # the import is not the solver's fault
    benchmark.pedantic(solver, args=(*knapsack(), 0.1), rounds=3, warmup_rounds=1)


def links():
    """Links that nobody asked for before, so that nothing but the trace is remembered."""
    for snr in np.random.default_rng(0).uniform(0.1, 100.0, 10_000):
        yield Link(bandwidth_hz=1e6, snr=float(snr))


POINTS = {
    "an operating point": {"bound": False},
    "with the bound on what knows every risk": {"bound": True},
}


@pytest.mark.parametrize("name", CALIBRATIONS)
class TestPoints:
    """Points on the default text of what is shipped, its preparation told apart."""

    def test_a_sort(self, benchmark, name):
        tokens = cuhlm.load(name).tokens
        benchmark.group = f"one point, {name}, {len(tokens.uncertainty)} tokens"
        benchmark.extra_info["what"] = "np.sort of the truncation profiles"
        benchmark(np.sort, np.random.default_rng(0).permuted(tokens.tv_profile, axis=1))

    def test_the_preparation(self, benchmark, name):
        def fresh():
            return (cuhlm.load(name).tokens, system(name, LINK), Budget(bias=0.05)), {"bound": True}

        benchmark.group = group(name)
        benchmark.extra_info["what"] = "the first point of a calibration"
        benchmark.pedantic(operating_point, setup=fresh, rounds=5)

    @pytest.mark.parametrize("what", POINTS)
    def test_a_point(self, benchmark, name, what):
        tokens, drawn = cuhlm.load(name).tokens, links()
        operating_point(tokens, system(name, LINK), Budget(bias=0.05))
        benchmark.group = group(name)
        benchmark.extra_info["what"] = what
        benchmark(
            lambda: operating_point(tokens, system(name, next(drawn)), Budget(bias=0.05), **POINTS[what])
        )

    def test_all_schemes(self, benchmark, name):
        pair, drawn = cuhlm.load(name), links()
        benchmark.group = group(name)
        benchmark.extra_info["what"] = "all schemes"
        benchmark(lambda: recommendation.optimise(pair, next(drawn)).schemes)


def group(name):
    return f"one point, {name}, {len(cuhlm.load(name).tokens.uncertainty)} tokens"


def system(name, link):
    return System(link=link, codec=Codec(vocab_size=cuhlm.load(name).vocab_size), latency=LATENCY)


COLD = {
    "python -c pass": ["-c", "pass"],
    "import numpy": ["-c", "import numpy"],
    "cuhlm optimize --json": [
        "-c",
        "import sys; from cuhlm_theory.cli import main; main(sys.argv[1:])",
        "optimize",
        "--json",
    ],
}


@pytest.mark.parametrize("what", COLD)
def test_a_cold_start(benchmark, what):
    benchmark.group = "a new process"
    benchmark.extra_info["what"] = what
    call = [sys.executable, *COLD[what]]
    done = benchmark.pedantic(
        subprocess.run,
        args=(call,),
        kwargs={"capture_output": True, "check": True},
        rounds=7,
        warmup_rounds=1,
    )
    if "--json" in call:
        assert json.loads(done.stdout)["operating_point"]["bias_bound"] <= 0.05 + 1e-9
