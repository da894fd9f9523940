"""What is computed for the page, by settings; a module of its own, so that processes import no page."""

import contextlib
import io
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from cuhlm_theory.cli.optimize import command
from cuhlm_theory.phases import phases, planes
from cuhlm_theory.recommendation import Recommendation
from figures import fronts, phase_diagram, report, style
from figures.explore.setting import Setting
from figures.frame import Figure, Source, load

_POINTS = 41  # a side of the phase diagram
_MOST_DRAFTS = 16  # a round, in the phase diagram
_CAPTION = (
    "The fastest scheme over rate and round trip of the link: exact on the left, within the bias budget on "
    "the right, each on the text that it writes. Every setting is a plane over inverse rate and round trip, "
    "so borders are exact up to the grid. Points are known networks at typical rates."
)


@lru_cache(maxsize=2)
def _answered(said: tuple[tuple[str, str], ...]) -> Recommendation:
    question, _ = Setting(dict(said)).build()
    return question.answer()


def _best(setting: Setting) -> Recommendation:
    return _answered(tuple(sorted(setting.said.items())))


def _source(setting: Setting) -> Source:
    """Return what figures of a setting are drawn from, as the command `report` draws them."""
    question, _ = setting.build()
    values = setting.context().params
    source = load(
        values["calibration"],
        text=values["text"],
        system=question.system,
        bias_budget=question.budget.bias,
    )
    if values["uncertainty"] is None:
        return source
    return replace(source, calibration=source.calibration.without_tokens())


def answer(setting: Setting) -> dict[str, Any]:
    """Return the recommendation, the rows of the schemes, and what binds."""
    best = _best(setting)
    return {
        "recommendation": best.to_dict(),
        "schemes": list(best.schemes),
        "eligible": best.eligible,
        "missing": best.missing,
    }


def reasons(setting: Setting) -> list[str]:
    """Say what binds, and what one more unit of each resource would buy."""
    return _best(setting).why()


def csv(setting: Setting) -> str:
    """Return what `cuhlm optimize --format csv` prints."""
    printed = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(printed):
        scenario = Path(folder) / "scenario.toml"
        scenario.write_text(setting.toml(), encoding="utf-8")
        command.main([str(scenario), "--format", "csv"], standalone_mode=False)
    return printed.getvalue()


def page(setting: Setting) -> str:
    """Return the page that `cuhlm report` writes."""
    return report.page(_best(setting), _source(setting))


def front(setting: Setting) -> dict[str, Any]:
    """Draw throughput against bias."""
    one = replace(fronts.FIGURE, panels=("bias",))
    return _drawn(one, one.compute(replace(_source(setting), decoded=None)))


def diagram(setting: Setting, every: bool) -> dict[str, Any]:
    """Draw which scheme is the fastest where: at the settings that are best here, or at every one."""
    question, _ = setting.build()
    system, budget, best = question.system, question.budget.bias, _best(setting)
    if every:
        tokens = _source(setting).need()
        found = phases(tokens, system, [0.0, budget], max_drafts=_MOST_DRAFTS, contexts=best.contexts)
    else:
        found = planes([row for row, _ in best.evaluated[0]], best.contexts, system)
    rate = system.latency.downlink_bit_per_s
    name = "free downlink" if np.isinf(rate) else f"downlink {rate:g} bit/s"
    tables = phase_diagram.regions(found, budget, {name: rate}, _POINTS)
    panels = tuple(f"{kind}, {name}" for kind in ("exact", "biased"))
    return _drawn(replace(phase_diagram.FIGURE, panels=panels, caption=_CAPTION), tables)


def _drawn(one: Figure, tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return a figure as SVG, and where its axes lie in it: place in [0, 1] and ends of both scales."""
    with style.applied(one.name):
        canvas = one.canvas(dict(tables))
        axes = [
            {"place": ax.get_position().bounds, "x": ax.get_xlim(), "y": ax.get_ylim()} for ax in canvas.axes
        ]
        return {
            "svg": report.canvas_svg(canvas, one.name, f"{one.title}. {one.caption}"),
            "axes": axes,
            "caption": one.caption,
        }
