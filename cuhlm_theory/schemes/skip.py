"""Skip rules: which drafts the device keeps without asking the server."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

import numpy as np

from cuhlm_theory._checks import as_floats, as_probability
from cuhlm_theory.contexts import NEVER_SKIP, Contexts, Skips, Tokens
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
        """Uncertainty above which nothing is kept [-]."""
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
    randomised: ClassVar[bool] = False
    highest: ClassVar[float] = 1.0

    def skips(self, contexts: Contexts, *, drafts: bool = False) -> Skips:
        """Transmit nothing, at the risk of every rejection."""
        zero = np.zeros(len(contexts))
        return Skips(transmit=zero, risk=contexts.mean_rejection(), truncates=zero)

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
    randomised: ClassVar[bool] = False
    highest: ClassVar[float] = NEVER_SKIP

    def skips(self, contexts: Contexts, *, drafts: bool = False) -> Skips:
        """Transmit everything, at no risk."""
        one = np.ones(len(contexts))
        return Skips(transmit=one, risk=np.zeros(len(contexts)), truncates=one)

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
    randomised: ClassVar[bool] = True
    highest: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        if self.skip_rate is not None:
            as_probability("skip_rate", self.skip_rate)

    def skips(self, contexts: Contexts, *, drafts: bool = False) -> Skips:
        """Transmit with one chance everywhere."""
        if self.skip_rate is None:
            raise MissingInputError("skip_rate is not known; give --skip-rate or a threshold")
        num = len(contexts)
        return Skips(
            transmit=np.full(num, 1.0 - self.skip_rate),
            risk=self.skip_rate * contexts.mean_rejection(),
            truncates=np.full(num, float(self.skip_rate < 1.0)),
        )

    def options(self, tokens: Tokens) -> list[dict[str, float]]:
        """Everything or nothing; what lies between follows from the budget (`schemes.at_bias`)."""
        return [{"skip_rate": 0.0}, {"skip_rate": 1.0}]

    @property
    def base(self) -> "Skip":
        """The rule itself."""
        return self

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
    def highest(self) -> float:
        """The larger threshold in use."""
        return self.upper_threshold if self.upper_threshold is not None and self.mix > 0.0 else self.threshold

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
        """Transmit the drafts above the threshold."""
        return self.mixture(lambda t: contexts.below(t, drafts=drafts), Skips.mixed)

    def options(self, tokens: Tokens) -> list[dict[str, float]]:
        """Every threshold that was recorded."""
        return [{"threshold": float(threshold)} for threshold in tokens.thresholds()]

    @property
    def shown(self) -> float:
        """The threshold as it is reported: every negative one is `NEVER_SKIP`."""
        return max(self.threshold, 0.0) if self.threshold >= 0.0 else NEVER_SKIP
