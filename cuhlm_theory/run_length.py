"""How slow a rate-adaptive link over Rayleigh fading gets with the length of a run.

Its mean latency is infinite. The mean over n packets has no limit: it grows as the logarithm of n, because
the longest fade of a longer run is deeper.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import integrate, stats

from cuhlm_theory._checks import Floats, as_count, as_nonnegative, as_positive, as_probability

__all__ = ["mean_latency_quantile_s", "tail_probability", "tail_scale_s"]

_LN2 = math.log(2.0)


def tail_scale_s(bits: ArrayLike, bandwidth_hz: ArrayLike, mean_snr: ArrayLike) -> Floats:
    r"""Seconds that say how heavy the tail of a packet's latency is.

    .. math:: c = \lim_{t \to \infty} t \, P(D > t) = \frac{B \ln 2}{W \bar\gamma}      \qquad \text{new}

    Derivation: ``derivations.run_length.tail``.

    Parameters
    ----------
    bits : array_like, shape [...]
        :math:`B`, payload [bit].
    bandwidth_hz : array_like, shape [...]
        :math:`W`, bandwidth [Hz].
    mean_snr : array_like, shape [...]
        :math:`\bar\gamma`, mean signal-to-noise ratio, linear [-].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`c` [s].

    Raises
    ------
    ValueError
        If bits are negative, or bandwidth or mean SNR is not positive.

    Examples
    --------
    U-HLM's 512 kbit over its link of 1 MHz at -8.92 dB:

    >>> round(float(tail_scale_s(512_000, 1e6, 10**-0.892)), 3)
    2.768
    """
    load = as_nonnegative("bits", bits) * _LN2 / as_positive("bandwidth_hz", bandwidth_hz)
    return np.asarray(load / as_positive("mean_snr", mean_snr))


def tail_probability(
    latency_s: ArrayLike, bits: ArrayLike, bandwidth_hz: ArrayLike, mean_snr: ArrayLike
) -> Floats:
    r"""Chance that a packet takes longer than a time.

    .. math:: P(D > t) = 1 - \exp(-(2^{B/(W t)} - 1) / \bar\gamma)      \qquad \text{new}

    Derivation: ``derivations.run_length.tail``.

    Parameters
    ----------
    latency_s : array_like, shape [...]
        :math:`t` [s].
    bits : array_like, shape [...]
        :math:`B`, payload [bit].
    bandwidth_hz : array_like, shape [...]
        :math:`W`, bandwidth [Hz].
    mean_snr : array_like, shape [...]
        :math:`\bar\gamma`, mean signal-to-noise ratio, linear [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Chance [-].

    Raises
    ------
    ValueError
        As `tail_scale_s`, and if a time is not positive.

    Examples
    --------
    >>> round(float(tail_probability(100.0, 512_000, 1e6, 10**-0.892)), 4)
    0.0273
    """
    c, gain = tail_scale_s(bits, bandwidth_hz, mean_snr), as_positive("mean_snr", mean_snr)
    with np.errstate(over="ignore"):  # no packet is as fast as that
        return -np.expm1(-np.expm1(c * gain / as_positive("latency_s", latency_s)) / gain)


def mean_latency_quantile_s(
    num_packets: ArrayLike, chance: ArrayLike, bits: float, bandwidth_hz: float, mean_snr: float
) -> Floats:
    r"""Quantile of the mean latency of a run of packets, each over a fade of its own.

    .. math:: q_n(p) = E[D; D \le n c] + c \left(\Lambda^{-1}(p) + 1 - \gamma_E\right)
              \qquad \text{new, for long runs}

    The first term grows by :math:`c \ln 10` with every decade of n, without end. :math:`\Lambda` is Landau's
    law, the stable law of index 1 that is skewed as far as it goes.

    Derivation: ``derivations.run_length.growth`` derives the growth; that sums of such a tail tend to
    Landau's law is the theorem of Gnedenko and Kolmogorov, assumed there.

    Parameters
    ----------
    num_packets : array_like of int, shape [...]
        :math:`n`, packets of the run [-]; the law is that of the limit, good to some per cent from 100 on.
    chance : array_like, shape [...]
        :math:`p`, share of runs that are faster [-], in (0, 1).
    bits : float
        :math:`B`, payload [bit].
    bandwidth_hz : float
        :math:`W`, bandwidth [Hz].
    mean_snr : float
        :math:`\bar\gamma`, mean signal-to-noise ratio, linear [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Mean latency of a packet of the run [s].

    Raises
    ------
    ValueError
        If n is not a whole number of at least 1, the chance is not in (0, 1), or a setting is out of range.

    Examples
    --------
    The median over U-HLM's printed fading, of 1 000 and of 100 000 transmissions:

    >>> mean_latency_quantile_s([1_000, 100_000], 0.5, 512_000, 1e6, 10**-0.892).round(1)
    array([22.6, 35.4])
    """
    c = float(tail_scale_s(bits, bandwidth_hz, mean_snr))
    n = as_count("num_packets", num_packets).astype(np.float64)
    p = as_probability("chance", chance)
    if np.any((p <= 0.0) | (p >= 1.0)):
        raise ValueError(f"chance must lie in (0, 1); got {p[(p <= 0.0) | (p >= 1.0)].ravel()[0]}")
    landau = 0.5 * math.pi * stats.landau.ppf(p) + math.log(0.5 * math.pi)  # scipy's has the scale 2 / pi
    truncated = np.reshape([_truncated_mean_s(c, mean_snr, c * one) for one in n.ravel()], n.shape)
    return np.asarray(truncated + c * (landau + 1.0 - np.euler_gamma))


def _truncated_mean_s(scale_s: float, mean_snr: float, limit_s: float) -> float:
    """E[D; D <= t], over the logarithm of the SNR: a packet takes c gamma-bar / ln(1 + gamma)."""
    if scale_s == 0.0:
        return 0.0
    reach = scale_s * mean_snr / limit_s
    least = reach + math.log(-math.expm1(-reach))  # of ln(e^reach - 1), which would overflow
    most = math.log(mean_snr) + math.log(745.0)  # beyond it the density is 0 in float64
    found = integrate.quad(
        lambda v: scale_s * math.exp(v - math.exp(v) / mean_snr) / math.log1p(math.exp(v)),
        min(least, most),
        most,
        limit=400,
        points=[math.log(mean_snr)] if least < math.log(mean_snr) else None,
    )
    return float(found[0])
