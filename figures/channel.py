"""Latency of one CU-HLM packet under five channel models, and by how much Shannon's formula is optimistic.

Answers CU-HLM's latency model, which divides the payload by the AWGN capacity (arXiv:2505.11788v1, eq. (6)).
New: the papers consider neither short packets nor retransmission.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cuhlm_theory import capacity
from cuhlm_theory.parameters import Link
from cuhlm_theory.payload import distribution_bit
from cuhlm_theory.presets import SETTINGS
from figures import style
from figures.frame import Figure, Source, Tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MODELS = {
    "awgn": ("AWGN (Shannon)", {"color": style.INK, "linestyle": "-"}),
    "short-packet": ("short packet, error 0.1 %", {"color": style.BLUE, "linestyle": "-"}),
    "rayleigh-ergodic": ("Rayleigh, ergodic", {"color": style.GREEN, "linestyle": (0, (1, 1))}),
    "rayleigh-arq": ("Rayleigh, ARQ", {"color": style.VERMILLION, "linestyle": (0, (5, 1.5))}),
    "rayleigh-outage": ("Rayleigh, 1 % outage", {"color": style.PURPLE, "linestyle": (0, (3, 1, 1, 1))}),
}
ERRORS = (1e-3, 1e-5)
SNRS_DB = (0.0, 15.0)


def compute(source: Source, *, num_points: int = 60) -> Tables:
    """Evaluate the five channel models over k, the short-packet excess, and the ARQ rate over SNR."""
    codec = source.system.codec
    k = np.unique(np.geomspace(1, codec.vocab_size, num_points).round().astype(np.int64))  # [K]
    bits = distribution_bit(codec, k).astype(np.float64)
    tables: Tables = {"latency": {"k [token]": k, "payload [bit]": bits}, "excess": {"k [token]": k}}
    for model in MODELS:
        link = replace(source.link, fading=model, outage=0.01, block_error=1e-3)  # type: ignore[arg-type]
        tables["latency"][f"{model} [s]"] = capacity.attempt_latency_s(link, bits)
    for snr_db in SNRS_DB:
        snr = float(capacity.snr_from_db(snr_db))
        shannon_s = capacity.attempt_latency_s(Link(bandwidth_hz=1.0, snr=snr), bits)
        for error in ERRORS:
            short_s = capacity.short_packet_latency_s(bits, 1.0, snr, error)
            tables["excess"][f"{snr_db:g} dB, error {error:g} [-]"] = short_s / shannon_s - 1.0
    snr_db = np.linspace(-10.0, 30.0, num_points)
    mean_snr = capacity.snr_from_db(snr_db)
    rate = capacity.arq_spectral_efficiency(mean_snr)
    tables["arq"] = {
        "mean snr [dB]": snr_db,
        "R* [bit/s/Hz]": rate,
        "goodput [bit/s/Hz]": rate * capacity.arq_success_probability(rate, mean_snr),
        "ergodic capacity [bit/s/Hz]": capacity.rayleigh_ergodic_capacity_bit_per_s(1.0, mean_snr),
        "awgn capacity [bit/s/Hz]": capacity.awgn_capacity_bit_per_s(1.0, mean_snr),
    }
    return tables


def draw(axes: Mapping[str, "Axes"], tables: Tables) -> None:
    """Draw latency against k, the short-packet excess, and the ARQ rate."""
    latency = tables["latency"]
    k, offline = latency["k [token]"], SETTINGS["offline_k"].value
    ax = axes["latency"]
    for model, (text, line) in MODELS.items():
        ax.plot(k, 1e3 * latency[f"{model} [s]"], label=text, **line)
    ax.axvline(offline, **style.REFERENCE)
    ax.set(xscale="log", yscale="log", xlabel="entries sent $k$ [token]", ylabel="packet latency [ms]")
    style.legend_below(ax, ncols=2)
    style.label(ax, offline, ax.get_ylim()[0], "CU-HLM offline, $k^*$ = 30", xytext=(3, 4))
    style.panel_title(ax, 0, "one packet over the link")

    ax = axes["excess"]
    for place, (name, excess) in enumerate(list(tables["excess"].items())[1:]):
        line = {"color": (style.BLUE, style.SKY)[place // 2], "linestyle": ("-", (0, (5, 1.5)))[place % 2]}
        ax.plot(k, 100.0 * excess, label=name.removesuffix(" [-]"), **line)
    ax.axvline(offline, **style.REFERENCE)
    ax.set(xscale="log", xlabel="entries sent $k$ [token]", ylabel="extra latency over Shannon [%]")
    ax.set_ylim(bottom=0.0)
    ax.legend(loc="upper right", title="short packets")
    style.panel_title(ax, 1, "where Shannon is optimistic")

    arq, ax = tables["arq"], axes["arq"]
    snr_db = arq["mean snr [dB]"]
    ax.plot(snr_db, arq["awgn capacity [bit/s/Hz]"], **MODELS["awgn"][1], label="AWGN capacity")
    ax.plot(
        snr_db, arq["ergodic capacity [bit/s/Hz]"], **MODELS["rayleigh-ergodic"][1], label="ergodic capacity"
    )
    ax.plot(snr_db, arq["R* [bit/s/Hz]"], color=style.ORANGE, label=r"$R^* = W_0(\bar\gamma)\,/\ln 2$")
    ax.plot(snr_db, arq["goodput [bit/s/Hz]"], **MODELS["rayleigh-arq"][1], label="goodput at $R^*$")
    ax.set(xlabel="mean SNR [dB]", ylabel="rate [bit/s/Hz]", ylim=(0.0, None))
    ax.legend(loc="upper left")
    style.panel_title(ax, 2, "ARQ: best rate over Rayleigh fading")


FIGURE = Figure(
    name="channel",
    title="Fading and short packets: latency of one packet",
    answers="CU-HLM, eq. (6): latency is payload over AWGN capacity",
    status="new",
    caption="A packet of 30 entries is short: at a block error of 0.1 % it takes tens of per cent longer "
    "than Shannon's formula says, and over Rayleigh fading several times longer. The mean latency of a "
    "rate-adaptive link over Rayleigh fading is infinite, so it has no curve; 'ergodic' is the limit of "
    "many coherence blocks.",
    compute=compute,
    draw=draw,
    panels=("latency", "excess", "arq"),
    panel_height_in=2.35,
)

if __name__ == "__main__":
    FIGURE.main()
