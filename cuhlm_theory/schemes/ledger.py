"""What a scheme does or did, a row a round, before anything is averaged; and the averages.

A recorded trace, an assumed law and a live decoder fill the same columns, so that whatever is predicted can
be measured. What a round costs is written here once, and the means are those of the proven functions.
"""

import itertools
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cuhlm_theory import bootstrap
from cuhlm_theory._checks import Floats
from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.contexts import Ints
from cuhlm_theory.estimate import Estimate
from cuhlm_theory.parameters import Link, RateTrace, System
from cuhlm_theory.payload import distribution_bit
from cuhlm_theory.throughput import (
    floor_latency_s,
    mean_rate_token_per_s,
    renewal_throughput_token_per_s,
    round_latency_s,
    round_parts_s,
)

_ROUNDING = 1e-12


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
    bias_recorded: float | None
    """The bias with truncation charged as it was recorded, not as bounded [-]; None where it was not."""
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
    resync_bit_per_token: float
    """Those of them that tell the server which tokens were skipped [bit/token]."""
    resync_s_per_token: float
    """Their share of the time on the air [s/token]."""
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
    throughput_is_bound: bool
    """Whether tokens a round and throughput are the least they can be."""
    mean_rate_token_per_s: float
    """E[N/D], the other average [token/s]."""
    speedup_over_hlm: float
    """HLM's latency over this one [-]."""
    energy_j_per_token: float
    """Transmit power times air time plus the device's compute energy [J/token]."""
    floor_ratio: float | None
    """Latency over that of the single-draft floor at the same skip rule [-]; None for schemes that the floor
    does not bound: the LLM alone, and those that verify several drafts without a skip rule."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Ledger:
    """Rounds of one scheme on one system; R rows, each a round or a kind of round with its chance."""

    scheme: str
    """Name of the scheme."""
    system: System
    """Device, server and link that the rounds are charged to."""
    weight: Floats
    """How often each row happens, above 0, up to a factor, shape [R] [-]; ones for rounds that ran."""
    prompt: Ints | None
    """Text that each row belongs to, shape [R]; None where tokens are i.i.d."""
    tokens: Floats
    """Tokens that the round commits, shape [R] [token]."""
    drafts: Floats
    """Tokens that the device drafts, shape [R] [token]."""
    entries: Floats
    """Entries of the distributions that are sent, shape [R] [token]; NaN where the payload has none."""
    uplink_bit: Floats
    """Bits up, shape [R] [bit]."""
    downlink_bit: Floats
    """Bits down, shape [R] [bit]."""
    llm_calls: Floats
    """Passes of the LLM, shape [R]."""
    llm_width: Floats
    """Tokens that the pass must score, shape [R] [token]."""
    catch_up: Floats
    """Skipped tokens that the server reads later on behalf of the round, shape [R] [token]."""
    slm_catch_up: Floats
    """Tokens that the device reads later beside one a draft, shape [R] [token]: the last of a run that was
    kept whole, where the server added its own."""
    slm_s: Floats
    """Seconds of the device's model, shape [R] [s]."""
    uplink_s: Floats
    """Seconds on the air, shape [R] [s]; infinite over a dead link."""
    llm_s: Floats
    """Seconds of the server's model, shape [R] [s]."""
    other_s: Floats
    """Round trip and downlink, shape [R] [s]."""
    bias: Floats
    """Sum over the round's tokens of the total variation from the LLM's law, or a bound, shape [R] [-]."""
    risk: Floats
    """Part of it that skipping causes, shape [R] [-]."""
    truncation: Floats
    """Part of it that truncation causes, as bounded, shape [R] [-]."""
    recorded: Floats | None = None
    """The bias with truncation charged as it was recorded, shape [R] [-]; None where it was not."""
    bias_is_bound: bool = False
    """Whether the bias is an upper bound."""
    bias_note: str = ""
    """Empty, or why the bias is not exact."""
    throughput_is_bound: bool = False
    """Whether tokens a round, and so the throughput, are the least they can be."""
    threshold: float | None = None
    """u_th in use [-]."""
    skip_rate: float | None = None
    """Share of drafts that the skip rule keeps [-]; None where the rounds themselves tell."""
    on_server: bool = False
    """Whether the server drafts as well, so that no device asks, or spends energy on drafts."""
    has_floor: bool = False
    """Whether the floor of single-draft rounds bounds this scheme."""
    place: Ints | None = None
    """Token that each round begins with, shape [R]; None where rounds have no one place."""
    text: str = ""
    """Text whose contexts the rounds met; empty for an assumed law and for rounds that ran."""
    side: Ints | None = None
    """Which of two mixed texts each round belongs to, 0 or 1, shape [R]; None where there is one."""

    def __len__(self) -> int:
        return len(self.weight)

    def __repr__(self) -> str:
        texts = "i.i.d. tokens" if self.prompt is None else f"{len(np.unique(self.prompt))} texts"
        return f"Ledger({self.scheme}: {len(self)} rows, {texts}, {self.rate_token_per_s:.4g} token/s)"

    @property
    def seconds(self) -> Floats:
        """Duration of each round, shape [R] [s]."""
        return self.uplink_s + self.off_air_s

    @property
    def off_air_s(self) -> Floats:
        """Seconds of each round that no uplink changes, shape [R] [s]."""
        return self.slm_s + self.llm_s + self.other_s

    @property
    def answered(self) -> Floats:
        """Whether the device asks, and waits for a round trip, shape [R]."""
        return ((self.llm_calls > 0.0) & (self.drafts > 0.0) & (not self.on_server)).astype(np.float64)

    def mean(self, values: Floats) -> float:
        """Mean over rounds."""
        return float(np.sum(self.weight * values) / np.sum(self.weight))

    def per_token(self, values: Floats) -> float:
        """Mean over rounds of a quantity over the mean of their tokens."""
        return self.mean(values) / self.mean(self.tokens)

    def outcome(self) -> Outcome:
        """Average the rounds."""
        tokens, calls = self.mean(self.tokens), _snapped(self.mean(self.llm_calls))
        latency_s = self.mean(self.seconds) / tokens
        hlm_s, floor_s = hlm_latency_s(self.system), None
        skip_rate = 1.0 - calls if self.skip_rate is None else self.skip_rate
        if self.has_floor:
            floor_s = single_draft_floor_s(self.system, min(max(1.0 - skip_rate, 0.0), 1.0))
        dead = not np.isfinite(latency_s)
        drafts, bias = self.mean(self.drafts), self.per_token(self.bias)
        uplink_bit, air_s = self.per_token(self.uplink_bit), self.per_token(self.uplink_s)
        resync_bit = 0.0  # unless anything is ever sent
        if uplink_bit > 0.0:
            resync_bit = self.per_token(self.catch_up) * resync_bit_per_skip(self.system)
        return Outcome(
            name=self.scheme,
            bias=None if np.isnan(bias) else bias,
            bias_is_bound=self.bias_is_bound,
            bias_note=self.bias_note,
            risk=self.per_token(self.risk),
            truncation_bias=self.per_token(self.truncation),
            bias_recorded=None if self.recorded is None else self.per_token(self.recorded),
            threshold=self.threshold,
            skip_rate=skip_rate,
            k_mean=self._entries(),
            num_drafts=drafts if drafts > 0.0 else None,
            uplink_bit_per_token=uplink_bit,
            resync_bit_per_token=resync_bit,
            resync_s_per_token=air_s * resync_bit / uplink_bit if resync_bit > 0.0 else 0.0,
            downlink_bit_per_token=self.per_token(self.downlink_bit),
            llm_calls_per_token=calls / tokens,
            tokens_per_round=tokens,
            latency_s=latency_s,
            throughput_token_per_s=self.rate_token_per_s,
            throughput_is_bound=self.throughput_is_bound,
            mean_rate_token_per_s=float(mean_rate_token_per_s(self.tokens, self.seconds, self.weight)),
            speedup_over_hlm=float("nan") if dead and not np.isfinite(hlm_s) else hlm_s / latency_s,
            energy_j_per_token=self.system.tx_power_w * air_s
            + self.system.slm_energy_j * (not self.on_server) * drafts / tokens,
            floor_ratio=latency_s / floor_s if floor_s and np.isfinite(floor_s) and not dead else None,
        )

    def _entries(self) -> float | None:
        """Mean entries of a distribution that is sent; one goes with every draft of a round that asks."""
        sent = self.weight * self.drafts * (self.llm_calls > 0.0)
        if np.any(np.isnan(self.entries)) or not sent.sum() > 0.0:
            return None
        return float(np.sum(self.weight * self.entries) / sent.sum())

    def sides(self) -> tuple["Ledger", ...]:
        """Return the ledger and, where two texts were mixed, what each of them says alone."""
        if self.side is None:
            return (self,)
        kept = [self.side == side for side in (0, 1) if np.any(self.side == side)]
        return (self, *(self._only(rows) for rows in kept))

    def _only(self, rows: NDArray[np.bool_]) -> "Ledger":
        columns = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        kept = {name: value[rows] for name, value in columns.items() if isinstance(value, np.ndarray)}
        return replace(self, **kept | {"side": None})

    def sums(self, *columns: str, prompts: Ints | None = None) -> dict[str, Floats]:
        """Sum columns over the rounds of each of the ``prompts``, its own by default, shape [P]."""
        if self.prompt is None:
            raise ValueError("a ledger of i.i.d. tokens has no texts to sum over")
        known = np.unique(self.prompt) if prompts is None else prompts
        place = np.searchsorted(known, self.prompt)
        weighted = {name: self.weight * getattr(self, name) for name in columns}
        return {
            name: np.bincount(place, sums, minlength=len(known)).astype(np.float64)
            for name, sums in weighted.items()
        }

    def estimates(self, *, num_resamples: int = 1000, seed: int = 0) -> tuple[Estimate, Estimate]:
        """Throughput [token/s] and bias [-] with 95 % intervals from resampling whole texts.

        The same seed draws the same texts for every scheme, so differences between ledgers are paired. Where
        two texts were mixed, an interval covers those of both.
        """
        sides = [side._resampled(num_resamples, seed) for side in self.sides()]
        speed, bias = (one[0].covering(one[1:]) for one in zip(*sides, strict=True))
        return speed, bias

    def _resampled(self, num_resamples: int, seed: int) -> tuple[Estimate, Estimate]:
        how = "95 % percentile interval, whole texts resampled"
        prompts = np.empty(0, dtype=np.int64) if self.prompt is None else np.unique(self.prompt)
        if len(prompts) < 2 or not np.all(np.isfinite(self.seconds)):
            return Estimate(self.rate_token_per_s, unit="token/s"), Estimate(self.per_token(self.bias))
        sums = self.sums("tokens", "seconds", "bias", prompts=prompts)
        counts = resampled_texts(len(sums["tokens"]), num_resamples, seed)
        resampled = {name: counts @ column for name, column in sums.items()}
        return (
            Estimate.of(
                sums["tokens"].sum() / sums["seconds"].sum(),
                resampled["tokens"] / resampled["seconds"],
                unit="token/s",
                how=how,
            ),
            Estimate.of(
                sums["bias"].sum() / sums["tokens"].sum(), resampled["bias"] / resampled["tokens"], how=how
            ),
        )

    def over(self, other: "Ledger", *, num_resamples: int = 1000, seed: int = 0) -> Estimate:
        """How many times as fast this is as another scheme, paired over prompts.

        Texts of the same prompts are drawn together, whoever wrote them. Where two texts were mixed, the
        interval covers those of both.
        """
        ratios = [
            first._paired(second, num_resamples, seed)
            for first, second in itertools.product(self.sides(), other.sides())
        ]
        return ratios[0].covering(ratios[1:])

    def _paired(self, other: "Ledger", num_resamples: int, seed: int) -> Estimate:
        rate, rival = self.rate_token_per_s, other.rate_token_per_s
        ratio = rate / rival if rival > 0.0 else np.inf
        if self.prompt is None or other.prompt is None or rate == 0.0 or rival == 0.0:
            return Estimate(ratio)
        prompts = np.union1d(self.prompt, other.prompt)
        if len(prompts) < 2:
            return Estimate(ratio)
        counts = resampled_texts(len(prompts), num_resamples, seed)
        rates = []
        for ledger in (self, other):
            sums = ledger.sums("tokens", "seconds", prompts=prompts)
            rates.append((counts @ sums["tokens"]) / (counts @ sums["seconds"]))
        return Estimate.of(ratio, rates[0] / rates[1], how="95 % interval, paired over resampled prompts")

    @property
    def rate_token_per_s(self) -> float:
        """Tokens over seconds; 0 over a dead link [token/s]."""
        return float(renewal_throughput_token_per_s(self.tokens, self.seconds, self.weight))


@lru_cache(maxsize=4)
def resampled_texts(num_texts: int, num_resamples: int, seed: int) -> Floats:
    """How often each text is drawn in each resample, shape [B, P]; the same for every ledger of a seed."""
    return bootstrap.cluster_counts(num_texts, num_resamples, np.random.default_rng(seed))


def _snapped(mean: float) -> float:
    """Return a mean chance, exactly 0 or 1 where it is up to rounding."""
    return float(np.round(mean)) if abs(mean - np.round(mean)) < _ROUNDING else mean


COUNTS = (
    "drafts",
    "slm_catch_up",
    "llm_calls",
    "llm_width",
    "catch_up",
    "uplink_bit",
    "downlink_bit",
)
"""What a round does, from which its seconds follow (`charged`)."""


def charged(
    system: System,
    *,
    drafts: ArrayLike,
    slm_catch_up: ArrayLike,
    llm_calls: ArrayLike,
    llm_width: ArrayLike,
    catch_up: ArrayLike,
    uplink_bit: ArrayLike,
    downlink_bit: ArrayLike,
) -> dict[str, Floats]:
    """Columns of seconds of a round from what it does, by the proven latency model.

    Whatever the LLM reads is charged: what it scores, drafts that are refused included, and what was skipped.

    Parameters
    ----------
    system : System
        Device, server and link.
    drafts : array_like, shape [R]
        Tokens drafted [token].
    slm_catch_up : array_like, shape [R]
        Tokens that the device reads beside one a draft [token].
    llm_calls : array_like, shape [R]
        Passes of the LLM.
    llm_width : array_like, shape [R]
        Tokens that the pass scores [token].
    catch_up : array_like, shape [R]
        Skipped tokens that the server reads [token].
    uplink_bit, downlink_bit : array_like, shape [R]
        Bits up and down [bit]; nothing sent takes no time, even over a dead link.

    Returns
    -------
    dict of str to ndarray
        ``slm_s``, ``uplink_s``, ``llm_s``, ``other_s``, shape [R] [s].
    """
    bit = np.asarray(uplink_bit, dtype=np.float64)
    air_s = np.where(bit > 0.0, packet_latency_s(system.link, bit), 0.0)
    parts = round_parts_s(
        system.latency,
        drafts=drafts,
        slm_catch_up=slm_catch_up,
        llm_calls=llm_calls,
        llm_fed=np.asarray(llm_width, dtype=np.float64) + np.asarray(catch_up, dtype=np.float64),
        uplink_s=air_s,
        downlink_bit=downlink_bit,
    )
    names = ("slm_s", "uplink_s", "llm_s", "other_s")
    return dict(zip(names, np.broadcast_arrays(*parts), strict=True))


def drafting_on_server(system: System) -> System:
    """Return the system where the server drafts as well, so that nobody waits for a round trip."""
    return replace(system, latency=replace(system.latency, round_trip_s=0.0))


def joined(first: Ledger, second: Ledger) -> Ledger:
    """Put the rows of two ledgers of one scheme below each other."""
    columns = {}
    for entry in fields(Ledger):
        value, other = getattr(first, entry.name), getattr(second, entry.name)
        columns[entry.name] = np.concatenate((value, other)) if isinstance(value, np.ndarray) else value
    return Ledger(**columns)


@lru_cache(maxsize=4)
def hlm_latency_s(system: System) -> float:
    """Latency of a token of HLM: every draft verified with the full distribution.

    Parameters
    ----------
    system : System
        Device, server and link.

    Returns
    -------
    float
        Seconds a token [s]; infinite over a dead link.

    Raises
    ------
    ValueError
        If the codec cannot write a full distribution.

    Examples
    --------
    >>> from cuhlm_theory.parameters import Codec, Latency, Link
    >>> hlm_latency_s(
    ...     System(
    ...         link=Link(bandwidth_hz=1e6, snr=3.0),
    ...         codec=Codec(vocab_size=32_000),
    ...         latency=Latency(slm_s=0.01, llm_s=0.1),
    ...     )
    ... )
    0.478
    """
    uplink_s = packet_latency_s(system.link, distribution_bit(system.codec, system.codec.vocab_size))
    answer = system.codec.bits_per_index
    return float(round_latency_s(system.latency, 1.0, uplink_s, downlink_bit=answer))


def single_draft_floor_s(system: System, transmit_probability: float) -> float:
    """Latency of the single-draft floor at a skip rule: a token index up, the server's own token down.

    Parameters
    ----------
    system : System
        Device, server and link.
    transmit_probability : float
        Share of tokens transmitted [-].

    Returns
    -------
    float
        Seconds a token [s].

    Raises
    ------
    ValueError
        If the probability is outside [0, 1].

    Examples
    --------
    >>> from cuhlm_theory.parameters import Codec, Latency, Link
    >>> system = System(
    ...     link=Link(bandwidth_hz=1e6, snr=3.0),
    ...     codec=Codec(vocab_size=32_000),
    ...     latency=Latency(slm_s=0.01, llm_s=0.1),
    ... )
    >>> round(single_draft_floor_s(system, 0.25), 7)
    0.0350075
    """
    index_bit = system.codec.bits_per_index + resync_bit_per_transmission(system, transmit_probability)
    index_s = packet_latency_s(system.link, index_bit)
    answer_s = transmit_probability * system.codec.bits_per_index / system.latency.downlink_bit_per_s
    return float(floor_latency_s(system.latency, transmit_probability, index_s)) + answer_s


def resync_bit_per_skip(system: System) -> float:
    """Bits that tell the server one skipped token [bit]."""
    return float(system.codec.bits_per_index) if system.latency.charge_resync else 0.0


def resync_bit_per_transmission(system: System, transmit_probability: float) -> float:
    """Bits of the skipped tokens that a transmission must also report, on average [bit]."""
    if transmit_probability == 0.0:
        return 0.0
    return resync_bit_per_skip(system) * (1.0 - transmit_probability) / transmit_probability


def resync_s_per_skip(system: System) -> float:
    """Seconds that telling the server one skipped token adds to the next packet; none over a dead link.

    A short packet's overhead is paid already. Over a trace of rates this is the mean over packets of every
    size, for what a further bit adds depends on when the others are through.
    """
    link, received = system.link, 1.0
    if isinstance(link, RateTrace):
        return resync_bit_per_skip(system) / link.mean_bit_per_s
    if isinstance(link, Link) and link.fading == "short-packet":
        link, received = replace(link, fading="awgn"), 1.0 - link.block_error
    index_s = float(packet_latency_s(link, resync_bit_per_skip(system))) / received
    return index_s if np.isfinite(index_s) else 0.0
