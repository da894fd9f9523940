"""Where CU-HLM's 206 times and U-HLM's 2.54 times can hold.

Answers the abstracts of arXiv:2505.11788v1 (206 times, 74.8 % skipped, 97.4 % compressed) and
arXiv:2412.12687 (2.54 times, 45.93 % skipped). New: in the printed latency model the three figures of
CU-HLM's abstract cannot belong to one operating point.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cuhlm_theory import presets, throughput
from cuhlm_theory.parameters import Latency
from cuhlm_theory.payload import printed_bit
from figures import style
from figures.frame import Figure, Source, Table, Tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PUBLISHED = presets.FIGURES
_VOCAB = int(presets.SETTINGS["vocab_size"].value)
_CU_TX = 1.0 - _PUBLISHED["cu_hlm_skip_rate"].value
_U_TX = 1.0 - _PUBLISHED["u_hlm_skip_rate"].value
_CU_RATIO = 1.0 - _PUBLISHED["cu_hlm_compression"].value
_OFFLINE_K = int(presets.SETTINGS["offline_k"].value)


def compute(source: Source, *, num_points: int = 81) -> Tables:
    """Evaluate the ceiling over skip rate and compression, and the speed-up over the rate of the link."""
    full_bit = float(printed_bit(_VOCAB, _VOCAB))
    offline_bit = float(printed_bit(_OFFLINE_K, _VOCAB))
    speedups = (_PUBLISHED["u_hlm_speedup"].value, _PUBLISHED["cu_hlm_speedup"].value)
    ratio = np.geomspace(1e-4, 1.0, num_points)
    tables: Tables = {
        "ceiling": {
            "payload ratio [-]": ratio,
            **{f"transmit share for {s:g} [-]": np.minimum(1.0 / (s * ratio), 1.0) for s in speedups},
        },
        "points": {
            "point": np.array(["CU-HLM, abstract", "CU-HLM, k* = 30", "U-HLM, abstract"]),
            "payload ratio [-]": np.array([_CU_RATIO, offline_bit / full_bit, 1.0]),
            "transmit share [-]": np.array([_CU_TX, _CU_TX, _U_TX]),
        },
    }
    points = tables["points"]
    points["largest speed-up [-]"] = throughput.speedup_ceiling(
        points["transmit share [-]"], points["payload ratio [-]"]
    )
    rate = np.geomspace(1e3, 1e8, num_points)
    slm_s, llm_s = (presets.SETTINGS[f"{side}_latency_s"].value for side in ("slm", "llm"))
    latency = Latency(slm_s=slm_s, llm_s=llm_s)
    full_s, offline_s = full_bit / rate, offline_bit / rate
    fast = Latency(slm_s=slm_s / 10.0, llm_s=llm_s / 10.0)
    tables["rate"] = {
        "link rate [bit/s]": rate,
        "k* = 30 [-]": throughput.speedup_over_hlm(latency, _CU_TX, offline_s, full_s),
        "k* = 30, computing 10 times faster [-]": throughput.speedup_over_hlm(
            fast, _CU_TX, offline_s, full_s
        ),
        "97.4 % compressed [-]": throughput.speedup_over_hlm(latency, _CU_TX, _CU_RATIO * full_s, full_s),
    }
    tables["average"] = {
        "link rate [bit/s]": rate,
        "mean tokens over mean time, E[N]/E[D] [-]": throughput.speedup_over_hlm(
            latency, _U_TX, full_s, full_s
        ),
        "mean of the rates, E[N/D] [-]": throughput.mean_rate_speedup(
            1.0 - _U_TX, (latency.slm_s + full_s + latency.llm_s) / latency.slm_s
        ),
    }
    tables["published"] = {
        "speed-up [-]": np.array(speedups),
        "slm latency [s]": np.full(2, latency.slm_s),
        "llm latency [s]": np.full(2, latency.llm_s),
    }
    return tables


def draw(axes: Mapping[str, "Axes"], tables: Tables) -> None:
    """Draw what the abstracts' figures allow, and the speed-up against the rate of the link."""
    ceiling, points, ax = tables["ceiling"], tables["points"], axes["ceiling"]
    ratio = ceiling["payload ratio [-]"]
    marks = (("D", style.VERMILLION), ("o", style.BLUE), ("s", style.ORANGE))
    for name, line in zip(list(ceiling)[1:], ((0, (5, 1.5)), "-"), strict=True):
        ax.plot(ratio, ceiling[name], color=style.INK, linestyle=line)
    ax.fill_between(
        ratio, ceiling["transmit share for 206 [-]"], 0.0, color=style.GREEN, alpha=0.12, linewidth=0
    )
    ax.set(xscale="log", yscale="log", ylim=(0.0015, 3.0), xlim=(1e-4, 1.6))
    for place, (marker, color) in enumerate(marks):
        x, y = points["payload ratio [-]"][place], points["transmit share [-]"][place]
        text = f"{points['point'][place]}: at most {points['largest speed-up [-]'][place]:.4g}$\\times$"
        ax.plot(x, y, marker=marker, color=color, linestyle="none", markersize=5, label=text)
    ax.legend(loc="lower left")
    style.label(ax, 1.5e-4, 0.5, "206$\\times$ possible", xytext=(0, 0), color=style.GREEN)
    style.label(ax, 0.06, 0.08, "206$\\times$", xytext=(3, 3))
    style.label(ax, 0.1, 1.0, "2.54$\\times$", xytext=(0, 4))
    ax.set(xlabel="payload ratio $B(k)/B(V)$ [-]", ylabel="share transmitted [-]")
    style.panel_title(ax, 0, "speed-up that no latencies can exceed")

    slm, llm = (1e3 * tables["published"][f"{name} latency [s]"][0] for name in ("slm", "llm"))
    lines = (
        {"color": style.BLUE, "linestyle": "-"},
        {"color": style.BLUE, "linestyle": (0, (1, 1))},
        {"color": style.VERMILLION, "linestyle": (0, (5, 1.5))},
    )
    _against_rate(axes["rate"], tables["rate"], lines, 206.0)
    axes["rate"].set(yscale="log", ylim=(1.0, 2e4), ylabel="speed-up over HLM [-]")
    axes["rate"].legend(loc="upper right")
    style.panel_title(
        axes["rate"], 1, f"CU-HLM, $\\tau_{{SLM}}$ = {slm:.3g} ms, $\\tau_{{LLM}}$ = {llm:.3g} ms"
    )
    lines = ({"color": style.ORANGE, "linestyle": "-"}, {"color": style.GREEN, "linestyle": (0, (5, 1.5))})
    _against_rate(axes["average"], tables["average"], lines, 2.54)
    axes["average"].set(yscale="log", ylim=(1.0, 200.0), ylabel="speed-up over HLM [-]")
    style.plain_log(axes["average"])
    axes["average"].legend(loc="upper right")
    style.panel_title(axes["average"], 2, "U-HLM, 45.93 % skipped: which average?")


def _against_rate(ax: "Axes", table: Table, lines: tuple[dict[str, Any], ...], published: float) -> None:
    rate = table["link rate [bit/s]"]
    for name, line in zip(list(table)[1:], lines, strict=True):
        ax.plot(rate, table[name], label=name.removesuffix(" [-]"), **line)
    ax.axhline(published, **style.REFERENCE)
    style.label(ax, rate[0], published, f"{published:g}$\\times$", xytext=(0, 2), color=style.MUTED)
    ax.set(xscale="log", xlabel="link rate [bit/s]")


FIGURE = Figure(
    name="headline",
    title="Where 206 times and 2.54 times can hold",
    answers="CU-HLM, abstract: 206 times, 74.8 % skipped, 97.4 % compressed; U-HLM, abstract: 2.54 times",
    status="new",
    caption="With 74.8 % of the transmissions skipped and 97.4 % of the payload saved, no link and no "
    "processor gives more than 152.6 times; 206 times needs a smaller payload, such as k = 30, and a slow "
    "link. U-HLM's 2.54 times with 45.93 % skipped is out of reach of mean tokens over mean time (at most "
    "1.849), and with the printed latencies the mean of the rates is at least 2.953. V = 32 000, the printed "
    "payload, U-HLM's printed latencies.",
    compute=compute,
    draw=draw,
    panels=("ceiling", "rate", "average"),
    panel_height_in=2.2,
)

if __name__ == "__main__":
    FIGURE.main()
