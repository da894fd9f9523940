"""Payload rules: what a transmission carries, or each of several drafts, and what the server makes of it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from cuhlm_theory import truncation
from cuhlm_theory._checks import Floats, as_count, as_nonnegative, as_positive, as_probability
from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.codec import (
    Form,
    LatticeLaw,
    Shorter,
    distribution_form,
    listed_form,
    round_truncated,
)
from cuhlm_theory.contexts import Contexts, Ints, Tokens
from cuhlm_theory.errors import MissingInputError, PacketError
from cuhlm_theory.kept_law import most_kept_tokens, payload_bit
from cuhlm_theory.parameters import Codec, System
from cuhlm_theory.payload import distribution_bit
from cuhlm_theory.rejection import Line
from cuhlm_theory.schemes.skip import Skip

_LEVELS = (15, 63, 255, 1023)
_TARGETS = (0.02, 0.05, 0.1, 0.2)
_FIRST_THRESHOLD = 0.01


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Carried:
    """What a transmission carries in each context, or each of several drafts, shape [N]."""

    bit: Floats
    """Payload [bit]."""
    size: Ints | None = None
    """Entries of the distribution [token]; None where none is sent."""
    truncation_tv: Floats | None = None
    """TV between the law of the draft and the law the server receives [-]; None is 0."""
    acceptance: Floats | None = None
    """Chance that the server keeps the draft, where the draft is not drawn from x [-]."""
    acceptance_is_bound: bool = False
    """Whether that is, in some context, the least that it can be."""


class Payload:
    """A rule: entries in each context, bits of so many entries, and the laws at both ends.

    The base sends no distribution, and lets the device draft from its own law.
    """

    __slots__ = ()

    depends_on_draft: ClassVar[bool] = False
    """Whether the size depends on the draft, so that the truncation bound does not apply."""
    truncates: ClassVar[bool] = False
    """Whether the server takes a reconstruction for the law of the draft."""
    knob: ClassVar[str | None] = None
    """Field that trades bits for acceptance."""
    weighs_airtime: ClassVar[bool] = False
    """Whether the size depends on how often the context transmits."""
    names_draft: ClassVar[bool] = True
    """Whether the server learns the draft; what need not say it is not bounded by the single-draft floor."""
    count: ClassVar[str | None] = None
    """Name of the number of entries, where it is one for all tokens."""

    @property
    def start(self) -> float:
        """What the rule remembers at the first draft of a text."""
        return 0.0

    def settled(self, tokens: Tokens) -> "Payload":
        """Return the rule of a device that has answered before, as far as a recording tells."""
        return self

    def check_size(self, vocab_size: int) -> None:
        """Refuse more entries than there are tokens."""
        if self.count is not None:
            as_count(self.count, getattr(self, self.count), at_most=vocab_size)

    def sizes(self, contexts: Contexts, system: System, skip: Skip) -> Ints | None:
        """Entries sent in each context, shape [N] [token]; None where no distribution is sent."""
        return None

    def bit(self, size: ArrayLike, codec: Codec, skip: Skip) -> Floats:
        """Bits of a message with so many entries [bit]."""
        return np.zeros(np.shape(size))

    def form(self, codec: Codec, skip: Skip) -> Form | Shorter | None:
        """How the law that a draft is verified with is written; None where nothing is."""
        return None

    def acceptance(self, contexts: Contexts, sizes: Ints) -> Floats | None:
        """Chance to keep a draft in each context; None where it is drawn from x."""
        return None

    def draft_law(self, law: Floats, memory: float = 0.0) -> tuple[Floats, int, float]:
        """Law that a draft is drawn from and verified with, shape [V], entries sent, what is remembered."""
        return law, 0, memory

    def in_bits(self, law: Floats, codec: Codec) -> Floats:
        """Law that a device works with which drafts from what it can send, shape [V] [-]."""
        return law

    def message(self, law: Floats, size: int, draft: int, codec: Codec) -> LatticeLaw:
        """Return what is sent of a law, of which so many entries and this draft."""
        raise NotImplementedError

    def received_law(self, message: LatticeLaw) -> Floats:
        """Law that the server takes for the draft's when a message arrives, shape [V] [-]."""
        return message.kept()

    @property
    def needs_index(self) -> bool:
        """Whether the draft's index must be sent beside its law, which the published formulas leave out."""
        return True

    def named_draft(self, message: LatticeLaw) -> int:
        """Draft that a message names, where no index goes beside it."""
        return int(message.index[0])

    def law_of_draft(self, law: Floats, draft: int) -> Floats:
        """Law that a draft of a run is verified with, drawn from ``law``, shape [V] [-]."""
        return law

    def options(self, tokens: Tokens) -> list[dict[str, float]]:
        """Numbers that an optimum may choose among."""
        return [{}]

    def carried(self, contexts: Contexts, system: System, skip: Skip) -> Carried:
        """Return what is carried in each context."""
        sizes = self.sizes(contexts, system, skip)
        if sizes is None:
            bit = np.broadcast_to(self.bit(0, system.codec, skip), len(contexts))
            kept = self.acceptance(contexts, np.zeros(len(contexts), dtype=np.int64))
            return Carried(bit=np.asarray(bit, dtype=np.float64), acceptance=kept)
        return Carried(
            bit=np.asarray(self.bit(sizes, system.codec, skip), dtype=np.float64),
            size=sizes,
            truncation_tv=contexts.truncation_tv(sizes) if self.truncates else None,
            acceptance=self.acceptance(contexts, sizes),
            acceptance_is_bound=self.bounds_acceptance(contexts, sizes),
        )

    def bounds_acceptance(self, contexts: Contexts, sizes: Ints) -> bool:
        """Whether the chance to keep a draft is, in some context, the least that it can be."""
        return False


@dataclass(frozen=True, slots=True)
class KeptSet(Payload):
    """Send the kept law: how many tokens the device would have kept, index and probability of each."""

    says_which: bool = False
    """Whether it also says which of them was drafted, as each draft of a run must."""

    names_draft: ClassVar[bool] = False

    def sizes(self, contexts: Contexts, system: System, skip: Skip) -> Ints | None:
        """Tokens that may be kept."""
        return contexts.kept_count(skip.highest, system.codec.vocab_size)

    def bit(self, size: ArrayLike, codec: Codec, skip: Skip) -> Floats:
        """Bits of the kept law, and of the place of the draft in it [bit]."""
        count = np.asarray(size, dtype=np.int64)
        most = max(_most_kept(codec, skip), int(np.max(count)))
        law_bit = payload_bit(count, codec.vocab_size, codec.prob_bits, most, index_bits=codec.bits_per_index)
        return law_bit.astype(np.float64) + float(self.says_which) * np.ceil(np.log2(np.maximum(count, 1)))

    def form(self, codec: Codec, skip: Skip) -> Form:
        """Write the kept law, rounded down; the tag is the place of the draft in it."""
        return Form(
            vocab_size=codec.vocab_size,
            levels=2**codec.prob_bits - 1,
            least=0,
            most=_most_kept(codec, skip),
            index_bits=codec.bits_per_index,
            prob_bits=codec.prob_bits,
            tag_bits=None if self.says_which else 0,
        )

    def message(self, law: Floats, size: int, draft: int, codec: Codec) -> LatticeLaw:
        """Send the kept law, which is rounded down, and the place of a kept draft."""
        message = LatticeLaw.of(law, 2**codec.prob_bits - 1)
        place = np.flatnonzero(message.index == draft)
        return replace(message, tag=int(place[0])) if self.says_which and place.size else message

    @property
    def needs_index(self) -> bool:
        """The place is told, or the server need not know."""
        return False

    def named_draft(self, message: LatticeLaw) -> int:
        """Return the token at the place that is told; a kept law without tokens stands for no draft."""
        if not message.index.size:
            return 0
        if message.tag >= message.index.size:
            raise PacketError(f"packet must name a draft among {message.index.size}; got {message.tag}")
        return int(message.index[message.tag])


@dataclass(frozen=True, slots=True)
class Nothing(Payload):
    """Send nothing."""


@dataclass(frozen=True, slots=True)
class Index(Payload):
    """Send the draft's index."""

    def bit(self, size: ArrayLike, codec: Codec, skip: Skip) -> Floats:
        """Bits of an index [bit]."""
        return np.full(np.shape(size), float(codec.bits_per_index))

    def form(self, codec: Codec, skip: Skip) -> Form:
        """Write a law of one token: its only level costs nothing."""
        return Form(vocab_size=codec.vocab_size, levels=1, size=1, index_bits=codec.bits_per_index)

    def message(self, law: Floats, size: int, draft: int, codec: Codec) -> LatticeLaw:
        """Send the draft as a sure token."""
        return LatticeLaw.of(np.eye(1, len(law), draft)[0], 1)

    @property
    def needs_index(self) -> bool:
        """It is part of the message."""
        return False


@dataclass(frozen=True, slots=True)
class IndexAlone(Index):
    """Send the index of each draft of a run: to the server the draft is a sure token, kept with y_d."""

    greedy: bool = False
    """Whether the likeliest token is drafted."""

    def acceptance(self, contexts: Contexts, sizes: Ints) -> Floats | None:
        """y_d of what was drafted, or of the likeliest token."""
        assert isinstance(contexts, Tokens)
        y = contexts.likeliest()[1][:, 0] if self.greedy else contexts.need("llm_prob")
        return np.clip(y, 0.0, 1.0).astype(np.float64)

    def draft_law(self, law: Floats, memory: float = 0.0) -> tuple[Floats, int, float]:
        """Draw from the law, or take the likeliest token."""
        return self.law_of_draft(law, int(np.argmax(law))) if self.greedy else law, 0, memory

    def law_of_draft(self, law: Floats, draft: int) -> Floats:
        """Return all mass on the draft."""
        return np.eye(1, len(law), draft)[0]

    def options(self, tokens: Tokens) -> list[dict[str, float]]:
        """Drafts that are drawn or, where the likeliest token was recorded, taken."""
        return [{"greedy": greedy} for greedy in (False, tokens.candidate_llm_prob is not None)]


@dataclass(frozen=True, slots=True)
class IndexAndProbability(Payload):
    """Send the draft's index and its probability."""

    def bit(self, size: ArrayLike, codec: Codec, skip: Skip) -> Floats:
        """Bits of an entry [bit]."""
        return np.full(np.shape(size), float(codec.bits_per_index + codec.prob_bits))

    def form(self, codec: Codec, skip: Skip) -> Form:
        """Write what the law says of one token."""
        return listed_form(codec, 1)

    def in_bits(self, law: Floats, codec: Codec) -> Floats:
        """Round to the bits of a probability."""
        return truncation.quantise(law, codec.prob_bits)

    def message(self, law: Floats, size: int, draft: int, codec: Codec) -> LatticeLaw:
        """Send what the law says of the draft."""
        return LatticeLaw.of(law, 2**codec.prob_bits - 1).only(draft)

    @property
    def needs_index(self) -> bool:
        """It is part of the message."""
        return False


class _Distribution(Payload):
    """Send entries of the device's law in the chosen codec."""

    __slots__ = ()

    def bit(self, size: ArrayLike, codec: Codec, skip: Skip) -> Floats:
        """Bits of the codec [bit]."""
        return np.asarray(distribution_bit(codec, np.asarray(size)), dtype=np.float64)

    def form(self, codec: Codec, skip: Skip) -> Form | Shorter:
        """Write the entries in the chosen codec; the length tells a size that varies."""
        return distribution_form(codec)

    def in_bits(self, law: Floats, codec: Codec) -> Floats:
        """Round to the bits of a probability."""
        return truncation.quantise(law, codec.prob_bits)

    def message(self, law: Floats, size: int, draft: int, codec: Codec) -> LatticeLaw:
        """Send the largest entries, rounded together with what is left."""
        return round_truncated(law, size, codec.prob_bits)

    def received_law(self, message: LatticeLaw) -> Floats:
        """Return the entries, and what is left spread evenly over the others."""
        return message.law()


@dataclass(frozen=True, slots=True)
class Full(_Distribution):
    """Send the whole distribution."""

    def sizes(self, contexts: Contexts, system: System, skip: Skip) -> Ints | None:
        """V everywhere."""
        return np.full(len(contexts), system.codec.vocab_size)

    def form(self, codec: Codec, skip: Skip) -> Form | Shorter:
        """Write all entries in the chosen codec."""
        return distribution_form(codec, codec.vocab_size)

    def draft_law(self, law: Floats, memory: float = 0.0) -> tuple[Floats, int, float]:
        """Draw from the law itself, all of which is sent."""
        return law, len(law), memory


@dataclass(frozen=True, slots=True)
class Top(_Distribution):
    """Send the k largest entries, one k for all tokens."""

    offline_k: int = 30
    """k [token]; [CU] prints 30. All entries of a smaller vocabulary."""

    count: ClassVar[str | None] = "offline_k"
    truncates: ClassVar[bool] = True

    def __post_init__(self) -> None:
        as_count("offline_k", self.offline_k)

    def sizes(self, contexts: Contexts, system: System, skip: Skip) -> Ints | None:
        """K everywhere."""
        return np.full(len(contexts), min(self.offline_k, system.codec.vocab_size))

    def form(self, codec: Codec, skip: Skip) -> Form | Shorter:
        """Write k entries in the chosen codec."""
        return distribution_form(codec, min(self.offline_k, codec.vocab_size))


@dataclass(frozen=True, slots=True)
class Exact(_Distribution):
    """Send the fewest entries with TV_k within the budget, or, with a price, those of the least cost."""

    truncation_budget: float = 0.02
    """theta: keep the least k with TV_k <= theta [-]."""
    truncation_price_s: float | None = None
    """With it, keep the k of least P_tx tau_up(k) + price * TV_k instead, P_tx the chance to transmit [s]."""

    truncates: ClassVar[bool] = True

    @property
    def weighs_airtime(self) -> bool:  # type: ignore[override]
        """Where sizes are chosen by a price."""
        return self.truncation_price_s is not None

    def __post_init__(self) -> None:
        as_probability("truncation_budget", self.truncation_budget)
        if self.truncation_price_s is not None:
            as_nonnegative("truncation_price_s", self.truncation_price_s)

    def sizes(self, contexts: Contexts, system: System, skip: Skip) -> Ints | None:
        """By the exact rule."""
        if self.truncation_price_s is None:
            return contexts.smallest_k(self.truncation_budget)
        grid, profile = contexts.size_profile()
        air_s = packet_latency_s(system.link, self.bit(grid, system.codec, skip))
        chance = contexts.transmit_chance(skip.base)[:, None]
        sent_s = np.multiply(chance, air_s, out=np.zeros(profile.shape), where=chance > 0.0)
        return grid[np.argmin(sent_s + self.truncation_price_s * profile, axis=1)]


@dataclass(frozen=True, slots=True)
class PrintedOnline(_Distribution):
    """Send the fewest entries within the budget of the printed rule."""

    truncation_budget: float = 0.02
    """theta of U(k) <= theta [-]."""
    line: Line | None = None
    """The rejection line that the rule takes beta(u) from."""

    depends_on_draft: ClassVar[bool] = True
    truncates: ClassVar[bool] = True

    def __post_init__(self) -> None:
        as_probability("truncation_budget", self.truncation_budget)

    def sizes(self, contexts: Contexts, system: System, skip: Skip) -> Ints | None:
        """By the printed rule."""
        if self.line is None:
            raise MissingInputError("the printed truncation rule needs a rejection line; give --calibration")
        return contexts.smallest_printed_k(self.truncation_budget, self.line)


@dataclass(frozen=True, slots=True)
class Candidates(Payload):
    """Draft from the renormalised k largest entries and send their probabilities."""

    num_candidates: int = 30
    """Entries kept [token] (assumed); all entries of a smaller vocabulary."""
    candidate_bits: int = 16
    """Bits a probability [bit]."""
    with_indices: bool = False
    """Whether the indices are charged as well."""

    count: ClassVar[str | None] = "num_candidates"
    knob: ClassVar[str | None] = "num_candidates"

    def __post_init__(self) -> None:
        as_count("num_candidates", self.num_candidates)
        as_count("candidate_bits", self.candidate_bits)

    def sizes(self, contexts: Contexts, system: System, skip: Skip) -> Ints | None:
        """K everywhere."""
        return np.full(len(contexts), min(self.num_candidates, system.codec.vocab_size))

    def bit(self, size: ArrayLike, codec: Codec, skip: Skip) -> Floats:
        """Bits of so many probabilities [bit]."""
        entry = self.candidate_bits + (codec.bits_per_index if self.with_indices else 0)
        return np.asarray(size, dtype=np.float64) * entry

    def form(self, codec: Codec, skip: Skip) -> Form:
        """Write K entries with their indices, whether or not `bit` charges them: no server can do without."""
        size = min(self.num_candidates, codec.vocab_size)
        return listed_form(replace(codec, prob_bits=self.candidate_bits), size)

    def acceptance(self, contexts: Contexts, sizes: Ints) -> Floats | None:
        """1 - TV(x-tilde_k, y)."""
        return contexts.acceptance_within(sizes)

    def options(self, tokens: Tokens) -> list[dict[str, float]]:
        """Sizes whose acceptance was recorded."""
        return [{"num_candidates": int(size)} for size in tokens.need("coarse_k_grid")]

    def message(self, law: Floats, size: int, draft: int, codec: Codec) -> LatticeLaw:
        """Send the law, which is rounded."""
        return LatticeLaw.of(law, 2**self.candidate_bits - 1)

    def draft_law(self, law: Floats, memory: float = 0.0) -> tuple[Floats, int, float]:
        """Drop the tail and round to the bits of a probability."""
        size = min(self.num_candidates, len(law))
        return truncation.quantise(truncation.drop_tail(law, size), self.candidate_bits), size, memory


@dataclass(frozen=True, slots=True)
class Lattice(Payload):
    """Draft from the k largest entries in multiples of 1/levels and send the lattice point."""

    num_candidates: int = 16
    """K, entries kept [token] (assumed; as many as a recording holds); all of a smaller vocabulary."""
    lattice_levels: int = 100
    """l: probabilities are multiples of 1/l [-] (assumed)."""

    count: ClassVar[str | None] = "num_candidates"
    knob: ClassVar[str | None] = "num_candidates"

    def __post_init__(self) -> None:
        as_count("num_candidates", self.num_candidates)
        as_count("lattice_levels", self.lattice_levels)

    def sizes(self, contexts: Contexts, system: System, skip: Skip) -> Ints | None:
        """K everywhere."""
        return np.full(len(contexts), min(self.num_candidates, system.codec.vocab_size))

    def bit(self, size: ArrayLike, codec: Codec, skip: Skip) -> Floats:
        """Bits of the lattice point [bit]."""
        return _each(size, lambda k: lattice_bit(k, self.lattice_levels, codec.vocab_size))

    def form(self, codec: Codec, skip: Skip) -> Form:
        """Write the lattice point of K entries by gaps."""
        size = min(self.num_candidates, codec.vocab_size)
        return Form(vocab_size=codec.vocab_size, levels=self.lattice_levels, size=size)

    def acceptance(self, contexts: Contexts, sizes: Ints) -> Floats | None:
        """1 - TV of the lattice point and y."""
        return _lattice_acceptance(contexts, sizes, self)

    def bounds_acceptance(self, contexts: Contexts, sizes: Ints) -> bool:
        """Where more entries are rounded than are known one by one."""
        return not contexts.knows_largest(sizes)

    def options(self, tokens: Tokens) -> list[dict[str, float]]:
        """Sizes whose acceptance was recorded, and levels."""
        sizes = tokens.need("coarse_k_grid")
        return [{"num_candidates": int(size), "lattice_levels": level} for size in sizes for level in _LEVELS]

    def message(self, law: Floats, size: int, draft: int, codec: Codec) -> LatticeLaw:
        """Send the lattice point."""
        return LatticeLaw.of(law, self.lattice_levels)

    def draft_law(self, law: Floats, memory: float = 0.0) -> tuple[Floats, int, float]:
        """Drop the tail and round."""
        size = min(self.num_candidates, len(law))
        return round_to_lattice(truncation.drop_tail(law, size), self.lattice_levels), size, memory


@dataclass(frozen=True, slots=True)
class ConformalLattice(Payload):
    """Draft from the entries above a threshold that follows the mass it dropped, on a lattice."""

    lattice_levels: int = 100
    """l: probabilities are multiples of 1/l [-] (assumed)."""
    conformal_target: float = 0.05
    """alpha: mass that may be dropped in the long run [-] (assumed)."""
    conformal_step: float = 0.005
    """eta: step of the threshold [-] (assumed)."""
    conformal_start: float | None = None
    """beta_1: threshold that an answer begins with [-]; None carries it over from answer to answer, and an
    answer of its own begins with 0.01 (assumed), or, with a recording, where the threshold settles."""

    def __post_init__(self) -> None:
        as_count("lattice_levels", self.lattice_levels)
        as_probability("conformal_target", self.conformal_target)
        as_positive("conformal_step", self.conformal_step)
        as_probability("conformal_start", self.start)

    def next_threshold(self, threshold: float, dropped: float) -> float:
        r"""Move the threshold by what was dropped.

        .. math:: \beta_{n+1} = \beta_n - \eta (\mathrm{dropped}_n - \alpha)      \qquad \text{[SQS], printed}
        """
        return threshold - self.conformal_step * (dropped - self.conformal_target)

    def sizes(self, contexts: Contexts, system: System, skip: Skip) -> Ints | None:
        """Entries above the threshold, token after token."""
        assert isinstance(contexts, Tokens)
        return conformal_sizes(contexts, self)

    def bit(self, size: ArrayLike, codec: Codec, skip: Skip) -> Floats:
        """Bits of the lattice point and of its size [bit]."""
        return _each(size, lambda k: lattice_bit(k, self.lattice_levels, codec.vocab_size, send_size=True))

    def form(self, codec: Codec, skip: Skip) -> Form:
        """Write the size, and the lattice point by gaps."""
        return Form(vocab_size=codec.vocab_size, levels=self.lattice_levels, most=codec.vocab_size)

    def acceptance(self, contexts: Contexts, sizes: Ints) -> Floats | None:
        """1 - TV of the lattice point and y."""
        return _lattice_acceptance(contexts, sizes, self)

    def bounds_acceptance(self, contexts: Contexts, sizes: Ints) -> bool:
        """Where more entries are rounded than are known one by one."""
        return not contexts.knows_largest(sizes)

    def options(self, tokens: Tokens) -> list[dict[str, float]]:
        """Targets and levels."""
        return [
            {"conformal_target": target, "lattice_levels": level} for target in _TARGETS for level in _LEVELS
        ]

    @property
    def start(self) -> float:
        """The first threshold."""
        return _FIRST_THRESHOLD if self.conformal_start is None else self.conformal_start

    def settled(self, tokens: Tokens) -> "ConformalLattice":
        """Begin each answer with the mean threshold of the later half of the recorded texts."""
        if self.conformal_start is not None:
            return self
        thresholds = _walked(tokens, self)[1]
        return replace(self, conformal_start=float(np.clip(thresholds[len(tokens) // 2 :].mean(), 0.0, 1.0)))

    def message(self, law: Floats, size: int, draft: int, codec: Codec) -> LatticeLaw:
        """Send the lattice point."""
        return LatticeLaw.of(law, self.lattice_levels)

    def draft_law(self, law: Floats, memory: float = 0.0) -> tuple[Floats, int, float]:
        """Keep what lies above the threshold that is remembered, and move it."""
        kept, size, dropped = self.above(law, memory)
        return kept, size, self.next_threshold(memory, dropped)

    def above(self, law: Floats, threshold: float) -> tuple[Floats, int, float]:
        """Law of the entries above a threshold on the lattice, how many they are, and the mass dropped."""
        size = max(int(np.count_nonzero(law >= threshold)), 1)
        kept = truncation.drop_tail(law, size)
        dropped = 1.0 - float(law[kept > 0.0].sum())
        return round_to_lattice(kept, self.lattice_levels), size, dropped


@dataclass(frozen=True, slots=True)
class DenseLattice(Payload):
    """Draft from the whole law in multiples of 1/levels and send the lattice point, and a number."""

    lattice_levels: int = 100
    """l: probabilities are multiples of 1/l [-]."""
    number_bits: int = 16
    """Bits of the number that goes with a draft [bit]."""

    def __post_init__(self) -> None:
        as_count("lattice_levels", self.lattice_levels)
        as_count("number_bits", self.number_bits, at_least=0)

    def sizes(self, contexts: Contexts, system: System, skip: Skip) -> Ints | None:
        """V everywhere."""
        return np.full(len(contexts), system.codec.vocab_size)

    def bit(self, size: ArrayLike, codec: Codec, skip: Skip) -> Floats:
        """Bits of the lattice point and of the number [bit]."""
        point = lattice_bit(codec.vocab_size, self.lattice_levels, codec.vocab_size)
        return np.full(np.shape(size), float(point + self.number_bits))

    def form(self, codec: Codec, skip: Skip) -> Form:
        """Write the lattice point of all entries by gaps; the tag is the number."""
        vocab = codec.vocab_size
        return Form(vocab_size=vocab, levels=self.lattice_levels, size=vocab, tag_bits=self.number_bits)

    def acceptance(self, contexts: Contexts, sizes: Ints) -> Floats | None:
        """At least 1 - TV(x, y) less what dropping a tail and rounding the rest would move."""
        assert isinstance(contexts, Tokens)
        kept = np.asarray(contexts.need("k_grid"), dtype=np.float64)
        moved = contexts.need("tail_mass") + kept / (4.0 * self.lattice_levels)
        return np.clip(1.0 - contexts.mean_rejection() - moved.min(axis=1), 0.0, 1.0)

    def bounds_acceptance(self, contexts: Contexts, sizes: Ints) -> bool:
        """Everywhere."""
        return True

    def options(self, tokens: Tokens) -> list[dict[str, float]]:
        """Levels."""
        return [{"lattice_levels": level} for level in _LEVELS]

    def message(self, law: Floats, size: int, draft: int, codec: Codec) -> LatticeLaw:
        """Send the lattice point; the number is the first level of the draft, the levels in token order."""
        point = LatticeLaw.of(law, self.lattice_levels)
        return point if self.needs_index else replace(point, tag=int(point.count[point.index < draft].sum()))

    @property
    def needs_index(self) -> bool:
        """Where the number has too few bits to tell the levels apart."""
        return self.lattice_levels > 2**self.number_bits

    def named_draft(self, message: LatticeLaw) -> int:
        """Return the token whose level the number is."""
        place = int(np.searchsorted(np.cumsum(message.count), message.tag, side="right"))
        if place == message.index.size:
            raise PacketError(f"packet must have a number below {self.lattice_levels}; got {message.tag}")
        return int(message.index[place])

    def draft_law(self, law: Floats, memory: float = 0.0) -> tuple[Floats, int, float]:
        """Round the law."""
        return round_to_lattice(law, self.lattice_levels), len(law), memory


def _most_kept(codec: Codec, skip: Skip) -> int:
    """Most tokens that both sides know a kept law to name [token]."""
    return int(most_kept_tokens(min(max(skip.highest, 0.0), 1.0), codec.vocab_size))


def _each(size: ArrayLike, bits_of: Callable[[int], int]) -> Floats:
    """Bits of every size, each computed once."""
    distinct, place = np.unique(np.asarray(size, dtype=np.int64), return_inverse=True)
    return np.array([float(bits_of(int(k))) for k in distinct])[place].reshape(np.shape(size))


def _lattice_acceptance(contexts: Contexts, sizes: Ints, rule: "Lattice | ConformalLattice") -> Floats:
    """Chance to keep a draft of the lattice point; the least that it can be where not all of it is known."""
    levels = rule.lattice_levels

    def find() -> Floats:
        found = contexts.rounded_acceptance(sizes, lambda law: round_to_lattice(law, levels))
        unknown = np.isnan(found)
        if not unknown.any():
            return found
        loss = sizes / (4.0 * levels)  # TV of rounding K probabilities to a lattice is at most this
        return np.where(unknown, np.clip(contexts.acceptance_within(sizes) - loss, 0.0, 1.0), found)

    if not isinstance(contexts, Tokens):
        return find()
    return contexts.once("lattice_acceptance", find, (rule, int(sizes.max())))


def round_to_lattice(law: Floats, levels: int) -> Floats:
    """Nearest laws whose probabilities are multiples of 1/levels, by largest remainders, shape [..., V].

    >>> round_to_lattice(np.array([0.5, 0.3, 0.2]), 4)
    array([0.5 , 0.25, 0.25])
    """
    support = np.flatnonzero(np.any(np.atleast_2d(law) > 0.0, axis=0))  # few of a vocabulary
    scaled = law[..., support] * levels
    whole = np.floor(scaled)
    missing = levels - np.round(whole.sum(axis=-1, keepdims=True))
    rank = np.argsort(np.argsort(whole - scaled, axis=-1, kind="stable"), axis=-1)
    rounded = np.zeros_like(law)
    rounded[..., support] = (whole + (rank < missing)) / levels
    return rounded


def conformal_sizes(tokens: Tokens, rule: ConformalLattice) -> Ints:
    r"""Return the entries that C-SQS keeps, token by token.

    .. math:: \text{keep } \{i : x_i \ge \beta_n\}      \qquad \text{[SQS], printed}

    The threshold follows the text that is committed: drafts that a rejection undoes do not move it. Sizes are
    exact where the candidates of a context end below the threshold; between two recorded sizes beyond them
    the larger one is taken.

    Derivation: ``derivations.schemes.conformal_dropped_mass``.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens with ``sorted_prob`` and ``tail_mass``, and their texts where a text begins anew.
    rule : ConformalLattice
        Start, step and target of the threshold.

    Returns
    -------
    ndarray of int64, shape [N]
        Sizes [token].

    Raises
    ------
    MissingInputError
        If the tokens have no such profiles.

    References
    ----------
    .. [SQS] arXiv:2510.09942.

    Examples
    --------
    See `cuhlm_theory.schemes`.
    """
    return _walked(tokens, rule)[0]


def _walked(tokens: Tokens, rule: ConformalLattice) -> tuple[Ints, Floats]:
    """Sizes and thresholds of C-SQS along the recorded texts, shape [N]."""
    return tokens.once("conformal", lambda: _walk(tokens, rule), rule)


def _walk(tokens: Tokens, rule: ConformalLattice) -> tuple[Ints, Floats]:
    """Move the threshold from token to token."""
    sizes, prob, tail = _ranked(tokens)
    ascending = np.ascontiguousarray(prob[:, ::-1])
    exact = np.append(np.diff(sizes) == 1, True)  # no size lies between this one and the next
    place, thresholds = np.empty(len(tokens), dtype=np.int64), np.empty(len(tokens))
    anew = np.zeros(len(tokens), dtype=bool)
    if rule.conformal_start is not None and tokens.prompt is not None:
        anew[1:] = np.diff(tokens.prompt) != 0
    threshold = rule.start
    for n in range(len(tokens)):
        thresholds[n] = threshold = rule.start if anew[n] else threshold
        fits = len(sizes) - int(ascending[n].searchsorted(threshold))  # known x_(k) >= threshold
        place[n] = fits - 1 if fits > 0 and exact[fits - 1] else fits
        threshold = rule.next_threshold(threshold, float(tail[n, place[n]]))
    return sizes[place], thresholds


def _ranked(tokens: Tokens) -> tuple[Ints, Floats, Floats]:
    """Known sizes, shape [S], and of each context x_(k) and the mass beyond it, shape [N, S]."""
    prob, tail, sizes = (tokens.need(name) for name in ("sorted_prob", "tail_mass", "k_grid"))
    if tokens.candidate_prob is None:
        return sizes.astype(np.int64), prob.astype(np.float64), tail.astype(np.float64)
    x, _ = tokens.likeliest()
    beyond = sizes > x.shape[1]
    within = np.arange(1, min(x.shape[1], int(sizes[-1])) + 1)
    x = x[:, : len(within)]
    return (
        np.concatenate((within, sizes[beyond])).astype(np.int64),
        np.concatenate((x, prob[:, beyond]), axis=1).astype(np.float64),
        np.concatenate((np.clip(1.0 - np.cumsum(x, axis=1), 0.0, 1.0), tail[:, beyond]), axis=1),
    )


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
    vocab_size = int(as_count("vocab_size", vocab_size, at_least=2))
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
