"""The schemes as data: four rules each, where they come from, and which text they write."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from cuhlm_theory.contexts import Tokens
from cuhlm_theory.parameters import System
from cuhlm_theory.schemes.draft import (
    Fixed,
    FixedBySurvival,
    NoDraft,
    One,
    Scheduled,
    UntilAsked,
    UntilRisky,
    UntilTrigger,
    UntilUnsure,
)
from cuhlm_theory.schemes.evaluation import one_draft, several_drafts
from cuhlm_theory.schemes.ledger import Ledger
from cuhlm_theory.schemes.payload import (
    Candidates,
    ConformalLattice,
    DenseLattice,
    Exact,
    Full,
    Index,
    IndexAlone,
    IndexAndProbability,
    KeptSet,
    Lattice,
    Nothing,
    Payload,
    PrintedOnline,
    Top,
)
from cuhlm_theory.schemes.skip import Always, AtRandom, Below, KeepShare, Never
from cuhlm_theory.schemes.verification import (
    Block,
    Cascade,
    DrawsRest,
    Lenient,
    LlmAlone,
    NoServer,
    Prefix,
    PrefixDrawsRest,
    PrefixOnDevice,
    PrefixOnServer,
    Proposes,
    ReceivedLaw,
    ServerDraws,
    Typical,
    Verification,
)
from cuhlm_theory.texts import Written

Draft = NoDraft | One | Fixed | Scheduled | UntilUnsure | UntilAsked | UntilTrigger | UntilRisky
Skip = Always | Never | AtRandom | Below | KeepShare
Status = Literal["printed", "reconstructed", "assumed", "new"]
Text = Literal["slm", "llm", "hybrid"]

_RULES = ("draft", "skip", "payload", "verification")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """One row: four rules that own their numbers, and where they come from."""

    name: str
    """Name on the command line."""
    title: str
    """What it does, in a few words."""
    draft: Draft
    """How many tokens the device drafts a round."""
    skip: Skip
    """Which drafts are kept without asking the server; what ends a run that a trigger ends."""
    payload: Payload
    """What a transmission carries; for several drafts a round, what each draft carries."""
    verification: Verification
    """Who decides with which law."""
    reference: str
    """Where the scheme is published."""
    status: Status
    """Whether these rules are printed there, reconstructed, assumed, or new."""

    @property
    def numbers(self) -> dict[str, Any]:
        """The numbers of the four rules by name."""
        return {
            entry.name: getattr(rule, entry.name)
            for rule in (getattr(self, part) for part in _RULES)
            for entry in fields(rule)
        }

    def using(self, **numbers: Any) -> "Scheme":
        """Return the scheme with other numbers; each goes to the rule that owns it.

        >>> SCHEMES["u-hlm"].using(threshold=0.5).skip
        Below(threshold=0.5, upper_threshold=None, mix=0.0)
        >>> SCHEMES["u-hlm"].using(num_drafts=3)
        Traceback (most recent call last):
        ...
        ValueError: num_drafts is no number of u-hlm; it has threshold, upper_threshold, mix
        """
        known = self.numbers
        if unknown := [name for name in numbers if name not in known]:
            raise ValueError(f"{unknown[0]} is no number of {self.name}; it has {', '.join(known) or 'none'}")
        return self.given(numbers)

    def given(self, numbers: dict[str, Any]) -> "Scheme":
        """Return the scheme with those of the numbers that its rules own."""
        rules = {part: getattr(self, part) for part in _RULES}
        for part, rule in rules.items():
            own = {entry.name: numbers[entry.name] for entry in fields(rule) if entry.name in numbers}
            rules[part] = replace(rule, **own) if own else rule
        return replace(self, **rules)

    def keeping(self, rule: Skip) -> "Scheme":
        """Return the scheme with another rule of what the device keeps: a threshold, or shares.

        >>> SCHEMES["kept-law"].keeping(KeepShare((0.3, 0.6), (1.0, 0.5))).skip.highest
        0.6
        """
        return replace(self, skip=rule)

    def drafting(self, rule: Draft) -> "Scheme":
        """Return the scheme with another rule of how many tokens the device drafts."""
        return replace(self, draft=rule)

    def ledger(self, contexts: Written, system: System) -> Ledger:
        """Return what the scheme would do on the text that it writes, a row a kind of round."""
        tokens = contexts.at(self.text_at)
        found = (several_drafts if self.draft.several else one_draft)(self, tokens, system)
        return replace(found, text=tokens.text)

    def offered(self, tokens: Tokens, *more: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Numbers of every combination of what the four rules offer, and of more.

        >>> from cuhlm_theory.law import Uniform
        >>> from cuhlm_theory.rejection import Line
        >>> tokens = Tokens.of(Uniform(), Line(1.0, 0.0))
        >>> list(SCHEMES["dssd"].offered(tokens, [{"num_drafts": 1}, {"num_drafts": 2}]))
        [{'num_drafts': 1}, {'num_drafts': 2}]
        """
        of_tokens = self.skip.options(tokens), self.payload.options(tokens)
        own = *of_tokens, self.draft.options(), self.verification.options()
        for chosen in itertools.product(*own, *more):
            yield {name: value for one in chosen for name, value in one.items()}

    @property
    def drafts_several(self) -> bool:
        """Whether one LLM pass verifies several drafts."""
        return self.draft.several

    @property
    def threshold(self) -> float | None:
        """u_th in use [-]; None where the skip rule has none."""
        return getattr(self.skip, "shown", None)

    @property
    def knob(self) -> str | None:
        """Number that trades bias or bits for latency."""
        return self.skip.knob or self.payload.knob or self.verification.knob

    @property
    def writes(self) -> Text:
        """Model whose law the text has that this scheme writes, or ``hybrid``."""
        if not self.verification.asks:
            return "slm"
        whole = self.draft.several or isinstance(self.skip, Never)
        return "llm" if whole and self.verification.exact else "hybrid"

    @property
    def text_at(self) -> float:
        """Threshold that its text is written at: 0 the LLM's, 1 the SLM's, the mean of what is drawn [-].

        >>> SCHEMES["dssd"].text_at, SCHEMES["u-hlm"].using(threshold=0.4).text_at, SCHEMES["slm"].text_at
        (0.0, 0.4, 1.0)
        """
        if self.writes == "llm":
            return 0.0
        return self.skip.mixture(lambda t: max(t, 0.0), lambda low, high, mix: low + mix * (high - low))


_CU = "CU-HLM, arXiv:2505.11788v1"
_U = "U-HLM, arXiv:2412.12687"

_ROWS = (
    Scheme(
        name="slm",
        title="the device alone",
        draft=One(),
        skip=Always(),
        payload=Nothing(),
        verification=NoServer(),
        reference="baseline of [U] and [CU]",
        status="printed",
    ),
    Scheme(
        name="llm",
        title="the server alone",
        draft=NoDraft(),
        skip=Never(),
        payload=Nothing(),
        verification=LlmAlone(),
        reference="baseline of [U] and [CU]",
        status="printed",
    ),
    Scheme(
        name="hlm",
        title="every draft verified with the full distribution",
        draft=One(),
        skip=Never(),
        payload=Full(),
        verification=ReceivedLaw(),
        reference=f"{_U}; {_CU}",
        status="printed",
    ),
    Scheme(
        name="rand-hlm",
        title="HLM that skips at random",
        draft=One(),
        skip=AtRandom(),
        payload=Full(),
        verification=ReceivedLaw(),
        reference=_U,
        status="printed",
    ),
    Scheme(
        name="u-hlm",
        title="HLM that skips when uncertainty is low",
        draft=One(),
        skip=Below(),
        payload=Full(),
        verification=ReceivedLaw(),
        reference=_U,
        status="printed",
    ),
    Scheme(
        name="cu-hlm-offline",
        title="U-HLM with one k for all tokens",
        draft=One(),
        skip=Below(),
        payload=Top(),
        verification=ReceivedLaw(),
        reference=f"{_CU}, eq. (24)",
        status="reconstructed",
    ),
    Scheme(
        name="cu-hlm-online",
        title="U-HLM with the printed k rule a token",
        draft=One(),
        skip=Below(),
        payload=PrintedOnline(),
        verification=ReceivedLaw(),
        reference=f"{_CU}, eqs. (23)(26)",
        status="reconstructed",
    ),
    Scheme(
        name="cu-hlm-exact",
        title="U-HLM with the exact k rule",
        draft=One(),
        skip=Below(),
        payload=Exact(),
        verification=ReceivedLaw(),
        reference="truncation.exact_rule",
        status="new",
    ),
    Scheme(
        name="floor",
        title="U-HLM whose server draws from its own law",
        draft=One(),
        skip=Below(),
        payload=Index(),
        verification=ServerDraws(),
        reference="throughput.floor_latency",
        status="new",
    ),
    Scheme(
        name="dsd",
        title="several drafts, full distributions",
        draft=Fixed(),
        skip=Never(),
        payload=Full(),
        verification=Prefix(),
        reference="Leviathan et al., arXiv:2211.17192, distributed",
        status="printed",
    ),
    Scheme(
        name="tk-slt",
        title="several drafts from the top K, probabilities only",
        draft=Fixed(),
        skip=Never(),
        payload=Candidates(),
        verification=Prefix(),
        reference="TK-SLT, arXiv:2509.04576",
        status="printed",
    ),
    Scheme(
        name="tslt",
        title="several drafts from the top K, with indices",
        draft=Fixed(),
        skip=Never(),
        payload=Candidates(with_indices=True),
        verification=Prefix(),
        reference="TSLT, arXiv:2512.16273",
        status="assumed",
    ),
    Scheme(
        name="k-sqs",
        title="several drafts from K lattice probabilities",
        draft=Fixed(),
        skip=Never(),
        payload=Lattice(),
        verification=Prefix(),
        reference="SQS, arXiv:2510.09942",
        status="reconstructed",
    ),
    Scheme(
        name="c-sqs",
        title="K-SQS with a conformal threshold",
        draft=Fixed(),
        skip=Never(),
        payload=ConformalLattice(),
        verification=Prefix(),
        reference="SQS, arXiv:2510.09942",
        status="reconstructed",
    ),
    Scheme(
        name="dssd",
        title="several drafts, resampled on the device",
        draft=Fixed(),
        skip=Never(),
        payload=IndexAndProbability(),
        verification=PrefixOnDevice(),
        reference="DSSD, arXiv:2507.12000",
        status="printed",
    ),
    Scheme(
        name="confidence-stop",
        title="drafts until the device is unsure",
        draft=UntilUnsure(),
        skip=Never(),
        payload=IndexAndProbability(),
        verification=PrefixOnDevice(),
        reference="transformers, assistant_confidence_threshold",
        status="printed",
    ),
    Scheme(
        name="heuristic",
        title="two drafts more after a round that was kept, one fewer after any other",
        draft=Scheduled(),
        skip=Never(),
        payload=IndexAndProbability(),
        verification=PrefixOnDevice(),
        reference="transformers, num_assistant_tokens_schedule; what a draft carries is assumed",
        status="assumed",
    ),
    Scheme(
        name="verify-on-sync",
        title="exact CU-HLM: the skipped run is verified too",
        draft=UntilTrigger(),
        skip=Below(),
        payload=IndexAndProbability(),
        verification=PrefixOnDevice(),
        reference="drafting.sync_tokens_per_round",
        status="new",
    ),
    Scheme(
        name="kept-law",
        title="U-HLM that sends what it would have kept, to a server that draws the rest",
        draft=One(),
        skip=Below(),
        payload=KeptSet(),
        verification=DrawsRest(),
        reference="kept_law.achievability",
        status="new",
    ),
    Scheme(
        name="kept-law-exact",
        title="drafts while it keeps; the server verifies with the kept law of every place",
        draft=UntilAsked(),
        skip=Below(),
        payload=KeptSet(says_which=True),
        verification=PrefixDrawsRest(),
        reference="kept_law.several_drafts",
        status="new",
    ),
    Scheme(
        name="server-pair",
        title="both models at the server; only tokens come down",
        draft=Fixed(),
        skip=Never(),
        payload=Nothing(),
        verification=PrefixOnServer(),
        reference="Leviathan et al., arXiv:2211.17192",
        status="printed",
    ),
    Scheme(
        name="specstop",
        title="as many drafts as the delay and the survival of runs ask for",
        draft=FixedBySurvival(),
        skip=Never(),
        payload=IndexAndProbability(),
        verification=PrefixOnDevice(),
        reference="UCB-SpecStop, arXiv:2606.20591; what a draft carries is assumed",
        status="assumed",
    ),
    Scheme(
        name="q-s",
        title="several drafts from the whole law on a lattice",
        draft=Fixed(),
        skip=Never(),
        payload=DenseLattice(),
        verification=Prefix(),
        reference="Q-S, arXiv:2507.00605",
        status="printed",
    ),
    Scheme(
        name="asymspec",
        title="several drafts, recovered by tokens that the server proposes",
        draft=Fixed(),
        skip=Never(),
        payload=IndexAndProbability(),
        verification=Proposes(),
        reference="AsymSpec, arXiv:2608.04974",
        status="printed",
    ),
    Scheme(
        name="ids-only",
        title="several drafts, indices alone; the server draws and matches",
        draft=Fixed(),
        skip=Never(),
        payload=IndexAlone(),
        verification=Prefix(),
        reference="SpecEdge, arXiv:2505.17052; AceSpec, arXiv:2609.02514",
        status="printed",
    ),
    Scheme(
        name="lenience",
        title="several drafts, kept with min(1, y / (lambda x))",
        draft=Fixed(),
        skip=Never(),
        payload=IndexAndProbability(),
        verification=Lenient(),
        reference="Leviathan et al., arXiv:2211.17192v2, App. A.5; the residual is the least biased",
        status="printed",
    ),
    Scheme(
        name="cascade",
        title="several drafts, all kept where the device is as sure as the server",
        draft=Fixed(),
        skip=Never(),
        payload=Full(),
        verification=Cascade(),
        reference="speculative cascades, arXiv:2405.19261; the rule OPT",
        status="printed",
    ),
    Scheme(
        name="typical",
        title="several drafts, kept where the server's law gives them enough",
        draft=Fixed(),
        skip=Never(),
        payload=Index(),
        verification=Typical(),
        reference="typical acceptance of Medusa, arXiv:2401.10774; the residual is the least biased",
        status="assumed",
    ),
    Scheme(
        name="block-verification",
        title="several drafts verified as one block, full distributions",
        draft=Fixed(),
        skip=Never(),
        payload=Full(),
        verification=Block(),
        reference="block verification, arXiv:2403.10444; what a draft carries is assumed",
        status="printed",
    ),
)

SCHEMES: dict[str, Scheme] = {row.name: row for row in _ROWS}
"""Every scheme by its name on the command line."""


def scheme(name: str) -> Scheme:
    """Return the scheme of that name.

    >>> scheme("hlm").payload
    Full()
    """
    if name not in SCHEMES:
        raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}; got {name!r}")
    return SCHEMES[name]
