"""One row a decoded token, and what a decoded text comes to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.decoding.link import Clock, Exchange
from calibration.decoding.wire import Packet
from cuhlm_theory.parameters import System
from cuhlm_theory.schemes import Ledger, Scheme
from cuhlm_theory.schemes.ledger import COUNTS

Floats = NDArray[np.float64]

DECODED_FORMAT = "cuhlm-decoded/1"
"""What the header of a file of decoded tokens calls itself."""

SKIPPED, ACCEPTED, RESAMPLED, SAMPLED = range(4)
ACTIONS = ("skipped", "accepted", "resampled", "sampled")
"""What happened to a token; `sampled` ones the server drew from its own law without a draft."""

_INTEGERS = {
    "position": np.int32,
    "token": np.int32,
    "draft": np.int32,
    "action": np.int8,
    "k": np.int32,
    "round": np.int32,
    "drafted": np.int16,
    "kept": np.int16,
    "entries": np.int32,
    "llm_width": np.int16,
    "llm_calls": np.int16,
    "catch_up": np.int16,
    "slm_catch_up": np.int16,
}
_FLOATS = (
    "draft_prob",
    "llm_prob",
    "rejection",
    "uncertainty",
    "tv",
    "skip_mass",
    "risk",
    "truncation_tv",
    "uplink_bit",
    "uplink_frame_bit",
    "downlink_bit",
    "downlink_frame_bit",
    "slm_s",
    "uplink_s",
    "llm_s",
    "other_s",
    "latency_s",
    "slm_measured_s",
    "llm_measured_s",
    "link_measured_s",
)
_SUMMED = ("uplink_bit", "downlink_bit", "slm_s", "uplink_s", "llm_s", "other_s")
_COSTS = {name for name in _FLOATS if name.endswith(("_bit", "_s"))}

Row = dict[str, Any]


def new_row(**values: Any) -> Row:
    """Return a row with every column: counts and costs at 0, what was not measured NaN."""
    row: Row = dict.fromkeys(_INTEGERS, 0)
    row["draft"] = -1
    row.update({name: 0.0 if name in _COSTS else np.nan for name in _FLOATS})
    unknown = set(values) - set(row)
    if unknown:
        raise KeyError(f"no such column: {', '.join(sorted(unknown))}")
    row.update(values)
    return row


def columns(rows: list[Row]) -> dict[str, NDArray[Any]]:
    """Turn rows into typed columns."""
    integers = {name: np.array([row[name] for row in rows], dtype) for name, dtype in _INTEGERS.items()}
    floats = {name: np.array([row[name] for row in rows], np.float32) for name in _FLOATS}
    return {**integers, **floats}


def add_packets(row: Row, system: System, up: Packet, down: Packet) -> None:
    """Enter the bits of a request and its reply: what is charged, and the rest of the packets' bytes.

    ``uplink_bit`` is the payload, and the tokens that the server had not seen where the system charges them;
    with ``uplink_frame_bit`` it comes to all that was sent. Likewise downlink.
    """
    told_bit = up.told_bit if system.latency.charge_resync else 0
    row["uplink_bit"] += float(up.payload_bit + told_bit)
    row["uplink_frame_bit"] += float(up.frame_bit + up.told_bit - told_bit)
    row["downlink_bit"] += float(down.payload_bit)
    row["downlink_frame_bit"] += float(down.frame_bit)


def charged(
    row: Row, clock: Clock, slm_wall_s: float, llm_wall_s: float, *, on_server: bool = False
) -> dict[str, float]:
    """Seconds of the round whose counts are in a row."""
    counts = {name: row["drafted" if name == "drafts" else name] for name in COUNTS}
    parts = clock.charge(slm_wall_s=slm_wall_s, llm_wall_s=llm_wall_s, on_server=on_server, **counts)
    return {name: float(seconds) for name, seconds in parts.items()}


def ledger(table: Mapping[str, NDArray[Any]], scheme: Scheme, system: System) -> Ledger:
    """Return the rounds that were run, one row each.

    Columns of several texts also say which ``prompt`` each token belongs to. ``bias`` is measured, NaN where
    it was not. Entries of drafts that were discarded are those of the kept ones where columns do not tell.
    """
    prompt = np.asarray(table.get("prompt", np.zeros(len(table["round"]), dtype=np.int64)), dtype=np.int64)
    rounds, number = np.unique(np.stack((prompt, table["round"])), axis=1, return_inverse=True)
    number = number.reshape(-1)

    def total(values: NDArray[Any]) -> Floats:
        sums = np.bincount(number, np.asarray(values, dtype=np.float64), minlength=rounds.shape[1])
        return np.asarray(sums, dtype=np.float64)

    tokens, drafts, calls = total(np.ones(len(number))), total(table["drafted"]), total(table["llm_calls"])
    sends = "k" in table and bool(np.any(table["k"] > 0))
    if "entries" in table:
        entries = total(table["entries"])
    else:
        sent = total(table["k"] > 0)
        entries = drafts * np.divide(total(table["k"]), sent, out=np.zeros(len(sent)), where=sent > 0.0)
    summed: dict[str, Any] = {name: total(table[name]) for name in _SUMMED}
    return Ledger(
        scheme=scheme.name,
        system=system,
        weight=np.ones(len(tokens)),
        prompt=rounds[0],
        tokens=tokens,
        drafts=drafts,
        entries=entries if sends else np.full(len(tokens), np.nan),
        llm_calls=calls,
        catch_up=total(table["catch_up"]) if "catch_up" in table else np.zeros(len(tokens)),
        slm_catch_up=total(table["slm_catch_up"]) if "slm_catch_up" in table else np.zeros(len(tokens)),
        llm_width=total(table["llm_width"]) if "llm_width" in table else np.full(len(tokens), np.nan),
        bias=total(table["tv"]),
        risk=total(np.nan_to_num(table["risk"])),
        truncation=total(np.nan_to_num(table["truncation_tv"])),
        threshold=scheme.threshold,
        skip_rate=float(np.mean(table["action"] == SKIPPED)),
        on_server=scheme.verification.on_server,
        has_floor=scheme.draft.present and scheme.payload.names_draft and not scheme.draft.several,
        **summed,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A decoded text."""

    tokens: list[int]
    """Generated tokens, without the prompt."""
    columns: dict[str, NDArray[Any]] = field(repr=False)
    """One entry a token; the columns are those of a row."""
    scheme: Scheme
    """What it was decoded with."""
    system: System
    """Device, server and link that the rounds were charged to."""
    exchanges: list[Exchange] = field(default_factory=list, repr=False)
    """What the requests took over a real connection, where there is one."""

    def ledger(self) -> Ledger:
        """Return the rounds, one row each: the columns that `Scheme.ledger` predicts, measured."""
        return ledger(self.columns, self.scheme, self.system)

    def share(self, action: int) -> float:
        """Share of the tokens with an action."""
        return float(np.mean(self.columns["action"] == action))

    def summary(self) -> dict[str, float | int | None]:
        """Totals under the names that `cuhlm decode` prints."""
        rounds = self.ledger()
        found = rounds.outcome()
        seconds = float(rounds.seconds.sum())
        return {
            "num_tokens": len(self.tokens),
            "skip_rate": found.skip_rate,
            "accept_rate": self.share(ACCEPTED),
            "resample_rate": self.share(RESAMPLED),
            "uplink_bit_per_token": found.uplink_bit_per_token,
            "downlink_bit_per_token": found.downlink_bit_per_token,
            "llm_calls_per_token": found.llm_calls_per_token,
            "slm_steps_per_token": rounds.per_token(rounds.drafts),
            "k_mean": found.k_mean,
            "bias": found.bias,
            "latency_s": seconds,
            "throughput_token_per_s": found.throughput_token_per_s if seconds > 0.0 else None,
        }
