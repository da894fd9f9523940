"""Verification rules: who decides with which law, what the answer carries, and what bias that leaves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cuhlm_theory import kept_law, verification
from cuhlm_theory._checks import Floats, as_floats, as_positive, as_probability
from cuhlm_theory._laws import entropy_nat, excess_law
from cuhlm_theory.contexts import Contexts, Skips, Tokens
from cuhlm_theory.parameters import Codec
from cuhlm_theory.payload import dense_bit
from cuhlm_theory.schemes.payload import Carried, Payload
from cuhlm_theory.schemes.skip import Skip

_LENIENCES = (1.0, 0.9, 0.7, 0.5, 0.3, 0.1, 0.001)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Account:
    """The bias of each context, shape [N], and how it is known."""

    bias: Floats
    """Total variation from the LLM's law, or a bound on it [-]; NaN where it is not known."""
    risk: Floats
    """Part that skipping causes [-]."""
    truncation: Floats
    """Part that truncation causes, as bounded [-]."""
    is_bound: bool = False
    """Whether the bias is an upper bound."""
    note: str = ""
    """Empty, or why the bias is not exact."""
    acceptance_is_bound: bool = False
    """Whether `Verification.of_drafts` gives, for some draft, the least that it can be."""


def _exact(contexts: Contexts) -> Account:
    """Account of a rule whose output is the LLM's own."""
    zero = np.zeros(len(contexts))
    return Account(bias=zero, risk=zero, truncation=zero)


class Verification:
    """A rule; the base keeps a draft by speculative sampling with the law it received."""

    __slots__ = ()

    asks: ClassVar[bool] = True
    """Whether a server takes part."""
    looks_at_draft: ClassVar[bool] = True
    """Whether the server may keep the draft that it is asked about."""
    verifies_trigger: ClassVar[bool] = True
    """Whether the draft that ends a run by its trigger is verified like the others."""
    on_server: ClassVar[bool] = False
    """Whether the server drafts as well: no device asks, and every token that is committed comes down."""
    on_device: ClassVar[bool] = False
    """Whether the device replaces the draft that is not kept, with what the server sends of its law."""
    exact: ClassVar[bool] = True
    """Whether several drafts leave the LLM's own law."""
    knob: ClassVar[str | None] = None
    """Field that trades bias for acceptance."""
    by_block: ClassVar[bool] = False
    """Whether a run is verified as one, so that a draft may make up for those before it."""

    def account(
        self, contexts: Contexts, skip: Skip, skips: Skips, payload: Payload, carried: Carried
    ) -> Account:
        """Bias of each context."""
        zero = np.zeros(len(contexts))
        if carried.truncation_tv is None:
            return Account(bias=skips.risk, risk=skips.risk, truncation=zero)
        lost = skips.truncates * carried.truncation_tv
        if np.isnan(contexts.weight @ lost):
            note = "truncation bias unknown: the tokens have no tv_profile"
            return Account(bias=lost, risk=skips.risk, truncation=zero, is_bound=True, note=note)
        total = skips.risk + lost
        if payload.depends_on_draft:
            note = "estimate: k depends on the draft, which the truncation bound does not cover"
            return Account(bias=total, risk=skips.risk, truncation=lost, note=note)
        truncated = bool(np.any(contexts.weight * lost > 0.0))
        note = "risk plus truncation bound" if truncated else ""
        return Account(bias=total, risk=skips.risk, truncation=lost, is_bound=truncated, note=note)

    def answer_bit(self, codec: Codec, *, bonus: bool, proposals: float = 1.0) -> tuple[float, float]:
        """Bits down where every draft is kept, and where one is not [bit].

        ``proposals`` is how many tokens the device refuses or takes before it has what replaces a draft, on
        average: as many as drafts are verified for each that is rejected.
        """
        index = float(codec.bits_per_index)
        return index, index

    def options(self) -> list[dict[str, float]]:
        """Numbers that an optimum may choose among, the strictest first, the most lenient last."""
        return [{}]

    def of_drafts(self, tokens: Tokens, acceptance: Floats) -> Floats:
        """Chance to keep each recorded draft, whose acceptance by x and y is given, shape [N] [-]."""
        return acceptance

    def run(self, ends: Floats, acceptance: Floats, rejection: Floats) -> tuple[Floats, Floats, Floats]:
        """Chance that a run ends with each draft, and that it is kept if the run goes on, and if it ends."""
        return ends, acceptance, acceptance

    def acceptance(self, sent: Floats, llm_law: Floats) -> Floats:
        """Chance to keep each draft that the server is asked about, shape [V] [-]."""
        return 1.0 - verification.rejection_probability(np.minimum(sent, 1.0), np.minimum(llm_law, 1.0))

    def replacement(self, sent: Floats, llm_law: Floats) -> Floats:
        """Law of the token that replaces a draft that is not kept, shape [V] [-]."""
        return verification.residual(sent, llm_law)

    def verified_law(self, sent: Floats, llm_law: Floats) -> Floats:
        """Law of the token that follows when a draft of a run is verified, shape [V] [-]."""
        return verification.output_law(sent, llm_law)

    def rejections(self, sent: Sequence[Floats], drafts: Sequence[int], llm_laws: Sequence[Floats]) -> Floats:
        """Chance that each draft of a run is not kept, where those before it are, shape [K] [-]."""
        places = zip(sent, drafts, llm_laws, strict=False)
        return np.array([1.0 - self.acceptance(law, y)[draft] for law, draft, y in places])

    def rest(
        self, sent: Sequence[Floats], drafts: Sequence[int], llm_laws: Sequence[Floats], kept: int
    ) -> Floats:
        """Law of the token that replaces the draft after so many that are kept, shape [V] [-]."""
        return self.replacement(sent[kept], llm_laws[kept])


@dataclass(frozen=True, slots=True)
class NoServer(Verification):
    """The device keeps every draft."""

    asks: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class LlmAlone(Verification):
    """The server draws every token from its own law; there is no draft."""

    looks_at_draft: ClassVar[bool] = False

    def account(
        self, contexts: Contexts, skip: Skip, skips: Skips, payload: Payload, carried: Carried
    ) -> Account:
        """No bias."""
        return _exact(contexts)


@dataclass(frozen=True, slots=True)
class ServerDraws(Verification):
    """The server draws from its own law whenever it is asked."""

    looks_at_draft: ClassVar[bool] = False

    def account(
        self, contexts: Contexts, skip: Skip, skips: Skips, payload: Payload, carried: Carried
    ) -> Account:
        """Return the recorded bias of the mixture of kept drafts and the server's own tokens."""
        zero = np.zeros(len(contexts))
        bias = skip.mixture(contexts.server_bias_at, lambda low, high, mix: (1.0 - mix) * low + mix * high)
        return Account(
            bias=bias,
            risk=skips.risk,
            truncation=zero,
            is_bound=skip.randomised and not np.isnan(contexts.weight @ bias),
            note="server draws from its own law: exact only where the skip rule ignores the draft",
        )

    def acceptance(self, sent: Floats, llm_law: Floats) -> Floats:
        """Never: the draft is not looked at."""
        return np.zeros(len(llm_law))

    def replacement(self, sent: Floats, llm_law: Floats) -> Floats:
        """Return the server's own law."""
        return llm_law


@dataclass(frozen=True, slots=True)
class ReceivedLaw(Verification):
    """The server keeps or resamples one draft with the law that it received."""


@dataclass(frozen=True, slots=True)
class Prefix(Verification):
    """The server keeps drafts up to the first rejection and replaces that one: the LLM's own law."""

    def account(
        self, contexts: Contexts, skip: Skip, skips: Skips, payload: Payload, carried: Carried
    ) -> Account:
        """No bias."""
        return _exact(contexts)


@dataclass(frozen=True, slots=True)
class PrefixOnDevice(Prefix):
    """As `Prefix`, but the server knows only the drafts' own probabilities, and the device replaces.

    The law is the LLM's as far as the bits that come down tell it apart, which the rivals' papers neglect: a
    law in b bits has its largest entries alone.
    """

    on_device: ClassVar[bool] = True

    def answer_bit(self, codec: Codec, *, bonus: bool, proposals: float = 1.0) -> tuple[float, float]:
        """Send a bonus token or a yes; after a rejection one dense distribution."""
        kept = float(codec.bits_per_index) if bonus else 1.0
        return kept, float(dense_bit(codec.vocab_size, codec.prob_bits))


@dataclass(frozen=True, slots=True)
class PrefixOnServer(Prefix):
    """As `Prefix` with both models at the server, the small one as fast as on the device (assumed)."""

    on_server: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class DrawsRest(Verification):
    """The server is sent the kept law m and draws from what the LLM's law has beyond it, (y - m)_+."""

    looks_at_draft: ClassVar[bool] = False

    def account(
        self, contexts: Contexts, skip: Skip, skips: Skips, payload: Payload, carried: Carried
    ) -> Account:
        """Return what is kept beyond the LLM's law: the least bias that a device which keeps m can have."""
        zero = np.zeros(len(contexts))
        note = "two thresholds are mixed, and only that is charged" if skips.excess_is_bound else ""
        return Account(
            bias=skips.excess, risk=skips.excess, truncation=zero, is_bound=skips.excess_is_bound, note=note
        )

    def acceptance(self, sent: Floats, llm_law: Floats) -> Floats:
        """Never: the draft is not looked at."""
        return np.zeros(len(llm_law))

    def replacement(self, sent: Floats, llm_law: Floats) -> Floats:
        """Return the rest of the LLM's law."""
        return kept_law.answer_law(sent, llm_law)


@dataclass(frozen=True, slots=True)
class PrefixDrawsRest(Prefix):
    """As `Prefix` with the kept law of every place: one token index comes down, and the law is the LLM's."""

    verifies_trigger: ClassVar[bool] = False

    def verified_law(self, sent: Floats, llm_law: Floats) -> Floats:
        """Return the law of a kept draft that is verified, or of the rest."""
        return kept_law.several_drafts_law(sent, llm_law)

    def run(self, ends: Floats, acceptance: Floats, rejection: Floats) -> tuple[Floats, Floats, Floats]:
        r"""Keep a draft with :math:`\min(1, y_d / m_d)`; the draft that the device refuses is not looked at.

        ``ends`` is what the device refuses, 1 - s. Whether a draft is kept when x verifies it may have been
        recorded: its refusal and its loss follow, and average to :math:`1 - s` and :math:`(s - y_d/x_d)_+`.
        """
        share, ratio = 1.0 - ends, 1.0 - rejection  # s and min(1, y/x)
        goes_on = np.divide(np.minimum(share, ratio), ratio, out=np.zeros_like(ratio), where=ratio > 0.0)
        refusal = 1.0 - ratio  # as rounded, so that a draft which is kept for sure ends no run
        lost = np.divide(
            np.maximum(share - ratio, 0.0), refusal, out=np.zeros_like(ratio), where=refusal > 0.0
        )
        refused = acceptance * (1.0 - goes_on) + (1.0 - acceptance) * (1.0 - lost)
        drafted = 1.0 - refused
        kept = np.divide(acceptance * goes_on, drafted, out=np.zeros_like(ratio), where=drafted > 0.0)
        return np.clip(refused, 0.0, 1.0), np.clip(kept, 0.0, 1.0), np.zeros_like(ratio)

    def replacement(self, sent: Floats, llm_law: Floats) -> Floats:
        """Return the rest of the LLM's law."""
        return kept_law.answer_law(sent, llm_law)


@dataclass(frozen=True, slots=True)
class Proposes(PrefixOnDevice):
    """As `PrefixOnDevice`, but the device is sent tokens of the LLM until it takes one.

    That is one a verified draft on average, for every pair (`derivations.rivals.one_proposal_a_token`). They
    are streamed until one is taken, without a round trip of their own.
    """

    def answer_bit(self, codec: Codec, *, bonus: bool, proposals: float = 1.0) -> tuple[float, float]:
        """Send a bonus token or a yes; after a rejection index and probability of each proposal."""
        kept = float(codec.bits_per_index) if bonus else 1.0
        return kept, proposals * (codec.bits_per_index + codec.prob_bits)


@dataclass(frozen=True, slots=True)
class Block(Prefix):
    """The server verifies the run as one: never fewer drafts kept than one by one, and the LLM's own law."""

    by_block: ClassVar[bool] = True

    def of_drafts(self, tokens: Tokens, acceptance: Floats) -> Floats:
        """Return y_d / x_d itself, since a likely draft makes up for an unlikely one before it."""
        prob = tokens.need("draft_prob")
        return np.divide(tokens.need("llm_prob"), prob, out=np.ones(len(tokens)), where=prob > 0.0)

    def rejections(self, sent: Sequence[Floats], drafts: Sequence[int], llm_laws: Sequence[Floats]) -> Floats:
        """Draft j ends the block with D/(D + 1 - p) unless a later one does; as chances one after another."""
        stands = self._stands(sent, drafts, llm_laws)
        takes = [stands[-1]]
        for x, y, p in zip(sent[:0:-1], llm_laws[len(drafts) - 1 : 0 : -1], stands[-2:0:-1], strict=True):
            excess = float(np.maximum(p * y - x, 0.0).sum())
            takes.append(excess / (excess + 1.0 - p) if excess > 0.0 else 0.0)
        length = 1.0 - np.cumprod(1.0 - np.array(takes))[::-1]  # at least 1, 2, ... drafts are kept
        before = np.append(1.0, length[:-1])
        return 1.0 - np.divide(length, before, out=np.zeros(len(length)), where=before > 0.0)

    def rest(
        self, sent: Sequence[Floats], drafts: Sequence[int], llm_laws: Sequence[Floats], kept: int
    ) -> Floats:
        """Return the residual of the block, (p y - x)_+ as a law."""
        stands = self._stands(sent, drafts, llm_laws)[kept]
        return excess_law(stands * llm_laws[kept], sent[kept])

    @staticmethod
    def _stands(sent: Sequence[Floats], drafts: Sequence[int], llm_laws: Sequence[Floats]) -> list[float]:
        """p_0 = 1 and p_j = min(1, p_(j-1) y_d / x_d) along the drafts."""
        stands = [1.0]
        for x, draft, y in zip(sent, drafts, llm_laws, strict=False):
            stands.append(min(1.0, stands[-1] * float(y[draft] / x[draft])))
        return stands


@dataclass(frozen=True, slots=True)
class Lossy(Prefix):
    """Keep draft d with a chance a_d of one's own; what replaces it is drawn from (y - x a)_+.

    That leaves the least bias of any replacement: the mean of (a - y_d/x_d)_+, at least what the acceptance
    has gained.
    """

    exact: ClassVar[bool] = False

    def chances(self, tokens: Tokens) -> tuple[Floats, Floats]:
        """Least and largest chance to keep each recorded draft, shape [N] [-]; equal where it is known."""
        raise NotImplementedError

    def of_drafts(self, tokens: Tokens, acceptance: Floats) -> Floats:
        """Return the least chance to keep each draft."""
        return self.chances(tokens)[0]

    def account(
        self, contexts: Contexts, skip: Skip, skips: Skips, payload: Payload, carried: Carried
    ) -> Account:
        """Return the mass that is kept beyond the LLM's, by the largest chance to keep."""
        assert isinstance(contexts, Tokens)
        least, largest = self.chances(contexts)
        bias = np.maximum(largest - (1.0 - contexts.rejection), 0.0)
        open_ = bool(np.any(least < largest))
        note = (
            "an entropy or a maximum of the LLM's law is bounded by its recorded candidates" if open_ else ""
        )
        zero = np.zeros(len(contexts))
        return Account(
            bias=bias, risk=bias, truncation=zero, is_bound=open_, note=note, acceptance_is_bound=open_
        )

    def replacement(self, sent: Floats, llm_law: Floats) -> Floats:
        """Return the rest of the LLM's law."""
        return kept_law.answer_law(sent * self.acceptance(sent, llm_law), llm_law)

    def verified_law(self, sent: Floats, llm_law: Floats) -> Floats:
        """Return what is kept, and the rest."""
        return kept_law.output_law(sent * self.acceptance(sent, llm_law), llm_law)


@dataclass(frozen=True, slots=True)
class Lenient(Lossy, PrefixOnDevice):
    """Keep a draft with min(1, y / (lambda x)): no token more than 1/lambda times too often."""

    lenience: float = 1.0
    """lambda, above 0 [-]; 1 is verification itself."""

    knob: ClassVar[str | None] = "lenience"

    def __post_init__(self) -> None:
        as_positive("lenience", as_probability("lenience", self.lenience))

    def chances(self, tokens: Tokens) -> tuple[Floats, Floats]:
        """Known for every draft."""
        chance = np.minimum((1.0 - tokens.rejection) / self.lenience, 1.0)
        return chance, chance

    def acceptance(self, sent: Floats, llm_law: Floats) -> Floats:
        """Chance to keep each draft, shape [V] [-]."""
        return 1.0 - verification.rejection_probability(
            np.minimum(self.lenience * sent, 1.0), np.minimum(llm_law, 1.0)
        )

    def options(self) -> list[dict[str, float]]:
        """Lenience."""
        return [{"lenience": value} for value in _LENIENCES]


@dataclass(frozen=True, slots=True)
class Typical(Lossy, PrefixOnDevice):
    """Keep a draft that the LLM gives at least min(eps, sqrt(eps) exp(-H(y))), and no other."""

    typical_threshold: float = 0.09
    """eps [-]."""

    knob: ClassVar[str | None] = "typical_threshold"

    def __post_init__(self) -> None:
        as_probability("typical_threshold", self.typical_threshold)

    def _least_prob(self, entropy: Floats | float) -> Floats:
        eps = self.typical_threshold
        return np.minimum(eps, np.sqrt(eps) * np.exp(-np.asarray(entropy)))

    def chances(self, tokens: Tokens) -> tuple[Floats, Floats]:
        """Whether each draft is kept, where the entropy of y decides."""
        prob, (low, high) = tokens.need("llm_prob"), tokens.llm_entropy()
        least, largest = ((prob >= self._least_prob(h)).astype(np.float64) for h in (low, high))
        return least, largest

    def acceptance(self, sent: Floats, llm_law: Floats) -> Floats:
        """Whether each draft is kept, shape [V]."""
        return (llm_law >= self._least_prob(entropy_nat(llm_law))).astype(np.float64)

    def options(self) -> list[dict[str, float]]:
        """Thresholds."""
        return [{"typical_threshold": value} for value in _LENIENCES]


@dataclass(frozen=True, slots=True)
class Cascade(Lossy):
    """Keep every draft where the device is as sure as the LLM, up to a price on TV; verify elsewhere."""

    deferral_price: float = 0.0
    """alpha: the device is trusted where max x >= max y - alpha TV(x, y) [-]; from 1 on it always is, and
    below -1 only where the two laws are the same."""

    knob: ClassVar[str | None] = "deferral_price"

    def __post_init__(self) -> None:
        as_floats("deferral_price", self.deferral_price)

    def chances(self, tokens: Tokens) -> tuple[Floats, Floats]:
        """One where the device is trusted, and the chance of verification elsewhere."""
        strict, sure = 1.0 - tokens.rejection, tokens.largest_prob() + self.deferral_price * tokens.need("tv")
        low, high = tokens.llm_largest_prob()
        return np.where(sure >= high, 1.0, strict), np.where(sure >= low, 1.0, strict)

    def acceptance(self, sent: Floats, llm_law: Floats) -> Floats:
        """Chance to keep each draft, shape [V] [-]."""
        apart = float(verification.total_variation(sent, llm_law))
        if sent.max() + self.deferral_price * apart >= llm_law.max():
            return np.ones(len(llm_law))
        return Verification.acceptance(self, sent, llm_law)

    def options(self) -> list[dict[str, float]]:
        """Prices."""
        return [{"deferral_price": float(value)} for value in np.linspace(-2.0, 1.0, 13)]
