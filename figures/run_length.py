"""How the throughput of HLM and U-HLM over the printed fading falls as the run grows.

Answers U-HLM's Sec. IV (arXiv:2412.12687): Rayleigh block fading and Shannon's rate have no mean latency, so
a simulated throughput is that of the length of its run. New here: by how much.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cuhlm_theory import presets, run_length
from cuhlm_theory.capacity import awgn_capacity_bit_per_s, snr_from_db
from cuhlm_theory.payload import dense_bit
from figures import style
from figures.frame import Figure, Source, Tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CHANCES = (0.1, 0.5, 0.9)
_SHARES = {"hlm": 1.0, "u-hlm": 1.0 - presets.FIGURES["u_hlm_skip_rate"].value}


def compute(source: Source, *, num_runs: int = 400, longest: int = 100_000, seed: int = 0) -> Tables:
    """Simulate runs of transmissions over U-HLM's printed link, and put the limit law beside them."""
    del source  # the printed link, payload and latencies alone
    known = {key: one.value for key, one in presets.SETTINGS.items()}
    bits, width_hz = float(dense_bit(int(known["vocab_size"]), 16)), known["bandwidth_hz"]
    snr = float(snr_from_db(known["mean_snr_db"]))
    length = np.unique(np.geomspace(10, longest, 9).round().astype(np.int64))
    mean_s = np.empty((num_runs, len(length)))
    rng = np.random.default_rng(seed)
    for run in range(num_runs):
        seconds = bits / awgn_capacity_bit_per_s(width_hz, rng.exponential(snr, longest))
        mean_s[run] = np.cumsum(seconds)[length - 1] / length
    tables: Tables = {"latency": {"transmissions [-]": length}}
    for chance in _CHANCES:
        limit_s = run_length.mean_latency_quantile_s(length, chance, bits, width_hz, snr)
        tables["latency"][f"simulated {chance:g} [s]"] = np.quantile(mean_s, chance, axis=0)
        tables["latency"][f"limit {chance:g} [s]"] = limit_s
    tables["throughput"] = {"transmissions [-]": length}
    for scheme, share in _SHARES.items():
        for kind in ("simulated", "limit"):
            uplink_s = tables["latency"][f"{kind} 0.5 [s]"]
            round_s = known["slm_latency_s"] + share * (uplink_s + known["llm_latency_s"])
            tables["throughput"][f"{scheme}, {kind} [token/s]"] = 1.0 / round_s
    return tables


def draw(axes: Mapping[str, "Axes"], tables: Tables) -> None:
    """Draw simulated quantiles as marks and the limit law as lines."""
    latency, ax = tables["latency"], axes["latency"]
    n = latency["transmissions [-]"]
    looks = zip(_CHANCES, (style.SKY, style.BLUE, style.VERMILLION), strict=True)
    for chance, color in looks:
        ax.plot(n, latency[f"limit {chance:g} [s]"], color=color)
        ax.plot(
            n,
            latency[f"simulated {chance:g} [s]"],
            color=color,
            marker="o",
            linestyle="none",
            label=f"{100 * chance:g} % of runs are faster",
        )
    ax.set(xscale="log", xlabel="transmissions of a run", ylabel="mean uplink latency [s]")
    ax.set_ylim(0.0, 100.0)
    ax.legend(loc="upper left")
    style.panel_title(ax, 0, "no mean: marks simulated, lines the limit law")

    rate, ax = tables["throughput"], axes["throughput"]
    for scheme, color in (("hlm", style.MUTED), ("u-hlm", style.BLUE)):
        ax.plot(n, rate[f"{scheme}, limit [token/s]"], color=color, label=scheme)
        ax.plot(n, rate[f"{scheme}, simulated [token/s]"], color=color, marker="o", linestyle="none")
    ax.set(xscale="log", yscale="log", xlabel="transmissions of a run", ylabel="throughput [token/s]")
    style.plain_log(ax)
    ax.legend(loc="upper right")
    style.panel_title(ax, 1, "the longer the run, the slower the scheme")


FIGURE = Figure(
    name="run_length",
    title="Throughput over printed fading falls with the length of the run",
    answers="U-HLM, Sec. IV: throughput over Rayleigh block fading, which has no value of its own",
    status="new",
    paper="u-hlm",
    caption="U-HLM's 512 kbit over its printed link, every transmission over a fade of its own, the rate "
    "Shannon's. The mean latency is infinite: that of a run grows by 6.4 s with every decade of its length. "
    "Throughput is that of the median run, with 45.93 % skipped for U-HLM.",
    compute=compute,
    draw=draw,
    panels=("latency", "throughput"),
    panel_height_in=2.0,
)

if __name__ == "__main__":
    FIGURE.main()
