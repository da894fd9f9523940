"""One row a decoded token, and what a decoded text comes to."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    "llm_calls": np.int16,
    "catch_up": np.int16,
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
    "downlink_bit",
    "slm_s",
    "uplink_s",
    "llm_s",
    "other_s",
    "latency_s",
    "slm_measured_s",
    "llm_measured_s",
)
_COSTS = {"uplink_bit", "downlink_bit", *(name for name in _FLOATS if name.endswith("_s"))}

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A decoded text."""

    tokens: list[int]
    """Generated tokens, without the prompt."""
    columns: dict[str, NDArray[Any]] = field(repr=False)
    """One entry a token; the columns are those of a row."""

    def share(self, action: int) -> float:
        """Share of the tokens with an action."""
        return float(np.mean(self.columns["action"] == action))

    def summary(self) -> dict[str, float | int | None]:
        """Totals under the names that `cuhlm decode` prints."""
        table = self.columns
        seconds = float(table["latency_s"].sum(dtype=np.float64))
        num = len(self.tokens)
        drafted = int(table["drafted"].sum())
        bias = float(np.mean(table["tv"], dtype=np.float64))
        return {
            "num_tokens": num,
            "skip_rate": self.share(SKIPPED),
            "accept_rate": self.share(ACCEPTED),
            "resample_rate": self.share(RESAMPLED),
            "uplink_bit_per_token": float(table["uplink_bit"].sum(dtype=np.float64)) / num,
            "downlink_bit_per_token": float(table["downlink_bit"].sum(dtype=np.float64)) / num,
            "llm_calls_per_token": float(table["llm_calls"].sum()) / num,
            "slm_steps_per_token": drafted / num,
            "k_mean": float(table["k"][table["k"] > 0].mean()) if np.any(table["k"] > 0) else None,
            "bias": None if np.isnan(bias) else bias,
            "latency_s": seconds,
            "throughput_token_per_s": num / seconds if seconds > 0.0 else None,
        }
