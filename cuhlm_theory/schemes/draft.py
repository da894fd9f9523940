"""Draft rules: how many tokens the device drafts before the server verifies them in one pass."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike

from cuhlm_theory._checks import Floats, as_count, as_probability
from cuhlm_theory.contexts import Contexts, Ints, Skips, Tokens
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.rejection import Curve, Line

_SURE_LOSS = 1e-300  # an acceptance of 0, of which the logarithm is taken
_ROUNDING = 1e-12
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


class Run(Draft, Protocol):
    """What a rule of several drafts says beside: when a run ends, and how."""

    @property
    def longest(self) -> int | None:
        """Longest run [token]; None where only a trigger ends it."""
        ...

    def longest_from(self, tokens: Tokens) -> int | Ints | None:
        """Longest run begun at each recorded draft, or anywhere [token]; None sets no limit."""
        ...

    def after(self, longest: int, all_kept: bool) -> int:
        """Longest run of the next round [token], after one of this longest run."""
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


class _Alike:
    """Runs that may be as long wherever they begin, and whatever became of the round before."""

    __slots__ = ()

    @property
    def longest(self) -> int | None:
        """As the rule says."""
        raise NotImplementedError

    def longest_from(self, tokens: Tokens) -> int | Ints | None:
        """Return the same everywhere."""
        return self.longest

    def after(self, longest: int, all_kept: bool) -> int:
        """Return the same, whatever became of the round."""
        return longest


@dataclass(frozen=True, slots=True)
class Fixed(_Alike):
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
class FixedBySurvival(Fixed):
    """As `Fixed`, but the best number follows from how long drafts survive where rounds begin."""


@dataclass(frozen=True, slots=True)
class Scheduled:
    """Two drafts more after a round that was kept whole, one fewer after any other; each text begins anew."""

    first_drafts: int = 5
    """Drafts of the first round of a text [token]."""
    max_drafts: int = 20
    """Most drafts a round [token]."""
    adds_bonus: bool = True
    """Whether the LLM adds its own token after a fully kept run, as in [SD]."""

    present: ClassVar[bool] = True
    several: ClassVar[bool] = True
    follows_text: ClassVar[bool] = True
    triggered: ClassVar[bool] = False
    count: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        as_count("first_drafts", self.first_drafts)
        as_count("max_drafts", self.max_drafts)

    @property
    def longest(self) -> int | None:
        """The first number, or the most where that is less."""
        return min(self.first_drafts, self.max_drafts)

    def longest_from(self, tokens: Tokens) -> int | Ints | None:
        """Return the first number, which is right where a text begins."""
        return self.longest

    def after(self, longest: int, all_kept: bool) -> int:
        """Two more, or one fewer, from 1 to the most."""
        return min(longest + 2, self.max_drafts) if all_kept else max(longest - 1, 1)

    def ends(self, contexts: Contexts, skips: Skips) -> Floats:
        """Nothing but the number ends a run."""
        return np.zeros(len(contexts))

    def options(self) -> list[dict[str, float]]:
        """Nothing: the schedule chooses."""
        return [{}]


@dataclass(frozen=True, slots=True)
class UntilUnsure(_Alike):
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
class UntilAsked(_Alike):
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


@dataclass(frozen=True, slots=True)
class UntilRisky(_Alike):
    """Draft until the chance that the whole run is kept, as the device estimates it, falls below a limit."""

    survival: float = 0.4
    """theta: a run ends with the draft that takes the product of estimated acceptances below this [-]."""
    line: Line | Curve | None = None
    """Rejection probability of a draft by its uncertainty, from which acceptance is estimated."""
    max_drafts: int | None = None
    """Most drafts a round [token]; None sets no limit."""

    adds_bonus: bool = True
    """Whether the LLM adds its own token after a fully kept run, as in [SD]."""

    present: ClassVar[bool] = True
    several: ClassVar[bool] = True
    follows_text: ClassVar[bool] = True
    triggered: ClassVar[bool] = False
    count: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        as_probability("survival", self.survival)
        if self.max_drafts is not None:
            as_count("max_drafts", self.max_drafts)

    @property
    def longest(self) -> int | None:
        """The most."""
        return self.max_drafts

    def longest_from(self, tokens: Tokens) -> int | Ints | None:
        """Drafts until the product of estimated acceptances falls below the limit."""
        chance = self.acceptance(tokens)
        if tokens.prompt is None:
            raise MissingInputError("the survival of a run needs recorded texts; give --calibration")
        return surviving_drafts(chance, tokens.prompt, self.survival, self.max_drafts)

    def acceptance(self, contexts: Contexts) -> Floats:
        """Chance that each draft is kept, as the device estimates it, shape [N] [-]."""
        if self.line is None:
            raise MissingInputError("the survival of a run needs a rejection line; give --calibration")
        return 1.0 - self.line(contexts.draft_uncertainty())

    def stops(self, chance: float) -> bool:
        """Whether a run ends whose drafts are all kept with this chance."""
        return chance < self.survival * (1.0 - _ROUNDING)

    def ends(self, contexts: Contexts, skips: Skips) -> Floats:
        """Nothing but the survival of the run ends it."""
        return np.zeros(len(contexts))

    def options(self) -> list[dict[str, float]]:
        """Limits."""
        return [{"survival": float(value)} for value in _CONFIDENCES]


@dataclass(frozen=True, slots=True)
class UntilRiskyOrTrigger(UntilRisky):
    """As `UntilRisky`, while the skip rule keeps; what it refuses ends the run too."""

    triggered: ClassVar[bool] = True

    def ends(self, contexts: Contexts, skips: Skips) -> Floats:
        """Chance that the skip rule transmits."""
        return skips.transmit


def surviving_drafts(
    acceptance: ArrayLike, prompt: ArrayLike, survival: float, max_drafts: int | None = None
) -> Ints:
    r"""Drafts of a run begun at each token until the chance that all are kept falls below a limit.

    .. math:: L_n = \min\Big\{l \ge 1 : \textstyle\prod_{i < l} a_{n + i} < \theta\Big\}
              \qquad \text{new here}

    Derivation: ``derivations.schemes.recorded_rounds``.

    Parameters
    ----------
    acceptance : array_like, shape [N]
        :math:`a`, acceptance of each draft as the device estimates it [-].
    prompt : array_like of int, shape [N]
        Text that each token belongs to, tokens of a text in their order [-].
    survival : float
        :math:`\theta`, limit [-]; 0 ends no run, and from 1 on every draft that may be refused ends it.
    max_drafts : int, optional
        Longest run [token].

    Returns
    -------
    ndarray of int64, shape [N]
        Drafts, the one that takes the product below the limit included [token]; at most those of the text.

    Raises
    ------
    ValueError
        If an acceptance or the limit lies outside [0, 1], or ``max_drafts`` is below 1.

    Examples
    --------
    >>> surviving_drafts([0.9, 0.8, 0.5, 0.9], [0, 0, 0, 0], survival=0.6).tolist()
    [3, 2, 1, 1]
    """
    chance = as_probability("acceptance", acceptance)
    limit = float(as_probability("survival", survival))
    texts = np.asarray(prompt)
    if chance.ndim != 1 or texts.shape != chance.shape:
        raise ValueError(
            f"acceptance and prompt must have one shape [N]; got {chance.shape} and {texts.shape}"
        )
    most = len(chance) if max_drafts is None else int(as_count("max_drafts", max_drafts))
    hazard = -np.log(np.maximum(chance, _SURE_LOSS))
    least = -np.log(limit) * (1.0 + _ROUNDING) + _ROUNDING if limit > 0.0 else np.inf
    drafts = np.empty(len(chance), dtype=np.int64)
    for text in np.unique(texts):
        place = np.flatnonzero(texts == text)
        total = np.concatenate(([0.0], np.cumsum(hazard[place])))  # before each draft, and after the last
        first = np.searchsorted(total[1:], total[:-1] + least, side="right")
        start = np.arange(len(place))
        drafts[place] = np.minimum(np.minimum(first, len(place) - 1) - start + 1, most)
    return drafts
