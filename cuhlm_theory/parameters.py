"""What the formulas take: the link, the codec, the latencies and the budgets.

Every description is a frozen dataclass in linear SI units, checked once when it is made; vary one with
`dataclasses.replace`.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from cuhlm_theory._checks import as_count, as_nonnegative, as_positive, as_probability

Fading = Literal["awgn", "rayleigh-ergodic", "rayleigh-outage", "rayleigh-arq", "short-packet"]
CodecKind = Literal["printed", "dense", "enumerative", "best"]


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Uplink of the device; linear signal-to-noise ratio, mean over the fading where there is fading."""

    bandwidth_hz: float
    """W, bandwidth [Hz]."""
    snr: float
    """SNR (AWGN, short packets) or mean SNR (Rayleigh), linear [-]; 0 is a dead link."""
    fading: Fading = "awgn"
    """Channel model of THEORY section 1."""
    outage: float = 0.01
    """Outage probability of `rayleigh-outage` [-], in (0, 1)."""
    block_error: float = 1e-3
    """Block error probability of `short-packet` [-], in (0, 0.5)."""

    def __post_init__(self) -> None:
        as_positive("bandwidth_hz", self.bandwidth_hz)
        as_nonnegative("snr", self.snr)
        _one_of("fading", self.fading, get_args(Fading))
        for name, high in (("outage", 1.0), ("block_error", 0.5)):
            value = float(getattr(self, name))
            if not 0.0 < value < high:
                raise ValueError(f"{name} must lie in (0, {high:g}); got {value:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """How a truncated distribution is written into bits."""

    vocab_size: int
    """V, tokens in the vocabulary."""
    prob_bits: int = 8
    """b_prob, bits a probability [bit]."""
    index_bits: int | None = None
    """Bits a token index [bit]; None is ceil(log2 V)."""
    kind: CodecKind = "printed"
    """Which payload formula of THEORY section 2 is charged."""

    def __post_init__(self) -> None:
        as_count("vocab_size", self.vocab_size, at_least=2)
        as_count("prob_bits", self.prob_bits, at_least=1, at_most=64)
        if self.index_bits is not None:
            as_count(
                "index_bits", self.index_bits, at_least=math.ceil(math.log2(self.vocab_size)), at_most=64
            )
        _one_of("kind", self.kind, get_args(CodecKind))

    @property
    def bits_per_index(self) -> int:
        """Bits a token index [bit]."""
        return math.ceil(math.log2(self.vocab_size)) if self.index_bits is None else self.index_bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Compute and protocol latencies; those that the papers neglect default to 0."""

    slm_s: float
    """tau_SLM, one draft token on the device [s]."""
    llm_s: float
    """tau_LLM, one verification pass on the server [s]."""
    round_trip_s: float = 0.0
    """Protocol round trip, charged once a transmission [s]."""
    downlink_bit_per_s: float = math.inf
    """Rate of the downlink [bit/s]; infinite neglects it, as the papers do."""
    llm_prefill_s: float = 0.0
    """Server time a skipped token costs when the context catches up [s]."""
    charge_resync: bool = False
    """Whether skipped token indices are charged to the uplink at the next transmission."""

    def __post_init__(self) -> None:
        for name in ("slm_s", "llm_s"):
            as_positive(name, getattr(self, name))
        for name in ("round_trip_s", "llm_prefill_s"):
            as_nonnegative(name, getattr(self, name))
        if not self.downlink_bit_per_s > 0.0:
            raise ValueError(f"downlink_bit_per_s must be positive; got {self.downlink_bit_per_s:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A device, a server and the link between them."""

    link: Link
    codec: Codec
    latency: Latency
    tx_power_w: float = 0.2
    """Radiated power while transmitting [W] (assumed; 23 dBm)."""
    slm_energy_j: float = 0.0
    """Device energy of one draft token [J] (assumed 0 unless given)."""

    def __post_init__(self) -> None:
        as_nonnegative("tx_power_w", self.tx_power_w)
        as_nonnegative("slm_energy_j", self.slm_energy_j)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Bias that may be spent, mean per-token total variation from the LLM's law."""

    bias: float = 0.05
    """Total bias budget [-]; the optimum splits it."""
    risk: float | None = None
    """Part for skipping [-]; None lets the optimum choose."""
    truncation: float | None = None
    """Part for truncation [-]; None lets the optimum choose."""

    def __post_init__(self) -> None:
        for name in ("bias", "risk", "truncation"):
            if getattr(self, name) is not None:
                as_probability(f"{name}_budget", getattr(self, name))
