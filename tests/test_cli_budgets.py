"""`cuhlm budgets`: schemes at the same bias, and the page that keeps what it prints of every shipped text."""

import json

import pytest

from calibration import load
from calibration.finding import built_in
from cuhlm_theory import comparison
from cuhlm_theory.ladder import Ladder
from figures import budgets

LATENCIES = ("--slm-latency-s", "20ms", "--llm-latency-s", "60ms")


def test_the_rows_are_those_of_the_comparison_and_the_first_is_named(cuhlm_json, few_texts):
    found = cuhlm_json("budgets", "--calibration", few_texts, "--bias-budget", "0,0.05", *LATENCIES)
    pair = load(few_texts)
    system = Ladder({"slm_latency_s": 0.02, "llm_latency_s": 0.06}, {"calibration": pair}).system()
    table = comparison.at_budgets(pair.text("llm").tokens(), system, budgets=[0.0, 0.05])
    names = ("name", "throughput_token_per_s", "bits", "behind_best", "bias")
    assert [[row[key] for key in names] for row in found["rows"] if row["text"] == "llm"] == [
        [row[key] for key in names] for row in table
    ]
    places = [(first["text"], first["budget"]) for first in found["fastest"]]
    assert places == [("slm", 0.0), ("slm", 0.05), ("llm", 0.0), ("llm", 0.05)]
    for first, place in zip(found["fastest"], places, strict=True):
        rows = [row for row in found["rows"] if (row["text"], row["budget"]) == place]
        assert first["scheme"] == rows[0]["scheme"]
        equal = [row["scheme"] for row in rows[1:] if row["behind_best_ci95"][0] <= 0.0]
        assert first["equal_within_error"] == equal
    assert found["inputs"]["llm_latency_s"] == 0.06


def test_what_is_tuned_on_half_of_the_texts_is_judged_on_the_other(cuhlm_json, few_texts):
    options = ("budgets", "--calibration", few_texts, "--text", "slm", "--bias-budget", "0.05", *LATENCIES)
    bias = {}
    for held_out in ((), ("--held-out",)):
        rows = cuhlm_json(*options, *held_out)["rows"]
        bias[held_out] = next(row["bias"] for row in rows if row["scheme"] == "kept-law")
    assert bias[()] == pytest.approx(0.05)
    assert bias[("--held-out",)] != pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--bias-budget", "0,2"], 2, ["--bias-budget must lie in [0, 1]; got 2"]),
        (["--bias-budget", "0,,1"], 2, ["--bias-budget must be a number, or several with commas"]),
        (["--calibration", "cu-hlm"], 1, ["calibration cu-hlm has no recorded tokens"]),
    ],
)
def test_what_cannot_be_compared_is_refused(assert_refused, arguments, code, words):
    assert_refused("budgets", *arguments, "--json", code=code, words=words)


def test_a_scenario_gives_the_bias(run_cuhlm, few_texts, tmp_path):
    file = tmp_path / "phone.toml"
    file.write_text(f'calibration = "{few_texts}"\nbias-budget = 0.02\nsnr-db = 3\n', encoding="utf-8")
    code, out, _ = run_cuhlm("budgets", file, "--text", "slm", "--json")
    assert code == 0
    assert {row["budget"] for row in json.loads(out)["rows"]} == {0.02}


def test_the_page_has_what_the_command_prints_at_one_bias_on_one_text():
    options = ("--text", "llm", "--bias-budget", "0.05")
    first, table = budgets.section("qwen2.5-coder", *options).split("\n**")
    page = budgets.PAGE.read_text(encoding="utf-8")
    assert first in page, "run: python -m figures.budgets"
    assert table.split("\n\n")[1] in page, "run: python -m figures.budgets"


@pytest.mark.slow
def test_the_page_has_what_the_command_prints_of_every_text():
    page = budgets.page()
    assert budgets.PAGE.read_text(encoding="utf-8") == page, "run: python -m figures.budgets"
    assert all(f"## {name}\n" in page for name in built_in())
