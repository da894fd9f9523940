"""How long the optimiser may take: `pytest -m slow tests/benchmarks`, on a machine that does nothing else."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from calibration.finding import DATA
from cuhlm_theory.optimisation import solve, solve_lp

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def knapsack():
    """6 000 contexts with 20 actions, as convex as a truncation profile is."""
    rng = np.random.default_rng(0)
    bias = np.sort(rng.random((6000, 20)), axis=1) * rng.random((6000, 1))
    latency = np.sort(rng.random((6000, 20)), axis=1)[:, ::-1]
    return latency, bias, np.full(6000, 1 / 6000)


def test_the_closed_form_takes_50_ms(knapsack):
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        solve(*knapsack, 0.1)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05


def test_the_linear_programme_takes_10_s_and_agrees(knapsack):
    solve_lp([[1.0, 0.0]], [[0.0, 0.1]], [1.0], 0.05)  # the import is not the solver's fault
    start = time.perf_counter()
    proof = solve_lp(*knapsack, 0.1)
    assert time.perf_counter() - start < 10.0
    assert solve(*knapsack, 0.1).latency_s - proof.dual_s < 1e-6 * proof.primal_s


@pytest.mark.skipif(not (DATA / "smollm2").is_dir(), reason="the built-in calibration is not there yet")
def test_optimize_starts_cold_in_a_second():
    command = [str(Path(sys.executable).with_name("cuhlm")), "optimize", "--json"]
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ})
        seconds.append(time.perf_counter() - start)
    assert json.loads(done.stdout)["operating_point"]["bias_bound"] <= 0.05 + 1e-9
    assert min(seconds) < 1.0
