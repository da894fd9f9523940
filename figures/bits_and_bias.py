"""Bits a token against bias for every scheme at one channel, and verify-on-sync against CU-HLM.

New: no published work compares biased schemes (U-HLM, arXiv:2412.12687; CU-HLM, arXiv:2505.11788v1)
with exact ones (DSSD, SQS, TK-SLT, ...) at equal bits or equal bias.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cuhlm_theory import summary
from cuhlm_theory.errors import CuhlmError
from cuhlm_theory.schemes import SCHEMES, Outcome, Policy, evaluate
from cuhlm_theory.schemes.lineup import candidate_thresholds
from figures import style
from figures.frame import Figure, Source, Tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BIASED = ("u-hlm", "cu-hlm-offline", "cu-hlm-online", "cu-hlm-exact", "floor")
EXACT = ("hlm", "dsd", "tk-slt", "tslt", "k-sqs", "c-sqs", "dssd", "confidence-stop")
_NEEDED = ("tv_profile", "skip_mass", "skip_risk", "k_grid", "draft_prob")


def compute(source: Source) -> Tables:
    """Sweep the threshold of the biased schemes and evaluate the exact ones."""
    setting = source.setting(*_NEEDED)
    found = summary.answer(setting, bound=False)
    tokens, system = setting.tokens, setting.system
    thresholds = candidate_thresholds(tokens)
    rows: list[tuple[str, float, Outcome]] = []
    for name in BIASED:
        for threshold in thresholds:
            policy = replace(found.policy, threshold=float(threshold))
            if name == "cu-hlm-exact":  # a budget for truncation, as the online rule has it
                policy = replace(policy, truncation_price_s=None)
            outcome = _try(name, source, policy)
            if outcome is not None and outcome.bias is not None and outcome.uplink_bit_per_token > 0.0:
                rows.append((name, float(threshold), outcome))
    exact = [(name, outcome) for name in EXACT if (outcome := _try(name, source, found.policy)) is not None]
    sync = [
        (
            float(t),
            evaluate(SCHEMES["verify-on-sync"], tokens, system, replace(found.policy, threshold=float(t))),
        )
        for t in thresholds
        if np.any(tokens.uncertainty > t)
    ]
    truncated = {
        t: evaluate(SCHEMES["cu-hlm-exact"], tokens, system, replace(found.policy, threshold=t))
        for t, _ in sync
    }
    return {
        "bits": {
            "scheme": np.array([name for name, _, _ in rows]),
            "threshold [-]": np.array([t for _, t, _ in rows]),
            "bias [-]": np.array([row.bias for _, _, row in rows], dtype=np.float64),
            "uplink [bit/token]": np.array([row.uplink_bit_per_token for _, _, row in rows]),
        },
        "exact": {
            "scheme": np.array([*(name for name, _ in exact), *("verify-on-sync" for _ in sync)]),
            "uplink [bit/token]": np.array(
                [
                    *(row.uplink_bit_per_token for _, row in exact),
                    *(row.uplink_bit_per_token for _, row in sync),
                ]
            ),
        },
        "sync": {
            "threshold [-]": np.array([t for t, _ in sync]),
            "risk of CU-HLM [-]": np.array([truncated[t].risk for t, _ in sync]),
            "verify-on-sync [token/s]": np.array([row.throughput_token_per_s for _, row in sync]),
            "cu-hlm-exact [token/s]": np.array([truncated[t].throughput_token_per_s for t, _ in sync]),
        },
    }


def _try(name: str, source: Source, policy: Policy) -> Outcome | None:
    try:
        return evaluate(SCHEMES[name], source.need(), source.system, policy)
    except CuhlmError:
        return None


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
        mark = style.SCHEMES[str(name)]
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
            label=style.SCHEME_LABELS[str(name)],
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
