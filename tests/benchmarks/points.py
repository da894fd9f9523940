"""CPU time of an operating point and of all schemes: `python -m tests.benchmarks.points [CALIBRATION ...]`.

Prints, and passes or fails nothing: times are of this process on this machine, so each is also given as a
multiple of sorting 11 000 rows of 40 numbers on it. Set OPENBLAS_NUM_THREADS=1 for numbers that compare.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from calibration.finding import built_in
from cuhlm_theory import Latency, Link, load
from cuhlm_theory.ladder import Ladder
from cuhlm_theory.optimisation import operating_point
from cuhlm_theory.parameters import Budget, Codec, System
from cuhlm_theory.recommendation import Question
from cuhlm_theory.schemes import SCHEMES, line_up

BUDGETS = (0.01, 0.05, 0.2)
SNRS = (2.0, 3.0, 5.0)


def cpu_s(*runs: Callable[[], Any], repeats: int = 3) -> float:
    """Mean over the runs of the least CPU time of each [s]."""
    least = []
    for run in runs:
        seconds = []
        for _ in range(repeats):
            start = time.process_time()
            run()
            seconds.append(time.process_time() - start)
        least.append(min(seconds))
    return float(np.mean(least))


def measured(name: str) -> dict[str, float]:
    """What is measured of a calibration [s]."""
    calibration = load(name)
    tokens = calibration.tokens
    latency = Ladder({}, {"calibration": calibration}).build(Latency)
    codec = Codec(vocab_size=calibration.vocab_size)
    systems = [System(link=Link(bandwidth_hz=1e6, snr=snr), codec=codec, latency=latency) for snr in SNRS]

    def points(bound: bool) -> list[Callable[[], Any]]:
        return [
            lambda system=system, budget=budget: operating_point(
                tokens, system, Budget(bias=budget), bound=bound
            )
            for system in systems
            for budget in BUDGETS
        ]

    def answers() -> list[Any]:
        asked = {"line": calibration.line, "tokens": tokens, "budget": Budget(bias=0.05)}
        return [Question(system=system, **asked).answer(bound=False) for system in systems]

    first = points(bound=True)[0]
    fresh = cpu_s(lambda: operating_point(replace(tokens), systems[0], Budget(bias=BUDGETS[0])))
    found = {
        "prepare": fresh - cpu_s(first),
        "point": cpu_s(*points(False)),
        "with bound": cpu_s(*points(True)),
    }
    for answer in answers():
        answer.beside()  # walks, and what is kept with the tokens
    given = [
        lambda answer=answer: line_up(
            [SCHEMES[row.name].given(row.numbers) for row, _ in answer.evaluated[0]],
            answer.contexts,
            answer.question.system,
        )
        for answer in answers()
    ]
    found["all schemes"] = cpu_s(*given)
    found["all, tuned"] = cpu_s(*(answer.beside for answer in answers()))
    found["all, with intervals"] = cpu_s(lambda: answers()[0].schemes)
    return found


def main() -> None:
    """Print a line a measurement of each calibration, all built-in ones by default."""
    rows = np.random.default_rng(0).random((11_000, 40))
    sort_s = cpu_s(lambda: np.sort(rows, axis=1), repeats=10)
    print(f"np.sort of 11 000 x 40: {1e3 * sort_s:.2f} ms")
    for name in sys.argv[1:] or built_in():
        print(f"{name}, {len(load(name).tokens)} tokens")
        for what, seconds in measured(name).items():
            print(f"  {what:20} {1e3 * seconds:8.1f} ms {seconds / sort_s:8.1f} sorts")


if __name__ == "__main__":
    main()
