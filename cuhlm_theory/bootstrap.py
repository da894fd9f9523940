r"""Cluster bootstrap: intervals that treat the prompt, not the token, as the unit that was sampled.

Tokens of one prompt share a topic, a style and a context, so they are dependent and an interval that
resamples tokens is too short. Here whole prompts are drawn with replacement; everything is vectorised over
the resamples: a statistic of sums needs one matrix product, any other statistic gets the resample as token
weights.

References
----------
.. [EfTi] Efron, Tibshirani, An Introduction to the Bootstrap, 1993, ch. 14: BCa, eqs. (14.9), (14.14),
(14.15).
.. [FiWe] Field, Welsh, Bootstrapping clustered data, J. R. Statist. Soc. B 69 (2007): the cluster scheme.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cuhlm_theory._checks import as_numbers

Floats = NDArray[np.float64]
Method = Literal["bca", "percentile"]

_CHUNK_FLOATS = 4_000_000  # token weights held at once: 32 MB
_normal = NormalDist()  # a few values an interval, for which loading scipy would take longer than all else
_normal_cdf, _normal_quantile = (np.vectorize(f, otypes=[float]) for f in (_normal.cdf, _normal.inv_cdf))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """Estimates, their intervals and the replicates these came from; Q statistics, B resamples."""

    estimate: Floats
    """The statistic on the tokens as recorded, shape [Q]."""
    low: Floats
    """Lower end of the interval, shape [Q]; NaN where a resample has no value."""
    high: Floats
    """Upper end of the interval, shape [Q]."""
    replicates: Floats
    """The statistic on each resample, shape [B, Q]."""

    def interval(self, index: int) -> tuple[float, float] | None:
        """Return (low, high) of one statistic, or None where it has no interval."""
        low, high = float(self.low[index]), float(self.high[index])
        return (low, high) if np.isfinite(low) and np.isfinite(high) else None


def cluster_index(cluster: ArrayLike) -> tuple[NDArray[np.int64], int]:
    """Give the clusters the numbers 0 to P - 1 in the order of their labels.

    Parameters
    ----------
    cluster : array_like, shape [N]
        Label of the cluster (prompt) of each token.

    Returns
    -------
    index : ndarray of int64, shape [N]
        Number of the cluster of each token.
    num_clusters : int
        P, how many clusters there are.

    Raises
    ------
    ValueError
        If there is no token.

    Examples
    --------
    >>> cluster_index([7, 7, 3])
    (array([1, 1, 0]), 2)
    """
    labels, index = np.unique(np.asarray(cluster), return_inverse=True)
    if labels.size == 0:
        raise ValueError("cluster must hold at least 1 token; got 0")
    return index.reshape(-1).astype(np.int64), int(labels.size)


def cluster_counts(num_clusters: int, num_resamples: int, rng: np.random.Generator) -> Floats:
    """Draw P of P clusters with replacement, B times.

    Parameters
    ----------
    num_clusters : int
        P, clusters in the sample.
    num_resamples : int
        B, resamples.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray of float64, shape [B, P]
        How often each cluster is drawn; every row sums to P.

    Raises
    ------
    ValueError
        If a count is below 1.

    Examples
    --------
    >>> cluster_counts(4, 3, np.random.default_rng(0)).sum(axis=1)
    array([4., 4., 4.])
    """
    for name, value in (("num_clusters", num_clusters), ("num_resamples", num_resamples)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}")
    draws = rng.multinomial(num_clusters, np.full(num_clusters, 1.0 / num_clusters), size=num_resamples)
    return draws.astype(np.float64)


def percentile_interval(replicates: ArrayLike, *, level: float = 0.95) -> tuple[Floats, Floats]:
    r"""Percentile interval of bootstrap replicates.

    Parameters
    ----------
    replicates : array_like, shape [B, ...]
        The statistic on each resample.
    level : float, default 0.95
        Coverage aimed at [-].

    Returns
    -------
    low, high : ndarray of float64, shape [...]
        Quantiles (1 - level)/2 and (1 + level)/2 of the replicates; NaN where one is not finite.

    Raises
    ------
    ValueError
        If ``level`` is outside (0, 1).

    Examples
    --------
    >>> percentile_interval(np.arange(101.0), level=0.9)
    (array(5.), array(95.))
    """
    _check_level(level)
    values = as_numbers("replicates", replicates)
    if values.shape[:1] in ((), (0,)):
        raise ValueError(f"replicates must have shape [R, ...], R >= 1; got {values.shape}")
    bad = ~np.isfinite(values).all(axis=0)
    tails = [(1.0 - level) / 2.0, (1.0 + level) / 2.0]
    low, high = np.quantile(np.where(bad, 0.0, values), tails, axis=0)
    return np.where(bad, np.nan, low), np.where(bad, np.nan, high)


def bca_interval(
    estimate: ArrayLike, replicates: ArrayLike, jackknife: ArrayLike, *, level: float = 0.95
) -> tuple[Floats, Floats]:
    r"""Bias-corrected and accelerated interval, second-order accurate.

    .. math::
        \alpha_{1,2} = \Phi\!\Bigl(z_0 + \frac{z_0 + z}{1 - a (z_0 + z)}\Bigr), \quad z = \Phi^{-1}(\tfrac{1
        \mp c}{2}), \quad z_0 = \Phi^{-1}\bigl(P(\theta^* < \hat\theta)\bigr),
        \quad a = \frac{\sum (\bar\theta_\cdot - \theta_{(i)})^3}{6 [\sum (\bar\theta_\cdot -
        \theta_{(i)})^2]^{3/2}}

    Parameters
    ----------
    estimate : array_like, shape [...]
        The statistic on the sample [-].
    replicates : array_like, shape [B, ...]
        The statistic on each resample [-].
    jackknife : array_like, shape [P, ...]
        The statistic with one cluster left out [-].
    level : float, default 0.95
        Coverage aimed at, c [-].

    Returns
    -------
    low, high : ndarray of float64, shape [...]
        Ends of the interval; NaN where a replicate or a jackknife value is NaN [-].

    Raises
    ------
    ValueError
        If ``level`` is outside (0, 1).

    Notes
    -----
    Replicates equal to the estimate count half. The proportion below is kept inside [1/(B+1), B/(B+1)], and a
    statistic that no cluster moves has acceleration 0.

    Examples
    --------
    >>> replicates = np.random.default_rng(0).normal(size=20_000)
    >>> low, high = bca_interval(0.0, replicates, [-1.0, 0.0, 1.0])
    >>> bool(abs(low + 1.96) < 0.1), bool(abs(high - 1.96) < 0.1)
    (True, True)
    """
    _check_level(level)
    centre, values, left_out = (
        as_numbers(name, value)
        for name, value in (("estimate", estimate), ("replicates", replicates), ("jackknife", jackknife))
    )
    for name, array in (("replicates", values), ("jackknife", left_out)):
        if array.shape[:1] in ((), (0,)) or array.shape[1:] != centre.shape:
            raise ValueError(f"{name} must have shape [R, *{centre.shape}], R >= 1; got {array.shape}")
    num = values.shape[0]
    bad = ~np.isfinite(values).all(axis=0) | ~np.isfinite(left_out).all(axis=0) | ~np.isfinite(centre)
    centre, values, left_out = (np.where(bad, 0.0, array) for array in (centre, values, left_out))
    below = np.mean((values < centre) + 0.5 * (values == centre), axis=0)
    z0 = _normal_quantile(np.clip(below, 1.0 / (num + 1), num / (num + 1)))
    gap = left_out.mean(axis=0) - left_out
    spread = 6.0 * np.sum(gap**2, axis=0) ** 1.5
    skew = np.sum(gap**3, axis=0)
    acceleration = np.divide(skew, spread, out=np.zeros_like(skew), where=spread > 0.0)
    ordered = np.sort(values, axis=0)
    ends = []
    for tail in ((1.0 - level) / 2.0, (1.0 + level) / 2.0):
        shifted = z0 + _normal.inv_cdf(tail)
        position = _normal_cdf(z0 + shifted / (1.0 - acceleration * shifted)) * (num - 1)  # [...]
        floor = np.minimum(np.floor(position).astype(np.int64), num - 1)
        lower = np.take_along_axis(ordered, floor[None], axis=0)[0]
        upper = np.take_along_axis(ordered, np.minimum(floor + 1, num - 1)[None], axis=0)[0]
        ends.append(lower + (position - floor) * (upper - lower))
    return np.where(bad, np.nan, ends[0]), np.where(bad, np.nan, ends[1])


def of_sums(
    statistic: Callable[[Floats], Floats],
    values: ArrayLike,
    cluster: ArrayLike,
    *,
    num_resamples: int = 2000,
    rng: np.random.Generator,
    level: float = 0.95,
    method: Method = "bca",
) -> Bootstrap:
    """Bootstrap a statistic that depends on the tokens through sums only, such as a regression.

    Parameters
    ----------
    statistic : callable, [..., S] -> [..., Q]
        Maps column sums to the statistics, for any leading axes.
    values : array_like, shape [N, S]
        What is summed over the tokens (include a column of ones for a mean).
    cluster : array_like, shape [N]
        Prompt of each token.
    num_resamples : int, default 2000
        B, resamples.
    rng : numpy.random.Generator
        Source of randomness.
    level : float, default 0.95
        Coverage aimed at [-].
    method : {"bca", "percentile"}, default "bca"
        Which interval.

    Returns
    -------
    Bootstrap
        Estimates and intervals, shape [Q]; the ends are NaN with fewer than 2 clusters.

    Raises
    ------
    ValueError
        If the shapes disagree or an option is out of range.

    Examples
    --------
    >>> y = np.arange(40.0)
    >>> mean = of_sums(
    ...     lambda s: s[..., :1] / s[..., 1:],
    ...     np.column_stack([y, np.ones(40)]),
    ...     np.arange(40) // 2,
    ...     rng=np.random.default_rng(0),
    ... )
    >>> float(mean.estimate[0]), bool(mean.low[0] < 19.5 < mean.high[0])
    (19.5, True)
    """
    columns = np.asarray(values, dtype=np.float64)
    index, num_clusters = cluster_index(cluster)
    if columns.ndim != 2 or len(columns) != len(index):
        raise ValueError(f"values must have shape [{len(index)}, S]; got {list(columns.shape)}")
    sums = np.zeros((num_clusters, columns.shape[1]))
    np.add.at(sums, index, columns)  # [P, S]
    total = sums.sum(axis=0)
    counts = cluster_counts(num_clusters, num_resamples, rng)
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = np.asarray(statistic(total))
        replicates = np.asarray(statistic(counts @ sums))  # [B, Q]
        left_out = np.asarray(statistic(total - sums)) if num_clusters > 1 else replicates[:0]
    return _assemble(estimate, replicates, left_out, level, method)


def of_weights(
    statistic: Callable[[Floats], Floats],
    cluster: ArrayLike,
    *,
    num_resamples: int = 1000,
    rng: np.random.Generator,
    level: float = 0.95,
    method: Method = "bca",
) -> Bootstrap:
    """Bootstrap any statistic that accepts token weights (how often a token's prompt was drawn).

    Parameters
    ----------
    statistic : callable, [..., N] -> [..., Q]
        Maps token weights, which need not sum to 1, to the statistics, for any leading axes.
    cluster : array_like, shape [N]
        Prompt of each token.
    num_resamples : int, default 1000
        B, resamples.
    rng : numpy.random.Generator
        Source of randomness.
    level : float, default 0.95
        Coverage aimed at [-].
    method : {"bca", "percentile"}, default "bca"
        Which interval.

    Returns
    -------
    Bootstrap
        Estimates and intervals, shape [Q]; the ends are NaN with fewer than 2 clusters.

    Raises
    ------
    ValueError
        If an option is out of range.

    Examples
    --------
    >>> y = np.arange(40.0)
    >>> mean = of_weights(
    ...     lambda w: (w @ y / w.sum(axis=-1))[..., None], np.arange(40) // 2, rng=np.random.default_rng(0)
    ... )
    >>> float(mean.estimate[0]), bool(mean.low[0] < 19.5 < mean.high[0])
    (19.5, True)
    """
    index, num_clusters = cluster_index(cluster)
    counts = cluster_counts(num_clusters, num_resamples, rng)
    rows = max(1, _CHUNK_FLOATS // len(index))

    def evaluate(weights: Floats) -> Floats:
        parts = [statistic(weights[start : start + rows][:, index]) for start in range(0, len(weights), rows)]
        return np.concatenate(parts)

    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = np.asarray(statistic(np.ones(len(index))))
        replicates = evaluate(counts)
        left_out = evaluate(1.0 - np.eye(num_clusters)) if num_clusters > 1 else replicates[:0]
    return _assemble(estimate, replicates, left_out, level, method)


def _assemble(
    estimate: Floats, replicates: Floats, left_out: Floats, level: float, method: Method
) -> Bootstrap:
    if method not in ("bca", "percentile"):
        raise ValueError(f"method must be bca or percentile; got {method!r}")
    if len(left_out) < 2:  # a single prompt says nothing about how prompts vary
        _check_level(level)
        low = high = np.full_like(estimate, np.nan)
    elif method == "bca":
        low, high = bca_interval(estimate, replicates, left_out, level=level)
    else:
        low, high = percentile_interval(replicates, level=level)
    return Bootstrap(estimate=estimate, low=low, high=high, replicates=replicates)


def _check_level(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1); got {level:g}")
