"""What a finite number M of temperature samples does to the slope and the correlation.

Answers the uncertainty of CU-HLM, eqs. (8)(9), with M = 20 samples (arXiv:2505.11788v1), and the
comparison of published lines fitted at different M. New: the attenuation is predicted from the mean
uncertainty alone.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from calibration import estimators
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.uncertainty import attenuation_factor
from figures import samples, style
from figures.frame import Figure, Source, Tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def compute(source: Source, *, num_points: int = 60, num_resamples: int = 500) -> Tables:
    """Predict slope and correlation at every M from the mean uncertainty; measure the recorded ones."""
    tokens = source.need()
    recorded = {m: name for m, name in sorted(estimators.SAMPLE_COLUMNS.items()) if name in source.columns}
    if not recorded:
        raise MissingInputError(
            "the trace has no sampled uncertainty; record it again with `cuhlm calibrate`"
        )
    u, beta = tokens.uncertainty, tokens.rejection
    prompt = np.zeros(len(u), dtype=np.int64) if tokens.prompt is None else tokens.prompt
    line = source.calibration.line
    num = np.geomspace(1.0, 200.0, num_points)
    num = np.unique(num.round().astype(int))
    factor = np.array([float(attenuation_factor(u, m)) for m in num])
    correlation = float(np.corrcoef(u, beta)[0, 1])
    rows = [
        estimators.attenuation(u, source.columns[name], m, beta, prompt, num_resamples=num_resamples)
        for m, name in recorded.items()
    ]
    tables: Tables = {
        "slope": {
            "M": num,
            "predicted [-]": line.slope * factor,
            "without sampling [-]": np.full(len(num), line.slope),
        },
        "correlation": {
            "M": num,
            "predicted [-]": correlation * np.sqrt(factor),
            "without sampling [-]": np.full(len(num), correlation),
        },
        "measured": {"M": np.array(list(recorded))},
    }
    for name in ("slope", "correlation"):
        measured = np.array([getattr(row, f"{name}_measured") for row in rows], dtype=np.float64)
        gaps = np.array(
            [getattr(row, f"{name}_gap_ci95") or (np.nan, np.nan) for row in rows], dtype=np.float64
        )
        predicted = np.array([getattr(row, f"{name}_predicted") for row in rows], dtype=np.float64)
        tables["measured"] |= {
            f"{name} [-]": measured,
            f"{name} low [-]": predicted + gaps[:, 0],
            f"{name} high [-]": predicted + gaps[:, 1],
        }
    return tables


def draw(axes: Mapping[str, "Axes"], tables: Tables) -> None:
    """Draw predicted curves through measured points."""
    measured = tables["measured"]
    titles = {
        "slope": "slope $a_M$ of the fitted line [-]",
        "correlation": r"correlation of $u$ and $\beta$ [-]",
    }
    for index, (panel, text) in enumerate(titles.items()):
        table, ax = tables[panel], axes[panel]
        ax.plot(table["M"], table["predicted [-]"], **style.PREDICTED, label="predicted from $\\bar u$")
        ax.plot(
            table["M"],
            table["without sampling [-]"],
            **style.REFERENCE,
            label="$\\bar u$ itself ($M = \\infty$)",
        )
        value = measured[f"{panel} [-]"]
        lengths = samples.bars(value, measured[f"{panel} low [-]"], measured[f"{panel} high [-]"])
        ax.errorbar(
            measured["M"], value, lengths, **style.MEASURED, label="measured, 95 % given the prediction"
        )
        ax.set(xscale="log", xlabel="temperature samples $M$", ylabel=text)
        ax.set_xticks([1, 5, 20, 100], ["1", "5", "20", "100"])
        low, high = ax.get_ylim()
        ax.set_ylim(min(0.0, low), high + 0.05 * (high - low))
        factor = "\\lambda" if panel == "slope" else "\\sqrt{\\lambda}"
        style.panel_title(ax, index, f"{panel}, attenuated by ${factor}$")
    axes["slope"].legend(loc="lower right")


FIGURE = Figure(
    name="attenuation",
    title="Sampling attenuates slope and correlation",
    answers="CU-HLM, eqs. (8)(9): uncertainty from M = 20 temperature samples",
    status="new",
    caption="u sampled M times is a noisy copy of its conditional mean, so the fitted slope shrinks by "
    "Var(u)/(Var(u) + E[u(1 - u)]/M) and the correlation by its root; thresholds fitted at one M do not "
    "carry over to another. Intervals are of measured minus predicted, over prompts.",
    compute=compute,
    draw=draw,
    panels=("slope", "correlation"),
    panel_height_in=2.1,
)

if __name__ == "__main__":
    FIGURE.main()
