"""Which scheme is the fastest over which link: every setting of every scheme at once.

At fixed settings the seconds of a token are linear in the inverse of the rate and in the round trip. So a
setting is evaluated once, and its latency over any link is a sum of three terms; the fastest of all settings
is a lower envelope of planes, and where one of them is the fastest is convex
(``derivations.throughput.phase_regions``).
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from cuhlm_theory._checks import Floats, as_count, as_nonnegative, as_positive, as_probability
from cuhlm_theory.comparison import rejection_curve
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import CuhlmError
from cuhlm_theory.parameters import FixedRate, System
from cuhlm_theory.schemes import SCHEMES, Ledger, Scheme, at_bias
from cuhlm_theory.schemes.draft import UntilRisky, UntilRiskyOrTrigger
from cuhlm_theory.schemes.lineup import shares_at_bias
from cuhlm_theory.texts import Written

_NUM_COUNTS = 14
_PRICES_BIT = tuple(float(price) for price in np.geomspace(10.0, 1e7, 19))
_SLACK = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Phases:
    """Settings of schemes, and what each takes a token; C settings."""

    schemes: tuple[Scheme, ...]
    """The settings; a price of truncation is in bits, that is, in seconds over a link of 1 bit/s."""
    bias: Floats
    """Mean bias a token, or a bound on it, shape [C] [-]."""
    compute_s: Floats
    """Seconds of device and server, shape [C] [s]."""
    uplink_bit: Floats
    """Bits up, shape [C] [bit]."""
    downlink_bit: Floats
    """Bits down, shape [C] [bit]."""
    round_trips: Floats
    """Transmissions that are answered, shape [C]."""

    def __repr__(self) -> str:
        names = sorted({scheme.name for scheme in self.schemes})
        return f"Phases({len(self.schemes)} settings of {', '.join(names)})"

    def latency_s(self, rate: ArrayLike, round_trip_s: ArrayLike, downlink_rate: ArrayLike) -> Floats:
        """Seconds a token of each setting over links, shape [..., C] [s]; rates in bit/s."""
        up, trip = as_positive("rate", rate), as_nonnegative("round_trip_s", round_trip_s)
        down = np.asarray(downlink_rate, dtype=np.float64)
        if not np.all(down > 0.0):
            raise ValueError(f"downlink_rate must be positive; got {float(np.min(down)):g}")
        air_s = self.uplink_bit / up[..., None] + self.downlink_bit / down[..., None]
        return self.compute_s + air_s + self.round_trips * trip[..., None]

    def least_s(
        self, bias: float, rate: ArrayLike, round_trip_s: ArrayLike, downlink_rate: ArrayLike = np.inf
    ) -> dict[str, Floats]:
        """Least seconds a token of each scheme within a bias over links, by name, shape [...] [s]."""
        latency_s = self.latency_s(rate, round_trip_s, downlink_rate)
        within = self.bias <= float(as_probability("bias", bias)) + _SLACK
        names = np.array([scheme.name for scheme in self.schemes])
        known = dict.fromkeys(names[within].tolist())
        return {name: latency_s[..., within & (names == name)].min(axis=-1) for name in known}


def phases(
    tokens: Tokens,
    system: System,
    biases: Sequence[float],
    *,
    max_drafts: int = 32,
    contexts: Written | None = None,
) -> Phases:
    r"""Evaluate every scheme at every setting, for all links at once.

    .. math:: \tau = a + B / r + B_\mathrm{down} / r_\mathrm{down} + n \, \tau_\mathrm{rtt}
              \qquad \text{new here}

    Derivation: ``derivations.throughput.phase_regions``.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens with ``prompt``.
    system : System
        Codec and latencies; its link, round trip and downlink do not matter.
    biases : sequence of float
        Mean per-token biases that settings are brought to, where a scheme can have them [-].
    max_drafts : int, default 32
        Most drafts a round; all counts up to 6 are tried and some of those beyond [token].
    contexts : Written, optional
        Recorded texts, each setting evaluated on the one that it writes; all on ``tokens`` when not given.

    Returns
    -------
    Phases
        What each setting takes.

    Raises
    ------
    ValueError
        If a bias is outside [0, 1], or ``max_drafts`` is below 1.

    Notes
    -----
    Settings are those that the rules of a scheme offer: recorded thresholds, sizes and confidences, and
    counts of drafts; thresholds that spend a bias whole, shares of a draft for the kept law, and, for
    `dssd` and `kept-law-exact`, a limit on the survival of a run. A scheme whose bias is only estimated is
    left out, and so is one that lacks a recorded column.

    Examples
    --------
    >>> from cuhlm_theory.parameters import Codec, Latency, Link
    >>> u = np.tile(np.linspace(0.0, 1.0, 20), 5)
    >>> tokens = Tokens(uncertainty=u, rejection=0.5 * u, prompt=np.arange(100) // 20)
    >>> system = System(
    ...     link=Link(bandwidth_hz=1e6, snr=3.0),
    ...     codec=Codec(vocab_size=32_000),
    ...     latency=Latency(slm_s=0.01, llm_s=0.1),
    ... )
    >>> found = phases(tokens, system, [0.1])
    >>> near, far = (found.least_s(0.1, 1e3, round_trip_s) for round_trip_s in (0.0, 1.0))
    >>> near["kept-law"] < near["llm"], far["kept-law"] < far["llm"]
    (np.True_, np.False_)
    """
    limits = [float(limit) for limit in as_probability("biases", biases)]
    most = int(as_count("max_drafts", max_drafts))
    most = min(most, tokens.longest_text or most)  # a block longer than every text was never recorded
    counts = np.unique(np.geomspace(1, most, _NUM_COUNTS).round().astype(int)).tolist()
    return planes(_settings(tokens, _unit(system), limits, counts), contexts or tokens, system)


def planes(settings: Iterable[Scheme], contexts: Written, system: System) -> Phases:
    """Evaluate settings of schemes for all links at once; one that lacks a recorded column is left out.

    Parameters
    ----------
    settings : iterable of Scheme
        Schemes with their numbers.
    contexts : Written
        Recorded tokens with ``prompt``, or texts, each setting evaluated on the one that it writes.
    system : System
        Codec and latencies; its link, round trip and downlink do not matter.

    Returns
    -------
    Phases
        What each setting takes.

    Examples
    --------
    >>> from cuhlm_theory.parameters import Codec, Latency, Link
    >>> tokens = Tokens(uncertainty=np.full(9, 0.5), rejection=np.zeros(9), prompt=np.zeros(9, dtype=int))
    >>> system = System(
    ...     link=Link(bandwidth_hz=1e6, snr=3.0),
    ...     codec=Codec(vocab_size=32_000),
    ...     latency=Latency(slm_s=0.01, llm_s=0.1),
    ... )
    >>> planes([SCHEMES["llm"], SCHEMES["dsd"].using(num_drafts=2)], tokens, system)
    Phases(2 settings of dsd, llm)
    """
    unit, rows, terms = _unit(system), [], []
    for row in dict.fromkeys(settings):
        with contextlib.suppress(CuhlmError):
            ledger = row.ledger(contexts, unit)
            rows.append(row)
            terms.append(_terms(ledger))
    columns = np.array(terms).T
    names = ("bias", "compute_s", "uplink_bit", "downlink_bit", "round_trips")
    return Phases(schemes=tuple(rows), **dict(zip(names, columns, strict=True)))


def _unit(system: System) -> System:
    """Return the system over a link of 1 bit/s without a round trip, its downlink free."""
    latency = replace(system.latency, round_trip_s=0.0, downlink_bit_per_s=np.inf)
    return replace(system, link=FixedRate(rate_bit_per_s=1.0), latency=latency)


def _terms(ledger: Ledger) -> tuple[float, ...]:
    """Bias, seconds that no link changes, bits up and down, answers, a token; over a link of 1 bit/s."""
    others_s = ledger.off_air_s
    columns = (ledger.bias, others_s, ledger.uplink_s, ledger.downlink_bit, ledger.answered)
    return tuple(ledger.per_token(column) for column in columns)


def _settings(
    tokens: Tokens, system: System, biases: Sequence[float], counts: Sequence[int]
) -> Iterator[Scheme]:
    curve = rejection_curve(tokens)
    yield from _offered(SCHEMES["dssd"].drafting(UntilRisky(line=curve)), tokens, counts)
    yield from _offered(SCHEMES["kept-law-exact"].drafting(UntilRiskyOrTrigger(line=curve)), tokens, counts)
    for row in SCHEMES.values():
        if not row.payload.depends_on_draft:
            yield from _offered(row, tokens, counts)
    for bias in biases:
        yield from shares_at_bias(SCHEMES["kept-law"], tokens, bias)
        for row in SCHEMES.values():
            prices = _PRICES_BIT if "truncation_price_s" in row.numbers else ()
            for priced in (row, *(row.using(truncation_price_s=price) for price in prices)):
                if not row.payload.depends_on_draft and not row.drafts_several:
                    with contextlib.suppress(CuhlmError):
                        yield at_bias(priced, tokens, system, bias)


def _offered(row: Scheme, tokens: Tokens, counts: Sequence[int]) -> Iterator[Scheme]:
    """Every combination of what the rules of a scheme offer, with each count of drafts."""
    drafts = [{row.draft.count: count} for count in counts] if row.draft.count else [{}]
    with contextlib.suppress(CuhlmError):
        yield from (row.using(**numbers) for numbers in row.offered(tokens, drafts))
