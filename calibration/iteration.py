r"""Policy iteration: the threshold that is best on the text that is written at it.

A threshold changes the text, and the text changes which threshold is best, so they are found in turn.
"""

from collections.abc import Callable

import numpy as np

from cuhlm_theory import bootstrap
from cuhlm_theory._checks import as_probability
from cuhlm_theory.estimate import Estimate
from cuhlm_theory.texts import Written

__all__ = ["iterate", "optimum"]

_THRESHOLDS = np.arange(101) / 100


def optimum(contexts: Written, bias: float, *, num_resamples: int = 1000, seed: int = 0) -> Estimate:
    r"""Largest threshold whose kept law keeps to a bias on the text that it writes, in hundredths.

    .. math:: \max \{t : E_t \textstyle\sum_w (x_w 1[u_w \le t'] - y_w)_+ \le \epsilon
        \text{ for all } t' \le t\}

    with the mean over contexts of the text of each threshold. Every bit less that is sent and every pass that
    is saved comes from a larger threshold, so over any link it is the fastest within the bias.

    Parameters
    ----------
    contexts : Written
        Recorded texts, or the tokens of one.
    bias : float
        :math:`\epsilon`, mean bias that may be spent [-].
    num_resamples : int, default 1000
        Bootstrap resamples of the prompts.
    seed : int, default 0
        Seed of the bootstrap.

    Returns
    -------
    Estimate
        Threshold [-], 0 where nothing may be kept, with an interval from resampled prompts.

    Raises
    ------
    ValueError
        If the bias is outside [0, 1].

    Examples
    --------
    >>> from cuhlm_theory.contexts import Tokens
    >>> u = np.linspace(0.0, 1.0, 400)
    >>> optimum(Tokens(uncertainty=u, rejection=u, prompt=np.arange(400) // 40), 0.02).value
    0.2
    """
    limit = float(as_probability("bias", bias))
    written = [contexts.at(float(t)) for t in _THRESHOLDS]
    known = [np.zeros(len(one), np.int64) if one.prompt is None else one.prompt for one in written]
    prompts = np.unique(np.concatenate(known))
    spent, weight = np.zeros((2, len(prompts), len(written)))  # [P, T]
    for place, (threshold, tokens, prompt) in enumerate(zip(_THRESHOLDS, written, known, strict=True)):
        excess = tokens.below(float(threshold)).excess
        row = np.searchsorted(prompts, prompt)
        spent[:, place] = np.bincount(row, tokens.weight * excess, minlength=len(prompts))
        weight[:, place] = np.bincount(row, tokens.weight, minlength=len(prompts))
    counts = bootstrap.cluster_counts(len(prompts), num_resamples, np.random.default_rng(seed))
    counts = np.concatenate([np.ones((1, len(prompts))), counts])
    within = np.cumprod(counts @ spent <= limit * (counts @ weight) + 1e-12, axis=1)  # [1 + B, T]
    found = _THRESHOLDS[np.maximum(within.sum(axis=1).astype(np.int64) - 1, 0)]
    if len(prompts) < 2:
        return Estimate(float(found[0]))
    return Estimate.of(float(found[0]), found[1:], how="95 % percentile interval, prompts resampled")


def iterate(
    record: Callable[[float], Written], start: Written, bias: float, *, most_rounds: int = 6
) -> list[Estimate]:
    """Record text at the best threshold until the best one moves by less than its interval.

    Parameters
    ----------
    record : callable
        Records hybrid text at a threshold [-] and returns all contexts that are then known.
    start : Written
        Contexts to begin with.
    bias : float
        Mean bias that may be spent [-].
    most_rounds : int, default 6
        Most rounds of recording.

    Returns
    -------
    list of Estimate
        The best threshold at first and after each round of recording; the last one holds the threshold
        before it in its interval, unless the rounds ran out or one model writes alone.

    Raises
    ------
    ValueError
        If the bias is outside [0, 1].

    Examples
    --------
    >>> from cuhlm_theory.contexts import Tokens
    >>> u = np.linspace(0.0, 1.0, 400)
    >>> def record(threshold):  # the more the device keeps, the more is rejected
    ...     return Tokens(uncertainty=u, rejection=u * (1.0 + threshold) / 2, prompt=np.arange(400) % 40)
    >>> [found.value for found in iterate(record, record(1.0), 0.02)]
    [0.2, 0.25, 0.25]
    """
    found = [optimum(start, bias)]
    for _ in range(most_rounds):
        if not 0.0 < found[-1].value < 1.0:
            break  # text of one model alone
        found.append(optimum(record(found[-1].value), bias))
        low, high = found[-1].ci95 or (found[-1].value, found[-1].value)
        if low <= found[-2].value <= high:
            break
    return found
