"""Verification rules: who decides with which law, what the answer carries, and what bias that leaves."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cuhlm_theory import kept_law, verification
from cuhlm_theory._checks import Floats
from cuhlm_theory.contexts import Contexts, Skips
from cuhlm_theory.parameters import Codec
from cuhlm_theory.payload import dense_bit
from cuhlm_theory.schemes.payload import Carried, Payload
from cuhlm_theory.schemes.skip import Skip


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

    def answer_bit(self, codec: Codec, *, bonus: bool) -> tuple[float, float]:
        """Bits down where every draft is kept, and where one is not [bit]."""
        index = float(codec.bits_per_index)
        return index, index

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
    """As `Prefix`, but the server knows only the drafts' own probabilities, and the device replaces."""

    def answer_bit(self, codec: Codec, *, bonus: bool) -> tuple[float, float]:
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
