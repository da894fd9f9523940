"""Time of a pass: the fit against planes that are known, and the timing on a tiny model."""

import json
import shutil

import numpy as np
import pytest

from calibration import load, passes
from calibration.calibration import Calibration
from calibration.finding import DATA
from cuhlm_theory.ladder import Ladder
from cuhlm_theory.parameters import Latency

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def _grid():
    width, context = np.meshgrid(np.array(passes.WIDTHS, float), np.array(passes.CONTEXTS, float))
    return width.ravel(), context.ravel()


def test_the_intervals_hold_the_truth_as_often_as_they_say():
    width, context = _grid()
    truth = {"fixed_s": 0.05, "per_token_s": 0.004, "per_context_token_s": 2e-5}
    plane = truth["fixed_s"] + truth["per_token_s"] * width + truth["per_context_token_s"] * context
    rng = np.random.default_rng(0)
    num = 800
    inside = dict.fromkeys(truth, 0)
    errors = {name: [] for name in truth}
    values = {name: [] for name in truth}
    for _ in range(num):
        found = passes.fit(width, context, plane * (1.0 + 0.05 * rng.standard_normal(plane.shape)))
        for name, value in truth.items():
            low, high = getattr(found, f"{name}_ci95")
            inside[name] += low <= value <= high
            errors[name].append(getattr(found, f"{name}_error"))
            values[name].append(getattr(found, name))
    for name in truth:
        assert inside[name] / num == pytest.approx(0.95, abs=0.03)
        assert np.mean(errors[name]) == pytest.approx(np.std(values[name]), rel=0.12)


def test_a_pass_is_the_sum_of_its_parts():
    width, context = _grid()
    found = passes.fit(width, context, 0.3 + 0.01 * width + 1e-4 * context)
    assert found.seconds(3, 100) == pytest.approx(0.34, rel=1e-9)
    assert found.relative_residual == pytest.approx(0.0, abs=1e-12)
    assert found.num_passes == len(width)


def test_the_residual_tells_what_a_plane_misses():
    width, context = _grid()
    bent = passes.fit(width, context, 0.1 + 0.01 * width**2 + 1e-5 * context)
    straight = passes.fit(width, context, 0.1 + 0.01 * width + 1e-5 * context)
    assert bent.relative_residual > 0.1 > straight.relative_residual
    assert bent.per_token_s_error > 1e3 * straight.per_token_s_error


@pytest.mark.parametrize(
    ("width", "context", "seconds", "message"),
    [
        ([1, 2, 3], [1, 1, 2], [1, 1, 1], "N >= 4"),
        ([1, 2, 3, 4], [1, 2, 1, 2], [1, 1, 0, 1], "seconds must be positive"),
        ([1, 2, 3, 4], [1, 2, 1, 2], [1, 1, np.nan, 1], "seconds must be positive"),
        ([1, 1, 1, 1], [1, 2, 1, 2], [1, 1, 1, 1], "must both vary"),
        ([1, 2, 3, 4], [2, 4, 6, 8], [1, 1, 1, 1], "must both vary"),
    ],
)
def test_refuses_passes_that_fix_no_plane(width, context, seconds, message):
    with pytest.raises(ValueError, match=message):
        passes.fit(width, context, np.array(seconds, float))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=80,
    )
    return transformers.LlamaForCausalLM(config).eval().requires_grad_(False)


def test_every_width_is_timed_onto_every_context_that_fits(model):
    width, context, seconds = passes.time_passes(model, widths=(1, 3), contexts=(8, 64, 256), num_repeats=2)
    assert list(zip(width, context, strict=True)) == [(1, 8), (3, 8), (1, 64), (3, 64)]
    assert np.all((seconds > 0.0) & (seconds < 10.0))


def test_a_pass_leaves_the_cache_as_it_was(model, monkeypatch):
    lengths = []
    timed = passes._pass_s

    def watched(model, ids, cache):
        lengths.append((cache.get_seq_length(), ids.shape[1]))
        return timed(model, ids, cache)

    monkeypatch.setattr(passes, "_pass_s", watched)
    passes.time_passes(model, widths=(1, 3), contexts=(8,), num_repeats=2)
    assert lengths == [(8, 1), (8, 3)] * 3  # a warm-up and two repeats


def test_refuses_what_cannot_be_timed(model):
    with pytest.raises(ValueError, match="contexts must be at most 79 for this model; got 128"):
        passes.time_passes(model, widths=(1,), contexts=(128,))
    with pytest.raises(ValueError, match="num_repeats must"):
        passes.time_passes(model, num_repeats=0)


def test_the_command_writes_both_models(model, monkeypatch, tmp_path, cuhlm_json):
    from calibration import pairs

    pair = pairs.Pair(
        slm=model,
        llm=model,
        tokenizer=None,
        slm_id="tiny",
        llm_id="tiny",
        slm_sha256="",
        llm_sha256="",
        vocab_size=20,
    )
    monkeypatch.setattr(pairs, "load_pair", lambda *_, **__: pair)
    shown = cuhlm_json("passes", "--num-repeats", "1", "--out", tmp_path / "passes.json")
    written = json.loads((tmp_path / "passes.json").read_text())
    assert len(written["llm"]["passes"]) == 2 * len(passes.WIDTHS)
    assert written["slm"]["per_token_s_ci95"][0] < written["slm"]["per_token_s_ci95"][1]
    assert written["num_threads"] >= 1
    assert {key: shown[key] for key in written} == written
    assert shown["files"] == [str(tmp_path / "passes.json")]
    assert shown["fits"]["slm"]["fixed_s"] == pytest.approx(written["slm"]["fixed_s"])


def _timed(**parts):
    """What the command writes of two models whose passes are a plane, the large one's ten times as long."""
    cells = [
        {"width": n, "context": c, "seconds": parts["fixed_s"] + parts["each_s"] * n + 1e-5 * c}
        for n in passes.WIDTHS
        for c in passes.CONTEXTS
    ]
    slower = [{**cell, "seconds": 10 * cell["seconds"]} for cell in cells]
    return {"slm": {"passes": cells}, "llm": {"passes": slower}, "date": "2026-01-01T00:00:00Z"}


def test_a_calibration_takes_over_what_was_timed(tmp_path, run_cuhlm):
    (tmp_path / "smollm2" / "llm").mkdir(parents=True)
    for name in ("calibration.json", "llm/trace.parquet"):
        shutil.copy(DATA / "smollm2" / name, tmp_path / "smollm2" / name)
    (tmp_path / "timed.json").write_text(json.dumps(_timed(fixed_s=0.02, each_s=0.001)))
    told = ("--timed", tmp_path / "timed.json", "--into", tmp_path / "smollm2", "--context", "100")
    code, shown, _ = run_cuhlm("passes", *told)
    assert code == 0
    assert "0.001" in shown
    for text in ("auto", "llm"):
        found = load(tmp_path / "smollm2", text=text)
        assert found.slm_latency_s == pytest.approx(0.022)
        assert found.llm_latency_s == pytest.approx(0.22)
        assert found.llm_per_token_s == pytest.approx(0.01)
        assert found.llm_pass.seconds(4, 200) == pytest.approx(0.26)
        assert found.source["latencies"] == {"date": "2026-01-01T00:00:00Z", "mean_context": 100.0}
        assert Calibration.from_json(found.to_json()).slm_pass == found.slm_pass
    latency = Ladder({}, {"calibration": found}).build(Latency)
    assert latency.llm.seconds(3) == pytest.approx(found.llm_pass.seconds(3, 100))
    asked = ("optimize", "--calibration", tmp_path / "smollm2", "--uncertainty", "uniform", "--json")
    inputs = json.loads(run_cuhlm(*asked)[1])["inputs"]
    assert inputs["llm_per_token_s"] == pytest.approx(0.01)
    assert inputs["llm_latency_from"] == "calibration"
    code, _, err = run_cuhlm("passes", *told[:-2])
    assert (code, err.startswith("cuhlm: --context must be given with --into")) == (2, True)
    (tmp_path / "none").mkdir()
    code, _, err = run_cuhlm("passes", *told[:3], tmp_path / "none", *told[4:])
    assert (code, "holds no calibration.json" in err) == (1, True)
    (tmp_path / "timed.json").write_text('{"slm": {"passes": [{"width": 1}]}}')
    code, _, err = run_cuhlm("passes", *told)
    assert (code, "--timed must hold width, context and seconds of the passes of slm" in err) == (2, True)


def test_a_step_between_one_token_and_two_leaves_the_latency_of_one_alone():
    """As where weights are copied at every pass of two tokens or more: the plane misses it, and says so."""
    found = _timed(fixed_s=0.02, each_s=0.001)
    for cell in found["llm"]["passes"]:
        cell["seconds"] += 0.2 * (cell["width"] > 1)
    known = passes.known_passes(found, 100.0)
    assert known["llm_latency_s"] == pytest.approx(0.22)
    assert known["llm_pass"].relative_residual > 0.1 > known["slm_pass"].relative_residual
    assert known["llm_pass"].seconds(1, 100) > 1.2 * known["llm_latency_s"]


def test_a_file_whose_pass_is_no_fit_is_refused():
    written = json.loads(load("smollm2").to_json())
    for bad in (3, {"fixed_s": 1.0}, {**dict.fromkeys(map(str, range(11)), 1.0)}):
        with pytest.raises(ValueError, match="calibration: llm_pass must be a fitted time of a pass; got"):
            Calibration.from_json(json.dumps(written | {"llm_pass": bad}))
