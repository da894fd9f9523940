"""What a round costs: the simulated link and the compute that is charged."""

from dataclasses import dataclass

import numpy as np

from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.parameters import System


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Charges a round to the link and to the two models."""

    system: System
    """Link, codec and nominal latencies."""
    measured: bool = False
    """Charge the wall clock of the passes instead of the nominal latencies of ``system``."""

    def charge(
        self,
        *,
        slm_steps: int,
        llm_calls: int,
        catch_up: int,
        uplink_bit: float,
        downlink_bit: float,
        slm_wall_s: float,
        llm_wall_s: float,
    ) -> dict[str, float]:
        """Latency parts of one round [s]; nothing sent costs no round trip."""
        latency = self.system.latency
        slm_s = slm_wall_s if self.measured else slm_steps * latency.slm_s
        nominal = llm_calls * latency.llm_s + catch_up * latency.llm_prefill_s
        llm_s = llm_wall_s if self.measured else nominal
        uplink_s = float(packet_latency_s(self.system.link, np.float64(uplink_bit)))
        other_s = downlink_bit / latency.downlink_bit_per_s
        if llm_calls and slm_steps:  # without a draft there is no device to answer
            other_s += latency.round_trip_s
        return {
            "slm_s": slm_s,
            "uplink_s": uplink_s,
            "llm_s": llm_s,
            "other_s": other_s,
            "latency_s": slm_s + uplink_s + llm_s + other_s,
            "slm_measured_s": slm_wall_s,
            "llm_measured_s": llm_wall_s,
        }
