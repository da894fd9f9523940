"""`cuhlm channel`: rate and latency of one packet."""

from typing import Any

import click
import numpy as np

from cuhlm_theory import capacity, presets
from cuhlm_theory.cli import options, output
from cuhlm_theory.parameters import FixedRate, Link

_MEANING = {
    None: "at the rate that was given, over a trace the mean over when the packet starts",
    "awgn": "Shannon limit",
    "rayleigh-ergodic": "limit of many coherence blocks, not a mean: the mean is infinite",
    "rayleigh-outage": "of a packet that is not in outage",
    "rayleigh-arq": "mean, repeated at the best fixed rate until received",
    "short-packet": "of one attempt, normal approximation",
}


def _render(result: output.Result) -> None:
    points = zip(*(np.atleast_1d(result[key]) for key in ("snr_db", *_columns(result))), strict=True)
    over = "" if result["bandwidth_hz"] is None else f" over {result['bandwidth_hz']:g} Hz"
    output.table(
        f"{result['bits']:g} bit{over}, {result['fading'] or 'a rate that was given'}",
        ["SNR [dB]", *_columns(result).values()],
        points,
        note=f"Latency: {result['latency_is']}."
        + (f" Assumed: {', '.join(result['assumed'])}." if result["assumed"] else ""),
    )


def _columns(result: output.Result) -> dict[str, str]:
    titles = {
        "rate_bit_per_s": "rate [bit/s]",
        "spectral_efficiency_bit_per_s_per_hz": "R* [bit/s/Hz]",
        "success_probability": "success [-]",
        "blocklength": "blocklength [-]",
        "latency_s": "latency [s]",
        "mean_latency_s": "mean latency [s]",
    }
    return {key: title for key, title in titles.items() if key in result}


@click.command(
    "channel", epilog="\b\nExample: cuhlm channel --bits 736000 --fading rayleigh-arq --snr-db 0:20:5"
)
@options.scenario
@click.option(
    "--bits",
    type=options.Number("bit"),
    default=8.0 * presets.SETTINGS["full_payload_byte"].value,
    show_default=True,
    help="Payload of the packet [bit].",
)
@options.rate_trace
@options.of(Link, FixedRate, sweep=["snr_db"])
@click.option("--mean", is_flag=True, help="Also the mean latency with lost packets repeated.")
@output.reports(_render)
def command(*, bits: float, mean: bool, **values: Any) -> output.Result:
    """Rate and latency of one packet."""
    swept = np.ndim(values["snr_db"])
    ladders = [
        options.ladder(values | {"snr_db": value})
        for value in (values["snr_db"] if swept else [values["snr_db"]])
    ]
    points = [_point(bits, ladder, mean) for ladder in ladders]
    columns = {key: [point[key] for point in points] for key in points[0]}
    told = ladders[0].told
    return {
        "bits": bits,
        "bandwidth_hz": told.get("bandwidth_hz"),
        "fading": told.get("fading"),
        "latency_is": _MEANING[told.get("fading")],
        "assumed": ladders[0].assumed,
        **(columns if swept else points[0]),
    }


def _point(bits: float, ladder: options.Ladder, mean: bool) -> output.Result:
    link = ladder.link()
    result: output.Result = {
        "snr_db": ladder.told.get("snr_db"),
        "rate_bit_per_s": float(capacity.rate_bit_per_s(link, bits)),
        "latency_s": float(capacity.attempt_latency_s(link, bits)),
    }
    if isinstance(link, Link) and link.fading == "rayleigh-arq":
        rate = capacity.arq_spectral_efficiency(link.snr)
        result["spectral_efficiency_bit_per_s_per_hz"] = float(rate)
        result["success_probability"] = float(capacity.arq_success_probability(rate, link.snr))
    if isinstance(link, Link) and link.fading == "short-packet":
        result["blocklength"] = float(capacity.short_packet_blocklength(bits, link.snr, link.block_error))
    if mean:
        result["mean_latency_s"] = float(capacity.packet_latency_s(link, bits))
    return result
