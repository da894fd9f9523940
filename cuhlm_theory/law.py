r"""Laws of the uncertainty: the risk of a skip threshold, and the largest threshold within a risk budget.

Skip iff :math:`u \le u_\mathrm{th}`. The risk of a threshold is :math:`R(t) = E[\beta\,1\{u \le t\}]`, the
bias of the output. The line is :math:`\beta(u) = \mathrm{clip}(a u + b, 0, 1)`, clip included: below
:math:`u_0 = \max(-b/a, 0)` it is flat at 0 (or starts at b where b > 0), above :math:`u_1 = (1 - b)/a` at 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cuhlm_theory import _special as special
from cuhlm_theory._checks import Floats, as_floats, as_nonnegative, as_positive, as_probability
from cuhlm_theory.rejection import Line

__all__ = [
    "NEVER_SKIP",
    "Beta",
    "Law",
    "Recorded",
    "Threshold",
    "Uniform",
    "bias_price_for_budget",
    "budget_for_bias_price",
    "parse_law",
    "tie_groups",
]

NEVER_SKIP = -1.0
"""Threshold below every uncertainty: nothing is skipped."""

_ROUNDING = 1e-12  # a risk within this fraction of the budget fits


@dataclass(frozen=True, slots=True)
class Threshold:
    """The largest threshold within a risk budget, and what it spends; arrays where the weights are many."""

    threshold: float
    """u*, skip below it, and at it with `tie_probability` [-]; `NEVER_SKIP` where nothing fits."""
    tie_probability: float
    """Probability of skipping a token whose uncertainty equals the threshold [-]; 1 for a continuous law."""
    risk: float
    """E[beta s(u)], bias that is spent, at most the budget [-]."""
    skip_rate: float
    """E[s(u)], share of the tokens that are skipped [-]."""


class Law(Protocol):
    """A law of the uncertainty u of a draft, with the risk of skipping by a threshold on it."""

    def risk(self, threshold: ArrayLike, line: Line | None = None) -> Floats:
        r"""Risk of a threshold, :math:`R(t) = E[\beta\,1\{u \le t\}]`.

        Parameters
        ----------
        threshold : array_like, shape [...]
            :math:`t` [-].
        line : Line, optional
            :math:`\beta(u)`; it may be left out where the law has recorded rejections.

        Returns
        -------
        ndarray of float64, shape [...]
            :math:`R(t)` [-].

        Raises
        ------
        ValueError
            If a threshold is not finite, the line is needed and missing, or a continuous law's line does not
            rise.
        """
        ...

    def skip_rate(self, threshold: ArrayLike) -> Floats:
        r"""Share of the tokens at or below a threshold, :math:`P(u \le t)`.

        Parameters
        ----------
        threshold : array_like, shape [...]
            :math:`t` [-].

        Returns
        -------
        ndarray of float64, shape [...]
            :math:`P(u \le t)` [-].
        """
        ...

    def within(self, budget: float, line: Line | None = None, *, split_ties: bool = True) -> Threshold:
        r"""Largest threshold within a risk budget, :math:`u^* = \sup\{t : R(t) \le \varepsilon\}`.

        Parameters
        ----------
        budget : float
            :math:`\varepsilon` [-].
        line : Line, optional
            :math:`\beta(u)`; it may be left out where the law has recorded rejections.
        split_ties : bool, default True
            Whether tokens of equal u that do not fit as a whole are skipped at random, so that the budget is
            met exactly; else the threshold is the last that fits whole, or `NEVER_SKIP`.

        Returns
        -------
        Threshold
            Threshold, tie probability, risk and skip rate; where everything fits the threshold is 1.

        Raises
        ------
        ValueError
            If the budget is outside [0, 1], the line is needed and missing, or a continuous law's line does
            not rise.
        """
        ...

    def nodes(self, num_nodes: int = 10_000) -> "Recorded":
        """Tokens that stand for the law, of equal mass; a recorded law is its own."""
        ...


@dataclass(frozen=True, slots=True)
class Uniform:
    """The uncertainty is uniform on [0, 1]."""

    def risk(self, threshold: ArrayLike, line: Line | None = None) -> Floats:
        r"""Risk of a threshold when the uncertainty is uniform on [0, 1].

        .. math:: R(t) = v_0 (m - u_0)_+ + \tfrac{a}{2} (m - u_0)_+^2 + (t - \max(u_1, 0))_+, \qquad
                  m = \min(t, u_1), \quad v_0 = \max(b, 0)

        New here, clip and positive intercept included. Derivation: ``derivations.threshold.risk_uniform``.

        Examples
        --------
        >>> Uniform().risk([0.5, 1.0], Line(0.5, 0.0))
        array([0.0625, 0.25  ])
        """
        line = _needed(line)
        t = np.clip(as_floats("threshold", threshold), 0.0, 1.0)
        first, full = max(line.zero, 0.0), max(line.saturation, 0.0)
        width = np.maximum(np.minimum(t, full) - first, 0.0)
        return max(line.intercept, 0.0) * width + 0.5 * line.slope * width**2 + np.maximum(t - full, 0.0)

    def skip_rate(self, threshold: ArrayLike) -> Floats:
        """Share of the tokens at or below a threshold, the threshold itself [-]."""
        return np.clip(as_floats("threshold", threshold), 0.0, 1.0)

    def within(self, budget: float, line: Line | None = None, *, split_ties: bool = True) -> Threshold:
        r"""Largest threshold within a risk budget when the uncertainty is uniform on [0, 1].

        .. math:: u^*(\varepsilon) = u_0 + \sqrt{2 \varepsilon / a} \quad \text{where } b \le 0

        New here. Derivation: ``derivations.threshold.risk_uniform``.

        Notes
        -----
        With :math:`b > 0` the quadratic starts at :math:`v_0 = b`: :math:`u^* = 2\varepsilon / (v_0 +
        \sqrt{v_0^2 + 2 a \varepsilon})`. Above the clip at :math:`u_1` the risk grows at rate 1: :math:`u^* =
        u_1 + \varepsilon - (1 - v_0^2)/(2a)`. No threshold exceeds 1, where everything is skipped and the
        budget may not be spent.

        Examples
        --------
        >>> result = Uniform().within(0.05, Line(0.815, -0.066))
        >>> round(result.threshold, 4), round(result.risk, 6)
        (0.4313, 0.05)
        """
        line = _needed(line)
        allowed, a = float(as_probability("budget", budget)), line.slope
        start = min(max(line.intercept, 0.0), 1.0)  # beta at u_0
        first, full = max(line.zero, 0.0), max(line.saturation, 0.0)
        until_full = (1.0 - start**2) / (2.0 * a)  # risk spent where the line reaches 1
        if allowed <= until_full:
            root = np.sqrt(start**2 + 2.0 * a * allowed)
            threshold = first + (2.0 * allowed / (start + root) if allowed else 0.0)
        else:
            threshold = full + allowed - until_full
        threshold = float(min(threshold, 1.0))
        return Threshold(threshold, 1.0, float(self.risk(threshold, line)), threshold)

    def nodes(self, num_nodes: int = 10_000) -> "Recorded":
        """Midpoints of equal mass."""
        return Recorded((np.arange(num_nodes) + 0.5) / num_nodes)


_MOST_PARAMETER = 1e15  # of a Beta law; beyond it float64 has no room for its width


@dataclass(frozen=True, slots=True)
class Beta:
    """The uncertainty follows a beta law."""

    alpha: float
    """First shape parameter [-]."""
    beta: float
    """Second shape parameter [-]."""

    def __post_init__(self) -> None:
        as_positive("alpha", self.alpha, at_most=_MOST_PARAMETER)
        as_positive("beta", self.beta, at_most=_MOST_PARAMETER)

    def risk(self, threshold: ArrayLike, line: Line | None = None) -> Floats:
        r"""Risk of a threshold when the uncertainty follows a beta law.

        .. math::
            R(t) = a \mu\, [I_m(\alpha + 1, \beta') - I_{u_0}(\alpha + 1, \beta')]
                 + b\, [I_m(\alpha, \beta') - I_{u_0}(\alpha, \beta')]
                 + [I_t(\alpha, \beta') - I_{u_1}(\alpha, \beta')]_+

        with :math:`m = \min(t, u_1)` and :math:`\mu = \alpha / (\alpha + \beta')`. New here; the last bracket
        is the clip at 1. Derivation: ``derivations.threshold.risk_beta``.

        Examples
        --------
        >>> Beta(2.0, 2.0).risk(1.0, Line(0.5, 0.1)).round(12)
        np.float64(0.35)
        """
        line, p, q = _needed(line), self.alpha, self.beta
        t = np.clip(as_floats("threshold", threshold), 0.0, 1.0)
        first, full = min(max(line.zero, 0.0), 1.0), min(max(line.saturation, 0.0), 1.0)
        middle = np.clip(t, first, full)
        mean = p / (p + q)
        ramp = line.slope * mean * (special.betainc(p + 1.0, q, middle) - special.betainc(p + 1.0, q, first))
        ramp = ramp + line.intercept * (special.betainc(p, q, middle) - special.betainc(p, q, first))
        flat = special.betainc(p, q, np.maximum(t, full)) - special.betainc(p, q, full)
        return np.clip(ramp + flat, 0.0, 1.0)

    def skip_rate(self, threshold: ArrayLike) -> Floats:
        """Share of the tokens at or below a threshold [-]."""
        t = np.clip(as_floats("threshold", threshold), 0.0, 1.0)
        return special.betainc(self.alpha, self.beta, t)

    def within(self, budget: float, line: Line | None = None, *, split_ties: bool = True) -> Threshold:
        r"""Largest threshold within a risk budget when the uncertainty follows a beta law.

        New here: `risk` inverted by bisection. Derivation: ``derivations.threshold.risk_beta``.

        Examples
        --------
        >>> round(Beta(1.0, 1.0).within(0.05, Line(0.8, -0.05)).threshold, 6)  # u_0 + sqrt(2 eps / a)
        0.416053
        """
        line = _needed(line)
        allowed = float(as_probability("budget", budget))
        low, high = min(max(line.zero, 0.0), 1.0), 1.0  # up to the line's zero the risk is 0
        if allowed > 0.0 and self.risk(1.0, line) <= allowed:
            low = 1.0
        while allowed > 0.0 and low < (middle := 0.5 * (low + high)) < high:  # until neighbours in float64
            low, high = (middle, high) if self.risk(middle, line) <= allowed else (low, middle)
        return Threshold(low, 1.0, float(self.risk(low, line)), float(self.skip_rate(low)))

    def nodes(self, num_nodes: int = 10_000) -> "Recorded":
        """Quantiles at the midpoints of equal mass."""
        return Recorded(special.betaincinv(self.alpha, self.beta, (np.arange(num_nodes) + 0.5) / num_nodes))


@dataclass(frozen=True, eq=False, repr=False)
class Recorded:
    """Recorded uncertainties; their rejections come from the line unless they are given.

    Weights of shape [..., N] are many laws on the same tokens, such as resamples of the prompts; every answer
    then has the leading shape [...].
    """

    uncertainty: Floats
    """u of the recorded tokens, shape [N] [-]."""
    rejection: Floats | None = None
    """beta of the recorded tokens, shape [N] [-]; None takes the line's."""
    weight: Floats | None = None
    """Weights of the tokens, any positive scale, shape [N] or [..., N] [-]; None weighs them alike."""

    def __post_init__(self) -> None:
        u = as_probability("uncertainty", self.uncertainty)
        if u.size == 0:
            raise ValueError("uncertainty must hold at least 1 token; got 0")
        given: dict[str, Floats] = {}
        if self.rejection is not None:
            given["rejection"] = as_probability("rejection", self.rejection).reshape(-1)
        if self.weight is not None:
            weight = as_nonnegative("weight", self.weight)
            given["weight"] = weight.reshape(-1) if weight.shape in (u.shape, ()) else weight
        for name, array in given.items():
            if array.shape[-1] != u.size:
                raise ValueError(
                    f"{name} must have as many tokens as uncertainty, {u.size}; got {array.shape[-1]}"
                )
        if "weight" in given and given["weight"].ndim == 1 and given["weight"].sum() <= 0.0:
            raise ValueError(f"weight must have a positive sum; got {given['weight'].sum():g}")
        for name, array in (("uncertainty", u.reshape(-1)), *given.items()):
            object.__setattr__(self, name, array)

    def __repr__(self) -> str:
        known = "rejections recorded" if self.rejection is not None else "rejections by the line"
        return f"Recorded({self.uncertainty.size} tokens, {known})"

    @cached_property
    def _order(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return tie_groups(self.uncertainty)

    @cached_property
    def _atoms(self) -> Floats:
        """Distinct uncertainties, increasing, shape [A]."""
        order, starts = self._order
        return self.uncertainty[order][starts]

    @cached_property
    def _mass(self) -> Floats:
        """Probability of each token, shape [..., N]."""
        size = self.uncertainty.size
        if self.weight is None:
            return np.full(size, 1.0 / size)
        with np.errstate(invalid="ignore"):  # a resample may miss every token, and then has no answer
            return self.weight / self.weight.sum(axis=-1, keepdims=True)

    def _running(self, amount: Floats) -> Floats:
        """Totals over the tokens up to none, the first, ..., the last atom, shape [..., A + 1]."""
        order, starts = self._order
        steps = np.add.reduceat(amount[..., order], starts, axis=-1)
        return np.concatenate([np.zeros_like(steps[..., :1]), np.cumsum(steps, axis=-1)], axis=-1)

    @cached_property
    def _skipped(self) -> Floats:
        return self._running(self._mass)

    @cached_property
    def _recorded_risk(self) -> Floats:
        return self._running(self._mass * self.rejections())

    def _risk(self, line: Line | None) -> Floats:
        return (
            self._running(self._mass * self.rejections(line))
            if self.rejection is None
            else self._recorded_risk
        )

    def _place(self, threshold: ArrayLike) -> NDArray[np.int64]:
        return np.searchsorted(self._atoms, as_floats("threshold", threshold), side="right")

    def rejections(self, line: Line | None = None) -> Floats:
        """Rejection probability of every token, as recorded, else the line's, shape [N] [-]."""
        return _needed(line)(self.uncertainty) if self.rejection is None else self.rejection

    def risk(self, threshold: ArrayLike, line: Line | None = None) -> Floats:
        r"""Risk of a threshold on recorded tokens.

        .. math:: R(t) = \sum_n w_n \beta_n 1[u_n \le t]

        New here. Derivation: ``derivations.threshold.risk_empirical``.

        Examples
        --------
        >>> Recorded([0.0, 0.4, 0.4, 0.9], [0.0, 0.2, 0.4, 1.0]).risk([0.1, 0.4, 1.0])
        array([0.  , 0.15, 0.4 ])
        """
        return _take(self._risk(line), self._place(threshold))

    def skip_rate(self, threshold: ArrayLike) -> Floats:
        """Share of the tokens at or below a threshold [-]."""
        return _take(self._skipped, self._place(threshold))

    def within(self, budget: float, line: Line | None = None, *, split_ties: bool = True) -> Threshold:
        r"""Largest threshold within a risk budget on recorded tokens.

        .. math:: P(\text{skip} \mid u = u^*) = \frac{\varepsilon - R(u^*{-})}{R(u^*) - R(u^*{-})}

        New here: sort and accumulate; the first atom that does not fit is split by randomising, so the budget
        is met exactly. Derivation: ``derivations.threshold.risk_empirical``.

        Notes
        -----
        :math:`u^* = \sup\{t : R(t) \le \varepsilon\}` is the atom that does not fit; where nothing of it fits
        the tie probability is 0. Where everything fits the threshold is 1.

        Examples
        --------
        >>> law = Recorded([0.0, 0.4, 0.4, 0.9], [0.0, 0.2, 0.4, 1.0])
        >>> split = law.within(0.05)
        >>> split.threshold, round(split.tie_probability, 6), round(split.risk, 6), round(split.skip_rate, 6)
        (0.4, 0.333333, 0.05, 0.416667)
        >>> law.within(0.05, split_ties=False)
        Threshold(threshold=0.0, tie_probability=1.0, risk=0.0, skip_rate=0.25)
        """
        allowed, last = float(as_probability("budget", budget)), self._atoms.size
        spent, skipped = self._risk(line), self._skipped
        whole = np.sum(spent[..., 1:] <= allowed * (1.0 + _ROUNDING), axis=-1)  # atoms that fit, [...]
        everything = whole == last
        risk, rate = _take(spent, whole), _take(skipped, whole)
        if split_ties:
            after = np.minimum(whole + 1, last)
            step = _take(spent, after) - risk
            share = np.divide(allowed - risk, step, out=np.zeros_like(step), where=step > 0.0).clip(0.0, 1.0)
            threshold = self._atoms[np.minimum(whole, last - 1)]
            risk, rate = risk + share * step, rate + share * (_take(skipped, after) - rate)
        else:
            share, threshold = np.ones_like(risk), np.append(NEVER_SKIP, self._atoms)[whole]
        threshold, share, rate = (np.where(everything, 1.0, value) for value in (threshold, share, rate))
        answer = (value if value.ndim else float(value) for value in (threshold, share, risk, rate))
        return Threshold(*answer)  # type: ignore[arg-type]

    def nodes(self, num_nodes: int = 10_000) -> "Recorded":
        """Return the tokens themselves, as many as were recorded."""
        return self


def _needed(line: Line | None) -> Line:
    if line is None:
        raise ValueError("line must be given for a law without recorded rejections; got None")
    return line


def _take(totals: Floats, place: NDArray[np.int64]) -> Floats:
    """Totals at a place, one for each law where there are many."""
    if totals.ndim == 1:
        return totals[place]
    return np.take_along_axis(totals, np.broadcast_to(place, totals.shape[:-1])[..., None], axis=-1)[..., 0]


def tie_groups(values: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sort values and find the groups of equal ones.

    Parameters
    ----------
    values : ndarray of float64, shape [N]
        What is sorted, N at least 1 [-].

    Returns
    -------
    order : ndarray of int64, shape [N]
        Sorting order, stable.
    starts : ndarray of int64, shape [G]
        Where each group of equal values starts in that order.

    Examples
    --------
    >>> tie_groups(np.array([0.5, 0.1, 0.5]))
    (array([1, 0, 2]), array([0, 1]))
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return order, starts


def bias_price_for_budget(budget: float, line: Line, transmit_s: float, law: Law) -> float:
    r"""Multiplier of a risk budget, :math:`\varepsilon \to \lambda`.

    .. math:: \lambda(\varepsilon) = \tau / \beta(u^*(\varepsilon)), \; u^* = \sup\{t : R(t) \le \varepsilon\}

    New here: the Lagrangian of "least latency within the budget" skips iff :math:`\lambda \beta(u) \le \tau`,
    so the marginal token fixes the price. Derivation: ``derivations.threshold.bias_price``.

    Parameters
    ----------
    budget : float
        :math:`\varepsilon` [-].
    line : Line
        :math:`\beta(u)`.
    transmit_s : float
        :math:`\tau`, latency a transmission adds [s].
    law : Law
        Law of the uncertainty.

    Returns
    -------
    float
        :math:`\lambda` [s]; 0 where the budget does not bind, infinite where only what is free is skipped.

    Raises
    ------
    ValueError
        If the slope is not positive, the budget is outside [0, 1], or the latency is negative or NaN.

    Notes
    -----
    A price belongs to a policy that thresholds u on the line; recorded rejections of a law are used for the
    budget alone.

    Examples
    --------
    >>> round(bias_price_for_budget(0.0625, Line(0.5, 0.0), 0.1, Uniform()), 9)
    0.4
    """
    spent = law.within(budget, line)
    if spent.threshold == 1.0 and spent.risk < budget:
        return 0.0
    return float(line.bias_price_s(spent.threshold, transmit_s))


def budget_for_bias_price(bias_price_s: float, line: Line, transmit_s: float, law: Law) -> float:
    r"""Risk that a price of bias leads to, :math:`\lambda \to \varepsilon`.

    .. math:: \varepsilon(\lambda) = R(u^*(\lambda))

    New here; the inverse of `bias_price_for_budget` where the line is neither 0 nor 1. Derivation:
    ``derivations.threshold.cost_optimal``.

    Parameters
    ----------
    bias_price_s : float
        :math:`\lambda` [s].
    line : Line
        :math:`\beta(u)`.
    transmit_s : float
        :math:`\tau`, latency a transmission adds [s].
    law : Law
        Law of the uncertainty.

    Returns
    -------
    float
        :math:`\varepsilon` [-], non-increasing in the price.

    Raises
    ------
    ValueError
        If the slope is not positive, or a latency or the price is negative or NaN.

    Notes
    -----
    With atoms one price covers a range of budgets, and the largest is returned.

    Examples
    --------
    >>> round(budget_for_bias_price(0.4, Line(0.5, 0.0), 0.1, Uniform()), 9)
    0.0625
    """
    return float(law.risk(line.cost_optimal(transmit_s, bias_price_s, clip=False), line))


def parse_law(
    text: str, recorded: Callable[[str], Recorded | None] | None = None, *, option: str = "uncertainty"
) -> Law:
    """Read a law of the uncertainty as people write it.

    Parameters
    ----------
    text : str
        ``uniform``, ``beta:P,Q``, a ``.npy`` file of u [N] or of u and beta [N, 2], or what
        ``recorded`` reads.
    recorded : callable, optional
        Reads the law of a trace or a calibration from a name or path; None where a file holds no law.
    option : str, default "uncertainty"
        What the text was given for, named in what is refused.

    Returns
    -------
    Law
        The law.

    Raises
    ------
    ValueError
        If the text is none of these, or a file does not hold what it should.

    Examples
    --------
    >>> parse_law("uniform"), parse_law("beta:2,3")
    (Uniform(), Beta(alpha=2.0, beta=3.0))
    """
    if text == "uniform":
        return Uniform()
    if text.startswith("beta:"):
        try:
            alpha, beta = (float(part) for part in text.removeprefix("beta:").split(","))
        except ValueError:
            raise ValueError(f"{option} must be beta:P,Q with two numbers; got {text!r}") from None
        return Beta(alpha, beta)
    path = Path(text)
    if path.suffix.lower() == ".npy":
        from cuhlm_theory import _arrays

        values = _arrays.load(path, name=option).astype(np.float64)
        if values.ndim == 1:
            return Recorded(values)
        if values.shape[1] != 2:
            raise ValueError(f"{option} must have shape [N] or [N, 2]; got {path}, shape {values.shape}")
        return Recorded(values[:, 0], values[:, 1])
    if recorded is None or not path.exists():
        raise ValueError(f"{option} must be uniform, beta:P,Q or an existing file; got {text!r}")
    law = recorded(text)
    if law is None:
        raise ValueError(f"{option} must be a file with recorded uncertainties; got {text!r}")
    return law
