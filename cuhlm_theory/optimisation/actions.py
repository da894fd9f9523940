"""What a device can do in each recorded context, with its latency and the bias it is charged."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cuhlm_theory._checks import Floats
from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.contexts import NEVER_SKIP, Tokens
from cuhlm_theory.errors import InfeasibleError
from cuhlm_theory.optimisation.knapsack import lower_hull
from cuhlm_theory.parameters import System
from cuhlm_theory.payload import distribution_bit
from cuhlm_theory.schemes.ledger import resync_s_per_skip
from cuhlm_theory.throughput import transmission_latency_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Recorded trade-offs of every context: skipping against risk, and size against truncation."""

    thresholds: Floats
    """Thresholds, `NEVER_SKIP` first, shape [J + 1] [-]."""
    transmit: Floats
    """Chance that the context transmits at each threshold, shape [N, J + 1] [-]."""
    risk: Floats
    """Its risk at each threshold, shape [N, J + 1] [-]."""
    sizes: NDArray[np.int64]
    """Truncation sizes, shape [K] [token]."""
    truncation: Floats
    """TV that truncation and quantisation cost at each size, shape [N, K] [-]."""
    send_s: Floats
    """Seconds by which a transmission of each size is slower than a skip, shape [K] [s]."""
    base_s: float
    """Seconds that every token takes: the device, and what a skip costs later [s]."""
    weight: Floats
    """Probability weights, shape [N] [-]."""


def curves(tokens: Tokens, system: System, *, quantisation_tv: Floats | None = None) -> Curves:
    """Gather the trade-offs of the recorded contexts over a link.

    Parameters
    ----------
    tokens : Tokens
        Recorded tokens with truncation and skip profiles.
    system : System
        Device, server and link.
    quantisation_tv : ndarray, shape [K], optional
        TV that writing the probabilities with few bits adds at each size [-].

    Returns
    -------
    Curves
        Tables over thresholds and sizes.

    Raises
    ------
    MissingInputError
        If the tokens lack a profile.
    InfeasibleError
        If the link is dead, so that no size can be sent.

    Examples
    --------
    See `cuhlm_theory.optimisation.operating_point`.
    """
    sizes = tokens.need("k_grid").astype(np.int64)
    transmit, risk = tokens.once("skipping", lambda: _skipping(tokens))
    truncation = np.asarray(tokens.need("tv_profile"), dtype=np.float64)
    if quantisation_tv is not None:
        truncation = np.minimum(truncation + quantisation_tv, 1.0)
    index = system.codec.bits_per_index
    uplink_s = packet_latency_s(system.link, distribution_bit(system.codec, sizes))
    send_s = transmission_latency_s(system.latency, uplink_s, downlink_bit=index)
    skip_s = system.latency.llm.per_token_s + resync_s_per_skip(system)
    return Curves(
        thresholds=np.concatenate(([NEVER_SKIP], tokens.need("threshold_grid"))).astype(np.float64),
        transmit=transmit,
        risk=risk,
        sizes=sizes,
        truncation=truncation,
        send_s=np.maximum(send_s - skip_s, 0.0),
        base_s=system.latency.slm_s + skip_s,
        weight=tokens.weight,
    )


def _skipping(tokens: Tokens) -> tuple[Floats, Floats]:
    """Chance to transmit and risk of each context at each threshold, a column a threshold in one piece."""
    never = np.zeros((1, len(tokens)))
    transmit = np.concatenate((never + 1.0, tokens.transmit_profile().T))
    risk = np.concatenate((never, tokens.risk_profile().T))
    return transmit.T, risk.astype(np.float64).T


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """Everything a device may do in each context, as a knapsack; A actions."""

    latency_s: Floats
    """Mean latency of each action on top of `Curves.base_s`, shape [N, A] [s]."""
    bias: Floats
    """Bias charged to each action, shape [N, A] [-]."""
    threshold: NDArray[np.int64]
    """Place of its threshold in `Curves.thresholds`, shape [N, A]."""
    size: NDArray[np.int64]
    """Place of its size in `Curves.sizes`, shape [N, A]."""


def actions(given: Curves) -> Actions:
    r"""Return the (threshold, size) pairs that can be optimal in each context.

    .. math:: \tau_{jk} = P_j (\tau_\mathrm{up}(k) + \tau_\mathrm{LLM}), \qquad
              \beta_{jk} = R_j + \mathrm{TV}_k \, 1\{P_j > 0\}      \qquad \text{[new]}

    Sound where `separable_actions` is not: k is chosen from the context before the draft, and truncation
    shifts the output wherever the context may transmit, also through the drafts that are then skipped. Only
    vertices of the hulls of (risk, transmit probability) and of (TV, latency) can win, because the cost is
    concave in either; the rest is dropped.
    Derivation: ``derivations.optimise.hull``.

    Parameters
    ----------
    given : Curves
        Trade-offs of the contexts.

    Returns
    -------
    Actions
        The pairs, padded by repetition.

    Raises
    ------
    InfeasibleError
        If the link is dead, so that no size can be sent.

    Examples
    --------
    See `cuhlm_theory.optimisation.operating_point`.
    """
    latency_s, bias, j, k = pairs(given)
    best = lower_hull(bias, latency_s)  # [N, A]
    return Actions(
        latency_s=np.take_along_axis(latency_s, best, axis=1),
        bias=np.take_along_axis(bias, best, axis=1),
        threshold=np.take_along_axis(j, best // k.shape[1], axis=1),
        size=np.take_along_axis(k, best % k.shape[1], axis=1),
    )


def pairs(given: Curves) -> tuple[Floats, Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Return every pair of a useful threshold and a useful size, before the pairs themselves are pruned.

    Parameters
    ----------
    given : Curves
        Trade-offs of the contexts.

    Returns
    -------
    tuple of ndarray
        Latency [s] and bias [-] of the pairs, shape [N, A1 * A2], and the places of the thresholds and of the
        sizes, shapes [N, A1] and [N, A2].

    Raises
    ------
    InfeasibleError
        If the link is dead, so that no size can be sent.

    Examples
    --------
    See `cuhlm_theory.optimisation.operating_point`.
    """
    if not np.all(np.isfinite(given.send_s)):
        raise InfeasibleError("the link is dead, nothing can be transmitted; raise snr_db")
    j = lower_hull(given.risk, given.transmit)  # [N, A1]
    k = lower_hull(given.truncation, np.broadcast_to(given.send_s, given.truncation.shape))  # [N, A2]
    transmit = np.take_along_axis(given.transmit, j, axis=1)
    risk = np.take_along_axis(given.risk, j, axis=1)
    lost = np.take_along_axis(given.truncation, k, axis=1)
    latency_s = transmit[:, :, None] * given.send_s[k][:, None, :]  # [N, A1, A2]
    bias = risk[:, :, None] + lost[:, None, :] * (transmit > 0.0)[:, :, None]
    rows = (len(risk), -1)
    return latency_s.reshape(rows), bias.reshape(rows), j, k


def separable_actions(given: Curves, tokens: Tokens) -> Actions:
    r"""Return the actions of the separable account, whose bias is not a bound.

    .. math:: \text{skip: } (0, \beta_d), \qquad
              \text{transmit: } (\tau_\mathrm{up}(k) + \tau_\mathrm{LLM}, \mathrm{TV}_k)

    Truncation is charged only to the drafts that are transmitted. With x = (0.9, 0.1), k = 1 and the likely
    token skipped that is a tenth of the bias the output has. Kept to show the difference, used by nothing.
    Derivation: ``derivations.optimise.separable_counterexample``.

    Parameters
    ----------
    given : Curves
        Trade-offs of the contexts.
    tokens : Tokens
        The same tokens; their recorded drafts.

    Returns
    -------
    Actions
        Action 0 skips, the others transmit.

    Raises
    ------
    InfeasibleError
        If the link is dead, so that no size can be sent.

    Examples
    --------
    See `cuhlm_theory.optimisation.operating_point`.
    """
    if not np.all(np.isfinite(given.send_s)):
        raise InfeasibleError("the link is dead, nothing can be transmitted; raise snr_db")
    num, num_sizes = given.truncation.shape
    send_s = np.broadcast_to(given.send_s, (num, num_sizes))
    size = np.broadcast_to(np.arange(num_sizes), (num, num_sizes))
    return Actions(
        latency_s=np.concatenate((np.zeros((num, 1)), send_s), axis=1),
        bias=np.concatenate((tokens.rejection[:, None], given.truncation), axis=1),
        threshold=np.zeros((num, num_sizes + 1), dtype=np.int64),
        size=np.concatenate((np.full((num, 1), -1), size), axis=1),
    )
