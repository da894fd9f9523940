"""How long things take beside one read of the same numbers, or beside another library that does the same.

``python -m tests.benchmarks.table`` runs all of it, on a machine that does nothing else, and writes the table
of `tests/README.md`. Nothing here passes or fails by time.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.optimize import brentq

import cuhlm_theory as cuhlm
from cuhlm_theory import capacity, truncation
from cuhlm_theory.ladder import Ladder
from cuhlm_theory.optimisation import operating_point, solve, solve_lp
from cuhlm_theory.parameters import Budget, Codec, Latency, Link, System
from cuhlm_theory.recommendation import Question
from cuhlm_theory.rejection import Line
from cuhlm_theory.schemes import SCHEMES, line_up

pytestmark = pytest.mark.slow

VOCAB_SIZE = 151_936
KEPT = 30
NUM_POINTS = 1_000_000
RNG = np.random.default_rng(0)
LINE = Line(0.815, -0.066)
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
    found = benchmark.pedantic(solver, args=(*knapsack(), 0.1), rounds=3, warmup_rounds=1)
    best_s = solve(*knapsack(), 0.1).latency_s
    assert best_s - found.dual_s < 1e-6 * best_s


def questions(name):
    """Ask of links that nobody asked of before, so that nothing but the trace is remembered."""
    pair = cuhlm.load(name)
    latency = Ladder({}, {"calibration": pair}).build(Latency)
    for snr in np.random.default_rng(0).uniform(0.1, 100.0, 10_000):
        link = Link(bandwidth_hz=1e6, snr=float(snr))
        system = System(link=link, codec=Codec(vocab_size=pair.vocab_size), latency=latency)
        yield Question(
            line=pair.line, tokens=pair.tokens, system=system, budget=Budget(bias=0.05), texts=pair.contexts
        )


def point(question, *, bound):
    return operating_point(question.tokens, question.system, question.budget, bound=bound)


def at_given_numbers(answer):
    rows = [SCHEMES[row.name].given(row.numbers) for row, _ in answer.evaluated[0]]
    return lambda: line_up(rows, answer.contexts, answer.question.system)


ASKED = {
    "an operating point": lambda question: partial(point, question, bound=False),
    "with the bound on what knows every risk": lambda question: partial(point, question, bound=True),
    "all schemes at given numbers": lambda question: at_given_numbers(question.answer(bound=False)),
    "all schemes, tuned": lambda question: question.answer(bound=False).beside,
    "all schemes, tuned, with intervals": lambda question: partial(schemes_of, question.answer(bound=False)),
}


def schemes_of(answer):
    return answer.schemes


@pytest.mark.parametrize("name", CALIBRATIONS)
class TestPoints:
    """Points on the default text of what is shipped, its preparation told apart."""

    def test_a_sort(self, benchmark, name):
        tokens = cuhlm.load(name).tokens
        benchmark.group = group(name)
        benchmark.extra_info["what"] = "np.sort of the truncation profiles"
        benchmark(np.sort, np.random.default_rng(0).permuted(tokens.tv_profile, axis=1))

    def test_the_preparation(self, benchmark, name):
        def fresh():
            return (replace(first, tokens=replace(first.tokens)),), {"bound": True}

        first = next(questions(name))
        benchmark.group = group(name)
        benchmark.extra_info["what"] = "the first point of a calibration, with the bound"
        benchmark.pedantic(point, setup=fresh, rounds=9)

    @pytest.mark.parametrize("what", ASKED)
    def test_what_is_asked(self, benchmark, name, what):
        asked = questions(name)
        ASKED[what](next(asked))()
        benchmark.group = group(name)
        benchmark.extra_info["what"] = what

        def new():
            return (ASKED[what](next(asked)),), {}

        benchmark.pedantic(lambda run: run(), setup=new, rounds=15)


def group(name):
    return f"one point, {name}, {len(cuhlm.load(name).tokens)} tokens"


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
    compiled = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = benchmark.pedantic(
        subprocess.run,
        args=(call,),
        kwargs={"capture_output": True, "check": True, "env": compiled},
        rounds=7,
        warmup_rounds=1,
    )
    if "--json" in call:
        assert json.loads(done.stdout)["operating_point"]["bias_bound"] <= 0.05 + 1e-9
