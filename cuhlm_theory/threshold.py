r"""Skip thresholds: skip iff :math:`u \le u_\mathrm{th}` (THEORY section 6).

The rejection line is :math:`\beta(u) = \mathrm{clip}(a u + b, 0, 1)`, clip included: below :math:`u_0 =
\max(-b/a, 0)` it is flat at 0 (or starts at b where b > 0), above :math:`u_1 = (1 - b)/a` it is flat at 1.
The risk of a threshold is :math:`R(t) = E[\beta\,1\{u \le t\}]`, the bias of the output (section 7.1).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cuhlm_theory import _special as special
from cuhlm_theory._checks import Floats, as_floats, as_nonnegative, as_positive, as_probability
from cuhlm_theory.rejection import line, saturation, zero

__all__ = [
    "BetaLaw",
    "EmpiricalLaw",
    "RiskBudget",
    "bias_price_for_budget",
    "bias_price_for_threshold",
    "budget_for_bias_price",
    "cost_optimal",
    "risk",
    "risk_averse",
    "risk_beta",
    "risk_budget",
    "risk_budget_beta",
    "risk_budget_empirical",
    "risk_budget_uniform",
    "risk_empirical",
    "risk_prone",
    "risk_uniform",
    "skip_probability",
    "skip_rate",
]

_ROUNDING = 1e-12  # a risk within this fraction of the budget fits


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskBudget:
    """The largest threshold within a risk budget, and what it spends."""

    threshold: float
    """u*, skip below it, and at it with `tie_probability` [-]."""
    tie_probability: float
    """Probability of skipping a token whose uncertainty equals the threshold [-]; 1 for a continuous law."""
    risk: float
    """E[beta s(u)], bias that is spent, at most the budget [-]."""
    skip_rate: float
    """E[s(u)], share of the tokens that are skipped [-]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BetaLaw:
    """A beta law of the uncertainty; (1, 1), the default, is the uniform law on [0, 1]."""

    alpha: float = 1.0
    """First shape parameter [-]."""
    beta: float = 1.0
    """Second shape parameter [-]."""

    def __post_init__(self) -> None:
        as_positive("alpha", self.alpha)
        as_positive("beta", self.beta)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmpiricalLaw:
    """Recorded uncertainties; their rejection probabilities come from the line unless they are given."""

    uncertainty: Floats
    """u of the recorded tokens, shape [N] [-]."""
    rejection: Floats | None = None
    """beta of the recorded tokens, shape [N] [-]; None takes the line's."""
    weight: Floats | None = None
    """Weights of the tokens, shape [N], any positive scale [-]; None weighs them alike."""

    def __post_init__(self) -> None:
        as_probability("uncertainty", self.uncertainty)
        if self.rejection is not None:
            as_probability("rejection", self.rejection)

    def rejections(self, slope: float, intercept: float) -> Floats:
        """Rejection probability of every token, shape [N] [-]."""
        return line(self.uncertainty, slope, intercept) if self.rejection is None else self.rejection


Law = BetaLaw | EmpiricalLaw


def risk_averse(slope: ArrayLike, intercept: ArrayLike) -> Floats:
    r"""Largest threshold at which the rejection line promises no bias.

    .. math:: u_\mathrm{th} = -b / a      \qquad \text{[CU, v1, Thm 1], printed}

    Derivation: ``derivations.threshold.risk_averse``.

    Parameters
    ----------
    slope : array_like, shape [...]
        :math:`a`, positive [-].
    intercept : array_like, shape [...]
        :math:`b` [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Threshold as printed, not clipped [-]: below 0 it skips nothing, from 1 on it skips everything.

    Raises
    ------
    ValueError
        If a slope is not positive or an intercept is not finite.

    References
    ----------
    .. [CU] arXiv:2505.11788v1.

    Examples
    --------
    >>> risk_averse([0.815, 0.82], [-0.066, -0.06]).round(4)
    array([0.081 , 0.0732])
    """
    return zero(slope, intercept)


def risk_prone(slope: ArrayLike, intercept: ArrayLike, delta: ArrayLike) -> Floats:
    r"""Threshold at which the rejection line reaches the share of drafts that can be rejected at all.

    .. math:: u_\mathrm{th} = (\Delta - b) / a, \quad \Delta = P(y_d < x_d)  \qquad \text{[CU], [U], printed}

    Derivation: ``derivations.threshold.risk_prone``.

    Parameters
    ----------
    slope : array_like, shape [...]
        :math:`a`, positive [-].
    intercept : array_like, shape [...]
        :math:`b` [-].
    delta : array_like, shape [...]
        :math:`\Delta` [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Threshold as printed, not clipped [-].

    Raises
    ------
    ValueError
        If a slope is not positive, an intercept is not finite, or delta is outside [0, 1].

    Notes
    -----
    Both papers print the threshold only; :math:`\Delta` = 0.5955 and 0.2926 are reconstructed from it.

    References
    ----------
    .. [CU] arXiv:2505.11788v1. [U] arXiv:2412.12687.

    Examples
    --------
    >>> risk_prone([0.815, 0.82], [-0.066, -0.06], [0.5955, 0.2926]).round(4)
    array([0.8117, 0.43  ])
    """
    share = as_probability("delta", delta)
    return np.divide(share - as_floats("intercept", intercept), as_positive("slope", slope))[()]


def risk_uniform(threshold: ArrayLike, slope: ArrayLike, intercept: ArrayLike) -> Floats:
    r"""Risk of a threshold when the uncertainty is uniform on [0, 1].

    .. math:: R(t) = v_0 (m - u_0)_+ + \tfrac{a}{2} (m - u_0)_+^2 + (t - \max(u_1, 0))_+, \qquad
              m = \min(t, u_1), \quad v_0 = \max(b, 0)

    New here (THEORY section 6.3), clip and positive intercept included.

    Derivation: ``derivations.threshold.risk_uniform``.

    Parameters
    ----------
    threshold : array_like, shape [...]
        :math:`t` [-].
    slope : array_like, shape [...]
        :math:`a`, positive [-].
    intercept : array_like, shape [...]
        :math:`b` [-].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`R(t)` [-].

    Raises
    ------
    ValueError
        If a slope is not positive, or another argument is not finite.

    Examples
    --------
    >>> risk_uniform([0.5, 1.0], 0.5, 0.0)
    array([0.0625, 0.25  ])
    """
    t = np.clip(as_floats("threshold", threshold), 0.0, 1.0)
    a, b = as_positive("slope", slope), as_floats("intercept", intercept)
    first, full = np.maximum(zero(a, b), 0.0), np.maximum(saturation(a, b), 0.0)
    width = np.maximum(np.minimum(t, full) - first, 0.0)
    return np.maximum(b, 0.0) * width + 0.5 * a * width**2 + np.maximum(t - full, 0.0)


def risk_budget_uniform(slope: float, intercept: float, budget: float) -> RiskBudget:
    r"""Largest threshold within a risk budget when the uncertainty is uniform on [0, 1].

    .. math:: u^*(\varepsilon) = u_0 + \sqrt{2 \varepsilon / a} \quad \text{where } b \le 0

    New here (THEORY section 6.3).

    Derivation: ``derivations.threshold.risk_uniform``.

    Parameters
    ----------
    slope : float
        :math:`a`, positive [-].
    intercept : float
        :math:`b` [-].
    budget : float
        :math:`\varepsilon` [-].

    Returns
    -------
    RiskBudget
        Threshold, risk and skip rate; the tie probability is 1.

    Raises
    ------
    ValueError
        If the slope is not positive, the intercept is not finite, or the budget is outside [0, 1].

    Notes
    -----
    Departs from THEORY section 6.3 where its form does not hold. With :math:`b > 0` the quadratic starts at
    :math:`v_0 = b`: :math:`u^* = 2\varepsilon / (v_0 + \sqrt{v_0^2 + 2 a \varepsilon})`. Above the clip at
    :math:`u_1` the risk grows at rate 1: :math:`u^* = u_1 + \varepsilon - (1 - v_0^2)/(2a)`. No threshold
    exceeds 1, where everything is skipped and the budget may not be spent.

    Examples
    --------
    >>> result = risk_budget_uniform(0.815, -0.066, 0.05)
    >>> round(result.threshold, 4), round(result.risk, 6)
    (0.4313, 0.05)
    """
    a, b = float(as_positive("slope", slope)), float(as_floats("intercept", intercept))
    allowed = float(as_probability("budget", budget))
    start = min(max(b, 0.0), 1.0)  # beta at u_0
    until_full = (1.0 - start**2) / (2.0 * a)  # risk spent where the line reaches 1
    if allowed <= until_full:
        root = np.sqrt(start**2 + 2.0 * a * allowed)
        threshold = max(float(zero(a, b)), 0.0) + (2.0 * allowed / (start + root) if allowed else 0.0)
    else:
        threshold = max(float(saturation(a, b)), 0.0) + allowed - until_full
    threshold = float(min(threshold, 1.0))
    return RiskBudget(
        threshold=threshold,
        tie_probability=1.0,
        risk=float(risk_uniform(threshold, a, b)),
        skip_rate=threshold,
    )


def risk_beta(
    threshold: ArrayLike, slope: ArrayLike, intercept: ArrayLike, alpha: ArrayLike, beta: ArrayLike
) -> Floats:
    r"""Risk of a threshold when the uncertainty follows a beta law.

    .. math::
        R(t) = a \mu\, [I_m(\alpha + 1, \beta') - I_{u_0}(\alpha + 1, \beta')]
             + b\, [I_m(\alpha, \beta') - I_{u_0}(\alpha, \beta')]
             + [I_t(\alpha, \beta') - I_{u_1}(\alpha, \beta')]_+

    with :math:`m = \min(t, u_1)` and :math:`\mu = \alpha / (\alpha + \beta')`. New here (THEORY section 6.3);
    the last bracket is the clip at 1, which THEORY leaves out.

    Derivation: ``derivations.threshold.risk_beta``.

    Parameters
    ----------
    threshold : array_like, shape [...]
        :math:`t` [-].
    slope : array_like, shape [...]
        :math:`a`, positive [-].
    intercept : array_like, shape [...]
        :math:`b` [-].
    alpha : array_like, shape [...]
        :math:`\alpha`, first shape parameter [-].
    beta : array_like, shape [...]
        :math:`\beta'`, second shape parameter [-].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`R(t)` [-].

    Raises
    ------
    ValueError
        If a slope or a shape parameter is not positive, or another argument is not finite.

    Examples
    --------
    >>> risk_beta(1.0, 0.5, 0.1, 2.0, 2.0).round(12)
    np.float64(0.35)
    """
    t = np.clip(as_floats("threshold", threshold), 0.0, 1.0)
    a, b = as_positive("slope", slope), as_floats("intercept", intercept)
    p, q = as_positive("alpha", alpha), as_positive("beta", beta)
    first, full = np.clip(zero(a, b), 0.0, 1.0), np.clip(saturation(a, b), 0.0, 1.0)
    middle = np.clip(t, first, full)
    mean = p / (p + q)
    ramp = a * mean * (special.betainc(p + 1.0, q, middle) - special.betainc(p + 1.0, q, first))
    ramp = ramp + b * (special.betainc(p, q, middle) - special.betainc(p, q, first))
    flat = special.betainc(p, q, np.maximum(t, full)) - special.betainc(p, q, full)
    return np.clip(ramp + flat, 0.0, 1.0)


def risk_budget_beta(slope: float, intercept: float, budget: float, alpha: float, beta: float) -> RiskBudget:
    r"""Largest threshold within a risk budget when the uncertainty follows a beta law.

    New here (THEORY section 6.3): `risk_beta` inverted by bisection.

    Derivation: ``derivations.threshold.risk_beta``.

    Parameters
    ----------
    slope : float
        :math:`a`, positive [-].
    intercept : float
        :math:`b` [-].
    budget : float
        :math:`\varepsilon` [-].
    alpha : float
        :math:`\alpha`, first shape parameter [-].
    beta : float
        :math:`\beta'`, second shape parameter [-].

    Returns
    -------
    RiskBudget
        Threshold, risk and skip rate; the tie probability is 1.

    Raises
    ------
    ValueError
        If the slope or a shape parameter is not positive, or the budget is outside [0, 1].

    Examples
    --------
    >>> result = risk_budget_beta(0.8, -0.05, 0.05, 1.0, 1.0)
    >>> round(result.threshold, 6)  # u_0 + sqrt(2 eps / a)
    0.416053
    """
    a, b = float(as_positive("slope", slope)), float(as_floats("intercept", intercept))
    law = BetaLaw(alpha=alpha, beta=beta)
    allowed = float(as_probability("budget", budget))
    threshold = _largest_within(
        lambda t: float(risk_beta(t, a, b, law.alpha, law.beta)),
        allowed,
        min(max(float(zero(a, b)), 0.0), 1.0),
    )
    return RiskBudget(
        threshold=threshold,
        tie_probability=1.0,
        risk=float(risk_beta(threshold, a, b, law.alpha, law.beta)),
        skip_rate=float(special.betainc(law.alpha, law.beta, threshold)),
    )


def _largest_within(spent: Callable[[float], float], allowed: float, free: float) -> float:
    """Largest t of [free, 1] where the non-decreasing ``spent`` is within the budget; ``free`` spends 0."""
    if allowed == 0.0:
        return free
    if spent(1.0) <= allowed:
        return 1.0
    low, high = free, 1.0
    while low < (middle := 0.5 * (low + high)) < high:  # until the two are neighbours in float64
        low, high = (middle, high) if spent(middle) <= allowed else (low, middle)
    return low


def _as_law(
    uncertainty: ArrayLike, rejection: ArrayLike, weight: ArrayLike | None
) -> tuple[Floats, Floats, Floats]:
    """Check a recorded law and normalise its weights."""
    u = as_probability("uncertainty", uncertainty).reshape(-1)
    if u.size == 0:
        raise ValueError("uncertainty must hold at least 1 token; got 0")
    beta = as_probability("rejection", rejection).reshape(-1)
    mass = np.ones(u.size) if weight is None else as_nonnegative("weight", weight).reshape(-1)
    for name, array in (("rejection", beta), ("weight", mass)):
        if array.size != u.size:
            raise ValueError(f"{name} must have as many tokens as uncertainty, {u.size}; got {array.size}")
    if mass.sum() <= 0.0:
        raise ValueError(f"weight must have a positive sum; got {mass.sum():g}")
    return u, beta, mass / mass.sum()


def risk_empirical(
    threshold: ArrayLike, uncertainty: ArrayLike, rejection: ArrayLike, *, weight: ArrayLike | None = None
) -> Floats:
    r"""Risk of a threshold on recorded tokens, :math:`R(t) = \sum_n w_n \beta_n 1[u_n \le t]`.

    New here (THEORY section 6.3).

    Derivation: ``derivations.threshold.risk_empirical``.

    Parameters
    ----------
    threshold : array_like, shape [...]
        :math:`t` [-].
    uncertainty : array_like, shape [N]
        :math:`u_n` [-].
    rejection : array_like, shape [N]
        :math:`\beta_n`, recorded or from the line [-].
    weight : array_like, shape [N], optional
        Weights of the tokens, any positive scale; None weighs them alike [-].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`R(t)` [-].

    Raises
    ------
    ValueError
        If lengths disagree, nothing is recorded, or a value is outside [0, 1].

    Examples
    --------
    >>> risk_empirical([0.1, 0.4, 1.0], [0.0, 0.4, 0.4, 0.9], [0.0, 0.2, 0.4, 1.0])
    array([0.  , 0.15, 0.4 ])
    """
    u, beta, mass = _as_law(uncertainty, rejection, weight)
    return _cumulative(as_floats("threshold", threshold), u, mass * beta)


def _cumulative(threshold: Floats, uncertainty: Floats, amount: Floats) -> Floats:
    order = np.argsort(uncertainty)
    total = np.concatenate([[0.0], np.cumsum(amount[order])])
    return total[np.searchsorted(uncertainty[order], threshold, side="right")]


def risk_budget_empirical(
    uncertainty: ArrayLike, rejection: ArrayLike, budget: float, *, weight: ArrayLike | None = None
) -> RiskBudget:
    r"""Largest threshold within a risk budget on recorded tokens.

    .. math:: P(\text{skip} \mid u = u^*) = \frac{\varepsilon - R(u^*{-})}{R(u^*) - R(u^*{-})}

    New here (THEORY section 6.3): sort and accumulate; the first atom that does not fit is split by
    randomising, so the budget is met exactly.

    Derivation: ``derivations.threshold.risk_empirical``.

    Parameters
    ----------
    uncertainty : array_like, shape [N]
        :math:`u_n` [-].
    rejection : array_like, shape [N]
        :math:`\beta_n`, recorded or from the line [-].
    budget : float
        :math:`\varepsilon` [-].
    weight : array_like, shape [N], optional
        Weights of the tokens, any positive scale; None weighs them alike [-].

    Returns
    -------
    RiskBudget
        Threshold, tie probability, risk and skip rate.

    Raises
    ------
    ValueError
        If lengths disagree, nothing is recorded, or a value is outside [0, 1].

    Notes
    -----
    :math:`u^* = \sup\{t : R(t) \le \varepsilon\}` is the atom that does not fit; where nothing of it fits the
    tie probability is 0. Where everything fits the threshold is 1.

    Examples
    --------
    >>> result = risk_budget_empirical([0.0, 0.4, 0.4, 0.9], [0.0, 0.2, 0.4, 1.0], 0.05)
    >>> result.threshold, round(result.tie_probability, 6), round(result.risk, 6), round(result.skip_rate, 6)
    (0.4, 0.333333, 0.05, 0.416667)
    """
    u, beta, mass = _as_law(uncertainty, rejection, weight)
    allowed = float(as_probability("budget", budget))
    atom, place = np.unique(u, return_inverse=True)  # ascending, [A]
    atom_mass = np.bincount(place, weights=mass)
    atom_risk = np.bincount(place, weights=mass * beta)
    spent = np.cumsum(atom_risk)
    over = np.flatnonzero(spent > allowed * (1.0 + _ROUNDING))
    if over.size == 0:
        return RiskBudget(threshold=1.0, tie_probability=1.0, risk=float(spent[-1]), skip_rate=1.0)
    first = int(over[0])
    before = float(spent[first - 1]) if first else 0.0
    part = max((allowed - before) / float(atom_risk[first]), 0.0)
    return RiskBudget(
        threshold=float(atom[first]),
        tie_probability=part,
        risk=before + part * float(atom_risk[first]),
        skip_rate=float(atom_mass[:first].sum() + part * atom_mass[first]),
    )


def skip_probability(
    uncertainty: ArrayLike, threshold: ArrayLike, tie_probability: ArrayLike = 1.0
) -> Floats:
    r"""Probability of skipping a token: 1 below the threshold, 0 above it, the tie probability at it.

    Derivation: ``derivations.threshold.risk_empirical``.

    Parameters
    ----------
    uncertainty : array_like, shape [...]
        :math:`u` [-].
    threshold : array_like, shape [...]
        :math:`u_\mathrm{th}` [-].
    tie_probability : array_like, shape [...], default 1.0
        Probability of skipping at the threshold [-].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`s(u)` [-].

    Raises
    ------
    ValueError
        If an uncertainty or a tie probability is outside [0, 1], or a threshold is not finite.

    Examples
    --------
    >>> skip_probability([0.1, 0.2, 0.3], 0.2, 0.5)
    array([1. , 0.5, 0. ])
    """
    u, t = as_probability("uncertainty", uncertainty), as_floats("threshold", threshold)
    return np.where(u < t, 1.0, np.where(u == t, as_probability("tie_probability", tie_probability), 0.0))[()]


def cost_optimal(
    slope: ArrayLike,
    intercept: ArrayLike,
    transmit_s: ArrayLike,
    bias_price_s: ArrayLike,
    *,
    clip: bool = True,
) -> Floats:
    r"""Threshold that minimises mean latency plus the price of bias; it moves with the channel.

    .. math:: u^* = \frac{(\tau_\mathrm{up}(k) + \tau_\mathrm{LLM}) / \lambda - b}{a}

    clipped to [0, 1]. New here (THEORY section 6.4): skip iff :math:`\lambda \beta(u) \le
    \tau_\mathrm{up}(k) + \tau_\mathrm{LLM}`.

    Derivation: ``derivations.threshold.cost_optimal``.

    Parameters
    ----------
    slope : array_like, shape [...]
        :math:`a`, positive [-].
    intercept : array_like, shape [...]
        :math:`b` [-].
    transmit_s : array_like, shape [...]
        :math:`\tau_\mathrm{up}(k) + \tau_\mathrm{LLM}`, latency a transmission adds [s]; may be infinite.
    bias_price_s : array_like, shape [...]
        :math:`\lambda`, latency a unit of bias is worth [s]; 0 skips all, infinite tolerates no bias.
    clip : bool, default True
        Whether to clip below at 0, as stated. Unclipped, a negative threshold means that nothing is skipped.

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`u^*` [-], non-increasing in SNR and in bandwidth.

    Raises
    ------
    ValueError
        If a slope is not positive, an intercept is not finite, or a latency or a price is negative or NaN.

    Notes
    -----
    Two cases that the formula misses. The line is clipped at 1, so wherever :math:`\lambda \le \tau` all is
    skipped, even where :math:`a + b > 1` and the formula stops below 1. Where :math:`b > \tau/\lambda`
    nothing is worth skipping, yet the threshold 0 skips tokens whose uncertainty is exactly 0;
    ``clip=False`` tells the two apart.

    Examples
    --------
    >>> cost_optimal(0.8, -0.05, [0.1, 0.4, 2.0], 1.0)
    array([0.1875, 0.5625, 1.    ])
    """
    a, b = as_positive("slope", slope), as_floats("intercept", intercept)
    tau, price = _as_seconds("transmit_s", transmit_s), _as_seconds("bias_price_s", bias_price_s)
    a, b, tau, price = np.broadcast_arrays(a, b, tau, price)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        threshold = np.minimum((tau / price - b) / a, 1.0)
    threshold = np.where(tau >= price, 1.0, threshold)  # beta <= 1: no bias costs more than transmitting
    return (np.maximum(threshold, 0.0) if clip else threshold)[()]


def _as_seconds(name: str, value: ArrayLike) -> Floats:
    seconds = np.asarray(value, dtype=np.float64)
    bad = ~(seconds >= 0.0)
    if np.any(bad):
        raise ValueError(f"{name} must be at least 0 (infinite is allowed); got {seconds[bad].flat[0]:g}")
    return seconds


def bias_price_for_threshold(
    threshold: ArrayLike, slope: ArrayLike, intercept: ArrayLike, transmit_s: ArrayLike
) -> Floats:
    r"""Price of bias at which a threshold is the cost-optimal one; the inverse of `cost_optimal`.

    .. math:: \lambda = (\tau_\mathrm{up}(k) + \tau_\mathrm{LLM}) / \beta(u^*)

    New here (THEORY section 6.4).

    Derivation: ``derivations.threshold.bias_price``.

    Parameters
    ----------
    threshold : array_like, shape [...]
        :math:`u^*` [-].
    slope : array_like, shape [...]
        :math:`a`, positive [-].
    intercept : array_like, shape [...]
        :math:`b` [-].
    transmit_s : array_like, shape [...]
        :math:`\tau_\mathrm{up}(k) + \tau_\mathrm{LLM}` [s].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`\lambda` [s]; infinite where the line is 0, since what is free is skipped at any price.

    Raises
    ------
    ValueError
        If a threshold is outside [0, 1], a slope is not positive, or a latency is negative or NaN.

    Notes
    -----
    One to one for thresholds between :math:`u_0` and :math:`\min(u_1, 1)`. Where the line is flat at 1 every
    threshold has the price :math:`\lambda = \tau`.

    Examples
    --------
    >>> bias_price_for_threshold([0.1875, 0.5625], 0.8, -0.05, 0.4)
    array([4., 1.])
    """
    beta = line(threshold, slope, intercept)
    tau, beta = np.broadcast_arrays(_as_seconds("transmit_s", transmit_s), beta)
    return np.divide(tau, beta, out=np.full(tau.shape, np.inf), where=beta > 0.0)[()]


def risk(threshold: float, slope: float, intercept: float, law: Law) -> float:
    """Risk of a threshold under any law of the uncertainty.

    Derivation: ``derivations.threshold.risk_uniform``.

    Parameters
    ----------
    threshold : float
        Threshold [-].
    slope : float
        a, positive [-].
    intercept : float
        b [-].
    law : BetaLaw or EmpiricalLaw
        Law of the uncertainty [-].

    Returns
    -------
    float
        R(t) [-].

    Raises
    ------
    ValueError
        If the slope is not positive or another number is not finite.

    Examples
    --------
    >>> risk(0.5, 0.5, 0.0, BetaLaw())
    0.0625
    """
    if isinstance(law, EmpiricalLaw):
        beta = law.rejections(slope, intercept)
        return float(risk_empirical(threshold, law.uncertainty, beta, weight=law.weight))
    if (law.alpha, law.beta) == (1.0, 1.0):
        return float(risk_uniform(threshold, slope, intercept))
    return float(risk_beta(threshold, slope, intercept, law.alpha, law.beta))


def skip_rate(threshold: float, law: Law) -> float:
    """Share of the tokens at or below a threshold.

    Derivation: ``derivations.threshold.risk_uniform``.

    Parameters
    ----------
    threshold : float
        Threshold [-].
    law : BetaLaw or EmpiricalLaw
        Law of the uncertainty [-].

    Returns
    -------
    float
        P(u <= t) [-].

    Raises
    ------
    ValueError
        If the threshold is not finite.

    Examples
    --------
    >>> skip_rate(0.25, BetaLaw())
    0.25
    """
    if isinstance(law, EmpiricalLaw):
        ones = np.ones(np.size(law.uncertainty))
        return float(risk_empirical(threshold, law.uncertainty, ones, weight=law.weight))
    return float(special.betainc(law.alpha, law.beta, np.clip(as_floats("threshold", threshold), 0.0, 1.0)))


def risk_budget(slope: float, intercept: float, budget: float, law: Law) -> RiskBudget:
    """Largest threshold within a risk budget under any law of the uncertainty.

    Derivation: ``derivations.threshold.risk_uniform``.

    Parameters
    ----------
    slope : float
        a, positive [-].
    intercept : float
        b [-].
    budget : float
        Risk allowed [-].
    law : BetaLaw or EmpiricalLaw
        Law of the uncertainty [-].

    Returns
    -------
    RiskBudget
        Threshold, tie probability, risk and skip rate.

    Raises
    ------
    ValueError
        If the slope is not positive or the budget is outside [0, 1].

    Examples
    --------
    >>> round(risk_budget(0.5, 0.0, 0.0625, BetaLaw()).threshold, 12)
    0.5
    """
    if isinstance(law, EmpiricalLaw):
        beta = law.rejections(slope, intercept)
        return risk_budget_empirical(law.uncertainty, beta, budget, weight=law.weight)
    if (law.alpha, law.beta) == (1.0, 1.0):
        return risk_budget_uniform(slope, intercept, budget)
    return risk_budget_beta(slope, intercept, budget, law.alpha, law.beta)


def bias_price_for_budget(
    budget: float, slope: float, intercept: float, transmit_s: float, law: Law
) -> float:
    r"""Multiplier of a risk budget, :math:`\varepsilon \to \lambda`.

    .. math:: \lambda(\varepsilon) = \tau / \beta(u^*(\varepsilon)), \; u^* = \sup\{t : R(t) \le \varepsilon\}

    New here (THEORY section 6.4): the Lagrangian of "least latency within the budget" skips iff
    :math:`\lambda \beta(u) \le \tau`, so the marginal token fixes the price.

    Derivation: ``derivations.threshold.bias_price``.

    Parameters
    ----------
    budget : float
        :math:`\varepsilon` [-].
    slope : float
        :math:`a`, positive [-].
    intercept : float
        :math:`b` [-].
    transmit_s : float
        :math:`\tau`, latency a transmission adds [s].
    law : BetaLaw or EmpiricalLaw
        Law of the uncertainty [-].

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
    >>> round(bias_price_for_budget(0.0625, 0.5, 0.0, 0.1, BetaLaw()), 9)
    0.4
    """
    spent = risk_budget(slope, intercept, budget, law)
    if spent.threshold == 1.0 and spent.risk < budget:
        return 0.0
    return float(bias_price_for_threshold(spent.threshold, slope, intercept, transmit_s))


def budget_for_bias_price(
    bias_price_s: float, slope: float, intercept: float, transmit_s: float, law: Law
) -> float:
    r"""Risk that a price of bias leads to, :math:`\lambda \to \varepsilon`.

    .. math:: \varepsilon(\lambda) = R(u^*(\lambda))

    New here (THEORY section 6.4); the inverse of `bias_price_for_budget` where the line is neither 0 nor 1.

    Derivation: ``derivations.threshold.cost_optimal``.

    Parameters
    ----------
    bias_price_s : float
        :math:`\lambda` [s].
    slope : float
        :math:`a`, positive [-].
    intercept : float
        :math:`b` [-].
    transmit_s : float
        :math:`\tau`, latency a transmission adds [s].
    law : BetaLaw or EmpiricalLaw
        Law of the uncertainty [-].

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
    >>> round(budget_for_bias_price(0.4, 0.5, 0.0, 0.1, BetaLaw()), 9)
    0.0625
    """
    threshold = float(cost_optimal(slope, intercept, transmit_s, bias_price_s, clip=False))
    return risk(threshold, slope, intercept, law)
