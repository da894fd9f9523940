"""A link whose rate varies over time: when a packet is through, and how long one takes on average."""

import csv
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from cuhlm_theory._checks import Floats, as_nonnegative
from cuhlm_theory.parameters import RateTrace

__all__ = ["packet_end_s", "packet_mean_s", "read_rate_trace"]

_COLUMNS = {"time_s": "time", "rate_bit_per_s": "rate"}


def read_rate_trace(path: str | Path) -> RateTrace:
    r"""Read a trace of a link.

    Parameters
    ----------
    path : str or Path
        CSV file with the columns ``time_s`` and ``rate_bit_per_s``; others are ignored.

    Returns
    -------
    RateTrace
        The link.

    Raises
    ------
    ValueError
        If the file is missing, lacks a column, or holds what is no number or no trace; one line that names
        it.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
    ...     _ = file.write("time_s,rate_bit_per_s\n0,1e6\n1,3e6\n")
    ...     file.flush()
    ...     read_rate_trace(file.name)
    RateTrace(2 rates over 2 s, 2e+06 bit/s on average)
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"rate_trace must be a file that exists; got {str(path)!r}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if missing := [title for name, title in _COLUMNS.items() if name not in (rows.fieldnames or ())]:
                raise ValueError(f"its first line lacks the column of the {missing[0]}")
            times, rates = zip(*([float(row[name]) for name in _COLUMNS] for row in rows), strict=True)
        return RateTrace(time_s=times, rate_bit_per_s=rates)
    except (ValueError, TypeError, csv.Error) as error:  # a TypeError is a row that is too short
        raise ValueError(f"rate_trace {str(path)!r} must be a CSV of time and rate: {error}") from None


def packet_end_s(trace: RateTrace, start_s: ArrayLike, bits: ArrayLike) -> Floats:
    r"""Time at which a packet is through that starts at a given time of a trace.

    .. math:: t_\mathrm{end} = C^{-1}(C(t_\mathrm{start}) + B), \qquad C(t) = \int_0^t r
              \qquad \text{textbook; } C^{-1}(c) \text{: the first time at which } c \text{ bits are carried}

    Parameters
    ----------
    trace : RateTrace
        The link.
    start_s : array_like, shape [...]
        When the first bit is sent, counted from the beginning of the trace [s].
    bits : array_like, shape [...]
        :math:`B`, payload [bit].

    Returns
    -------
    ndarray of float64, shape [...]
        When the last bit is through [s]; the start, if there is none.

    Raises
    ------
    ValueError
        If a time or a payload is negative or not finite.

    Examples
    --------
    >>> trace = RateTrace(time_s=[0.0, 1.0], rate_bit_per_s=[1e6, 0.0])
    >>> packet_end_s(trace, [0.25, 0.75, 1.5], 5e5)
    array([0.75, 2.25, 2.5 ])
    """
    start, payload = as_nonnegative("start_s", start_s), as_nonnegative("bits", bits)
    edge_s, carried = trace.edge_s, trace.carried_bit
    turns, phase_s = np.divmod(start, trace.period_s)
    due = np.interp(phase_s, edge_s, carried) + payload
    more, rest = np.divmod(due, carried[-1])
    whole = (rest == 0.0) & (more > 0.0)  # through at the end of a turn, not at the start of the next
    more, rest = more - whole, np.where(whole, carried[-1], rest)
    last = np.clip(np.searchsorted(carried, rest), 1, None)  # the span that carries the last bit
    span_bit = carried[last] - carried[last - 1]
    share = np.divide(rest - carried[last - 1], span_bit, out=np.zeros_like(rest), where=span_bit > 0.0)
    end_s = (turns + more) * trace.period_s + edge_s[last - 1] + share * (edge_s[last] - edge_s[last - 1])
    return np.asarray(np.where(payload > 0.0, np.maximum(end_s, start), start))


def packet_mean_s(trace: RateTrace, bits: ArrayLike) -> Floats:
    r"""Mean time of a packet that starts at a uniformly random time of a trace.

    .. math:: E[T] = \frac{1}{P} \int_0^P \left(C^{-1}(C(s) + B) - s\right) \mathrm{d}s
              \qquad \text{new here}

    Exact: between two times at which the start or the end of the packet meets a change of rate, its duration
    is linear in its start, so that the middle of each such piece is the piece's mean. It is not affine in B:
    two short packets take longer than one of their size (see the derivation).
    Derivation: ``derivations.capacity.packet_across_a_change_of_rate``.

    Parameters
    ----------
    trace : RateTrace
        The link, with the period :math:`P`.
    bits : array_like, shape [...]
        :math:`B`, payload [bit].

    Returns
    -------
    ndarray of float64, shape [...]
        :math:`E[T]` [s]; 0 for an empty packet.

    Raises
    ------
    ValueError
        If bits are negative or not finite.

    Notes
    -----
    A device that sends packet after packet does not start at uniformly random times: it starts less often
    where the rate is low, for there it waits. So over a rate that changes slowly, compared with a round, its
    throughput lies above what this mean says.

    Examples
    --------
    >>> trace = RateTrace(time_s=[0.0, 1.0], rate_bit_per_s=[1e6, 0.0])
    >>> packet_mean_s(trace, [0.0, 5e5, 1e6])
    array([0.  , 1.  , 1.75])
    """
    payload = as_nonnegative("bits", bits)
    sizes, place = np.unique(payload, return_inverse=True)
    means = np.array([_mean_s(trace, float(size)) for size in sizes])
    return means[place].reshape(payload.shape)


@lru_cache(maxsize=1 << 16)
def _mean_s(trace: RateTrace, bits: float) -> float:
    if bits == 0.0:
        return 0.0
    turn_bit = trace.carried_bit[-1]
    turns = np.ceil(bits / turn_bit) - 1.0
    before = np.mod(trace.carried_bit - bits, turn_bit)
    meets_s = np.mod(packet_end_s(trace, 0.0, before), trace.period_s)  # then the end meets a change of rate
    ends_s = np.unique(np.concatenate((trace.edge_s, meets_s)))
    middle_s = 0.5 * (ends_s[1:] + ends_s[:-1])
    lasts_s = packet_end_s(trace, middle_s, bits - turns * turn_bit) - middle_s
    return float(turns * trace.period_s + np.diff(ends_s) @ lasts_s / trace.period_s)
