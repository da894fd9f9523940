r"""Whose text: the contexts of every scheme are those of the text that it writes itself.

Texts lie along one line, by the threshold up to which a device keeps its drafts: at 0 the large model's text,
which every exact scheme writes, at 1 the small model's, between them hybrid text.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from cuhlm_theory._checks import Floats, as_positive, as_probability
from cuhlm_theory.contexts import Found, Tokens

__all__ = [
    "Texts",
    "Trial",
    "Written",
    "effective_texts",
    "importance_ratio",
    "joined",
    "promised",
    "threshold_of",
]

_Value = TypeVar("_Value")
_CLOSE = 1e-9
_AT_ONCE = ("uncertainty", "rejection", "weight")  # of texts that are joined; the rest when it is asked for


class Written(Protocol):
    """Contexts by the threshold that wrote them: `Texts`, or the tokens of one text for all."""

    def at(self, threshold: float) -> Tokens:
        """Contexts of the text that is written at a threshold."""
        ...

    def thresholds(self) -> Floats:
        """Thresholds to choose from, `NEVER_SKIP` first, shape [J] [-]."""
        ...


def threshold_of(name: str) -> float:
    """Threshold of a text by its name: ``llm`` 0, ``slm`` 1, ``hybrid-U`` U.

    Parameters
    ----------
    name : str
        Name of a recorded text.

    Returns
    -------
    float
        Where it lies between the large model's text and the small one's [-].

    Raises
    ------
    ValueError
        If it is no such name.

    Examples
    --------
    >>> threshold_of("llm"), threshold_of("hybrid-0.43"), threshold_of("slm")
    (0.0, 0.43, 1.0)
    """
    ends = {"llm": 0.0, "slm": 1.0}
    if name in ends:
        return ends[name]
    try:
        return float(as_probability("threshold", float(name.removeprefix("hybrid-"))))
    except ValueError:
        raise ValueError(f"text must be slm, llm or hybrid-THRESHOLD; got {name!r}") from None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Texts:
    """Recorded texts of one pair on one set of prompts, read when they are asked for.

    Between two recorded thresholds their contexts are mixed, and an interval covers both ends: nothing
    proves that the truth lies between them (`texts.not_between`), so record where it matters.

    >>> few = {"uncertainty": np.array([0.2]), "prompt": np.array([0])}
    >>> recorded = {"llm": Tokens(rejection=np.array([0.4]), **few)}
    >>> recorded["hybrid-0.5"] = Tokens(rejection=np.array([0.2]), **few)
    >>> texts = Texts(recorded, recorded.__getitem__)
    >>> texts.at(0.25).rejection, texts.at(0.25).weight, texts.at(1.0).text
    (array([0.4, 0.2]), array([0.5, 0.5]), 'hybrid-0.5')
    """

    names: Iterable[str]
    """Texts that were recorded."""
    read: Callable[[str], Tokens]
    """Reads one of them."""
    _known: dict[object, Tokens] = field(default_factory=dict)
    """What was read, and what was joined of it."""
    _found: Found = field(default_factory=Found)
    """What `once` found."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(sorted(self.names, key=threshold_of)))
        if not self.names:
            raise ValueError("texts must hold at least 1 text; got 0")

    def __repr__(self) -> str:
        return f"Texts({', '.join(self.names)})"

    def text(self, name: str) -> Tokens:
        """Contexts of a recorded text, which then say that they are its."""
        if name not in self._known:
            self._known[name] = self.read(name).having(text=name)
        return self._known[name]

    def around(self, threshold: float) -> tuple[str, str, float]:
        """Return the texts around a threshold and the share of the second; the nearest one at an end."""
        names = tuple(self.names)
        places = [threshold_of(name) for name in names]
        right = int(np.searchsorted(places, threshold - _CLOSE))
        if right == 0 or right == len(places) or places[right] - threshold < _CLOSE:
            name = names[min(right, len(places) - 1)]
            return name, name, 0.0
        low, high = places[right - 1 : right + 1]
        return names[right - 1], names[right], (threshold - low) / (high - low)

    def at(self, threshold: float) -> Tokens:
        """Contexts of the text that is written at a threshold: recorded, or mixed of its neighbours."""
        first, second, share = self.around(threshold)
        if share == 0.0:
            return self.text(first)
        if (first, second) not in self._known:
            self._known[first, second] = joined(self.text(first), self.text(second))
        both = self._known[first, second]
        assert both.side is not None
        weight = both.weight * np.where(both.side == 1, share, 1.0 - share)
        return both.weighted(weight / weight.sum())

    def thresholds(self) -> Floats:
        """Thresholds to choose from, those of the first text: all were recorded on one grid."""
        return self.text(next(iter(self.names))).thresholds()

    def once(self, name: str, find: Callable[[], _Value], given: Hashable = None) -> _Value:
        """Return what depends on the texts, their weights included, and on what is given; found once."""
        return self._found.once(name, find, given)

    def changed(self, change: Callable[[Tokens], Tokens]) -> "Texts":
        """Return the texts with a change made to the tokens of each."""
        return Texts(self.names, lambda name: change(self.text(name)))

    @property
    def lacks(self) -> str:
        """Empty, or one line that says which text is missing and what stands for it."""
        writers = {name.partition("-")[0] for name in self.names}
        missing = [name for name in ("slm", "llm", "hybrid") if name not in writers]
        if not missing:
            return ""
        return (
            f"No {' and no '.join(missing)} text was recorded: what is nearest, {', '.join(self.names)}, "
            "stands for it; `cuhlm calibrate --texts` records it."
        )


def joined(first: Tokens, second: Tokens) -> Tokens:
    """Put the tokens of two texts below each other, each with half of the weight; they remember their side.

    Parameters
    ----------
    first, second : Tokens
        Tokens of two texts of one pair, recorded on the same grids.

    Returns
    -------
    Tokens
        Both, with ``side``; without the columns that one of them lacks.

    Raises
    ------
    ValueError
        If their grids differ.

    Examples
    --------
    >>> one = Tokens(uncertainty=np.array([0.1]), rejection=np.array([0.2]))
    >>> two = Tokens(uncertainty=np.array([0.3, 0.5]), rejection=np.array([0.4, 0.6]))
    >>> joined(one, two).weight, joined(one, two).side
    (array([0.5 , 0.25, 0.25]), array([0, 1, 1]))
    """
    for name in ("k_grid", "coarse_k_grid", "threshold_grid"):
        if not np.array_equal(getattr(first, name), getattr(second, name)):
            raise ValueError(f"texts must have one {name}; {first.text or 'one'} and the other differ")

    def both(name: str) -> Floats:
        return np.concatenate((getattr(first, name), getattr(second, name)))

    shared = [name for name in first.known() if name in second.known()]
    later = {name: partial(both, name) for name in shared if name not in _AT_ONCE}
    return Tokens.reading(
        later,
        uncertainty=both("uncertainty"),
        rejection=both("rejection"),
        weight=0.5 * both("weight"),
        k_grid=first.k_grid,
        coarse_k_grid=first.coarse_k_grid,
        threshold_grid=first.threshold_grid,
        text=f"{first.text} and {second.text}",
        side=np.repeat([0, 1], [len(first), len(second)]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What the kept law did on a text that it wrote itself, and what can be promised of it."""

    threshold: float
    """u_th that the text was written at [-]."""
    bias: float
    """Mean per-token bias on it, exact in every context [-]."""
    bias_limit95: float
    """Upper limit of its mean with 95 % confidence, whatever the law of the prompts [-]."""
    resampled_limit95: float
    """Upper limit from resampled prompts, which has its confidence only for many of them [-]."""
    num_prompts: int
    """Prompts that it rests on."""
    max_tokens: int
    """Longest answer that was recorded [token]."""


def promised(trials: Sequence[Trial], bias: float, *, resampled: bool = False) -> Trial | None:
    """Largest threshold whose bias is promised: from the safest on, stop at the first that is not within.

    Each text is a test of its own; since the order is fixed and the first failure ends it, a wrong promise is
    made with the chance of one test, 5 %, however many texts there are.

    Parameters
    ----------
    trials : sequence of Trial
        Hybrid texts in any order.
    bias : float
        Bias that may be spent [-].
    resampled : bool, default False
        Whether the limit from resampled prompts is enough.

    Returns
    -------
    Trial or None
        None where not even the safest is within the bias.

    Examples
    --------
    >>> row = {"bias": 0.0, "resampled_limit95": 0.01, "num_prompts": 72, "max_tokens": 80}
    >>> texts = [
    ...     Trial(threshold=t, bias_limit95=e, **row) for t, e in ((0.1, 0.02), (0.3, 0.06), (0.5, 0.04))
    ... ]
    >>> promised(texts, 0.05).threshold
    0.1
    """
    found = None
    for one in sorted(trials, key=lambda one: one.threshold):
        if (one.resampled_limit95 if resampled else one.bias_limit95) > bias:
            break
        found = one
    return found


def importance_ratio(
    draft_prob: ArrayLike, llm_prob: ArrayLike, keeps: ArrayLike, skip_mass: ArrayLike, excess: ArrayLike
) -> Floats:
    r"""How much likelier hybrid text writes a token than the small model that drafted it.

    .. math:: \frac{q_d}{x_d} = s_d + (1 - \sigma) \frac{(y_d / x_d - s_d)_+}{1 - \sigma + e}, \qquad
        \sigma = \sum_w s_w x_w, \quad e = \sum_w (s_w x_w - y_w)_+

    for the kept law :math:`s x` and the server that draws the rest. The product along a text weighs it as
    hybrid text, and is useless for it after some tokens: see `effective_texts`.
    Derivation: ``derivations.texts.importance_ratio``.

    Parameters
    ----------
    draft_prob : array_like, shape [...]
        :math:`x_d` of the token that the small model wrote, above 0 [-].
    llm_prob : array_like, shape [...]
        :math:`y_d` [-].
    keeps : array_like, shape [...]
        :math:`s_d`, share of it that the device keeps [-].
    skip_mass : array_like, shape [...]
        :math:`\sigma` of the context [-].
    excess : array_like, shape [...]
        :math:`e` of the context [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Ratio of the two laws at the token [-].

    Raises
    ------
    ValueError
        If an argument is no probability.

    Examples
    --------
    >>> float(importance_ratio(0.5, 0.25, 0.0, 0.0, 0.0))  # the large model alone: y / x
    0.5
    """
    x = as_positive("draft_prob", as_probability("draft_prob", draft_prob))
    y, s = as_probability("llm_prob", llm_prob), as_probability("keeps", keeps)
    asks, e = 1.0 - as_probability("skip_mass", skip_mass), as_probability("excess", excess)
    rest = asks + e
    answered = np.divide(asks, rest, out=np.zeros_like(rest), where=rest > 0.0)
    return s + answered * np.maximum(y / x - s, 0.0)


def effective_texts(ratio: Floats, prompt: ArrayLike, num_tokens: int) -> float:
    r"""How many texts importance weights leave: Kish's effective sample size of their products.

    .. math:: n_\mathrm{eff} = \frac{(\sum_i w_i)^2}{\sum_i w_i^2}, \qquad w_i = \prod_{j \le n} r_{ij}

    For contexts alike it is the number of texts over :math:`(1 + \chi^2)^n`, :math:`\chi^2` the divergence
    of the two laws of one token, and so it is lost exponentially.
    Derivation: ``derivations.texts.collapse``.

    Parameters
    ----------
    ratio : ndarray of float64, shape [N]
        Ratio of the two laws at each token, texts one after another [-].
    prompt : array_like, shape [N]
        Which text a token belongs to [-].
    num_tokens : int
        n, tokens of each text that are weighed; a shorter text ends the product where it ends [token].

    Returns
    -------
    float
        Between 1 and the number of texts [-].

    Examples
    --------
    >>> effective_texts(np.array([1.0, 1.0, 1.0, 1.0]), [0, 0, 1, 1], 2)
    2.0
    >>> round(effective_texts(np.array([2.0, 2.0, 0.5, 0.5]), [0, 0, 1, 1], 2), 4)
    1.1245
    """
    weights = []
    for one in np.unique(np.asarray(prompt)):
        with np.errstate(divide="ignore"):
            weights.append(np.log(ratio[np.asarray(prompt) == one][:num_tokens]).sum())
    weight = np.exp(np.array(weights) - np.max(weights))
    return float(weight.sum() ** 2 / (weight @ weight))
