"""Throughput against bias, and against accuracy, over the threshold.

Answers the throughput-accuracy trade-offs of U-HLM (arXiv:2412.12687) and CU-HLM (arXiv:2505.11788v1),
where accuracy is the cosine similarity of sentence embeddings. Reconstructed on another pair; bias as a total
variation and the floor are new.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calibration.compare import read_front
from cuhlm_theory import summary
from cuhlm_theory.schemes import SCHEMES, evaluate, floor_s
from cuhlm_theory.schemes.lineup import candidate_thresholds
from figures import style
from figures.frame import Figure, Source, Table, Tables
from figures.throughput import least_transmissions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SWEPT = ("rand-hlm", "u-hlm", "cu-hlm-offline", "cu-hlm-exact")
_ANSWERED = ("slm", "llm", "hlm", *SWEPT, "cu-hlm-online", "verify-on-sync")  # the other schemes are exact
_NEEDED = ("tv_profile", "skip_mass", "skip_risk", "k_grid", "draft_prob")


def compute(source: Source, *, num_points: int = 10) -> Tables:
    """Sweep the threshold of each scheme, and the bias of the floor."""
    setting = source.setting(*_NEEDED)
    found = summary.answer(setting)
    tokens, system = setting.tokens, setting.system
    rows = []
    for threshold in candidate_thresholds(tokens):
        policy = replace(found.policy, threshold=float(threshold))
        for name in SWEPT:
            outcome = evaluate(SCHEMES[name], tokens, system, policy)
            rows.append((name, float(threshold), outcome.bias, outcome.throughput_token_per_s))
    names, thresholds, bias, rate = zip(*rows, strict=True)
    most = float(np.dot(tokens.weight, tokens.rejection))
    budgets = np.geomspace(min(0.005, 0.1 * most), max(most, 0.02), num_points)
    reached = [b for name, _, b, _ in rows if name == "u-hlm" and b is not None]
    edge = np.unique(np.concatenate(([0.0], budgets, reached)))
    point, sync = found.point, _best_sync(source, found)
    tables: Tables = {
        "bias": {
            "scheme": np.array(names),
            "threshold [-]": np.array(thresholds),
            "bias [-]": np.array(bias, dtype=np.float64),
            "throughput [token/s]": np.array(rate),
        },
        "floor": {
            "bias [-]": edge,
            "throughput [token/s]": np.array(
                [1.0 / floor_s(system, max(least_transmissions(tokens, system, float(b)), 0.0)) for b in edge]
            ),
        },
        "marks": {
            "scheme": np.array(["operating point", "verify-on-sync", "slm", "llm"]),
            "bias [-]": np.array([np.nan if point is None else point.bias, 0.0, most, 0.0]),
            "throughput [token/s]": np.array(
                [
                    found.row.throughput_token_per_s,
                    sync,
                    *(
                        evaluate(SCHEMES[n], tokens, system, found.policy).throughput_token_per_s
                        for n in ("slm", "llm")
                    ),
                ]
            ),
        },
    }
    accuracy = None if source.decoded is None else _accuracy(source.decoded / "front.csv")
    if accuracy:
        tables["accuracy"] = accuracy
    return tables


def _best_sync(source: Source, found: summary.Answer) -> float:
    tokens = source.need()
    rates = [
        evaluate(
            SCHEMES["verify-on-sync"], tokens, source.system, replace(found.policy, threshold=float(t))
        ).throughput_token_per_s
        for t in candidate_thresholds(tokens)
        if np.any(tokens.uncertainty > t)
    ]
    return max(rates, default=np.nan)


def _accuracy(file: Path) -> Table | None:
    if not file.is_file():
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


def draw(axes: Mapping[str, "Axes"], tables: Tables) -> None:
    """Draw the fronts under the floor, and the accuracy of decoding that was really run."""
    table, ax = tables["bias"], axes["bias"]
    for name in SWEPT:
        of = table["scheme"] == name
        bias, rate = table["bias [-]"][of], table["throughput [token/s]"][of]
        ax.plot(bias, rate, **style.scheme_line(name, marked=True), markersize=2.2)
    floor, marks = tables["floor"], tables["marks"]
    ax.plot(floor["bias [-]"], floor["throughput [token/s]"], **style.scheme_line("floor"))
    for place, (marker, color, text) in enumerate(
        (
            ("*", style.VERMILLION, "operating point"),
            ("*", style.GREEN, "verify-on-sync"),
            ("v", style.MUTED, "SLM"),
            ("^", style.INK, "LLM"),
        )
    ):
        ax.plot(
            marks["bias [-]"][place],
            marks["throughput [token/s]"][place],
            marker=marker,
            color=color,
            linestyle="none",
            markersize=8 if marker == "*" else 5,
            markeredgecolor=style.PAPER,
            markeredgewidth=0.5,
            zorder=6,
            clip_on=False,
            label=text,
        )
    top = 1.25 * float(np.nanmax(floor["throughput [token/s]"]))
    span = 1.05 * float(floor["bias [-]"][-1])
    ax.set(xlabel="bias: mean TV from the LLM [-]", ylabel="throughput [token/s]", xlim=(-0.02 * span, span))
    ax.set_yscale("log")
    ax.set_ylim(0.8 * float(np.nanmin(table["throughput [token/s]"])), top)
    style.unreachable(ax, floor["bias [-]"], floor["throughput [token/s]"])
    style.label(ax, 0.02 * span, top, "unreachable with one draft", xytext=(0, -3), va="top")
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
    title="Throughput-bias and throughput-accuracy fronts",
    answers="U-HLM and CU-HLM: throughput against accuracy over the threshold",
    status="reconstructed",
    caption="Each scheme over its threshold on one link, the recommended operating point, and the floor: no "
    "scheme with one draft a round and a threshold on the uncertainty is faster at the same bias. Below, "
    "where decoding was really run: similarity of sentence embeddings to the LLM's answer, 95 % intervals "
    "over prompts; 'LLM' is a second answer of its own, the most that sampling lets one expect, and what "
    "the exact schemes with several drafts reach as well.",
    compute=compute,
    draw=draw,
    panels=("bias", "accuracy"),
    panel_height_in=3.0,
)

if __name__ == "__main__":
    FIGURE.main()
