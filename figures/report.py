"""One self-contained page for a scenario: recommendation, schemes, figures, provenance, assumptions.

The figures are drawn for the scenario's own system and budget and stand inline as SVG; their colours are CSS
variables, so that the page follows the reader's light or dark setting and prints in light colours.
"""

import html
import io
import math
import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from calibration import Calibration
from cuhlm_theory._fields import quantities
from cuhlm_theory._files import whole
from cuhlm_theory.capacity import db_from_snr
from cuhlm_theory.errors import CuhlmError
from cuhlm_theory.parameters import Budget, Codec, FixedRate, Latency, Link, RateTrace, System
from cuhlm_theory.recommendation import Recommendation
from cuhlm_theory.table import Table
from figures import style
from figures.catalogue import figure
from figures.frame import Figure, Source, load

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

SHOWN = ("throughput", "fronts", "bits_and_bias", "rejection_line", "truncation_rules", "skip_rates")
"""Figures that depend on the scenario and help to decide."""
FALLBACK = ("channel", "headline")
"""Figures for a line without recorded tokens."""

DARK = {
    "paper": "#171d24",
    "ink": "#e6e9ed",
    "muted": "#a3adb9",
    "grid": "#2b343e",
    "shade": "#232c36",
    "blue": "#5ab0f0",
    "vermillion": "#ff8f55",
    "green": "#45d0a3",
    "purple": "#d897d4",
    "orange": "#edb54a",
    "sky": "#93d3ff",
}
"""The theme's colours on a dark page."""

_TITLES = {
    **{
        key: one.title
        for kind in (Link, FixedRate, Codec, Latency, System, Budget)
        for key, one in quantities(kind).items()
    },
    "rate_trace": "Trace of the rate",
    "frame_bit": "Bits around a request",
    "bias_price_s": "Price of bias [s]",
    "temperature": "Sampling temperature [-]",
    "calibration": "Calibration",
    "uncertainty": "Law of the uncertainty",
    "quantisation": "Quantisation",
}
_COLUMNS = {
    "throughput_token_per_s": "throughput [token/s]",
    "throughput_ci95": "95 %",
    "bias": "bias [-]",
    "skip_rate": "skipped [-]",
    "uplink_bit_per_token": "uplink [bit/token]",
    "llm_calls_per_token": "LLM calls [1/token]",
    "latency_s": "latency [s/token]",
    "floor_ratio": "latency over the floor",
}


def number(value: Any) -> str:
    """Write a number with three significant digits and no exponent where it can be read without.

    Parameters
    ----------
    value : object
        A number, a text, or None.

    Returns
    -------
    str
        What the page shows.

    Examples
    --------
    >>> number(0.051234), number(123456.0), number(None), number(float("inf"))
    ('0.0512', '123 000', '–', '∞')
    """
    if value is None:
        return "–"
    if isinstance(value, tuple | list):
        return " to ".join(number(end) for end in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ")
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    if value != 0.0 and not 1e-4 <= abs(value) < 1e9:
        return f"{value:.2e}"
    rounded = float(f"{value:.3g}")
    digits = max(0, 2 - math.floor(math.log10(abs(rounded)))) if value else 0
    return f"{rounded:,.{digits}f}".replace(",", " ")


def write(best: Recommendation, path: str | Path, source: Source | None = None) -> None:
    """Write the page of a recommendation, whole or not at all; what `Recommendation.report` calls.

    Parameters
    ----------
    best : Recommendation
        The answer to show.
    path : str or Path
        File to (re)place.
    source : Source, optional
        What figures are drawn from; made of the recommendation's own question when not given.
    """
    text = page(best, source)
    with whole(Path(path)) as part:
        part.write_text(text, encoding="utf-8")


def page(best: Recommendation, source: Source | None = None) -> str:
    """Return the page of a recommendation.

    Parameters
    ----------
    best : Recommendation
        The answer to show; table, green box and figures are all its own.
    source : Source, optional
        What figures are drawn from; made of the recommendation's own question when not given.

    Returns
    -------
    str
        HTML that needs no other file.

    Raises
    ------
    CuhlmError
        If nothing meets the budgets.
    """
    source = _source(best) if source is None else source
    drawn, refused = _figures(source)
    notes = [f"{name}: {reason}" for name, reason in {**best.missing, **refused}.items()]
    return Template((Path(__file__).parent / "report.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(_title(best)),
        version=_version(),
        light=variables(style.THEME),
        dark=variables(DARK),
        answer=_answer(best),
        numbers=_numbers(best),
        explanation=_items(best.why()),
        schemes=_schemes(best.schemes, best.scheme),
        notes=html.escape("; ".join(notes)),
        figures="".join(drawn),
        inputs=_pairs(_asked(best)),
        provenance=_pairs(_provenance(source)),
        assumptions=_items(_assumptions(best, source)),
    )


def _source(best: Recommendation) -> Source:
    """Make a source of a question: the calibration that it names, where it has its tokens, else its own."""
    asked = best.question
    options: dict[str, Any] = {"system": asked.system, "bias_budget": asked.budget.bias}
    try:
        found = load(str(asked.inputs["calibration"]), **options)
        if found.tokens is not None and len(found.tokens) == len(asked.tokens):
            return found
    except (KeyError, ValueError):  # nothing of that name here: a calibration that was never written
        pass
    tokens = asked.tokens if asked.has_profile else None
    name = str(asked.inputs.get("calibration", "a line of one's own"))
    return Source(calibration=Calibration(name=name, line=asked.line, _tokens=tokens), **options)


def _title(best: Recommendation) -> str:
    """Say which pair, over which link."""
    link, name = best.question.system.link, best.question.inputs.get("calibration", "A pair")
    if isinstance(link, RateTrace):
        return f"{name} over a trace of {link.mean_bit_per_s / 1e3:g} kbit/s on average"
    if isinstance(link, FixedRate):
        return f"{name} over {link.rate_bit_per_s / 1e3:g} kbit/s"
    return f"{name} over {link.bandwidth_hz / 1e3:g} kHz at {db_from_snr(link.snr):.3g} dB, {link.fading}"


def inline_svg(one: Figure, tables: Any) -> str:
    """Draw a figure as an ``<svg>`` element whose colours are the page's variables.

    Parameters
    ----------
    one : Figure
        The figure.
    tables : Tables
        What it computed.

    Returns
    -------
    str
        The element; its ids are unique to the figure, so that several can share a page.
    """
    with style.applied(one.name):
        return canvas_svg(one.canvas(tables), one.name, f"{one.title}. {one.caption}")


def canvas_svg(canvas: "Canvas", name: str, label: str) -> str:
    """Return a drawn canvas as an ``<svg>`` element, as `inline_svg` does.

    Parameters
    ----------
    canvas : Figure
        What was drawn, inside `style.applied`.
    name : str
        What its ids begin with.
    label : str
        What it shows, for those who do not see it.

    Returns
    -------
    str
        The element.
    """
    buffer = io.StringIO()
    canvas.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    prefix = f"{name}-"
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r"url\(#", f"url(#{prefix}", text)
    text = re.sub(r'href="#', f'href="#{prefix}', text)
    for variable, color in style.THEME.items():
        text = re.sub(rf"(?<=: ){color}\b", f"var(--{variable})", text)
        text = re.sub(rf'\b(fill|stroke)="{color}"', rf'style="\1: var(--{variable})"', text)
    head, body = text.split(">", 1)
    box = re.search(r'viewBox="[^"]+"', head)
    assert box is not None
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {box.group()} '
        f'role="img" aria-label="{html.escape(label, quote=True)}">{body.strip()}'
    )


def _figures(source: Source) -> tuple[list[str], dict[str, str]]:
    drawn, refused = [], {}
    for name in SHOWN if source.tokens is not None else FALLBACK:
        one = figure(name)
        try:
            tables = one.compute(source)
        except (CuhlmError, ValueError) as error:
            refused[name] = str(error)
            continue
        drawn.append(
            f"<figure><h3>{html.escape(one.title)}</h3>{inline_svg(one, tables)}"
            f"<figcaption>{html.escape(one.caption)} <br>Answers {html.escape(one.answers)}. "
            f'<span class="badge">{one.status}</span></figcaption></figure>'
        )
    return drawn, refused


def _answer(best: Recommendation) -> str:
    """Write the first screen of the recommendation: what to do, then a line a fact."""
    first, *facts = best.lines()
    rows = []
    for fact in facts:
        label, _, text = fact.strip().partition(" ")
        rows.append(f"<dt>{html.escape(label)}</dt><dd>{html.escape(text.strip())}</dd>")
    return f"<p><strong>{html.escape(first)}</strong></p><dl>{''.join(rows)}</dl>"


def _numbers(best: Recommendation) -> str:
    row = best.schemes[best.scheme]
    cards = [
        ("throughput", row["throughput_token_per_s"], "token/s"),
        ("latency", row["latency_s"], "s/token"),
        ("bias, at most", best.bias.value if best.bias.high is None else best.bias.high, ""),
        ("uplink", row["uplink_bit_per_token"], "bit/token"),
        ("LLM passes", row["llm_calls_per_token"], "a token"),
        ("drafts a round", row["num_drafts"], "token"),
    ]
    if "llm" in best.ledgers and best.scheme != "llm":
        cards.append(("against the LLM alone", best.over("llm").value, "times as fast"))
    return "".join(
        f"<div><dt>{text}</dt><dd>{number(value)} <small>{unit}</small></dd></div>"
        for text, value, unit in cards
    )


def _schemes(table: Table, chosen: str) -> str:
    head = "".join(f'<th scope="col">{text}</th>' for text in ("scheme", *_COLUMNS.values()))
    body = []
    for row in table:
        cells = {key: number(row[key]) for key in _COLUMNS}
        if row["bias"] is not None and row["bias_is_bound"]:
            cells["bias"] = f"≤ {cells['bias']}"
        mark = ' class="chosen"' if row["name"] == chosen else ""
        tip = html.escape(row["bias_note"], quote=True)
        name = f'<th scope="row" title="{tip}">{style.scheme_label(row["name"])}</th>'
        body.append(f"<tr{mark}>{name}{''.join(f'<td>{cell}</td>' for cell in cells.values())}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _asked(best: Recommendation) -> Iterable[tuple[str, str]]:
    inputs = best.question.inputs
    assumed = {name.replace("-", "_") for name in inputs.get("assumed", ())}
    for key, title in _TITLES.items():
        if key in inputs and inputs[key] is not None:
            value = inputs[key]
            yield (
                title,
                (f"{value:g}" if isinstance(value, float) else number(value))
                + (" (assumed)" if key in assumed else ""),
            )


def _provenance(source: Source) -> Iterable[tuple[str, str]]:
    line = source.calibration
    yield "name", line.name
    for key, title in (
        ("slope", "slope a [-]"),
        ("intercept", "intercept b [-]"),
        ("delta", "Δ = P(y_d < x_d) [-]"),
        ("correlation", "correlation of ū and β [-]"),
        ("acceptance", "mean acceptance [-]"),
        ("risk_averse", "risk-averse threshold [-]"),
        ("risk_prone", "risk-prone threshold [-]"),
    ):
        value, interval = line.estimates[key], line.ci95.get(key)
        if value is not None:
            ends = "" if interval is None else f" (95 %: {number(interval[0])} to {number(interval[1])})"
            yield title, number(value) + ends
    if line.num_tokens:
        yield "recorded", f"{number(line.num_tokens)} tokens of {number(line.num_prompts)} prompts"
    for key, value in line.source.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        yield key.replace("_", " "), text


def _assumptions(best: Recommendation, source: Source) -> Iterable[str]:
    asked = best.question
    latency, fading = asked.system.latency, getattr(asked.system.link, "fading", None)
    if assumed := asked.inputs.get("assumed"):
        names = ", ".join(name.replace("-", " ") for name in assumed)
        yield f"Nobody gave {names}: what is assumed is used, mostly what U-HLM prints."
    yield (
        "Latency of a token is the SLM's plus, when it is transmitted, the uplink's and the LLM's; "
        "throughput is mean tokens over mean time."
    )
    if latency.round_trip_s == 0.0:
        yield "No round trip is charged, as in the published latency model."
    if math.isinf(latency.downlink_bit_per_s):
        yield "The downlink is free, as in the published latency model."
    if not latency.charge_resync:
        yield "Telling the server about skipped tokens is free, as in the published latency model."
    if fading in ("rayleigh-outage", "short-packet"):
        yield "A packet that is lost is noticed at once and sent again until it is received."
    if fading == "awgn":
        yield "Packets reach the AWGN capacity; short packets take longer (see --fading short-packet)."
    yield (
        "Bias is the mean total variation between one token's law and the LLM's, skipping and truncation "
        "added; truncation is charged in every context in which something may be sent."
    )
    if source.tokens is not None:
        yield "The recorded tokens stand for those to come; another pair needs its own calibration."
    if source.decoded is not None:
        yield "Answers that were really decoded are shown only where they were decoded over this very link."


def _pairs(rows: Iterable[tuple[str, str]]) -> str:
    body = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(value)}</td></tr>'
        for name, value in rows
    )
    return f'<table class="pairs"><tbody>{body}</tbody></table>'


def _items(texts: Iterable[str]) -> str:
    return "".join(f"<li>{html.escape(text)}</li>" for text in texts)


def variables(colors: Mapping[str, str]) -> str:
    """Return colours as CSS variables.

    Parameters
    ----------
    colors : dict of str to str
        Colours by name.

    Returns
    -------
    str
        Declarations.

    Examples
    --------
    >>> variables({"ink": "#1b1f24"})
    '--ink: #1b1f24;'
    """
    return " ".join(f"--{name}: {color};" for name, color in colors.items())


def _version() -> str:
    try:
        return metadata.version("cuhlm")
    except metadata.PackageNotFoundError:
        return "(not installed)"
