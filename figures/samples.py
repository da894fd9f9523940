"""Summaries that several figures draw: means by group with intervals over prompts, quantiles over tokens."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cuhlm_theory import bootstrap

Floats = NDArray[np.float64]

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
"""What the bands show: median, middle half, middle four fifths."""


def mean_by_group(
    values: ArrayLike,
    group: ArrayLike,
    num_groups: int,
    prompt: ArrayLike | None,
    *,
    num_resamples: int = 500,
    seed: int = 0,
) -> tuple[Floats, Floats, Floats]:
    """Mean of each group with its 95 % interval from a bootstrap over prompts.

    Parameters
    ----------
    values : array_like, shape [N]
        What is averaged.
    group : array_like of int, shape [N]
        Group of each token, 0 … G - 1; -1 belongs to none.
    num_groups : int
        G.
    prompt : array_like or None, shape [N]
        Cluster of each token; without it, or with a single one, there is no interval.
    num_resamples : int, default 500
        Bootstrap resamples.
    seed : int, default 0
        Its seed.

    Returns
    -------
    mean, low, high : ndarray of float64, shape [G]
        NaN for an empty group; the ends are NaN where there is no interval.

    Examples
    --------
    >>> mean_by_group([1.0, 3.0, 5.0], [0, 0, 1], 2, None)[0]
    array([2., 5.])
    """
    member = np.asarray(group)[:, None] == np.arange(num_groups)  # [N, G]
    return ratio_of_means(
        np.asarray(values, dtype=np.float64)[:, None] * member, member, prompt, num_resamples, seed
    )


def ratio_of_means(
    numerator: ArrayLike,
    denominator: ArrayLike,
    prompt: ArrayLike | None,
    num_resamples: int = 500,
    seed: int = 0,
) -> tuple[Floats, Floats, Floats]:
    """Ratio of column means with its 95 % percentile interval from a bootstrap over prompts.

    Parameters
    ----------
    numerator, denominator : array_like, shape [N, Q]
        Columns; denominators are not negative.
    prompt : array_like or None, shape [N]
        Cluster of each token; without it, or with a single one, there is no interval.
    num_resamples : int, default 500
        Bootstrap resamples.
    seed : int, default 0
        Its seed.

    Returns
    -------
    ratio, low, high : ndarray of float64, shape [Q]
        NaN where the denominator is 0; the ends are NaN where there is no interval.

    Examples
    --------
    >>> ratio_of_means([[1.0], [3.0]], [[1.0], [1.0]], [0, 0])
    (array([2.]), array([nan]), array([nan]))
    """
    top, bottom = (np.asarray(v, dtype=np.float64) for v in (numerator, denominator))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = top.sum(axis=0) / bottom.sum(axis=0)
        nothing = np.full(ratio.shape, np.nan)
        if prompt is None or np.unique(prompt).size < 2:
            return ratio, nothing, nothing.copy()
        index, num = bootstrap.cluster_index(prompt)
        counts = bootstrap.cluster_counts(num, num_resamples, np.random.default_rng(seed))
        sums = [np.zeros((num, top.shape[1])) for _ in range(2)]
        for total, column in zip(sums, (top, bottom), strict=True):
            np.add.at(total, index, column)
        replicates = (counts @ sums[0]) / (counts @ sums[1])  # [B, Q]
    low, high = nothing.copy(), nothing.copy()
    for q in range(len(ratio)):
        seen = replicates[np.isfinite(replicates[:, q]), q]
        if seen.size > num_resamples // 2:
            low[q], high[q] = np.quantile(seen, (0.025, 0.975))
    return ratio, low, high


def bars(mean: Floats, low: Floats, high: Floats) -> Floats:
    """Return the two lengths of each error bar, 0 where there is no interval, shape [2, Q]."""
    lengths = np.stack([mean - low, high - mean])
    return np.maximum(np.where(np.isfinite(lengths), lengths, 0.0), 0.0)


def equal_count_bins(values: ArrayLike, most: int = 12) -> NDArray[np.int64]:
    """Sort tokens into at most ``most`` bins of about equal counts; equal values share a bin, shape [N].

    Examples
    --------
    >>> equal_count_bins([0.0, 0.0, 0.0, 0.5, 0.9, 1.0], 3)
    array([0, 0, 0, 1, 2, 2])
    """
    array = np.asarray(values, dtype=np.float64)
    most = max(1, min(most, math.ceil(array.size / 5) if array.size > 15 else 3))
    edges = np.unique(np.quantile(array, np.arange(1, most) / most, method="lower"))
    return np.unique(np.searchsorted(edges, array, side="left"), return_inverse=True)[1].astype(np.int64)


def quantile_table(values: ArrayLike, unit: str) -> dict[str, Floats]:
    """Return the `QUANTILES` over tokens of each column as table columns, shape [K] each."""
    levels = np.quantile(np.asarray(values, dtype=np.float64), QUANTILES, axis=0)
    return {f"quantile {level:g} [{unit}]": row for level, row in zip(QUANTILES, levels, strict=True)}


def half_of_prompts(prompt: NDArray[np.int64] | None, num_tokens: int) -> NDArray[np.bool_] | None:
    """Return which tokens belong to a random half of the prompts, None where there are fewer than two."""
    if prompt is None:
        return None
    index, num = bootstrap.cluster_index(prompt)
    if num < 2:
        return None
    half = np.random.default_rng(0).permutation(num)[: num // 2]
    return np.isin(index, half)
