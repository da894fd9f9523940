"""How long recording takes, and what part of it goes into describing contexts instead of running models.

``python -m tests.benchmarks.recording --pair smollm2 --num-prompts 16`` passes its options to
`cuhlm calibrate` and prints a row a text. The part is one of processor time, over all threads.
"""

import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from tabulate import tabulate

from calibration import collect, trace
from cuhlm_theory.cli import main

described_s = 0.0
_LOCK = threading.Lock()


def told(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add up the processor seconds that a function takes in whatever threads."""

    @wraps(function)
    def timed(*given: Any, **named: Any) -> Any:
        global described_s
        began = time.thread_time()
        found = function(*given, **named)
        with _LOCK:
            described_s += time.thread_time() - began
        return found

    return timed


def recorded(function: Callable[..., Any], rows: list[tuple[Any, ...]]) -> Callable[..., Any]:
    """Add a row for each text that is recorded."""

    @wraps(function)
    def timed(pair: Any, prompts: Any, settings: Any, *given: Any, **named: Any) -> Any:
        global described_s
        described_s, wall, busy = 0.0, time.perf_counter(), time.process_time()
        made = function(pair, prompts, settings, *given, **named)
        wall, busy = time.perf_counter() - wall, time.process_time() - busy
        num = len(trace.read(made))
        rows.append((settings.writer, num, num / wall, f"{100.0 * described_s / busy:.1f} %"))
        return made

    return timed


if __name__ == "__main__":
    rows: list[tuple[Any, ...]] = []
    for name in ("describe", "describe_scored"):
        setattr(collect, name, told(getattr(collect, name)))
    collect.collect = recorded(collect.collect, rows)
    with tempfile.TemporaryDirectory() as folder:
        main(["calibrate", *sys.argv[1:], "--out", f"{folder}/pair", "--json"])
    heads = ["text of", "tokens", "token/s", "describing, part of processor time"]
    print(tabulate(rows, heads, "github", floatfmt=".3g"))
