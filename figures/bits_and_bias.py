"""Bits a token against bias for every scheme at one channel, and verify-on-sync against CU-HLM.

New: no published work compares biased schemes (U-HLM, arXiv:2412.12687; CU-HLM, arXiv:2505.11788v1)
with exact ones (DSSD, SQS, TK-SLT, ...) at equal bits or equal bias.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cuhlm_theory.schemes import SCHEMES, line_up
from figures import style
from figures.frame import Figure, Source, Tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BIASED = ("u-hlm", "cu-hlm-offline", "cu-hlm-online", "cu-hlm-exact", "floor", "kept-law")
EXACT = ("hlm", "dsd", "tk-slt", "tslt", "k-sqs", "c-sqs", "dssd", "confidence-stop")
_NEEDED = ("tv_profile", "skip_mass", "skip_risk", "k_grid", "draft_prob")


def compute(source: Source) -> Tables:
    """Sweep the threshold of the biased schemes and evaluate the exact ones."""
    asked = source.question(*_NEEDED)
    best = asked.answer(bound=False)
    tokens = best.tokens
    thresholds = [float(threshold) for threshold in tokens.thresholds()]
    rows = []
    for threshold in thresholds:
        swept = best.beside(BIASED, threshold=threshold, truncation_price_s=None)[
            0
        ]  # a budget, as online has
        rows += [(scheme.name, threshold, ledger.outcome()) for scheme, ledger in swept]
    rows = [row for row in rows if row[2].bias is not None and row[2].uplink_bit_per_token > 0.0]
    rows.sort(key=lambda row: BIASED.index(row[0]))
    exact = [ledger.outcome() for _, ledger in best.beside(EXACT)[0]]
    fires = [threshold for threshold in thresholds if np.any(tokens.uncertainty > threshold)]
    plain = SCHEMES["verify-on-sync"], best.operating_scheme
    sync, truncated = (
        [
            ledger.outcome()
            for _, ledger in line_up((row.using(threshold=t) for t in fires), tokens, asked.system)[0]
        ]
        for row in plain
    )
    return {
        "bits": {
            "scheme": np.array([name for name, _, _ in rows]),
            "threshold [-]": np.array([t for _, t, _ in rows]),
            "bias [-]": np.array([row.bias for _, _, row in rows], dtype=np.float64),
            "uplink [bit/token]": np.array([row.uplink_bit_per_token for _, _, row in rows]),
        },
        "exact": {
            "scheme": np.array([row.name for row in (*exact, *sync)]),
            "uplink [bit/token]": np.array([row.uplink_bit_per_token for row in (*exact, *sync)]),
        },
        "sync": {
            "threshold [-]": np.array(fires),
            "risk of CU-HLM [-]": np.array([row.risk for row in truncated]),
            "verify-on-sync [token/s]": np.array([row.throughput_token_per_s for row in sync]),
            "cu-hlm-exact [token/s]": np.array([row.throughput_token_per_s for row in truncated]),
        },
    }


def draw(axes: Mapping[str, "Axes"], tables: Tables) -> None:
    """Draw curves of the biased schemes, marks of the exact ones, and the race at one trigger."""
    table, exact, ax = tables["bits"], tables["exact"], axes["bits"]
    for name in dict.fromkeys(table["scheme"]):
        of = table["scheme"] == name
        bias, bits = table["bias [-]"][of], table["uplink [bit/token]"][of]
        order = np.argsort(bits)
        ax.plot(
            bias[order], bits[order], **style.scheme_line(str(name), marked=True), markersize=2.5, markevery=3
        )
    for name in dict.fromkeys(exact["scheme"]):
        bits = exact["uplink [bit/token]"][exact["scheme"] == name]
        mark = style.scheme_style(str(name))
        if name == "verify-on-sync":
            ax.plot(
                [0.0, 0.0],
                [bits.min(), bits.max()],
                color=mark["color"],
                linewidth=2.2,
                solid_capstyle="butt",
            )
            bits = bits[[0, -1]]
        ax.plot(
            np.zeros(len(bits)),
            bits,
            color=mark["color"],
            marker=mark["marker"],
            linestyle="none",
            markersize=5,
            clip_on=False,
            zorder=5,
            label=style.scheme_label(str(name)),
        )
    ax.set(yscale="log", xlabel="bias: mean TV from the LLM [-]", ylabel="uplink [bit/token]")
    span = float(np.max(table["bias [-]"]))
    ax.set_xlim(-0.03 * span, 1.03 * span)
    style.legend_below(ax, ncols=3)
    style.panel_title(ax, 0, "exact schemes stand at bias 0")

    race, ax = tables["sync"], axes["sync"]
    risk = race["risk of CU-HLM [-]"]
    for name in ("verify-on-sync", "cu-hlm-exact"):
        ax.plot(risk, race[f"{name} [token/s]"], **style.scheme_line(name, marked=True))
    ax.set(
        xlabel="risk of the trigger (bias of CU-HLM's skipping) [-]",
        ylabel="throughput [token/s]",
        ylim=(0.0, None),
    )
    ax.legend(loc="lower right")
    style.panel_title(ax, 1, "the same trigger, exact or biased")


FIGURE = Figure(
    name="bits_and_bias",
    title="Bits a token against bias",
    answers="none published: biased and exact schemes at equal bits",
    status="new",
    caption="Uplink bits a token against the mean bias at one channel: the biased schemes over their "
    "threshold, the exact ones at bias 0 (verify-on-sync over its threshold, a bar). Below: throughput of "
    "verify-on-sync and of CU-HLM at the same trigger.",
    compute=compute,
    draw=draw,
    panels=("bits", "sync"),
    panel_height_in=2.9,
)

if __name__ == "__main__":
    FIGURE.main()
