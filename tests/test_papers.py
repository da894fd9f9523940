"""What `cuhlm papers` says of the printed figures."""

import json
from collections import Counter

import pytest
from click.testing import CliRunner

from cuhlm_theory.cli.papers import command
from cuhlm_theory.papers import printed_figures, verdict


def test_the_verdicts_on_the_printed_figures():
    rows = printed_figures()
    kinds = Counter(row["verdict"].partition(" (")[0].partition(";")[0] for row in rows)
    assert kinds == {"reproduced": 50, "not reproduced": 16, "cannot be": 10}
    assert len({(row["paper"], row["quantity"]) for row in rows}) == len(rows)
    assert {row["paper"].split()[-1] for row in rows} >= {"2412.12687", "2505.11788", "2606.20591"}
    said = {row["quantity"]: row for row in rows}
    missed = {
        "risk-prone threshold [-]": None,  # CU-HLM's row of that name comes later, and cannot be
        "speed-up at 45.93 % skipped, E[N]/E[D], at most [-]": 1.849,
        "the same, mean of the rates, at least [-]": 2.953,
        "R, the integral of eq. (13) [-]": 0.0363,
        "HLM, least of its figures [token/s]": 0.326,
        "compression, at its k = 30 [-]": 0.9991,
    }
    for quantity, ours in missed.items():
        assert said[quantity]["ours"] == (None if ours is None else pytest.approx(ours, rel=2e-3)), quantity
        assert not said[quantity]["verdict"].startswith("reproduced")
    assert said["U-HLM over the LLM, mean of Table I [-]"]["verdict"] == "reproduced"
    assert all((row["ours"] is None) == row["verdict"].startswith("cannot be") for row in rows)


@pytest.mark.parametrize(
    ("printed", "ours", "said"),
    [
        ("7", 7.4, "reproduced"),
        ("7", 7.6, "not reproduced (by +8.6 %)"),
        ("2.24e-3", 2.2449e-3, "reproduced"),
        ("2.24e-3", 2.246e-3, "not reproduced (by +0.3 %)"),
        ("<4e-3", 0.0, "reproduced"),
        ("-0.06", -0.064, "reproduced"),
        ("0.5", None, "cannot be"),
    ],
)
def test_a_figure_is_reproduced_to_the_digits_that_were_printed(printed, ours, said):
    assert verdict(printed, ours) == said


def test_the_command_prints_them():
    found = CliRunner().invoke(command, ["--json"])
    rows = json.loads(found.output)["rows"]
    assert found.exit_code == 0
    assert len(rows) >= 30
    assert list(rows[0]) == ["paper", "quantity", "printed", "ours", "verdict"]
    assert "50 reproduced, 16 not reproduced, 10 cannot be" in CliRunner().invoke(command, []).output
