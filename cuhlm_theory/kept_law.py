r"""What a server needs to know, and the least bias there is: the kept law.

In one context the device keeps token d and sends nothing with *sub-probability* :math:`m_d \ge 0`, of sum
:math:`\sigma \le 1`; with probability :math:`1 - \sigma` it asks the server. The skip rules of a drafting
device give :math:`m_d = x_d s_d`. Whatever the server answers, the output has :math:`q \ge m`, so its bias is
at least :math:`\sum (m - y)_+`; a server that knows m reaches that by drawing from :math:`(y - m)_+`.

Laws lie along the last axis. Everything here is exact, in one context or on the samples given: no drawing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cuhlm_theory._checks import (
    SUM_TOLERANCE,
    Floats,
    as_count,
    as_distribution,
    as_nonnegative,
    as_positive,
    as_probability,
    check_vocabulary,
)
from cuhlm_theory._laws import excess_law

__all__ = [
    "KeptShares",
    "acceptance",
    "answer_law",
    "best_kept_share",
    "best_kept_shares",
    "bias",
    "kept",
    "kept_share_cost_s",
    "least_transmit_probability",
    "llm_break_even_skip_rate",
    "most_kept_tokens",
    "output_law",
    "payload_bit",
    "round_down",
    "several_drafts_law",
    "tokens_per_round",
]

Counts = NDArray[np.int64]

_ROUNDING = 1e-12  # a float64 quotient or sum within this of an edge is on it
_MAX_BITS = 48  # levels beyond this lose digits against float64


def kept(draft_law: ArrayLike, skip: ArrayLike) -> Floats:
    r"""Kept law of a device that drafts and then skips or sends.

    .. math:: m_d = x_d s_d      \qquad \text{new here}

    Derivation: ``derivations.kept_law.converse``.

    Parameters
    ----------
    draft_law : array_like, shape [..., V]
        :math:`x`, the law of the draft token [-].
    skip : array_like, shape [..., V]
        :math:`s_d`, probability that the device keeps draft d and sends nothing [-]. A last axis of 1, or a
        plain number, serves all drafts.

    Returns
    -------
    ndarray of float64, shape [..., V]
        :math:`m` [-]; its sum is the chance that nothing is sent.

    Raises
    ------
    ValueError
        If the law is not a distribution, a skip probability lies outside [0, 1], or the vocabularies differ.

    Examples
    --------
    >>> kept([0.5, 0.3, 0.2], [1.0, 0.5, 0.0])
    array([0.5 , 0.15, 0.  ])
    """
    x = as_distribution("draft_law", draft_law)
    s = as_probability("skip", skip)
    if s.ndim and s.shape[-1] not in (1, x.shape[-1]):
        raise ValueError(f"skip must have a last axis of {x.shape[-1]} tokens; got {s.shape[-1]}")
    return np.asarray(x * s)


def bias(kept_law: ArrayLike, llm_law: ArrayLike) -> Floats:
    r"""Least total variation between an output that keeps m and the large model, reached by `answer_law`.

    .. math:: \min_{q \ge m} \mathrm{TV}(q, y) = \sum_d (m_d - y_d)_+      \qquad \text{new here}

    Derivation: ``derivations.kept_law.achievability``.

    Parameters
    ----------
    kept_law : array_like, shape [..., V]
        :math:`m`, sub-probability of keeping each token [-].
    llm_law : array_like, shape [..., V]
        :math:`y` [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Bias [-]; 0 if and only if m is nowhere above y.

    Raises
    ------
    ValueError
        If m has a negative entry or a sum above 1, y is not a distribution, or the vocabularies differ.

    Notes
    -----
    For :math:`m = x s` it is at most the rejection risk :math:`\sum x s (1 - y/x)_+`, and equal to it where
    every s is 0 or 1: a fraction of a draft may lie below y although the whole draft does not.

    Examples
    --------
    >>> float(bias([0.5, 0.25, 0.0], [0.25, 0.5, 0.25]))
    0.25
    """
    m, y = _laws(kept_law, llm_law)
    return np.asarray(np.maximum(m - y, 0.0).sum(axis=-1))


def answer_law(kept_law: ArrayLike, llm_law: ArrayLike) -> Floats:
    r"""Law from which a server that knows m draws when it is asked.

    .. math:: a = (y - m)_+ / \textstyle\sum (y - m)_+      \qquad \text{new here}

    Derivation: ``derivations.kept_law.achievability``.

    Parameters
    ----------
    kept_law : array_like, shape [..., V]
        :math:`m`, sub-probability of keeping each token [-].
    llm_law : array_like, shape [..., V]
        :math:`y` [-].

    Returns
    -------
    ndarray of float64, shape [..., V]
        :math:`a` [-].

    Raises
    ------
    ValueError
        If m has a negative entry or a sum above 1, y is not a distribution, or the vocabularies differ.

    Notes
    -----
    Nothing is left of y only where m = y, and then nobody asks; y is returned. The draft that was not kept
    does not enter, and may equal the answer.

    Examples
    --------
    >>> answer_law([0.5, 0.25, 0.0], [0.25, 0.5, 0.25])
    array([0. , 0.5, 0.5])
    """
    m, y = _laws(kept_law, llm_law)
    return excess_law(y, m)


def output_law(kept_law: ArrayLike, llm_law: ArrayLike) -> Floats:
    r"""Exact law of the token that leaves one round of one draft.

    .. math:: q = m + (1 - \sigma) \frac{(y - m)_+}{\sum (y - m)_+}, \qquad \sigma = \textstyle\sum m
              \qquad \text{new here}

    Derivation: ``derivations.kept_law.achievability``.

    Parameters
    ----------
    kept_law : array_like, shape [..., V]
        :math:`m`, sub-probability of keeping each token [-].
    llm_law : array_like, shape [..., V]
        :math:`y` [-].

    Returns
    -------
    ndarray of float64, shape [..., V]
        :math:`q` [-]; :math:`\mathrm{TV}(q, y)` is `bias`.

    Raises
    ------
    ValueError
        If m has a negative entry or a sum above 1, y is not a distribution, or the vocabularies differ.

    Notes
    -----
    Where :math:`\sigma = 1` the device never asks and q is m.

    Examples
    --------
    >>> output_law([0.5, 0.25, 0.0], [0.25, 0.5, 0.25])
    array([0.5  , 0.375, 0.125])
    """
    m, y = _laws(kept_law, llm_law)
    asks = np.maximum(1.0 - m.sum(axis=-1, keepdims=True), 0.0)
    return np.asarray(m + asks * excess_law(y, m))


def most_kept_tokens(threshold: ArrayLike, vocab_size: int) -> Counts:
    r"""Most tokens of one context that a threshold on the mean uncertainty can keep.

    .. math:: |S| \le \min(V, \lfloor 1 / (1 - u_{th}) \rfloor), \qquad S = \{d : \bar u_d \le u_{th}\}
              \qquad \text{new here}

    Derivation: ``derivations.kept_law.support``.

    Parameters
    ----------
    threshold : array_like, shape [...]
        :math:`u_{th}`, largest mean uncertainty that is kept [-].
    vocab_size : int
        V [token].

    Returns
    -------
    ndarray of int64, shape [...]
        Bound on the size of S [token]: one token below a threshold of 1/2.

    Raises
    ------
    ValueError
        If a threshold lies outside [0, 1] or ``vocab_size`` is below 2.

    Notes
    -----
    :math:`1 - \bar u_d` is a mean of softmax probabilities, so it sums to 1 over the vocabulary. That holds
    for the sampled uncertainty too if the same M draws serve every token of the context, and not if each
    token has its own. A quotient within rounding of a whole number counts as that number.

    Examples
    --------
    >>> most_kept_tokens([0.0, 0.49, 0.5, 0.8, 1.0], vocab_size=32_000)
    array([    1,     1,     2,     5, 32000])
    """
    u = as_probability("threshold", threshold)
    size = int(as_count("vocab_size", vocab_size, at_least=2))
    certain = np.maximum(1.0 - u, 0.5 / size)  # of each kept token, or of one of more than V tokens
    return np.asarray(np.minimum(np.floor((1.0 + _ROUNDING) / certain), size).astype(np.int64))


def payload_bit(
    num_kept: ArrayLike,
    vocab_size: int,
    prob_bits: int = 8,
    most_kept: int | None = None,
    *,
    index_bits: int | None = None,
) -> Counts:
    r"""Payload of a kept law: how many tokens it keeps, and index and probability of each.

    .. math:: B = \lceil \log_2 (n + 1) \rceil + |S| (\lceil \log_2 V \rceil + b_\mathrm{prob})
              \qquad \text{new here}

    Derivation: ``derivations.kept_law.support``.

    Parameters
    ----------
    num_kept : array_like of int, shape [...]
        :math:`|S|`, tokens with :math:`m_d > 0` [token].
    vocab_size : int
        V [token].
    prob_bits : int, default 8
        :math:`b_\mathrm{prob}`, bits a probability, at most 48 [bit].
    most_kept : int, optional
        :math:`n`, what both sides know :math:`|S|` not to exceed, such as `most_kept_tokens`; by default
        V [token].
    index_bits : int, optional
        Bits a token index; by default :math:`\lceil \log_2 V \rceil` [bit].

    Returns
    -------
    ndarray of int64, shape [...]
        Payload [bit].

    Raises
    ------
    ValueError
        If ``num_kept`` is not a whole number in [0, ``most_kept``], or a size is out of range.

    Notes
    -----
    The count has a fixed width, so that a packet can be read from its front: with at most one token it is one
    bit, which says whether a token follows. An empty S costs the count alone.

    Examples
    --------
    >>> payload_bit([0, 1], vocab_size=32_000, most_kept=1)
    array([ 1, 24])
    """
    size = int(as_count("vocab_size", vocab_size, at_least=2))
    width = int(as_count("prob_bits", prob_bits, at_most=_MAX_BITS))
    most = size if most_kept is None else int(as_count("most_kept", most_kept, at_most=size))
    number = as_count("num_kept", num_kept, at_least=0, at_most=most)
    index = (size - 1).bit_length() if index_bits is None else int(index_bits)
    return np.asarray(most.bit_length() + number * (index + width))


def round_down(kept_law: ArrayLike, prob_bits: int) -> Floats:
    r"""Kept law rounded down to multiples of :math:`1/\ell`, :math:`\ell = 2^b - 1`.

    .. math:: m'_d = \lfloor \ell m_d \rfloor / \ell, \qquad
              \sum (m' - y)_+ \le \sum (m - y)_+ \text{ for every } y      \qquad \text{new here}

    Derivation: ``derivations.kept_law.quantised_down``.

    Parameters
    ----------
    kept_law : array_like, shape [..., V]
        :math:`m`, sub-probability of keeping each token [-].
    prob_bits : int
        :math:`b_\mathrm{prob}`, bits a probability, at most 48 [bit].

    Returns
    -------
    ndarray of float64, shape [..., V]
        :math:`m'` [-], nowhere above m and less than :math:`1/\ell` below it.

    Raises
    ------
    ValueError
        If m has a negative entry or a sum above 1, or the bits are outside [1, 48].

    Notes
    -----
    The device keeps draft d with :math:`m'_d / x_d`, so what it sends is the law it uses: rounding costs
    skips, at most :math:`|S|/\ell` of them, and no bias. The grid is that of `truncation.quantise`; it holds
    0 and 1.

    Examples
    --------
    >>> round_down([0.5, 0.15, 0.0], prob_bits=2).round(6)
    array([0.333333, 0.      , 0.      ])
    """
    m = _as_kept_law(kept_law)
    levels = 2.0 ** int(as_count("prob_bits", prob_bits, at_most=_MAX_BITS)) - 1.0
    nearest = np.rint(m * levels)  # a multiple that rounding moved stays where it is
    return np.asarray(np.where(nearest / levels <= m, nearest, nearest - 1.0) / levels)


def acceptance(kept_prob: ArrayLike, llm_prob: ArrayLike) -> Floats:
    r"""Probability that the server leaves a draft of a run that the device has kept.

    .. math:: \min(1, y_d / m_d)      \qquad \text{new here}

    Derivation: ``derivations.kept_law.several_drafts``.

    Parameters
    ----------
    kept_prob : array_like, shape [...]
        :math:`m_d`, sub-probability with which the device keeps this token [-].
    llm_prob : array_like, shape [...]
        :math:`y_d`, probability of the token on the server [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Probability [-]. Where a draft is not left, and where the device refused its own, the server draws
        from `answer_law`.

    Raises
    ------
    ValueError
        If a probability lies outside [0, 1].

    Notes
    -----
    A token with :math:`m_d = 0` is never kept; for completeness it is left. Given a text of the law y, its
    token w was a kept draft that the server left with :math:`\min(1, m_w / y_w)`, independently of the
    others: `verification.kept_given_token` with m for x. So recorded text of the large model tells the rounds
    of this scheme: with :math:`a_n` these chances along the text, a round that starts at its first token
    commits :math:`1 + \sum_j \prod_{n \le j} a_n` tokens on average.

    Examples
    --------
    >>> acceptance([0.5, 0.15], [0.25, 0.4])
    array([0.5, 1. ])
    """
    m = as_probability("kept_prob", kept_prob)
    y = as_probability("llm_prob", llm_prob)
    return _acceptance(m, y)


def several_drafts_law(kept_law: ArrayLike, llm_law: ArrayLike) -> Floats:
    r"""Exact law of a token of the several-draft form, which is that of the large model.

    .. math:: m \min(1, y/m) + \Big[1 - \sigma + \sum_d m_d (1 - y_d/m_d)_+\Big]
              \frac{(y - m)_+}{\sum (y - m)_+} = y      \qquad \text{new here}

    Derivation: ``derivations.kept_law.several_drafts``.

    Parameters
    ----------
    kept_law : array_like, shape [..., V]
        :math:`m`, sub-probability of keeping each token [-].
    llm_law : array_like, shape [..., V]
        :math:`y` [-].

    Returns
    -------
    ndarray of float64, shape [..., V]
        Law of the token [-], written out from what device and server do.

    Raises
    ------
    ValueError
        If m has a negative entry or a sum above 1, y is not a distribution, or the vocabularies differ.

    Examples
    --------
    >>> several_drafts_law([0.5, 0.25, 0.0], [0.25, 0.5, 0.25])
    array([0.25, 0.5 , 0.25])
    """
    m, y = _laws(kept_law, llm_law)
    left = m * _acceptance(m, y)
    drawn = np.maximum(1.0 - left.sum(axis=-1, keepdims=True), 0.0)
    return np.asarray(left + drawn * excess_law(y, m))


def tokens_per_round(transmit_probability: ArrayLike, risk: ArrayLike) -> Floats:
    r"""Mean number of tokens that a round of the several-draft form commits, positions alike.

    .. math:: E[N] = 1 / (p + R), \qquad p + R = \textstyle\sum (y - m)_+      \qquad \text{new here}

    Derivation: ``derivations.kept_law.tokens_per_round``.

    Parameters
    ----------
    transmit_probability : array_like, shape [...]
        :math:`p`, chance that the device refuses its draft and sends the run [-].
    risk : array_like, shape [...]
        :math:`R`, mean of `bias`: the chance that a draft is kept and the server does not leave it [-].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`E[N]` [token], the drawn token included; infinite where no round ever ends.

    Raises
    ------
    ValueError
        If a chance lies outside [0, 1] or the two together exceed 1.

    Notes
    -----
    A round drafts 1/p tokens on average; those after the first that is not left are rolled back.

    Examples
    --------
    >>> tokens_per_round([0.25, 0.2], [0.0, 0.05])
    array([4., 4.])
    """
    p = as_probability("transmit_probability", transmit_probability)
    lost = as_probability("risk", risk)
    ends = p + lost
    if np.any(ends > 1.0 + _ROUNDING):
        raise ValueError(
            f"risk must leave transmit_probability and risk at most 1 together; got {ends.max():g}"
        )
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(1.0 / np.minimum(ends, 1.0))


def best_kept_share(ratio: ArrayLike, level: ArrayLike, weight: ArrayLike | None = None) -> Floats:
    r"""Share of a draft's probability to keep, given what the device knows: a newsvendor's order.

    .. math:: s = \min\big(1, Q_\kappa(y_d / x_d \mid \varphi)\big), \qquad \kappa = c / \lambda
              \qquad \text{new here}

    Derivation: ``derivations.kept_law.newsvendor``.

    Parameters
    ----------
    ratio : array_like, shape [..., N]
        :math:`y_d / x_d` of N drafts that look alike to the device [-].
    level : array_like, shape [...]
        :math:`\kappa`: seconds of a transmission over seconds that a token may cost per unit of bias [-].
    weight : array_like, shape [..., N], optional
        Mass of each draft, up to a factor [-]; by default all alike.

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`s` [-], the largest of the minimisers of `kept_share_cost_s`.

    Raises
    ------
    ValueError
        If a ratio, level or weight is negative or not finite, or no draft has weight.

    Notes
    -----
    s never falls as the level rises: a dearer transmission, or cheaper bias, keeps more. The constraint
    :math:`\sum m \le 1` holds by itself, since no more is kept than was drafted.

    Examples
    --------
    >>> best_kept_share([0.2, 0.6, 1.0, 3.0], [0.1, 0.3, 0.9]).tolist()
    [0.2, 0.6, 1.0]
    """
    values, mass = _sorted(ratio, weight)
    kappa = as_nonnegative("level", level)
    below = np.cumsum(mass, axis=-1)  # P(ratio <= this one), [..., N]
    above = below > kappa[..., None] + _ROUNDING
    values, above = np.broadcast_arrays(values, above)
    edge = np.take_along_axis(values, np.argmax(above, axis=-1)[..., None], axis=-1)[..., 0]
    return np.asarray(np.where(above.any(axis=-1), np.minimum(edge, 1.0), 1.0))


def kept_share_cost_s(
    share: ArrayLike,
    ratio: ArrayLike,
    transmit_s: ArrayLike,
    bias_price_s: ArrayLike,
    weight: ArrayLike | None = None,
) -> Floats:
    r"""Mean cost of keeping a share of a draft's probability: time to ask, and bias at its price.

    .. math:: c (1 - s) + \lambda E[(s - y_d/x_d)_+ \mid \varphi]      \qquad \text{new here}

    Derivation: ``derivations.kept_law.newsvendor``.

    Parameters
    ----------
    share : array_like, shape [...]
        :math:`s`, what of the draft's probability is kept [-].
    ratio : array_like, shape [..., N]
        :math:`y_d / x_d` of N drafts that look alike to the device [-].
    transmit_s : array_like, shape [...]
        :math:`c`, time that a transmission adds [s].
    bias_price_s : array_like, shape [...]
        :math:`\lambda`, time that a token may cost per unit of bias [s].
    weight : array_like, shape [..., N], optional
        Mass of each draft, up to a factor [-]; by default all alike.

    Returns
    -------
    ndarray of float64, shape [...]
        Cost [s].

    Raises
    ------
    ValueError
        If a share lies outside [0, 1], an argument is negative or not finite, or no draft has weight.

    Examples
    --------
    >>> kept_share_cost_s([0.2, 0.6, 1.0], [0.2, 0.6, 1.0, 3.0], 0.1, 0.4).round(6)
    array([0.08, 0.08, 0.12])
    """
    s = as_probability("share", share)
    values, mass = _sorted(ratio, weight)
    over = (np.maximum(s[..., None] - values, 0.0) * mass).sum(axis=-1)
    return np.asarray(
        as_nonnegative("transmit_s", transmit_s) * (1.0 - s)
        + as_nonnegative("bias_price_s", bias_price_s) * over
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptShares:
    """The kept law of most skips within a budget, among those that tell groups of drafts apart."""

    share: Floats
    """s of each group, shape [G] [-]."""
    level: float
    """kappa, the price of a skip in bias [-]; seconds of a transmission over it are lambda."""
    skip_rate: float
    """Mean of the shares: the chance that nothing is sent [-]."""
    bias: float
    """Mean bias, at most the budget [-]."""


def best_kept_shares(ratio: ArrayLike, budget: float, weight: ArrayLike | None = None) -> KeptShares:
    r"""Shares of G groups of drafts that skip most within a bias budget.

    .. math:: \max_s \textstyle\sum_g w_g s_g \quad\text{subject to}\quad
              \sum_g w_g E[(s_g - y_d/x_d)_+ \mid g] \le \epsilon      \qquad \text{new here}

    Derivation: ``derivations.kept_law.newsvendor``.

    Parameters
    ----------
    ratio : array_like, shape [G, N]
        :math:`y_d / x_d` of N drafts a group [-]; a group of fewer has weights of 0.
    budget : float
        :math:`\epsilon`, mean bias that may be spent [-].
    weight : array_like, shape [G, N], optional
        Mass of each draft over all groups, up to a factor [-]; by default all alike.

    Returns
    -------
    KeptShares
        The optimum, certified by `least_transmit_probability` at its level.

    Raises
    ------
    ValueError
        If the budget lies outside [0, 1], a ratio or weight is negative or not finite, or no draft has
        weight.

    Notes
    -----
    In each group bias is convex and piecewise linear in s: from one ratio to the next it costs the mass below
    per unit of s. The cheapest pieces of all groups are taken first, and one piece in part; so nothing has to
    be drawn beyond keeping with probability s. Groups that share a slope are filled in their order.

    Examples
    --------
    >>> best_kept_shares([[0.2, 0.6, 1.0, 3.0], [0.0, 0.0, 0.5, 2.0]], budget=0.04)
    KeptShares(share=array([0.52, 0.  ]), level=0.25, skip_rate=0.26, bias=0.04)
    """
    values, mass, spend = _groups(ratio, budget, weight)
    values = np.minimum(values, 1.0)
    group = mass.sum(axis=-1)  # [G]
    held = np.where(group > 0.0, group, 1.0)
    edges = np.concatenate([np.zeros((len(values), 1)), values, np.ones((len(values), 1))], axis=-1)
    length = np.diff(edges, axis=-1)  # [G, N + 1] pieces of s
    slope = np.concatenate([np.zeros((len(values), 1)), np.cumsum(mass, axis=-1)], axis=-1) / held[:, None]
    order = np.argsort(slope, axis=None, kind="stable")
    cost = (group[:, None] * slope * length).ravel()[order]
    spent = np.cumsum(cost)
    left = np.maximum(spend - (spent - cost), 0.0)
    part = np.where(spent <= spend + _ROUNDING, 1.0, left / np.where(cost > 0.0, cost, 1.0))
    taken = np.zeros(cost.size)
    taken[order] = part
    share = np.minimum((taken.reshape(length.shape) * length).sum(axis=-1), 1.0)
    cut = np.flatnonzero(part < 1.0)
    return KeptShares(
        share=share,
        level=float(slope.ravel()[order][cut[0]]) if cut.size else 1.0,
        skip_rate=float((group * share).sum()),
        bias=float((part * cost).sum()),
    )


def least_transmit_probability(
    ratio: ArrayLike, budget: float, level: float, weight: ArrayLike | None = None
) -> float:
    r"""Bound from below on the chance to transmit, for every kept law that tells the same groups apart.

    .. math:: 1 - \sum_g w_g s_g \ge \sum_g w_g \min_s \Big\{1 - s
              + \tfrac1\kappa E[(s - y_d/x_d)_+ \mid g]\Big\} - \frac{\epsilon}{\kappa}
              \qquad \text{new here (Lagrange)}

    Derivation: ``derivations.kept_law.newsvendor``.

    Parameters
    ----------
    ratio : array_like, shape [G, N]
        :math:`y_d / x_d` of N drafts a group [-]; a group of fewer has weights of 0.
    budget : float
        :math:`\epsilon`, mean bias that may be spent [-].
    level : float
        :math:`\kappa`, price of a skip in bias [-]; any one gives a bound, that of `best_kept_shares` the
        best.
    weight : array_like, shape [G, N], optional
        Mass of each draft over all groups, up to a factor [-]; by default all alike.

    Returns
    -------
    float
        Bound [-], at least 0.

    Raises
    ------
    ValueError
        If the budget lies outside [0, 1], the level is not positive, a ratio or weight is negative or not
        finite, or no draft has weight.

    Notes
    -----
    Weak duality: no kept law of mean bias at most :math:`\epsilon` with one share a group transmits less,
    whether its shares are thresholds, quantiles or drawn. Times c it bounds the time that asking takes.

    Examples
    --------
    >>> ratio = [[0.2, 0.6, 1.0, 3.0], [0.0, 0.0, 0.5, 2.0]]
    >>> round(least_transmit_probability(ratio, 0.04, level=0.25), 6)
    0.74
    """
    values, mass, spend = _groups(ratio, budget, weight)
    kappa = float(as_positive("level", level))
    group = mass.sum(axis=-1)
    used = group > 0.0
    s = best_kept_share(values[used], kappa, mass[used])
    cost = kept_share_cost_s(s, values[used], 1.0, 1.0 / kappa, mass[used])
    return max(float(group[used] @ cost) - spend / kappa, 0.0)


def llm_break_even_skip_rate(slm_s: ArrayLike, uplink_s: ArrayLike, saves_s: ArrayLike) -> Floats:
    r"""Skip rate above which a round of one draft is faster than the large model alone.

    .. math:: (\tau_\mathrm{SLM} + \tau_\mathrm{up}) / g, \qquad
              g = \tau_\mathrm{up} + t_0 - \tau_\mathrm{skip}      \qquad \text{new here}

    Where a pass takes one constant and skipped tokens are not told, g is
    :math:`\tau_\mathrm{up} + \tau_\mathrm{LLM}`.

    Derivation: ``derivations.kept_law.beats_llm_alone``.

    Parameters
    ----------
    slm_s : array_like, shape [...]
        :math:`\tau_\mathrm{SLM}`, time of a draft [s].
    uplink_s : array_like, shape [...]
        :math:`\tau_\mathrm{up}`, time of a packet, with whatever else asking costs beside the pass [s].
    saves_s : array_like, shape [...]
        :math:`g`, time that a skip saves: `throughput.skip_saves_s`, less what it costs to tell the token
        later [s].

    Returns
    -------
    ndarray of float64, shape [...]
        Skip rate [-]; above 1 where no rate does, since a draft takes longer than what a pass has fixed.

    Raises
    ------
    ValueError
        If a time is negative or not finite, or a skip saves nothing.

    Notes
    -----
    The large model alone writes a token every :math:`t_0 + t_1` and sends none of its own.

    Examples
    --------
    >>> llm_break_even_skip_rate(0.02, [0.0, 0.01], [0.1, 0.11]).round(6)
    array([0.2     , 0.272727])
    """
    slm, up = as_nonnegative("slm_s", slm_s), as_nonnegative("uplink_s", uplink_s)
    return np.asarray((slm + up) / as_positive("saves_s", saves_s))


def _as_kept_law(value: ArrayLike) -> Floats:
    """Return a sub-probability vector; one whose sum rounding put above 1 is scaled to 1."""
    m = as_nonnegative("kept_law", value)
    if m.ndim < 1 or m.shape[-1] < 2:
        raise ValueError(f"kept_law must have a last axis of at least 2 tokens; got {m.size}")
    total = m.sum(axis=-1, keepdims=True)
    if np.any(total > 1.0 + SUM_TOLERANCE):
        raise ValueError(
            f"kept_law must have a sum of at most 1 within {SUM_TOLERANCE:g}; got {total.max():g}"
        )
    return np.asarray(m / np.maximum(total, 1.0))


def _laws(kept_law: ArrayLike, llm_law: ArrayLike) -> tuple[Floats, Floats]:
    m, y = _as_kept_law(kept_law), as_distribution("llm_law", llm_law)
    check_vocabulary("kept_law", m, "llm_law", y)
    return m, y


def _acceptance(m: Floats, y: Floats) -> Floats:
    return np.asarray(np.where(m > y, y / np.where(m > y, m, 1.0), 1.0))


def _sorted(ratio: ArrayLike, weight: ArrayLike | None) -> tuple[Floats, Floats]:
    """Ratios in ascending order with the share of the mass that each has, [..., N] both."""
    values = as_nonnegative("ratio", ratio)
    if values.ndim < 1 or values.shape[-1] < 1:
        raise ValueError(f"ratio must have a last axis of at least 1 draft; got shape {values.shape}")
    mass = np.ones(values.shape) if weight is None else as_nonnegative("weight", weight)
    try:
        values, mass = np.broadcast_arrays(values, mass)
    except ValueError:
        raise ValueError(
            f"weight must broadcast with ratio, shape {values.shape}; got shape {mass.shape}"
        ) from None
    total = mass.sum(axis=-1, keepdims=True)
    if np.any(total <= 0.0):
        raise ValueError("weight must be positive for some draft; got a sum of 0")
    order = np.argsort(values, axis=-1, kind="stable")
    return np.take_along_axis(values, order, axis=-1), np.take_along_axis(mass / total, order, axis=-1)


def _groups(ratio: ArrayLike, budget: float, weight: ArrayLike | None) -> tuple[Floats, Floats, float]:
    """Ratios ascending in each group, their shares of the mass of all groups, and the budget."""
    values = np.atleast_2d(as_nonnegative("ratio", ratio))
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"ratio must be groups of drafts, shape [G, N]; got shape {values.shape}")
    mass = np.ones(values.shape) if weight is None else np.atleast_2d(as_nonnegative("weight", weight))
    if mass.shape != values.shape:
        raise ValueError(f"weight must have the shape of ratio, {values.shape}; got {mass.shape}")
    total = mass.sum()
    if total <= 0.0:
        raise ValueError("weight must be positive for some draft; got a sum of 0")
    order = np.argsort(values, axis=-1, kind="stable")
    spend = float(as_probability("budget", budget))
    return np.take_along_axis(values, order, -1), np.take_along_axis(mass / total, order, -1), spend
