r"""What is lost when only the k largest probabilities are sent.

Sorted :math:`x_{(1)} \ge x_{(2)} \ge \dots`, the server sees :math:`\hat x`: the k largest entries, and the
tail mean :math:`m_k` everywhere else, so that :math:`TV_k = \sum_{i>k} (x_{(i)} - m_k)_+ = \sum_{i>k} (m_k -
x_{(i)})_+`. Two facts make the smallest k within a budget :math:`\theta` cheap to find:

- :math:`TV_k` never grows with k: dropping the largest entry of a tail lowers its mean, hence every term of
  the second sum. So the search bisects.
- Entries of at most :math:`\theta/V` never matter. Where the tail holds at most :math:`\theta`, :math:`TV_k`
  is within the budget anyway; where it holds more, its mean is above :math:`\theta/V` and such an entry adds
  nothing to the first sum. So only the entries above :math:`\theta/V` are sorted.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cuhlm_theory._checks import Floats, as_count, as_distribution, as_nonnegative, as_probability
from cuhlm_theory.errors import InfeasibleError

__all__ = [
    "drop_tail",
    "exact_k",
    "printed_bound",
    "printed_budget",
    "printed_k",
    "printed_k_offline",
    "quantisation_tv",
    "quantisation_tv_bound",
    "quantise",
    "reconstruct",
    "resampling_tv_bound",
    "truncate_then_sample",
    "truncation_tv",
    "tv_profile",
]

Counts = NDArray[np.int64]

ROUNDING = 1e-12  # a total variation within this of a budget meets it; float64 sums over 150 000 entries
_MOST = 256  # of the largest entries that are looked at before all are
_FEW = 8  # part of a row up to which its largest entries are found without sorting it
_WAYS = 64  # parts into which a step of the search divides
_STRIDE = 64  # entries of which one tells where the largest begin


class _Above:
    """The entries of a row above a floor in rising order, and the mass of the rest."""

    def __init__(self, row: Floats, floor: float) -> None:
        if _falls(row):
            floor, self.rising = 0.0, row[::-1].copy()
        else:
            self.rising = np.compress(row > floor, row)
            self.rising.sort()
        self.below = _sums(self.rising)  # mass of so many of the smallest
        self.vocab_size, self.rest_mass = row.size, max(float(row.sum() - self.below[-1]), 0.0)

    def tv(self, k: Counts) -> Floats:
        """TV_k, shape of ``k``: what the tail has above its mean, where that lies above the floor."""
        left = np.maximum(self.rising.size - k, 0)  # entries in the tail
        mass = self.below[left]
        mean = (mass + self.rest_mass) / np.maximum(self.vocab_size - k, 1)
        under = np.minimum(np.searchsorted(self.rising, mean, side="right"), left)
        return np.maximum(mass - self.below[under] - (left - under) * mean, 0.0)


class _Largest:
    """The largest entries of a row, and those about the means of the tails that they leave."""

    def __init__(self, row: Floats, most: int) -> None:
        self.vocab_size, self.total = row.size, float(row.sum())
        self.mass = _sums(np.sort(row[_likely(row, most)])[: -most - 1 : -1])  # of so many of the largest
        (least,) = self._mean(np.array([most]))
        self.entries = np.compress(row > least, row)
        self.least_tv = float(self.entries.sum() - self.entries.size * least - self.mass[most] + most * least)

    def _mean(self, k: Counts) -> Floats:
        """Mean of the tail that so many of the largest leave."""
        return (self.total - self.mass[k]) / (self.vocab_size - k)

    def sort(self) -> None:
        """Sort what lies between the means that no entry, or the most, leave."""
        (highest,) = self._mean(np.array([0]))
        self.rising = np.compress(self.entries <= highest, self.entries)
        self.over = self.entries.size - self.rising.size
        over_mass = float(self.entries.sum() - self.rising.sum())
        self.rising.sort()
        below = _sums(self.rising)
        self.above = over_mass + (below[-1] - below)  # mass from a place on

    def tv(self, k: Counts) -> Floats:
        """TV_k, shape of ``k``: what all have above the mean of the tail, less what the largest have."""
        mean = self._mean(k)
        place = np.searchsorted(self.rising, mean, side="right")
        excess = self.above[place] - (self.over + self.rising.size - place) * mean
        return np.maximum(excess - (self.mass[k] - k * mean), 0.0)


def _sums(values: Floats) -> Floats:
    """Sum so many of the first values."""
    sums = np.zeros(values.size + 1)
    np.cumsum(values, out=sums[1:])
    return sums


def _first_within(tv: Callable[[Counts], Floats], budget: Floats, fewest: int, most: int) -> Counts:
    """Smallest k above the fewest with TV_k within each budget, shape of ``budget``; the most is."""
    parts = np.arange(1, _WAYS) / _WAYS
    low, high = (np.full(budget.shape, size, dtype=np.int64) for size in (fewest, most))
    while np.any(high - low > 1):
        tried = low[..., None] + np.ceil((high - low)[..., None] * parts).astype(np.int64)
        fits = tv(tried) <= budget[..., None] + ROUNDING
        low = np.max(np.where(fits, low[..., None], tried), axis=-1)
        high = np.min(np.where(fits, tried, high[..., None]), axis=-1)
    return high


def _falls(row: Floats) -> bool:
    """Whether no entry is above the one before it; a row in no order shows that at its beginning."""
    return all(bool(np.all(part[1:] <= part[:-1])) for part in (row[:_STRIDE], row))


def _likely(row: Floats, k: int) -> NDArray[np.intp]:
    """Places of entries among which the k largest are, of few others if a sample leads well."""
    sample = row[::_STRIDE]
    wanted = k / _STRIDE  # of the sample, give or take its root
    rank = sample.size - math.ceil(wanted + 4.0 * math.sqrt(wanted) + 4.0)
    places = np.flatnonzero(row >= np.partition(sample, rank)[rank]) if rank >= 0 else np.arange(0)
    return places if places.size >= k else np.arange(row.size)  # the sample misled, or is too small to lead


def _smallest_k(row: Floats, budget: Floats) -> Counts:
    """Smallest k with TV_k within each budget, shape of ``budget``."""
    found, fewest = np.zeros(budget.shape, dtype=np.int64), 0
    if row.size >= _FEW * _MOST and not _falls(row):  # most budgets need few entries
        largest, fewest = _Largest(row, _MOST), _MOST
        fits = largest.least_tv <= budget + ROUNDING
        if fits.any():
            largest.sort()
            found[fits] = _first_within(largest.tv, budget[fits], 0, _MOST)
    if not found.all():
        wide = found == 0
        above = _Above(row, budget[wide].min() / row.size)
        found[wide] = _first_within(above.tv, budget[wide], fewest, row.size)
    return found


def _per_row(
    dist: Floats, argument: NDArray, function: Callable[[Floats, NDArray], NDArray], dtype: type
) -> NDArray:
    """Apply ``function(row, arguments)`` where leading axes of ``dist`` broadcast against ``argument``."""
    lead = dist.shape[:-1]
    try:
        shape = np.broadcast_shapes(lead, argument.shape)
    except ValueError:
        raise ValueError(
            f"leading axes of the distribution, {lead}, must broadcast with {argument.shape}"
        ) from None
    rows = dist.reshape((1,) * (len(shape) - len(lead)) + dist.shape)
    spread = np.broadcast_to(argument, shape)
    out = np.empty(shape, dtype=dtype)
    for index in np.ndindex(rows.shape[:-1]):
        place = tuple(slice(None) if n == 1 else i for i, n in zip(index, rows.shape[:-1], strict=True))
        part = spread[place]
        out[place] = function(rows[index], part.reshape(-1)).reshape(part.shape)
    return out


def _as_k(k: ArrayLike, dist: Floats) -> Counts:
    return as_count("k", k, at_most=dist.shape[-1])


def _largest(row: Floats, k: int) -> NDArray[np.intp]:
    """Places of the k largest entries; among ties at the edge the lower token indices."""
    places = _likely(row, k)
    entries = row[places]
    edge = np.partition(entries, entries.size - k)[entries.size - k]
    above = places[entries > edge]
    return np.concatenate([above, places[entries == edge][: k - above.size]])


def reconstruct(dist: ArrayLike, k: ArrayLike) -> Floats:
    r"""Distribution the server rebuilds from the k largest entries.

    .. math:: \hat x_i = x_i \text{ for the k largest},\qquad
              \hat x_i = \frac{1 - \sum_{j \le k} x_{(j)}}{V - k} \text{ elsewhere}
              \qquad \text{[CU, v1, eq. (16)], printed}

    Derivation: ``derivations.truncation.reconstruct``.

    Parameters
    ----------
    dist : array_like, shape [..., V]
        :math:`x`, distribution of the small model [-].
    k : array_like of int, shape [...]
        Entries kept, between 1 and V [token].

    Returns
    -------
    ndarray of float64, shape [..., V]
        :math:`\hat x` [-].

    Raises
    ------
    ValueError
        If ``dist`` is not a distribution or k is not a whole number in [1, V].

    Notes
    -----
    Among ties at the edge the lower token index is kept; the total variation does not depend on the choice.

    References
    ----------
    .. [CU] arXiv:2505.11788v1.

    Examples
    --------
    >>> reconstruct([0.1, 0.6, 0.3], 1)
    array([0.2, 0.6, 0.2])
    """
    x = as_distribution("dist", dist)
    count = np.broadcast_to(_as_k(k, x), x.shape[:-1])
    out = x.copy()
    for index in np.ndindex(x.shape[:-1]):
        kept = _largest(x[index], int(count[index]))
        out[index][kept] = 0.0
        out[index] = out[index].sum() / max(x.shape[-1] - kept.size, 1)
        out[index][kept] = x[index][kept]
    return out


def drop_tail(dist: ArrayLike, k: ArrayLike) -> Floats:
    r"""Distribution renormalised over the k largest entries, zero elsewhere.

    .. math:: \tilde x_i = x_i / \textstyle\sum_{j \le k} x_{(j)} \text{ for the k largest}
              \qquad \text{[TK, SQS], printed}

    Derivation: ``derivations.truncation.drop_tail``.

    Parameters
    ----------
    dist : array_like, shape [..., V]
        :math:`x`, distribution of the small model [-].
    k : array_like of int, shape [...]
        Entries kept, between 1 and V [token].

    Returns
    -------
    ndarray of float64, shape [..., V]
        :math:`\tilde x` [-].

    Raises
    ------
    ValueError
        If ``dist`` is not a distribution or k is not a whole number in [1, V].

    Notes
    -----
    Drafting from it and verifying with it is unbiased for every k (`truncation.drop_tail`).

    References
    ----------
    .. [TK] arXiv:2509.04576. [SQS] arXiv:2510.09942.

    Examples
    --------
    >>> drop_tail([0.1, 0.6, 0.3], 2).round(6)
    array([0.      , 0.666667, 0.333333])
    """
    x = as_distribution("dist", dist)
    count = np.broadcast_to(_as_k(k, x), x.shape[:-1])
    out = np.zeros(x.shape)
    for index in np.ndindex(x.shape[:-1]):
        kept = _largest(x[index], int(count[index]))
        out[index][kept] = x[index][kept]
    return out / out.sum(axis=-1, keepdims=True)


truncate_then_sample = drop_tail  # what [TK] and [SQS] call it


def truncation_tv(dist: ArrayLike, k: ArrayLike) -> Floats:
    r"""Total variation between a distribution and what the server rebuilds from k entries.

    .. math::
        TV_k = TV(x, \hat x) = \sum_{i>k} (x_{(i)} - m_k)_+, \qquad m_k = \frac{1}{V-k}\sum_{i>k} x_{(i)}

    New here: the output's bias is at most :math:`TV_k`, whatever the large model says.

    Derivation: ``derivations.truncation.truncation_tv``.

    Parameters
    ----------
    dist : array_like, shape [..., V]
        :math:`x`, distribution of the small model [-].
    k : array_like of int, shape [...]
        Entries kept, between 1 and V; its axes broadcast with the leading ones of ``dist`` [token].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`TV_k` [-].

    Raises
    ------
    ValueError
        If ``dist`` is not a distribution or k is not a whole number in [1, V].

    Examples
    --------
    >>> truncation_tv([0.5, 0.3, 0.2], [1, 2, 3]).round(12)
    array([0.05, 0.  , 0.  ])
    """
    x = as_distribution("dist", dist)
    return _per_row(x, _as_k(k, x), _row_tv, np.float64)[()]


def _row_tv(row: Floats, k: Counts) -> Floats:
    most = int(np.max(k, initial=0, where=k < row.size))
    if not most:
        return np.zeros(k.shape)
    if _falls(row) or most > row.size // _FEW:
        return _Above(row, -1.0).tv(k)
    largest = _Largest(row, most)
    largest.sort()
    return np.where(k < row.size, largest.tv(np.minimum(k, most)), 0.0)


def tv_profile(dist: ArrayLike, k_grid: ArrayLike) -> Floats:
    r"""Total variation of truncation at every size of a grid.

    Derivation: ``derivations.truncation.truncation_tv``.

    Parameters
    ----------
    dist : array_like, shape [..., V]
        :math:`x`, distribution of the small model [-].
    k_grid : array_like of int, shape [K]
        Entries kept, each between 1 and V [token].

    Returns
    -------
    ndarray of float64, shape [..., K]
        :math:`TV_k` [-], as `truncation_tv`.

    Raises
    ------
    ValueError
        If ``dist`` is not a distribution or a size is not a whole number in [1, V].

    Examples
    --------
    >>> tv_profile([[0.5, 0.3, 0.2], [0.8, 0.2, 0.0]], [1, 3]).round(12)
    array([[0.05, 0.  ],
           [0.1 , 0.  ]])
    """
    x = as_distribution("dist", dist)
    grid = _as_k(k_grid, x).reshape(-1)
    return _per_row(x[..., None, :], grid, _row_tv, np.float64)


def exact_k(dist: ArrayLike, budget: ArrayLike) -> Counts:
    r"""Fewest entries that keep the bias of truncation within a budget.

    .. math:: k^*(\theta) = \min\{k : TV_k \le \theta\}

    New here: :math:`TV_k` bounds the output's bias for every large model, and depends on
    the context only, not on the draft.

    Derivation: ``derivations.truncation.exact_rule``.

    Parameters
    ----------
    dist : array_like, shape [..., V]
        :math:`x`, distribution of the small model [-].
    budget : array_like, shape [...]
        :math:`\theta`, total variation allowed; broadcasts with the leading axes of ``dist`` [-].

    Returns
    -------
    ndarray of int64, shape [...]
        :math:`k^*`, between 1 and V [token].

    Raises
    ------
    ValueError
        If ``dist`` is not a distribution or the budget is outside [0, 1].

    Notes
    -----
    A :math:`TV_k` within 1e-12 of the budget meets it. Only the entries above :math:`\theta/V` are sorted.

    Examples
    --------
    >>> exact_k([0.5, 0.3, 0.2], [0.04, 0.05])
    array([2, 1])
    """
    x = as_distribution("dist", dist)
    return _per_row(x, as_probability("budget", budget), _smallest_k, np.int64)[()]


def _denominator(draft_prob: ArrayLike, rejection: ArrayLike) -> Floats:
    x_d, beta = as_probability("draft_prob", draft_prob), as_probability("rejection", rejection)
    return (1.0 - x_d) * np.logaddexp(0.0, -1.0) + x_d * np.logaddexp(0.0, -beta)


def printed_bound(tv: ArrayLike, draft_prob: ArrayLike, rejection: ArrayLike) -> Floats:
    r"""Figure of merit the published truncation rule holds below its budget.

    .. math:: U(k) = \frac{\sum_{i>k} |x_{(i)} - \hat x_i|}{(1 - x_d)\,\ell(-1) + x_d\,\ell(-\beta_d)}
              = \frac{2\,TV_k}{\dots}, \quad \ell(v) = \ln(1 + e^v)
              \qquad \text{[CU, v1, eqs. (23)(26)], reconstructed}

    Derivation: ``derivations.truncation.printed_bound``.

    Parameters
    ----------
    tv : array_like, shape [...]
        :math:`TV_k` [-].
    draft_prob : array_like, shape [...]
        :math:`x_d`, draft probability of the draft token [-].
    rejection : array_like, shape [...]
        :math:`\beta_d`, rejection probability, from the rejection line [-].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`U(k)` [-], between :math:`2 TV_k/\ln 2` and :math:`2 TV_k/\ln(1 + 1/e)`.

    Raises
    ------
    ValueError
        If an argument is outside [0, 1].

    Notes
    -----
    It is not an upper bound on the total variation of the two resampling distributions
    (`truncation.resampling_counterexample`):
    the softplus over-estimates the denominator. `resampling_tv_bound` is one.

    References
    ----------
    .. [CU] arXiv:2505.11788v1.

    Examples
    --------
    >>> printed_bound(0.1, draft_prob=1.0, rejection=0.0).round(6)
    np.float64(0.288539)
    """
    return 2.0 * as_probability("tv", tv) / _denominator(draft_prob, rejection)


def resampling_tv_bound(tv: ArrayLike, tv_from_llm: ArrayLike) -> Floats:
    r"""Upper bound on how far truncation moves the distribution a rejected draft is replaced from.

    .. math:: TV(r, \hat r) \le \frac{\lVert x - \hat x \rVert_1}{\sum (y - x)_+} = \frac{2\,TV_k}{TV(x, y)}

    New here; :math:`r \propto (y - x)_+` and :math:`\hat r \propto (y - \hat x)_+`.

    Derivation: ``derivations.truncation.resampling_tv_bound``.

    Parameters
    ----------
    tv : array_like, shape [...]
        :math:`TV_k` [-].
    tv_from_llm : array_like, shape [...]
        :math:`TV(x, y)` [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Bound [-], at most 1.

    Raises
    ------
    ValueError
        If an argument is outside [0, 1].

    Examples
    --------
    >>> resampling_tv_bound(0.1, [0.4, 0.05])
    array([0.5, 1. ])
    """
    numerator, total = np.broadcast_arrays(
        2.0 * as_probability("tv", tv), as_probability("tv_from_llm", tv_from_llm)
    )
    bound = np.divide(numerator, total, out=np.ones(total.shape), where=total > numerator)
    return np.minimum(bound, 1.0)[()]


def printed_budget(budget: ArrayLike, draft_prob: ArrayLike, rejection: ArrayLike) -> Floats:
    r"""Budget at which the exact rule keeps what the published one keeps.

    .. math:: \theta' = \frac{\theta}{2} \bigl((1 - x_d)\,\ell(-1) + x_d\,\ell(-\beta_d)\bigr), \quad
              \ell(v) = \ln(1 + e^v)      \qquad \text{[CU, v1, eq. (26)], reconstructed}

    Derivation: ``derivations.truncation.printed_bound``.

    Parameters
    ----------
    budget : array_like, shape [...]
        :math:`\theta`, what the published rule holds :math:`U(k)` below [-].
    draft_prob : array_like, shape [...]
        :math:`x_d` [-].
    rejection : array_like, shape [...]
        :math:`\beta_d`, from the rejection line [-].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`\theta'`, what :math:`TV_k` then stays below [-]; at most :math:`\theta \ln(2) / 2`.

    Raises
    ------
    ValueError
        If an argument is outside [0, 1].

    References
    ----------
    .. [CU] arXiv:2505.11788v1.

    Examples
    --------
    >>> printed_budget(0.05, draft_prob=1.0, rejection=0.0).round(6)
    np.float64(0.017329)
    """
    return as_probability("budget", budget) * _denominator(draft_prob, rejection) / 2.0


def printed_k(dist: ArrayLike, budget: ArrayLike, draft_prob: ArrayLike, rejection: ArrayLike) -> Counts:
    r"""Entries kept by the published online rule, one size a token.

    .. math:: \min\{k : U(k) \le \theta\}      \qquad \text{[CU, v1, eq. (26)], reconstructed}

    Derivation: ``derivations.truncation.printed_bound``.

    Parameters
    ----------
    dist : array_like, shape [..., V]
        :math:`x`, distribution of the small model [-].
    budget : array_like, shape [...]
        :math:`\theta` [-].
    draft_prob : array_like, shape [...]
        :math:`x_d`; several drafts of one context broadcast against its distribution [-].
    rejection : array_like, shape [...]
        :math:`\beta_d`, from the rejection line [-].

    Returns
    -------
    ndarray of int64, shape [...]
        Entries kept, between 1 and V [token].

    Raises
    ------
    ValueError
        If ``dist`` is not a distribution or another argument is outside [0, 1].

    Notes
    -----
    It is the exact rule at a smaller budget, :math:`\theta` times half the denominator of U, so it never
    keeps fewer entries than `exact_k` at :math:`\theta`. Its k depends on the draft, so :math:`TV_k` does not
    bound its bias.

    References
    ----------
    .. [CU] arXiv:2505.11788v1.

    Examples
    --------
    >>> int(printed_k([0.5, 0.3, 0.2], 0.05, 0.5, 0.4)), int(exact_k([0.5, 0.3, 0.2], 0.05))
    (2, 1)
    """
    return exact_k(dist, printed_budget(budget, draft_prob, rejection))


def printed_k_offline(
    tv_profile: ArrayLike,
    k_grid: ArrayLike,
    draft_prob: ArrayLike,
    rejection: ArrayLike,
    budget: float,
    *,
    weight: ArrayLike | None = None,
) -> int:
    r"""Entries kept by the published offline rule, one size for all tokens.

    .. math:: \min\{k : E\,U(k) \le \theta\}      \qquad \text{[CU, v1, eq. (24)], reconstructed}

    Derivation: ``derivations.truncation.printed_bound``.

    Parameters
    ----------
    tv_profile : array_like, shape [N, K]
        :math:`TV_k` of recorded tokens on the grid [-].
    k_grid : array_like of int, shape [K]
        Increasing sizes [token].
    draft_prob : array_like, shape [N]
        :math:`x_d` [-].
    rejection : array_like, shape [N]
        :math:`\beta_d`, from the rejection line [-].
    budget : float
        :math:`\theta` [-].
    weight : array_like, shape [N], optional
        Weights of the tokens, any positive scale; None weighs them alike [-].

    Returns
    -------
    int
        Smallest size of the grid that meets the budget on average [token].

    Raises
    ------
    ValueError
        If the shapes disagree, the grid does not increase, or a value is outside [0, 1].
    InfeasibleError
        If no size of the grid meets the budget; end the grid at V.

    Notes
    -----
    The average is over tokens in time, as printed; [CU] reports k = 30.

    References
    ----------
    .. [CU] arXiv:2505.11788v1.

    Examples
    --------
    >>> printed_k_offline([[0.4, 0.1, 0.0], [0.2, 0.0, 0.0]], [1, 4, 9], [0.5, 0.5], [0.2, 0.2], 0.2)
    9
    """
    profile = as_probability("tv_profile", tv_profile)
    sizes = as_count("k_grid", k_grid)
    if profile.ndim != 2 or sizes.shape != profile.shape[1:]:
        raise ValueError(
            f"tv_profile must have shape [N, K] with K = len(k_grid) = {sizes.size}; got {profile.shape}"
        )
    if np.any(np.diff(sizes) <= 0):
        raise ValueError(f"k_grid must increase; got {sizes.tolist()}")
    denominator = np.broadcast_to(_denominator(draft_prob, rejection), profile.shape[:1])
    allowed = float(as_probability("budget", budget))
    mass = None if weight is None else as_nonnegative("weight", weight)
    mean = np.average(2.0 * profile / denominator[:, None], axis=0, weights=mass)  # [K]
    meets = np.flatnonzero(mean <= allowed + ROUNDING)
    if meets.size == 0:
        raise InfeasibleError(
            f"no size of k_grid meets a mean printed bound of {allowed:g}; the largest, {sizes[-1]}, leaves "
            f"{mean[-1]:.4g}: end k_grid at the vocabulary size, or raise the budget"
        )
    return int(sizes[meets[0]])


def _levels(prob_bits: int) -> int:
    return 2 ** int(as_count("prob_bits", prob_bits, at_most=48)) - 1


def quantise(dist: ArrayLike, prob_bits: int) -> Floats:
    r"""Nearest distribution whose entries are multiples of :math:`1/\ell`, :math:`\ell = 2^{b} - 1`.

    New here; the lattice is that of [SQS]. Drafting from the result is unbiased.

    Derivation: ``derivations.truncation.quantisation_tv_bound``.

    Parameters
    ----------
    dist : array_like, shape [..., V]
        :math:`x` [-].
    prob_bits : int
        :math:`b_\mathrm{prob}`, bits a probability, at most 48 [bit].

    Returns
    -------
    ndarray of float64, shape [..., V]
        Distribution on the lattice [-].

    Raises
    ------
    ValueError
        If ``dist`` is not a distribution or the bits are outside [1, 48].

    Notes
    -----
    Largest remainders: every entry is rounded down, and the levels left over go to the largest remainders,
    the lower index first. An entry of 0 stays 0.

    References
    ----------
    .. [SQS] arXiv:2510.09942.

    Examples
    --------
    >>> quantise([0.5, 0.3, 0.2], 2).round(6)
    array([0.333333, 0.333333, 0.333333])
    """
    x = as_distribution("dist", dist)
    levels = _levels(prob_bits)
    scaled = levels * x
    count = np.floor(scaled)
    remainder = scaled - count
    # their sum, so fewer than the entries with a remainder: an entry of 0 is never raised
    missing = np.rint(levels - count.sum(axis=-1))  # [...]
    for index in np.ndindex(x.shape[:-1]):
        if missing[index] > 0:
            count[index][_largest(remainder[index], int(missing[index]))] += 1.0
    return count / levels


def quantisation_tv(dist: ArrayLike, prob_bits: int) -> Floats:
    r"""Total variation that quantising a distribution adds.

    Derivation: ``derivations.truncation.quantisation_tv_bound``.

    Parameters
    ----------
    dist : array_like, shape [..., V]
        :math:`x` [-].
    prob_bits : int
        :math:`b_\mathrm{prob}`, bits a probability, at most 48 [bit].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`TV(x, \text{quantised } x)` [-].

    Raises
    ------
    ValueError
        If ``dist`` is not a distribution or the bits are outside [1, 48].

    Examples
    --------
    >>> quantisation_tv([0.5, 0.3, 0.2], 2).round(6)
    np.float64(0.166667)
    """
    x = as_distribution("dist", dist)
    return 0.5 * np.abs(x - quantise(x, prob_bits)).sum(axis=-1)


def quantisation_tv_bound(num_entries: ArrayLike, prob_bits: int) -> Floats:
    r"""Largest total variation that quantising n nonzero entries can add.

    .. math:: TV \le \frac{n}{4\,\ell}, \qquad \ell = 2^{b_\mathrm{prob}} - 1

    New here. R remainders are rounded up, the largest, whose mean is at least R/n; so
    :math:`\ell\,TV = \sum (1 - r_i) \le R (1 - R/n) \le n/4`.

    Derivation: ``derivations.truncation.quantisation_tv_bound``.

    Parameters
    ----------
    num_entries : array_like of int, shape [...]
        n, nonzero entries that are sent [token].
    prob_bits : int
        :math:`b_\mathrm{prob}`, bits a probability, at most 48 [bit].

    Returns
    -------
    ndarray of float64, shape [...]
        Bound [-], at most 1.

    Raises
    ------
    ValueError
        If a count is below 1 or the bits are outside [1, 48].

    Examples
    --------
    >>> quantisation_tv_bound(30, 8).round(6)
    np.float64(0.029412)
    """
    return np.minimum(as_count("num_entries", num_entries) / (4.0 * _levels(prob_bits)), 1.0)
