"""`cuhlm optimize`: one question from the command line to the certificate."""

import itertools
import json
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest

from calibration import trace
from calibration.finding import CALIBRATION_FILE, TRACE_FILE
from calibration.fit import fit_trace
from cuhlm_theory.schemes import SCHEMES
from tests.worlds import THRESHOLDS, World, random_world, recording

SINGLE = [name for name, row in SCHEMES.items() if not row.drafts_several]
BASE = ("--slm-latency-s", "0.01", "--llm-latency-s", "0.1", "--bandwidth-hz", "1000", "--snr-db", "5")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A calibration folder of a small world: 20 texts of 30 tokens."""
    path = tmp_path_factory.mktemp("calibration")
    world = random_world(7, num_contexts=20)
    noise = np.random.default_rng(8).uniform(0.0, 0.3, world.shape)
    world = World(x=world.x, y=world.y, u=np.clip(0.7 * world.beta + noise, 0.01, 0.99))
    tokens = recording(world, num_texts=20, length=30, seed=6)
    header = trace.TraceHeader(
        slm="world",
        llm="world",
        slm_sha256="0",
        llm_sha256="0",
        vocab_size=6,
        temperature=0.7,
        max_temperature=2.0,
        seed=6,
        dtype="float64",
        device="cpu",
        max_new_tokens=30,
        prompt_names=tuple(map(str, range(20))),
        k_grid=tuple(range(1, 7)),
        coarse_k_grid=tuple(range(1, 7)),
        threshold_grid=tuple(THRESHOLDS.tolist()),
        budgets=(0.05,),
        printed_line=(0.8, -0.05),
        versions={},
        date="2026-01-01",
        command="test",
    )
    given = {field.name for field in fields(tokens)}
    columns = {name: getattr(tokens, name) for name in trace.COLUMNS if name in given - trace.OPTIONAL}
    columns["kept"] = 1.0 - tokens.rejection
    for name in trace.COLUMNS.keys() - trace.OPTIONAL:
        if name.startswith("k_"):
            columns.setdefault(name, np.ones((len(tokens), 1)))
        columns.setdefault(name, np.full(len(tokens), 0.02))
    trace.write(path / TRACE_FILE, header, columns)
    found = fit_trace(trace.read(path / TRACE_FILE), name="world", num_resamples=50)
    found.save(path / CALIBRATION_FILE)
    return path


@pytest.fixture
def optimize(folder, cuhlm_json):
    return lambda *arguments: cuhlm_json("optimize", "--calibration", folder, *BASE, *arguments)


def test_the_keys_of_the_contract(optimize):
    result = optimize()
    assert {"inputs", "thresholds", "operating_point", "schemes", "certificate"} <= result.keys()
    point = {
        *("threshold", "skip_rate", "risk", "k_mean", "uplink_bit_per_token", "bias_bound", "latency_s"),
        *("throughput_token_per_s", "speedup_over_hlm", "floor_ratio"),
    }
    assert point <= result["operating_point"].keys()
    row = {
        *("name", "bias", "uplink_bit_per_token", "llm_calls_per_token", "latency_s"),
        *("throughput_token_per_s", "speedup_over_hlm", "floor_ratio", "bias_is_bound"),
        *("throughput_ci95", "bias_ci95", "text", "bias_account"),
    }
    assert all(row <= entry.keys() for entry in result["schemes"])
    unknown = {"cascade", "typical"}  # whose candidates are not recorded here
    assert [entry["name"] for entry in result["schemes"]] == [name for name in SCHEMES if name not in unknown]
    assert {"primal", "dual", "gap"} <= result["certificate"].keys()
    assert {"risk_averse", "risk_prone", "risk_budget", "cost_optimal"} <= result["thresholds"].keys()
    assert result["inputs"]["vocab_size"] == 6
    assert set(result["missing"]) == unknown
    assert {row["bias_account"] for row in result["schemes"]} <= {"exact", "bound", "estimate", "unknown"}
    for entry in result["schemes"]:
        low, high = entry["throughput_ci95"]
        assert low <= entry["throughput_token_per_s"] * (1 + 1e-9)
        assert entry["throughput_token_per_s"] <= high * (1 + 1e-9)
        assert entry["text"] == result["inputs"]["writer"] == "slm"


def test_the_recommendation_is_the_fastest_row_within_the_budget(optimize):
    result = optimize()
    found, rows = result["recommendation"], {row["name"]: row for row in result["schemes"]}
    within = [
        row
        for row in rows.values()
        if row["bias_account"] in ("exact", "bound") and row["bias"] <= result["inputs"]["bias_budget"] + 1e-9
    ]
    fastest = max(within, key=lambda row: row["throughput_token_per_s"])
    assert found["scheme"] == fastest["name"]
    assert found["throughput_token_per_s"] == pytest.approx(fastest["throughput_token_per_s"])
    assert found["throughput_ci95"] == pytest.approx(fastest["throughput_ci95"])
    assert found["lines"][0] == found["sentence"]
    assert optimize("--scheme", "dssd")["recommendation"] is None


@pytest.mark.parametrize("budget", ["0.01", "0.05", "0.2"])
def test_the_recommended_threshold_meets_its_budget_on_the_recorded_tokens(optimize, folder, budget):
    result = optimize("--bias-budget", budget)
    point = result["operating_point"]
    recorded = trace.read(folder / TRACE_FILE).columns
    skipped = recorded["uncertainty"] <= point["threshold"]
    risk = float(np.mean(recorded["rejection"] * skipped))
    assert risk + point["truncation_bias"] <= float(budget) + 1e-6
    assert point["bias_bound"] <= float(budget) + 1e-9
    assert point["binds"] == "bias"
    rows = {row["name"]: row for row in result["schemes"]}
    assert rows["cu-hlm-exact"]["latency_s"] == pytest.approx(point["latency_s"])
    assert point["optimum_latency_s"] <= point["latency_s"]
    assert point["excess_over_optimum"] == pytest.approx(point["latency_s"] / point["optimum_latency_s"] - 1)


def test_no_single_draft_scheme_beats_the_floor_at_equal_bias(optimize):
    for bias in ("0.02", "0.05"):
        rows = optimize("--equal-bias", bias)["schemes"]
        for row in rows:
            if row["floor_ratio"] is not None and row["name"] in SINGLE:
                assert row["floor_ratio"] >= 1 - 1e-9


def test_equal_bias_lines_the_schemes_up(optimize):
    result = optimize("--equal-bias", "0.05")
    rows = {row["name"]: row["bias"] for row in result["schemes"]}
    for name in ("rand-hlm", "u-hlm", "cu-hlm-exact"):
        assert rows[name] == pytest.approx(0.05)
    assert rows["verify-on-sync"] == 0.0
    assert result["inputs"]["equal_bias"] == 0.05


@pytest.mark.parametrize("bias", [0.0, 1e-9, 0.01, 0.03, 1.0])
def test_every_scheme_with_a_known_bias_reaches_any_equal_bias(optimize, bias):
    """The schemes split the bias they are brought to, not that of the budget, whatever it is."""
    result = optimize("--equal-bias", str(bias))
    alone = next(row for row in result["schemes"] if row["name"] == "slm")["bias"]
    for row in result["schemes"]:
        if row["name"] in ("rand-hlm", "u-hlm", "cu-hlm-offline", "cu-hlm-exact"):
            assert row["bias"] == pytest.approx(min(bias, alone), abs=1e-9)
    assert result["missing"].keys() == {"cascade", "typical"}, "the trace has no candidates"
    assert result["operating_point"]["bias_budget"] == 0.05


def test_equal_bits_line_the_schemes_up(optimize):
    rows = {row["name"]: row["uplink_bit_per_token"] for row in optimize("--equal-bits", "8")["schemes"]}
    for name in ("rand-hlm", "u-hlm", "cu-hlm-exact"):
        assert rows[name] == pytest.approx(8)


def test_the_cost_optimal_threshold_never_rises_with_the_snr(optimize):
    for price in ("0.3", "2"):
        found = [
            optimize("--bias-price-s", price, "--snr-db", snr)["thresholds"]["cost_optimal"]
            for snr in (-10, 0, 10, 20, 30)
        ]
        assert all(a >= b for a, b in itertools.pairwise(found))
        assert found[0] > found[-1] or price == "0.3"


def test_certify_solves_the_linear_programme(optimize):
    result = optimize("--certify")["certificate"]
    assert result["solver"] == "CLARABEL"
    assert result["gap"] == pytest.approx(result["primal"] - result["dual"])
    assert abs(result["relative_gap"]) < 1e-6
    assert result["num_contexts"] == 600
    assert result["solver_primal"] == pytest.approx(result["primal"], rel=1e-6)


def test_one_scheme_alone(optimize, run_cuhlm, folder):
    (row,) = optimize("--scheme", "dssd", "--num-drafts", "2")["schemes"]
    assert row["name"] == "dssd"
    assert row["num_drafts"] == pytest.approx(2, abs=0.1)
    code, out, _ = run_cuhlm("optimize", "--calibration", folder, *BASE, "--scheme", "dssd")
    assert code == 0
    assert "tokens_per_round" in out


def test_explain_says_what_binds_and_what_more_would_buy(optimize):
    sentences = optimize("--explain")["explanation"]
    assert "bias budget of 0.05 binds" in sentences[0]
    text = " ".join(sentences)
    for words in (
        "bias is worth",
        "0.01 more bias saves",
        "One more dB of SNR saves",
        "more bit a probability costs",
    ):
        assert words in text


def test_explain_gives_its_numbers_too(optimize):
    result = optimize("--explain", "--risk-budget", "0", "--truncation-budget", "0.005")
    assert result["operating_point"]["binds"] == "truncation"
    saved = {gain["change"]: gain["saved_s"] for gain in result["gains"]}
    more = optimize("--risk-budget", "0", "--truncation-budget", "0.015")["operating_point"]["latency_s"]
    assert saved["0.01 more truncation budget"] == pytest.approx(
        result["operating_point"]["latency_s"] - more
    )


def test_joint_needs_recorded_profiles(assert_refused):
    law = ("--calibration", "cu-hlm", "--uncertainty", "uniform", "--joint")
    assert_refused("optimize", *law, code=1, words=["k_grid", "--calibration qwen2.5-coder"])


def test_joint_and_headline(optimize):
    result = optimize("--joint", "--headline")
    latencies = [row["latency_s"] for row in result["joint"]]
    assert latencies == sorted(latencies)
    assert {row["name"] for row in result["joint"]} >= {"dssd", "cu-hlm-exact", "floor", "llm"}
    settings = {row["name"]: row["settings"] for row in result["joint"]}
    assert set(settings["confidence-stop"]) == {"confidence", "max_drafts"}
    for row in result["headline"]["consistency"]:
        assert "do not fit one operating point of the printed latency model" in row["statement"]
    assert result["headline"]["region"][0]["bandwidths_hz"] == [180e3, 1e6, 10e6]
    assert result["headline"]["consistency"][0]["fits"] is False
    assert round(result["headline"]["consistency"][0]["ceiling"], 1) == 152.6
    assert any(row["max_rate_bit_per_s"] is None for row in result["headline"]["region"])


def test_verify_on_sync_stands_beside_cu_hlm(optimize):
    sync = optimize()["verify_on_sync"]
    assert sync["exact_wins"] == (sync["latency_s"] < sync["cu_hlm_latency_s"])
    assert {"break_even_risk", "risk", "latency_with_bonus_s"} <= sync.keys()


def test_the_rules_and_orders_of_truncation_are_compared(optimize):
    found = optimize("--explain")["truncation"]
    assert all(entry["ratio"] <= 1 for entry in found["exact_over_printed"])
    assert found["orders"][-1]["sample_then_truncate_bias"] == pytest.approx(0, abs=1e-6)
    assert all(entry["truncate_then_sample_bias"] == 0 for entry in found["orders"])


def test_fixed_parts_of_the_budget(optimize):
    point = optimize("--bias-budget", "0.2", "--risk-budget", "0.01", "--truncation-budget", "0.005")[
        "operating_point"
    ]
    assert point["risk"] <= 0.01
    assert point["truncation_bias"] <= 0.005


def test_charged_quantisation_enters_the_bias(optimize):
    drafted, charged = (
        optimize("--quantisation", mode, "--prob-bits", "4", "--bias-budget", "0.3")["operating_point"]
        for mode in ("drafted", "charged")
    )
    assert charged["latency_s"] >= drafted["latency_s"] - 1e-12
    assert charged["bias_bound"] <= 0.3 + 1e-9


def test_a_published_line_needs_a_law(assert_refused, cuhlm_json):
    assert_refused("optimize", "--calibration", "cu-hlm", code=1, words=["--uncertainty uniform"])
    result = cuhlm_json("optimize", "--calibration", "cu-hlm", "--uncertainty", "uniform")
    assert result["thresholds"]["risk_averse"] == pytest.approx(0.0810, abs=5e-5)
    assert result["thresholds"]["risk_prone"] == pytest.approx(0.8117, abs=5e-5)
    assert result["operating_point"]["threshold"] == pytest.approx(
        0.066 / 0.815 + (0.1 / 0.815) ** 0.5, abs=1e-3
    )
    assert result["operating_point"]["risk"] <= 0.05
    assert result["operating_point"]["bias_bound"] is None
    assert "slm-latency-s" in result["inputs"]["assumed"]
    assert "cu-hlm-exact" in result["missing"]


def test_laws_of_the_uncertainty(cuhlm_json, tmp_path):
    np.save(tmp_path / "u.npy", np.linspace(0, 1, 500))
    rates = {}
    for law in ("uniform", "beta:1,1", str(tmp_path / "u.npy"), "beta:1,3"):
        result = cuhlm_json("optimize", "--calibration", "u-hlm", "--uncertainty", law)
        rates[law] = result["operating_point"]["skip_rate"]
    assert rates["uniform"] == pytest.approx(rates["beta:1,1"], abs=1e-9)
    assert rates["uniform"] == pytest.approx(rates[str(tmp_path / "u.npy")], abs=0.01)
    assert rates["beta:1,3"] > rates["uniform"]


def test_two_columns_are_u_and_beta_as_in_the_other_commands(cuhlm_json, assert_refused, tmp_path):
    u = np.linspace(0.0, 1.0, 400)
    np.save(tmp_path / "pairs.npy", np.column_stack([u, 0.5 * u**2]))
    law = ("--calibration", "u-hlm", "--uncertainty", tmp_path / "pairs.npy", "--risk-budget", "0.05")
    recommended, thresholds = cuhlm_json("optimize", *law), cuhlm_json("thresholds", *law)
    assert recommended["thresholds"]["risk_budget"] == thresholds["risk_budget"]
    assert thresholds["risk_budget"] == pytest.approx(0.3 ** (1 / 3), abs=5e-3)  # t^3 / 6 = 0.05
    np.save(tmp_path / "wide.npy", np.zeros((4, 3)))
    for command in ("optimize", "thresholds"):
        assert_refused(
            *(command, "--calibration", "u-hlm", "--uncertainty", tmp_path / "wide.npy"),
            words=["uncertainty must have shape [N] or [N, 2]", "shape (4, 3)"],
        )


def test_a_trace_is_a_law_of_the_uncertainty(cuhlm_json, folder):
    law = ("--calibration", "u-hlm", "--uncertainty", folder / TRACE_FILE, "--risk-budget", "0.02")
    recommended, thresholds = cuhlm_json("optimize", *law), cuhlm_json("thresholds", *law)
    assert recommended["thresholds"]["risk_budget"] == thresholds["risk_budget"]


def test_a_dead_link(optimize, assert_refused, folder):
    assert_refused(
        *("optimize", "--calibration", folder, *BASE, "--snr-db", "-inf"),
        code=1,
        words=["--snr-db", "--bias-budget"],
    )
    assert_refused(
        *("optimize", "--calibration", folder, *BASE, "--snr-db", "-inf", "--bias-budget", "1"),
        *("--equal-bias", "0.05"),
        code=1,
        words=["--equal-bias 0.05", "--snr-db"],
    )
    point = optimize("--snr-db", "-inf", "--bias-budget", "1")["operating_point"]
    assert point["skip_rate"] == 1
    assert point["latency_s"] == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--bias-budget", "1.5"), ["--bias-budget", "[0, 1]", "1.5"]),
        (("--bias-budget", "nan"), ["--bias-budget"]),
        (("--bandwidth-hz", "-1"), ["--bandwidth-hz", "-1"]),
        (("--equal-bias", "2"), ["--equal-bias"]),
        (("--equal-bits", "0"), ["--equal-bits"]),
        (("--equal-bits", "3", "--equal-bias", "0.1"), ["--equal-bias", "--equal-bits"]),
        (("--scheme", "magic"), ["magic"]),
        (("--vocab-size", "7"), ["--vocab-size", "6", "7"]),
        (("--uncertainty", "beta:0,1"), ["alpha must be positive; got 0"]),
        (("--uncertainty", "beta:1"), ["beta:1"]),
        (("--uncertainty", "nowhere.npy"), ["nowhere.npy"]),
        (("--slm-latency-s", "0"), ["--slm-latency-s", "positive"]),
        (("--bias-price-s", "-1"), ["--bias-price-s"]),
        (("--num-drafts", "0"), ["--num-drafts"]),
    ],
)
def test_bad_input_is_one_line_and_exit_2(assert_refused, folder, arguments, words):
    assert_refused("optimize", "--calibration", folder, *BASE, *arguments, words=words)


def test_a_missing_calibration_is_named(assert_refused):
    assert_refused("optimize", "--calibration", "no-such-pair", words=["no-such-pair"])


def test_a_scenario_file_carries_the_options(folder, cuhlm_json, tmp_path):
    path = tmp_path / "scenario.toml"
    path.write_text(
        f'calibration = "{folder}"\nsnr-db = 5.0\nbandwidth-hz = 1000\n'
        "slm-latency-s = 0.01\nllm-latency-s = 0.1\n"
    )
    result = cuhlm_json("optimize", path)
    assert result == cuhlm_json("optimize", "--calibration", folder, *BASE)


def test_the_tables(run_cuhlm, folder):
    code, out, err = run_cuhlm(
        "optimize", "--calibration", folder, *BASE, "--all", "--explain", "--headline", "--joint"
    )
    assert (code, err) == (0, "")
    for words in (
        "Operating point",
        "Thresholds",
        "Schemes",
        "verify-on-sync",
        "Certificate",
        "152.6",
        "do not fit",
        "printed rule",
        "kept T-S",
        "token/round",
        "J/token",
        "E[N/D]",
        "bit down",
        "binds",
    ):
        assert words in out
    assert "…" not in out


def test_the_first_screen_is_the_recommendation_and_the_schemes_fastest_first(optimize, run_cuhlm, folder):
    result = optimize()
    code, out, err = run_cuhlm("optimize", "--calibration", folder, *BASE)
    assert (code, err) == (0, "")
    said, _, rest = out.partition("Schemes: 5 dB, 1000 Hz, awgn; world, V = 6")
    assert " ".join(said.split()) == " ".join(" ".join(result["recommendation"]["lines"]).split())
    shown = "token/s", "95 %", "bias", "skipped", "bit/token", "Assumed: fading", "No llm and no hybrid text"
    for words in shown:
        assert words in " ".join(rest.split())
    for words in ("Operating point", "Thresholds", "Certificate", "At the same trigger", "token/round"):
        assert words not in out
    order = [row["name"] for row in sorted(result["schemes"], key=lambda row: -row["throughput_token_per_s"])]
    assert [
        line.split()[0] for line in rest.splitlines() if line.split()[:1] and line.split()[0] in SCHEMES
    ] == order
    bound = next(row for row in result["schemes"] if row["bias_account"] == "bound" and row["bias"])
    assert f"≤\u202f{bound['bias']:.4g}" in rest


def test_a_certificate_that_was_asked_for_is_shown(run_cuhlm, folder):
    _, out, _ = run_cuhlm("optimize", "--calibration", folder, *BASE, "--certify")
    assert "Certificate (CLARABEL)" in out
    assert "Operating point" not in out


def test_schemes_brought_to_equal_bias_say_so(run_cuhlm, folder):
    _, out, _ = run_cuhlm("optimize", "--calibration", folder, *BASE, "--equal-bias", "0.02")
    assert "Schemes at equal bias (0.02): 5 dB" in out


def test_nothing_heavy_is_imported(folder):
    script = (
        "import sys, json\n"
        "from cuhlm_theory.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "heavy = 'torch cvxpy pandas sympy matplotlib scipy.special scipy.stats rich'.split()\n"
        "print(json.dumps([name for name in heavy if name in sys.modules]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "optimize", "--calibration", str(folder), *BASE, "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    first, last = done.stdout.strip().split("\n")
    assert json.loads(last) == []
    assert json.loads(first)["operating_point"]["latency_s"] > 0
