"""Rate and latency of the uplink: AWGN, Rayleigh fading and short packets.

Linear SNR and SI units throughout; dB live in `snr_from_db` and `db_from_snr` only. A Rayleigh SNR is
exponential with mean ``mean_snr``.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cuhlm_theory import _special as special
from cuhlm_theory._checks import Floats, as_count, as_floats, as_nonnegative, as_numbers, as_positive
from cuhlm_theory.errors import DivergentError, MissingInputError
from cuhlm_theory.parameters import FixedRate, Link, RateTrace, Uplink
from cuhlm_theory.rate_trace import packet_mean_s

_LN2 = math.log(2.0)
_MAX_DB = 1500.0  # 10 ** 150: the largest amount that is computed with
# exp(x) * exp1(x) is good to 1e-15 up to x = 700 and hyperu(1, 1, x) from 50 on; change in between
_EXP1_SAFE = 100.0


def snr_from_db(snr_db: ArrayLike) -> Floats:
    r"""Linear signal-to-noise ratio of a value in dB.

    .. math:: \mathrm{SNR} = 10^{\mathrm{SNR_{dB}} / 10}

    Parameters
    ----------
    snr_db : array_like, shape [...]
        Ratio [dB], at most 1500; minus infinity is a dead link.

    Returns
    -------
    ndarray of float64, shape [...]
        Ratio, linear [-].

    Raises
    ------
    ValueError
        If a value is NaN or above 1500 dB.

    Examples
    --------
    >>> snr_from_db([-np.inf, 0.0, 10.0])
    array([ 0.,  1., 10.])
    """
    value = as_numbers("snr_db", snr_db)
    bad = ~(value <= _MAX_DB)  # catches NaN
    if np.any(bad):
        raise ValueError(f"snr_db must be at most {_MAX_DB:g}; got {value[bad].flat[0]:g}")
    return np.asarray(10.0 ** (value / 10.0))


def db_from_snr(snr: ArrayLike) -> Floats:
    r"""Value in dB of a linear signal-to-noise ratio.

    .. math:: \mathrm{SNR_{dB}} = 10 \log_{10} \mathrm{SNR}

    Parameters
    ----------
    snr : array_like, shape [...]
        Ratio, linear [-], at least 0.

    Returns
    -------
    ndarray of float64, shape [...]
        Ratio [dB]; minus infinity where the link is dead.

    Raises
    ------
    ValueError
        If a ratio is negative, infinite or NaN.

    Examples
    --------
    >>> float(db_from_snr(100.0))
    20.0
    """
    value = as_nonnegative("snr", snr)
    with np.errstate(divide="ignore"):
        return np.asarray(10.0 * np.log10(value))


def received_snr(
    tx_power_w: ArrayLike, path_gain: ArrayLike, noise_psd_w_per_hz: ArrayLike, bandwidth_hz: ArrayLike
) -> Floats:
    r"""Signal-to-noise ratio at the receiver.

    .. math:: \mathrm{SNR} = P g / (N_0 W)      \qquad \text{[textbook]}

    Derivation: ``derivations.capacity.received_snr``.

    Parameters
    ----------
    tx_power_w : array_like, shape [...]
        :math:`P`, radiated power [W].
    path_gain : array_like, shape [...]
        :math:`g`, power gain of the path, linear [-].
    noise_psd_w_per_hz : array_like, shape [...]
        :math:`N_0`, one-sided noise power spectral density, noise figure included [W/Hz].
    bandwidth_hz : array_like, shape [...]
        :math:`W`, bandwidth [Hz].

    Returns
    -------
    ndarray of float64, shape [...]
        Ratio, linear [-]. At a fixed power it falls as the bandwidth grows.

    Raises
    ------
    ValueError
        If power or gain is negative, or noise or bandwidth is not positive.

    Examples
    --------
    >>> round(float(received_snr(0.2, 1e-12, 4e-21, 1e6)), 6)
    50.0
    """
    noise_w = as_positive("noise_psd_w_per_hz", noise_psd_w_per_hz) * as_positive(
        "bandwidth_hz", bandwidth_hz
    )
    return np.asarray(
        as_nonnegative("tx_power_w", tx_power_w) * as_nonnegative("path_gain", path_gain) / noise_w
    )


def log_distance_path_gain(
    distance_m: ArrayLike,
    reference_gain: ArrayLike,
    exponent: ArrayLike,
    *,
    reference_distance_m: ArrayLike = 1.0,
) -> Floats:
    r"""Power gain of the log-distance path-loss model.

    .. math:: g(d) = g_0 (d_0 / d)^{n}      \qquad \text{[textbook]}

    Derivation: ``derivations.capacity.log_distance_path_gain``.

    Parameters
    ----------
    distance_m : array_like, shape [...]
        :math:`d`, distance [m].
    reference_gain : array_like, shape [...]
        :math:`g_0`, gain at the reference distance, linear [-].
    exponent : array_like, shape [...]
        :math:`n`, path-loss exponent, 2 in free space [-].
    reference_distance_m : array_like, shape [...], default 1.0
        :math:`d_0`, reference distance [m].

    Returns
    -------
    ndarray of float64, shape [...]
        Power gain, linear [-].

    Raises
    ------
    ValueError
        If a distance is not positive, or gain or exponent is negative.

    Examples
    --------
    >>> float(log_distance_path_gain(100.0, 1e-4, 3.0))
    1e-10
    """
    ratio = as_positive("distance_m", distance_m) / as_positive("reference_distance_m", reference_distance_m)
    gain = as_nonnegative("reference_gain", reference_gain)
    with np.errstate(divide="ignore", over="ignore"):  # a gain beyond all numbers
        loss = ratio ** as_nonnegative("exponent", exponent)
        return np.divide(gain, loss, out=np.zeros(np.broadcast(gain, loss).shape), where=gain > 0.0)


def awgn_capacity_bit_per_s(bandwidth_hz: ArrayLike, snr: ArrayLike) -> Floats:
    r"""Shannon capacity of the AWGN channel.

    .. math:: C = W \log_2 (1 + \mathrm{SNR})      \qquad \text{[CU, v1, eq. (6)], printed}

    Derivation: ``derivations.capacity.awgn_capacity``.

    Parameters
    ----------
    bandwidth_hz : array_like, shape [...]
        :math:`W`, bandwidth [Hz].
    snr : array_like, shape [...]
        Signal-to-noise ratio, linear [-].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`C` [bit/s].

    Raises
    ------
    ValueError
        If the bandwidth is not positive or the SNR is negative.

    References
    ----------
    .. [CU] CU-HLM, arXiv:2505.11788v1.

    Examples
    --------
    >>> float(awgn_capacity_bit_per_s(1e6, 3.0))
    2000000.0
    """
    ratio = as_nonnegative("snr", snr)
    return np.asarray(as_positive("bandwidth_hz", bandwidth_hz) * np.log1p(ratio) / _LN2)


def rayleigh_ergodic_capacity_bit_per_s(bandwidth_hz: ArrayLike, mean_snr: ArrayLike) -> Floats:
    r"""Capacity averaged over Rayleigh fading: the rate of a code that spans many coherence blocks.

    .. math:: \bar C = (W / \ln 2)\, e^{1/\bar\gamma} E_1(1/\bar\gamma)      \qquad \text{[textbook]}

    Derivation: ``derivations.capacity.rayleigh_ergodic_capacity``.

    Parameters
    ----------
    bandwidth_hz : array_like, shape [...]
        :math:`W`, bandwidth [Hz].
    mean_snr : array_like, shape [...]
        :math:`\bar\gamma`, mean signal-to-noise ratio, linear [-].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`\bar C` [bit/s], below the AWGN capacity at the same mean (Jensen).

    Raises
    ------
    ValueError
        If the bandwidth is not positive or the mean SNR is negative.

    Notes
    -----
    :math:`e^x E_1(x) = U(1, 1, x)` overflows as a product; Tricomi's U takes over for large x. Relative error
    measured against 40-digit arithmetic: below 2e-15. ``bits / rate`` is *not* a mean latency, see
    `rate_adaptive_mean_latency_s`.

    Examples
    --------
    >>> round(float(rayleigh_ergodic_capacity_bit_per_s(1.0, 10.0)), 6)
    2.906515
    """
    ratio = as_nonnegative("mean_snr", mean_snr) + 0.0  # of -0, 0
    with np.errstate(divide="ignore", over="ignore"):
        x = 1.0 / ratio
    nats = np.array(ratio)  # the limit e^x E_1(x) -> 1/x, which is 0 on a dead link
    small = x <= _EXP1_SAFE
    large = ~small & (x <= 1e300)
    nats[small] = np.exp(x[small]) * special.exp1(x[small])
    nats[large] = special.hyperu(1.0, 1.0, x[large])
    return np.asarray(as_positive("bandwidth_hz", bandwidth_hz) * nats / _LN2)


def rayleigh_outage_capacity_bit_per_s(
    bandwidth_hz: ArrayLike, mean_snr: ArrayLike, outage: ArrayLike
) -> Floats:
    r"""Rate that Rayleigh fading supports except with probability ``outage``.

    .. math:: C_\epsilon = W \log_2 (1 - \bar\gamma \ln(1 - \epsilon))      \qquad \text{[textbook]}

    Derivation: ``derivations.capacity.rayleigh_outage_capacity``.

    Parameters
    ----------
    bandwidth_hz : array_like, shape [...]
        :math:`W`, bandwidth [Hz].
    mean_snr : array_like, shape [...]
        :math:`\bar\gamma`, mean signal-to-noise ratio, linear [-].
    outage : array_like, shape [...]
        :math:`\epsilon`, probability that the channel is worse than the rate [-], in (0, 1).

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`C_\epsilon` [bit/s].

    Raises
    ------
    ValueError
        If the bandwidth is not positive, the mean SNR is negative, or the outage is outside (0, 1).

    Notes
    -----
    A packet in outage is lost; what repeating it costs is `packet_latency_s`.

    Examples
    --------
    >>> round(float(rayleigh_outage_capacity_bit_per_s(1.0, 10.0, 0.01)), 6)
    0.138164
    """
    epsilon = _open_interval("outage", outage, 1.0)
    threshold = -as_nonnegative("mean_snr", mean_snr) * np.log1p(-epsilon)  # the epsilon quantile of the SNR
    return np.asarray(as_positive("bandwidth_hz", bandwidth_hz) * np.log1p(threshold) / _LN2)


def rayleigh_block_trace(
    bandwidth_hz: float,
    mean_snr: float,
    *,
    coherence_s: float,
    num_blocks: int,
    rng: np.random.Generator,
) -> RateTrace:
    r"""Draw a trace of Rayleigh block fading whose rate follows the capacity of each block.

    .. math:: r_i = W \log_2(1 + \gamma_i), \qquad \gamma_i \sim \mathrm{Exp}(\bar\gamma)
              \qquad \text{[textbook]}

    Derivation: ``derivations.capacity.awgn_capacity`` in each block.

    Parameters
    ----------
    bandwidth_hz : float
        :math:`W`, bandwidth [Hz].
    mean_snr : float
        :math:`\bar\gamma`, mean signal-to-noise ratio, linear [-].
    coherence_s : float
        Length of a block [s].
    num_blocks : int
        Blocks until the trace begins anew, at least 2 [-].
    rng : numpy.random.Generator
        Source of the fading.

    Returns
    -------
    RateTrace
        The link.

    Raises
    ------
    ValueError
        If bandwidth, SNR or coherence time is not positive, or there are too few blocks.

    Examples
    --------
    >>> rayleigh_block_trace(1e6, 10.0, coherence_s=0.02, num_blocks=50, rng=np.random.default_rng(0))
    RateTrace(50 rates over 1 s, 3.028e+06 bit/s on average)
    """
    count = int(as_count("num_blocks", num_blocks, at_least=2))
    snr = rng.exponential(float(as_positive("mean_snr", mean_snr)), count)
    return RateTrace(
        time_s=as_positive("coherence_s", coherence_s) * np.arange(count),
        rate_bit_per_s=awgn_capacity_bit_per_s(bandwidth_hz, snr),
    )


def arq_success_probability(spectral_efficiency: ArrayLike, mean_snr: ArrayLike) -> Floats:
    r"""Probability that a packet at a fixed rate gets through one Rayleigh coherence block.

    .. math:: p = \exp(-(2^R - 1) / \bar\gamma)      \qquad \text{[textbook]}

    Derivation: ``derivations.capacity.arq_success_probability``.

    Parameters
    ----------
    spectral_efficiency : array_like, shape [...]
        :math:`R`, rate of the code [bit/s/Hz].
    mean_snr : array_like, shape [...]
        :math:`\bar\gamma`, mean signal-to-noise ratio, linear [-].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`p` [-]; 1 at rate 0, else 0 on a dead link.

    Raises
    ------
    ValueError
        If a rate or a mean SNR is negative.

    Examples
    --------
    >>> round(float(arq_success_probability(1.0, 2.0)), 6)
    0.606531
    """
    rate = as_nonnegative("spectral_efficiency", spectral_efficiency)
    ratio = as_nonnegative("mean_snr", mean_snr)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore", under="ignore"):
        needed = np.expm1(rate * _LN2)
        return np.asarray(np.where(needed == 0.0, 1.0, np.exp(-needed / ratio)))


def arq_spectral_efficiency(mean_snr: ArrayLike) -> Floats:
    r"""Rate that maximises the goodput of retransmission over Rayleigh fading.

    .. math:: R^\star = W_0(\bar\gamma) / \ln 2      \qquad \text{new here; } W_0 \text{: Lambert}

    Derivation: ``derivations.capacity.arq_spectral_efficiency``.

    Parameters
    ----------
    mean_snr : array_like, shape [...]
        :math:`\bar\gamma`, mean signal-to-noise ratio, linear [-].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`R^\star` [bit/s/Hz].

    Raises
    ------
    ValueError
        If a mean SNR is negative.

    Notes
    -----
    The goodput :math:`R\,p(R)` is log-concave in R, so the stationary point is the maximum. It is evaluated
    as :math:`W_0(\bar\gamma) = \omega(\ln \bar\gamma)`, Wright's omega function, among real numbers.

    Examples
    --------
    >>> round(float(arq_spectral_efficiency(np.e)), 6)
    1.442695
    """
    with np.errstate(divide="ignore"):  # of a dead link
        log_snr = np.log(as_nonnegative("mean_snr", mean_snr))
    return np.asarray(special.wrightomega(log_snr) / _LN2)


def arq_mean_latency_s(
    bits: ArrayLike,
    bandwidth_hz: ArrayLike,
    mean_snr: ArrayLike,
    spectral_efficiency: ArrayLike | None = None,
) -> Floats:
    r"""Mean time to get a packet through Rayleigh fading by repeating it at a fixed rate.

    .. math:: E[T] = B / (W R\, p)      \qquad \text{new here}

    Derivation: ``derivations.capacity.arq_mean_latency``.

    Parameters
    ----------
    bits : array_like, shape [...]
        :math:`B`, payload [bit].
    bandwidth_hz : array_like, shape [...]
        :math:`W`, bandwidth [Hz].
    mean_snr : array_like, shape [...]
        :math:`\bar\gamma`, mean signal-to-noise ratio, linear [-].
    spectral_efficiency : array_like, shape [...], optional
        :math:`R` [bit/s/Hz]; by default the best, `arq_spectral_efficiency`.

    Returns
    -------
    ndarray of float64, shape [...]
        Mean latency [s]; 0 for an empty packet, infinite on a dead link.

    Raises
    ------
    ValueError
        If bits, mean SNR or rate is negative, or the bandwidth is not positive.

    Notes
    -----
    Attempts meet independent fading, each lasts B/(W R), and feedback is free. An attempt succeeds when the
    block supports the rate, so their number is geometric with mean 1/p.

    Examples
    --------
    >>> round(float(arq_mean_latency_s(1e6, 1e6, np.e)), 6)
    1.304223
    """
    rate = arq_spectral_efficiency(mean_snr) if spectral_efficiency is None else spectral_efficiency
    success = arq_success_probability(rate, mean_snr)
    goodput = as_positive("bandwidth_hz", bandwidth_hz) * np.asarray(rate, dtype=np.float64) * success
    return _latency(as_nonnegative("bits", bits), goodput)


def rate_adaptive_mean_latency_s(bits: ArrayLike, bandwidth_hz: ArrayLike, mean_snr: ArrayLike) -> Floats:
    r"""Mean latency of a rate-adaptive link over Rayleigh fading, which does not exist.

    .. math:: E[B / C(\gamma)] \ge \mathrm{const} \int_0 \mathrm{d}\gamma / \gamma = \infty
              \qquad \text{for every } B > 0 \text{, new here}

    Derivation: ``derivations.capacity.rate_adaptive_divergence``.

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
        0 [s], where nothing is sent.

    Raises
    ------
    DivergentError
        If a payload is above 0 bit.
    ValueError
        If bits or mean SNR is negative, or the bandwidth is not positive.

    Notes
    -----
    :math:`B/\bar C` lies below this mean by Jensen's inequality; it is the latency of a packet that spans
    many coherence blocks.

    Examples
    --------
    >>> float(rate_adaptive_mean_latency_s(0.0, 1e6, 10.0))
    0.0
    """
    payload, _, _ = np.broadcast_arrays(
        as_nonnegative("bits", bits),
        as_positive("bandwidth_hz", bandwidth_hz),
        as_nonnegative("mean_snr", mean_snr),
    )
    if np.any(payload > 0.0):
        raise DivergentError(
            "fading must be rayleigh-arq, or rayleigh-outage, for a finite mean latency: that of a "
            "rate-adaptive link over Rayleigh fading is infinite for every payload above 0 bit (got "
            f"{payload.max():g} bit), because deep fades weigh as 1/SNR"
        )
    return np.zeros(payload.shape)


def short_packet_blocklength(bits: ArrayLike, snr: ArrayLike, block_error: ArrayLike) -> Floats:
    r"""Channel uses that a short AWGN packet needs, by the normal approximation.

    .. math:: B = nC - \sqrt{nD}\, Q^{-1}(\epsilon), \quad
              \sqrt n = \frac{Q^{-1}(\epsilon)\sqrt D + \sqrt{Q^{-1}(\epsilon)^2 D + 4 C B}}{2 C}
              \qquad \text{[PPV], printed; solved for n here}

    with :math:`C = \log_2(1 + \mathrm{SNR})` and :math:`D = (1 - (1 + \mathrm{SNR})^{-2}) \log_2^2 e`.

    Derivation: ``derivations.capacity.short_packet_blocklength``.

    Parameters
    ----------
    bits : array_like, shape [...]
        :math:`B`, payload [bit].
    snr : array_like, shape [...]
        Signal-to-noise ratio, linear [-].
    block_error : array_like, shape [...]
        :math:`\epsilon`, block error probability [-], in (0, 0.5).

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`n`, complex channel uses, not rounded [-]; 0 for an empty packet, infinite on a dead link.

    Raises
    ------
    ValueError
        If bits or SNR is negative, or the block error is outside (0, 0.5).

    Notes
    -----
    The third-order term :math:`\frac12 \log_2 n` is left out, as printed; it would shorten the packet. At
    B = 0 the quadratic has the roots 0 and :math:`Q^{-1}(\epsilon)^2 D / C^2`; nothing to send needs none.

    References
    ----------
    .. [PPV] Polyanskiy, Poor, Verdu, IEEE Trans. Inf. Theory 56(5), 2010.

    Examples
    --------
    >>> round(float(short_packet_blocklength(690.0, 10.0, 1e-3)), 3)
    218.422
    """
    payload = as_nonnegative("bits", bits)
    ratio = as_nonnegative("snr", snr)
    quantile = -special.ndtri(_open_interval("block_error", block_error, 0.5))  # Q^-1(eps) = -Phi^-1(eps) > 0
    per_use = np.log1p(ratio) / _LN2
    # 1 - (1 + s)^-2 = s (2 + s) / (1 + s)^2 without cancellation at small s
    dispersion = (ratio / (1.0 + ratio)) * ((2.0 + ratio) / (1.0 + ratio)) / _LN2**2
    backoff = quantile * np.sqrt(dispersion)
    with np.errstate(invalid="ignore", over="ignore"):
        root = (backoff + np.sqrt(backoff**2 + 4.0 * per_use * payload)) / (2.0 * per_use)
        uses = np.where(per_use > 0.0, root**2, np.inf)
    return np.asarray(np.where(payload > 0.0, uses, 0.0))


def short_packet_latency_s(
    bits: ArrayLike, bandwidth_hz: ArrayLike, snr: ArrayLike, block_error: ArrayLike
) -> Floats:
    r"""Latency of a short AWGN packet: its blocklength at one complex channel use a second and hertz.

    .. math:: T = n / W      \qquad \text{[PPV], printed}

    Derivation: ``derivations.capacity.short_packet_blocklength``.

    Parameters
    ----------
    bits : array_like, shape [...]
        :math:`B`, payload [bit].
    bandwidth_hz : array_like, shape [...]
        :math:`W`, bandwidth [Hz].
    snr : array_like, shape [...]
        Signal-to-noise ratio, linear [-].
    block_error : array_like, shape [...]
        :math:`\epsilon`, block error probability [-], in (0, 0.5).

    Returns
    -------
    ndarray of float64, shape [...]
        Latency [s], above the Shannon latency B/C.

    Raises
    ------
    ValueError
        If bits or SNR is negative, the bandwidth is not positive, or the block error is outside (0, 0.5).

    Examples
    --------
    >>> round(float(short_packet_latency_s(690.0, 1e6, 10.0, 1e-3)) * 1e6, 3)
    218.422
    """
    return np.asarray(
        short_packet_blocklength(bits, snr, block_error) / as_positive("bandwidth_hz", bandwidth_hz)
    )


def rate_bit_per_s(link: Uplink, bits: ArrayLike | None = None) -> Floats:
    r"""Rate of a link: capacity, goodput, bits per second of one short packet, or the mean of a trace.

    .. math:: \text{by } \mathtt{fading}:\; C,\; \bar C,\; C_\epsilon,\; W R^\star p,\; B W / n

    Derivation: none of its own; a choice among the formulas above.

    Parameters
    ----------
    link : Link, FixedRate or RateTrace
        Bandwidth, SNR and channel model, the rate, or a trace of it.
    bits : array_like, shape [...], optional
        :math:`B`, payload [bit]; only a short packet's rate depends on it.

    Returns
    -------
    ndarray of float64, shape [...]
        Rate [bit/s]; one number unless a short packet's ``bits`` is an array.

    Raises
    ------
    MissingInputError
        If the fading is `short-packet` and ``bits`` is missing.
    ValueError
        If bits are negative.

    Examples
    --------
    >>> float(rate_bit_per_s(Link(bandwidth_hz=1e6, snr=3.0)))
    2000000.0
    """
    if isinstance(link, FixedRate):
        return np.asarray(link.rate_bit_per_s)
    if isinstance(link, RateTrace):
        return np.asarray(link.mean_bit_per_s)
    if link.fading == "short-packet":
        if bits is None:
            raise MissingInputError("the rate of a short packet depends on its size: give bits")
        payload = as_nonnegative("bits", bits)
        uses = short_packet_blocklength(payload, link.snr, link.block_error)
        safe = np.where(uses > 0.0, uses, 1.0)
        return np.asarray(payload * link.bandwidth_hz / safe)  # B = 0 gives 0, the limit of B/n
    if bits is not None:
        as_nonnegative("bits", bits)
    if link.fading == "awgn":
        return awgn_capacity_bit_per_s(link.bandwidth_hz, link.snr)
    if link.fading == "rayleigh-ergodic":
        return rayleigh_ergodic_capacity_bit_per_s(link.bandwidth_hz, link.snr)
    if link.fading == "rayleigh-outage":
        return rayleigh_outage_capacity_bit_per_s(link.bandwidth_hz, link.snr, link.outage)
    rate = arq_spectral_efficiency(link.snr)
    return np.asarray(link.bandwidth_hz * rate * arq_success_probability(rate, link.snr))


def attempt_latency_s(link: Uplink, bits: ArrayLike) -> Floats:
    r"""Latency of one attempt to send a packet over a link, which may be lost.

    .. math:: T = B / \mathtt{rate}(B)

    Derivation: none of its own; a choice among the formulas above.

    Parameters
    ----------
    link : Link, FixedRate or RateTrace
        Bandwidth, SNR and channel model, the rate, or a trace of it.
    bits : array_like, shape [...]
        :math:`B`, payload [bit].

    Returns
    -------
    ndarray of float64, shape [...]
        Latency [s]; 0 for an empty packet, infinite on a dead link. Over a trace the mean over when it
        starts, under `rayleigh-arq` that with what is lost repeated, and under `rayleigh-ergodic` the limit
        of many coherence blocks, not a mean.

    Raises
    ------
    ValueError
        If bits are negative or not finite.

    Examples
    --------
    >>> attempt_latency_s(Link(bandwidth_hz=1e6, snr=3.0), [0.0, 736_000.0])
    array([0.   , 0.368])
    """
    payload = as_nonnegative("bits", bits)
    if isinstance(link, RateTrace):
        return packet_mean_s(link, payload)
    if isinstance(link, Link) and link.fading == "short-packet":
        return short_packet_latency_s(payload, link.bandwidth_hz, link.snr, link.block_error)
    return _latency(payload, rate_bit_per_s(link))


def packet_latency_s(link: Uplink, bits: ArrayLike) -> Floats:
    r"""Mean time until a packet has got through, lost attempts repeated: what every scheme is charged.

    .. math:: E[T] = T / (1 - \epsilon), \quad \epsilon \text{: chance that an attempt is lost}
              \qquad \text{new here}

    Derivation: ``derivations.capacity.mean_packet_latency``.

    Parameters
    ----------
    link : Link, FixedRate or RateTrace
        Bandwidth, SNR and channel model, the rate, or a trace of it.
    bits : array_like, shape [...]
        :math:`B`, payload [bit].

    Returns
    -------
    ndarray of float64, shape [...]
        Mean latency [s]; 0 for an empty packet, infinite on a dead link.

    Raises
    ------
    DivergentError
        If the fading is `rayleigh-ergodic` and a payload is above 0 bit.
    ValueError
        If bits are negative or not finite.

    Notes
    -----
    A packet that is lost is noticed at once and sent again, over independent fading, until it is received; so
    what the server knows, and with it the bias, is that of a link that loses nothing. Under `rayleigh-outage`
    this is `arq_mean_latency_s` at the outage rate, hence never below `rayleigh-arq`, which repeats at the
    best rate.

    Examples
    --------
    >>> float(packet_latency_s(Link(bandwidth_hz=1e6, snr=3.0), 736_000.0))
    0.368
    """
    once = attempt_latency_s(link, bits)
    if not isinstance(link, Link):
        return once
    if link.fading == "rayleigh-ergodic":
        return rate_adaptive_mean_latency_s(bits, link.bandwidth_hz, link.snr)
    lost = {"rayleigh-outage": link.outage, "short-packet": link.block_error}.get(link.fading, 0.0)
    return np.asarray(once / (1.0 - lost))


def _latency(bits: Floats, rate: Floats) -> Floats:
    """B / rate with 0 s for 0 bits, whatever the rate."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.asarray(np.where(bits > 0.0, bits / rate, 0.0))


def _open_interval(name: str, value: ArrayLike, high: float) -> NDArray[np.float64]:
    array = as_floats(name, value)
    bad = (array <= 0.0) | (array >= high)
    if np.any(bad):
        raise ValueError(f"{name} must lie in (0, {high:g}); got {array[bad].flat[0]:g}")
    return array
