"""`cuhlm optimize` answers what `golden/optimize.jsonl` keeps, number by number.

``python -m tests.test_golden`` keeps the answers of today: whoever runs it says in the commit why they moved.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parent / "golden" / "optimize.jsonl"
CASES = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
QUICK = 6  # every sixth runs by default
_RUN = "from cuhlm_theory.cli import main; main()"


def numbers(answer):
    """What is kept of an answer: numbers and names, no sentences."""
    if isinstance(answer, dict):
        kept = {key: numbers(value) for key, value in answer.items()}
        return {key: value for key, value in kept.items() if not isinstance(value, str) or " " not in value}
    if isinstance(answer, list):
        return [numbers(value) for value in answer]
    return float(f"{answer:.12g}") if isinstance(answer, float) else answer


def differences(expected, found, place=""):
    """Where an answer differs from what was kept of it, by more than 1e-9 relative where it is a number."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in expected:
            yield from differences(expected.get(key), found.get(key), f"{place}.{key}")
    elif isinstance(expected, list) and isinstance(found, list):
        named = {
            entry.get("name", at) if isinstance(entry, dict) else at: entry for at, entry in enumerate(found)
        }
        for at, entry in enumerate(expected):
            name = entry.get("name", at) if isinstance(entry, dict) else at
            yield from differences(entry, named.get(name), f"{place}[{name}]")
    elif isinstance(expected, float) and isinstance(found, float | int):
        if found != pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True):
            yield f"{place}: {expected!r}, now {found!r}"
    elif expected != found:
        yield f"{place}: {expected!r}, now {found!r}"


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=" ".join(case["arguments"]), marks=[pytest.mark.slow] if place % QUICK else [])
        for place, case in enumerate(CASES)
    ],
)
def test_optimize_answers_what_it_answered(case, run_cuhlm):
    code, out, err = run_cuhlm("optimize", *case["arguments"], "--json")
    assert (code, err) == (case["code"], case["error"])
    found = json.loads(out) if out else None
    assert list(differences(case["result"], found)) == []


def test_a_number_that_moved_is_seen():
    assert list(differences({"a": [1.0, 2]}, {"a": [1.0 + 1e-12, 2]})) == []
    for moved in ({"a": [1.0 + 1e-8, 2]}, {"a": [1.0, 3]}, {"a": [1.0]}, {"b": [1.0, 2]}, {"a": None}):
        assert list(differences({"a": [1.0, 2]}, moved))


def main():
    """Keep what every case answers today."""
    lines = []
    for case in CASES:
        command = [sys.executable, "-c", _RUN, "optimize", *case["arguments"], "--json"]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        result = numbers(json.loads(ran.stdout)) if ran.stdout else None
        kept = {"arguments": case["arguments"], "code": ran.returncode, "error": ran.stderr, "result": result}
        lines.append(json.dumps(kept, separators=(",", ":")))
    FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
