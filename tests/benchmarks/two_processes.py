"""Seconds a token over a shaped link beside the theory's: ``python -m tests.benchmarks.two_processes``.

`cuhlm serve` has the built-in pair's large model, this process its small one, and `cuhlm link` stands between
them. Each scheme writes one text over each link. What is compared is the link: bits over the rate and round
trips as the formulas charge them for the rounds that happened; with the bytes that the transport puts around
packets; and the wall clock of the requests, less compute and waiting as the server tells them.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
from tabulate import tabulate

import cuhlm_theory as cuhlm
from calibration.decoding import Clock, Decoded, Settings, decode
from calibration.decoding.plan import own_threshold, recommended, sizes
from calibration.pairs import Pair, load_pair
from calibration.prompts import built_in_prompts
from calibration.serving.client import RemoteModel
from cuhlm_theory.parameters import Budget, Codec, FixedRate, Latency, System
from cuhlm_theory.schemes import SCHEMES, resolved

NAMES = ("hlm", "u-hlm", "cu-hlm-exact", "kept-law", "kept-law-exact", "dssd", "verify-on-sync")
RATES_BIT_PER_S = (10e6, 1e6, 180e3)
ROUND_TRIPS_S = (0.0, 0.05, 0.3)
NUM_TOKENS = 10
_CLOSE = 1e9, 0.01  # rate [bit/s] and round trip [s] of a link that takes what transport and timers take
_HEADS = ("scheme", "Mbit/s", "round trip", "SLM", "LLM", "waiting", "link, formula", "with transport")


@contextlib.contextmanager
def command(*arguments: str) -> Iterator[str]:
    """Run a command that listens; yields where."""
    call = (sys.executable, "-c", "from cuhlm_theory.cli import main; main()", *arguments, "--json")
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            yield json.loads(running.stdout.readline())["listening"]
        finally:
            running.kill()


@contextlib.contextmanager
def linked(server: str, rate_bit_per_s: float, round_trip_s: float) -> Iterator[Pair]:
    """Put a link before the server; yields the pair over it."""
    shape = ("--rate-bit-per-s", str(rate_bit_per_s), "--round-trip-s", str(round_trip_s))
    with command("link", "--listen", "127.0.0.1:0", "--to", server, *shape) as address:
        llm = RemoteModel(address)
        yield load_pair(llm=llm)
        llm.close()


def written(pair: Pair, name: str, rate_bit_per_s: float, round_trip_s: float) -> Decoded:
    """Decode a text with the numbers that the calibration recommends on this link."""
    known = cuhlm.load("smollm2")
    assert known.tokens is not None
    system = System(
        link=FixedRate(rate_bit_per_s=rate_bit_per_s),
        codec=Codec(vocab_size=pair.vocab_size),
        latency=Latency(slm_s=known.slm_latency_s, llm_s=known.llm_latency_s, round_trip_s=round_trip_s),
    )
    numbers = recommended(known.tokens, system, Budget(bias=0.05))
    scheme = own_threshold(SCHEMES[name].given({**numbers, "line": known.line}), known.tokens, system, 0.05)
    settings = Settings(
        scheme=resolved(scheme, known.tokens, system),
        k_grid=sizes(known.tokens),
        temperature=known.temperature,
        max_new_tokens=NUM_TOKENS,
    )
    return decode(
        (pair.slm, pair.llm),
        pair.context(built_in_prompts()[0], NUM_TOKENS),
        settings,
        Clock(system=system),
        rng=np.random.default_rng(0),
        stop_tokens=(),
    )


def row(decoded: Decoded, transport_s: float) -> dict[str, float]:
    """Seconds a token by part, measured, and those of the link as they were predicted."""
    columns, asked = decoded.columns, decoded.exchanges
    count = len(decoded.tokens)
    rate, trip_s = decoded.system.link.rate_bit_per_s, decoded.system.latency.round_trip_s
    with_transport_s = sum(8.0 * one.sent_framed_byte / rate + trip_s + transport_s for one in asked)
    return {
        "slm_s": float(columns["slm_measured_s"].sum()) / count,
        "llm_s": sum(one.compute_s for one in asked) / count,
        "waiting_s": sum(one.queue_s for one in asked) / count,
        "formula_s": float(columns["uplink_s"].sum() + columns["other_s"].sum()) / count,
        "transport_s": with_transport_s / count,
        "link_s": sum(one.link_s for one in asked) / count,
    }


def framing(decoded: Decoded) -> tuple[float, float]:
    """Bytes around a request and around a reply, beside their packets [B]."""
    asked = decoded.exchanges
    up = sum(one.sent_framed_byte - one.sent_byte for one in asked)
    down = sum(one.received_framed_byte - one.received_byte for one in asked)
    return up / len(asked), down / len(asked)


def main() -> None:
    """Print what the transport adds, then a row a scheme and link."""
    with command("serve", "--listen", "127.0.0.1:0") as server:
        with linked(server, *_CLOSE) as pair:
            small = written(pair, "kept-law-exact", *_CLOSE)
            transport_s = float(np.median([one.link_s for one in small.exchanges])) - _CLOSE[1]
            print("transport: {:.1f} byte around a request, {:.1f} around a reply,".format(*framing(small)))
            print(f"{1e3 * transport_s:.2f} ms a request\n", flush=True)
        rows = []
        for rate in RATES_BIT_PER_S:
            for trip_s in ROUND_TRIPS_S:
                with linked(server, rate, trip_s) as pair:
                    for name in NAMES:
                        found = row(written(pair, name, rate, trip_s), transport_s)
                        ratio = found["link_s"] / found["transport_s"]
                        rows.append((name, rate / 1e6, trip_s, *found.values(), ratio))
                        print(*(f"{value:.4g}" if value != name else name for value in rows[-1]), flush=True)
    heads = (*_HEADS, "measured", "measured over predicted")
    print("\n" + tabulate(rows, heads, "github", floatfmt=".3g"))


if __name__ == "__main__":
    main()
