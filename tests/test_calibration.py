"""Calibrations: the fit recovers a known line, the file keeps it, damaged files are refused."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from calibration import Calibration, finding, load, trace
from calibration.fit import fit, fit_trace
from cuhlm_theory._files import whole
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import CuhlmError, MissingInputError
from cuhlm_theory.rejection import Line
from tests.recording import VOCAB, record

SLOPE, INTERCEPT = 0.7, 0.1


def simulate(rng, num_prompts=100, length=40, slope=SLOPE, intercept=INTERCEPT):
    """Draw tokens whose E[beta | u] is the line, with prompts that differ in level and in their u."""
    centre = rng.uniform(0.2, 0.8, size=num_prompts)
    u = np.clip(centre[:, None] + rng.uniform(-0.2, 0.2, size=(num_prompts, length)), 0.0, 1.0)
    shift = rng.uniform(-0.08, 0.08, size=(num_prompts, 1))
    beta = slope * u + intercept + shift + rng.uniform(-0.02, 0.02, size=u.shape)
    prompt = np.repeat(np.arange(num_prompts), length)
    assert beta.min() >= 0.0
    assert beta.max() <= 1.0
    return Tokens(uncertainty=u.reshape(-1), rejection=beta.reshape(-1), prompt=prompt)


def test_a_line_without_noise_is_found_to_rounding():
    u = np.array([0.0, 0.0, 0.2, 0.5, 0.9, 1.0])
    tokens = Tokens(uncertainty=u, rejection=0.5 * u, prompt=np.array([0, 0, 1, 1, 2, 2]))
    found = fit(tokens, name="x")
    assert found.line.slope == pytest.approx(0.5, abs=1e-12)
    assert found.line.intercept == pytest.approx(0.0, abs=1e-12)
    assert found.correlation == pytest.approx(1.0, abs=1e-12)
    assert found.line.delta == pytest.approx(4 / 6)  # u = 0 has beta = 0: kept, and not a possible rejection
    assert found.acceptance == pytest.approx(1 - 0.5 * u.mean())
    assert found.estimates["risk_averse"] == pytest.approx(0.0, abs=1e-12)
    assert found.estimates["risk_prone"] == pytest.approx(4 / 3)
    assert (found.num_tokens, found.num_prompts) == (6, 3)


def test_the_fit_agrees_with_scipy_on_noisy_tokens():
    tokens = simulate(np.random.default_rng(2))
    found = fit(tokens, name="x", num_resamples=200)
    truth = stats.linregress(tokens.uncertainty, tokens.rejection)
    assert found.line.slope == pytest.approx(truth.slope, abs=1e-10)
    assert found.line.intercept == pytest.approx(truth.intercept, abs=1e-10)
    assert found.correlation == pytest.approx(truth.rvalue, abs=1e-10)
    assert found.estimates["risk_averse"] == pytest.approx(-truth.intercept / truth.slope)
    assert found.estimates["risk_prone"] == pytest.approx((found.line.delta - truth.intercept) / truth.slope)


def test_every_interval_holds_its_estimate_and_the_truth_here():
    tokens = simulate(np.random.default_rng(3))
    found = fit(tokens, name="x", seed=5)
    for name in ("slope", "intercept", "correlation", "acceptance", "risk_averse", "risk_prone"):
        low, high = found.ci95[name]
        assert low < found.estimates[name] < high, name
    assert found.ci95["slope"][0] < SLOPE < found.ci95["slope"][1]
    assert found.ci95["intercept"][0] < INTERCEPT < found.ci95["intercept"][1]
    assert found.ci95["slope"] == fit(tokens, name="x", seed=5).ci95["slope"]
    assert found.ci95["slope"] != fit(tokens, name="x", seed=6).ci95["slope"]
    assert "BCa" in found.source["intervals"]
    assert "seed 5" in found.source["intervals"]


@pytest.mark.slow
def test_intervals_cover_a_known_line_within_binomial_error():
    rng = np.random.default_rng(11)
    repeats = 600
    covered = np.zeros(2)
    for _ in range(repeats):
        found = fit(simulate(rng, num_prompts=80, length=15), name="x", num_resamples=500)
        covered += [
            found.ci95["slope"][0] <= SLOPE <= found.ci95["slope"][1],
            found.ci95["intercept"][0] <= INTERCEPT <= found.ci95["intercept"][1],
        ]
    error = np.sqrt(0.95 * 0.05 / repeats)
    assert np.all(np.abs(covered / repeats - 0.95) < 3 * error + 0.01)


def test_tokens_with_no_uncertainty_are_kept():
    u = np.array([0.0] * 50 + [0.4] * 50)
    beta = np.array([0.0] * 50 + [0.4] * 25 + [0.0] * 25)
    found = fit(Tokens(uncertainty=u, rejection=beta, prompt=np.arange(100) % 10), name="x")
    assert found.line.slope == pytest.approx(0.5)
    assert found.line.delta == pytest.approx(0.25)
    assert found.num_tokens == 100


def test_without_prompts_or_with_one_there_are_no_intervals():
    u = np.linspace(0.0, 1.0, 30)
    found = fit(Tokens(uncertainty=u, rejection=0.5 * u), name="x")
    assert found.ci95 == {}
    assert found.num_prompts == 1
    assert found.line.slope == pytest.approx(0.5)


def test_a_falling_line_has_no_thresholds():
    u = np.linspace(0.0, 1.0, 30)
    found = fit(Tokens(uncertainty=u, rejection=0.5 - 0.5 * u, prompt=np.arange(30) % 5), name="x")
    assert found.line.slope == pytest.approx(-0.5)
    assert found.estimates["risk_averse"] is None
    assert "risk_averse" not in found.ci95
    assert found.estimates["risk_prone"] is None


def test_tokens_that_are_all_alike_determine_no_line():
    tokens = Tokens(uncertainty=np.full(9, 0.3), rejection=np.linspace(0, 1, 9), prompt=np.arange(9))
    with pytest.raises(
        CuhlmError, match=r"no slope: all 9 tokens have uncertainty 0\.3; record more prompts"
    ):
        fit(tokens, name="x")


def test_a_constant_rejection_has_no_correlation():
    u = np.linspace(0.0, 1.0, 12)
    found = fit(Tokens(uncertainty=u, rejection=np.full(12, 0.25), prompt=np.arange(12)), name="x")
    assert found.line.slope == pytest.approx(0.0, abs=1e-12)
    assert found.correlation is None or abs(found.correlation) < 1e-6


def test_what_the_header_says_is_copied_and_the_trace_goes_along():
    recorded = record(1, num_prompts=6, length=5)
    found = fit_trace(recorded, name="pair", num_resamples=50)
    assert (found.name, found.vocab_size, found.temperature) == ("pair", VOCAB, 0.7)
    latency = recorded.columns["llm_latency_s"].astype(float)
    assert found.llm_latency_s == pytest.approx(latency.mean())
    assert (found.source["slm"], found.writer) == ("small", "slm")
    assert found.trace is recorded
    assert found.text("llm") is None
    assert found.without_tokens().trace is found.without_tokens().tokens is None
    assert found.without_tokens() == found


def test_quantiles_are_those_of_the_uncertainty_and_become_a_law():
    tokens = simulate(np.random.default_rng(4))
    found = fit(tokens, name="x", num_resamples=100)
    assert len(found.uncertainty_quantile) == 101
    assert found.uncertainty_quantile[0] == tokens.uncertainty.min()
    assert found.uncertainty_quantile[50] == pytest.approx(np.median(tokens.uncertainty))
    assert found.law.uncertainty.tolist() == tokens.uncertainty.tolist()
    law = found.without_tokens().law
    assert law.uncertainty.size == 100
    assert law.uncertainty.mean() == pytest.approx(tokens.uncertainty.mean(), abs=0.003)
    line = found.line
    np.testing.assert_allclose(law.rejection, line.slope * law.uncertainty + line.intercept)


def test_the_law_clips_the_line():
    found = Calibration(name="x", line=Line(4.0, -1.0), uncertainty_quantile=tuple(np.linspace(0, 1, 5)))
    assert found.law.rejection.tolist() == [0.0, 0.5, 1.0, 1.0]


def test_a_published_line_has_no_law():
    assert finding.published("cu-hlm").law is None


@pytest.mark.parametrize(
    ("name", "averse", "prone"), [("cu-hlm", "0.0810", "0.8117"), ("u-hlm", "0.0732", "0.4402")]
)
def test_published_lines_give_the_printed_thresholds(name, averse, prone):
    found = load(name)
    assert found.tokens is found.trace is None
    assert f"{found.line.risk_averse:.4f}" == averse
    assert f"{found.line.risk_prone:.4f}" == prone
    assert found.ci95 == {}
    assert found.vocab_size == 32_000
    assert found.source["slope"].startswith("printed: ")
    assert found.source["delta"].startswith({"cu-hlm": "reconstructed: ", "u-hlm": "printed: "}[name])


def test_only_published_lines_are_published():
    with pytest.raises(ValueError, match="calibration must be one of cu-hlm, u-hlm; got 'smollm2'"):
        finding.published("smollm2")


def test_a_file_gives_back_what_was_written(tmp_path):
    found = fit(simulate(np.random.default_rng(9)), name="x", num_resamples=100)
    file = tmp_path / "calibration.json"
    found.save(file)
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.json"]
    for place in (file, str(file), tmp_path):
        assert load(place) == found
        assert load(place).tokens is None


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path):
    file = tmp_path / "calibration.json"
    line = finding.published("u-hlm")
    line.save(file)
    broken = dataclasses.replace(line, source={"x": object()})
    with pytest.raises(TypeError):
        broken.save(file)
    assert load(file) == line
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.json"]


def _entries(**changes):
    return {**json.loads(finding.published("u-hlm").to_json()), **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slope": None}, "slope must be a finite number; got None"),
        ({"slope": "0.8"}, "slope must be a finite number; got '0.8'"),
        ({"slope": True}, "slope must be a finite number; got True"),
        ({"slope": float("nan")}, "slope must be a finite number; got nan"),
        ({"delta": float("inf")}, "delta must be a number in \\[0, 1\\]; got inf"),
        ({"slope_ci95": [0.1]}, r"slope_ci95 must be null or \[low, high\]; got \[0.1\]"),
        ({"slope_ci95": 0.1}, r"slope_ci95 must be null or \[low, high\]; got 0.1"),
        ({"num_tokens": 1.5}, "num_tokens must be a count; got 1.5"),
        ({"num_tokens": -1}, "num_tokens must be a count; got -1"),
        ({"num_prompts": None}, "num_prompts must be a count; got None"),
        ({"uncertainty_quantile": [0.0, "x"]}, "uncertainty_quantile must be a rising list of numbers"),
        ({"source": []}, r"source must be an object; got \[\]"),
        ({"name": 3}, "name must be a text; got 3"),
        ({"format": "cuhlm-calibration/0"}, "must have format 'cuhlm-calibration/1'"),
        ({"slop": 1.0}, "has an unknown key 'slop'"),
    ],
)
def test_refuses_a_calibration_with_a_wrong_entry(changes, message):
    with pytest.raises(ValueError, match=message):
        Calibration.from_json(json.dumps(_entries(**changes)))


@pytest.mark.parametrize("name", ["name", "slope", "intercept"])
def test_refuses_a_calibration_without_a_line(name):
    entries = _entries()
    del entries[name]
    with pytest.raises(ValueError, match=f"lacks the key '{name}'"):
        Calibration.from_json(json.dumps(entries))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"slope": 1}'])
def test_refuses_what_is_not_a_calibration(text):
    with pytest.raises(ValueError, match=r"origin file (is not JSON|must have format)"):
        Calibration.from_json(text, origin="origin file")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_refuses_a_line_that_is_not_finite(value):
    with pytest.raises(ValueError, match="intercept must be finite"):
        Calibration(name="x", line=Line(1.0, value))


def test_refuses_places_where_no_calibration_is(tmp_path):
    with pytest.raises(ValueError, match="existing file or folder; got 'nowhere'"):
        load("nowhere")
    with pytest.raises(ValueError, match=r"must hold calibration\.json; it does not"):
        load(tmp_path)
    binary = tmp_path / "calibration.json"
    binary.write_bytes(b"\xff\xfe\x00PAR1")
    with pytest.raises(ValueError, match=r"is neither JSON text nor a \.parquet trace"):
        load(binary)


def test_loading_a_published_line_imports_nothing_heavy():
    heavy = (
        "torch",
        "pyarrow",
        "pandas",
        "sklearn",
        "transformers",
        "scipy.stats",
        "scipy.optimize",
        "sympy",
        "cvxpy",
    )
    told = f"print([name for name in {heavy!r} if name in sys.modules])"
    code = f"import sys, calibration; calibration.load('cu-hlm'); {told}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_calibration_on_its_own_has_no_trace(tmp_path):
    finding.published("u-hlm").save(tmp_path / "calibration.json")
    for place in (tmp_path, tmp_path / "calibration.json", "cu-hlm"):
        assert load(place).texts == {}
        with pytest.raises(MissingInputError, match="has no recorded tokens; give a folder"):
            load(place).needed_trace()


def test_the_texts_of_a_pair_are_found_beside_it_and_read_once(tmp_path):
    for number, place in enumerate(("slm", "llm", "hybrid-0.5", "hybrid-0.05")):
        (tmp_path / place).mkdir(exist_ok=True)
        recorded = record(number, num_prompts=4, length=5)
        trace.write(tmp_path / place / "trace.parquet", recorded.header, recorded.columns)
    fit_trace(record(0, num_prompts=4, length=5), name="x", num_resamples=20).save(
        tmp_path / "calibration.json"
    )
    (tmp_path / "hybrid-0.7").mkdir()  # without a trace
    found = load(tmp_path)
    assert list(found.texts) == ["slm", "llm", "hybrid-0.05", "hybrid-0.5"]
    assert found.folder == tmp_path
    assert found.text("llm") is found.text("llm")
    assert found.trace is found.text("slm")
    assert found.text("hybrid-0.05").columns["draft"].tolist() != found.trace.columns["draft"].tolist()
    assert found.text("hybrid-0.9") is None
    assert repr(found).endswith("20 tokens of 4 prompts, texts slm, llm, hybrid-0.05, hybrid-0.5)")
    assert found.contexts.text("hybrid-0.5").rejection.tolist() == [
        pytest.approx(value) for value in found.text("hybrid-0.5").columns["rejection"]
    ]


def test_a_folder_of_the_first_edition_has_its_one_text(tmp_path):
    recorded = record(0, num_prompts=4, length=5)
    trace.write(tmp_path / "trace.parquet", recorded.header, recorded.columns)
    fit_trace(recorded, name="x", num_resamples=20).save(tmp_path / "calibration.json")
    assert load(tmp_path).texts == {"slm": tmp_path / "trace.parquet"}
    assert len(load(tmp_path).tokens) == 20


def test_one_writer_can_be_asked_for_and_what_belongs_to_the_pair_stays():
    both, large = load("smollm2"), load("smollm2", text="llm")
    assert (list(both.texts), list(large.texts)) == (["slm", "llm", "hybrid-0.5"], ["llm"])
    assert (large.writer, large.own_text, large.num_tokens) == ("llm", "llm", 11103)
    assert large.line.slope == pytest.approx(1.135, abs=5e-4)
    assert (large.llm_latency_s, large.vocab_size) == (both.llm_latency_s, both.vocab_size)
    assert load("smollm2-llm-text") == large
    assert load("smollm2", text="slm").line == both.line
    assert load("smollm2-hybrid-text").own_text == "hybrid-0.5"
    with pytest.raises(MissingInputError, match="u-hlm has no text of hybrid"):
        load("u-hlm", text="hybrid")


def test_prompts_have_one_number_on_all_texts_and_others_another(tmp_path):
    for number, place in enumerate(("slm", "llm")):
        (tmp_path / place).mkdir()
        recorded = record(number, num_prompts=4, length=5)
        names = ("0", "1", "another", "3") if place == "llm" else recorded.header.prompt_names
        header = dataclasses.replace(recorded.header, writer=place, prompt_names=names)
        trace.write(tmp_path / place / "trace.parquet", header, recorded.columns)
    fit_trace(record(0, num_prompts=4, length=5), name="x", num_resamples=20).save(
        tmp_path / "calibration.json"
    )
    texts = load(tmp_path).contexts
    assert np.unique(texts.text("slm").prompt).tolist() == [0, 1, 2, 3]
    assert np.unique(texts.text("llm").prompt).tolist() == [-3, 0, 1, 3]


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    (tmp_path / "calibration").mkdir()
    (tmp_path / "new").mkdir()
    with pytest.raises(OSError, match=r"^cannot write .*calibration: it is no regular file$"):
        finding.published("u-hlm").save(tmp_path / "calibration")

    def interrupted():
        with whole(tmp_path / "new" / "file") as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert list((tmp_path / "new").iterdir()) == []
    with whole(tmp_path / "new" / "file") as part:
        part.write_text("all of it")
    assert [(file.name, file.read_text()) for file in (tmp_path / "new").iterdir()] == [("file", "all of it")]
