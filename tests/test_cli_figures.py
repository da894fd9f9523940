"""`cuhlm figures` and `cuhlm report` from the outside."""

import json

import pytest

from cuhlm_theory.cli import main


def run(capsys, *arguments):
    code = 0
    try:
        main(list(arguments))
    except SystemExit as stop:
        code = stop.code or 0
    return code, *capsys.readouterr()


def test_a_figure_by_name_as_json(capsys, tmp_path):
    code, out, _ = run(
        capsys, "figures", "channel", "--calibration", "cu-hlm", "--out", str(tmp_path), "--json"
    )
    assert code == 0
    files = json.loads(out)["files"]
    assert [file.rsplit(".", 1)[1] for file in files] == ["pdf", "png", "csv", "txt"]
    assert len(list(tmp_path.iterdir())) == 4


def test_a_scenario_is_drawn_as_its_options_are(capsys, tmp_path):
    scenario = tmp_path / "scenario.toml"
    scenario.write_text('calibration = "cu-hlm"\nbandwidth-hz = 2e5\nstyle = "slides"\n', encoding="utf-8")
    options = ("--calibration", "cu-hlm", "--bandwidth-hz", "2e5", "--style", "slides")
    made = {}
    for name, given in {"options": options, "scenario": ("--scenario", str(scenario))}.items():
        code, _, err = run(capsys, "figures", "channel", *given, "--out", str(tmp_path / name), "--json")
        assert code == 0, err
        made[name] = {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
    assert made["options"] == made["scenario"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("figures", "nothing-like-it", "--out", "x"), 2, "figure must be one of"),
        (("figures", "rejection_line", "--calibration", "u-hlm", "--out", "x"), 1, "cuhlm calibrate"),
        (("figures", "headline", "--calibration", "no-such", "--out", "x"), 2, "no-such"),
        (("figures", "channel", "--paper", "u-hlm", "--out", "x"), 2, "--paper and NAME exclude each other"),
        (("report", "--out", "no/such/folder/page.html"), 2, "existing folder"),
        (("report", "--calibration", "cu-hlm", "--out", "page.html"), 1, "--uncertainty"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(capsys, tmp_path, monkeypatch, arguments, code, says):
    monkeypatch.chdir(tmp_path)
    stopped, out, err = run(capsys, *arguments)
    assert stopped == code
    assert out == ""
    assert says in err
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_the_figures_of_a_paper_are_those_that_name_it(capsys, tmp_path, monkeypatch):
    from figures import catalogue

    drawn = []
    monkeypatch.setattr(catalogue, "make", lambda names, **_: (drawn.extend(names), ([], []))[1])
    code, _, _ = run(capsys, "figures", "--paper", "u-hlm", "--out", str(tmp_path), "--json")
    assert code == 0
    assert drawn == ["estimators", "u_hlm", "run_length"]


def test_the_figures_are_listed_without_an_output_folder(capsys):
    code, out, _ = run(capsys, "figures", "--list")
    assert code == 0
    assert len(out.splitlines()) == 17


def test_a_page_for_a_published_line_and_an_assumed_law(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("figures.report.FALLBACK", ("headline",))
    scenario = tmp_path / "scenario.toml"
    scenario.write_text('calibration = "cu-hlm"\nuncertainty = "beta:1,2"\nsnr-db = 10\n', encoding="utf-8")
    page = tmp_path / "page.html"
    code, out, _ = run(capsys, "report", str(scenario), "--out", str(page), "--json")
    assert code == 0
    assert json.loads(out) == {"file": str(page)}
    text = page.read_text(encoding="utf-8")
    assert "cu-hlm over 1000 kHz at 10 dB" in text
    assert "<svg" in text
