"""The cost-optimal threshold and the best k over SNR and bandwidth.

New: the thresholds of U-HLM and CU-HLM (arXiv:2505.11788v1, Theorem 1) do not depend on the channel;
with a price on bias they do (`threshold.cost_optimal`).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cuhlm_theory.capacity import db_from_snr, packet_latency_s, snr_from_db
from cuhlm_theory.parameters import Budget
from cuhlm_theory.payload import distribution_bit
from cuhlm_theory.throughput import skip_saves_s
from figures import style
from figures.frame import Figure, Source, Tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NEEDED = ("tv_profile", "skip_mass", "skip_risk", "k_grid")
_MOST_TOKENS = 2000


def compute(source: Source, *, num_points: int = 15) -> Tables:
    """Price bias as the budget does on the default link, then optimise at each SNR and bandwidth."""
    asked = source.question(*_NEEDED)
    point = asked.answer().point
    price = (point.multiplier_s if point is not None else None) or 1.0
    tokens, system, line = asked.tokens, asked.system, asked.line
    assert tokens.k_grid is not None
    assert tokens.tv_profile is not None
    stride = max(1, len(tokens) // _MOST_TOKENS)
    profile = np.asarray(tokens.tv_profile[::stride], dtype=np.float64)  # [N, K]
    bits = distribution_bit(system.codec, tokens.k_grid).astype(np.float64)
    snr_db, bandwidth = np.linspace(-10.0, 30.0, num_points), np.geomspace(2e4, 2e7, num_points)
    rows = []
    for s in snr_db:
        for w in bandwidth:
            link = replace(source.link, snr=float(snr_from_db(s)), bandwidth_hz=float(w))
            cost_s = packet_latency_s(link, bits) + price * profile  # [N, K]
            best = np.argmin(cost_s, axis=1)
            transmit_s = float(skip_saves_s(system.latency, cost_s.min(axis=1).mean()))
            threshold = float(line.cost_optimal(transmit_s, price))
            rows.append((s, w, threshold, float(tokens.k_grid[best].mean())))
    columns = np.array(rows).T
    names = ("snr [dB]", "bandwidth [Hz]", "threshold [-]", "mean k [token]")
    return {
        "map": dict(zip(names, columns, strict=True)),
        "inputs": {
            "bias price [s]": np.array([price]),
            "bias budget [-]": np.array([Budget(bias=source.bias_budget).bias]),
            "snr [dB]": np.array([float(db_from_snr(source.link.snr))]),
            "bandwidth [Hz]": np.array([source.link.bandwidth_hz]),
        },
        "threshold": {"shown": np.array(["threshold [-]"])},
        "size": {"shown": np.array(["mean k [token]"])},
    }


def draw(axes: Mapping[str, "Axes"], tables: Tables) -> None:
    """Draw labelled contours, the shading stronger where the value is larger."""
    table, inputs = tables["map"], tables["inputs"]
    snr_db, bandwidth = np.unique(table["snr [dB]"]), np.unique(table["bandwidth [Hz]"])
    shape = (len(snr_db), len(bandwidth))
    for index, (panel, column, title) in enumerate(
        (
            ("threshold", "threshold [-]", "threshold $u^*$ [-]"),
            ("size", "mean k [token]", "mean of the best $k$ [token]"),
        )
    ):
        ax, values = axes[panel], table[column].reshape(shape).T
        levels = _levels(values, logarithmic=panel == "size")
        if len(levels) > 1:
            shades = [(style.BLUE, 0.06 + 0.5 * i / len(levels)) for i in range(len(levels) + 1)]
            ax.contourf(snr_db, bandwidth, values, levels=[-np.inf, *levels, np.inf], colors=shades)
        lines = ax.contour(snr_db, bandwidth, values, levels=levels, colors=style.INK, linewidths=0.7)
        longest = [max(paths, key=len) for paths in lines.allsegs if paths]
        inside = [path[len(path) // 2] for path in longest]
        ax.clabel(lines, fmt="%g", manual=[p for p in inside if _away_from_edges(p, snr_db, bandwidth)])
        x, y = inputs["snr [dB]"][0], inputs["bandwidth [Hz]"][0]
        ax.plot(x, y, marker="*", color=style.VERMILLION, markersize=7, linestyle="none")
        style.label(ax, x, y, "the link", color=style.VERMILLION, xytext=(5, 3))
        ax.set(yscale="log", xlabel="SNR [dB]", ylabel="bandwidth [Hz]")
        ax.grid(visible=False)
        price = inputs["bias price [s]"][0]
        style.panel_title(ax, index, f"{title}, bias at {price:.3g} s a unit" if index == 0 else title)


def _away_from_edges(point: np.ndarray, x: np.ndarray, y: np.ndarray) -> bool:
    """Return whether a label written there stays inside the axes."""
    across = (point[0] - x[0]) / (x[-1] - x[0])
    up = np.log(point[1] / y[0]) / np.log(y[-1] / y[0])
    return bool(0.1 < across < 0.9 and 0.07 < up < 0.93)


def _levels(values: np.ndarray, *, logarithmic: bool) -> list[float]:
    low, high = float(values.min()), float(values.max())
    if logarithmic:
        ladder = [m * 10.0**e for e in range(6) for m in (1, 2, 5)]
        chosen = [v for v in ladder if low < v < high]
        return chosen[:: max(1, len(chosen) // 8)]
    if high - low < 1e-9:
        return []
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2) if (high - low) / s <= 9.0)
    return [
        float(v) for v in np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step if low < v < high
    ]


FIGURE = Figure(
    name="policy_map",
    title="Optimal threshold and truncation over SNR and bandwidth",
    answers="CU-HLM, Theorem 1: a threshold that does not depend on the channel",
    status="new",
    caption="At one price of bias, the multiplier that the bias budget has on the marked link: a faster link "
    "lowers the threshold, because transmitting costs less, and lets more entries through. Both depend on "
    "SNR and bandwidth through the rate of the link alone.",
    compute=compute,
    draw=draw,
    panels=("threshold", "size"),
    panel_height_in=2.5,
)

if __name__ == "__main__":
    FIGURE.main()
