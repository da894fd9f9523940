"""What a round costs: the simulated link and the compute that is charged."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What a request and its reply took over a real connection, at the device's clock."""

    round_trip_s: float
    """From the request until the reply was there [s]."""
    compute_s: float
    """Told by the server: pass, reading of the request, verification [s]."""
    queue_s: float
    """Told by the server: waiting for passes of other texts [s]."""
    sent_byte: int
    """Packet of the request [B]."""
    received_byte: int
    """Packet of the reply [B]."""
    sent_framed_byte: int
    """The request with the message, prefix and frame headers around it [B]; TLS and TCP come on top."""
    received_framed_byte: int
    """The reply likewise [B]."""

    @property
    def link_s(self) -> float:
        """What was neither compute nor waiting: both ways, and both ends of the transport [s]."""
        return max(0.0, self.round_trip_s - self.compute_s - self.queue_s)

    @property
    def rate_bit_per_s(self) -> float:
        """Bits of both ways over the seconds of the link [bit/s]."""
        byte = self.sent_framed_byte + self.received_framed_byte
        return 8.0 * byte / self.link_s if self.link_s > 0.0 else math.inf


def connection(exchanges: Sequence[Exchange]) -> dict[str, Any]:
    """Return what a text's requests took over a real connection: means in seconds, sums in bytes, each round.

    Parameters
    ----------
    exchanges : sequence of Exchange
        One a request, at least one.

    Returns
    -------
    dict
        As JSON holds it.

    Examples
    --------
    >>> one = Exchange(
    ...     round_trip_s=0.3,
    ...     compute_s=0.1,
    ...     queue_s=0.1,
    ...     sent_byte=9,
    ...     received_byte=9,
    ...     sent_framed_byte=25,
    ...     received_framed_byte=25,
    ... )
    >>> round(connection([one, one])["rate_bit_per_s"])
    4000
    """
    rounds = [
        {**asdict(one), "link_s": one.link_s, "rate_bit_per_s": one.rate_bit_per_s} for one in exchanges
    ]
    told: dict[str, Any] = {"num_requests": len(rounds)}
    for name in ("round_trip_s", "compute_s", "queue_s", "link_s"):
        told[name] = math.fsum(one[name] for one in rounds) / len(rounds)
    for name in ("sent_byte", "received_byte", "sent_framed_byte", "received_framed_byte"):
        told[name] = sum(one[name] for one in rounds)
    bits = 8.0 * (told["sent_framed_byte"] + told["received_framed_byte"])
    told["rate_bit_per_s"] = bits / sum(one.link_s for one in exchanges)
    return {**told, "rounds": rounds}


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
