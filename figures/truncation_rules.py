"""k* of every token under the printed online rule and under the exact rule, and the one offline k.

Answers CU-HLM's truncation rules, eqs. (23), (24) and (26), and its offline k* = 30 (arXiv:2505.11788v1).
Reconstructed: the equations could not be read in full. The exact rule is new.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cuhlm_theory.presets import SETTINGS
from figures import style
from figures.frame import Figure, Source, Tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN_BUDGET = 0.05
LEVELS = (0.1, 0.5, 0.9)


def compute(source: Source, *, num_points: int = 200) -> Tables:
    """Take the distribution of k* under both rules, the offline k, and the ratio at every budget."""
    tokens = source.need("k_grid", "tv_profile", "draft_prob")
    assert tokens.k_grid is not None
    assert tokens.tv_profile is not None
    assert tokens.draft_prob is not None
    rejection = source.calibration.line(tokens.uncertainty)
    scale = (1.0 - tokens.draft_prob) * np.log1p(np.exp(-1.0)) + tokens.draft_prob * np.log1p(
        np.exp(-rejection)
    )
    printed_bound = 2.0 * tokens.tv_profile / scale[:, None]  # U(k), [N, K]
    budgets = np.array([0.01, 0.02, 0.05, 0.1, 0.2])
    level = np.linspace(0.0, 1.0, num_points)
    place = int(np.flatnonzero(budgets == SHOWN_BUDGET)[0])
    exact = np.stack([_smallest(tokens.tv_profile, tokens.k_grid, b) for b in budgets], axis=1)  # [N, B]
    printed = np.stack([_smallest(printed_bound, tokens.k_grid, b) for b in budgets], axis=1)
    tables: Tables = {
        "distribution": {
            "share of tokens [-]": level,
            "exact k [token]": np.quantile(exact[:, place], level, method="inverted_cdf"),
            "printed k [token]": np.quantile(printed[:, place], level, method="inverted_cdf"),
        },
        "ratio": {"budget [-]": budgets},
        "offline": {
            "budget [-]": budgets,
            "exact k [token]": _smallest(
                tokens.tv_profile.mean(axis=0)[None], tokens.k_grid, budgets[:, None]
            ),
            "printed k [token]": _smallest(printed_bound.mean(axis=0)[None], tokens.k_grid, budgets[:, None]),
        },
    }
    ratio = printed / exact
    for q in LEVELS:
        tables["ratio"][f"printed over exact, quantile {q:g} [-]"] = np.quantile(ratio, q, axis=0)
    tables["ratio"]["mean printed over mean exact [-]"] = printed.mean(axis=0) / exact.mean(axis=0)
    return tables


def _smallest(profile: np.ndarray, k_grid: np.ndarray, budget: np.ndarray | float) -> np.ndarray:
    within = profile <= budget
    within[..., -1] = True
    return k_grid[np.argmax(within, axis=-1)]


def draw(axes: Mapping[str, "Axes"], tables: Tables) -> None:
    """Draw the distribution of k* under both rules and how many more entries the printed one keeps."""
    table, ax = tables["distribution"], axes["distribution"]
    share = table["share of tokens [-]"]
    ax.plot(
        table["exact k [token]"], share, drawstyle="steps-post", color=style.BLUE, label="exact rule, a token"
    )
    ax.plot(
        table["printed k [token]"],
        share,
        drawstyle="steps-post",
        color=style.VERMILLION,
        linestyle=(0, (5, 1.5)),
        label="printed rule, a token",
    )
    offline = tables["offline"]
    place = int(np.argmin(np.abs(offline["budget [-]"] - SHOWN_BUDGET)))
    for name, color, line in (
        ("exact", style.BLUE, (0, (1, 1.5))),
        ("printed", style.VERMILLION, (0, (3, 1, 1, 1))),
    ):
        k = float(offline[f"{name} k [token]"][place])
        ax.axvline(k, color=color, linestyle=line, linewidth=0.9, label=f"{name} rule, offline: {k:.0f}")
    published = SETTINGS["offline_k"].value
    ax.axvline(published, **style.REFERENCE, label=f"CU-HLM, offline: {published:.0f}")
    ax.set(xscale="log", xlabel="entries kept $k^*$ [token]", ylabel="share of tokens [-]", ylim=(0.0, 1.02))
    ax.set_xlim(left=0.9)
    style.legend_below(ax, ncols=2)
    style.panel_title(ax, 0, f"budget {SHOWN_BUDGET:g}")

    ratio, ax = tables["ratio"], axes["ratio"]
    budget = ratio["budget [-]"]
    low, mid, high = (ratio[f"printed over exact, quantile {q:g} [-]"] for q in LEVELS)
    style.band(ax, budget, low, high, color=style.VERMILLION)
    ax.plot(budget, mid, color=style.VERMILLION, marker="o", label="median and middle 80 % of tokens")
    ax.plot(
        budget,
        ratio["mean printed over mean exact [-]"],
        color=style.INK,
        linestyle=(0, (1, 1)),
        marker="s",
        label="ratio of the mean $k$",
    )
    ax.axhline(1.0, **style.REFERENCE)
    ax.set(xscale="log", yscale="log", xlabel="budget [-]", ylabel="printed $k^*$ over exact $k^*$ [-]")
    ax.set_xticks(budget, [f"{b:g}" for b in budget])
    ax.minorticks_off()
    top = max(float(np.max(high)), 2.0)
    ticks = [t for t in (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000) if t <= 1.6 * top]
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.set_ylim(0.85, 1.9 * top)
    ax.legend(loc="upper right")
    style.panel_title(ax, 1, "what the printed rule sends in addition")


FIGURE = Figure(
    name="truncation_rules",
    title="Entries kept by the printed and by the exact rule",
    answers="CU-HLM, eqs. (23)-(26): online k*, and offline k* = 30",
    status="reconstructed",
    caption="Distribution over recorded tokens of the smallest k within the budget, on the recorded grid of "
    "k. At one budget the printed rule never keeps fewer entries than the exact one "
    "(`truncation.printed_bound`).",
    compute=compute,
    draw=draw,
    panels=("distribution", "ratio"),
    panel_height_in=2.6,
)

if __name__ == "__main__":
    FIGURE.main()
