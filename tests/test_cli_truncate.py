"""`cuhlm truncate`: both rules on probabilities in a file, and every refusal."""

import numpy as np
import pytest
from scipy import special

from cuhlm_theory import payload, truncation
from cuhlm_theory.rejection import Line

ROWS = np.random.default_rng(0).dirichlet(np.full(40, 0.3), size=3)


@pytest.fixture
def file(tmp_path):
    def save(array, name="probabilities.npy"):
        np.save(tmp_path / name, array)
        return tmp_path / name

    return save


def test_exact_rule_on_one_distribution(cuhlm_json, file):
    got = cuhlm_json("truncate", file([0.5, 0.3, 0.2]), "--budget", "0.06")
    assert got == {
        "k": 1,
        "tv": pytest.approx(0.05),
        "payload_bit": 10,
        "compression": pytest.approx(2 / 3),
        "rule": "exact",
        "budget": 0.06,
        "vocab_size": 3,
    }


def test_exact_rule_on_rows(cuhlm_json, file):
    got = cuhlm_json("truncate", file(ROWS), "--budget", "0.05", "--prob-bits", "4", "--index-bits", "9")
    k = truncation.exact_k(ROWS, 0.05)
    assert got["k"] == k.tolist()
    assert got["tv"] == pytest.approx(truncation.truncation_tv(ROWS, k).tolist())
    assert max(got["tv"]) <= 0.05
    assert got["payload_bit"] == (13 * k).tolist()
    assert got["compression"] == pytest.approx((1.0 - k / 40).tolist())


def test_printed_rule_keeps_at_least_as_many(cuhlm_json, file):
    path = file(ROWS)
    options = (
        "--rule",
        "printed",
        "--uncertainty",
        "0.4",
        "--draft",
        "5",
        "--slope",
        "0.815",
        "--intercept",
        "-0.066",
    )
    got = cuhlm_json("truncate", path, "--budget", "0.05", *options)
    beta = Line(0.815, -0.066)(0.4)
    k = truncation.printed_k(ROWS, 0.05, ROWS[:, 5], beta)
    assert got["k"] == k.tolist()
    assert got["rule"] == "printed"
    assert got["payload_bit"] == payload.printed_bit(k, 40).tolist()
    exact = cuhlm_json("truncate", path, "--budget", "0.05")
    assert all(p >= e for p, e in zip(got["k"], exact["k"], strict=True))


def test_single_precision_and_a_real_vocabulary(cuhlm_json, file):
    x = special.softmax(np.random.default_rng(1).normal(size=151_936) * 3.0).astype(np.float32)
    got = cuhlm_json("truncate", file(x), "--budget", "0.05")
    assert got["k"] == int(truncation.exact_k(x, 0.05))
    assert got["payload_bit"] == 26 * got["k"]


def test_the_table(run_cuhlm, file):
    code, out, err = run_cuhlm("truncate", file(ROWS), "--budget", "0.05")
    assert (code, err) == (0, "")
    assert "exact rule at 0.05, 40 tokens" in " ".join(out.split())
    assert "depends on the draft" not in out
    options = (
        "--rule",
        "printed",
        "--uncertainty",
        "0.4",
        "--draft",
        "5",
        "--slope",
        "0.8",
        "--intercept",
        "0",
    )
    code, out, _ = run_cuhlm("truncate", file(ROWS[0]), "--budget", "0.05", *options)
    assert code == 0
    assert "depends on the draft" in " ".join(out.split())


PRINTED = ("--rule", "printed", "--uncertainty", "0.4", "--draft", "1", "--slope", "0.8", "--intercept", "0")


@pytest.mark.parametrize(
    ("array", "arguments", "text"),
    [
        ([1.0, 2.0, -3.0], ("--budget", "0.1"), "(not logits); got an entry of -3"),
        ([0.9, 0.3], ("--budget", "0.1"), "file must be probabilities that sum to 1"),
        ([0.9, np.nan], ("--budget", "0.1"), "file must be finite; got nan"),
        ([1.0], ("--budget", "0.1"), "file must have a last axis of at least 2 tokens; got 1"),
        ([0.5, 0.5], ("--budget", "1.1"), "budget must lie in [0, 1]; got 1.1"),
        ([0.5, 0.5], ("--budget", "-0.1"), "budget must lie in [0, 1]; got -0.1"),
        ([0.5, 0.5], (), "Missing option '--budget'"),
        ([0.5, 0.5], ("--budget", "0.1", "--rule", "other"), "'other' is not one of 'exact', 'printed'"),
        ([0.5, 0.5], ("--budget", "0.1", "--rule", "printed"), "got no --uncertainty"),
        ([0.5, 0.5], ("--budget", "0.1", *PRINTED[:4]), "got no --draft"),
        ([0.5, 0.5], ("--budget", "0.1", *PRINTED[:6]), "got no --slope"),
        ([0.5, 0.5], ("--budget", "0.1", *PRINTED[:8]), "got no --intercept"),
        ([0.5, 0.5], ("--budget", "0.1", *PRINTED, "--draft", "2"), "draft must lie in [0, 1]; got 2"),
        ([0.5, 0.5], ("--budget", "0.1", *PRINTED, "--draft", "-1"), "draft must lie in [0, 1]; got -1"),
        ([0.5, 0.5], ("--budget", "0.1", *PRINTED, "--slope", "0"), "slope must be positive; got 0"),
        (
            [0.5, 0.5],
            ("--budget", "0.1", *PRINTED, "--uncertainty", "2"),
            "uncertainty must lie in [0, 1]; got 2",
        ),
        ([0.5, 0.5], ("--budget", "0.1", "--prob-bits", "0"), "--prob-bits must lie in [1, 64]; got 0"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(assert_refused, file, array, arguments, text):
    assert_refused("truncate", file(array), *arguments, "--json", words=[text])


def test_missing_and_truncated_files_are_one_line_and_exit_2(assert_refused, file, tmp_path):
    assert_refused("truncate", tmp_path / "none.npy", "--budget", "0.1", words=["file must exist"])
    path = file(ROWS)
    path.write_bytes(path.read_bytes()[:-9])
    assert_refused("truncate", path, "--budget", "0.1", words=["file must be a whole .npy file"])
