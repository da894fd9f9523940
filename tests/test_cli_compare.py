"""`cuhlm compare` on a simulated recording: keys of the contract, decoded runs, refusals in one line."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from calibration import load, trace
from calibration.fit import fit_trace
from cuhlm_theory.cli import main
from cuhlm_theory.schemes import SCHEMES
from tests.recording import record, run_u_hlm


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as `cuhlm calibrate` leaves it."""
    place = tmp_path_factory.mktemp("pair")
    recorded = record(3, num_prompts=24, length=12)
    trace.write(place / "trace.parquet", recorded.header, recorded.columns)
    fitted = fit_trace(trace.read(place / "trace.parquet"), name="simulated", num_resamples=200)
    fitted.save(place / "calibration.json")
    return place


def _run(capsys, *arguments):
    main(["compare", "--resamples", "200", *map(str, arguments)])
    return capsys.readouterr().out


def _json(capsys, *arguments):
    return json.loads(_run(capsys, *arguments, "--json"))


def _decode(path, system=None, timed=False, **columns):
    made = run_u_hlm(5, 0.4, num_prompts=20) | {"run": np.zeros(300, dtype=np.int16)} | columns
    listed = [{"name": "u-hlm 0.4", "scheme": "u-hlm", "threshold": 0.4}]
    header = {"runs": listed, "measured_compute": timed}
    if system is not None:
        header["system"] = system
    table = pa.table({name: pa.array(values) for name, values in made.items()})
    pq.write_table(table.replace_schema_metadata({b"cuhlm": json.dumps(header).encode()}), path)


def test_rows_have_the_keys_of_the_contract(folder, capsys):
    found = _json(capsys, "--calibration", folder)
    assert set(found) == {"rows", "agreement", "forecasts", "inputs"}
    for row in found["rows"]:
        assert {"quantity", "predicted", "measured", "ci95", "agrees", "class", "bound"} <= set(row)
        assert row["table"] == "trace"
    for name, (agreeing, judged) in found["agreement"].items():
        told = [row["agrees"] for row in found["rows"] if row["class"] == name and row["agrees"] is not None]
        assert (agreeing, judged) == (sum(told), len(told))
    assert found["inputs"]["trace"] == str(folder / "trace.parquet")
    assert found["inputs"]["decoded"] == []
    assert found["forecasts"] == {}


def test_the_trace_itself_can_be_named(folder, capsys):
    by_file = _json(capsys, "--calibration", folder / "trace.parquet")
    by_folder = _json(capsys, "--calibration", folder)
    assert [row["quantity"] for row in by_file["rows"]] == [row["quantity"] for row in by_folder["rows"]]


def test_the_link_moves_the_latency_and_nothing_before_it(folder, capsys):
    slow = _json(capsys, "--calibration", folder, "--bandwidth-hz", 1e3)
    fast = _json(capsys, "--calibration", folder, "--bandwidth-hz", 1e6, "--round-trip-s", 0.0)

    def find(found, quantity):
        return next(row for row in found["rows"] if row["quantity"] == quantity)

    key = "hlm: throughput [token/s]"
    assert find(fast, key)["predicted"] > 5 * find(slow, key)["predicted"]
    assert find(slow, "mean rejection of a draft") == find(fast, "mean rejection of a draft")
    given = _json(capsys, "--calibration", folder, "--slm-latency-s", 0.5, "--llm-latency-s", 2.0)
    assert given["inputs"]["system"]["latency"]["slm_s"] == 0.5
    assert find(given, key)["predicted"] < 0.4
    assert find(given, key)["agrees"] is False


def test_decoding_beside_the_calibration_is_found(folder, capsys, tmp_path):
    copy = tmp_path / "pair"
    copy.mkdir()
    for name in ("trace.parquet", "calibration.json"):
        (copy / name).write_bytes((folder / name).read_bytes())
    _decode(copy / "decoded.parquet")
    found = _json(capsys, "--calibration", copy)
    tables = {row["table"] for row in found["rows"]}
    assert tables == {"trace", "u-hlm 0.4"}
    assert found["inputs"]["decoded"] == [str(copy / "decoded.parquet")]
    text = _run(capsys, "--calibration", copy)
    assert "Theory against u-hlm 0.4" in text
    assert "identity rows agree" in text


def test_seconds_that_were_measured_are_no_identity(folder, capsys, tmp_path):
    copy = tmp_path / "pair"
    (copy / "timed").mkdir(parents=True)
    for name in ("trace.parquet", "calibration.json"):
        (copy / name).write_bytes((folder / name).read_bytes())
    _decode(copy / "decoded.parquet")
    _decode(copy / "timed" / "decoded.parquet", timed=True)
    found = _json(capsys, "--calibration", copy)
    assert len(found["inputs"]["decoded"]) == 2
    told = {row["quantity"]: row["class"] for row in found["rows"]}
    assert told["pair/u-hlm 0.4: throughput [token/s]"] == "identity"
    assert told["timed/u-hlm 0.4, timed: throughput [token/s]"] == "internal"
    assert told["timed/u-hlm 0.4, timed: uplink [bit/token]"] == "identity"
    assert told["timed/u-hlm 0.4, timed: skip rate"] == "internal"


def test_predictions_beside_the_runs_are_judged(folder, capsys, tmp_path):
    from calibration import compare
    from tests.test_predictions import decoded, lineup

    found = compare.predict(load(folder), lineup(SCHEMES["u-hlm"].using(threshold=0.4), length=12))
    table = decoded(found, length=12)
    runs = tmp_path / "runs"
    runs.mkdir()
    found.save(runs / "predictions.json")
    written = pa.table({name: pa.array(values) for name, values in table.columns.items()})
    header = {b"cuhlm": json.dumps(table.header).encode()}
    pq.write_table(written.replace_schema_metadata(header), runs / "decoded.parquet")
    asked = ("--calibration", folder, "--decoded", runs / "decoded.parquet")
    verdict = _json(capsys, *asked)["forecasts"]["runs"]
    assert verdict["num_forecasts"] == 4
    assert 0.0 < verdict["p_value"] <= 1.0
    assert verdict["sha256"] == found.sha256
    assert {row["class"] for row in verdict["rows"]} == {"forecast", "identity"}
    text = _run(capsys, *asked, "--predictions", runs / "predictions.json")
    assert "Predicted before the runs in runs" in text
    assert "forecasts lie inside" in text
    with pytest.raises(SystemExit):
        main(["compare", "--calibration", str(folder), "--predictions", str(runs / "predictions.json")])
    assert "give --decoded" in capsys.readouterr().err


def test_the_system_that_the_runs_simulated_is_used(folder, capsys, tmp_path):
    file = tmp_path / "decoded.parquet"
    simulated = {
        "link": {"bandwidth_hz": 1e4, "snr": 3.0},
        "codec": {"vocab_size": 48},
        "latency": {"slm_s": 0.01, "llm_s": 0.05, "downlink_bit_per_s": None},
        "tx_power_w": 0.1,
    }
    _decode(file, simulated)
    found = _json(capsys, "--calibration", folder, "--decoded", file, "--bandwidth-hz", 1e9)
    row = next(r for r in found["rows"] if r["quantity"] == "u-hlm 0.4: throughput [token/s]")
    assert 0.5 < row["predicted"] / row["measured"] < 2.0
    _decode(file, {"link": {}})
    with pytest.raises(SystemExit) as stop:
        main(["compare", "--calibration", str(folder), "--decoded", str(file), "--resamples", "100"])
    assert stop.value.code == 2
    assert "a header whose system cannot be read" in capsys.readouterr().err


def test_estimators_models_and_transfer_come_on_request(folder, capsys):
    found = _json(capsys, "--calibration", folder, "--estimators", "--models", "--transfer", folder)
    names = [row["name"] for row in found["estimators"]]
    assert names[0] == "mean_uncertainty"
    assert names[-1] == "genie"
    assert len(names) == 10
    genie = found["estimators"][-1]
    assert genie["excess_area"] == 0.0
    assert genie["seconds"] is None
    assert found["estimators"][0]["softmax_evaluations"] > 5
    assert {"line", "isotonic", "corrected_line", "empirical"} <= {
        row["name"] for row in found["rejection_models"]
    }
    assert found["rejection_models"][-1]["brier"] is None
    assert {row["name"] for row in found["thresholds"]} >= {"risk_averse", "risk_prone", "cost_optimal 0.2"}
    assert {row["method"] for row in found["guarantees"]} == {"betting", "hoeffding", "conformal"}
    assert [row["risk"] for row in found["line_against_isotonic"]] == [0.02, 0.05, 0.1]
    assert 0.0 < found["monotonicity"]["p_value"] <= 1.0
    assert {row["rule"] for row in found["transfer"]} >= {"line", "empirical", "guaranteed"}
    assert found["transfer"][0]["fitted_on"] == "this trace"
    text = _run(capsys, "--calibration", folder, "--estimators", "--models", "--transfer", folder)
    for title in (
        "Measures of uncertainty",
        "What a measure costs",
        "Rejection models",
        "Their thresholds",
        "Thresholds with a promise",
        "Thresholds fitted on this trace, used on the other",
    ):
        assert title in text


def test_every_table_fits_a_terminal_of_80_columns(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    wide = ("--estimators", "--models", "--transfer", folder, "--llm-latency-s", 9.0)
    text = _run(capsys, "--calibration", folder, *wide)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    for heading in ("risk-coverage", "over the line", "violation rate", "failure probability", "risk had"):
        assert heading in text


def test_the_budget_and_the_chance_of_failure_are_the_user_s(folder, capsys):
    asked = ("--calibration", folder, "--models", "--transfer", folder, "--risk-budget", 0.3)
    found = _json(capsys, *asked)
    assert {row["budget"] for row in found["guarantees"]} == {0.3}
    assert {row["budget"] for row in found["rejection_models"]} == {0.3}
    assert {row["budget"] for row in found["transfer"]} == {0.3, None}
    assert "risk_budget 0.3" in {row["name"] for row in found["thresholds"]}
    bolder = _json(capsys, *asked, "--failure-probability", 0.5)
    for key, name in (("guarantees", "method"), ("transfer", "rule")):
        careful, bold = (
            next(row["threshold"] for row in result[key] if row[name] in ("betting", "guaranteed"))
            for result in (found, bolder)
        )
        assert careful < bold
    assert bolder["guarantees"][0]["failure_probability"] == 0.5


def test_thresholds_transfer_between_the_prompt_sets_of_one_trace(folder, capsys, tmp_path):
    recorded = trace.read(folder / "trace.parquet")
    names = tuple(f"{'code' if i % 3 else 'text'}/{i}" for i in range(24))
    header = dataclasses.replace(recorded.header, prompt_names=names)
    trace.write(tmp_path / "trace.parquet", header, recorded.columns)
    told = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    del told["source"]["trace_sha256"]  # the prompts get other names here
    (tmp_path / "calibration.json").write_text(json.dumps(told), encoding="utf-8")
    found = _json(capsys, "--calibration", tmp_path, "--transfer", "sets")
    assert {(row["fitted_on"], row["used_on"]) for row in found["transfer"]} == {
        ("code", "text"),
        ("text", "code"),
    }
    used = np.isin(recorded.columns["prompt"], [i for i in range(24) if i % 3])
    row = next(r for r in found["transfer"] if r["used_on"] == "code" and r["rule"] == "empirical")
    skipped = recorded.columns["uncertainty"][used] <= row["threshold"]
    assert row["skip_rate_had"] == pytest.approx(skipped.mean())
    same = tuple(f"text/{i}" for i in range(24))
    trace.write(tmp_path / "trace.parquet", dataclasses.replace(header, prompt_names=same), recorded.columns)
    with pytest.raises(SystemExit) as stop:
        main(["compare", "--calibration", str(tmp_path), "--transfer", "sets", "--resamples", "100"])
    assert stop.value.code == 1
    assert "one set of prompts" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--calibration", "cu-hlm"], "calibration cu-hlm has no recorded tokens", 1),
        (["--calibration", "nowhere"], "existing file or folder; got 'nowhere'", 2),
        (["--resamples", "10"], "resamples must be at least 100; got 10", 2),
        (["--decoded", "nowhere.parquet"], "decoded must be an existing file; got 'nowhere.parquet'", 2),
        (["--truncation-budget", "1.5"], "--truncation-budget must lie in [0, 1]; got 1.5", 2),
        (["--transfer", "u-hlm"], "calibration u-hlm has no recorded tokens", 1),
        (["--risk-budget", "0"], "--risk-budget must lie in (0, 1); got 0", 2),
        (["--failure-probability", "1"], "--failure-probability must lie in (0, 1); got 1", 2),
        (["--bandwidth-hz", "-1"], "--bandwidth-hz must be positive; got -1", 2),
    ],
)
def test_refusals_are_one_line(folder, capsys, arguments, message, code):
    with pytest.raises(SystemExit) as stop:
        main(["compare", "--calibration", str(folder), *arguments])
    assert stop.value.code == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]


def test_a_calibration_without_latencies_names_the_option(folder, capsys, tmp_path):
    for name in ("trace.parquet", "calibration.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    fitted = load(tmp_path)
    dataclasses.replace(fitted, llm_latency_s=None).save(tmp_path / "calibration.json")
    with pytest.raises(SystemExit) as stop:
        main(["compare", "--calibration", str(tmp_path), "--resamples", "100"])
    assert stop.value.code == 1
    assert "--llm-latency-s is not known; give it, or a calibration that has it" in capsys.readouterr().err


def test_a_trace_that_its_calibration_was_not_fitted_on_is_refused(folder, tmp_path):
    (tmp_path / "calibration.json").write_bytes((folder / "calibration.json").read_bytes())
    other = record(4, num_prompts=4, length=5)
    trace.write(tmp_path / "trace.parquet", other.header, other.columns)
    with pytest.raises(ValueError, match=r"was fitted on 288 tokens; .* holds 20"):
        _ = load(tmp_path).trace


def test_a_folder_gives_its_tokens_and_a_trace_is_fitted(folder):
    fitted = load(folder)
    tokens = fitted.tokens
    assert tokens is not None
    assert fitted.trace is fitted.trace  # read once
    assert len(tokens) == fitted.num_tokens == 288
    again = load(folder / "trace.parquet")
    same = again.tokens
    assert again.line == fitted.line
    assert again.name == "trace"
    assert same is not None
    np.testing.assert_array_equal(same.uncertainty, tokens.uncertainty)
    latency = trace.read(folder / "trace.parquet").columns["llm_latency_s"].astype(float)
    assert fitted.llm_latency_s == pytest.approx(latency.mean())
    assert fitted.vocab_size == 48
    assert fitted.temperature == 0.7
    assert fitted.source["slm"] == "small"
    assert load(folder / "calibration.json").texts == again.texts == {"slm": folder / "trace.parquet"}


def test_nothing_heavy_is_imported(folder):
    code = (
        "import sys; from cuhlm_theory.cli import main\n"
        f"main(['compare', '--calibration', {str(folder)!r}, '--resamples', '100', '--json'])\n"
        "heavy = ('torch', 'pandas', 'sklearn', 'sympy', 'cvxpy', 'matplotlib', 'transformers')\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    json.loads(done.stdout)


def test_the_shipped_run_is_read(capsys):
    found = _json(capsys, "--calibration", "smollm2")
    for row in found["rows"]:
        assert row["predicted"] is not None
        assert row["measured"] is not None
        assert row["ci95"] is not None or row["bound"]
    agreeing, judged = found["agreement"]["identity"]
    assert agreeing >= 0.9 * judged
    accuracy = {row["run"]: row for row in found["accuracy"]}
    assert accuracy["slm"]["llm_log_likelihood"] < accuracy["hlm"]["llm_log_likelihood"]
    low, high = accuracy["slm"]["cosine_to_llm_ci95"]
    assert low < accuracy["slm"]["cosine_to_llm"] < high
    fitted = load("smollm2")
    tokens = fitted.tokens
    assert tokens is not None
    assert fitted.num_prompts >= 100
    assert len(tokens) >= 6000
    assert fitted.acceptance is not None
    assert fitted.acceptance > 0.5
