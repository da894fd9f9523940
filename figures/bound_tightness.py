"""How tight the truncation bounds are: true output bias, TV_k, and the printed U.

Answers CU-HLM's truncation bound, eq. (23) (arXiv:2505.11788v1). New: TV_k is a proven bound on the
output bias, the printed U is several times larger.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from figures import samples, style
from figures.frame import Figure, Source, Tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEAST = 1e-6


def compute(source: Source) -> Tables:
    """Take quantiles of the bias and its two bounds, and count tokens by bias and bound."""
    tokens = source.need("coarse_k_grid", "output_bias", "k_grid", "tv_profile", "draft_prob")
    assert tokens.coarse_k_grid is not None
    assert tokens.k_grid is not None
    assert tokens.tv_profile is not None
    assert tokens.output_bias is not None
    assert tokens.draft_prob is not None
    at = np.searchsorted(tokens.k_grid, tokens.coarse_k_grid)
    shown = tokens.coarse_k_grid < tokens.k_grid[-1]  # at k = V all three are 0
    bias = np.asarray(tokens.output_bias, dtype=np.float64)[:, shown]
    bound = np.asarray(tokens.tv_profile, dtype=np.float64)[:, at[shown]]
    rejection = source.calibration.line(tokens.uncertainty)
    scale = (1.0 - tokens.draft_prob) * np.log1p(np.exp(-1.0)) + tokens.draft_prob * np.log1p(
        np.exp(-rejection)
    )
    k = {"k [token]": tokens.coarse_k_grid[shown]}
    tables: Tables = {"quantiles": dict(k)}
    for name, values in (("bias", bias), ("TV_k", bound), ("printed U", 2.0 * bound / scale[:, None])):
        for title, column in samples.quantile_table(values, "-").items():
            tables["quantiles"][f"{name} {title}"] = column
        tables["quantiles"][f"{name} mean [-]"] = values.mean(axis=0)
    edges = np.linspace(np.log10(_LEAST), 0.0, 31)
    inside = (bias > _LEAST) & (bound > _LEAST)
    counts = np.histogram2d(np.log10(bound[inside]), np.log10(bias[inside]), bins=(edges, edges))[0]
    column, row = np.nonzero(counts)
    centre = 10.0 ** (0.5 * (edges[1:] + edges[:-1]))
    tables["cells"] = {"TV_k [-]": centre[column], "bias [-]": centre[row], "tokens": counts[column, row]}
    return tables


def draw(axes: Mapping[str, "Axes"], tables: Tables) -> None:
    """Draw the three quantities against k, and the bias of each token against its bound."""
    table, ax = tables["quantiles"], axes["quantiles"]
    k = table["k [token]"]
    for name, text, color, line, marker in (
        ("printed U", "printed $U$", style.ORANGE, (0, (5, 1.5)), "s"),
        ("TV_k", "$\\mathrm{TV}_k$ (proven bound)", style.BLUE, "-", "o"),
        ("bias", "true output bias", style.VERMILLION, (0, (1, 1)), "D"),
    ):
        mean = table[f"{name} mean [-]"]
        ax.plot(k, np.where(mean > 0.0, mean, np.nan), color=color, linestyle=line, marker=marker, label=text)
        if name == "bias":
            level = {q: np.maximum(table[f"{name} quantile {q:g} [-]"], _LEAST) for q in samples.QUANTILES}
            style.band(ax, k, level[0.1], level[0.9], color=color, alpha=0.15)
    ax.set(xscale="log", yscale="log", xlabel="entries kept $k$ [token]", ylabel="mean over tokens [-]")
    ax.set_ylim(bottom=max(_LEAST, 0.3 * float(np.nanmin(table["bias mean [-]"]))))
    ax.legend(loc="upper right", title="shaded: bias, middle 80 %")
    style.panel_title(ax, 0, "bias and its bounds")

    cells, ax = tables["cells"], axes["cells"]
    area = 40.0 * np.sqrt(cells["tokens"] / cells["tokens"].max())
    ax.scatter(
        cells["TV_k [-]"],
        cells["bias [-]"],
        s=np.maximum(area, 1.0),
        marker="s",
        color=style.VERMILLION,
        alpha=0.45,
        linewidths=0,
    )
    ends = np.array([_LEAST, 1.0])
    ax.plot(ends, ends, color=style.BLUE, linewidth=1.2)
    ax.fill_between(ends, ends, 1.0, facecolor=style.SHADE, edgecolor=style.GRID, hatch="////", linewidth=0)
    style.label(ax, 3e-6, 0.2, "impossible:\ndata processing", xytext=(0, 0), va="center")
    ax.set(xscale="log", yscale="log", xlim=(_LEAST, 1.0), ylim=(_LEAST, 1.0))
    ax.set(xlabel="$\\mathrm{TV}_k$ of a token [-]", ylabel="its true output bias [-]")
    style.panel_title(ax, 1, "token by token (area: count)")


FIGURE = Figure(
    name="bound_tightness",
    title="How tight the truncation bounds are",
    answers="CU-HLM, eq. (23): the bound U on the resampling error",
    status="new",
    caption="Nothing is skipped, so all bias comes from truncation. The true output bias never exceeds the "
    "total variation that truncation costs; the printed U is at least 2.885 times that.",
    compute=compute,
    draw=draw,
    panels=("quantiles", "cells"),
    panel_height_in=2.4,
)

if __name__ == "__main__":
    FIGURE.main()
