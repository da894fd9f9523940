"""The best shares to keep by uncertainty: fitted to recorded drafts, tuned to a budget, certified."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cuhlm_theory._checks import Floats, as_count, as_positive, as_probability
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.kept_law import least_transmit_probability
from cuhlm_theory.schemes.skip import KeepShare

_HALVINGS = 50
_ROUNDING = 1e-13


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedShares:
    """Shares that skip most within a bias budget, on the drafts they were fitted to."""

    rule: KeepShare
    """What the device keeps."""
    level: float
    """kappa, the price of a skip in bias; seconds of a transmission over it are lambda [-]."""
    skip_rate: float
    """Chance that nothing is sent [-]."""
    bias: float
    """Mean bias, at most the budget [-]."""
    least_transmit: float
    """Chance to transmit that no rule with one share between two edges, and none beyond, goes below [-]."""

    @property
    def gap(self) -> float:
        """What may be missing to the best rule with one share between two edges, falling or not [-]."""
        return 1.0 - self.skip_rate - self.least_transmit


class ShareFamily:
    r"""The falling shares of least cost at every price, from drafts with their uncertainty.

    .. math:: \min_{s \downarrow} \textstyle\sum_i w_i \{\kappa (1 - s(u_i)) + (s(u_i) - r_i)_+\},
              \quad r_i = \min(1, y_i / x_i)      \qquad \text{new here}

    A falling s is a threshold for each height: s(u) is at least c where u is at most t(c). The cost is a sum
    over heights too, so that each threshold is found by itself, the smallest sum over drafts below it; the
    thresholds fall with the height because a higher one loses more on every draft. So ties need no care and
    no pooling is needed. Shares are multiples of 1/``num_levels``; uncertainties are told apart by
    ``num_edges`` quantiles. Nothing is kept above ``highest``, since all tokens that may be kept are sent.

    >>> family = ShareFamily([0.1, 0.1, 0.6, 0.6], [1.0, 0.5, 0.75, 0.0], num_levels=4)
    >>> family.at_level(0.3), family.at_level(0.6)
    (KeepShare(edges=(0.1,), shares=(0.5,)), KeepShare(edges=(0.1, 0.6), shares=(1.0, 0.75)))
    >>> fitted = family.at_budget(0.0625)
    >>> round(fitted.skip_rate, 6), round(fitted.bias, 6)
    (0.375, 0.0625)
    """

    def __init__(
        self,
        uncertainty: ArrayLike,
        ratio: ArrayLike,
        weight: ArrayLike | None = None,
        *,
        highest: float = 1.0,
        num_edges: int = 128,
        num_levels: int = 32,
    ) -> None:
        u, kept = as_probability("uncertainty", uncertainty), as_probability("ratio", ratio)
        if u.ndim != 1 or u.shape != kept.shape or u.size == 0:
            raise ValueError(f"ratio must have the shape of uncertainty, [N]; got {kept.shape} and {u.shape}")
        mass = np.full(u.size, 1.0 / u.size) if weight is None else as_probability("weight", weight)
        if mass.shape != u.shape or not 0.0 < mass.sum() <= 1.0 + 1e-6:
            raise ValueError(f"weight must be one a draft, with a sum of at most 1; got {mass.sum():g}")
        used = (mass > 0.0) & (u <= as_probability("highest", highest))
        if not used.any():
            raise ValueError(f"highest must reach the least uncertainty, {u.min():g}; got {highest:g}")
        self._u, self._ratio, self._mass = u[used], kept[used], mass[used]
        wanted = np.linspace(0.0, 1.0, int(as_count("num_edges", num_edges)) + 1)[1:]
        self._edges = np.unique(np.quantile(self._u, wanted, method="inverted_cdf"))
        self._bin = np.searchsorted(self._edges, self._u, side="left")
        self._levels = int(as_count("num_levels", num_levels))
        num = len(self._edges)
        self._below = _before(np.bincount(self._bin, self._mass, num))  # [G + 1]
        height = np.arange(self._levels)[:, None] / self._levels
        lost = np.clip((height - self._ratio) * self._levels + 1.0, 0.0, 1.0) * self._mass  # [C, N]
        self._lost = _before(np.stack([np.bincount(self._bin, row, num) for row in lost]))  # [C, G + 1]

    def _share(self, level: float) -> Floats:
        """Share of each bin at a price, the largest of least cost, shape [G]."""
        cost = self._lost - level * self._below
        least = cost <= cost.min(axis=1, keepdims=True) + _ROUNDING
        kept_bins = np.minimum.accumulate(cost.shape[1] - 1 - np.argmax(least[:, ::-1], axis=1))
        return (kept_bins[:, None] > np.arange(len(self._edges))).sum(axis=0) / self._levels

    def _spent(self, share: Floats) -> float:
        return float(np.sum(self._mass * np.maximum(share[self._bin] - self._ratio, 0.0)))

    def _rule(self, share: Floats) -> KeepShare:
        ends = np.append(np.diff(share) != 0.0, True) & (share > 0.0)
        return KeepShare(tuple(self._edges[ends].tolist()), tuple(share[ends].tolist()))

    def at_level(self, level: float) -> KeepShare:
        """Shares at a price of a skip in bias: a quantile of y/x at this level, falling with u."""
        return self._rule(self._share(float(as_positive("level", level))))

    def at_budget(self, budget: float) -> FittedShares:
        """Shares of most skips within a mean bias, by bisection on the price.

        Between the two prices that enclose the budget the shares are mixed, which bias being convex never
        spends more, until the budget is met.
        """
        spend = float(as_probability("budget", budget))
        low, high = 0.0, 1.0
        few, many = np.zeros(len(self._edges)), self._share(1.0)
        if self._spent(many) <= spend:
            few, low = many, 1.0
        while high - low > 2.0**-_HALVINGS:
            level = 0.5 * (low + high)
            share = self._share(level)
            if self._spent(share) <= spend:
                low, few = level, share
            else:
                high, many = level, share
        share = self._between(few, many, spend)
        return FittedShares(
            rule=self._rule(share),
            level=high,
            skip_rate=float(np.sum(self._mass * share[self._bin])),
            bias=self._spent(share),
            least_transmit=self._bound(spend, high),
        )

    def _between(self, few: Floats, many: Floats, spend: float) -> Floats:
        """Mix two shares so that the bias meets the budget."""
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            fits = self._spent(few + middle * (many - few)) <= spend
            low, high = (middle, high) if fits else (low, middle)
        return few + low * (many - few)

    def _bound(self, spend: float, level: float) -> float:
        """Weak duality over every share that is constant between two edges."""
        order = np.argsort(self._bin, kind="stable")
        count = np.bincount(self._bin, minlength=len(self._edges))
        place = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)
        ratio, mass = np.zeros((2, len(count), count.max()))
        ratio[self._bin[order], place] = self._ratio[order]
        mass[self._bin[order], place] = self._mass[order]
        total = float(self._mass.sum())  # the rest can never be kept
        inside = least_transmit_probability(ratio, min(spend / total, 1.0), max(level, _ROUNDING), mass)
        return 1.0 - total + total * inside


def drafts_to_fit(tokens: Tokens) -> tuple[Floats, Floats, Floats]:
    """Return the drafts that shares are fitted to.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens.

    Returns
    -------
    tuple of ndarray
        Uncertainty, min(1, y/x) and weight, shape [M] each: the candidates of every context where they were
        recorded, as far as they hold all that can be kept, each with the chance that it is drafted; else the
        recorded drafts.

    Examples
    --------
    >>> drafts_to_fit(Tokens(uncertainty=np.array([0.1]), rejection=np.array([0.25])))
    (array([0.1]), array([0.75]), array([1.]))
    """
    u = tokens.candidate_uncertainty
    if u is None:
        return tokens.uncertainty, 1.0 - tokens.rejection, tokens.weight
    x, y = tokens.need("candidate_prob"), tokens.need("candidate_llm_prob")
    known = (u < 1.0 - 1.0 / (1.0 + u.shape[1]) - _ROUNDING) & (x > 0.0)
    ratio = np.divide(y, x, out=np.ones_like(x), where=x > 0.0)
    weight = tokens.weight[:, None] * x
    return u[known], np.minimum(ratio[known], 1.0), weight[known]


def best_shares(
    tokens: Tokens,
    budget: float,
    *,
    highest: float = 1.0,
    num_edges: int = 128,
    num_levels: int = 32,
) -> FittedShares:
    r"""Shares of each draft to keep, by its uncertainty, that skip most within a bias budget.

    .. math:: \max_{s \downarrow} E[s(\bar u)] \quad\text{subject to}\quad
              E[(s(\bar u) - y_d/x_d)_+] \le \epsilon      \qquad \text{new here}

    Derivation: ``derivations.kept_law.newsvendor``.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens.
    budget : float
        :math:`\epsilon`, mean bias that may be spent [-].
    highest : float, default 1.0
        Largest uncertainty of which anything may be kept; at most 1/(1 - highest) tokens are sent [-].
    num_edges : int, default 128
        Quantiles by which uncertainties are told apart [-].
    num_levels : int, default 32
        Heights of the shares; those in between come from mixing two prices [-].

    Returns
    -------
    FittedShares
        The rule, what it achieves on these tokens, and its certificate.

    Raises
    ------
    ValueError
        If the budget lies outside [0, 1] or a count is below 1.

    Notes
    -----
    The tokens that the shares were fitted to flatter them: `calibration.keeping` measures by how much.

    Examples
    --------
    >>> u, beta = np.array([0.1, 0.1, 0.6, 0.6]), np.array([0.0, 0.2, 0.3, 0.4])
    >>> fitted = best_shares(Tokens(uncertainty=u, rejection=beta), 0.1)
    >>> round(fitted.skip_rate, 6), round(fitted.bias, 6), abs(fitted.gap) < 1e-9
    (0.875, 0.1, True)
    """
    u, ratio, weight = drafts_to_fit(tokens)
    family = ShareFamily(u, ratio, weight, highest=highest, num_edges=num_edges, num_levels=num_levels)
    return family.at_budget(budget)


def _before(values: ArrayLike) -> Floats:
    """Sum over the bins before each, and over all, shape [..., G + 1]."""
    sums = np.cumsum(np.asarray(values, dtype=np.float64), axis=-1)
    return np.concatenate((np.zeros((*sums.shape[:-1], 1)), sums), axis=-1)
