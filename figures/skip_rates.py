"""Skip rate, transmission rate, true skip rate and risk against the threshold, predicted and measured.

Answers U-HLM's transmission rate (TR) and true skip rate (TSR) over its threshold (arXiv:2412.12687).
Reconstructed on another pair; the risk, the intervals and the prediction are new.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from calibration.compare import read_front
from calibration.fit import fit_line
from cuhlm_theory.errors import CuhlmError
from figures import samples, style
from figures.frame import Figure, Source, Tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def compute(source: Source, *, num_points: int = 101, num_resamples: int = 500) -> Tables:
    """Predict from the law of u and the line of a random half of the prompts, measure on the others."""
    tokens = source.need()
    chosen = samples.half_of_prompts(tokens.prompt, len(tokens))
    learn = np.ones(len(tokens), bool) if chosen is None else chosen
    test = np.ones(len(tokens), bool) if chosen is None else ~chosen
    line = source.calibration.line
    if chosen is not None:
        with suppress(CuhlmError):  # half of the prompts may not determine a line; the whole calibration does
            line = fit_line(tokens.uncertainty[learn], tokens.rejection[learn])
    threshold = np.linspace(0.0, 1.0, num_points)
    u = tokens.uncertainty[learn]
    below = u[:, None] <= threshold  # [N, T]
    loss = line(u)
    skip, risk = below.mean(axis=0), (loss[:, None] * below).mean(axis=0)
    predicted = {
        "threshold [-]": threshold,
        "skip rate [-]": skip,
        "TR [-]": 1.0 - skip,
        "TSR [-]": _share(risk, skip),
    }
    prompt = None if tokens.prompt is None else tokens.prompt[test]
    points = np.array([0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    skipped = (tokens.uncertainty[test][:, None] <= points).astype(np.float64)
    lost = skipped * tokens.rejection[test][:, None]
    one = np.ones_like(skipped)
    measured = {
        "skip rate": samples.ratio_of_means(skipped, one, prompt, num_resamples),
        "TR": samples.ratio_of_means(1.0 - skipped, one, prompt, num_resamples),
        "TSR": samples.ratio_of_means(skipped - lost, skipped, prompt, num_resamples),
        "risk": samples.ratio_of_means(lost, one, prompt, num_resamples),
    }
    tables: Tables = {"rates": predicted, "risk": {"threshold [-]": threshold, "risk [-]": risk}}
    tables["measured"] = {"threshold [-]": points}
    for name, (mean, low, high) in measured.items():
        tables["measured"] |= {f"{name} [-]": mean, f"{name} low [-]": low, f"{name} high [-]": high}
    run = _decoded(source)
    if run:
        tables["decoded"] = run
    return tables


def _share(risk: np.ndarray, skip: np.ndarray) -> np.ndarray:
    return 1.0 - np.divide(risk, skip, out=np.full(len(skip), np.nan), where=skip > 0.0)


def _decoded(source: Source) -> dict[str, np.ndarray] | None:
    """Return skip rate, TSR and risk of U-HLM as it was really decoded, where that was recorded."""
    file = None if source.decoded is None else source.decoded / "front.csv"
    if file is None or not file.is_file():
        return None
    rows = [row for row in read_front(file) if row["scheme"] == "u-hlm"]
    if not rows:
        return None
    names = {"threshold": "threshold [-]", "skip_rate": "skip rate [-]", "tsr": "TSR [-]", "risk": "risk [-]"}
    return {title: np.array([row[key] for row in rows], dtype=np.float64) for key, title in names.items()}


def draw(axes: Mapping[str, "Axes"], tables: Tables) -> None:
    """Draw predicted curves, measured points with intervals, and points of decoding that was really run."""
    predicted, measured, ax = tables["rates"], tables["measured"], axes["rates"]
    t, points = predicted["threshold [-]"], measured["threshold [-]"]
    for name, line, marker in (
        ("skip rate", "-", "o"),
        ("TR", (0, (5, 1.5)), "s"),
        ("TSR", (0, (1, 1)), "D"),
    ):
        ax.plot(t, predicted[f"{name} [-]"], **{**style.PREDICTED, "linestyle": line})
        value = measured[f"{name} [-]"]
        lengths = samples.bars(value, measured[f"{name} low [-]"], measured[f"{name} high [-]"])
        ax.errorbar(points, value, lengths, **{**style.MEASURED, "marker": marker}, label=name)
    ax.set(xlabel="threshold $u_{th}$ [-]", ylabel="rate [-]", ylim=(-0.03, 1.05), xlim=(-0.02, 1.02))
    style.legend_below(ax, ncols=3)
    style.panel_title(ax, 0, "lines: predicted; marks: measured, 95 %")

    ax = axes["risk"]
    ax.plot(t, tables["risk"]["risk [-]"], **style.PREDICTED, label="predicted from half of the prompts")
    value = measured["risk [-]"]
    lengths = samples.bars(value, measured["risk low [-]"], measured["risk high [-]"])
    ax.errorbar(points, value, lengths, **style.MEASURED, label="measured on the other half, 95 %")
    if "decoded" in tables:
        run = tables["decoded"]
        ax.plot(
            run["threshold [-]"],
            run["risk [-]"],
            color=style.GREEN,
            marker="D",
            linestyle="none",
            label="U-HLM, really decoded",
        )
        for name, marker in (("skip rate", "o"), ("TSR", "D")):
            axes["rates"].plot(
                run["threshold [-]"],
                run[f"{name} [-]"],
                color=style.GREEN,
                marker=marker,
                linestyle="none",
                markersize=3,
            )
    ax.set(
        xlabel="threshold $u_{th}$ [-]",
        ylabel="rejection risk (mean bias) [-]",
        xlim=(-0.02, 1.02),
        ylim=(0.0, None),
    )
    ax.legend(loc="upper left")
    style.panel_title(ax, 1, "risk taken by skipping")


FIGURE = Figure(
    name="skip_rates",
    title="Skip rate, TR, TSR and risk against the threshold",
    answers="U-HLM: transmission rate and true skip rate over the threshold",
    status="reconstructed",
    caption="Predicted from the law of the uncertainty and the line fitted on a random half of the prompts; "
    "measured on the others, with 95 % intervals over prompts. TR: share transmitted. TSR: share of the "
    "skipped tokens that verification would have kept.",
    compute=compute,
    draw=draw,
    panels=("rates", "risk"),
    panel_height_in=2.5,
)

if __name__ == "__main__":
    FIGURE.main()
