"""Uncertainty against rejection probability: recorded tokens, the fitted line, and the published lines.

Answers the linear rejection model of U-HLM (arXiv:2412.12687) and CU-HLM (arXiv:2505.11788v1).
Reconstructed: the published scatter plots come from another pair of models.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from calibration import Calibration
from cuhlm_theory.presets import PUBLISHED_LINES
from cuhlm_theory.rejection import Line
from figures import samples, style
from figures.frame import Figure, Source, Table, Tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PUBLISHED_STYLE = {"cu-hlm": (0, (5, 1.5)), "u-hlm": (0, (1, 1.2))}


def compute(source: Source, *, num_points: int = 101, num_cells: int = 25) -> Tables:
    """Count tokens in cells, average them in bins, and evaluate every line."""
    from scipy.optimize import isotonic_regression

    tokens, fitted = source.need(), source.calibration
    u, beta = tokens.uncertainty, tokens.rejection
    counts, edges, _ = np.histogram2d(u, beta, bins=num_cells, range=((0.0, 1.0), (0.0, 1.0)))
    centre = 0.5 * (edges[1:] + edges[:-1])
    column, row = np.nonzero(counts)
    place = samples.equal_count_bins(u)
    num_bins = int(place.max()) + 1
    mean_u = samples.mean_by_group(u, place, num_bins, None)[0]
    mean, low, high = samples.mean_by_group(beta, place, num_bins, tokens.prompt)
    grid = np.linspace(0.0, 1.0, num_points)
    order = np.argsort(u, kind="stable")
    monotone = np.asarray(isotonic_regression(beta[order]).x)
    lines = {
        "fitted line [-]": fitted.line(grid),
        "isotonic [-]": np.interp(grid, u[order], monotone, left=np.nan, right=np.nan),
    }
    for name, printed in PUBLISHED_LINES.items():
        lines[f"{name} [-]"] = Line(printed.slope.value, printed.intercept.value)(grid)
    thresholds: Table = {"threshold": np.array(["risk-averse", "risk-prone"])}
    for suffix, at in (("", None), (" low", 0), (" high", 1)):
        ends = [_end(fitted, name, at) for name in ("risk_averse", "risk_prone")]
        thresholds[f"uncertainty{suffix} [-]"] = np.array(ends)
    return {
        "line": {"uncertainty [-]": grid, **lines},
        "cells": {
            "uncertainty [-]": centre[column],
            "rejection [-]": centre[row],
            "tokens": counts[column, row],
        },
        "bins": {
            "uncertainty [-]": mean_u,
            "rejection [-]": mean,
            "rejection low [-]": low,
            "rejection high [-]": high,
            "tokens": np.bincount(place, minlength=num_bins),
        },
        "thresholds": thresholds,
    }


def _end(fitted: Calibration, name: str, at: int | None) -> float:
    value = fitted.estimates[name] if at is None else fitted.ci95.get(name, (np.nan, np.nan))[at]
    return np.nan if value is None else value


def draw(axes: Mapping[str, "Axes"], tables: Tables) -> None:
    """Draw cells, bins, lines and thresholds."""
    ax = axes["line"]
    _draw_cells(ax, tables["cells"])
    _draw_lines(ax, tables["line"])
    _draw_bins(ax, tables["bins"])
    _draw_thresholds(ax, tables["thresholds"])
    ax.set(
        xlabel=r"uncertainty $\bar u$ [-]",
        ylabel=r"rejection probability $\beta$ [-]",
        xlim=(-0.02, 1.02),
        ylim=(-0.03, 1.03),
    )
    ax.figure.legend(loc="outside lower center", ncols=2)  # type: ignore[union-attr]


def _draw_cells(ax: "Axes", cells: Table) -> None:
    area = 46.0 * np.sqrt(cells["tokens"] / cells["tokens"].max())
    ax.scatter(
        cells["uncertainty [-]"],
        cells["rejection [-]"],
        s=np.maximum(area, 1.0),
        marker="s",
        color=style.MUTED,
        alpha=0.38,
        linewidths=0,
        label=r"tokens (area: $\sqrt{\mathrm{count}}$)",
    )


def _draw_lines(ax: "Axes", line: Table) -> None:
    u = line["uncertainty [-]"]
    for name, dashes in _PUBLISHED_STYLE.items():
        ax.plot(
            u,
            line[f"{name} [-]"],
            color=style.INK,
            linestyle=dashes,
            linewidth=1.0,
            label=f"{name.upper()}, published",
        )
    ax.plot(
        u,
        line["isotonic [-]"],
        color=style.GREEN,
        linewidth=1.1,
        linestyle=(0, (3, 1, 1, 1)),
        label="isotonic fit",
    )
    ax.plot(u, line["fitted line [-]"], **style.PREDICTED, label="fitted line")


def _draw_bins(ax: "Axes", bins: Table) -> None:
    mean = bins["rejection [-]"]
    ax.errorbar(
        bins["uncertainty [-]"],
        mean,
        samples.bars(mean, bins["rejection low [-]"], bins["rejection high [-]"]),
        **style.MEASURED,
        label="mean of a bin, 95 %",
    )


def _draw_thresholds(ax: "Axes", thresholds: Table) -> None:
    """Mark each threshold with its interval and its value."""
    for place, name in enumerate(thresholds["threshold"]):
        at = thresholds["uncertainty [-]"][place]
        if np.isfinite(at) and 0.0 <= at <= 1.0:
            ax.axvline(at, color=style.BLUE, linestyle=(0, (1, 1.5)), linewidth=0.9)
            low, high = (thresholds[f"uncertainty {end} [-]"][place] for end in ("low", "high"))
            if np.isfinite(low) and np.isfinite(high):
                ax.axvspan(max(low, 0.0), min(high, 1.0), color=style.BLUE, alpha=0.10, linewidth=0)
            right = at > 0.75
            style.label(
                ax,
                at,
                0.995,
                f"{name}\n{at:.3f}",
                xytext=(-2 if right else 2, 0),
                ha="right" if right else "left",
                va="top",
                color=style.BLUE,
            )


FIGURE = Figure(
    name="rejection_line",
    title="Uncertainty against rejection probability",
    answers="U-HLM and CU-HLM: rejection probability is linear in uncertainty",
    status="reconstructed",
    caption="Recorded tokens (squares, area by the root of their count), means of bins of equal counts with "
    "95 % intervals over prompts, the least-squares line and the isotonic fit, both thresholds with their "
    "intervals, and the published lines of another pair of models.",
    compute=compute,
    draw=draw,
    panels=("line",),
    panel_height_in=3.3,
)

if __name__ == "__main__":
    FIGURE.main()
