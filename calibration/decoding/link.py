"""What a round costs: the simulated link and the compute that is charged."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from cuhlm_theory.parameters import System
from cuhlm_theory.schemes.ledger import charged


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Charges rounds to the link and to the two models."""

    system: System
    """Link, codec and nominal latencies."""
    measured: bool = False
    """Charge the wall clock of the passes instead of the nominal latencies of ``system``."""

    def charge(self, *, slm_wall_s: ArrayLike, llm_wall_s: ArrayLike, **counts: ArrayLike) -> dict[str, Any]:
        """Seconds of a round by part [s]; ``counts`` are those of `cuhlm_theory.schemes.charged`."""
        parts: dict[str, Any] = charged(self.system, **counts)
        if self.measured:
            parts |= {"slm_s": slm_wall_s, "llm_s": llm_wall_s}
        seconds = parts["slm_s"] + parts["uplink_s"] + parts["llm_s"] + parts["other_s"]
        return {**parts, "latency_s": seconds, "slm_measured_s": slm_wall_s, "llm_measured_s": llm_wall_s}
