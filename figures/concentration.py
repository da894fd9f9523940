"""How concentrated the vocabulary is: sorted probabilities, and what truncation to k entries loses.

Answers CU-HLM's observation that few tokens carry the mass, on which its compression rests
(arXiv:2505.11788v1). Reconstructed on another pair; the spread over tokens and the exact k* are new.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from figures import samples, style
from figures.frame import Figure, Source, Tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BUDGETS = (0.01, 0.05, 0.2)
_LEAST = 1e-8


def compute(source: Source) -> Tables:
    """Take quantiles over tokens of x_(k) and TV_k, and of the k that each budget needs."""
    tokens = source.need("k_grid", "sorted_prob", "tv_profile")
    assert tokens.k_grid is not None
    assert tokens.tv_profile is not None
    assert tokens.sorted_prob is not None
    k = {"k [token]": tokens.k_grid}
    needed = np.stack([tokens.smallest_k(budget) for budget in BUDGETS], axis=1)  # [N, B]
    return {
        "probability": {**k, **samples.quantile_table(tokens.sorted_prob, "-")},
        "distance": {**k, **samples.quantile_table(tokens.tv_profile, "-")},
        "needed": {"budget [-]": np.array(BUDGETS), **samples.quantile_table(needed, "token")},
    }


def draw(axes: Mapping[str, "Axes"], tables: Tables) -> None:
    """Draw median and bands of both profiles, and k* at three budgets."""
    texts = {"probability": "sorted probability $x_{(k)}$ [-]", "distance": "$\\mathrm{TV}_k$ [-]"}
    for panel, text in texts.items():
        table, ax = tables[panel], axes[panel]
        k = table["k [token]"]
        level = {q: np.maximum(table[f"quantile {q:g} [-]"], _LEAST) for q in samples.QUANTILES}
        style.band(ax, k, level[0.1], level[0.9], color=style.VERMILLION)
        style.band(ax, k, level[0.25], level[0.75], color=style.VERMILLION, alpha=0.28)
        ax.plot(
            k,
            np.where(level[0.5] > _LEAST, level[0.5], np.nan),
            color=style.VERMILLION,
            label="median over tokens",
        )
        ax.set(
            xscale="log",
            yscale="log",
            xlabel="rank, or entries kept, $k$ [token]",
            ylabel=text,
            ylim=(_LEAST, 1.5),
        )
        ax.set_xlim(1, k[-1])
    axes["probability"].fill_between(
        [], [], [], color=style.VERMILLION, alpha=0.46, linewidth=0, label="middle half"
    )
    axes["probability"].fill_between(
        [], [], [], color=style.VERMILLION, alpha=0.18, linewidth=0, label="middle 80 %"
    )
    axes["probability"].legend(loc="upper right")
    style.panel_title(axes["probability"], 0, "few tokens carry the mass")
    needed, ax = tables["needed"], axes["distance"]
    ax.set_ylim(1e-4, 1.5)
    for place, budget in enumerate(needed["budget [-]"]):
        ax.axhline(budget, **style.REFERENCE)
        k = needed["quantile 0.5 [token]"][place]
        ax.plot(k, budget, marker="o", color=style.BLUE, markersize=4)
        style.label(
            ax, 1.0, budget, f"TV budget {budget:g}: median $k^*$ = {k:.0f}", xytext=(4, 2), color=style.BLUE
        )
    style.panel_title(ax, 1, "what truncation loses")


FIGURE = Figure(
    name="concentration",
    title="The vocabulary's concentration",
    answers="CU-HLM: a few entries carry the distribution, so that k entries suffice",
    status="reconstructed",
    caption="Sorted probabilities of the small model and the total variation that truncation to k entries "
    "costs, over recorded tokens: median, middle half and middle four fifths. The spread over tokens is why "
    "one k for all of them wastes bits.",
    compute=compute,
    draw=draw,
    panels=("probability", "distance"),
    panel_height_in=2.4,
)

if __name__ == "__main__":
    FIGURE.main()
