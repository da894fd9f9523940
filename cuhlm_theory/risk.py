"""U-HLM's Theorem 1: the risk between its two thresholds, where the law of u is recorded on a grid."""

import numpy as np
from numpy.typing import ArrayLike

from cuhlm_theory._checks import Floats, as_distribution
from cuhlm_theory.rejection import Line


def between_thresholds(frequency: ArrayLike, line: Line) -> Floats:
    r"""Risk of the drafts whose uncertainty lies between the risk-averse and the risk-prone threshold.

    .. math:: R = \int_{-b/a}^{(\Delta - b)/a} (a u + b) f(u)\, du
              = \sum_{-b/a < m/M \le (\Delta - b)/a} (a \tfrac mM + b)\, p_m
              \qquad \text{[U, eqs. (11)-(13)], printed}

    Derivation: ``derivations.threshold.grid_risk``.

    Parameters
    ----------
    frequency : array_like, shape [..., A]
        :math:`p_m`, share of the drafts with :math:`u = m/M`; A = M + 1 values of u [-].
    line : Line
        The rejection line, with its delta.

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`R` [-].

    Raises
    ------
    ValueError
        If the frequencies are no distribution, the line has no delta or does not rise.

    Notes
    -----
    f is a density, :math:`f = M p_m` around each grid point. [U] puts the frequencies themselves in its
    place, "the discrete empirical density", and so prints R, and its bound, M = 20 times too small.

    References
    ----------
    .. [U] arXiv:2412.12687, Theorem 1.

    Examples
    --------
    >>> law = np.full(21, 1 / 21)
    >>> between_thresholds(law, Line(0.82, -0.06, 0.301)).round(4)
    np.float64(0.0483)
    """
    p, rejection = _inside(frequency, line)
    return np.asarray((rejection * p).sum(axis=-1))


def between_thresholds_bound(frequency: ArrayLike, line: Line) -> Floats:
    r"""Bound of that risk by Hoelder's inequality.

    .. math:: R \le \frac{\Delta^{3/2}}{\sqrt{3 a}} \Big(\int f^2 du\Big)^{1/2}, \qquad
              \int f^2 du = M \sum_m p_m^2      \qquad \text{[U, eq. (14)], printed}

    Derivation: ``derivations.threshold.grid_risk``.

    Parameters
    ----------
    frequency : array_like, shape [..., A]
        :math:`p_m`, share of the drafts with :math:`u = m/M`; A = M + 1 values of u [-].
    line : Line
        The rejection line, with its delta.

    Returns
    -------
    ndarray of float64, shape [...]
        Bound [-]; both integrals run from one threshold to the other.

    Raises
    ------
    ValueError
        If the frequencies are no distribution, the line has no delta or does not rise.

    Notes
    -----
    On a grid the square of the line is summed, not integrated, and a point at the upper threshold weighs more
    than its share: there the bound may be missed by what `derivations.threshold.grid_risk` says.

    References
    ----------
    .. [U] arXiv:2412.12687, Theorem 1.

    Examples
    --------
    >>> law = np.full(21, 1 / 21)
    >>> between_thresholds_bound(law, Line(0.82, -0.06, 0.301)).round(4)
    np.float64(0.0593)
    """
    p, _ = _inside(frequency, line)
    delta = float(line.delta or 0.0)
    squared = (p.shape[-1] - 1) * np.square(p).sum(axis=-1)
    return np.asarray(delta**1.5 / np.sqrt(3.0 * line.slope) * np.sqrt(squared))


def _inside(frequency: ArrayLike, line: Line) -> tuple[Floats, Floats]:
    """Frequencies between the thresholds, 0 elsewhere, and the line at every grid point."""
    p = as_distribution("frequency", frequency)
    if line.risk_prone is None:
        raise ValueError("line must have a delta; got None")
    u = np.linspace(0.0, 1.0, p.shape[-1])
    return np.where((u > line.risk_averse) & (u <= line.risk_prone), p, 0.0), line(u)
