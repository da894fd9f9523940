"""The schemes as data: what each drafts, when it transmits, what it sends and how the server checks it."""

import math
from dataclasses import dataclass
from typing import Literal

from cuhlm_theory._checks import as_count, as_floats, as_nonnegative, as_positive, as_probability

Draft = Literal["none", "one", "fixed", "confidence", "trigger"]
Skip = Literal["always", "never", "random", "threshold"]
Payload = Literal[
    "nothing",
    "index",
    "full",
    "offline",
    "online",
    "exact",
    "index-and-probability",
    "candidates",
    "candidates-and-indices",
    "lattice",
    "conformal-lattice",
]
Verification = Literal["none", "llm", "server-draws", "received-law", "prefix", "prefix-on-device"]
Status = Literal["printed", "reconstructed", "assumed", "new"]
Knob = Literal["none", "skip_rate", "threshold", "num_candidates"]

NEVER_SKIP = -1.0
"""A threshold below every uncertainty: no token is skipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """One row: four rules, where they come from, and the knob that trades bias or bits for latency."""

    name: str
    """Name on the command line."""
    title: str
    """What it does, in a few words."""
    draft: Draft
    """`none` (no device model), `one` a round, a `fixed` number, until `confidence` is low, or until the skip
    rule's `trigger` fires."""
    skip: Skip
    """Which drafts are kept without asking the server."""
    payload: Payload
    """What a transmission carries; for several drafts a round, what each draft carries."""
    verification: Verification
    """Who decides with which law; `prefix` keeps drafts up to the first rejection."""
    knob: Knob
    """What trades bias or bits for latency."""
    reference: str
    """Where the scheme is published."""
    status: Status
    """Whether these rules are printed there, reconstructed, assumed, or new."""

    @property
    def drafts_several(self) -> bool:
        """Whether one LLM pass verifies several drafts."""
        return self.draft in ("fixed", "confidence", "trigger")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The free numbers of the schemes; a scheme reads those that its rules name."""

    threshold: float = 0.0
    """u_th: skip iff the uncertainty is at most this [-]; `NEVER_SKIP` skips nothing."""
    upper_threshold: float | None = None
    """With it, one token in `mix` uses this threshold instead: a randomised threshold [-]."""
    mix: float = 0.0
    """Share of tokens that use `upper_threshold` [-]."""
    skip_rate: float | None = None
    """Skip rate of `rand-hlm` [-]; None takes that of the threshold."""
    slope: float | None = None
    """a of the rejection line, needed by the printed truncation rule online [-]."""
    intercept: float | None = None
    """b of the rejection line [-]."""
    offline_k: int = 30
    """k of `cu-hlm-offline` [token]; [CU] prints 30."""
    truncation_budget: float = 0.02
    """theta: the exact rule keeps the least k with TV_k <= theta, the printed one with U(k) <= theta [-]."""
    truncation_price_s: float | None = None
    """With it, the exact rule keeps the k of least tau_up(k) + price * TV_k instead [s]."""
    num_drafts: int | None = None
    """Drafts a round of the schemes with a fixed number; None takes the best for the mean acceptance."""
    num_candidates: int = 30
    """Entries that TK-SLT, TSLT and K-SQS keep [token] (assumed)."""
    candidate_bits: int = 16
    """Bits a probability of TK-SLT and TSLT [bit]."""
    lattice_levels: int = 100
    """l: K-SQS and C-SQS round to multiples of 1/l [-] (assumed)."""
    conformal_target: float = 0.05
    """alpha: mass that C-SQS may drop in the long run [-] (assumed)."""
    conformal_step: float = 0.005
    """eta: step of the threshold of C-SQS [-] (assumed)."""
    conformal_start: float = 0.01
    """beta_1: first threshold of C-SQS [-] (assumed)."""
    confidence: float = 0.4
    """Confidence-stopped drafting stops once x_(1) falls below this [-]."""
    max_drafts: int = 20
    """Most drafts a round of confidence-stopped drafting [token]."""
    bonus: bool = False
    """Whether verify-on-sync takes the LLM's own token after a fully kept run."""

    def __post_init__(self) -> None:
        as_floats("threshold", self.threshold)
        for name in ("mix", "truncation_budget", "conformal_target", "conformal_start", "confidence"):
            as_probability(name, getattr(self, name))
        for name in ("skip_rate", "upper_threshold"):
            if getattr(self, name) is not None:
                as_probability(name, getattr(self, name))
        if self.upper_threshold is not None and self.upper_threshold < self.threshold:
            raise ValueError(
                f"upper_threshold must be at least {self.threshold:g}; got {self.upper_threshold:g}"
            )
        for name in ("offline_k", "num_candidates", "candidate_bits", "lattice_levels", "max_drafts"):
            as_count(name, getattr(self, name))
        if self.num_drafts is not None:
            as_count("num_drafts", self.num_drafts)
        as_positive("conformal_step", self.conformal_step)
        if self.truncation_price_s is not None:
            as_nonnegative("truncation_price_s", self.truncation_price_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a scheme achieves; every scheme fills the same columns, None where a quantity has no meaning."""

    name: str
    """Scheme."""
    bias: float | None
    """Mean per-token total variation from the LLM's law [-]; None where it is not known."""
    bias_is_bound: bool
    """Whether the bias is an upper bound."""
    bias_note: str
    """Empty, or why the bias is not exact."""
    risk: float
    """Part of the bias that skipping causes [-]."""
    truncation_bias: float
    """Part of the bias that truncation causes, as bounded [-]."""
    threshold: float | None
    """u_th in use [-]."""
    skip_rate: float
    """Share of drafts that are kept without asking [-]; 0 for schemes that verify every draft."""
    k_mean: float | None
    """Mean entries of the distribution in a transmission [token]."""
    num_drafts: float | None
    """Mean drafts a round [token]."""
    uplink_bit_per_token: float
    """Bits up [bit/token]."""
    downlink_bit_per_token: float
    """Bits down: a token index an answer, a distribution where the device resamples [bit/token]."""
    llm_calls_per_token: float
    """LLM passes [1/token]."""
    tokens_per_round: float
    """E[N] [token]."""
    latency_s: float
    """E[D]/E[N] [s]."""
    throughput_token_per_s: float
    """E[N]/E[D], the rate a user sees [token/s]."""
    mean_rate_token_per_s: float
    """E[N/D], the other average [token/s]."""
    speedup_over_hlm: float
    """HLM's latency over this one [-]."""
    energy_j_per_token: float
    """Transmit power times air time plus the device's compute energy [J/token]."""
    floor_ratio: float | None
    """Latency over that of the single-draft floor at the same skip rule [-]; None for schemes that the floor
    does not bound: the LLM alone, and those that verify several drafts without a skip rule."""


_CU = "CU-HLM, arXiv:2505.11788v1"
_U = "U-HLM, arXiv:2412.12687"


def _row(
    name: str,
    title: str,
    rules: tuple[Draft, Skip, Payload, Verification],
    knob: Knob,
    reference: str,
    status: Status,
) -> tuple[str, Scheme]:
    draft, skip, payload, verification = rules
    return name, Scheme(
        name=name,
        title=title,
        draft=draft,
        skip=skip,
        payload=payload,
        verification=verification,
        knob=knob,
        reference=reference,
        status=status,
    )


SCHEMES: dict[str, Scheme] = dict(
    (
        _row(
            "slm",
            "the device alone",
            ("one", "always", "nothing", "none"),
            "none",
            "baseline of [U] and [CU]",
            "printed",
        ),
        _row(
            "llm",
            "the server alone",
            ("none", "never", "nothing", "llm"),
            "none",
            "baseline of [U] and [CU]",
            "printed",
        ),
        _row(
            "hlm",
            "every draft verified with the full distribution",
            ("one", "never", "full", "received-law"),
            "none",
            f"{_U}; {_CU}",
            "printed",
        ),
        _row(
            "rand-hlm",
            "HLM that skips at random",
            ("one", "random", "full", "received-law"),
            "skip_rate",
            _U,
            "printed",
        ),
        _row(
            "u-hlm",
            "HLM that skips when uncertainty is low",
            ("one", "threshold", "full", "received-law"),
            "threshold",
            _U,
            "printed",
        ),
        _row(
            "cu-hlm-offline",
            "U-HLM with one k for all tokens",
            ("one", "threshold", "offline", "received-law"),
            "threshold",
            f"{_CU}, eq. (24)",
            "reconstructed",
        ),
        _row(
            "cu-hlm-online",
            "U-HLM with the printed k rule a token",
            ("one", "threshold", "online", "received-law"),
            "threshold",
            f"{_CU}, eqs. (23)(26)",
            "reconstructed",
        ),
        _row(
            "cu-hlm-exact",
            "U-HLM with the exact k rule",
            ("one", "threshold", "exact", "received-law"),
            "threshold",
            "THEORY 8.2",
            "new",
        ),
        _row(
            "floor",
            "U-HLM whose server draws from its own law",
            ("one", "threshold", "index", "server-draws"),
            "threshold",
            "THEORY 9",
            "new",
        ),
        _row(
            "dsd",
            "several drafts, full distributions",
            ("fixed", "never", "full", "prefix"),
            "none",
            "Leviathan et al., arXiv:2211.17192, distributed",
            "printed",
        ),
        _row(
            "tk-slt",
            "several drafts from the top K, probabilities only",
            ("fixed", "never", "candidates", "prefix"),
            "num_candidates",
            "TK-SLT, arXiv:2509.04576",
            "printed",
        ),
        _row(
            "tslt",
            "several drafts from the top K, with indices",
            ("fixed", "never", "candidates-and-indices", "prefix"),
            "num_candidates",
            "TSLT, arXiv:2512.16273",
            "assumed",
        ),
        _row(
            "k-sqs",
            "several drafts from K lattice probabilities",
            ("fixed", "never", "lattice", "prefix"),
            "num_candidates",
            "SQS, arXiv:2510.09942",
            "reconstructed",
        ),
        _row(
            "c-sqs",
            "K-SQS with a conformal threshold",
            ("fixed", "never", "conformal-lattice", "prefix"),
            "none",
            "SQS, arXiv:2510.09942",
            "reconstructed",
        ),
        _row(
            "dssd",
            "several drafts, resampled on the device",
            ("fixed", "never", "index-and-probability", "prefix-on-device"),
            "none",
            "DSSD, arXiv:2507.12000",
            "printed",
        ),
        _row(
            "confidence-stop",
            "drafts until the device is unsure",
            ("confidence", "never", "index-and-probability", "prefix-on-device"),
            "none",
            "transformers, assistant_confidence_threshold",
            "printed",
        ),
        _row(
            "verify-on-sync",
            "exact CU-HLM: the skipped run is verified too",
            ("trigger", "threshold", "index-and-probability", "prefix-on-device"),
            "threshold",
            "THEORY 10.3",
            "new",
        ),
    )
)
"""Every scheme by its name on the command line."""


def scheme(name: str) -> Scheme:
    """Return the scheme of that name.

    Parameters
    ----------
    name : str
        One of the keys of `SCHEMES`.

    Returns
    -------
    Scheme
        Its row.

    Raises
    ------
    ValueError
        If no scheme has that name.

    Examples
    --------
    >>> scheme("hlm").payload
    'full'
    """
    if name not in SCHEMES:
        raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}; got {name!r}")
    return SCHEMES[name]


def lattice_bit(num_kept: int, levels: int, vocab_size: int, *, send_size: bool = False) -> int:
    r"""Bits of K lattice probabilities and of the set they belong to.

    .. math:: \lceil \log_2 \tbinom{V}{K} \rceil + \lceil \log_2 \tbinom{\ell + K - 1}{K - 1} \rceil
              \qquad \text{[SQS], printed}

    Derivation: ``derivations.schemes.lattice``.

    Parameters
    ----------
    num_kept : int
        :math:`K`, entries kept [token].
    levels : int
        :math:`\ell`, lattice levels [-].
    vocab_size : int
        :math:`V` [token].
    send_size : bool, default False
        Whether K itself is sent, as C-SQS must: :math:`\lceil \log_2 V \rceil` bits more.

    Returns
    -------
    int
        Bits [bit].

    Raises
    ------
    ValueError
        If a count is below 1 or K exceeds V.

    References
    ----------
    .. [SQS] arXiv:2510.09942.

    Examples
    --------
    >>> lattice_bit(2, 100, 32000)
    36
    """
    as_count("vocab_size", vocab_size, at_least=2)
    kept, size = int(as_count("num_kept", num_kept, at_most=vocab_size)), int(as_count("levels", levels))
    index_bit = _ceil_log2_binomial(vocab_size, kept)
    value_bit = _ceil_log2_binomial(size + kept - 1, kept - 1)
    return index_bit + value_bit + (math.ceil(math.log2(vocab_size)) if send_size else 0)


def _ceil_log2_binomial(n: int, k: int) -> int:
    """Return ceil(log2 C(n, k)): exact while that is cheap, by log-gamma beyond."""
    small = min(k, n - k)
    if small <= 64:
        return (math.comb(n, small) - 1).bit_length()
    return math.ceil((math.lgamma(n + 1) - math.lgamma(small + 1) - math.lgamma(n - small + 1)) / math.log(2))
