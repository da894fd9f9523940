"""The page of a scenario stands alone, says what was recommended, and follows the reader's colours."""

import re
from html.parser import HTMLParser

import pytest

from cuhlm_theory.contexts import Tokens
from cuhlm_theory.parameters import Budget
from cuhlm_theory.schemes import SCHEMES
from figures import catalogue, report, style
from figures.frame import Source, default_system
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
    return Source(calibration=recording, system=default_system(recording))


@pytest.fixture(scope="module")
def page(source):
    shown = report.SHOWN
    report.SHOWN = ("rejection_line", "attenuation")  # two are enough to see that ids do not collide
    try:
        return report.page(source, source.setting(), INPUTS)
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


def test_the_recommendation_and_every_scheme_are_on_it(page):
    assert "On this link, <strong>" in page
    assert "token/s</strong>" in page
    for name in SCHEMES:
        assert style.SCHEME_LABELS[name] in page
    assert page.count('class="chosen"') == 1
    assert "random &lt;pair&gt;" in page
    assert "(assumed)" in page


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
    setting = source.setting()
    setting = type(setting)(
        slope=setting.slope,
        intercept=setting.intercept,
        delta=setting.delta,
        tokens=Tokens.of(known.law, known.line),
        system=setting.system,
        budget=Budget(bias=0.05),
    )
    text = report.page(bare, setting, INPUTS)
    assert "On this link" in text
    assert "missing" not in text.lower() or "give a recorded" in text


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
