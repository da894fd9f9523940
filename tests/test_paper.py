"""The paper: all of its numbers are computed, it is short, and it is written whole or not at all."""

import json
import re
import shutil
import subprocess

import pytest

from cuhlm_theory import comparison, phases
from cuhlm_theory.cli import main
from cuhlm_theory.errors import CuhlmError
from cuhlm_theory.schemes import SCHEMES
from derivations.render import theorem
from figures import frame, paper

NUMBER = re.compile(r"\d+(?:[.\N{NO-BREAK SPACE}]\d+)*(?:e[-+]\d+)?")
MOST_WORDS = 8 * 700
LOSES = {"scheme": "dssd", "equal_within_error": [], "budget": 0.0}


@pytest.fixture(scope="module")
def written(few_texts, tmp_path_factory):
    """The paper of a few texts, from the command line, and what the command said."""
    out = tmp_path_factory.mktemp("paper")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(phases, "_NUM_COUNTS", 2)
        patched.setattr(comparison, "BUDGETS", (0.0, 0.05))
        patched.setattr("calibration.finding.built_in", lambda: {})
        patched.setattr(shutil, "which", lambda name: None)
        arguments = ["--slm-latency-s", "20ms", "--llm-latency-s", "60ms", "--json"]
        main(["paper", "--out", str(out), "--calibration", str(few_texts), *arguments])
    return out


@pytest.fixture(scope="module")
def found(written):
    return json.loads((written / "results.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def text(written):
    return (written / "paper.md").read_text(encoding="utf-8")


def leaves(value):
    """Every value of a tree."""
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from leaves(one)
    else:
        yield value


def test_every_number_of_the_text_is_among_the_results(text, found):
    known = set()
    for one in leaves(found):
        known.update(NUMBER.findall(one if isinstance(one, str) else paper.short(one)))
    known |= {str(len(row["equal_within_error"])) for one in found["texts"] for row in one["fastest"]}
    assert set(NUMBER.findall(text)) - known == set()
    assert len(set(NUMBER.findall(text))) > 150


def test_the_template_holds_no_number():
    template = (paper.TEMPLATES / "paper.md.j2").read_text(encoding="utf-8")
    bare = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", template, flags=re.DOTALL)
    assert re.findall(r".*\d.*", bare) == []


def test_it_is_at_most_eight_pages_long(text):
    assert len(text.split()) <= MOST_WORDS


def test_it_has_what_every_scheme_sends_and_what_is_proved(text, found):
    assert {row["name"] for row in found["sends"]} <= SCHEMES.keys()
    for row in found["sends"]:
        assert f"| {row['label']} | {row['reference']} |" in text
    for name, one in found["theorems"].items():
        assert one["holds"], name
        assert one["text"] in text
    for name in ("kept_law.converse", "kept_law.newsvendor"):
        assert "*Proof.*" in theorem(name)["text"]
        assert "*Proof.*" not in theorem(name, proof=False)["text"]
    for one in found["sources"]:
        assert one in text


def test_who_wins_is_read_from_the_comparison(found, text):
    assert found["cases"]["all"] == len(found["texts"]) * len(found["budgets"])
    for one in found["texts"]:
        for at, first in zip(found["budgets"], one["fastest"], strict=True):
            rates = {
                name: next(row for row in rows if row["budget"] == at)["throughput_token_per_s"]
                for name, rows in one["schemes"].items()
            }
            assert first["scheme"] == max(rates, key=rates.get)
    lost = {**found, "cases": paper._cases([{"name": "a text", "fastest": [LOSES]}])}
    assert lost["cases"]["num_lost"] == 1
    assert "in 1 it is *not*" in paper.markdown(lost)
    for panel in found["panels"]:
        shares = [panel["kept"], panel["llm"], *(one["share"] for one in panel["others"])]
        assert sum(shares) == pytest.approx(100.0)


def test_nothing_but_the_files_is_left(written):
    names = {file.name for file in written.iterdir()}
    drawn = {f"{name}{suffix}" for name in paper.DRAWN for suffix in frame.SUFFIXES}
    assert names == {"paper.md", "paper.tex", "results.json"} | drawn


def test_names_out_of_a_calibration_command_nothing(found):
    evil = r"$\input{/etc/passwd}$ `x` <b> [a](b) | \write18{x} %"
    named = {**found, "small": paper.harmless(evil), "pair": {**found["pair"], "name": paper.harmless(evil)}}
    written = paper.latex(paper.markdown(named))
    for word in (r"\input{/etc", r"\write18", "<b>"):
        assert word not in written


def test_a_statement_that_does_not_hold_stops_the_paper(few_texts, monkeypatch, tmp_path):
    monkeypatch.setattr(paper, "hook", lambda name: lambda one, proof: {**theorem(one), "holds": False})
    with pytest.raises(CuhlmError, match=r"not proved: kept_law\.converse"):
        paper.write(tmp_path / "out", frame.load(few_texts))
    assert not (tmp_path / "out").exists()


def test_a_published_line_has_no_tokens_to_write_about(assert_refused, tmp_path):
    words = ["calibration cu-hlm has no recorded tokens"]
    assert_refused("paper", "--out", tmp_path / "out", "--calibration", "cu-hlm", code=1, words=words)
    assert not (tmp_path / "out").exists()


def test_what_latex_does_not_take_is_said_and_nothing_is_replaced(monkeypatch, tmp_path, found):
    monkeypatch.setattr(paper, "results", lambda *_, **__: (found, {}))
    monkeypatch.setattr(shutil, "which", lambda name: name)
    stopped = subprocess.CompletedProcess([], 1, stdout="...\n! Undefined control sequence.\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: stopped)
    with pytest.raises(CuhlmError, match="Undefined control sequence"):
        paper.write(tmp_path, frame.load("cu-hlm"))
    assert list(tmp_path.iterdir()) == []


def test_markdown_becomes_latex():
    body = paper.latex(
        "# A & B\n\n## Part\n\nAt most ≤ 5 % of `a_b`, $x_{d} \\le 1$.\n\n- one\n\n"
        "Table: What is _sent_.\n\n| a | b |\n| --- | ---: |\n| x | **1** |\n\n![One](a.png)\n![Two](b.png)\n"
    )
    assert r"{\LARGE\bfseries A \& B\par}" in body
    assert r"At most $\le$ 5 \% of \texttt{a\_\allowbreak{}b}, $x_{d} \le 1$." in body
    assert r"\fitted{What is \textit{sent}.}{lr}{%" in body
    assert r"x & \textbf{1} \\" in body
    assert r"\drawn{0.48}{a}{One}" in body
    assert "Table:" not in body


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_it_compiles_to_at_most_eight_pages_and_nothing_sticks_out(written, tmp_path):
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    assert paper._compiled(tmp_path) == ["paper.pdf"]
    log = (tmp_path / "paper.log").read_text(encoding="latin-1")
    (pages,) = re.findall(r"Output written on paper.pdf \((\d+) pages", log)
    assert int(pages) <= 8
    assert re.findall(r"Overfull \\hbox \((?:[1-9]\d|[5-9])\.", log) == []
