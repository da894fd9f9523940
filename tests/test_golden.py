"""`cuhlm optimize` answers what is kept in `golden/optimize.jsonl`, number by number."""

import json
from pathlib import Path

import pytest

FILE = Path(__file__).parent / "golden" / "optimize.jsonl"
CASES = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
QUICK = 6  # every sixth runs by default


def differences(expected, found, place=""):
    """Where an answer differs from what was kept of it, by more than 1e-9 relative where it is a number."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in expected:  # sentences were not kept
            yield from differences(expected.get(key), found.get(key), f"{place}.{key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for number, pair in enumerate(zip(expected, found, strict=True)):
            yield from differences(*pair, f"{place}[{number}]")
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
    assert list(differences(case["result"], json.loads(out) if out else None)) == []


def test_a_number_that_moved_is_seen():
    assert list(differences({"a": [1.0, 2]}, {"a": [1.0 + 1e-12, 2]})) == []
    for moved in ({"a": [1.0 + 1e-8, 2]}, {"a": [1.0, 3]}, {"a": [1.0]}, {"b": [1.0, 2]}, {"a": None}):
        assert list(differences({"a": [1.0, 2]}, moved))
