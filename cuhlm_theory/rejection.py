"""The rejection model: how likely the large model is to refuse a draft token (THEORY section 5)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cuhlm_theory._checks import Floats, as_floats, as_positive, as_probability

__all__ = ["Line", "line", "saturation", "zero"]


@dataclass(frozen=True, slots=True)
class Line:
    """A fitted or published rejection line beta(u) = clip(a u + b, 0, 1)."""

    slope: float
    """a, positive [-]."""
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
        """Rejection probability beta(u) [-]."""
        return line(uncertainty, self.slope, self.intercept)

    @property
    def risk_averse(self):
        return -self.intercept / self.slope

    @property
    def risk_prone(self):
        return None if self.delta is None else (self.delta - self.intercept) / self.slope

    def cost_optimal(self, transmit_s, bias_price_s):
        from cuhlm_theory import threshold

        return threshold.cost_optimal(self.slope, self.intercept, transmit_s, bias_price_s)


def line(uncertainty: ArrayLike, slope: ArrayLike, intercept: ArrayLike) -> Floats:
    r"""Rejection probability of a draft token of a given uncertainty.

    .. math:: \beta(u) = \min(1, \max(0, a u + b))      \qquad \text{[CU, v1], [U], printed}

    Derivation: ``derivations.rejection.line``.

    Parameters
    ----------
    uncertainty : array_like, shape [...]
        :math:`u` [-].
    slope : array_like, shape [...]
        :math:`a`, positive [-].
    intercept : array_like, shape [...]
        :math:`b` [-].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`\beta(u)` [-], in [0, 1].

    Raises
    ------
    ValueError
        If an uncertainty is outside [0, 1], a slope is not positive, or an intercept is not finite.

    References
    ----------
    .. [CU] arXiv:2505.11788v1: a = 0.815, b = -0.066. [U] arXiv:2412.12687: a = 0.82, b = -0.06.

    Examples
    --------
    >>> line([0.0, 0.5, 1.0], 0.815, -0.066)
    array([0.    , 0.3415, 0.749 ])
    """
    u = as_probability("uncertainty", uncertainty)
    a, b = as_positive("slope", slope), as_floats("intercept", intercept)
    return np.clip(a * u + b, 0.0, 1.0)


def zero(slope: ArrayLike, intercept: ArrayLike) -> Floats:
    r"""Largest uncertainty up to which no draft is refused, on the real line.

    .. math:: -b / a

    Derivation: ``derivations.rejection.line``.

    Parameters
    ----------
    slope : array_like, shape [...]
        :math:`a`, positive [-].
    intercept : array_like, shape [...]
        :math:`b` [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Root of the unclipped line [-]; below 0 where :math:`b > 0`.

    Raises
    ------
    ValueError
        If a slope is not positive or an intercept is not finite.

    Examples
    --------
    >>> zero(0.815, -0.066).round(4)
    np.float64(0.081)
    """
    return np.divide(-as_floats("intercept", intercept), as_positive("slope", slope))[()]


def saturation(slope: ArrayLike, intercept: ArrayLike) -> Floats:
    r"""Smallest uncertainty from which every draft is refused, on the real line.

    .. math:: (1 - b) / a

    Derivation: ``derivations.rejection.line``.

    Parameters
    ----------
    slope : array_like, shape [...]
        :math:`a`, positive [-].
    intercept : array_like, shape [...]
        :math:`b` [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Where the unclipped line reaches 1 [-]; above 1 where :math:`a + b < 1`.

    Raises
    ------
    ValueError
        If a slope is not positive or an intercept is not finite.

    Examples
    --------
    >>> saturation(1.5, -0.2).round(4)
    np.float64(0.8)
    """
    return np.divide(1.0 - as_floats("intercept", intercept), as_positive("slope", slope))[()]
