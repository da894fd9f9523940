"""`cuhlm thresholds`: the printed numbers, every law of u, the price of bias, and the refusals."""

import math

import numpy as np
import pytest

from cuhlm_theory import capacity
from cuhlm_theory.law import Beta
from cuhlm_theory.parameters import Link
from cuhlm_theory.rejection import Line

CU = ("--slope", "0.815", "--intercept", "-0.066")


@pytest.fixture
def result(cuhlm_json):
    return lambda *arguments: cuhlm_json("thresholds", *arguments)


def test_published_thresholds_to_the_printed_digits(result):
    cu = result(*CU, "--delta", "0.5955")
    assert (f"{cu['risk_averse']:.4f}", f"{cu['risk_prone']:.4f}") == ("0.0810", "0.8117")
    u = result("--slope", "0.82", "--intercept", "-0.06", "--delta", "0.2926")
    assert (f"{u['risk_averse']:.4f}", f"{u['risk_prone']:.2f}") == ("0.0732", "0.43")
    for key in ("risk_budget", "risk", "skip_rate", "cost_optimal"):
        assert cu[key] is None


@pytest.mark.parametrize("name", ["cu-hlm", "u-hlm"])
def test_published_lines_by_name(result, name):
    by_name = result("--calibration", name)
    by_hand = result(*(x for k in ("slope", "intercept", "delta") for x in (f"--{k}", repr(by_name[k]))))
    assert by_name == by_hand
    assert f"{by_name['risk_averse']:.4f}" == {"cu-hlm": "0.0810", "u-hlm": "0.0732"}[name]
    other = result("--calibration", name, "--slope", "0.5", "--intercept", "-0.1", "--delta", "0.4")
    assert (other["risk_averse"], other["risk_prone"]) == (0.2, 1.0)


def test_what_is_missing_is_named(result):
    assert result(*CU)["missing"] == {
        "risk_prone": "--delta",
        "risk_budget": "--risk-budget and --uncertainty, the law of u",
        "cost_optimal": "--bias-price-s and --llm-latency-s or --transmit-s",
    }
    got = result("--calibration", "cu-hlm", "--risk-budget", "0.05", "--bias-price-s", "1")
    assert got["missing"] == {
        "risk_budget": "--uncertainty, the law of u",
        "cost_optimal": "--llm-latency-s or --transmit-s",
    }
    assert (got["risk_budget"], got["cost_optimal"], got["transmit_s"]) == (None, None, None)


def test_risk_budget_under_uniform_and_beta_laws(result):
    got = result(*CU, "--risk-budget", "0.05", "--uncertainty", "uniform")
    assert got["risk_budget"] == pytest.approx(0.066 / 0.815 + math.sqrt(0.1 / 0.815))
    assert got["skip_rate"] == got["risk_budget"]
    assert (got["risk"], got["tie_probability"]) == (pytest.approx(0.05), 1.0)
    assert got["bias_price_for_budget_s"] is None
    beta = result(*CU, "--risk-budget", "0.05", "--uncertainty", "beta:2,3.5")
    exact = Beta(2.0, 3.5).within(0.05, Line(0.815, -0.066))
    assert beta["risk_budget"] == pytest.approx(exact.threshold)
    assert beta["skip_rate"] == pytest.approx(exact.skip_rate)
    assert beta["risk"] == pytest.approx(0.05)


def test_risk_budget_on_recorded_uncertainties(result, tmp_path):
    u, beta = np.array([0.0, 0.4, 0.4, 0.9]), np.array([0.0, 0.2, 0.4, 1.0])
    np.save(tmp_path / "u.npy", u)
    np.save(tmp_path / "both.npy", np.stack([u, beta], axis=1))
    line = result(
        "--slope", "0.5", "--intercept", "0", "--risk-budget", "0.05", "--uncertainty", tmp_path / "u.npy"
    )
    assert (line["risk_budget"], line["tie_probability"]) == (0.4, pytest.approx(0.5))
    assert (line["risk"], line["skip_rate"]) == (pytest.approx(0.05), pytest.approx(0.5))
    both = result(*CU, "--risk-budget", "0.05", "--uncertainty", tmp_path / "both.npy")
    assert (both["risk_budget"], both["tie_probability"]) == (0.4, pytest.approx(1 / 3))
    assert (both["risk"], both["skip_rate"]) == (pytest.approx(0.05), pytest.approx(5 / 12))


def write_calibration(folder):
    from calibration import Calibration

    quantiles = tuple(np.linspace(0.0, 1.0, 101).tolist())
    fitted = Calibration(
        name="made",
        line=Line(0.815, -0.066, 0.6),
        vocab_size=49_152,
        llm_latency_s=0.25,
        uncertainty_quantile=quantiles,
    )
    path = folder / "calibration.json"
    fitted.save(path)
    return path


def test_a_calibration_brings_line_law_and_latency(result, tmp_path):
    path = write_calibration(tmp_path)
    got = result("--calibration", path, "--risk-budget", "0.05", "--bias-price-s", "2")
    assert got["missing"] == {}
    assert got["risk_budget"] == pytest.approx(0.43, abs=0.02)  # uniform up to its hundred nodes
    assert got["risk"] == pytest.approx(0.05)
    link = result("--calibration", path, "--bias-price-s", "2", "--k", "1", "--snr-db", "100")
    assert link["transmit_s"] == pytest.approx(0.25, abs=1e-4)
    bits = 30 * (8 + 16)
    uplink_s = float(capacity.packet_latency_s(Link(bandwidth_hz=1e5, snr=10.0), bits))
    slow = result(
        "--calibration",
        path,
        "--bias-price-s",
        "2",
        "--bandwidth-hz",
        "1e5",
        "--snr-db",
        "10",
        "--round-trip-s",
        "0.125",
    )
    assert slow["transmit_s"] == pytest.approx(uplink_s + 0.25 + 0.125)
    assert slow["cost_optimal"] == pytest.approx((slow["transmit_s"] / 2 + 0.066) / 0.815)
    named = result(*CU, "--risk-budget", "0.05", "--uncertainty", path)
    assert named["risk_budget"] == got["risk_budget"]
    over = result(
        "--calibration", path, "--bias-price-s", "2", "--llm-latency-s", "0.5", "--vocab-size", "100"
    )
    assert over["transmit_s"] > got["transmit_s"]


def test_cost_optimal_and_the_map_between_budget_and_price(result):
    law = ("--uncertainty", "uniform", "--transmit-s", "0.3")
    got = result(*CU, *law, "--risk-budget", "0.05")
    assert got["transmit_s"] == 0.3
    price = got["bias_price_for_budget_s"]
    back = result(*CU, *law, "--bias-price-s", repr(price))
    assert back["cost_optimal"] == pytest.approx(got["risk_budget"])
    assert back["budget_for_bias_price"] == pytest.approx(0.05)
    assert back["cost_optimal_skip_rate"] == pytest.approx(got["skip_rate"])
    assert back["bias_price_s"] == price
    without_law = result(*CU, "--transmit-s", "0.3", "--bias-price-s", repr(price))
    assert without_law["cost_optimal"] == back["cost_optimal"]
    assert without_law["budget_for_bias_price"] is without_law["cost_optimal_skip_rate"] is None
    never = result("--slope", "0.5", "--intercept", "0.5", *law, "--bias-price-s", "10")
    assert [never[k] for k in ("cost_optimal", "cost_optimal_skip_rate", "budget_for_bias_price")] == [
        0.0
    ] * 3


@pytest.mark.parametrize("over", ["--snr-db", "--bandwidth-hz"])
def test_cost_optimal_threshold_never_grows_with_the_channel(result, over):
    values = {"--snr-db": [-10, 0, 10, 20, 30], "--bandwidth-hz": [1e3, 1e4, 1e5, 1e6, 1e7]}[over]
    got = [
        result(*CU, "--bias-price-s", "0.5", "--llm-latency-s", "0.05", over, v)["cost_optimal"]
        for v in values
    ]
    assert got == sorted(got, reverse=True)
    assert got[0] > got[-1]


def test_a_scenario_file_carries_the_options(result, tmp_path):
    path = tmp_path / "scenario.toml"
    path.write_text('slope = 0.815\nintercept = -0.066\nrisk-budget = 0.05\nuncertainty = "uniform"\n')
    assert result(path) == result(*CU, "--risk-budget", "0.05", "--uncertainty", "uniform")


def test_the_table(run_cuhlm):
    code, out, err = run_cuhlm("thresholds", "--calibration", "cu-hlm")
    assert (code, err) == (0, "")
    flat = " ".join(out.split())
    for words in ("0.815 u -0.066", "0.08098", "0.8117", "cost-optimal needs --bias-price-s"):
        assert words in flat
    assert "Behind them" not in out
    code, out, _ = run_cuhlm(
        "thresholds",
        *CU,
        "--risk-budget",
        "0.05",
        "--uncertainty",
        "uniform",
        "--bias-price-s",
        "1",
        "--transmit-s",
        "0.3",
    )
    flat = " ".join(out.split())
    for words in ("Behind them", "0.4313", "0.449", "risk-prone needs --delta", "price of bias"):
        assert words in flat


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--slope", "0", "--intercept", "0"), "slope must be positive; got 0"),
        (("--slope", "-0.5", "--intercept", "0"), "slope must be positive; got -0.5"),
        (("--slope", "nan", "--intercept", "0"), "--slope must be a number; got 'nan'"),
        (("--slope", "1", "--intercept", "inf"), "intercept must be finite; got inf"),
        ((), "slope must be given, or --calibration; got neither"),
        (("--slope", "1"), "intercept must be given, or --calibration; got neither"),
        ((*CU, "--delta", "1.5"), "delta must lie in [0, 1]; got 1.5"),
        ((*CU, "--risk-budget", "1.5"), "--risk-budget must lie in [0, 1]; got 1.5"),
        ((*CU, "--risk-budget", "-0.5"), "--risk-budget must lie in [0, 1]; got -0.5"),
        ((*CU, "--risk-budget", "nan"), "--risk-budget must be a number; got 'nan'"),
        ((*CU, "--uncertainty", "beta:1"), "uncertainty must be beta:P,Q with two numbers; got 'beta:1'"),
        ((*CU, "--uncertainty", "beta:0,1"), "alpha must be positive; got 0"),
        (
            (*CU, "--uncertainty", "gamma"),
            "uncertainty must be uniform, beta:P,Q or an existing file; got 'gamma'",
        ),
        ((*CU, "--uncertainty", "none.npy"), "--uncertainty must exist and be a regular file; got none.npy"),
        ((*CU, "--bias-price-s", "-1"), "--bias-price-s must be at least 0; got -1"),
        ((*CU, "--transmit-s", "-1"), "--transmit-s must be at least 0; got -1"),
        ((*CU, "--llm-latency-s", "-1"), "--llm-latency-s must be positive; got -1"),
        ((*CU, "--round-trip-s", "-1"), "--round-trip-s must be at least 0; got -1"),
        ((*CU, "--bandwidth-hz", "-1"), "--bandwidth-hz must be positive; got -1"),
        ((*CU, "--k", "32001"), "k must lie in [1, 32000]; got 32001"),
        ((*CU, "--vocab-size", "1"), "--vocab-size must be at least 2; got 1"),
        (("--calibration", "no-such-pair"), "got 'no-such-pair'"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(assert_refused, arguments, text):
    assert_refused("thresholds", *arguments, "--json", words=[text])


def test_bad_laws_in_files_are_one_line_and_exit_2(assert_refused, tmp_path):
    arrays = {
        "outside.npy": ([0.5, 1.5], "uncertainty must lie in [0, 1]; got 1.5"),
        "nan.npy": ([0.5, np.nan], "uncertainty must be finite; got nan"),
        "wide.npy": (np.zeros((4, 3)), "uncertainty must have shape [N] or [N, 2]; got"),
        "beta.npy": ([[0.5, -0.5]], "rejection must lie in [0, 1]; got -0.5"),
        "deep.npy": (np.zeros((1, 2, 2)), "uncertainty must have 1 to 2 axes"),
    }
    for name, (array, text) in arrays.items():
        np.save(tmp_path / name, array)
        assert_refused("thresholds", *CU, "--uncertainty", tmp_path / name, words=[text])
    (tmp_path / "line.json").write_text(
        '{"format": "cuhlm-calibration/1", "name": "x", "slope": 1.0, "intercept": 0.0}'
    )
    assert_refused(
        "thresholds", *CU, "--uncertainty", tmp_path / "line.json", words=["with recorded uncertainties"]
    )
