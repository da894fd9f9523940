"""What a round costs: the simulated link and the compute that is charged."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from cuhlm_theory.parameters import Codec, FixedRate, Latency, Link, System
from cuhlm_theory.schemes.ledger import charged, drafting_on_server

_RENAMED = {"llm_prefill_s": "llm_per_token_s"}  # in headers of runs that are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Charges rounds to the link and to the two models."""

    system: System
    """Link, codec and nominal latencies."""
    measured: bool = False
    """Charge the wall clock of the passes instead of the nominal latencies of ``system``."""

    def charge(
        self, *, slm_wall_s: ArrayLike, llm_wall_s: ArrayLike, on_server: bool = False, **counts: ArrayLike
    ) -> dict[str, Any]:
        """Seconds of a round by part [s]; ``counts`` are those of `cuhlm_theory.schemes.charged`."""
        system = drafting_on_server(self.system) if on_server else self.system
        parts: dict[str, Any] = charged(system, **counts)
        if self.measured:
            parts |= {"slm_s": slm_wall_s, "llm_s": llm_wall_s}
        seconds = parts["slm_s"] + parts["uplink_s"] + parts["llm_s"] + parts["other_s"]
        return {**parts, "latency_s": seconds, "slm_measured_s": slm_wall_s, "llm_measured_s": llm_wall_s}


def system_of(told: Mapping[str, Any]) -> System:
    """Return the system that the header of a run tells; what JSON has no number for was infinite.

    >>> told = {
    ...     "link": {"rate_bit_per_s": 1e6},
    ...     "codec": {"vocab_size": 9},
    ...     "latency": {"slm_s": 0.01, "llm_s": 0.1},
    ... }
    >>> system_of(told | {"tx_power_w": 0.1}).link
    FixedRate(rate_bit_per_s=1000000.0)
    """
    try:
        link = (FixedRate if "rate_bit_per_s" in told["link"] else Link)(**told["link"])
        latency = dict(told["latency"])
        latency |= {new: latency.pop(old) for old, new in _RENAMED.items() if old in latency}
        if latency.get("downlink_bit_per_s", 0.0) is None:
            latency["downlink_bit_per_s"] = math.inf
        parts = {"link": link, "codec": Codec(**told["codec"]), "latency": Latency(**latency)}
        return System(**{**told, **parts})
    except (KeyError, TypeError) as error:
        raise ValueError(f"decoded has a header whose system cannot be read: {error}") from None
