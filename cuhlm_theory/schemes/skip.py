"""Skip rules: which drafts the device keeps without asking the server."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, TypeVar

import numpy as np

from cuhlm_theory._checks import as_floats, as_probability
from cuhlm_theory.contexts import NEVER_SKIP, Contexts, Skips, Steps, Tokens
from cuhlm_theory.errors import MissingInputError

Value = TypeVar("Value")


class Skip(Protocol):
    """What every skip rule answers."""

    knob: ClassVar[str | None]
    """Field that trades bias for latency."""

    @property
    def randomised(self) -> bool:
        """Whether the rule tosses a coin of its own."""
        ...

    @property
    def highest(self) -> float:
        """Largest uncertainty of a draft that may be kept; `NEVER_SKIP` where none is [-]."""
        ...

    @property
    def base(self) -> "Skip":
        """The rule that sizes are chosen for, before a coin raises its threshold."""
        ...

    def skips(self, contexts: Contexts, *, drafts: bool = False) -> Skips:
        """Chance to transmit and risk of each context; ``drafts`` looks at the recorded drafts alone."""
        ...

    def options(self, tokens: Tokens) -> list[dict[str, float]]:
        """Numbers that an optimum may choose among."""
        ...

    def mixture(self, at: Callable[[float], Value], mixed: Callable[[Value, Value, float], Value]) -> Value:
        """Return what a quantity is under this rule, given what it is at one threshold and how two mix."""
        ...


@dataclass(frozen=True, slots=True)
class Always:
    """Keep every draft: the device alone."""

    knob: ClassVar[str | None] = None

    @property
    def randomised(self) -> bool:
        """It tosses no coin."""
        return False

    @property
    def highest(self) -> float:
        """Any draft is kept."""
        return 1.0

    def skips(self, contexts: Contexts, *, drafts: bool = False) -> Skips:
        """Transmit nothing, at the risk of every rejection."""
        zero = np.zeros(len(contexts))
        risk = contexts.mean_rejection()
        return Skips(transmit=zero, risk=risk, truncates=zero, excess=risk)

    def options(self, tokens: Tokens) -> list[dict[str, float]]:
        """Nothing to choose."""
        return [{}]

    @property
    def base(self) -> "Skip":
        """The rule itself."""
        return self

    def mixture(self, at: Callable[[float], Value], mixed: Callable[[Value, Value, float], Value]) -> Value:
        """Return the quantity at the threshold that amounts to this rule."""
        return at(1.0)


@dataclass(frozen=True, slots=True)
class Never:
    """Ask about every draft."""

    knob: ClassVar[str | None] = None

    @property
    def randomised(self) -> bool:
        """It tosses no coin."""
        return False

    @property
    def highest(self) -> float:
        """No draft is kept."""
        return NEVER_SKIP

    def skips(self, contexts: Contexts, *, drafts: bool = False) -> Skips:
        """Transmit everything, at no risk."""
        one = np.ones(len(contexts))
        return Skips(transmit=one, risk=0.0 * one, truncates=one, excess=0.0 * one)

    def options(self, tokens: Tokens) -> list[dict[str, float]]:
        """Nothing to choose."""
        return [{}]

    @property
    def base(self) -> "Skip":
        """The rule itself."""
        return self

    def mixture(self, at: Callable[[float], Value], mixed: Callable[[Value, Value, float], Value]) -> Value:
        """Return the quantity at the threshold that amounts to this rule."""
        return at(NEVER_SKIP)


@dataclass(frozen=True, slots=True)
class AtRandom:
    """Keep a share of the drafts, whatever they are."""

    skip_rate: float | None = None
    """Share of the tokens that is skipped [-]; the threshold's own rate where it is lined up with one."""

    knob: ClassVar[str | None] = "skip_rate"

    def __post_init__(self) -> None:
        if self.skip_rate is not None:
            as_probability("skip_rate", self.skip_rate)

    @property
    def randomised(self) -> bool:
        """A coin is all that it goes by."""
        return True

    def skips(self, contexts: Contexts, *, drafts: bool = False) -> Skips:
        """Transmit with one chance everywhere."""
        if self.skip_rate is None:
            raise MissingInputError("skip_rate is not known; give --skip-rate or a threshold")
        num = len(contexts)
        risk = self.skip_rate * contexts.mean_rejection()
        return Skips(
            transmit=np.full(num, 1.0 - self.skip_rate),
            risk=risk,
            truncates=np.full(num, float(self.skip_rate < 1.0)),
            excess=risk,
            excess_is_bound=True,
        )

    def options(self, tokens: Tokens) -> list[dict[str, float]]:
        """Everything or nothing; what lies between follows from the budget (`schemes.at_bias`)."""
        return [{"skip_rate": 0.0}, {"skip_rate": 1.0}]

    @property
    def base(self) -> "Skip":
        """The rule itself."""
        return self

    @property
    def highest(self) -> float:
        """Any draft may be kept."""
        return 1.0 if self.skip_rate else NEVER_SKIP

    def mixture(self, at: Callable[[float], Value], mixed: Callable[[Value, Value, float], Value]) -> Value:
        """Return the mixture of keeping nothing and keeping everything."""
        return mixed(at(NEVER_SKIP), at(1.0), self.skip_rate or 0.0)


@dataclass(frozen=True, slots=True)
class Below:
    """Keep a draft if its uncertainty is at most the threshold, which may be randomised between two."""

    threshold: float = 0.0
    """u_th [-]; `NEVER_SKIP` skips nothing."""
    upper_threshold: float | None = None
    """With it, one token in ``mix`` uses this threshold instead [-]."""
    mix: float = 0.0
    """Share of tokens that use ``upper_threshold`` [-]."""

    knob: ClassVar[str | None] = "threshold"

    def __post_init__(self) -> None:
        as_floats("threshold", self.threshold)
        as_probability("mix", self.mix)
        if self.upper_threshold is not None:
            as_probability("upper_threshold", self.upper_threshold)
            if self.upper_threshold < self.threshold:
                raise ValueError(
                    f"upper_threshold must be at least {self.threshold:g}; got {self.upper_threshold:g}"
                )

    @property
    def randomised(self) -> bool:
        """Whether some tokens use the upper threshold."""
        return self.upper_threshold is not None and self.mix > 0.0

    @property
    def steps(self) -> Steps:
        """What the device keeps of each draft, whichever threshold is drawn."""
        return Steps.below(self.threshold, self.upper_threshold, self.mix)

    @property
    def highest(self) -> float:
        """The larger threshold in use."""
        return self.steps.highest

    @property
    def base(self) -> "Skip":
        """The lower threshold."""
        return Below(self.threshold)

    def mixture(self, at: Callable[[float], Value], mixed: Callable[[Value, Value, float], Value]) -> Value:
        """Return what a quantity is under this rule, given what it is at one threshold and how two mix."""
        low = at(self.threshold)
        if self.upper_threshold is None or self.mix == 0.0:
            return low
        return mixed(low, at(self.upper_threshold), self.mix)

    def skips(self, contexts: Contexts, *, drafts: bool = False) -> Skips:
        """Transmit the drafts above the threshold.

        What a server that is told the shares has for bias is exact where the contexts tell what may be kept;
        elsewhere the mixture of the two thresholds stands for it, as a bound.
        """
        skips = self.mixture(lambda t: contexts.keeping(Steps.below(t), drafts=drafts), Skips.mixed)
        if not self.randomised or not contexts.knows_kept(self.highest):
            return skips
        excess = contexts.keeping(self.steps, drafts=drafts).excess
        return replace(skips, excess=excess, excess_is_bound=False)

    def options(self, tokens: Tokens) -> list[dict[str, float]]:
        """Every threshold that was recorded."""
        return [{"threshold": float(threshold)} for threshold in tokens.thresholds()]

    @property
    def shown(self) -> float:
        """The threshold as it is reported: every negative one is `NEVER_SKIP`."""
        return max(self.threshold, 0.0) if self.threshold >= 0.0 else NEVER_SKIP


@dataclass(frozen=True, slots=True)
class KeepShare(Steps):
    """Keep a share of each draft, less the more uncertain it is: a threshold that is drawn from a law.

    Any share that falls in steps is a mixture of thresholds. A server that is told the shares does better
    than one that is told the threshold drawn.
    """

    knob: ClassVar[str | None] = None

    @property
    def steps(self) -> Steps:
        """What the device keeps of each draft."""
        return self

    @property
    def randomised(self) -> bool:
        """Whether some share lies between 0 and 1."""
        return not self.whole

    @property
    def base(self) -> "Skip":
        """The rule itself."""
        return self

    def mixture(self, at: Callable[[float], Value], mixed: Callable[[Value, Value, float], Value]) -> Value:
        """Return what a quantity is when the threshold is drawn, and the server told which."""
        value, weight = at(NEVER_SKIP), 1.0 - max(self.shares, default=0.0)
        for edge, share, below in zip(self.edges, self.shares, (*self.shares, 0.0)[1:], strict=True):
            weight += share - below
            if share > below:
                value = mixed(value, at(edge), min((share - below) / weight, 1.0))
        return value

    def skips(self, contexts: Contexts, *, drafts: bool = False) -> Skips:
        """Transmit what is not kept."""
        return contexts.keeping(self, drafts=drafts)

    def options(self, tokens: Tokens) -> list[dict[str, float]]:
        """Nothing to choose: the shares are fitted as a whole."""
        return [{}]
