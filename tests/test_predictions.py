"""Predictions of a line-up: written before, joined after, and a joint test that luck does not pass."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from calibration import compare, runs
from calibration.calibration import Calibration, PassTime
from calibration.compare import Prediction, Predictions
from calibration.compare._predictions import _with_intervals
from calibration.decoding import Settings
from calibration.prompts import Prompt
from calibration.trace import write
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.parameters import Codec, Latency, Link, System
from cuhlm_theory.rejection import Line
from cuhlm_theory.schemes import SCHEMES
from tests.recording import TEMPERATURE, VOCAB, record, run_u_hlm

SHIPPED = sorted(Path(runs.__file__).parent.glob("data/*/runs/*/predictions.json"))

LENGTH, NUM_PROMPTS = 15, 24
SYSTEM = System(
    link=Link(bandwidth_hz=1e4, snr=3.0),
    codec=Codec(vocab_size=VOCAB),
    latency=Latency(slm_s=0.01, llm_s=0.05, charge_resync=False),
)


def lineup(*schemes, kind="new", length=LENGTH):
    settings = [Settings(scheme=scheme, temperature=TEMPERATURE, max_new_tokens=length) for scheme in schemes]
    return runs.LineUp(
        prompts=[Prompt(f"{kind}/{i}", "a") for i in range(NUM_PROMPTS)],
        runs=[runs.Run(name=one.scheme.name, settings=one) for one in settings],
        system=SYSTEM,
    )


@pytest.fixture(scope="module")
def calibration(tmp_path_factory):
    recorded = record(1, num_prompts=80)
    file = tmp_path_factory.mktemp("pair") / "trace.parquet"
    write(file, recorded.header, recorded.columns)
    return Calibration(name="simulated", line=Line(0.5, 0.0), texts={"slm": file}, num_tokens=len(recorded))


@pytest.fixture(scope="module")
def u_hlm(calibration):
    return compare.predict(calibration, lineup(SCHEMES["u-hlm"].using(threshold=0.4)))


def decoded(found, length=LENGTH, **changes):
    columns = run_u_hlm(5, 0.4, num_prompts=NUM_PROMPTS, length=length) | changes
    header = {**found.lineup.described(), "predictions_sha256": found.sha256}
    return compare.DecodedTable(header=header, columns=columns | {"run": 0 * columns["round"]})


def test_a_run_of_the_recorded_law_is_inside_its_predictions(u_hlm):
    verdict = compare.judge_predictions(u_hlm, decoded(u_hlm))
    rows = {row.quantity: row for row in verdict.rows}
    categories = {name: row.category for name, row in rows.items()}
    assert categories == {
        "skip rate": "forecast",
        "bias": "forecast",
        "uplink [bit/token]": "identity",
        "downlink [bit/token]": "identity",
        "throughput [token/s]": "forecast",
        "entries a transmission": "identity",
        "rejection of a draft": "forecast",
    }
    assert verdict.num_forecasts == 4
    assert verdict.share_inside == np.mean(
        [row.inside for row in rows.values() if row.category == "forecast"]
    )
    assert verdict.share_inside == 1.0
    assert verdict.p_value > 0.01
    columns = decoded(u_hlm).columns
    assert rows["skip rate"].measured == pytest.approx(np.mean(columns["action"] == 0))
    seconds = sum(columns[name] for name in ("slm_s", "uplink_s", "llm_s", "other_s"))
    assert rows["throughput [token/s]"].measured == pytest.approx(1.0 / seconds.mean())
    assert all(row.holm_p_value >= row.p_value for row in rows.values() if row.category == "forecast")


def test_a_run_of_another_law_is_seen(u_hlm):
    other = run_u_hlm(6, 0.7, num_prompts=NUM_PROMPTS, length=LENGTH)
    verdict = compare.judge_predictions(u_hlm, decoded(u_hlm, **other))
    assert verdict.share_inside < 0.5
    assert verdict.p_value < 0.01
    assert min(row.holm_p_value for row in verdict.rows if row.category == "forecast") < 0.01


def test_the_interval_is_that_of_the_two_errors(u_hlm):
    """Skip rate of iid prompts: the variance of the trace's mean and that of the run's add."""
    row = next(row for row in u_hlm.rows if row.quantity == "skip rate")
    expected, drawn = row.expected[0] / row.expected[1], row.drawn[0] / row.drawn[1]
    assert row.predicted == pytest.approx(row.expected[0].sum() / row.expected[1].sum())
    half = 1.96 * np.sqrt(expected.var() / 80 + drawn.var() / NUM_PROMPTS)
    low, high = row.prediction_interval95
    assert (high - low) / 2 == pytest.approx(half, rel=0.05)
    assert (high + low) / 2 == pytest.approx(row.predicted, abs=0.1 * half)
    assert drawn.var() > expected.var()  # the dice of a run


def passes_off_by(relative):
    part = dict.fromkeys(("fixed_s", "per_token_s", "per_context_token_s"), 0.01)
    errors = {f"{name}_error": 0.0 for name in part} | {f"{name}_ci95": (0.01, 0.01) for name in part}
    return PassTime(**part, **errors, relative_residual=relative, num_passes=30)


def test_a_measured_pass_is_predicted_as_well_as_passes_were_timed(calibration, tmp_path):
    """Over log-normal lengths of the two kinds of pass, of which a run has its shares."""
    wanted = dataclasses.replace(lineup(SCHEMES["u-hlm"].using(threshold=0.4)), one_by_one=True)
    timed = dataclasses.replace(calibration, slm_pass=passes_off_by(0.2), llm_pass=passes_off_by(0.3))
    plain, wide = (compare.predict(one, wanted) for one in (calibration, timed))
    for one, other in zip(plain.rows, wide.rows, strict=True):
        if one.quantity != "throughput [token/s]":
            assert one.prediction_interval95 == other.prediction_interval95
            continue
        slm, llm = one.compute_share
        assert slm == pytest.approx(0.01 * one.predicted, rel=1e-4)  # a draft a token
        assert 0.0 < llm < 1.0 - slm
        halves = [np.diff(np.log(row.prediction_interval95))[0] / 2 for row in (one, other)]
        passes = 1.96 * np.hypot(0.2 * slm, 0.3 * llm)
        assert halves[1] == pytest.approx(np.hypot(halves[0], passes), rel=0.05)
    assert "pass_error" not in json.loads(plain.to_json())  # as files of before
    wide.save(tmp_path / "predictions.json")
    wide_again = Predictions.read(tmp_path / "predictions.json")
    assert wide_again.sha256 == wide.sha256
    np.testing.assert_array_equal(wide_again.errors(), wide.errors())


def test_speed_by_the_least_acceptance_is_a_lower_bound(calibration):
    """A whole law on a lattice: what dropping a tail and rounding move is charged in full."""
    q_s = SCHEMES["q-s"].using(num_drafts=2, lattice_levels=5)
    found = compare.predict(calibration, lineup(q_s, SCHEMES["dssd"].using(num_drafts=2)))
    speeds = ("tokens per round", "throughput [token/s]")
    rows = {(row.run, row.quantity): row for row in found.rows if row.quantity in speeds}
    assert len(rows) == 4
    for (run, _), row in rows.items():
        low, high = row.prediction_interval95
        assert row.bound == row.is_least == (run == "q-s")
        assert not row.is_largest
        assert low is not None
        assert (high is None) == row.bound


def test_drawing_every_chance_keeps_the_mean(calibration):
    schemes = [
        SCHEMES[name].given({"threshold": 0.7, "num_drafts": 3, "num_candidates": 4, "skip_rate": 0.3})
        for name in ("rand-hlm", "cu-hlm-exact", "kept-law-exact", "verify-on-sync", "tk-slt", "dssd")
    ]
    for row in compare.predict(calibration, lineup(*schemes)).rows:
        mean = row.drawn[0].sum() / row.drawn[1].sum()
        spread = np.std(row.drawn[0] / row.drawn[1]) / np.sqrt(80)
        assert mean == pytest.approx(row.predicted, rel=1e-5, abs=4.0 * spread), (row.run, row.quantity)


def test_each_kind_of_prompt_is_predicted_from_its_own(calibration, tmp_path):
    recorded = record(1, num_prompts=80)
    names = tuple(f"{'code' if i < 20 else 'text'}/{i}" for i in range(80))
    header = dataclasses.replace(recorded.header, prompt_names=names)
    write(tmp_path / "trace.parquet", header, recorded.columns)
    fitted = dataclasses.replace(
        calibration, texts={"slm": tmp_path / "trace.parquet"}, _traces={}, _tokens=None
    )
    scheme = SCHEMES["u-hlm"].using(threshold=0.4)
    found = compare.predict(fitted, lineup(scheme, kind="code"))
    row = next(row for row in found.rows if row.quantity == "skip rate")
    assert row.predicted == pytest.approx(row.expected[0][:20].sum() / row.expected[1][:20].sum())
    pooled = compare.predict(fitted, lineup(scheme, kind="poem"))
    row = next(row for row in pooled.rows if row.quantity == "skip rate")
    assert row.predicted == pytest.approx(row.expected[0].sum() / row.expected[1].sum())


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: f"{file.parts[-4]}, {file.parts[-2]}")
def test_what_was_predicted_before_a_shipped_run_is_read_with_the_hash_that_the_run_keeps(file):
    found = Predictions.read(file)
    assert found.sha256 == hashlib.sha256(file.read_bytes().rstrip()).hexdigest()
    header = compare.read_decoded(file.with_name("decoded.parquet")).header
    assert header["predictions_sha256"] == found.sha256


def test_a_file_is_read_back_with_its_hash(u_hlm, tmp_path):
    u_hlm.save(tmp_path / "p.json")
    again = Predictions.read(tmp_path / "p.json")
    assert again.sha256 == u_hlm.sha256
    assert again.lineup == u_hlm.lineup
    np.testing.assert_array_equal(again.errors(), u_hlm.errors())
    told = json.loads((tmp_path / "p.json").read_text())
    assert {"quantity", "class", "predicted", "prediction_interval95"} <= set(told["predictions"][0])
    told["predictions"][0]["predicted"] += 1e-3
    (tmp_path / "other.json").write_text(json.dumps(told))
    changed = Predictions.read(tmp_path / "other.json")
    assert changed.sha256 != u_hlm.sha256
    with pytest.raises(ValueError, match="predictions must be those that the run was made of, sha256"):
        compare.judge_predictions(changed, decoded(u_hlm))
    for text in ("{", "[]", '{"format": "x"}', "[" * 100_000, '{"format": "x", "format": "x"}', "null", "1"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match="must be one of `cuhlm predict`"):
            Predictions.read(tmp_path / "bad.json")


def test_a_trace_that_is_too_short_is_refused(calibration):
    longer = lineup(SCHEMES["u-hlm"])
    settings = dataclasses.replace(longer.runs[0].settings, max_new_tokens=21)
    longer = dataclasses.replace(longer, runs=[dataclasses.replace(longer.runs[0], settings=settings)])
    with pytest.raises(MissingInputError, match="ends after 20 tokens; give --max-new-tokens at most that"):
        compare.predict(calibration, longer)


# --------------------------------------------------------------------------------- the joint test, calibrated

NUM_ROWS, RECORDED = 10, 60


def world(rng, *, wide=1.0):
    """Predictions of rows that share a prompt's effect, and a decoded run's means of the same law."""

    def prompts(num):
        own = rng.normal(size=(num, 1)) + 0.7 * rng.normal(size=(num, NUM_ROWS))  # what the texts expect
        return 5.0 + own, 5.0 + own + 0.7 * wide * rng.normal(size=own.shape)

    expected, drawn = prompts(RECORDED)
    ones = np.ones(RECORDED)
    rows = tuple(
        Prediction(
            run="slm",
            quantity=str(i),
            category="forecast",
            bound=False,
            text="slm",
            expected=np.stack([expected[:, i], ones]),
            drawn=np.stack([5.0 + wide * (drawn[:, i] - 5.0), ones]),
        )
        for i in range(NUM_ROWS)
    )
    made = Predictions(
        lineup=lineup(SCHEMES["slm"]),
        calibration="world",
        traces={"slm": {"prompts": [f"old/{i}" for i in range(RECORDED)], "sha256": ""}},
        rows=rows,
        seed=int(rng.integers(2**31)),
        num_resamples=400,
    )
    return _with_intervals(made), prompts(NUM_PROMPTS)[1].mean(axis=0)


def verdicts(monkeypatch, num, *, shift=0.0, wide=1.0, seed=0):
    from calibration.compare import _predictions

    rng = np.random.default_rng(seed)
    table = compare.DecodedTable(header={"predictions_sha256": None}, columns={})
    for _ in range(num):
        found, means = world(rng, wide=wide)
        table.header["predictions_sha256"] = found.sha256
        told = {("slm", str(i)): means[i] + shift for i in range(NUM_ROWS)}
        monkeypatch.setattr(_predictions, "_measured", lambda *_, told=told: told)
        yield compare.judge_predictions(found, table)


def test_where_the_predictions_hold_the_joint_test_rejects_as_often_as_it_says(monkeypatch):
    found = list(verdicts(monkeypatch, 200))
    p_values = np.array([verdict.p_value for verdict in found])
    assert np.mean(p_values < 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    assert np.mean(p_values < 0.5) == pytest.approx(0.5, abs=3.5 * 0.5 / np.sqrt(200))
    assert np.mean([verdict.share_inside for verdict in found]) == pytest.approx(0.95, abs=0.03)


def test_predictions_that_are_off_or_too_wide_do_not_pass(monkeypatch):
    off = [verdict.p_value for verdict in verdicts(monkeypatch, 40, shift=1.2)]
    wide = list(verdicts(monkeypatch, 40, wide=6.0))
    assert np.mean(np.array(off) < 0.05) > 0.9
    assert np.mean([verdict.share_inside for verdict in wide]) > 0.99
    assert np.mean([verdict.p_value < 0.05 for verdict in wide]) > 0.5
