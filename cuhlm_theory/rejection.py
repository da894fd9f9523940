"""The rejection line: how likely the large model is to refuse a draft token, and where to skip by it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cuhlm_theory._checks import Floats, as_floats, as_positive, as_probability

__all__ = ["SAME", "Curve", "Line"]

SAME = 2e-5
"""Rejection probability below which two models agree up to their arithmetic, and nothing is rejected [-]; one
model on both sides is rejected by no more."""


@dataclass(frozen=True, slots=True)
class Line:
    r"""A rejection line, fitted or published.

    .. math:: \beta(u) = \min(1, \max(0, a u + b))      \qquad \text{[CU, v1], [U], printed}

    A fit may have any slope; a threshold on u asks for a positive one. Derivation:
    ``derivations.rejection.line``.

    References
    ----------
    .. [CU] arXiv:2505.11788v1: a = 0.815, b = -0.066. [U] arXiv:2412.12687: a = 0.82, b = -0.06.

    Examples
    --------
    >>> Line(0.815, -0.066)([0.0, 0.5, 1.0])
    array([0.    , 0.3415, 0.749 ])
    """

    slope: float
    """a [-]."""
    intercept: float
    """b [-]."""
    delta: float | None = None
    """Delta = P(y_d < x_d), the share of drafts that can be rejected at all [-]; None if unknown."""

    def __post_init__(self) -> None:
        as_floats("slope", self.slope)
        as_floats("intercept", self.intercept)
        if self.delta is not None:
            as_probability("delta", self.delta)

    def __call__(self, uncertainty: ArrayLike) -> Floats:
        """Rejection probability of drafts of a given uncertainty, shape [...], in [0, 1]."""
        u = as_probability("uncertainty", uncertainty)
        return np.clip(self.slope * u + self.intercept, 0.0, 1.0)

    def crossing(self, level: float) -> float:
        r"""Uncertainty at which the unclipped line reaches a level.

        .. math:: (v - b) / a

        Derivation: ``derivations.rejection.line``.

        Parameters
        ----------
        level : float
            :math:`v`, a rejection probability [-].

        Returns
        -------
        float
            A point of the real line, perhaps outside [0, 1] [-].

        Raises
        ------
        ValueError
            If the slope is not positive.

        Examples
        --------
        >>> round(Line(1.5, -0.2).crossing(1.0), 4)
        0.8
        """
        return (level - float(self.intercept)) / float(as_positive("slope", self.slope))

    @property
    def zero(self) -> float:
        """Largest uncertainty up to which no draft is refused, -b/a; below 0 where b > 0 [-]."""
        return self.crossing(0.0)

    @property
    def saturation(self) -> float:
        """Smallest uncertainty from which every draft is refused, (1 - b)/a; above 1 where a + b < 1 [-]."""
        return self.crossing(1.0)

    @property
    def risk_averse(self) -> float:
        r"""Largest threshold at which the line promises no bias, as printed, not clipped [-].

        .. math:: u_\mathrm{th} = -b / a      \qquad \text{[CU, v1, Thm 1], printed}

        Below 0 it skips nothing, from 1 on everything. Derivation: ``derivations.threshold.risk_averse``.

        Examples
        --------
        >>> round(Line(0.815, -0.066).risk_averse, 4)
        0.081
        """
        return self.zero

    @property
    def risk_prone(self) -> float | None:
        r"""Threshold at which the line reaches delta, as printed, not clipped [-]; None without a delta.

        .. math:: u_\mathrm{th} = (\Delta - b) / a  \qquad \text{[CU], [U], printed}

        [CU] prints the threshold only; its :math:`\Delta` = 0.5955 is reconstructed from it. [U] prints 0.301
        and 0.431, which agree within the rounding of its line.
        Derivation: ``derivations.threshold.risk_prone``.

        Examples
        --------
        >>> round(Line(0.82, -0.06, 0.301).risk_prone, 4)
        0.4402
        """
        return None if self.delta is None else self.crossing(self.delta)

    def cost_optimal(self, transmit_s: ArrayLike, bias_price_s: ArrayLike, *, clip: bool = True) -> Floats:
        r"""Threshold that minimises mean latency plus the price of bias; it moves with the channel.

        .. math:: u^* = \frac{(\tau_\mathrm{up}(k) + \tau_\mathrm{LLM}) / \lambda - b}{a}

        clipped to [0, 1]. New here: skip iff :math:`\lambda \beta(u) \le \tau_\mathrm{up}(k) +
        \tau_\mathrm{LLM}`.

        Derivation: ``derivations.threshold.cost_optimal``.

        Parameters
        ----------
        transmit_s : array_like, shape [...]
            :math:`\tau_\mathrm{up}(k) + \tau_\mathrm{LLM}`, latency of a transmission [s]; may be infinite.
        bias_price_s : array_like, shape [...]
            :math:`\lambda`, latency a unit of bias is worth [s]; 0 skips all, infinite tolerates no bias.
        clip : bool, default True
            Whether to clip below at 0, as stated. Unclipped, below 0 means that nothing is skipped.

        Returns
        -------
        ndarray of float64, shape [...]
            :math:`u^*` [-], non-increasing in SNR and in bandwidth.

        Raises
        ------
        ValueError
            If the slope is not positive, or a latency or a price is negative or NaN.

        Notes
        -----
        Two cases that the formula misses. The line is clipped at 1, so wherever :math:`\lambda \le \tau` all
        is skipped, even where :math:`a + b > 1` and the formula stops below 1. Where :math:`b > \tau/\lambda`
        nothing is worth skipping, yet the threshold 0 skips tokens whose uncertainty is exactly 0;
        ``clip=False`` tells the two apart.

        Examples
        --------
        >>> Line(0.8, -0.05).cost_optimal([0.1, 0.4, 2.0], 1.0)
        array([0.1875, 0.5625, 1.    ])
        """
        slope = as_positive("slope", self.slope)
        tau, price = np.broadcast_arrays(
            _as_seconds("transmit_s", transmit_s), _as_seconds("bias_price_s", bias_price_s)
        )
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            threshold = np.minimum((tau / price - self.intercept) / slope, 1.0)
        threshold = np.where(tau >= price, 1.0, threshold)  # beta <= 1: no bias costs more than transmitting
        return (np.maximum(threshold, 0.0) if clip else threshold)[()]

    def bias_price_s(self, threshold: ArrayLike, transmit_s: ArrayLike) -> Floats:
        r"""Price of bias at which a threshold is the cost-optimal one; the inverse of `cost_optimal`.

        .. math:: \lambda = (\tau_\mathrm{up}(k) + \tau_\mathrm{LLM}) / \beta(u^*)

        New here. Derivation: ``derivations.threshold.bias_price``.

        Parameters
        ----------
        threshold : array_like, shape [...]
            :math:`u^*` [-].
        transmit_s : array_like, shape [...]
            :math:`\tau_\mathrm{up}(k) + \tau_\mathrm{LLM}` [s].

        Returns
        -------
        ndarray of float64, shape [...]
            :math:`\lambda` [s]; infinite where the line is 0, since what is free is skipped at any price.

        Raises
        ------
        ValueError
            If a threshold is outside [0, 1], the slope is not positive, or a latency is negative or NaN.

        Notes
        -----
        One to one for thresholds between :math:`u_0` and :math:`\min(u_1, 1)`. Where the line is flat at 1
        every threshold has the price :math:`\lambda = \tau`.

        Examples
        --------
        >>> Line(0.8, -0.05).bias_price_s([0.1875, 0.5625], 0.4)
        array([4., 1.])
        """
        as_positive("slope", self.slope)
        beta = self(as_probability("threshold", threshold))
        tau, beta = np.broadcast_arrays(_as_seconds("transmit_s", transmit_s), beta)
        return np.divide(tau, beta, out=np.full(tau.shape, np.inf), where=beta > 0.0)[()]


@dataclass(frozen=True, slots=True)
class Curve:
    """A recorded rejection curve, linear between its nodes and constant beyond them.

    >>> Curve((0.2, 0.6), (0.0, 0.4))([0.1, 0.4, 0.9])
    array([0. , 0.2, 0.4])
    """

    nodes: tuple[float, ...]
    """Uncertainties, rising [-]."""
    values: tuple[float, ...]
    """Rejection probability at each [-]."""

    def __post_init__(self) -> None:
        as_probability("values", self.values)
        if len(self.nodes) != len(self.values) or not self.nodes:
            raise ValueError(f"values must be one a node, {len(self.nodes)}; got {len(self.values)}")
        if np.any(np.diff(as_floats("nodes", self.nodes)) <= 0.0):
            raise ValueError(f"nodes must increase; got {self.nodes}")

    def __call__(self, uncertainty: ArrayLike) -> Floats:
        """Rejection probability at an uncertainty [-]."""
        return np.interp(as_probability("uncertainty", uncertainty), self.nodes, self.values)


def _as_seconds(name: str, value: ArrayLike) -> Floats:
    seconds = np.asarray(value, dtype=np.float64)
    bad = ~(seconds >= 0.0)
    if np.any(bad):
        raise ValueError(f"{name} must be at least 0 (infinite is allowed); got {seconds[bad].flat[0]:g}")
    return seconds
