"""`cuhlm uncertainty`: exact and sampled uncertainty of logits in a file, and every refusal."""

import math

import numpy as np
import pytest

from cuhlm_theory.uncertainty import mean_uncertainty, num_nodes, sampled_uncertainty

LOGITS = np.random.default_rng(0).normal(size=(3, 50)) * 3.0


@pytest.fixture
def file(tmp_path):
    def save(array, name="logits.npy"):
        np.save(tmp_path / name, array)
        return tmp_path / name

    return save


def test_one_row_gives_numbers(cuhlm_json, file):
    got = cuhlm_json("uncertainty", file(LOGITS[0]), "--draft", "7")
    assert got == {
        "mean_uncertainty": pytest.approx(float(mean_uncertainty(LOGITS[0], 7)), abs=1e-15),
        "sampled_uncertainty": None,
        "num_nodes": int(num_nodes(LOGITS[0])),
        "draft": 7,
        "samples": None,
        "seed": 0,
        "max_temperature": 2.0,
        "tolerance": 1e-6,
        "vocab_size": 50,
    }


def test_rows_give_lists(cuhlm_json, file):
    path = file(LOGITS)
    got = cuhlm_json("uncertainty", path, "--draft", "7,8,9", "--samples", "20", "--seed", "3")
    drafts = [7, 8, 9]
    assert got["draft"] == drafts
    assert got["mean_uncertainty"] == pytest.approx(mean_uncertainty(LOGITS, drafts).tolist())
    assert got["num_nodes"] == num_nodes(LOGITS).tolist()
    draws = sampled_uncertainty(LOGITS, drafts, num_samples=20, rng=np.random.default_rng(3))
    assert got["sampled_uncertainty"] == draws.tolist()
    assert (got["samples"], got["seed"]) == (20, 3)
    assert cuhlm_json("uncertainty", path, "--draft", "7")["draft"] == [7, 7, 7]


def test_sampling_agrees_with_the_mean(cuhlm_json, file):
    got = cuhlm_json(
        "uncertainty", file([2.0, 1.0, 0.0]), "--draft", "0", "--samples", "100000", "--seed", "1"
    )
    u = got["mean_uncertainty"]
    assert abs(got["sampled_uncertainty"] - u) <= 4.0 * math.sqrt(u * (1.0 - u) / 100_000)


def test_temperature_and_tolerance_are_options(cuhlm_json, file):
    path = file([2.0, 1.0, 0.0])
    got = cuhlm_json("uncertainty", path, "--draft", "0", "--max-temperature", "0.7", "--tolerance", "1e-9")
    assert (got["max_temperature"], got["tolerance"]) == (0.7, 1e-9)
    exact = mean_uncertainty([2.0, 1.0, 0.0], 0, max_temperature=0.7, tolerance=1e-12)
    assert got["mean_uncertainty"] == pytest.approx(float(exact), abs=1e-9)
    assert got["num_nodes"] == num_nodes([2.0, 1.0, 0.0], max_temperature=0.7, tolerance=1e-9)
    one, two = (
        cuhlm_json("uncertainty", path, "--draft", "0", "--samples", "5", "--max-temperature", t)
        for t in ("0.01", "2.0")
    )
    assert one["sampled_uncertainty"] == 0.0 < two["sampled_uncertainty"]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64])
def test_other_types_of_numbers(cuhlm_json, file, dtype):
    got = cuhlm_json("uncertainty", file(np.array([3, 1, 0], dtype=dtype)), "--draft", "0")
    assert got["mean_uncertainty"] == pytest.approx(float(mean_uncertainty([3.0, 1.0, 0.0], 0)))


def test_the_table_has_a_row_for_each_row(run_cuhlm, file):
    path = file(np.tile([3.0, 1.0, 0.0], (4, 1)))
    code, out, err = run_cuhlm("uncertainty", path, "--draft", "0")
    assert (code, err) == (0, "")
    assert out.count(f"{float(mean_uncertainty([3.0, 1.0, 0.0], 0)):.4g}") == 4
    code, out, _ = run_cuhlm("uncertainty", path, "--draft", "0", "--samples", "20")
    assert "M = 20" in out
    assert run_cuhlm("uncertainty", file([3.0, 1.0]), "--draft", "1")[0] == 0


@pytest.mark.parametrize(
    ("array", "arguments", "text"),
    [
        ([1.0, np.nan], ("--draft", "0"), "logits must be finite; got nan"),
        ([1.0], ("--draft", "0"), "logits must have a last axis of at least 2 tokens; got 1"),
        ([1.0, 2.0], ("--draft", "2"), "draft must lie in [0, 1]; got 2"),
        ([1.0, 2.0], ("--draft", "-1"), "draft must lie in [0, 1]; got -1"),
        ([1.0, 2.0], ("--draft", "0,1"), "draft must have 1 token or one for each of the 1 rows; got 2"),
        ([[1.0, 2.0]] * 3, ("--draft", "0,1"), "one for each of the 3 rows; got 2"),
        ([1.0, 2.0], ("--draft", "x"), "draft must be whole numbers separated by commas; got 'x'"),
        ([1.0, 2.0], (), "Missing option '--draft'"),
        ([1.0, 2.0], ("--draft", "0", "--samples", "0"), "--samples must be at least 1; got 0"),
        ([1.0, 2.0], ("--draft", "0", "--samples", "1", "--seed", "-1"), "seed must be at least 0; got -1"),
        ([1.0, 2.0], ("--draft", "0", "--max-temperature", "0"), "--max-temperature must be positive; got 0"),
        ([1.0, 2.0], ("--draft", "0", "--tolerance", "2"), "tolerance must lie in [1e-13, 1); got 2"),
        (np.zeros((2, 2, 2)), ("--draft", "0"), "file must have 1 to 2 axes, none empty"),
        (np.zeros((0, 2)), ("--draft", "0"), "shape (0, 2)"),
        (1.0, ("--draft", "0"), "shape ()"),
        ([1j, 0.0], ("--draft", "0"), "file must hold real numbers"),
        (["a", "b"], ("--draft", "0"), "file must hold real numbers"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(assert_refused, file, array, arguments, text):
    assert_refused("uncertainty", file(array), *arguments, "--json", words=[text])


def test_broken_files_are_one_line_and_exit_2(assert_refused, file, tmp_path):
    assert_refused("uncertainty", tmp_path / "none.npy", "--draft", "0", words=["file must exist and be"])
    assert_refused("uncertainty", tmp_path, "--draft", "0", words=["file must exist and be"])
    path = file(LOGITS)
    whole = path.read_bytes()
    for size in (0, 4, 60, 130, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert_refused("uncertainty", path, "--draft", "0", words=["file must be a whole .npy file; got"])
    path.write_text("1.0, 2.0\n")
    assert_refused("uncertainty", path, "--draft", "0", words=["file must be a whole .npy file; got"])
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    assert_refused("uncertainty", path, "--draft", "0", words=["file must be a whole .npy file; got"])
