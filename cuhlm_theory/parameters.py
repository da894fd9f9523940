"""What the formulas take: the link, the codec, the latencies, the budgets and the recorded tokens.

Every description is a frozen dataclass in linear SI units, checked once when it is made; vary one with
`dataclasses.replace`.
"""

import math
from dataclasses import dataclass, field, fields
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

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


Array = NDArray[np.float64]

_ROUNDING = 1e-5  # of sums of float32 probabilities
_PROFILES = {
    "": ("kept", "draft_prob", "llm_prob", "tv", "max_prob"),
    "k_grid": ("tv_profile", "tail_mass", "sorted_prob"),
    "coarse_k_grid": ("truncated_acceptance", "output_bias"),
    "threshold_grid": ("skip_mass", "skip_risk", "server_bias"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Recorded tokens (or the nodes of an assumed law) as arrays; what a trace is to the theory.

    Only ``uncertainty`` and ``rejection`` are always there; what needs a missing column raises
    `cuhlm_theory.errors.MissingInputError` and names it. N tokens, K truncation sizes, C coarse
    truncation sizes, J thresholds.
    """

    uncertainty: Array
    """u-bar of the draft token, shape [N] [-]."""
    rejection: Array
    """beta_d = (1 - y_d / x_d)_+, shape [N] [-]."""
    kept: Array | None = None
    """Chance that the draft is kept and the text goes on with it, shape [N]; None means 1 - rejection."""
    weight: Array = field(default_factory=lambda: np.empty(0))
    """Probability weights that sum to 1, shape [N]; empty means 1/N each."""
    draft_prob: Array | None = None
    """x_d, shape [N] [-]."""
    llm_prob: Array | None = None
    """y_d, shape [N] [-]."""
    tv: Array | None = None
    """TV(x, y), shape [N] [-]."""
    max_prob: Array | None = None
    """x_(1), shape [N] [-]."""
    prompt: NDArray[np.int64] | None = None
    """Which prompt a token belongs to, shape [N]; runs of tokens and clusters of the bootstrap."""
    k_grid: NDArray[np.int64] | None = None
    """Truncation sizes of the profiles, increasing, the last is V, shape [K]."""
    tv_profile: Array | None = None
    """TV(x, x-hat_k), shape [N, K] [-]."""
    tail_mass: Array | None = None
    """Mass outside the k largest entries, shape [N, K] [-]."""
    sorted_prob: Array | None = None
    """x_(k), shape [N, K] [-]."""
    coarse_k_grid: NDArray[np.int64] | None = None
    """Truncation sizes of the two profiles that need y, shape [C]."""
    truncated_acceptance: Array | None = None
    """Acceptance 1 - TV(x-tilde_k, y) when the draft comes from the renormalised k largest, shape [N, C]."""
    output_bias: Array | None = None
    """Exact TV(output, y) when nothing is skipped and the server verifies with x-hat_k, shape [N, C]."""
    threshold_grid: Array | None = None
    """Uncertainty thresholds t of the three profiles below, increasing, shape [J] [-]."""
    skip_mass: Array | None = None
    """P(u-bar <= t | context) = sum_d x_d 1[u-bar_d <= t], shape [N, J] [-]."""
    skip_risk: Array | None = None
    """sum_d x_d 1[u-bar_d <= t] beta_d, shape [N, J] [-]."""
    server_bias: Array | None = None
    """Exact bias when the server draws from y instead of verifying: TV of the output, shape [N, J] [-]."""

    def __post_init__(self) -> None:
        num = len(self.uncertainty)
        if num == 0:
            raise ValueError("Tokens must hold at least 1 token; got 0")
        if self.weight.size == 0:
            object.__setattr__(self, "weight", np.full(num, 1.0 / num))
        for entry in fields(self):
            value = getattr(self, entry.name)
            if value is not None and not entry.name.endswith("_grid") and len(value) != num:
                raise ValueError(f"Tokens.{entry.name} must have {num} rows; got {len(value)}")
        for name in ("uncertainty", "rejection", "weight"):
            as_probability(name, getattr(self, name))
        if abs(float(self.weight.sum()) - 1.0) > 1e-9:
            raise ValueError(f"weight must sum to 1; got {self.weight.sum():g}")
        for grid_name, names in _PROFILES.items():
            grid = getattr(self, grid_name) if grid_name else np.empty(())
            if grid is not None and np.any(np.diff(np.atleast_1d(grid)) <= 0):
                raise ValueError(f"Tokens.{grid_name} must increase; got {grid}")
            for name in names:
                self._check_column(name, grid_name, None if grid is None else grid.shape)

    def _check_column(self, name: str, grid_name: str, shape: tuple[int, ...] | None) -> None:
        """Refuse a profile that does not fit its grid and what is no probability, float32 rounding apart."""
        column = getattr(self, name)
        if column is None:
            return
        if shape is None:
            raise ValueError(f"Tokens.{name} must come with Tokens.{grid_name}; got None")
        if column.shape[1:] != shape:
            raise ValueError(f"Tokens.{name} must have rows of shape {shape}; got {column.shape[1:]}")
        bad = ~((column >= -_ROUNDING) & (column <= 1.0 + _ROUNDING))  # catches NaN
        if np.any(bad):
            raise ValueError(f"Tokens.{name} must lie in [0, 1]; got {column[bad].flat[0]:g}")

    def __len__(self) -> int:
        return len(self.uncertainty)

    @property
    def acceptance(self) -> Array:
        """Chance that each draft is kept and the text goes on with it, shape [N] [-]."""
        return 1.0 - self.rejection if self.kept is None else self.kept
