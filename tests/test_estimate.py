"""Calibrations: the fit recovers a known line, the file keeps it, damaged files are refused."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from calibration import estimate
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import CuhlmError, MissingInputError

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
    line = estimate.fit(tokens, name="x")
    assert line.slope == pytest.approx(0.5, abs=1e-12)
    assert line.intercept == pytest.approx(0.0, abs=1e-12)
    assert line.correlation == pytest.approx(1.0, abs=1e-12)
    assert line.delta == pytest.approx(4 / 6)  # u = 0 has beta = 0: kept, and not a possible rejection
    assert line.acceptance == pytest.approx(1 - 0.5 * u.mean())
    assert line.risk_averse == pytest.approx(0.0, abs=1e-12)
    assert line.risk_prone == pytest.approx(4 / 3)
    assert (line.num_tokens, line.num_prompts) == (6, 3)


def test_the_fit_agrees_with_scipy_on_noisy_tokens():
    tokens = simulate(np.random.default_rng(2))
    line = estimate.fit(tokens, name="x", num_resamples=200)
    truth = stats.linregress(tokens.uncertainty, tokens.rejection)
    assert line.slope == pytest.approx(truth.slope, abs=1e-10)
    assert line.intercept == pytest.approx(truth.intercept, abs=1e-10)
    assert line.correlation == pytest.approx(truth.rvalue, abs=1e-10)
    assert line.risk_averse == pytest.approx(-truth.intercept / truth.slope)
    assert line.risk_prone == pytest.approx((line.delta - truth.intercept) / truth.slope)


def test_every_interval_holds_its_estimate_and_the_truth_here():
    tokens = simulate(np.random.default_rng(3))
    line = estimate.fit(tokens, name="x", seed=5)
    for name in ("slope", "intercept", "correlation", "acceptance", "risk_averse", "risk_prone"):
        low, high = getattr(line, f"{name}_ci95")
        assert low < getattr(line, name) < high, name
    assert line.slope_ci95[0] < SLOPE < line.slope_ci95[1]
    assert line.intercept_ci95[0] < INTERCEPT < line.intercept_ci95[1]
    assert line.slope_ci95 == estimate.fit(tokens, name="x", seed=5).slope_ci95
    assert line.slope_ci95 != estimate.fit(tokens, name="x", seed=6).slope_ci95
    assert "BCa" in line.source["intervals"]
    assert "seed 5" in line.source["intervals"]


@pytest.mark.slow
def test_intervals_cover_a_known_line_within_binomial_error():
    rng = np.random.default_rng(11)
    repeats = 600
    covered = np.zeros(2)
    for _ in range(repeats):
        line = estimate.fit(simulate(rng, num_prompts=80, length=15), name="x", num_resamples=500)
        covered += [
            line.slope_ci95[0] <= SLOPE <= line.slope_ci95[1],
            line.intercept_ci95[0] <= INTERCEPT <= line.intercept_ci95[1],
        ]
    error = np.sqrt(0.95 * 0.05 / repeats)
    assert np.all(np.abs(covered / repeats - 0.95) < 3 * error + 0.01)


def test_tokens_with_no_uncertainty_are_kept():
    u = np.array([0.0] * 50 + [0.4] * 50)
    beta = np.array([0.0] * 50 + [0.4] * 25 + [0.0] * 25)
    line = estimate.fit(Tokens(uncertainty=u, rejection=beta, prompt=np.arange(100) % 10), name="x")
    assert line.slope == pytest.approx(0.5)
    assert line.delta == pytest.approx(0.25)
    assert line.num_tokens == 100


def test_without_prompts_or_with_one_there_are_no_intervals():
    u = np.linspace(0.0, 1.0, 30)
    line = estimate.fit(Tokens(uncertainty=u, rejection=0.5 * u), name="x")
    assert line.slope_ci95 is None
    assert line.num_prompts == 1
    assert line.slope == pytest.approx(0.5)


def test_a_falling_line_has_no_thresholds():
    u = np.linspace(0.0, 1.0, 30)
    line = estimate.fit(Tokens(uncertainty=u, rejection=0.5 - 0.5 * u, prompt=np.arange(30) % 5), name="x")
    assert line.slope == pytest.approx(-0.5)
    assert line.risk_averse is None
    assert line.risk_averse_ci95 is None
    assert line.risk_prone is None


def test_tokens_that_are_all_alike_determine_no_line():
    tokens = Tokens(uncertainty=np.full(9, 0.3), rejection=np.linspace(0, 1, 9), prompt=np.arange(9))
    with pytest.raises(
        CuhlmError, match=r"no slope: all 9 tokens have uncertainty 0\.3; record more prompts"
    ):
        estimate.fit(tokens, name="x")


def test_a_constant_rejection_has_no_correlation():
    u = np.linspace(0.0, 1.0, 12)
    line = estimate.fit(Tokens(uncertainty=u, rejection=np.full(12, 0.25), prompt=np.arange(12)), name="x")
    assert line.slope == pytest.approx(0.0, abs=1e-12)
    assert line.correlation is None or abs(line.correlation) < 1e-6


def test_what_the_caller_knows_is_copied():
    u = np.linspace(0.0, 1.0, 20)
    line = estimate.fit(
        Tokens(uncertainty=u, rejection=0.5 * u, prompt=np.arange(20)),
        name="pair",
        vocab_size=77,
        temperature=0.7,
        slm_latency_s=0.01,
        llm_latency_s=0.2,
        source={"slm": "small"},
    )
    assert (line.name, line.vocab_size, line.temperature) == ("pair", 77, 0.7)
    assert (line.slm_latency_s, line.llm_latency_s) == (0.01, 0.2)
    assert line.source["slm"] == "small"


def test_quantiles_are_those_of_the_uncertainty_and_become_a_law():
    tokens = simulate(np.random.default_rng(4))
    line = estimate.fit(tokens, name="x", num_resamples=100)
    assert len(line.uncertainty_quantile) == 101
    assert line.uncertainty_quantile[0] == tokens.uncertainty.min()
    assert line.uncertainty_quantile[50] == pytest.approx(np.median(tokens.uncertainty))
    law = line.law()
    assert len(law) == 100
    assert np.sum(law.weight * law.uncertainty) == pytest.approx(tokens.uncertainty.mean(), abs=0.003)
    np.testing.assert_allclose(law.rejection, line.slope * law.uncertainty + line.intercept)


def test_the_law_clips_the_line():
    line = estimate.Calibration(
        name="x", slope=4.0, intercept=-1.0, uncertainty_quantile=tuple(np.linspace(0, 1, 5))
    )
    assert line.law().rejection.tolist() == [0.0, 0.5, 1.0, 1.0]


def test_a_published_line_has_no_law():
    with pytest.raises(MissingInputError, match="cu-hlm is a line without a law"):
        estimate.published("cu-hlm").law()


@pytest.mark.parametrize(
    ("name", "averse", "prone"), [("cu-hlm", "0.0810", "0.8117"), ("u-hlm", "0.0732", "0.4300")]
)
def test_published_lines_give_the_printed_thresholds(name, averse, prone):
    line, tokens = estimate.load(name)
    assert tokens is None
    assert f"{line.risk_averse:.4f}" == averse
    assert f"{line.risk_prone:.4f}" == prone
    assert line.slope_ci95 is None
    assert line.vocab_size == 32_000
    assert line.source["slope"].startswith("printed: ")
    assert line.source["delta"].startswith("reconstructed: ")


def test_only_published_lines_are_published():
    with pytest.raises(ValueError, match="calibration must be one of cu-hlm, u-hlm; got 'smollm2'"):
        estimate.published("smollm2")


def test_a_file_gives_back_what_was_written(tmp_path):
    line = estimate.fit(simulate(np.random.default_rng(9)), name="x", num_resamples=100, source={"seed": 3})
    file = tmp_path / "calibration.json"
    estimate.save(line, file)
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.json"]
    for place in (file, str(file), tmp_path):
        assert estimate.load(place) == (line, None)


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path):
    file = tmp_path / "calibration.json"
    line = estimate.published("u-hlm")
    estimate.save(line, file)
    broken = dataclasses.replace(line, source={"x": object()})
    with pytest.raises(TypeError):
        estimate.save(broken, file)
    assert estimate.load(file)[0] == line
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.json"]


def _entries(**changes):
    return {**json.loads(estimate.published("u-hlm").to_json()), **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slope": None}, "slope must be a finite number; got None"),
        ({"slope": "0.8"}, "slope must be a finite number; got '0.8'"),
        ({"slope": True}, "slope must be a finite number; got True"),
        ({"slope": float("nan")}, "slope must be a finite number; got nan"),
        ({"delta": float("inf")}, "delta must be a finite number; got inf"),
        ({"slope_ci95": [0.1]}, r"slope_ci95 must be null or \[low, high\]; got \[0.1\]"),
        ({"slope_ci95": 0.1}, r"slope_ci95 must be null or \[low, high\]; got 0.1"),
        ({"num_tokens": 1.5}, "num_tokens must be a count; got 1.5"),
        ({"num_tokens": -1}, "num_tokens must be a count; got -1"),
        ({"num_prompts": None}, "num_prompts must be a count; got None"),
        ({"uncertainty_quantile": [0.0, "x"]}, "uncertainty_quantile must be a list of numbers"),
        ({"source": []}, r"source must be an object; got \[\]"),
        ({"name": 3}, "name must be a text; got 3"),
        ({"format": "cuhlm-calibration/0"}, "must have format 'cuhlm-calibration/1'"),
        ({"slop": 1.0}, "has an unknown key 'slop'"),
    ],
)
def test_refuses_a_calibration_with_a_wrong_entry(changes, message):
    with pytest.raises(ValueError, match=message):
        estimate.Calibration.from_json(json.dumps(_entries(**changes)))


@pytest.mark.parametrize("name", ["name", "slope", "intercept"])
def test_refuses_a_calibration_without_a_line(name):
    entries = _entries()
    del entries[name]
    with pytest.raises(ValueError, match=f"lacks the key '{name}'"):
        estimate.Calibration.from_json(json.dumps(entries))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"slope": 1}'])
def test_refuses_what_is_not_a_calibration(text):
    with pytest.raises(ValueError, match=r"origin file (is not JSON|must have format)"):
        estimate.Calibration.from_json(text, origin="origin file")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_refuses_a_line_that_is_not_finite(value):
    with pytest.raises(ValueError, match="calibration intercept must be finite"):
        estimate.Calibration(name="x", slope=1.0, intercept=value)


def test_refuses_places_where_no_calibration_is(tmp_path):
    with pytest.raises(ValueError, match="existing file or folder; got 'nowhere'"):
        estimate.load("nowhere")
    with pytest.raises(ValueError, match=r"must hold calibration\.json; it does not"):
        estimate.load(tmp_path)
    binary = tmp_path / "calibration.json"
    binary.write_bytes(b"\xff\xfe\x00PAR1")
    with pytest.raises(ValueError, match=r"is neither JSON text nor a \.parquet trace"):
        estimate.load(binary)


def test_loading_a_published_line_imports_nothing_heavy():
    heavy = ("torch", "pandas", "sklearn", "transformers", "scipy.stats", "scipy.optimize", "sympy", "cvxpy")
    code = (
        "import sys; from calibration import estimate; estimate.load('cu-hlm'); "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_calibration_on_its_own_has_no_trace_to_find(tmp_path):
    estimate.save(estimate.published("u-hlm"), tmp_path / "calibration.json")
    for place in (tmp_path, tmp_path / "calibration.json", tmp_path / "none.parquet"):
        with pytest.raises(MissingInputError, match="has no recorded tokens"):
            estimate.find_trace(place)
    (tmp_path / "trace.parquet").write_bytes(b"")
    assert estimate.find_trace(tmp_path) == tmp_path / "trace.parquet"
