"""The page of a scenario stands alone, says what was recommended, and follows the reader's colours."""

import html
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.ladder import Ladder
from cuhlm_theory.parameters import FixedRate
from cuhlm_theory.schemes import SCHEMES
from figures import catalogue, report, style
from figures.frame import Source
from tests.exact_pair import record

INPUTS = {
    "calibration": "random <pair>",
    "bandwidth_hz": 180e3,
    "snr_db": 3.0,
    "fading": "awgn",
    "slm_latency_s": 0.004,
    "llm_latency_s": 0.02,
    "round_trip_s": 0.0,
    "downlink_bit_per_s": float("inf"),
    "charge_resync": False,
    "bias_budget": 0.05,
    "assumed": ["bandwidth-hz", "snr-db"],
}
VOID = {"meta", "br", "path", "use", "rect", "input"}


@pytest.fixture(scope="module")
def source():
    recording = record(num_prompts=6, tokens_per_prompt=8)
    return Source(calibration=recording, system=Ladder({}, {"calibration": recording}).system())


@pytest.fixture(scope="module")
def best(source):
    return replace(source.question(), inputs=INPUTS).answer()


@pytest.fixture(scope="module")
def page(source, best):
    shown = report.SHOWN
    report.SHOWN = ("rejection_line", "attenuation")  # two are enough to see that ids do not collide
    try:
        return report.page(best, source)
    finally:
        report.SHOWN = shown


class Balanced(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.ids, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def test_the_page_is_well_formed_and_its_ids_are_unique(page):
    parser = Balanced()
    parser.feed(page)
    assert not parser.open
    assert len(parser.ids) == len(set(parser.ids))
    assert parser.tags.count("svg") == 2
    for reference in re.findall(r'(?:href="#|url\(#)([^")]+)', page):
        assert reference in parser.ids


def test_the_page_needs_nothing_from_outside(page):
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert all(link.startswith("#") for link in links)
    assert "@import" not in page
    assert "<script" not in page
    assert "$" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)


def test_the_green_box_is_the_first_screen_of_the_recommendation(page, best):
    (box,) = re.findall(r'<section class="answer".*?</section>', page, flags=re.DOTALL)
    text = html.unescape(re.sub(r"<[^>]+>", " ", box))
    said = [re.sub(r"\s+", " ", line).strip() for line in best.lines()]
    assert all(line in re.sub(r"\s+", " ", text) for line in said)
    assert "the LLM alone" in text or best.scheme == "llm"


def test_every_scheme_is_in_the_table_the_fastest_first(page, best):
    (table,) = re.findall(r"<table><thead>.*?</table>", page, flags=re.DOTALL)
    names = re.findall(r'<th scope="row"[^>]*>([^<]+)</th>', table)
    assert names == [style.scheme_label(row["name"]) for row in best.schemes]
    assert set(names) == {style.scheme_label(name) for name in SCHEMES if name not in best.missing}
    (chosen,) = re.findall(r'<tr class="chosen"><th[^>]*>([^<]+)</th>', table)
    assert chosen == style.scheme_label(best.scheme)
    assert "random &lt;pair&gt;" in page
    assert "(assumed)" in page


def test_a_recommendation_is_written_whole_without_a_source(best, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "SHOWN", ("concentration",))  # drawn from the tokens of the question
    report.write(best, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert text.count("<svg") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]


def test_a_recommendation_finds_the_writer_of_the_page(best, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "SHOWN", ())
    best.report(tmp_path / "page.html")
    assert best.scheme in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_without_figures_a_report_says_what_to_install(best, tmp_path, monkeypatch):
    monkeypatch.setattr("cuhlm_theory.rooms._brought", lambda group: {})
    with pytest.raises(MissingInputError, match=r"cuhlm\[figures\]"):
        best.report(tmp_path / "page.html")


def test_a_link_of_a_given_rate_is_named_by_it(source, monkeypatch):
    monkeypatch.setattr(report, "SHOWN", ())
    system = replace(source.system, link=FixedRate(rate_bit_per_s=50e3))
    page = report.page(replace(source.question(system=system), inputs=INPUTS).answer(), source)
    assert "random &lt;pair&gt; over 50 kbit/s" in page


def test_figures_take_the_colours_of_the_page(page):
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert 'name="viewport"' in page
    figures = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert "var(--ink)" in figures
    assert not re.findall(r"#[0-9a-f]{6}\b", re.sub(r'(?:id="|href="#|url\(#)[^")]+', "", figures))
    assert set(report.DARK) == set(style.THEME)


def test_the_same_scenario_gives_the_same_figure(source, page):
    one = catalogue.figure("rejection_line")
    assert report.inline_svg(one, one.compute(source)) in page


def test_a_line_without_a_profile_still_gets_a_page(source, monkeypatch):
    known = source.calibration.without_tokens()
    monkeypatch.setattr(report, "FALLBACK", ())
    bare = Source(calibration=known, system=source.system)
    asked = replace(source.question(), tokens=Tokens.of(known.law, known.line), inputs=INPUTS)
    for page in (report.page(asked.answer(), bare), report.page(asked.answer())):
        assert "Run " in page
        assert "missing" not in page.lower() or "give a recorded" in page


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (5e-5, "5.00e-05"),
        (12.345, "12.3"),
        (0.9997, "1.00"),
        (True, "yes"),
        (32000, "32 000"),
        (float("nan"), "–"),
    ],
)
def test_numbers_are_short(value, text):
    assert report.number(value).replace("\N{NO-BREAK SPACE}", " ") == text.replace("\N{NO-BREAK SPACE}", " ")
