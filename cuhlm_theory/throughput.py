"""Latency of a round, throughput by both averages, speed-up over HLM and its limits.

A round produces N tokens in D seconds. Rounds renew, so the rate that a user sees is E[N]/E[D]; the mean of
the rates E[N/D] differs, and the literature does not always say which one it prints.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from cuhlm_theory._checks import (
    LARGEST,
    Floats,
    as_nonnegative,
    as_numbers,
    as_positive,
    as_probability,
    inside,
)
from cuhlm_theory.capacity import packet_latency_s
from cuhlm_theory.parameters import Latency, System


def _as_seconds(name: str, value: ArrayLike) -> Floats:
    """Return latencies of at least 0; infinity, the latency over a dead link, is allowed."""
    array = as_numbers(name, value)
    if inside(array, 0.0, LARGEST):
        return array
    if not np.all(array >= 0.0):  # catches NaN
        raise ValueError(f"{name} must be at least 0; got {array[~(array >= 0.0)].flat[0]:g}")
    as_nonnegative(name, array[np.isfinite(array)])
    return array


def _charged(probability: Floats, seconds: Floats) -> Floats:
    """Return probability times seconds, and 0 where nothing is charged, even over a dead link."""
    probability, seconds = np.broadcast_arrays(probability, seconds)
    charged = probability > 0.0
    return np.multiply(probability, seconds, out=np.zeros(probability.shape), where=charged)


def transmission_latency_s(
    latency: Latency, uplink_s: ArrayLike, *, downlink_bit: ArrayLike = 0.0, width: ArrayLike = 1.0
) -> Floats:
    r"""Time that one transmission adds to a round: round trip, uplink, LLM pass, downlink.

    .. math:: \tau_\mathrm{rtt} + \tau_\mathrm{up} + t_0 + t_1 n + B_\mathrm{down} / R_\mathrm{down},
              \qquad t_0 + t_1 = \tau_\mathrm{LLM}

    Uplink and LLM are printed in [CU] and [U]; round trip, downlink and :math:`t_1` are options that default
    to 0 [new]. Derivation: ``derivations.throughput.transmission_latency``.

    Parameters
    ----------
    latency : Latency
        Compute and protocol latencies [s].
    uplink_s : array_like, shape [...]
        :math:`\tau_\mathrm{up}`, latency of the uplink packet [s]; infinite over a dead link.
    downlink_bit : array_like, shape [...], default 0.0
        :math:`B_\mathrm{down}`, mean answer of the server [bit].
    width : array_like, shape [...], default 1.0
        :math:`n`, tokens that the LLM is fed in its pass [token].

    Returns
    -------
    ndarray of float64, shape [...]
        Seconds a transmission adds [s].

    Raises
    ------
    ValueError
        If a latency or the answer is negative or NaN.

    References
    ----------
    .. [CU] CU-HLM, arXiv:2505.11788v1, latency model.
    .. [U] U-HLM, arXiv:2412.12687.

    Examples
    --------
    >>> float(transmission_latency_s(Latency(slm_s=0.1, llm_s=0.5), 0.25))
    0.75
    """
    parts = round_parts_s(
        latency,
        drafts=1.0,
        slm_catch_up=0.0,
        llm_calls=1.0,
        llm_fed=width,
        uplink_s=uplink_s,
        downlink_bit=downlink_bit,
    )
    return np.asarray(sum(parts[1:]))


def skip_saves_s(latency: Latency, uplink_s: ArrayLike, *, downlink_bit: ArrayLike = 0.0) -> Floats:
    r"""Time that a draft saves which is kept without asking.

    .. math:: \tau_\mathrm{rtt} + \tau_\mathrm{up} + t_0 + B_\mathrm{down} / R_\mathrm{down}, \qquad
              t_0 = \tau_\mathrm{LLM} - t_1      \qquad \text{[new]}

    The LLM reads a skipped token with its next pass, for :math:`t_1`: only the fixed part is saved. Skip iff
    :math:`\lambda \beta` is at most this. Derivation: ``derivations.passes.skipping_saves_the_fixed_part``.

    Parameters
    ----------
    latency : Latency
        Compute and protocol latencies [s].
    uplink_s : array_like, shape [...]
        :math:`\tau_\mathrm{up}`, latency of the uplink packet [s]; infinite over a dead link.
    downlink_bit : array_like, shape [...], default 0.0
        :math:`B_\mathrm{down}`, mean answer of the server [bit].

    Returns
    -------
    ndarray of float64, shape [...]
        Seconds a skip saves [s].

    Raises
    ------
    ValueError
        If a latency or the answer is negative or NaN.

    Examples
    --------
    >>> tau = Latency(slm_s=0.1, llm_s=0.5, llm_per_token_s=0.125)
    >>> float(skip_saves_s(tau, 0.25))
    0.625
    """
    return transmission_latency_s(latency, uplink_s, downlink_bit=downlink_bit, width=0.0)


def framed(system: System, frame_bit: float) -> System:
    r"""System whose requests carry bits that no payload formula has: headers, checksums, framing.

    .. math:: T(B + F) + \tau_\mathrm{rtt} = T(B) + (\tau_\mathrm{rtt} + T(F))
              \qquad \text{new here}

    Derivation: ``derivations.throughput.headers``.

    Parameters
    ----------
    system : System
        Device, server and link.
    frame_bit : float
        :math:`F`, bits around a request [bit].

    Returns
    -------
    System
        The same, with a round trip that is longer by what they take.

    Raises
    ------
    DivergentError
        If the fading is `rayleigh-ergodic` and there are any.
    ValueError
        If ``frame_bit`` is negative.

    Notes
    -----
    They are charged as a packet of their own, which is exact where latency is proportional to the bits; a
    short packet, or one over a trace of rates, takes at most as long. What the transport takes beside its
    bits belongs to the round trip too.

    Examples
    --------
    >>> from cuhlm_theory.parameters import Codec, FixedRate
    >>> plain = System(
    ...     link=FixedRate(rate_bit_per_s=1e5),
    ...     codec=Codec(vocab_size=2),
    ...     latency=Latency(slm_s=0.1, llm_s=0.5, round_trip_s=0.05),
    ... )
    >>> round(framed(plain, 272.0).latency.round_trip_s, 6)
    0.05272
    """
    frame_s = float(packet_latency_s(system.link, as_nonnegative("frame_bit", frame_bit)))
    latency = replace(system.latency, round_trip_s=system.latency.round_trip_s + frame_s)
    return replace(system, latency=latency)


def round_parts_s(
    latency: Latency,
    *,
    drafts: ArrayLike,
    slm_catch_up: ArrayLike,
    llm_calls: ArrayLike,
    llm_fed: ArrayLike,
    uplink_s: ArrayLike,
    downlink_bit: ArrayLike,
) -> tuple[Floats, Floats, Floats, Floats]:
    r"""Seconds of a round by part: device, air, server, and the rest.

    .. math:: d \, \tau_\mathrm{SLM} + c \, t_1^\mathrm{SLM}, \quad \tau_\mathrm{up}, \quad
              m \, t_0 + n \, t_1, \quad
              \tau_\mathrm{rtt} 1\{m > 0, d > 0\} + B_\mathrm{down} / R_\mathrm{down}

    A server that writes by itself (no drafts) answers nobody and is charged no round trip.
    Derivation: ``derivations.passes.every_token_is_fed_once``.

    Parameters
    ----------
    latency : Latency
        Compute and protocol latencies [s].
    drafts : array_like, shape [...]
        :math:`d`, tokens drafted, a pass each [token].
    slm_catch_up : array_like, shape [...]
        :math:`c`, tokens that the device reads beside one a pass [token].
    llm_calls : array_like, shape [...]
        :math:`m`, LLM passes [-].
    llm_fed : array_like, shape [...]
        :math:`n`, tokens that the LLM is fed, now or later: scored ones and skipped ones [token].
    uplink_s : array_like, shape [...]
        :math:`\tau_\mathrm{up}`, latency of the uplink packet [s]; infinite over a dead link.
    downlink_bit : array_like, shape [...]
        :math:`B_\mathrm{down}`, answer of the server [bit].

    Returns
    -------
    tuple of ndarray, shape [...]
        Seconds of the device, the uplink, the server, and round trip with downlink [s].

    Raises
    ------
    ValueError
        If a count, a latency or the answer is negative or NaN.

    Examples
    --------
    >>> tau = Latency(slm_s=0.1, llm_s=0.5, llm_per_token_s=0.125)
    >>> counts = {"drafts": 2, "slm_catch_up": 0, "llm_calls": 1, "llm_fed": 3}
    >>> [float(part) for part in round_parts_s(tau, **counts, uplink_s=0.25, downlink_bit=0)]
    [0.2, 0.25, 0.75, 0.0]
    """
    drafted, calls = as_nonnegative("drafts", drafts), as_nonnegative("llm_calls", llm_calls)
    slm_read, fed = as_nonnegative("slm_catch_up", slm_catch_up), as_nonnegative("llm_fed", llm_fed)
    downlink_s = as_nonnegative("downlink_bit", downlink_bit) / latency.downlink_bit_per_s
    answered = (calls > 0.0) & (drafted > 0.0)
    return (
        drafted * latency.slm_s + slm_read * latency.slm.per_token_s,
        _as_seconds("uplink_s", uplink_s),
        calls * latency.llm.fixed_s + fed * latency.llm.per_token_s,
        np.where(answered, latency.round_trip_s, 0.0) + downlink_s,
    )


def round_latency_s(
    latency: Latency,
    transmit_probability: ArrayLike,
    uplink_s: ArrayLike,
    *,
    downlink_bit: ArrayLike = 0.0,
) -> Floats:
    r"""Mean latency of a single-draft round, which is the latency of a token.

    .. math:: E[D] = \tau_\mathrm{SLM} + p_\mathrm{tx} (\tau_\mathrm{up} + t_0 + \dots) + t_1
              \qquad \text{[CU], printed without the options}

    The LLM reads every token once, at :math:`t_1`, skipped or not; :math:`t_0 + t_1 = \tau_\mathrm{LLM}`.
    HLM is :math:`p_\mathrm{tx} = 1` with the full distribution.
    Derivation: ``derivations.throughput.round_latency``.

    Parameters
    ----------
    latency : Latency
        Compute and protocol latencies [s].
    transmit_probability : array_like, shape [...]
        :math:`p_\mathrm{tx}`, chance that the draft is transmitted [-].
    uplink_s : array_like, shape [...]
        :math:`\tau_\mathrm{up}`, latency of its packet [s]; infinite over a dead link.
    downlink_bit : array_like, shape [...], default 0.0
        Mean answer of the server to a transmission [bit].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`E[D]` [s].

    Raises
    ------
    ValueError
        If the probability is outside [0, 1] or a latency is negative or NaN.

    References
    ----------
    .. [CU] CU-HLM, arXiv:2505.11788v1, latency model.

    Examples
    --------
    >>> round_latency_s(Latency(slm_s=0.1, llm_s=0.5), [1.0, 0.2, 0.0], 0.25).round(6)
    array([0.85, 0.25, 0.1 ])
    """
    chance = as_probability("transmit_probability", transmit_probability)
    saved_s = skip_saves_s(latency, uplink_s, downlink_bit=downlink_bit)
    return latency.slm_s + _charged(chance, saved_s) + latency.llm.per_token_s


def devices_served(latency: Latency, transmit_probability: ArrayLike, token_per_s: ArrayLike) -> Floats:
    r"""Devices for which a server can write, at a rate and a share of tokens transmitted.

    .. math:: \frac{1}{r (p_\mathrm{tx} t_0 + t_1)} < \frac{1}{r t_1}      \qquad \text{[new]}

    Derivation: ``derivations.passes.devices_served``.

    Parameters
    ----------
    latency : Latency
        Compute and protocol latencies [s].
    transmit_probability : array_like, shape [...]
        :math:`p_\mathrm{tx}`; 1 is the LLM alone [-].
    token_per_s : array_like, shape [...]
        :math:`r`, rate of each device [token/s].

    Returns
    -------
    ndarray of float64, shape [...]
        Devices; infinite where the server is never asked and reads for nothing [-].

    Raises
    ------
    ValueError
        If the probability is outside [0, 1] or the rate not positive.

    Examples
    --------
    >>> tau = Latency(slm_s=0.1, llm_s=0.5, llm_per_token_s=0.125)
    >>> devices_served(tau, [1.0, 0.0], 0.5)
    array([ 4., 16.])
    """
    chance = as_probability("transmit_probability", transmit_probability)
    rate = as_positive("token_per_s", token_per_s)
    busy = rate * (chance * latency.llm.fixed_s + latency.llm.per_token_s)
    with np.errstate(over="ignore"):  # more than any number
        return np.divide(1.0, busy, out=np.full(busy.shape, np.inf), where=busy > 0.0)


def renewal_throughput_token_per_s(
    num_tokens: ArrayLike, duration_s: ArrayLike, weight: ArrayLike | None = None
) -> Floats:
    r"""Long-run rate of a renewal process: mean tokens over mean duration.

    .. math:: E[N] / E[D]      \qquad \text{[renewal-reward theorem]}

    Derivation: ``derivations.throughput.renewal_throughput``.

    Parameters
    ----------
    num_tokens : array_like, shape [..., R]
        :math:`N` of each kind of round [token].
    duration_s : array_like, shape [..., R]
        :math:`D` of each kind of round [s].
    weight : array_like, shape [..., R], optional
        Chance of each kind of round, up to a common factor [-]; equal when not given.

    Returns
    -------
    ndarray of float64, shape [...]
        Rate [token/s], never above `mean_rate_token_per_s` when every round makes as many tokens.

    Raises
    ------
    ValueError
        If tokens, durations or weights are negative.

    Examples
    --------
    Half the rounds take 1 s and half 3 s, a token each:

    >>> float(renewal_throughput_token_per_s([1.0, 1.0], [1.0, 3.0]))
    0.5
    """
    tokens, duration, share = _rounds(num_tokens, duration_s, weight)
    return np.sum(share * tokens, axis=-1) / np.sum(_charged(share, duration), axis=-1)


def mean_rate_token_per_s(
    num_tokens: ArrayLike, duration_s: ArrayLike, weight: ArrayLike | None = None
) -> Floats:
    r"""Mean of the rates of the rounds, which is not the rate a user sees.

    .. math:: E[N / D]

    Derivation: ``derivations.throughput.mean_rate``.

    Parameters
    ----------
    num_tokens : array_like, shape [..., R]
        :math:`N` of each kind of round [token].
    duration_s : array_like, shape [..., R]
        :math:`D` of each kind of round [s]; infinite counts as rate 0.
    weight : array_like, shape [..., R], optional
        Chance of each kind of round, up to a common factor [-]; equal when not given.

    Returns
    -------
    ndarray of float64, shape [...]
        Mean rate [token/s].

    Raises
    ------
    ValueError
        If tokens, durations or weights are negative.

    Notes
    -----
    U-HLM's 2.54 with 45.93 % of the uplinks saved is neither average: E[N]/E[D] gives at most 1.849, and with
    the printed latencies this one at least 2.953, over any link (`mean_rate_speedup`).

    Examples
    --------
    >>> round(float(mean_rate_token_per_s([1.0, 1.0], [1.0, 3.0])), 6)
    0.666667
    """
    tokens, duration, share = _rounds(num_tokens, duration_s, weight)
    return np.sum(share * tokens / duration, axis=-1) / np.sum(share, axis=-1)


def _rounds(
    num_tokens: ArrayLike, duration_s: ArrayLike, weight: ArrayLike | None
) -> tuple[Floats, Floats, Floats]:
    tokens = as_nonnegative("num_tokens", num_tokens)
    duration = _as_seconds("duration_s", duration_s)
    tokens, duration = np.broadcast_arrays(tokens, duration)
    share = np.ones(duration.shape) if weight is None else as_nonnegative("weight", weight)
    as_positive("duration_s", duration[np.isfinite(duration)])
    if not duration.size:
        raise ValueError("duration_s must hold at least 1 round; got 0")
    if not np.all(np.sum(share, axis=-1) > 0.0):
        raise ValueError("weight must have a positive sum; got 0")
    return tokens, duration, share


def speedup_over_hlm(
    latency: Latency, transmit_probability: ArrayLike, uplink_s: ArrayLike, full_uplink_s: ArrayLike
) -> Floats:
    r"""Speed-up over HLM, which transmits every token with its full distribution.

    .. math:: G = \frac{\tau_\mathrm{SLM} + \tau_\mathrm{up}(V) + \tau_\mathrm{LLM}}
                       {\tau_\mathrm{SLM} + p_\mathrm{tx} (\tau_\mathrm{up}(k) + \tau_\mathrm{LLM})}

    Derivation: ``derivations.throughput.speedup_over_hlm``.

    Parameters
    ----------
    latency : Latency
        Compute and protocol latencies [s].
    transmit_probability : array_like, shape [...]
        :math:`p_\mathrm{tx}` [-].
    uplink_s : array_like, shape [...]
        :math:`\tau_\mathrm{up}(k)` [s].
    full_uplink_s : array_like, shape [...]
        :math:`\tau_\mathrm{up}(V)` [s].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`G` [-].

    Raises
    ------
    ValueError
        If the probability is outside [0, 1] or a latency is negative or NaN.

    Examples
    --------
    >>> float(speedup_over_hlm(Latency(slm_s=0.1, llm_s=0.5), 0.25, 0.1, 1.9))
    10.0
    """
    hlm_s = round_latency_s(latency, 1.0, full_uplink_s)
    return hlm_s / round_latency_s(latency, transmit_probability, uplink_s)


def speedup_ceiling(transmit_probability: ArrayLike, payload_ratio: ArrayLike) -> Floats:
    r"""Speed-up over HLM that no latencies can exceed at a given skip rate and compression.

    .. math:: G < \frac{1}{p_\mathrm{tx}} \frac{B(V)}{B(k)}      \qquad \text{[new]}

    Approached as the link gets slow; the compute latencies can only lower it.
    Derivation: ``derivations.throughput.speedup_ceiling``.

    Parameters
    ----------
    transmit_probability : array_like, shape [...]
        :math:`p_\mathrm{tx}`, share of tokens transmitted, above 0 [-].
    payload_ratio : array_like, shape [...]
        :math:`B(k) / B(V)`, above 0 [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Largest speed-up [-].

    Raises
    ------
    ValueError
        If an argument is not positive or exceeds 1.

    Examples
    --------
    The abstract of CU-HLM prints 74.8 % skipped, 97.4 % compressed and 206 times faster, and that of U-HLM
    45.93 % fewer uplinks and 2.54 times faster:

    >>> round(float(speedup_ceiling(1 - 0.748, 1 - 0.974)), 1)
    152.6
    >>> round(float(speedup_ceiling(1 - 0.4593, 1.0)), 3)
    1.849
    """
    chance = as_positive("transmit_probability", as_probability("transmit_probability", transmit_probability))
    ratio = as_positive("payload_ratio", as_probability("payload_ratio", payload_ratio))
    return 1.0 / (chance * ratio)


def mean_rate_speedup(skip_rate: ArrayLike, latency_ratio: ArrayLike) -> Floats:
    r"""Speed-up over always transmitting when throughput is read as E[1/D].

    .. math:: \frac{E[1/D]}{1/D_\mathrm{tx}} = p_\mathrm{tx}
              + (1 - p_\mathrm{tx}) \frac{D_\mathrm{tx}}{D_\mathrm{skip}}      \qquad \text{[new]}

    Derivation: ``derivations.throughput.mean_rate_speedup``.

    Parameters
    ----------
    skip_rate : array_like, shape [...]
        :math:`1 - p_\mathrm{tx}` [-].
    latency_ratio : array_like, shape [...]
        :math:`D_\mathrm{tx} / D_\mathrm{skip}`, latency of a transmitted over that of a skipped token [-].

    Returns
    -------
    ndarray of float64, shape [...]
        Speed-up of the mean of the rates [-]; it has no ceiling at a given skip rate.

    Raises
    ------
    ValueError
        If the skip rate is outside [0, 1] or the ratio is not positive.

    Examples
    --------
    U-HLM's 2.54 at 45.93 % skipped, which the renewal rate caps at 1.849:

    >>> round(float(mean_rate_speedup(0.4593, 4.35)), 2)
    2.54
    """
    skip = as_probability("skip_rate", skip_rate)
    return (1.0 - skip) + skip * as_positive("latency_ratio", latency_ratio)


def mean_rate_latency_ratio(skip_rate: ArrayLike, speedup: ArrayLike) -> Floats:
    r"""Latency ratio at which E[1/D] gives a speed-up; inverts `mean_rate_speedup`.

    .. math:: D_\mathrm{tx} / D_\mathrm{skip} = (S - p_\mathrm{tx}) / (1 - p_\mathrm{tx})

    Derivation: ``derivations.throughput.mean_rate_speedup``.

    Parameters
    ----------
    skip_rate : array_like, shape [...]
        :math:`1 - p_\mathrm{tx}`, above 0 [-].
    speedup : array_like, shape [...]
        :math:`S`, at least 1 [-].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`D_\mathrm{tx} / D_\mathrm{skip}` [-].

    Raises
    ------
    ValueError
        If the skip rate is outside (0, 1] or the speed-up below 1.

    Examples
    --------
    >>> round(float(mean_rate_latency_ratio(0.4593, 2.54)), 2)
    4.35
    """
    skip = as_positive("skip_rate", as_probability("skip_rate", skip_rate))
    gain = as_nonnegative("speedup", speedup)
    if np.any(gain < 1.0):
        raise ValueError(f"speedup must be at least 1; got {gain[gain < 1.0].flat[0]:g}")
    return (gain - (1.0 - skip)) / skip


def floor_latency_s(latency: Latency, transmit_probability: ArrayLike, index_uplink_s: ArrayLike) -> Floats:
    r"""Latency that no single-draft scheme with this skip rule can beat.

    .. math:: \tau_\mathrm{SLM} + p_\mathrm{tx} (\tau_\mathrm{LLM} + \tau_\mathrm{up}(\lceil \log_2 V \rceil))
              \qquad \text{[new]}

    Derivation: ``derivations.throughput.floor_latency``.

    Parameters
    ----------
    latency : Latency
        Compute and protocol latencies [s].
    transmit_probability : array_like, shape [...]
        :math:`p_\mathrm{tx}` of the skip rule [-].
    index_uplink_s : array_like, shape [...]
        Latency of one token index [s].

    Returns
    -------
    ndarray of float64, shape [...]
        The floor [s].

    Raises
    ------
    ValueError
        If the probability is outside [0, 1] or a latency is negative or NaN.

    Notes
    -----
    It bounds every single-draft scheme that tells the server its draft. A server that draws from its own law
    needs not even that index, so the uplink of the floor is a convention; and its bias is 0 only if the skip
    decision ignores the draft (`verification.server_sampling_law`; else `Tokens.server_bias`).

    Examples
    --------
    >>> float(floor_latency_s(Latency(slm_s=0.1, llm_s=0.5), 0.25, 0.1))
    0.25
    """
    return round_latency_s(latency, transmit_probability, index_uplink_s)


def transmit_probability_for_speedup(
    speedup: ArrayLike, latency: Latency, uplink_s: ArrayLike, full_uplink_s: ArrayLike
) -> Floats:
    r"""Largest share of transmitted tokens at which a speed-up over HLM is reached.

    .. math:: p_\mathrm{tx} \le
              \frac{(\tau_\mathrm{SLM} + \tau_\mathrm{up}(V) + \tau_\mathrm{LLM}) / S
                     - \tau_\mathrm{SLM} - t_1}
                   {\tau_\mathrm{up}(k) + t_0}      \qquad \text{[new]}

    Derivation: ``derivations.throughput.transmit_probability_for_speedup``.

    Parameters
    ----------
    speedup : array_like, shape [...]
        :math:`S`, wanted speed-up [-].
    latency : Latency
        Compute and protocol latencies [s].
    uplink_s : array_like, shape [...]
        :math:`\tau_\mathrm{up}(k)` [s].
    full_uplink_s : array_like, shape [...]
        :math:`\tau_\mathrm{up}(V)` [s].

    Returns
    -------
    ndarray of float64, shape [...]
        Largest :math:`p_\mathrm{tx}`, at most 1 [-]; negative where not even skipping everything suffices.

    Raises
    ------
    ValueError
        If the speed-up is not positive or a latency is negative or NaN.

    Examples
    --------
    >>> float(transmit_probability_for_speedup(10.0, Latency(slm_s=0.1, llm_s=0.5), 0.1, 1.9))
    0.25
    """
    hlm_s = round_latency_s(latency, 1.0, full_uplink_s)
    spare_s = hlm_s / as_positive("speedup", speedup) - latency.slm_s - latency.llm.per_token_s
    saved_s = skip_saves_s(latency, uplink_s)
    if np.any(np.isinf(spare_s) & np.isinf(saved_s)):
        raise ValueError("uplink_s must be finite where full_uplink_s is infinite; got inf")
    return np.minimum(spare_s / saved_s, 1.0)


def rate_for_speedup_bit_per_s(
    speedup: float,
    latency: Latency,
    transmit_probability: float,
    payload_bit: float,
    full_payload_bit: float,
) -> tuple[float, float]:
    r"""Interval of link rates at which a speed-up over HLM is reached.

    :math:`G` depends on bandwidth and SNR through the rate C alone, and is a ratio of two lines in 1/C:

    .. math:: G \ge S \iff \frac{1}{C} \left( B(V) - S p_\mathrm{tx} B(k) \right)
              \ge S (\tau_\mathrm{SLM} + p_\mathrm{tx} t_0 + t_1)
              - (\tau_\mathrm{SLM} + \tau_\mathrm{LLM})      \qquad \text{[new]}

    Derivation: ``derivations.throughput.rate_for_speedup``.

    Parameters
    ----------
    speedup : float
        :math:`S`, wanted speed-up [-].
    latency : Latency
        Compute and protocol latencies [s]; the round trip counts as server time.
    transmit_probability : float
        :math:`p_\mathrm{tx}` [-].
    payload_bit : float
        :math:`B(k)` [bit].
    full_payload_bit : float
        :math:`B(V)` [bit].

    Returns
    -------
    tuple of float
        Lowest and highest rate [bit/s]; (nan, nan) where no rate reaches it, infinite where none is too high.

    Raises
    ------
    ValueError
        If an argument is not positive or the probability is outside [0, 1].

    Examples
    --------
    206 times at the skip rate and the compression of the same abstract: at no rate at all. With k = 30 it
    needs a link below 0.1 Mbit/s at these latencies:

    >>> tau = Latency(slm_s=0.01, llm_s=0.1)
    >>> rate_for_speedup_bit_per_s(206.0, tau, 0.252, 0.026 * 736e3, 736e3)
    (nan, nan)
    >>> low, high = rate_for_speedup_bit_per_s(206.0, tau, 0.252, 690.0, 736e3)
    >>> low, round(high)
    (0.0, 98048)
    """
    gain = float(as_positive("speedup", speedup))
    chance = float(as_probability("transmit_probability", transmit_probability))
    full = float(as_positive("full_payload_bit", full_payload_bit))
    slope_bit = full - gain * chance * float(as_positive("payload_bit", payload_bit))
    needed_s = float(gain * round_latency_s(latency, chance, 0.0) - round_latency_s(latency, 1.0, 0.0))
    if needed_s > 0.0:  # no fast link reaches it
        return (0.0, slope_bit / needed_s) if slope_bit > 0.0 else (math.nan, math.nan)
    if slope_bit >= 0.0:  # every link reaches it
        return 0.0, math.inf
    # the payloads are against it: only fast links, and none where even they just miss it
    return (slope_bit / needed_s, math.inf) if needed_s < 0.0 else (math.nan, math.nan)
