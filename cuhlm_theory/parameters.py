"""What the formulas take: the link, the codec, the latencies and the budgets.

Every description is a frozen dataclass in linear SI units, checked once when it is made; vary one with
`dataclasses.replace`. What a field means stands in its `quantity`, which the command line reads as well.
"""

import math
from dataclasses import InitVar, dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from cuhlm_theory._checks import Floats, as_count, as_nonnegative, as_positive, as_probability
from cuhlm_theory._fields import quantity

Fading = Literal["awgn", "rayleigh-ergodic", "rayleigh-outage", "rayleigh-arq", "short-packet"]
CodecKind = Literal["printed", "dense", "enumerative", "best"]


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")


_MOST_BIT_PER_S = 1e15  # beyond it a bit costs less than float64 tells beside a pass of a model


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Uplink of the device, by its bandwidth and its signal-to-noise ratio.

    Give the ratio as ``snr`` (linear, what is kept) or as ``snr_db``.

    Examples
    --------
    >>> Link(bandwidth_hz=1e6, snr_db=20.0).snr
    100.0
    """

    bandwidth_hz: float = quantity(help="Bandwidth", symbol="W", unit="Hz", assumed=1e6)
    snr: float = quantity(
        None,
        help="SNR, or its mean under fading; linear in Python, -inf dB is a dead link",
        unit="dB",
        option="snr-db",
        assumed=-8.92,
    )
    snr_db: InitVar[float | None] = None
    fading: Fading = quantity("awgn", help="Channel model", assumed="awgn")
    outage: float = quantity(0.01, help="Outage probability (of rayleigh-outage), in (0, 1)", unit="-")
    block_error: float = quantity(
        1e-3, help="Block error probability (of short-packet), in (0, 0.5)", unit="-"
    )

    def __post_init__(self, snr_db: float | None) -> None:
        if snr_db is not None:
            if self.snr is not None:
                raise ValueError(f"give snr or snr_db, not both; got {self.snr:g} and {snr_db:g} dB")
            from cuhlm_theory.capacity import snr_from_db

            object.__setattr__(self, "snr", float(snr_from_db(snr_db)))
        if self.snr is None:
            raise ValueError("snr or snr_db must be given; got neither")
        as_positive("bandwidth_hz", self.bandwidth_hz, at_most=_MOST_BIT_PER_S)
        as_nonnegative("snr", self.snr)
        _one_of("fading", self.fading, get_args(Fading))
        for name, high in (("outage", 1.0), ("block_error", 0.5)):
            value = float(getattr(self, name))
            if not 0.0 < value < high:
                raise ValueError(f"{name} must lie in (0, {high:g}); got {value:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedRate:
    """Uplink of one rate, for who knows neither bandwidth nor signal-to-noise ratio."""

    rate_bit_per_s: float = quantity(
        help="Rate of the uplink; stands instead of bandwidth, SNR and fading", unit="bit/s"
    )

    def __post_init__(self) -> None:
        as_positive("rate_bit_per_s", self.rate_bit_per_s, at_most=_MOST_BIT_PER_S)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class RateTrace:
    """Uplink whose rate was recorded over time, or drawn; it begins anew where it ends.

    Each rate holds until the next time, the last one as long as the one before it.

    Examples
    --------
    >>> RateTrace(time_s=[0.0, 2.0], rate_bit_per_s=[1e6, 0.0])
    RateTrace(2 rates over 4 s, 5e+05 bit/s on average)
    """

    time_s: ArrayLike
    """When each rate begins, rising, shape [N], at least 2 [s]."""
    rate_bit_per_s: ArrayLike
    """Rate from then on, 0 in an outage, not 0 throughout, shape [N] [bit/s]."""
    edge_s: Floats = field(init=False)
    """Ends of the spans of one rate, from 0 to the period, shape [N + 1] [s]."""
    carried_bit: Floats = field(init=False)
    """What has been carried at these ends, shape [N + 1] [bit]."""

    def __post_init__(self) -> None:
        time_s = as_nonnegative("times", self.time_s)
        rate = as_nonnegative("rates", self.rate_bit_per_s)
        if time_s.ndim != 1 or time_s.shape != rate.shape or len(time_s) < 2:
            raise ValueError(
                "times and rates must be lists of at least 2 numbers, equally long; got the shapes "
                f"{time_s.shape} and {rate.shape}"
            )
        span_s = np.diff(time_s)
        if np.any(span_s <= 0.0):
            place = int(np.argmax(span_s <= 0.0))
            raise ValueError(f"times must rise; got {time_s[place + 1]:g} after {time_s[place]:g}")
        as_positive("the largest rate", rate.max(), at_most=_MOST_BIT_PER_S)
        span_s = np.append(span_s, span_s[-1])
        given = {
            "time_s": time_s,
            "rate_bit_per_s": rate,
            "edge_s": np.concatenate(([0.0], np.cumsum(span_s))),
            "carried_bit": np.concatenate(([0.0], np.cumsum(rate * span_s))),
        }
        for name, column in given.items():
            object.__setattr__(self, name, column)

    def __repr__(self) -> str:
        return (
            f"RateTrace({len(self.edge_s) - 1} rates over {self.period_s:g} s, {self.mean_bit_per_s:.4g} "
            "bit/s on average)"
        )

    @property
    def period_s(self) -> float:
        """Time after which the trace begins anew [s]."""
        return float(self.edge_s[-1])

    @property
    def mean_bit_per_s(self) -> float:
        """Rate averaged over time [bit/s]."""
        return float(self.carried_bit[-1] / self.edge_s[-1])


Uplink = Link | FixedRate | RateTrace
"""What carries the packets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """How a truncated distribution is written into bits."""

    vocab_size: int = quantity(
        help="Vocabulary, tokens in it", symbol="V", unit="token", assumed=32_000, calibrated=True
    )
    prob_bits: int = quantity(8, help="Bits a probability", symbol="b_prob", unit="bit")
    index_bits: int | None = quantity(
        None,
        help="Bits a token index; 0 sends whole distributions without, as U-HLM prints",
        unit="bit",
        unset="ceil(log2 V)",
    )
    kind: CodecKind = quantity("printed", help="Payload formula", option="codec")

    def __post_init__(self) -> None:
        as_count("vocab_size", self.vocab_size, at_least=2)
        as_count("prob_bits", self.prob_bits, at_least=1, at_most=64)
        width = math.ceil(math.log2(self.vocab_size))
        bits = width if self.index_bits is None else int(as_count("index_bits", self.index_bits, at_least=0))
        if bits and not width <= bits <= 64:
            raise ValueError(
                f"index_bits must be 0 (no index is sent) or lie in [{width}, 64], since a shorter index "
                f"cannot tell {self.vocab_size} tokens apart; got {bits}"
            )
        _one_of("kind", self.kind, get_args(CodecKind))

    @property
    def bits_per_index(self) -> int:
        """Bits that name a token [bit]: the least where only whole distributions go without."""
        return self.index_bits or math.ceil(math.log2(self.vocab_size))


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    r"""Time of a pass of a model that is fed n tokens onto a context of c.

    .. math:: \tau(n, c) = t_0 + t_1 n + t_2 c

    The literature prints one constant, :math:`t_0`.

    Examples
    --------
    >>> round(Passes(fixed_s=0.3, per_token_s=0.01, per_context_token_s=1e-4).seconds(4, 500), 9)
    0.39
    """

    fixed_s: float
    """t_0, whatever is fed [s]."""
    per_token_s: float = 0.0
    """t_1, each token that is fed [s]."""
    per_context_token_s: float = 0.0
    """t_2, each token in the cache before [s]."""

    def seconds(self, width: float, context: float = 0.0) -> float:
        """Time of a pass of ``width`` tokens onto ``context`` tokens [s]."""
        return self.fixed_s + self.per_token_s * width + self.per_context_token_s * context


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Compute and protocol latencies; what the papers neglect defaults to 0, but for the skipped tokens.

    Those the server must learn before it can verify another draft; where everything else has been compressed
    they are most of the uplink. What a pass costs more on a longer context is part of ``slm_s`` and
    ``llm_s``, at the mean context.
    """

    slm_s: float = quantity(
        help="SLM latency, a pass of one token on the device",
        symbol="tau_SLM",
        unit="s",
        option="slm-latency-s",
        assumed=0.0246,
        calibrated=True,
    )
    llm_s: float = quantity(
        help="LLM latency, a pass of one token on the server",
        symbol="tau_LLM",
        unit="s",
        option="llm-latency-s",
        assumed=0.1046,
        calibrated=True,
    )
    round_trip_s: float = quantity(0.0, help="Protocol round trip, charged once a transmission", unit="s")
    downlink_bit_per_s: float = quantity(
        math.inf, help="Downlink rate; infinite neglects it, as the papers do", unit="bit/s"
    )
    slm_per_token_s: float = quantity(
        0.0,
        help="SLM time a further token in a pass",
        unit="s",
        calibrated="slm_latency_s",
    )
    llm_per_token_s: float = quantity(
        0.0,
        help="LLM time a further token in a pass, skipped or verified",
        unit="s",
        calibrated="llm_latency_s",
    )
    charge_resync: bool = quantity(
        True, help="Skipped tokens charged to the uplink, their indices at the next transmission"
    )

    def __post_init__(self) -> None:
        for name in ("slm_s", "llm_s"):
            as_positive(name, getattr(self, name))
        for name in ("round_trip_s", "slm_per_token_s", "llm_per_token_s"):
            as_nonnegative(name, getattr(self, name))
        for side in ("slm", "llm"):
            part, whole = getattr(self, f"{side}_per_token_s"), getattr(self, f"{side}_s")
            if part > whole:
                raise ValueError(f"{side}_per_token_s must be at most {side}_s, {whole:g}; got {part:g}")
        if not self.downlink_bit_per_s > 0.0:
            raise ValueError(f"downlink_bit_per_s must be positive; got {self.downlink_bit_per_s:g}")

    @property
    def slm(self) -> Passes:
        """Passes of the device, at the mean context."""
        return Passes(fixed_s=self.slm_s - self.slm_per_token_s, per_token_s=self.slm_per_token_s)

    @property
    def llm(self) -> Passes:
        """Passes of the server, at the mean context."""
        return Passes(fixed_s=self.llm_s - self.llm_per_token_s, per_token_s=self.llm_per_token_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A device, a server and the link between them."""

    link: Uplink
    """What carries the packets of the device."""
    codec: Codec
    """How a distribution becomes bits."""
    latency: Latency
    """What everything else takes."""
    tx_power_w: float = quantity(0.2, help="Transmit power while sending (23 dBm, as U-HLM prints)", unit="W")
    slm_energy_j: float = quantity(0.0, help="Energy of a draft on the device (assumed)", unit="J")

    def __post_init__(self) -> None:
        as_nonnegative("tx_power_w", self.tx_power_w)
        as_nonnegative("slm_energy_j", self.slm_energy_j)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Bias that may be spent, mean per-token total variation from the LLM's law."""

    bias: float = quantity(
        0.05, help="Bias budget, mean per-token bias; the optimum splits it", unit="-", option="bias-budget"
    )
    risk: float | None = quantity(
        None, help="Part for skipping", unit="-", option="risk-budget", unset="optimised"
    )
    truncation: float | None = quantity(
        None, help="Part for truncation", unit="-", option="truncation-budget", unset="optimised"
    )

    def __post_init__(self) -> None:
        for name in ("bias", "risk", "truncation"):
            if getattr(self, name) is not None:
                as_probability(f"{name}_budget", getattr(self, name))
