"""Rejection on text of the small model, on text of the large one, and in decoding that was really run.

U-HLM (arXiv:2412.12687) and CU-HLM (arXiv:2505.11788v1) fit one line of rejection against uncertainty; a line
holds for the contexts that it was fitted on. Verified text has the law of the large model. New.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration.compare import read_decoded
from figures import samples, style
from figures.frame import Figure, Source, Table, Tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TEXTS = {"slm": "small model's text", "llm": "large model's text"}
_NEEDED = ("tv", "threshold_grid", "skip_risk")
_UNITS = {"position": "token", "threshold": "-"}
_RUNS = {"hlm": "HLM, really decoded", "u-hlm": "U-HLM, really decoded"}


def compute(source: Source, *, num_windows: int = 12, num_resamples: int = 500) -> Tables:
    """Average the rejection along the answers and the risk over the threshold, text by text."""
    texts = {source.calibration.writer: source.need(*_NEEDED)}
    position = {source.calibration.writer: source.column("position")[0]}
    beside = source.verified
    if beside is not None:
        texts["llm"], position["llm"] = beside.tokens(), beside.columns["position"]
    longest = max(int(place.max()) for place in position.values()) + 1
    edges = np.unique(np.linspace(0, longest, num_windows + 1).round())
    along, risk = [], []
    for writer, tokens in texts.items():
        name, prompt = _TEXTS[writer], tokens.prompt
        window = np.digitize(position[writer], edges) - 1
        along.append(_windows(name, np.asarray(tokens.tv), window, edges, prompt, num_resamples))
        taken = np.asarray(tokens.skip_risk)
        means = samples.ratio_of_means(taken, np.ones_like(taken), prompt, num_resamples)
        risk.append(_rows(name, "threshold", np.asarray(tokens.threshold_grid), "risk", *means))
    decoded = _decoded(source, edges, num_resamples)
    if decoded is not None:
        along.append(decoded[0])
        risk.append(decoded[1])
    return {"along": _joined(along), "risk": _joined(risk)}


def _windows(
    name: str,
    rejection: NDArray[np.float64],
    window: NDArray[np.int64],
    edges: NDArray[np.float64],
    prompt: NDArray[np.int64] | None,
    num_resamples: int,
) -> Table:
    inside = (window[:, None] == np.arange(len(edges) - 1)).astype(np.float64)  # [N, W]
    mean, low, high = samples.ratio_of_means(rejection[:, None] * inside, inside, prompt, num_resamples)
    middle = (edges[1:] + edges[:-1]) / 2.0
    met = inside.any(axis=0)
    return _rows(name, "position", middle[met], "rejection", mean[met], low[met], high[met])


def _rows(
    name: str,
    at: str,
    place: NDArray[np.float64],
    what: str,
    mean: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> Table:
    return {
        "text": np.full(len(mean), name),
        f"{at} [{_UNITS[at]}]": place,
        f"{what} [-]": mean,
        f"{what} low [-]": low,
        f"{what} high [-]": high,
    }


def _joined(tables: list[Table]) -> Table:
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def _decoded(source: Source, edges: NDArray[np.float64], num_resamples: int) -> tuple[Table, Table] | None:
    """Return the rejection of HLM along its answers and the risk of U-HLM, as they were really decoded."""
    file = None if source.decoded is None else source.decoded / "decoded.parquet"
    if file is None or not file.is_file():
        return None
    found = read_decoded(file)
    column, along, risk = found.columns, [], []
    for number, run in enumerate(found.header["runs"]):
        here = column["run"] == number
        prompt = column["prompt"][here].astype(np.int64)
        if run.get("scheme") == "hlm":
            window = np.digitize(column["position"][here], edges) - 1
            rejection = column["rejection"][here].astype(np.float64)
            along.append(_windows(_RUNS["hlm"], rejection, window, edges, prompt, num_resamples))
        elif run.get("scheme") == "u-hlm":
            taken = column["risk"][here].astype(np.float64)[:, None]
            means = samples.ratio_of_means(taken, np.ones_like(taken), prompt, num_resamples)
            risk.append(
                _rows(_RUNS["u-hlm"], "threshold", np.array([float(run["threshold"])]), "risk", *means)
            )
    return (_joined(along), _joined(risk)) if along and risk else None


def draw(axes: Mapping[str, "Axes"], tables: Tables) -> None:
    """Draw a band for each text and points for decoding that was really run."""
    for panel, at, what in (("along", "position", "rejection"), ("risk", "threshold", "risk")):
        table, ax = tables[panel], axes[panel]
        for name in dict.fromkeys(table["text"]):
            of = table["text"] == name
            x = table[f"{at} [{_UNITS[at]}]"][of]
            mean, low, high = (table[f"{what}{end} [-]"][of] for end in ("", " low", " high"))
            if name in _RUNS.values():
                ax.errorbar(x, mean, samples.bars(mean, low, high), **style.RUN, label=name)
                continue
            color, dash = (style.BLUE, "-") if name == _TEXTS["llm"] else (style.MUTED, (0, (5, 1.5)))
            ax.plot(x, mean, color=color, linestyle=dash, label=name)
            style.band(ax, x, low, high, color=color)
        ax.set_ylim(0.0, None)
        ax.legend(loc="lower right" if panel == "along" else "upper left")
    axes["along"].set(xlabel="place in the answer [token]", ylabel="rejection of a draft [-]")
    axes["risk"].set(xlabel="threshold $u_{th}$ [-]", ylabel="rejection risk (mean bias) [-]")
    style.panel_title(axes["along"], 0, "rejection along the answer")
    style.panel_title(axes["risk"], 1, "risk taken by skipping")


FIGURE = Figure(
    name="whose_text",
    title="Whose text a trace records",
    answers="U-HLM and CU-HLM: one line of rejection against uncertainty",
    status="new",
    caption="Mean over the recorded contexts with 95 % intervals over prompts, on the small model's own text "
    "and on text of the large model, whose law verified text has; points are decoding that was really run.",
    compute=compute,
    draw=draw,
    panels=("along", "risk"),
    panel_height_in=2.3,
)

if __name__ == "__main__":
    FIGURE.main()
