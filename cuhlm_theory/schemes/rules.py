"""The rules that the rows of the table name: when a draft is transmitted and what a transmission carries."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cuhlm_theory._checks import Floats
from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.parameters import System
from cuhlm_theory.payload import distribution_bit
from cuhlm_theory.rejection import line
from cuhlm_theory.schemes.table import NEVER_SKIP, Policy, lattice_bit
from cuhlm_theory.truncation import printed_bound

_GRID_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """What a skip rule does in each recorded context, shape [N]."""

    transmit: Floats
    """Chance that the draft is transmitted [-]."""
    risk: Floats
    """Mean of skip times rejection probability [-]."""
    truncates: Floats
    """Chance that the rule can transmit in this context at all, so that truncation is charged [-]."""
    threshold: float | None = None
    """u_th in use [-]."""


def column(tokens: Tokens, name: str) -> Floats:
    """Return a column that may be missing, or say which one is.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens, or the nodes of a law.
    name : str
        Field of `Tokens`.

    Returns
    -------
    ndarray
        The column, shape and unit as the field says.

    Raises
    ------
    MissingInputError
        If the tokens do not have it.

    Examples
    --------
    >>> column(Tokens(uncertainty=np.zeros(1), rejection=np.ones(1)), "rejection")
    array([1.])
    """
    value = getattr(tokens, name)
    if value is None:
        raise MissingInputError(
            f"the recorded tokens have no {name}; run `cuhlm calibrate`, or use --calibration smollm2"
        )
    return value


def mean_rejection(tokens: Tokens) -> Floats:
    """Return TV(x, y) of each context, or beta of its draft, which has the same mean.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens, or the nodes of a law.

    Returns
    -------
    ndarray of float64, shape [N]
        Rejection probability [-].

    Examples
    --------
    >>> mean_rejection(Tokens(uncertainty=np.zeros(1), rejection=np.ones(1)))
    array([1.])
    """
    return tokens.rejection if tokens.tv is None else tokens.tv


def threshold_index(tokens: Tokens, threshold: float) -> int | None:
    """Find a threshold on the recorded grid.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens, or the nodes of a law.
    threshold : float
        u_th; negative skips nothing [-].

    Returns
    -------
    int or None
        Its place, -1 if it skips nothing, None off the grid or without one.

    Examples
    --------
    >>> threshold_index(Tokens(uncertainty=np.zeros(1), rejection=np.ones(1)), -1.0)
    -1
    """
    if threshold < 0.0:
        return -1
    if tokens.threshold_grid is None or tokens.skip_mass is None or tokens.skip_risk is None:
        return None
    nearest = int(np.argmin(np.abs(tokens.threshold_grid - threshold)))
    return nearest if abs(tokens.threshold_grid[nearest] - threshold) < _GRID_TOLERANCE else None


def threshold_trigger(tokens: Tokens, threshold: float, *, recorded_drafts: bool = False) -> Trigger:
    """Apply ``u <= threshold`` to every draft the context could have made, or to the one it did make.

    On the recorded grid of thresholds the skip probability and the risk of a context are known exactly. Off
    the grid, or with ``recorded_drafts``, the recorded draft stands for its context: unbiased, but noisier.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens, or the nodes of a law.
    threshold : float
        u_th; negative skips nothing [-].
    recorded_drafts : bool, default False
        Whether to look at the recorded drafts alone.

    Returns
    -------
    Trigger
        Chance to transmit and risk of each context.

    Examples
    --------
    >>> tokens = Tokens(uncertainty=np.array([0.1, 0.9]), rejection=np.array([0.2, 0.6]))
    >>> threshold_trigger(tokens, 0.5).risk
    array([0.2, 0. ])
    """
    num = len(tokens)
    place = threshold_index(tokens, threshold)
    if place == -1:
        return Trigger(
            transmit=np.ones(num), risk=np.zeros(num), truncates=np.ones(num), threshold=NEVER_SKIP
        )
    if place is not None and not recorded_drafts:
        skip = column(tokens, "skip_mass")[:, place]
        transmit = np.clip(1.0 - skip, 0.0, 1.0)
        transmit[transmit < 1e-6] = 0.0  # float32 rounding of a context that always skips
        return Trigger(
            transmit=transmit,
            risk=np.asarray(column(tokens, "skip_risk")[:, place], dtype=np.float64),
            truncates=(transmit > 0.0).astype(np.float64),
            threshold=threshold,
        )
    skips = tokens.uncertainty <= threshold
    return Trigger(
        transmit=(~skips).astype(np.float64),
        risk=np.where(skips, tokens.rejection, 0.0),
        truncates=np.full(num, 0.0 if np.all(skips) else 1.0),
        threshold=threshold,
    )


def _by_threshold(tokens: Tokens, policy: Policy, recorded_drafts: bool) -> Trigger:
    low = threshold_trigger(tokens, policy.threshold, recorded_drafts=recorded_drafts)
    if policy.upper_threshold is None or policy.mix == 0.0:
        return low
    high = threshold_trigger(tokens, policy.upper_threshold, recorded_drafts=recorded_drafts)
    share = policy.mix
    return Trigger(
        transmit=(1.0 - share) * low.transmit + share * high.transmit,
        risk=(1.0 - share) * low.risk + share * high.risk,
        truncates=(1.0 - share) * low.truncates + share * high.truncates,
        threshold=policy.threshold,
    )


def _always(tokens: Tokens, policy: Policy, recorded_drafts: bool) -> Trigger:
    zero = np.zeros(len(tokens))
    return Trigger(transmit=zero, risk=mean_rejection(tokens), truncates=zero)


def _never(tokens: Tokens, policy: Policy, recorded_drafts: bool) -> Trigger:
    one = np.ones(len(tokens))
    return Trigger(transmit=one, risk=np.zeros(len(tokens)), truncates=one)


def _at_random(tokens: Tokens, policy: Policy, recorded_drafts: bool) -> Trigger:
    rate = policy.skip_rate
    if rate is None:
        rate = 1.0 - float(tokens.weight @ _by_threshold(tokens, policy, recorded_drafts).transmit)
    transmit = np.full(len(tokens), 1.0 - rate)
    return Trigger(
        transmit=transmit, risk=rate * mean_rejection(tokens), truncates=np.full(len(tokens), float(rate < 1))
    )


SKIP_RULES: dict[str, Callable[[Tokens, Policy, bool], Trigger]] = {
    "always": _always,
    "never": _never,
    "random": _at_random,
    "threshold": _by_threshold,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What a transmission carries in each context, or each of several drafts, shape [N]."""

    bit: Floats
    """Payload [bit]."""
    size: Floats | None = None
    """Entries of the distribution [token]; None where none is sent."""
    truncation_tv: Floats | None = None
    """TV between the law of the draft and the law the server receives [-]; None is 0."""
    acceptance: Floats | None = None
    """Chance that the server keeps the draft, where the draft is not drawn from x [-]."""
    draft_dependent: bool = False
    """Whether the size depends on the draft, so that the truncation bound does not apply."""


def _nothing(tokens: Tokens, system: System, policy: Policy) -> Carried:
    return Carried(bit=np.zeros(len(tokens)))


def _index(tokens: Tokens, system: System, policy: Policy) -> Carried:
    return Carried(bit=np.full(len(tokens), float(system.codec.bits_per_index)))


def _index_and_probability(tokens: Tokens, system: System, policy: Policy) -> Carried:
    bit = system.codec.bits_per_index + system.codec.prob_bits
    return Carried(bit=np.full(len(tokens), float(bit)))


def _full(tokens: Tokens, system: System, policy: Policy) -> Carried:
    size = system.codec.vocab_size
    bit = float(distribution_bit(system.codec, size))
    return Carried(bit=np.full(len(tokens), bit), size=np.full(len(tokens), float(size)))


def _at_grid(tokens: Tokens, system: System, place: np.ndarray, *, draft_dependent: bool = False) -> Carried:
    grid, profile = column(tokens, "k_grid"), column(tokens, "tv_profile")
    return Carried(
        bit=distribution_bit(system.codec, grid)[place].astype(np.float64),
        size=grid[place].astype(np.float64),
        truncation_tv=np.take_along_axis(profile, place[:, None], axis=1)[:, 0].astype(np.float64),
        draft_dependent=draft_dependent,
    )


def _offline(tokens: Tokens, system: System, policy: Policy) -> Carried:
    size = min(policy.offline_k, system.codec.vocab_size)
    bit = np.full(len(tokens), float(distribution_bit(system.codec, size)))
    sizes = np.full(len(tokens), float(size))
    if tokens.tv_profile is None:
        return Carried(bit=bit, size=sizes, truncation_tv=np.full(len(tokens), np.nan))
    place = (
        int(np.searchsorted(column(tokens, "k_grid"), size, side="right")) - 1
    )  # TV_k falls with k: a bound
    return Carried(bit=bit, size=sizes, truncation_tv=np.asarray(tokens.tv_profile[:, place], np.float64))


def smallest_within(profile: np.ndarray, budget: float) -> np.ndarray:
    """Find the first entry of each row that is within a budget, else the last.

    Parameters
    ----------
    profile : ndarray, shape [N, K]
        Loss at each size, falling [-].
    budget : float
        Largest loss [-].

    Returns
    -------
    ndarray of int64, shape [N]
        Places of the sizes.

    Examples
    --------
    >>> smallest_within(np.array([[0.5, 0.1, 0.0], [0.5, 0.4, 0.3]]), 0.2)
    array([1, 2])
    """
    within = profile <= budget
    within[:, -1] = True
    return np.argmax(within, axis=1)


def _exact(tokens: Tokens, system: System, policy: Policy) -> Carried:
    profile = column(tokens, "tv_profile")
    if policy.truncation_price_s is None:
        return _at_grid(tokens, system, smallest_within(profile, policy.truncation_budget))
    bits = distribution_bit(system.codec, column(tokens, "k_grid"))
    cost_s = packet_latency_s(system.link, bits) + policy.truncation_price_s * profile  # [N, K]
    return _at_grid(tokens, system, np.argmin(cost_s, axis=1))


def _online(tokens: Tokens, system: System, policy: Policy) -> Carried:
    profile, prob = column(tokens, "tv_profile"), column(tokens, "draft_prob")
    if policy.slope is None or policy.intercept is None:
        raise MissingInputError("the printed truncation rule needs a rejection line; give --calibration")
    rejection = line(tokens.uncertainty, policy.slope, policy.intercept)
    merit = printed_bound(np.clip(profile, 0.0, 1.0), prob[:, None], rejection[:, None])  # [N, K]
    place = smallest_within(merit, policy.truncation_budget)
    return _at_grid(tokens, system, place, draft_dependent=True)


def candidate_acceptance(tokens: Tokens, size: int, rows: np.ndarray | slice = slice(None)) -> Floats:
    """Return the chance to keep a draft from the k renormalised largest entries, 1 - TV(x-tilde_k, y).

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens with ``truncated_acceptance``.
    size : int
        k; between two recorded sizes the acceptance is taken to be linear in log k [token].
    rows : ndarray of bool, shape [N], or slice
        Contexts wanted; all by default [-].

    Returns
    -------
    ndarray of float64, shape [N]
        Acceptance of each context [-].

    Raises
    ------
    MissingInputError
        If the tokens have no such profile.

    Examples
    --------
    See `cuhlm_theory.schemes.evaluate`.
    """
    grid = np.log(column(tokens, "coarse_k_grid").astype(np.float64))
    table = column(tokens, "truncated_acceptance")
    at = min(max(np.log(size), grid[0]), grid[-1])
    right = max(int(np.searchsorted(grid, at)), 1)
    share = (at - grid[right - 1]) / (grid[right] - grid[right - 1])
    return (1.0 - share) * table[rows, right - 1] + share * table[rows, right]


def _candidates(tokens: Tokens, system: System, policy: Policy) -> Carried:
    size = min(policy.num_candidates, system.codec.vocab_size)
    return Carried(
        bit=np.full(len(tokens), float(size * policy.candidate_bits)),
        size=np.full(len(tokens), float(size)),
        acceptance=candidate_acceptance(tokens, size),
    )


def _candidates_and_indices(tokens: Tokens, system: System, policy: Policy) -> Carried:
    bare = _candidates(tokens, system, policy)
    assert bare.size is not None
    return Carried(
        bit=bare.bit + bare.size * system.codec.bits_per_index, size=bare.size, acceptance=bare.acceptance
    )


def _lattice(tokens: Tokens, system: System, policy: Policy) -> Carried:
    size = min(policy.num_candidates, system.codec.vocab_size)
    bit = lattice_bit(size, policy.lattice_levels, system.codec.vocab_size)
    loss = size / (4.0 * policy.lattice_levels)  # TV of rounding K probabilities to a lattice is at most this
    return Carried(
        bit=np.full(len(tokens), float(bit)),
        size=np.full(len(tokens), float(size)),
        acceptance=np.clip(candidate_acceptance(tokens, size) - loss, 0.0, 1.0),
    )


def _conformal_lattice(tokens: Tokens, system: System, policy: Policy) -> Carried:
    place = conformal_sizes(tokens, policy)  # [N]
    sizes = column(tokens, "k_grid")
    used = np.unique(place)
    bit, keep = np.zeros(len(tokens)), np.zeros(len(tokens))
    for at in used:
        here, size = place == at, int(sizes[at])
        bit[here] = lattice_bit(size, policy.lattice_levels, system.codec.vocab_size, send_size=True)
        loss = size / (4.0 * policy.lattice_levels)
        keep[here] = np.clip(candidate_acceptance(tokens, size, here) - loss, 0.0, 1.0)
    return Carried(bit=bit, size=sizes[place].astype(np.float64), acceptance=keep)


def conformal_sizes(tokens: Tokens, policy: Policy) -> np.ndarray:
    r"""Return the size that C-SQS keeps, token by token, as its place on the recorded grid.

    .. math:: \text{keep } \{i : x_i \ge \beta_n\}, \qquad
              \beta_{n+1} = \beta_n - \eta (\mathrm{dropped}_n - \alpha)      \qquad \text{[SQS], printed}

    Between two recorded sizes the larger one is taken. The threshold goes on from text to text.
    Derivation: ``derivations.schemes.conformal_dropped_mass``.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens with ``sorted_prob`` and ``tail_mass``.
    policy : Policy
        Start, step and target of the threshold.

    Returns
    -------
    ndarray of int64, shape [N]
        Places of the sizes.

    Raises
    ------
    MissingInputError
        If the tokens have no such profiles.

    References
    ----------
    .. [SQS] arXiv:2510.09942.

    Examples
    --------
    See `cuhlm_theory.schemes.evaluate`.
    """
    sorted_prob, tail = column(tokens, "sorted_prob"), column(tokens, "tail_mass")
    ascending = np.ascontiguousarray(sorted_prob[:, ::-1], dtype=np.float64)
    sizes = column(tokens, "k_grid")
    exact = np.append(np.diff(sizes) == 1, True)  # no size lies between this one and the next
    place = np.empty(len(tokens), dtype=np.int64)
    threshold = policy.conformal_start
    for n in range(len(tokens)):
        fits = len(sizes) - int(
            ascending[n].searchsorted(threshold)
        )  # recorded sizes with x_(k) >= threshold
        place[n] = fits - 1 if fits > 0 and exact[fits - 1] else fits
        threshold -= policy.conformal_step * (float(tail[n, place[n]]) - policy.conformal_target)
    return place


PAYLOAD_RULES: dict[str, Callable[[Tokens, System, Policy], Carried]] = {
    "nothing": _nothing,
    "index": _index,
    "full": _full,
    "offline": _offline,
    "online": _online,
    "exact": _exact,
    "index-and-probability": _index_and_probability,
    "candidates": _candidates,
    "candidates-and-indices": _candidates_and_indices,
    "lattice": _lattice,
    "conformal-lattice": _conformal_lattice,
}
