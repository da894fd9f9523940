"""Throughput against bias, and against accuracy, over the threshold.

Answers the throughput-accuracy trade-offs of U-HLM (arXiv:2412.12687) and CU-HLM (arXiv:2505.11788v1),
where accuracy is the cosine similarity of sentence embeddings. Reconstructed on another pair; bias as a total
variation and the floor are new.
"""

import json
import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calibration.compare import read_front
from cuhlm_theory.parameters import System
from cuhlm_theory.recommendation import Recommendation
from cuhlm_theory.schemes import SCHEMES, single_draft_floor_s
from cuhlm_theory.schemes.payload import KeptSet
from figures import style
from figures.frame import Figure, Source, Table, Tables
from figures.throughput import least_transmissions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SWEPT = ("rand-hlm", "u-hlm", "cu-hlm-offline", "cu-hlm-exact", "kept-law")
_ANSWERED = ("slm", "llm", "hlm", *SWEPT, "cu-hlm-online", "verify-on-sync")  # the other schemes are exact
_NEEDED = ("tv_profile", "skip_mass", "skip_risk", "k_grid", "draft_prob")
_CLOSE = 1e-3  # of a latency that is rounded in a file
_MARKS = {
    "recommended": ("*", style.VERMILLION),
    "operating point": ("o", style.BLUE),
    "SLM": ("v", style.MUTED),
    "LLM": ("^", style.INK),
}
_SHARES = np.append(
    1.0 - np.geomspace(0.95, 0.004, 15), 1.0
)  # of the tokens that follow the upper of two thresholds
_ENDS, _KNOTS = (
    [0, 14, 15],
    [0, 4, 9, 14, 15],
)  # of these, where a scheme is evaluated: the kept law's bias is bent; who never asks tells nothing either


def front(best: Recommendation, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return bias [-] and throughput [token/s] of a scheme along thresholds and the mixtures of neighbours.

    A token that follows the upper of two thresholds by chance mixes seconds in proportion to that chance, so
    between two thresholds the throughput is a hyperbola over the bias. What the kept law sends is the upper
    threshold's whichever is drawn, as in `cuhlm_theory.schemes.at_bias`; its bias is exact at some mixtures
    and no less than the truth between them.
    """
    thresholds = [float(threshold) for threshold in best.contexts.thresholds()]
    bias, seconds = (np.array([value]) for value in _spent(best, name, threshold=thresholds[0]))
    for low, high in pairwise(thresholds):
        if high >= 1.0 and isinstance(SCHEMES[name].payload, KeptSet):
            break  # a set that may be all of V is worth no packet: beyond lies the device alone
        knots = _SHARES[_KNOTS if isinstance(SCHEMES[name].payload, KeptSet) else _ENDS]
        mixes = [{"threshold": low, "upper_threshold": high, "mix": float(mix)} for mix in knots]
        if SCHEMES[name].knob == "skip_rate":
            rates = [best.tokens.weight @ (1.0 - best.tokens.below(end).transmit) for end in (low, high)]
            mixes = [
                {"threshold": low, "skip_rate": float(np.clip(np.interp(mix, [0.0, 1.0], rates), 0.0, 1.0))}
                for mix in knots
            ]
        parts = np.array([_spent(best, name, **mix) for mix in mixes]).T
        bias, seconds = (
            np.append(along, np.interp(_SHARES, knots, part))
            for along, part in zip((bias, seconds), parts, strict=True)
        )
    return bias, 1.0 / seconds


def _spent(best: Recommendation, name: str, **numbers: float) -> tuple[float, float]:
    """Bias and seconds a token of a scheme."""
    ((_, ledger),) = best.beside((name,), **numbers)[0]
    return ledger.per_token(ledger.bias), ledger.per_token(ledger.seconds)


def compute(source: Source, *, num_points: int = 10) -> Tables:
    """Sweep the threshold of each scheme, and the bias of the floor."""
    best = source.question(*_NEEDED).answer()
    tokens, system = best.tokens, best.question.system
    fronts = {name: front(best, name) for name in SWEPT}
    most = float(np.dot(tokens.weight, tokens.rejection))
    budgets = np.geomspace(min(0.005, 0.1 * most), max(most, 0.02), num_points)
    edge = np.unique(np.concatenate(([0.0], budgets, fronts["u-hlm"][0])))
    tables: Tables = {
        "bias": {
            "scheme": np.repeat(SWEPT, [len(bias) for bias, _ in fronts.values()]),
            "bias [-]": np.concatenate([bias for bias, _ in fronts.values()]),
            "throughput [token/s]": np.concatenate([rate for _, rate in fronts.values()]),
        },
        "floor": {
            "bias [-]": edge,
            "throughput [token/s]": np.array(
                [
                    1.0 / single_draft_floor_s(system, float(p))
                    for p in least_transmissions(best.contexts, edge)
                ]
            ),
        },
        "marks": _marks(best),
    }
    accuracy = _accuracy(source.decoded / "front.csv", system) if source.decoded is not None else None
    if accuracy:
        tables["accuracy"] = accuracy
    return tables


def _marks(best: Recommendation) -> Table:
    """Return what is recommended, CU-HLM's operating point, and each model alone."""
    marks = {"recommended": best.scheme, "operating point": best.operating.name, "SLM": "slm", "LLM": "llm"}
    marks = {text: name for text, name in marks.items() if text == "recommended" or name != best.scheme}
    rows = [best.schemes[name] for name in marks.values()]
    return {
        "point": np.array(list(marks)),
        "scheme": np.array(list(marks.values())),
        "bias [-]": np.array([row["bias"] for row in rows], dtype=np.float64),
        "throughput [token/s]": np.array([row["throughput_token_per_s"] for row in rows]),
    }


def _accuracy(file: Path, system: System) -> Table | None:
    """Read what was decoded; None where there is nothing, or where it was decoded over another link."""
    if not file.is_file() or not _decoded_on(file, system):
        return None
    rows = [row for row in read_front(file) if row["run"] != "llm"]  # that is the reference
    rows = [row for row in rows if row["scheme"] in _ANSWERED and row["cosine_to_llm"] is not None]
    if not rows:
        return None
    table: Table = {"scheme": np.array([row["scheme"] for row in rows])}
    for key, title in (
        ("threshold", "threshold [-]"),
        ("throughput_token_per_s", "throughput [token/s]"),
        ("cosine_to_llm", "cosine similarity to the LLM's answer [-]"),
    ):
        table[title] = np.array([row[key] for row in rows], dtype=np.float64)
    ends = np.array([row["cosine_to_llm_ci95"] or (np.nan, np.nan) for row in rows])
    table["half of its 95 % interval [-]"] = np.diff(ends, axis=1)[:, 0] / 2.0
    return table


def _decoded_on(file: Path, system: System) -> bool:
    """Whether the system that the runs were charged to, where the file says so, is this one."""
    with file.open(encoding="utf-8") as lines:
        said = next((line.partition("system: ")[2] for line in lines if "system: " in line), "")
    if not said:
        return True
    pairs = [
        (value, getattr(getattr(system, part), name, None))
        for part, fields in json.loads(said).items()
        for name, value in fields.items()
    ]
    return all(
        math.isclose(value, here, rel_tol=_CLOSE) if isinstance(here, float) else value == here
        for value, here in pairs
    )


def draw(axes: Mapping[str, "Axes"], tables: Tables) -> None:
    """Draw the fronts under the floor, and the accuracy of decoding that was really run."""
    table, ax = tables["bias"], axes["bias"]
    for name in SWEPT:
        of = table["scheme"] == name
        bias, rate = table["bias [-]"][of], table["throughput [token/s]"][of]
        ax.plot(bias, rate, **style.scheme_line(name, marked=True), markersize=2.2, markevery=len(_SHARES))
    floor, marks = tables["floor"], tables["marks"]
    ax.plot(floor["bias [-]"], floor["throughput [token/s]"], **style.scheme_line("floor"))
    for place, text in enumerate(marks["point"]):
        marker, color = _MARKS[str(text)]
        name = style.scheme_label(str(marks["scheme"][place]))
        ax.plot(
            marks["bias [-]"][place],
            marks["throughput [token/s]"][place],
            marker=marker,
            color=color,
            linestyle="none",
            markersize=9 if marker == "*" else 5,
            markeredgecolor=style.PAPER,
            markeredgewidth=0.5,
            zorder=6,
            clip_on=False,
            label=f"best: {name}" if text == "recommended" else text,
        )
    shown = (table["throughput [token/s]"], floor["throughput [token/s]"], marks["throughput [token/s]"])
    rates = np.concatenate(shown)
    rates = rates[np.isfinite(rates) & (rates > 0.0)]
    top = 1.8 * float(rates.max())
    span = 1.05 * float(floor["bias [-]"][-1])
    ax.set(xlabel="bias: mean TV from the LLM [-]", ylabel="throughput [token/s]", xlim=(-0.02 * span, span))
    ax.set_yscale("log")
    ax.set_ylim(0.8 * float(rates.min()), top)
    style.unreachable(ax, floor["bias [-]"], floor["throughput [token/s]"])
    style.label(ax, 0.1 * span, top, style.BEYOND, xytext=(0, -3), va="top")
    style.plain_log(ax)
    style.legend_below(ax, ncols=3)
    style.panel_title(ax, 0, "throughput against bias, over $u_{th}$")
    if "accuracy" in tables:
        _draw_accuracy(axes["accuracy"], tables["accuracy"])


def _draw_accuracy(ax: "Axes", table: Table) -> None:
    rate, cosine = table["throughput [token/s]"], table["cosine similarity to the LLM's answer [-]"]
    half = np.nan_to_num(table["half of its 95 % interval [-]"])
    for name in dict.fromkeys(table["scheme"]):
        of = np.flatnonzero(table["scheme"] == name)
        of = of[np.argsort(rate[of])]
        line = style.scheme_line(str(name), marked=True)
        ax.errorbar(rate[of], cosine[of], half[of], **line, markersize=3.4, elinewidth=0.5, capsize=1.2)
    ax.set(xlabel="throughput [token/s]", ylabel="cosine similarity to the LLM's answer [-]")
    ax.set_xscale("log")
    style.plain_log(ax, axis="x")
    style.legend_below(ax, ncols=3)
    style.panel_title(ax, 1, "accuracy of answers really decoded, 95 %")


FIGURE = Figure(
    name="fronts",
    pair="smollm2",
    title="Throughput-bias and throughput-accuracy fronts",
    answers="U-HLM and CU-HLM: throughput against accuracy over the threshold",
    status="reconstructed",
    caption="Each scheme over its threshold on one link; markers are thresholds, and between two of them a "
    "token follows one by chance, which mixes bias and latency in proportion. No scheme with a threshold on "
    "the uncertainty that names its one draft a round is faster than the floor at the same bias; the LLM "
    "alone and the kept law are not bounded by it. Below, where decoding was really run over this very link: "
    "similarity of sentence embeddings to the LLM's answer, 95 % intervals over prompts; 'LLM' is a second "
    "answer of its own, the most that sampling lets one expect, and what the exact schemes reach as well.",
    compute=compute,
    draw=draw,
    panels=("bias", "accuracy"),
    panel_height_in=3.0,
)

if __name__ == "__main__":
    FIGURE.main()
