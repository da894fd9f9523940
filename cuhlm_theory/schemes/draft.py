"""Draft rules: how many tokens the device drafts before the server verifies them in one pass."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from cuhlm_theory._checks import Floats, as_count, as_probability
from cuhlm_theory.contexts import Contexts, Skips

_CONFIDENCES = np.linspace(0.05, 0.95, 19)


class Draft(Protocol):
    """What every draft rule says."""

    present: ClassVar[bool]
    """Whether the device drafts at all."""
    several: ClassVar[bool]
    """Whether one LLM pass verifies several drafts."""
    follows_text: ClassVar[bool]
    """Whether what is drafted decides where a run ends."""
    triggered: ClassVar[bool]
    """Whether the skip rule ends the run."""
    count: ClassVar[str | None]
    """Name of the number of drafts a round, where it is one."""

    def options(self) -> list[dict[str, float]]:
        """Numbers that an optimum may choose among, beside the count."""
        ...


class Run(Protocol):
    """What a rule of several drafts says beside: when a run ends, and how."""

    present: ClassVar[bool]
    several: ClassVar[bool]
    follows_text: ClassVar[bool]
    triggered: ClassVar[bool]
    count: ClassVar[str | None]

    def options(self) -> list[dict[str, float]]:
        """Numbers that an optimum may choose among, beside the count."""
        ...

    @property
    def longest(self) -> int | None:
        """Longest run [token]; None where only a trigger ends it."""
        ...

    @property
    def adds_bonus(self) -> bool:
        """Whether the LLM adds its own token after a fully kept run."""
        ...

    def ends(self, contexts: Contexts, skips: Skips) -> Floats:
        """Whether a run ends with each draft, shape [N]."""
        ...


@dataclass(frozen=True, slots=True)
class NoDraft:
    """The server writes by itself."""

    present: ClassVar[bool] = False
    several: ClassVar[bool] = False
    follows_text: ClassVar[bool] = False
    triggered: ClassVar[bool] = False
    count: ClassVar[str | None] = None

    def options(self) -> list[dict[str, float]]:
        """Nothing to choose."""
        return [{}]


@dataclass(frozen=True, slots=True)
class One:
    """One draft a round."""

    present: ClassVar[bool] = True
    several: ClassVar[bool] = False
    follows_text: ClassVar[bool] = False
    triggered: ClassVar[bool] = False
    count: ClassVar[str | None] = None

    def options(self) -> list[dict[str, float]]:
        """Nothing to choose."""
        return [{}]


@dataclass(frozen=True, slots=True)
class Fixed:
    """A fixed number of drafts a round."""

    num_drafts: int | None = None
    """Drafts a round [token]; None is the best for the contexts at hand (`schemes.best_num_drafts`)."""
    adds_bonus: bool = True
    """Whether the LLM adds its own token after a fully kept run, as in [SD]."""

    present: ClassVar[bool] = True
    several: ClassVar[bool] = True
    follows_text: ClassVar[bool] = False
    triggered: ClassVar[bool] = False
    count: ClassVar[str | None] = "num_drafts"

    def __post_init__(self) -> None:
        if self.num_drafts is not None:
            as_count("num_drafts", self.num_drafts)

    @property
    def longest(self) -> int | None:
        """The number."""
        return self.num_drafts

    def ends(self, contexts: Contexts, skips: Skips) -> Floats:
        """Nothing but the number ends a run."""
        return np.zeros(len(contexts))

    def options(self) -> list[dict[str, float]]:
        """Nothing beside the count."""
        return [{}]


@dataclass(frozen=True, slots=True)
class UntilUnsure:
    """Draft until the likeliest token falls below a confidence."""

    confidence: float = 0.4
    """Drafting stops once x_(1) falls below this [-]."""
    max_drafts: int = 20
    """Most drafts a round [token]."""
    adds_bonus: bool = True
    """Whether the LLM adds its own token after a fully kept run, as in [SD]."""

    present: ClassVar[bool] = True
    several: ClassVar[bool] = True
    follows_text: ClassVar[bool] = True
    triggered: ClassVar[bool] = False
    count: ClassVar[str | None] = "max_drafts"

    def __post_init__(self) -> None:
        as_probability("confidence", self.confidence)
        as_count("max_drafts", self.max_drafts)

    @property
    def longest(self) -> int | None:
        """The most."""
        return self.max_drafts

    def ends(self, contexts: Contexts, skips: Skips) -> Floats:
        """Whether the device was unsure."""
        return (contexts.largest_prob() < self.confidence).astype(np.float64)

    def options(self) -> list[dict[str, float]]:
        """Confidences."""
        return [{"confidence": float(value)} for value in _CONFIDENCES]


@dataclass(frozen=True, slots=True)
class UntilAsked:
    """Draft while the skip rule keeps; the server writes the token where it does not."""

    present: ClassVar[bool] = True
    several: ClassVar[bool] = True
    follows_text: ClassVar[bool] = True
    triggered: ClassVar[bool] = True
    count: ClassVar[str | None] = None

    @property
    def longest(self) -> int | None:
        """Only the trigger ends a run."""
        return None

    @property
    def adds_bonus(self) -> bool:
        """Never: the pass knows no law after a token that the server has just drawn."""
        return False

    def ends(self, contexts: Contexts, skips: Skips) -> Floats:
        """Whether the skip rule transmits."""
        return skips.transmit

    def options(self) -> list[dict[str, float]]:
        """Nothing to choose."""
        return [{}]


@dataclass(frozen=True, slots=True)
class UntilTrigger(UntilAsked):
    """Draft while the skip rule keeps; the draft that triggers is verified with the run."""

    bonus: bool = False
    """Whether the LLM adds its own token after a fully kept run."""

    @property
    def adds_bonus(self) -> bool:
        """As chosen."""
        return self.bonus

    def options(self) -> list[dict[str, float]]:
        """With and without the bonus token."""
        return [{"bonus": False}, {"bonus": True}]
