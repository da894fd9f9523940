r"""Temperature-perturbation uncertainty: its mean by certified quadrature, and its sampling noise.

A device draws temperatures :math:`\theta_m` and asks how often the perturbed model disagrees with the draft
token. The answer is binomial around a mean :math:`\bar u` that needs no sampling at all.

Why the quadrature below can be trusted for *any* logits. Write :math:`g_i` for the logit gaps,
:math:`t = \ln\theta` and :math:`s = e^{-t} = \sigma + i\tau`. The integrand :math:`e^{-g_d s}/Z(s)`,
:math:`Z(s) = \sum_i e^{-g_i s}`, can only misbehave where :math:`Z` vanishes, and

.. math::
    |Z(\sigma + i\tau)| \ge Z(\sigma)\,\mathbb E_\sigma \cos\bigl(\tau (g - \mathbb E_\sigma g)\bigr)
    \ge Z(\sigma)\,\bigl(1 - \tfrac12 \tau^2 \operatorname{Var}_\sigma g\bigr),

where :math:`\sigma^2 \operatorname{Var}_\sigma g` is the varentropy of a distribution on V tokens. Its
stationary points take two values of :math:`p` only, so it is at most
:math:`\max_x (x + L)^2 / (4\cosh^2(x/2))` with :math:`L = \ln(V - 1)`, and
:math:`(x + L)^2 \le (L^2 + 4)(1 + x^2/4) \le (L^2 + 4)\cosh^2(x/2)` gives
:math:`\text{varentropy} \le L^2/4 + 1`. With :math:`\tau = \sigma\tan(\operatorname{Im} t)` the integrand is
therefore analytic and bounded in a strip about the real axis of :math:`t` whose width depends on V alone.
Gauss--Legendre panels of one e-fold in :math:`\theta` then converge geometrically at a known rate, so
the nodes can be chosen before the logits are seen.

The normalisers need every token, any one token's integral only them. They are sums
:math:`\sum_i e^{-s g_i}` over gaps of which most are alike: tokens whose gaps lie within a factor
:math:`1 \pm \rho` of a centre c make a bundle, and with :math:`\epsilon_i = g_i/c - 1` its part is
:math:`e^{-sc} \sum_k (-sc)^k \sum_i \epsilon_i^k / k!`. Cut off after K terms it errs by at most
:math:`n e^{-sc} (\rho sc)^K e^{\rho sc} / K!` for n tokens. Since :math:`Z \ge 1 + n e^{-sc(1 + \rho)}`, no
more than about :math:`(\rho \ln V)^K / K!` of Z is lost, at any temperature: with :math:`\rho = 2^{-9}` and
K = 6 less than :math:`10^{-12}` up to a million tokens. One pass over the vocabulary then serves all nodes.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import factorial, gammaln, xlog1py, xlogy

from cuhlm_theory._checks import (
    as_coefficient,
    as_count,
    as_floats,
    as_logits,
    as_nonnegative,
    as_positive,
    as_probability,
)
from cuhlm_theory.kept_law import most_kept_tokens

__all__ = [
    "ContextUncertainty",
    "attenuated_correlation",
    "attenuated_line",
    "attenuation_factor",
    "disagreement_count_pmf",
    "mean_uncertainty",
    "num_nodes",
    "restored_correlation",
    "restored_line",
    "sampled_uncertainty",
    "varentropy_bound",
]

Floats = NDArray[np.float64]

_MOST_SAMPLES = 10**7  # draws of a token that are made at once
_CACHE_ELEMENTS = 1 << 14  # exponentials held at once, 128 KiB: more are taken in parts that stay in cache
_BUNDLE_BITS = 8  # of a gap's mantissa that its bundle shares: 256 bundles from a gap to its double
_NUM_MOMENTS = 6
_FEW_TOKENS = 1024  # fewer are summed one by one


@dataclass(frozen=True, slots=True)
class _Panel:
    """One e-fold of temperature; temperatures and weights are fractions of the largest temperature."""

    inverse_temperature: Floats  # 1 / theta at the nodes, [n]
    weight: Floats  # quadrature weight times d(theta)/d(ln theta), [n]
    cutoff: float  # gaps above this hold less than the tolerated mass at every node of the panel


def varentropy_bound(vocab_size: int) -> float:
    r"""Bound on the variance of :math:`\ln p` under any distribution on V tokens.

    .. math:: \operatorname{Var}_p \ln p \le \tfrac14 \ln^2(V - 1) + 1

    New here; proven in the text of this module. It fixes the number of quadrature nodes.

    Parameters
    ----------
    vocab_size : int
        :math:`V` [token].

    Returns
    -------
    float
        Bound [nat^2], less than 1 above the largest value there is.

    Raises
    ------
    ValueError
        If V < 2.

    Examples
    --------
    >>> round(varentropy_bound(49_152), 4)
    30.1743
    """
    size = int(as_count("vocab_size", vocab_size, at_least=2))
    return 0.25 * math.log(size - 1) ** 2 + 1.0


def _nodes_needed(half_width: float, top: float, varentropy: float, tolerance: float) -> int:
    r"""Fewest Gauss--Legendre nodes whose a-priori error on one panel is below ``tolerance``.

    For an integrand bounded by :math:`M` in the Bernstein ellipse :math:`\rho = e^\eta`, n nodes err by at
    most :math:`\tfrac{64}{15} M \rho^{-2n} / (1 - \rho^{-2})` on [-1, 1] (n >= 2). The ellipse of semi-axis
    :math:`\sinh\eta` stays in the strip of half-width ``strip``, where :math:`M = \theta_{\max}
    e^{H(\cosh\eta - 1)} / \delta` and :math:`\delta` is what is left of :math:`1 - \tfrac12
    \tan^2(\text{strip})\,\text{varentropy}`; it trades width for height, so take the best.
    """
    best = math.inf
    for delta in np.geomspace(1e-4, 0.9, 60):
        strip = math.atan(math.sqrt(2.0 * (1.0 - delta) / varentropy))
        eta = math.asinh(strip / half_width)
        height = top * math.exp(half_width * (math.cosh(eta) - 1.0)) / delta
        constant = half_width * 64.0 / 15.0 * height / -math.expm1(-2.0 * eta)
        best = min(best, math.log(constant / tolerance) / (2.0 * eta))
    return max(2, math.ceil(best))


@functools.lru_cache(maxsize=32)
def _panels(vocab_size: int, tolerance: float) -> tuple[_Panel, ...]:
    """Panels from the largest temperature down; half the tolerance is for nodes, a quarter for cutoffs.

    Below the last panel the argmax limit stands in: a width of at most ``tolerance / 4``, wrong by at most 1.
    """
    half_width = 0.5
    num_panels = math.ceil(math.log(4.0 / tolerance))
    panels = []
    for index in range(num_panels):
        top = math.exp(-index)
        share = tolerance / num_panels
        count = _nodes_needed(half_width, top, varentropy_bound(vocab_size), share / 2.0)
        abscissa, weight = np.polynomial.legendre.leggauss(count)
        theta = np.exp(half_width * (abscissa - 1.0) - index)
        # Dropping gaps above c theta changes a probability by at most V e^-c, over a panel `top` wide.
        cutoff = top * max(0.0, math.log(4.0 * vocab_size * top / share))
        panels.append(_Panel(1.0 / theta, half_width * weight * theta, cutoff))
    return tuple(panels)


def _bundled(gap: Floats) -> tuple[Floats, Floats]:
    """Bundles of positive gaps: centres [B], and moments of the relative offsets over k!, shape [K, B].

    A bundle holds the gaps that agree in their exponent and the first bits of their mantissa.
    """
    if gap.size <= _FEW_TOKENS:
        return gap, np.ones((1, gap.size))
    shift = 52 - _BUNDLE_BITS
    first, last = (int(end.view(np.int64)) >> shift for end in (gap.min(), gap.max()))
    centre = ((np.arange(first, last + 1) << shift) + (1 << shift - 1)).view(np.float64)
    moments = np.zeros((_NUM_MOMENTS, centre.size))
    for start in range(0, gap.size, _CACHE_ELEMENTS):
        part = gap[start : start + _CACHE_ELEMENTS]
        place = (part.view(np.int64) >> shift) - first
        offset, term = part / centre[place] - 1.0, np.ones_like(part)
        for moment in moments:
            moment += np.bincount(place, term, centre.size)
            term *= offset
    filled = moments[0] > 0.0
    return centre[filled], moments[:, filled] / factorial(np.arange(_NUM_MOMENTS))[:, None]


def _sums(rate: Floats, centre: Floats, moments: Floats) -> Floats:
    """Sum of exp(-rate gap) over the gaps in bundles, shape [n]."""
    exponent = np.multiply.outer(-rate, centre)  # [n, B]
    series = moments[-1]
    for moment in moments[-2::-1]:
        series = series * exponent + moment
    return np.asarray((series * np.exp(exponent)).sum(axis=1))


def _scaled_gaps(row: Floats, max_temperature: float) -> Floats:
    with np.errstate(over="ignore"):
        return (row.max() - row) / max_temperature


def _as_tokens(draft: ArrayLike, logits: Floats) -> NDArray[np.int64]:
    """One token a row; a single row may meet several drafts."""
    index = as_count("draft", draft, at_least=0, at_most=logits.shape[-1] - 1)
    rows = index.shape if logits.ndim == 1 else logits.shape[:-1]
    try:
        return np.broadcast_to(index, rows)
    except ValueError:
        raise ValueError(
            f"draft must have one token a row of logits, shape {rows}; got shape {index.shape}"
        ) from None


def _as_tolerance(tolerance: float) -> float:
    value = float(as_positive("tolerance", tolerance))
    if not 1e-13 <= value < 1.0:
        raise ValueError(f"tolerance must lie in [1e-13, 1); got {value:g}")
    return value


class ContextUncertainty:
    r"""Mean uncertainty of the tokens of one context: the normalisers once, then any tokens that are asked.

    .. math::
        \bar u(z, d)
        = 1 - \frac{1}{\theta_{\max}} \int_0^{\theta_{\max}} \mathrm{softmax}(z/\theta)_d\, d\theta

    Derivation: ``derivations.uncertainty.mean_uncertainty``.

    Parameters
    ----------
    logits : array_like, shape [V]
        :math:`z`, logits of the small model, finite [nat].
    max_temperature : float, default 2.0
        :math:`\theta_{\max}`, largest perturbed temperature [-].
    tolerance : float, default 1e-06
        Largest absolute error [-], in [1e-13, 1).

    Raises
    ------
    ValueError
        If a logit is not finite, V < 2, or the temperature is not positive.

    Notes
    -----
    One pass over the vocabulary, then a token costs one exponential a node.

    Examples
    --------
    >>> ContextUncertainty([0.0, 3.0, -5.0])([1, 0]).round(3)
    array([0.066, 0.936])
    """

    def __init__(self, logits: ArrayLike, *, max_temperature: float = 2.0, tolerance: float = 1e-6) -> None:
        values = as_logits("logits", logits)
        panels = _panels(values.shape[-1], _as_tolerance(tolerance))
        self._gap = _scaled_gaps(values, float(as_positive("max_temperature", max_temperature)))
        self._nodes: list[tuple[float, Floats, Floats]] = []  # cutoff, inverse temperatures, weights over Z
        largest = np.count_nonzero(self._gap == 0.0)
        matters = (self._gap > 0.0) & (self._gap <= panels[0].cutoff)
        centre, moments = _bundled(np.compress(matters, self._gap))
        left = 1.0  # temperatures still to be covered
        for panel in panels:
            felt = centre <= panel.cutoff * (1.0 + 2.0 ** -(_BUNDLE_BITS + 1))  # from a bundle's least gap on
            centre, moments = centre[felt], moments[:, felt]
            if not centre.size:
                break  # only the argmax and its ties are left: the limit is exact from here down
            rate = panel.inverse_temperature
            self._nodes.append((panel.cutoff, rate, panel.weight / (largest + _sums(rate, centre, moments))))
            left *= math.exp(-1.0)
        self._limit = left / largest

    def __call__(self, draft: ArrayLike | None = None) -> Floats:
        """Return the mean uncertainty of tokens, in the shape of ``draft``; of every token if it is None."""
        gap = self._gap
        if draft is not None:
            gap = gap[as_count("draft", draft, at_least=0, at_most=gap.size - 1)]
        flat = gap.reshape(-1)
        out = 1.0 - self._limit * (flat == 0.0)
        for cutoff, rate, weight in self._nodes:
            felt, step = np.flatnonzero(flat <= cutoff), max(1, _CACHE_ELEMENTS // rate.size)
            for first in range(0, felt.size, step):
                part = felt[first : first + step]
                out[part] -= np.einsum("ij,j->i", np.exp(np.multiply.outer(flat[part], -rate)), weight)
        return np.clip(out, 0.0, 1.0).reshape(gap.shape)  # rounding only

    def candidates(self, threshold: float) -> NDArray[np.intp]:
        """Return the tokens that a threshold in [0, 1] may keep: the likeliest ones, one more than it can.

        At most `kept_law.most_kept_tokens` are at or below a threshold; the one more is for what quadrature
        and rounding miss. Derivation: ``derivations.uncertainty.likeliest``.
        """
        num = min(int(most_kept_tokens(threshold, self._gap.size)) + 1, self._gap.size)
        return np.argpartition(self._gap, num - 1)[:num]


def mean_uncertainty(
    logits: ArrayLike,
    draft: ArrayLike | None = None,
    *,
    max_temperature: float = 2.0,
    tolerance: float = 1e-6,
) -> Floats:
    r"""Conditional mean of the temperature-perturbation uncertainty, without sampling.

    .. math::
        \bar u(z, d)
        = 1 - \frac{1}{\theta_{\max}} \int_0^{\theta_{\max}} \mathrm{softmax}(z/\theta)_d\, d\theta

    New here; the sampled measure it averages is [CU, eqs. (8)(9), v1], printed.

    Derivation: ``derivations.uncertainty.mean_uncertainty``.

    Parameters
    ----------
    logits : array_like, shape [..., V]
        :math:`z`, logits of the small model; -inf is a token of probability 0 [nat].
    draft : array_like of int, shape [...], optional
        :math:`d`, the token whose uncertainty is asked for; None gives it for every token [token].
    max_temperature : float, default 2.0
        :math:`\theta_{\max}`, largest perturbed temperature [-].
    tolerance : float, default 1e-06
        Largest absolute error [-], in [1e-13, 1).

    Returns
    -------
    ndarray of float64, shape [...] or [..., V]
        :math:`\bar u` [-]; over all tokens :math:`\sum_d (1 - \bar u_d) = 1`.

    Raises
    ------
    ValueError
        If a logit is NaN or +inf, a row is all -inf, V < 2, a draft is outside [0, V), or the temperature is
        not positive.

    Notes
    -----
    Gauss--Legendre panels of one e-fold in :math:`\ln\theta`, from :math:`\theta_{\max}` down to
    ``tolerance / 4`` of it; below, the argmax limit split among exact ties. Features sit at :math:`\theta` of
    the order of a logit gap, at any scale, hence the logarithm. The number of nodes comes from the bound in
    the module text and holds for every logit vector, so no refinement loop can be fooled. In each panel the
    tokens whose gap is too large to matter are dropped, which makes the small temperatures almost free.
    Several drafts of a row share its normalisers; `ContextUncertainty` keeps them for later ones too.

    References
    ----------
    .. [CU] arXiv:2505.11788v1, eqs. (8)(9).

    Examples
    --------
    >>> mean_uncertainty([5.0, 5.0, -1e4], draft=[0]).round(6)
    array([0.5])
    >>> mean_uncertainty([0.0, 3.0]).round(6)
    array([0.936031, 0.063969])
    """
    values = as_logits("logits", logits)
    rows = values.reshape(-1, values.shape[-1])  # [N, V]
    shape, asked = values.shape, [None] * len(rows)
    if draft is not None:
        tokens = _as_tokens(draft, values)
        shape, asked = tokens.shape, tokens.reshape(len(rows), -1)
    found = [
        ContextUncertainty(row, max_temperature=max_temperature, tolerance=tolerance)(token)
        for row, token in zip(rows, asked, strict=True)
    ]
    return np.array(found).reshape(shape)


def num_nodes(
    logits: ArrayLike, *, max_temperature: float = 2.0, tolerance: float = 1e-6
) -> NDArray[np.int64]:
    r"""Temperatures at which `mean_uncertainty` evaluates a row before the argmax limit takes over.

    Parameters
    ----------
    logits : array_like, shape [..., V]
        :math:`z`, logits of the small model [nat].
    max_temperature : float, default 2.0
        :math:`\theta_{\max}`, largest perturbed temperature [-].
    tolerance : float, default 1e-06
        Largest absolute error [-].

    Returns
    -------
    ndarray of int64, shape [...]
        Quadrature nodes; the smallest positive logit gap decides how far down they reach.

    Raises
    ------
    ValueError
        As `mean_uncertainty`.

    Examples
    --------
    >>> num_nodes([[0.0, 3.0], [0.0, 1e4]])
    array([23,  0])
    """
    values = as_logits("logits", logits)
    largest = float(as_positive("max_temperature", max_temperature))
    panels = _panels(values.shape[-1], _as_tolerance(tolerance))
    with np.errstate(over="ignore"):
        gap = (values.max(axis=-1, keepdims=True) - values) / largest
    smallest = np.where(gap > 0.0, gap, np.inf).min(axis=-1)  # [...]
    counts = np.zeros(smallest.shape, dtype=np.int64)
    for panel in panels:
        counts += np.where(smallest <= panel.cutoff, panel.weight.size, 0)
    return counts


def sampled_uncertainty(
    logits: ArrayLike,
    draft: ArrayLike,
    *,
    num_samples: int = 20,
    max_temperature: float = 2.0,
    rng: np.random.Generator,
) -> Floats:
    r"""Monte-Carlo uncertainty as printed: the share of perturbed draws that disagree with the draft.

    .. math::
        u = \frac1M \sum_{m=1}^M 1[d_m \ne d], \quad d_m \sim \mathrm{softmax}(z/\theta_m), \quad
        \theta_m \sim U(0, \theta_{\max}]     \qquad \text{[CU, eqs. (8)(9), v1], printed}

    Derivation: ``derivations.uncertainty.mean_uncertainty``.

    Parameters
    ----------
    logits : array_like, shape [..., V]
        :math:`z`, logits of the small model [nat].
    draft : array_like of int, shape [...]
        :math:`d`, the draft token [token].
    num_samples : int, default 20
        :math:`M`, perturbed draws [-].
    max_temperature : float, default 2.0
        :math:`\theta_{\max}`, largest perturbed temperature [-].
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`u`, a multiple of 1/M [-].

    Raises
    ------
    ValueError
        As `mean_uncertainty`, or if ``num_samples`` < 1.

    Notes
    -----
    Only the event :math:`d_m \ne d` is drawn, with its exact probability given :math:`\theta_m`.

    Examples
    --------
    >>> sampled_uncertainty([0.0, 9.0], [1], num_samples=20, rng=np.random.default_rng(1))
    array([0.])
    """
    values = as_logits("logits", logits)
    largest = float(as_positive("max_temperature", max_temperature))
    count = int(as_count("num_samples", num_samples))
    as_count("num_samples", count, at_most=_MOST_SAMPLES)
    tokens = _as_tokens(draft, values)
    rows = np.broadcast_to(values, (*tokens.shape, values.shape[-1])).reshape(-1, values.shape[-1])
    out = np.empty(len(rows))
    step = max(1, _CACHE_ELEMENTS // rows.shape[-1])
    for index, (row, token) in enumerate(zip(rows, tokens.reshape(-1), strict=True)):
        rate = 1.0 / (1.0 - rng.random(count))  # theta = 1 - [0, 1) lies in (0, 1]
        coin = rng.random(count)
        gap = _scaled_gaps(row, largest)
        differs = 0
        with np.errstate(over="ignore"):
            for first in range(0, count, step):
                part = slice(first, first + step)
                kept = np.exp(-rate[part] * gap[token])
                mass = np.exp(np.multiply.outer(-rate[part], gap)).sum(axis=1)
                differs += np.count_nonzero(coin[part] * mass >= kept)
        out[index] = differs / count
    return out.reshape(tokens.shape)


def disagreement_count_pmf(mean_uncertainty: ArrayLike, num_samples: int) -> Floats:
    r"""Law of the number of disagreements among M perturbed draws.

    .. math:: P(M u = j) = \binom{M}{j} \bar u^j (1 - \bar u)^{M - j}

    New here: given logits and draft the M indicators are i.i.d.

    Derivation: ``derivations.uncertainty.disagreement_count_pmf``.

    Parameters
    ----------
    mean_uncertainty : array_like, shape [...]
        :math:`\bar u` [-].
    num_samples : int
        :math:`M`, perturbed draws [-].

    Returns
    -------
    ndarray of float64, shape [..., M + 1]
        Probability of j = 0 ... M disagreements [-].

    Raises
    ------
    ValueError
        If an uncertainty is outside [0, 1] or ``num_samples`` < 1.

    Examples
    --------
    >>> disagreement_count_pmf(0.5, 2)
    array([0.25, 0.5 , 0.25])
    """
    mean = as_probability("mean_uncertainty", mean_uncertainty)[..., None]
    total = int(as_count("num_samples", num_samples))
    count = np.arange(total + 1)
    log_ways = gammaln(total + 1) - gammaln(count + 1) - gammaln(total - count + 1)
    return np.exp(log_ways + xlogy(count, mean) + xlog1py(total - count, -mean))


def attenuation_factor(
    mean_uncertainty: ArrayLike, num_samples: int, *, weight: ArrayLike | None = None
) -> float:
    r"""How much sampling noise in u shrinks a regression slope on it (errors in variables).

    .. math::
        \lambda = \frac{\operatorname{Var} \bar u}{\operatorname{Var} \bar u + E[\bar u (1 - \bar u)] / M}

    New here.

    Derivation: ``derivations.uncertainty.attenuation_factor``.

    Parameters
    ----------
    mean_uncertainty : array_like, shape [N]
        :math:`\bar u` of the tokens [-].
    num_samples : int
        :math:`M`, perturbed draws behind each u [-].
    weight : array_like, shape [N], optional
        Weights of the tokens, any positive scale; None weighs them alike [-].

    Returns
    -------
    float
        :math:`\lambda` [-], in (0, 1].

    Raises
    ------
    ValueError
        If an uncertainty is outside [0, 1], ``num_samples`` < 1, lengths disagree, or all uncertainties are
        equal.

    Examples
    --------
    >>> round(attenuation_factor([0.0, 0.5, 1.0], 20), 6)
    0.97561
    """
    mean = as_probability("mean_uncertainty", mean_uncertainty).reshape(-1)
    total = int(as_count("num_samples", num_samples))
    weights = np.ones(mean.size) if weight is None else as_nonnegative("weight", weight).reshape(-1)
    if weights.size != mean.size:
        raise ValueError(
            f"weight must have as many tokens as mean_uncertainty, {mean.size}; got {weights.size}"
        )
    if weights.sum() <= 0.0:
        raise ValueError(f"weight must have a positive sum; got {weights.sum():g}")
    centre = np.average(mean, weights=weights)
    between = float(np.average((mean - centre) ** 2, weights=weights))
    within = float(np.average(mean * (1.0 - mean), weights=weights)) / total
    if between <= 0.0:
        raise ValueError(f"mean_uncertainty must vary between tokens; got a variance of {between:g}")
    return between / (between + within)


def _as_factor(factor: ArrayLike) -> Floats:
    value = as_probability("factor", factor)
    return as_positive("factor", value)


def attenuated_line(
    slope: ArrayLike, intercept: ArrayLike, factor: ArrayLike, mean_of_uncertainty: ArrayLike
) -> tuple[Floats, Floats]:
    r"""Line that a least-squares fit finds on the sampled u, given the line on its mean.

    .. math:: a_M = \lambda a, \qquad b_M = E\beta - a_M E u = b + (1 - \lambda)\, a\, E \bar u

    New here. `restored_line` is the inverse.

    Derivation: ``derivations.uncertainty.attenuated_line``.

    Parameters
    ----------
    slope : array_like, shape [...]
        :math:`a`, slope on :math:`\bar u` [-].
    intercept : array_like, shape [...]
        :math:`b`, intercept on :math:`\bar u` [-].
    factor : array_like, shape [...]
        :math:`\lambda`, from `attenuation_factor` [-].
    mean_of_uncertainty : array_like, shape [...]
        :math:`E\bar u = E u` over the tokens [-].

    Returns
    -------
    tuple of ndarray, shape [...] each
        :math:`(a_M, b_M)` [-].

    Raises
    ------
    ValueError
        If an argument is not finite or beyond 1e150, the factor is outside (0, 1], or the mean is outside
        [0, 1].

    Examples
    --------
    >>> a, b = attenuated_line(0.8, -0.05, 0.9, 0.5)
    >>> a.round(6), b.round(6)
    (np.float64(0.72), np.float64(-0.01))
    """
    a, b = as_coefficient("slope", slope), as_coefficient("intercept", intercept)
    shrink = _as_factor(factor)
    centre = as_probability("mean_of_uncertainty", mean_of_uncertainty)
    return np.asarray(shrink * a)[()], np.asarray(b + (1.0 - shrink) * a * centre)[()]


def restored_line(
    slope: ArrayLike, intercept: ArrayLike, factor: ArrayLike, mean_of_uncertainty: ArrayLike
) -> tuple[Floats, Floats]:
    r"""Line on :math:`\bar u` behind a line that was fitted on the sampled u.

    .. math:: a = a_M / \lambda, \qquad b = b_M + (a_M - a)\, E u

    New here, the inverse of `attenuated_line`.

    Derivation: ``derivations.uncertainty.attenuated_line``.

    Parameters
    ----------
    slope : array_like, shape [...]
        :math:`a_M`, slope on u [-].
    intercept : array_like, shape [...]
        :math:`b_M`, intercept on u [-].
    factor : array_like, shape [...]
        :math:`\lambda`, from `attenuation_factor` [-].
    mean_of_uncertainty : array_like, shape [...]
        :math:`E\bar u = E u` over the tokens [-].

    Returns
    -------
    tuple of ndarray, shape [...] each
        :math:`(a, b)` [-].

    Raises
    ------
    ValueError
        If an argument is not finite or beyond 1e150, the factor is outside (0, 1], or the mean is outside
        [0, 1].

    Examples
    --------
    >>> a, b = restored_line(0.72, -0.01, 0.9, 0.5)
    >>> a.round(6), b.round(6)
    (np.float64(0.8), np.float64(-0.05))
    """
    a, b = as_coefficient("slope", slope), as_coefficient("intercept", intercept)
    shrink = _as_factor(factor)
    centre = as_probability("mean_of_uncertainty", mean_of_uncertainty)
    full = a / shrink
    return np.asarray(full)[()], np.asarray(b + (a - full) * centre)[()]


def attenuated_correlation(correlation: ArrayLike, factor: ArrayLike) -> Floats:
    r"""Correlation of the sampled u with anything that depends on the token only, :math:`\rho\sqrt\lambda`.

    New here.

    Derivation: ``derivations.uncertainty.attenuated_correlation``.

    Parameters
    ----------
    correlation : array_like, shape [...]
        :math:`\rho`, Pearson correlation of :math:`\bar u` [-].
    factor : array_like, shape [...]
        :math:`\lambda`, from `attenuation_factor` [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Pearson correlation of u [-].

    Raises
    ------
    ValueError
        If the correlation is outside [-1, 1] or the factor outside (0, 1].

    Examples
    --------
    >>> attenuated_correlation(-0.5, 0.81)
    np.float64(-0.45)
    """
    return _as_correlation(correlation) * np.sqrt(_as_factor(factor))


def restored_correlation(correlation: ArrayLike, factor: ArrayLike) -> Floats:
    r"""Correlation of :math:`\bar u` behind the correlation of the sampled u, :math:`\rho_M / \sqrt\lambda`.

    New here, the inverse of `attenuated_correlation`.

    Derivation: ``derivations.uncertainty.attenuated_correlation``.

    Parameters
    ----------
    correlation : array_like, shape [...]
        :math:`\rho_M`, Pearson correlation of u [-].
    factor : array_like, shape [...]
        :math:`\lambda`, from `attenuation_factor` [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Pearson correlation of :math:`\bar u` [-]; an estimate above 1 in size is returned as it is.

    Raises
    ------
    ValueError
        If the correlation is outside [-1, 1] or the factor outside (0, 1].

    Examples
    --------
    >>> restored_correlation(0.45, 0.81).round(12)
    np.float64(0.5)
    """
    return _as_correlation(correlation) / np.sqrt(_as_factor(factor))


def _as_correlation(value: ArrayLike) -> Floats:
    number = as_floats("correlation", value)
    if np.any(np.abs(number) > 1.0):
        raise ValueError(f"correlation must lie in [-1, 1]; got {number[np.abs(number) > 1.0].flat[0]:g}")
    return number
