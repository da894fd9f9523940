"""`cuhlm optimize` answers what `golden/optimize.jsonl` keeps, number by number, unless explained."""

import json
import re
from pathlib import Path

import pytest

FILE = Path(__file__).parent / "golden" / "optimize.jsonl"
CASES = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
QUICK = 6  # every sixth runs by default

THEN = {"calibration": "smollm2", "bandwidth-hz": "180e3", "snr-db": "3", "charge-resync": False}
"""What was the default when the answers were kept, and is no longer; said where a case does not."""
PUBLISHED = {"slm-latency-s": "0.02", "llm-latency-s": "0.04"}
"""The same where only a published line is known."""
DELTA = r"(inputs\.(delta|slm_latency_from|llm_latency_from)|thresholds\.risk_prone)"
"""U-HLM's Delta is printed, and latencies are said."""

LOST = {"rayleigh-outage": ("--outage", 0.01), "short-packet": ("--block-error", 1e-3)}
"""What an attempt loses; that it is sent again was not charged, as over a link so much wider."""

_SIZE = "k weighs the airtime by the chance to transmit; skipped indices travel with the next packet"
MOVED = {
    r"inputs\.bandwidth_hz": "see `LOST`",
    r"inputs\.assumed": "what was assumed then is said now",
    r"schemes\[c-sqs\]": "its answers begin with the threshold of a device that has answered before",
    r"schemes\[confidence-stop\]": "it stops where that is the fastest",
    r"schemes\[k-sqs\]": "16 candidates, as many as a recording holds",
    r"(operating_point|schemes\[cu-hlm-exact\]|certificate|verify_on_sync)\.": _SIZE,
    r"schemes\[cu-hlm-o(ff|n)line\]": "their budget is what the operating point spends on truncation",
    r"inputs\.calibration": "the name is what --calibration takes",
    r"inputs\.(slm|llm)_latency_from": "the latencies of the kept answers are given",
    r"thresholds\.(cost_optimal|bias_price_s)": "a truncation that is due either way is no cost of sending",
    r"schemes\[(floor|u-hlm|rand-hlm|verify-on-sync)\]": "the operating point has another threshold here",
}
"""What differs, and why; the last only where the threshold moved."""


LLM_TEXT = ("--slm-latency-s", 0.024474702769091382, "--llm-latency-s", 0.05952196968815168)
"""What came with the recording of the large model's text; they are the pair's now."""


def asked(arguments):
    """The arguments of a case with what they left to the defaults of then."""
    said = list(arguments)
    published = {"cu-hlm", "u-hlm"} & set(said)
    for key, value in (THEN | (PUBLISHED if published else {})).items():
        if f"--{key}" not in said:
            said += [f"--no-{key}"] if value is False else [f"--{key}", value]
    if "smollm2-llm-text" in said:
        said += LLM_TEXT
    elif not published:
        said += ["--text", "slm"]
    for fading, (option, lost) in LOST.items():
        if fading in said:
            lost = float(said[said.index(option) + 1]) if option in said else lost
            place = said.index("--bandwidth-hz") + 1
            said[place] = repr(float(said[place]) / (1.0 - lost))
    return said


def differences(expected, found, place=""):
    """Where an answer differs from what was kept of it, by more than 1e-9 relative where it is a number."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in expected:  # sentences were not kept
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
    code, out, err = run_cuhlm("optimize", *asked(case["arguments"]), "--json")
    if "rayleigh-ergodic" in case["arguments"]:  # it answered with a mean that is infinite
        assert (code, out) == (1, "")
        assert "--fading must be rayleigh-arq" in err
        return
    assert (code, err) == (case["code"], case["error"])
    found = json.loads(out) if out else None
    moved = found["operating_point"]["threshold"] != case["result"]["operating_point"]["threshold"]
    explained = list(MOVED) if moved else list(MOVED)[:-1]
    explained += [DELTA] * bool({"cu-hlm", "u-hlm"} & set(case["arguments"]))
    left = [
        difference
        for difference in differences(case["result"], found)
        if not any(re.match(rf"\.{pattern}", difference) for pattern in explained)
    ]
    assert left == []


def test_the_operating_point_is_hardly_ever_slower_than_it_was(run_cuhlm):
    for case in CASES[::QUICK]:
        if "rayleigh-ergodic" in case["arguments"]:
            continue
        before = case["result"]["operating_point"]["latency_s"]
        now = json.loads(run_cuhlm("optimize", *asked(case["arguments"]), "--json")[1])["operating_point"][
            "latency_s"
        ]
        assert now is None or now <= before * (1 + 1e-4)


def test_a_number_that_moved_is_seen():
    assert list(differences({"a": [1.0, 2]}, {"a": [1.0 + 1e-12, 2]})) == []
    for moved in ({"a": [1.0 + 1e-8, 2]}, {"a": [1.0, 3]}, {"a": [1.0]}, {"b": [1.0, 2]}, {"a": None}):
        assert list(differences({"a": [1.0, 2]}, moved))
