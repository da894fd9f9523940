"""Measures of uncertainty compared on the same tokens: correlation with rejection, and risk against coverage.

Answers CU-HLM's claim that temperature perturbation correlates best with rejection among the estimators
it tried (arXiv:2505.11788v1). Reconstructed on another pair of models; the genie and the intervals are new.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from calibration import estimators
from cuhlm_theory._checks import as_count
from figures import style
from figures.frame import Figure, Source, Tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELS = {
    "mean_uncertainty": r"mean $\bar u$",
    "sampled_uncertainty_100": "sampled, M = 100",
    "sampled_uncertainty_20": "sampled, M = 20",
    "sampled_uncertainty_5": "sampled, M = 5",
    "sampled_uncertainty_1": "sampled, M = 1",
    "dropout_uncertainty": "dropout, M = 20",
    "paraphrase_uncertainty": "paraphrases, M = 20",
    "entropy": r"entropy / ln V",
    "one_minus_max_prob": r"$1 - x_{(1)}$",
    "one_minus_draft_prob": r"$1 - x_d$",
    "one_minus_margin": "1 - margin",
}
CURVES = {
    "mean_uncertainty": {"color": style.BLUE, "linestyle": "-"},
    "sampled_uncertainty_20": {"color": style.SKY, "linestyle": (0, (5, 1.5))},
    "entropy": {"color": style.ORANGE, "linestyle": (0, (1, 1))},
    "one_minus_draft_prob": {"color": style.VERMILLION, "linestyle": (0, (3, 1, 1, 1))},
    "one_minus_margin": {"color": style.PURPLE, "linestyle": (0, (7, 1.5, 1, 1.5))},
}


def compute(source: Source, *, num_points: int = 101, num_resamples: int = 300) -> Tables:
    """Correlate every measure with the rejection probability and accumulate the risk-coverage curves."""
    tokens = source.need("prompt")
    scores = estimators.measures(source.columns, source.system.codec.vocab_size)
    beta = tokens.rejection
    judged = {
        name: score for name, score in scores.items() if name != estimators.GENIE and np.ptp(score) > 0.0
    }
    prompt = tokens.prompt if tokens.prompt is not None else np.zeros(len(tokens), dtype=np.int64)
    rows = estimators.side_by_side(judged, beta, prompt, num_resamples=num_resamples)
    by_name = {row.name: row for row in rows}
    names = [name for name in LABELS if name in by_name]
    tables: Tables = {"correlation": {"estimator": np.array(names)}}
    for measure in ("pearson", "spearman"):
        for place, suffix in enumerate(("", " low", " high")):
            values = [
                getattr(by_name[name], measure)
                if not suffix
                else _interval(by_name[name], measure)[place - 1]
                for name in names
            ]
            tables["correlation"][f"{measure}{suffix} [-]"] = np.array(values, dtype=np.float64)
    coverage = np.linspace(0.0, 1.0, int(as_count("num_points", num_points, at_least=2)))
    tables["coverage"] = {"skip rate [-]": coverage}
    for name in (*names, estimators.GENIE):
        tables["coverage"][f"{name} [-]"] = _risk_at(scores[name], beta, coverage)
    return tables


def _interval(row: estimators.EstimatorRow, measure: str) -> tuple[float, float]:
    interval = getattr(row, f"{measure}_ci95")
    return (np.nan, np.nan) if interval is None else interval


def _risk_at(score: np.ndarray, beta: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """Mean beta of the skipped tokens when the least uncertain are skipped; ties share their mean."""
    _, tie, size = np.unique(score, return_inverse=True, return_counts=True)
    share = np.concatenate(([0.0], np.cumsum(size))) / len(beta)
    loss = np.concatenate(([0.0], np.cumsum(np.bincount(tie, weights=beta)))) / len(beta)
    with np.errstate(divide="ignore", invalid="ignore"):
        risk = np.interp(coverage, share, loss) / coverage
    risk[coverage == 0.0] = np.nan
    return risk


def draw(axes: Mapping[str, "Axes"], tables: Tables) -> None:
    """Draw the correlations as dots with intervals, and the risk-coverage curves above the genie's."""
    table, ax = tables["correlation"], axes["correlation"]
    names = list(table["estimator"])
    place = np.arange(len(names))[::-1]
    for measure, shift, mark in (
        ("pearson", 0.13, style.MEASURED),
        ("spearman", -0.13, {**style.MEASURED, "marker": "s", "color": style.BLUE}),
    ):
        value = table[f"{measure} [-]"]
        lengths = np.stack([value - table[f"{measure} low [-]"], table[f"{measure} high [-]"] - value])
        lengths = np.maximum(np.where(np.isfinite(lengths), lengths, 0.0), 0.0)
        ax.errorbar(value, place + shift, xerr=lengths, **mark, label=f"{measure.capitalize()}, 95 %")
    ax.set_yticks(place, [LABELS[name] for name in names])
    ax.set(xlabel=r"correlation with $\beta$ [-]", ylim=(-0.6, len(names) + 0.4))
    ax.legend(loc="upper left", ncols=2)
    style.panel_title(ax, 0, "which measure tells rejections best")

    curves, ax = tables["coverage"], axes["coverage"]
    coverage = curves["skip rate [-]"]
    shown = [name for name in CURVES if f"{name} [-]" in curves]
    for name in shown:
        ax.plot(coverage, curves[f"{name} [-]"], label=LABELS[name], **CURVES[name])
    genie = curves[f"{estimators.GENIE} [-]"]
    ax.plot(coverage, genie, color=style.INK, linewidth=0.9)
    ax.set(
        xlabel="skip rate [-]",
        ylabel=r"mean $\beta$ of skipped tokens [-]",
        xlim=(0.0, 1.0),
        ylim=(0.0, None),
    )
    ax.fill_between(
        coverage,
        np.nan_to_num(genie),
        0.0,
        facecolor=style.SHADE,
        edgecolor=style.GRID,
        hatch="////",
        linewidth=0,
    )
    style.label(
        ax,
        0.98,
        0.02 * ax.get_ylim()[1],
        r"genie that knows $\beta$",
        xytext=(0, 0),
        ha="right",
        color=style.INK,
    )
    style.legend_below(ax, ncols=2)
    style.panel_title(ax, 1, "risk against coverage")


FIGURE = Figure(
    name="estimators",
    paper="u-hlm",
    title="Estimators of uncertainty compared",
    answers="CU-HLM: temperature perturbation correlates best with rejection",
    status="reconstructed",
    caption="Correlation of each measure with the rejection probability on the same tokens, 95 % intervals "
    "over prompts, and the mean rejection probability of the tokens it would skip. Nothing reaches below "
    "the genie.",
    compute=compute,
    draw=draw,
    panels=("correlation", "coverage"),
    panel_height_in=2.7,
)

if __name__ == "__main__":
    FIGURE.main()
