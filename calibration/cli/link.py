"""`cuhlm link`: a link between two processes, as slow as the one it stands for."""

import asyncio
import json
from typing import Any

import click
import numpy as np

from cuhlm_theory import capacity
from cuhlm_theory._checks import as_nonnegative
from cuhlm_theory.cli import options
from cuhlm_theory.parameters import FixedRate, Latency, Link, RateTrace

_NUM_BLOCKS = 100_000


class _Place(click.ParamType):
    """``HOST:PORT``, such as ``127.0.0.1:8080`` or ``[::1]:8080``."""

    name = "HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        host, colon, port = str(value).rpartition(":")
        if not (colon and host and port.isdecimal() and int(port) < 1 << 16):
            name = "value" if param is None else param.opts[0]
            raise click.UsageError(f"{name} must be HOST:PORT; got {value!r}", ctx)
        return host.strip("[]"), int(port)


@click.command(
    "link",
    epilog="\b\nExample: cuhlm link --listen 127.0.0.1:9000 --to 127.0.0.1:8080 --rate-bit-per-s 1M "
    "--round-trip-s 50ms",
)
@click.option("--listen", type=_Place(), required=True, help="Where devices connect; port 0 takes any.")
@click.option("--to", type=_Place(), required=True, help="Where the server listens.")
@options.rate_trace
@options.of(FixedRate, calibrated=False)
@options.of(Link, only=["bandwidth_hz", "snr_db"], calibrated=False)
@click.option(
    "--coherence-s",
    type=options.Number("s"),
    default=None,
    help="Rayleigh fading in blocks of this length, of bandwidth and mean SNR [default: no fading].",
)
@click.option("--seed", type=options.WHOLE, default=0, show_default=True, help="Seed of the fading.")
@options.of(Latency, only=["round_trip_s", "downlink_bit_per_s"], calibrated=False)
@click.option("--json", "as_json", is_flag=True, help="Tell where it listens as one JSON object.")
def command(
    *,
    listen: tuple[str, int],
    to: tuple[str, int],
    coherence_s: float | None,
    seed: int,
    as_json: bool,
    **values: Any,
) -> None:
    """Stand between devices and a server as a slow link would, until it is interrupted."""
    from calibration.shaper import Direction, shaped

    rate = _rate(options.ladder(values), coherence_s, seed)
    round_trip_s = float(as_nonnegative("round_trip_s", values["round_trip_s"] or 0.0))
    down = values["downlink_bit_per_s"]
    back = None if down in (None, np.inf) else FixedRate(rate_bit_per_s=down)
    ways = [Direction(rate=one, delay_s=round_trip_s / 2.0) for one in (rate, back)]

    async def stand() -> None:
        async with shaped(listen, to, *ways) as (host, port):
            told = {"listening": f"{host}:{port}", "rate_bit_per_s": float(capacity.rate_bit_per_s(rate))}
            said = f"listening on {told['listening']}, {told['rate_bit_per_s']:g} bit/s up on average"
            click.echo(json.dumps(told) if as_json else said)
            await asyncio.Event().wait()

    asyncio.run(stand())


def _rate(ladder: options.Ladder, coherence_s: float | None, seed: int) -> FixedRate | RateTrace:
    """Return the rate of the uplink, as it was said or drawn."""
    link = ladder.link()
    if not isinstance(link, Link):
        if coherence_s is not None:
            raise ValueError("coherence_s must be given with bandwidth_hz and snr_db, which fade; got a rate")
        return link
    if coherence_s is None:
        return FixedRate(rate_bit_per_s=float(capacity.rate_bit_per_s(link)))
    return capacity.rayleigh_block_trace(
        link.bandwidth_hz,
        link.snr,
        coherence_s=coherence_s,
        num_blocks=_NUM_BLOCKS,
        rng=np.random.default_rng(seed),
    )
