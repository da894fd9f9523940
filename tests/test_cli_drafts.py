"""`cuhlm drafts`: the published examples and the refusals at the command line."""

import numpy as np
import pytest


def test_the_example_of_tk_slt(cuhlm_json):
    result = cuhlm_json("drafts", "--acceptance", "0.6", "--latency-ratio", "0.01")
    assert result["num_drafts"] == 7
    assert round(result["speedup"], 4) == 2.2972
    assert result["tokens_per_round"] == pytest.approx((1 - 0.6**8) / 0.4)
    assert result["speculate"] is True
    assert result["num_drafts_lambert"] == pytest.approx(6.8657, abs=1e-4)


def test_the_example_of_speculative_decoding(cuhlm_json):
    result = cuhlm_json("drafts", "--acceptance", "0.8", "--latency-ratio", "0.1417", "--num-drafts", "5")
    assert round(result["speedup"], 3) == 2.159


def test_drafting_does_not_pay_when_a_draft_is_as_slow_as_it_is_good(cuhlm_json):
    result = cuhlm_json("drafts", "--acceptance", "0.3", "--latency-ratio", "0.4")
    assert (result["num_drafts"], result["speculate"]) == (1, False)
    assert result["speedup"] < 1
    assert cuhlm_json("drafts", "--acceptance", "0", "--latency-ratio", "0.4")["num_drafts_lambert"] is None


def test_over_a_link(cuhlm_json):
    link = ("--bits-per-draft", "200", "--slm-latency-s", "0.01", "--llm-latency-s", "0.1")
    result = cuhlm_json("drafts", "--acceptance", "0.6", *link, "--bandwidth-hz", "1e6", "--snr-db", "0")
    assert result["round_latency_s"] == pytest.approx(result["num_drafts"] * (0.01 + 2e-4) + 0.1)
    assert result["throughput_token_per_s"] == pytest.approx(
        result["tokens_per_round"] / result["round_latency_s"]
    )
    same = cuhlm_json("drafts", "--acceptance", "0.6", "--latency-ratio", "0.102")
    assert result["num_drafts"] == same["num_drafts"]
    assert result["speedup"] == pytest.approx(same["speedup"])


def test_a_recorded_survival_curve_stands_in_for_one_alpha(cuhlm_json, run_cuhlm, tmp_path):
    text, array = tmp_path / "s.txt", tmp_path / "s.npy"
    text.write_text("0.6\n0.36\n0.216\n0.1296\n0.07776\n0.046656\n0.02799\n0.01679\n")
    np.save(array, np.loadtxt(text))
    same = cuhlm_json("drafts", "--acceptance", "0.6", "--latency-ratio", "0.1")
    for file in (text, array):
        found = cuhlm_json("drafts", "--survival", file, "--latency-ratio", "0.1")
        assert found["num_drafts"] == same["num_drafts"]
        assert found["speedup"] == pytest.approx(same["speedup"])
    assert found["survival"][:2] == [0.6, 0.36]
    link = ("--bits-per-draft", "200", "--slm-latency-s", "0.01", "--llm-latency-s", "0.1")
    marginal = ("--slm-per-token-s", "2ms", "--llm-per-token-s", "20ms")
    plan = cuhlm_json(
        "drafts", "--survival", text, *link, *marginal, "--bandwidth-hz", "1e6", "--snr-db", "0"
    )
    count, whole = plan["num_drafts"], 0.6 ** plan["num_drafts"]
    assert plan["round_latency_s"] == pytest.approx(count * 0.0302 + 0.1 + 0.002 * whole)
    few = tmp_path / "few.txt"
    few.write_text("0.9 0.81")
    assert "More were not recorded" in run_cuhlm("drafts", "--survival", few, "--latency-ratio", "0.1")[1]
    few.write_text("0.9 high")
    assert "must hold numbers" in run_cuhlm("drafts", "--survival", few, "--latency-ratio", "0.1")[2]


def test_the_table(run_cuhlm):
    code, out, err = run_cuhlm("drafts", "--acceptance", "0.6", "--latency-ratio", "0.01")
    assert (code, err) == (0, "")
    assert "2.297" in out
    assert "Lambert form: 6.8657" in out
    link = ("--bits-per-draft", "200", "--slm-latency-s", "0.01", "--llm-latency-s", "0.1")
    assert "over this link" in run_cuhlm("drafts", "--acceptance", "0.6", *link)[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--acceptance", "1.5", "--latency-ratio", "0.1"), ["acceptance", "[0, 1]", "1.5"]),
        (("--acceptance", "0.5", "--latency-ratio", "-1"), ["--latency-ratio", "-1"]),
        (("--acceptance", "0.5"), ["--latency-ratio", "--bits-per-draft"]),
        (("--acceptance", "0.5", "--latency-ratio", "0.1", "--bits-per-draft", "3"), ["not both"]),
        (("--acceptance", "0.5", "--bits-per-draft", "3"), ["--slm-latency-s"]),
        (("--latency-ratio", "0.1"), ["--acceptance", "--survival"]),
        (("--survival", "/no/such", "--latency-ratio", "0.1"), ["--survival", "/no/such"]),
        (
            ("--acceptance", "0.5", "--bits-per-draft", "3", "--num-drafts", "2", "--slm-latency-s", "1"),
            ["--num-drafts"],
        ),
        (("--acceptance", "0.5", "--latency-ratio", "0.1", "--num-drafts", "-1"), ["--num-drafts", "-1"]),
    ],
)
def test_bad_input_is_one_line_and_exit_2(assert_refused, arguments, words):
    assert_refused("drafts", *arguments, words=words)


def test_what_has_no_answer_exits_1_with_the_knob(assert_refused):
    assert_refused("drafts", "--acceptance", "1", "--latency-ratio", "0.1", code=1, words=["acceptance < 1"])
    assert_refused(
        "drafts", "--acceptance", "0.5", "--latency-ratio", "0", code=1, words=["--latency-ratio > 0"]
    )
