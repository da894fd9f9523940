"""Parts of the page: what is recommended, the bars of the schemes, what would have to change, pictures."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from cuhlm_theory.crossover import Change
from figures import report, style

_ACCOUNTS = {"bound": "≤ ", "estimate": "≈ "}


def tag(name: str, text: str = "", classes: str = "") -> TextElement:
    """Put an HTML element; its text is text, whatever it says."""
    return TextElement(tag=name, text=text).classes(classes)  # type: ignore[return-value]


def card(title: str, classes: str = "") -> ui.element:
    """Put a box under a heading; return what can be filled."""
    with ui.element("section").classes(f"card {classes}").props(f'aria-label="{title}"'):
        tag("h2", title)
        return ui.element("div")


def headline(told: Mapping[str, Any]) -> str:
    """Say the recommendation in one line."""
    speed = _interval(told["throughput_token_per_s"], told["throughput_ci95"], " token/s")
    return f"{style.scheme_label(told['scheme'])}: {speed}, bias {told['bias']:.3g}"


def _interval(value: float, ends: Sequence[float] | None, unit: str = "") -> str:
    """Write a number with its unit, and its interval where it has one that can be seen."""
    low, high = map(report.number, ends or (value, value))
    return report.number(value) + unit + (f" [{low}, {high}]" if low != high else "")


def recommendation(box: ui.element, told: Mapping[str, Any]) -> None:
    """Show the first screen of the recommendation; what would change has a panel of its own."""
    box.clear()
    first, *facts = told["lines"]
    with box:
        tag("p", first, "first")
        with ui.element("dl"):
            for fact in facts:
                name, _, text = fact.strip().partition(" ")
                if name != "change":
                    tag("dt", name)
                    tag("dd", text.strip())


def bars(box: ui.element, answer: Mapping[str, Any]) -> None:
    """Show throughput and bias of every scheme, the fastest first; those beyond the budget are pale."""
    box.clear()
    rows, chosen = answer["schemes"], answer["recommendation"]["scheme"]
    most = max(max(row["throughput_token_per_s"], *(row["throughput_ci95"] or (0.0,))) for row in rows)
    with box, ui.element("table").classes("bars"):
        with ui.element("thead"), ui.element("tr"):
            for text in ("scheme", "token/s, 95 %", "bias"):
                tag("th", text).props('scope="col"')
        with ui.element("tbody"):
            for row in rows:
                out = "" if row["name"] in answer["eligible"] else "out"
                with ui.element("tr").classes("chosen" if row["name"] == chosen else out):
                    _bar(row, most)
    if answer["missing"]:
        with box:
            tag("p", "; ".join(f"{name}: {why}" for name, why in answer["missing"].items()), "note")


def _bar(row: Mapping[str, Any], most: float) -> None:
    speed, ends = row["throughput_token_per_s"], row["throughput_ci95"]
    tag("th", style.scheme_label(row["name"])).props('scope="row"')
    with ui.element("td").classes("speed"):
        with ui.element("div").classes("track").props('aria-hidden="true"'):
            ui.element("div").classes("bar").style(f"width: {_percent(speed, most)}")
            if ends is not None:
                low, high = (_percent(end, most) for end in ends)
                ui.element("div").classes("whisker").style(f"left: {low}; right: calc(100% - {high})")
        tag("span", _interval(speed, ends))
    account = _ACCOUNTS.get(row["bias_account"], "") if row["bias"] is not None else ""
    tag("td", f"{account}{report.number(row['bias'])}")


def _percent(value: float, most: float) -> str:
    return f"{100.0 * value / most if most > 0.0 else 0.0:.2f}%"


def changes(box: ui.element, told: Mapping[str, Any], reasons: Sequence[str] = ()) -> None:
    """Show what would make a scheme that skips the fastest, and what one more unit of each resource buys."""
    box.clear()
    found = [str(Change(**change)) for change in told["would_change"]]
    with box, ui.element("ul"):
        for text in found:
            tag("li", text)
        if not found and told["text"] == "hybrid":
            tag("li", "A scheme that skips is the fastest already.")
        for text in reasons:
            tag("li", text)


class Picture:
    """A figure that is drawn beside the page, with a sign while it is and crosses where one stands."""

    def __init__(self, title: str, note: str, *, num_crosses: int = 0) -> None:
        self.axes: Sequence[Mapping[str, Any]] = ()
        with card(title):
            with ui.element("p").classes("status").props('role="status"'):
                self._spinner = ui.spinner(size="1em")
                self._said = tag("span")
            with ui.element("div").classes("canvas"):
                self._picture = ui.html("", sanitize=False)
                self._crosses = [
                    ui.element("div").classes("cross").props('aria-hidden="true"') for _ in range(num_crosses)
                ]
            self._stands = tag("p", "", "note")
            with ui.element("details"):
                tag("summary", "What to see in it")
                self._caption = tag("p", note)

    def say(self, text: str, *, busy: bool = False) -> None:
        """Say what is being done, or why there is nothing."""
        self._said.set_text(text)
        self._spinner.set_visibility(busy)

    def show(self, drawn: Mapping[str, Any], text: str = "", *, busy: bool = False) -> None:
        """Show what was drawn: our own SVG, in which nothing stands that came from a file."""
        self._picture.set_content(drawn["svg"])
        self._caption.set_text(drawn["caption"])
        self.axes = drawn["axes"]
        self.say(text, busy=busy)

    def clear(self, why: str) -> None:
        """Show nothing but the reason."""
        self._picture.set_content("")
        self.axes = ()
        self.say(why)

    def stand(self, x: float, y: float, text: str) -> None:
        """Put the crosses at a place on the logarithmic axes; beyond their ends, at the edge."""
        self._stands.set_text(text)
        for cross, ax in zip(self._crosses, self.axes, strict=False):
            left, bottom, width, height = ax["place"]
            across, up = left + width * _along(x, *ax["x"]), bottom + height * _along(y, *ax["y"])
            cross.style(f"left: {100.0 * across:.2f}%; top: {100.0 * (1.0 - up):.2f}%")
            cross.set_visibility(True)
        for cross in self._crosses[len(self.axes) :]:
            cross.set_visibility(False)


def _along(value: float, low: float, high: float) -> float:
    """Return where a value lies on a logarithmic axis, in [0, 1]."""
    return math.log(min(max(value, low), high) / low) / math.log(high / low)
