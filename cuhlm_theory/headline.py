"""Where the headline figures of the literature hold: the region of link, latencies, size and skip rate.

The abstracts of CU-HLM and U-HLM print a speed-up, a skip rate, a compression. Under the latency model that
the same papers print, these cannot belong to one operating point; this module says where each can hold.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from cuhlm_theory import presets
from cuhlm_theory.parameters import Codec, Latency
from cuhlm_theory.payload import distribution_bit
from cuhlm_theory.throughput import (
    mean_rate_latency_ratio,
    mean_rate_speedup,
    rate_for_speedup_bit_per_s,
    speedup_ceiling,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Where a speed-up over HLM is reached, for one setting."""

    speedup: float
    """Wanted speed-up [-]."""
    transmit_probability: float
    """p_tx [-]."""
    k: int
    """Entries sent [token]."""
    slm_s: float
    """tau_SLM [s]."""
    llm_s: float
    """tau_LLM [s]."""
    ceiling: float
    """Speed-up that a slow link approaches at this p_tx and k [-]."""
    max_rate_bit_per_s: float | None
    """The link must be no faster than this [bit/s]; None where no rate reaches the speed-up."""
    bandwidths_hz: tuple[float, ...]
    """Bandwidths of the next field [Hz]."""
    max_snr_db: tuple[float | None, ...]
    """The same as an AWGN SNR at each bandwidth [dB]."""


def headline_region(
    speedup: float,
    transmit_probabilities: Sequence[float],
    sizes: Sequence[int],
    latencies_s: Sequence[tuple[float, float]],
    *,
    bandwidths_hz: Sequence[float] = (180e3, 1e6, 10e6),
    codec: Codec | None = None,
) -> list[Reach]:
    r"""Tabulate where a speed-up over HLM is reached.

    .. math:: C = W \log_2(1 + \mathrm{SNR})
              \le C_\max(S, p_\mathrm{tx}, k, \tau_\mathrm{SLM}, \tau_\mathrm{LLM})      \qquad \text{[new]}

    Derivation: ``derivations.throughput.rate_for_speedup``.

    Parameters
    ----------
    speedup : float
        Wanted speed-up [-].
    transmit_probabilities : sequence of float
        :math:`p_\mathrm{tx}` [-].
    sizes : sequence of int
        :math:`k`, entries sent [token].
    latencies_s : sequence of tuple
        Pairs :math:`(\tau_\mathrm{SLM}, \tau_\mathrm{LLM})` [s].
    bandwidths_hz : sequence of float
        Bandwidths at which the SNR is given [Hz].
    codec : Codec, optional
        Vocabulary and widths; by default those of [CU], printed formula.

    Returns
    -------
    list of Reach
        One row a combination.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    .. [CU] CU-HLM, arXiv:2505.11788v1, latency model.

    Examples
    --------
    k = 30 reaches 206 at the published skip rate, but only below 0.1 Mbit/s; the published compression never:

    >>> rows = headline_region(206, [0.252], [30, 832], [(0.01, 0.1)], bandwidths_hz=[180e3])
    >>> [row.max_rate_bit_per_s and round(row.max_rate_bit_per_s) for row in rows]
    [98048, None]
    """
    codec = codec or Codec(vocab_size=int(presets.SETTINGS["vocab_size"].value))
    full_bit = float(distribution_bit(codec, codec.vocab_size))
    rows = []
    for chance, k, (slm_s, llm_s) in itertools.product(transmit_probabilities, sizes, latencies_s):
        bit = float(distribution_bit(codec, k))
        _, high = rate_for_speedup_bit_per_s(
            speedup, Latency(slm_s=slm_s, llm_s=llm_s), chance, bit, full_bit
        )
        reached = not math.isnan(high)
        rows.append(
            Reach(
                speedup=speedup,
                transmit_probability=chance,
                k=int(k),
                slm_s=slm_s,
                llm_s=llm_s,
                ceiling=float(speedup_ceiling(chance, bit / full_bit)),
                max_rate_bit_per_s=high if reached else None,
                bandwidths_hz=tuple(bandwidths_hz),
                max_snr_db=tuple(_snr_db(high / w) if reached else None for w in bandwidths_hz),
            )
        )
    return rows


def _snr_db(spectral_efficiency: float) -> float:
    """Return the AWGN SNR of a spectral efficiency [dB]."""
    if spectral_efficiency > 1000.0:
        return math.inf
    return 10.0 * math.log10(math.expm1(spectral_efficiency * math.log(2.0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Consistency:
    """What the printed figures of one abstract allow."""

    name: str
    """Scheme."""
    speedup: float
    """Printed speed-up, "up to" [-]."""
    skip_rate: float
    """Printed share of skipped uplinks [-]."""
    compression: float
    """Printed compression of the payload [-]; 0 where the full distribution is sent."""
    ceiling: float
    """Largest speed-up at the printed skip rate and compression [-]."""
    fits: bool
    """Whether the printed figures can belong to one operating point."""
    max_transmit_probability: float
    """p_tx below which the printed compression could reach the speed-up [-]."""
    max_payload_ratio: float
    """B(k)/B(V) below which the printed skip rate could reach it [-]."""
    mean_rate_latency_ratio: float
    """Latency of a transmitted over a skipped token at which the mean of the rates E[1/D] gives it without
    compression [-]."""
    least_mean_rate: float | None
    """Least speed-up that the mean of the rates gives at the printed skip rate and latencies, over any link
    [-]; None where the payload is compressed."""

    @property
    def statement(self) -> str:
        """The verdict in words."""
        squeezed = f", {100 * self.compression:.4g} % compressed" if self.compression else ""
        verdict = "fit" if self.fits else "do not fit"
        other = ""
        if self.least_mean_rate is not None and self.least_mean_rate > self.speedup:
            other = f" The mean of the rates is at least {self.least_mean_rate:.4g}, over any link."
        return (
            f"{self.name} prints {100 * self.skip_rate:.4g} % of the uplinks skipped{squeezed} and a "
            f"speed-up of {self.speedup:g}: these {verdict} one operating point of the printed latency "
            f"model, which allows at most {self.ceiling:.4g}.{other}"
        )


def headline_consistency() -> list[Consistency]:
    """Check the printed figures of the two abstracts against the printed latency model.

    Returns
    -------
    list of Consistency
        One row an abstract.

    Examples
    --------
    >>> [(row.name, round(row.ceiling, 3), row.fits) for row in headline_consistency()]
    [('cu-hlm', 152.625, False), ('u-hlm', 1.849, False)]
    >>> round(headline_consistency()[1].least_mean_rate, 3)
    2.953
    """
    figures = presets.FIGURES
    printed = (
        ("cu-hlm", "cu_hlm_speedup", "cu_hlm_skip_rate", figures["cu_hlm_compression"].value),
        ("u-hlm", "u_hlm_speedup", "u_hlm_skip_rate", 0.0),
    )
    slm_s, llm_s = (presets.SETTINGS[f"{side}_latency_s"].value for side in ("slm", "llm"))
    rows = []
    for name, speedup_key, skip_key, compression in printed:
        speedup, skip, ratio = figures[speedup_key].value, figures[skip_key].value, 1.0 - compression
        ceiling = float(speedup_ceiling(1.0 - skip, ratio))
        rows.append(
            Consistency(
                name=name,
                speedup=speedup,
                skip_rate=skip,
                compression=compression,
                ceiling=ceiling,
                fits=speedup <= ceiling,
                max_transmit_probability=1.0 / (speedup * ratio),
                max_payload_ratio=1.0 / (speedup * (1.0 - skip)),
                mean_rate_latency_ratio=float(mean_rate_latency_ratio(skip, speedup)),
                least_mean_rate=None if compression else float(mean_rate_speedup(skip, 1.0 + llm_s / slm_s)),
            )
        )
    return rows
