"""Printed figures of the papers beside what this toolkit computes for the same quantity."""

import math
from functools import cache
from typing import Any

import numpy as np

from cuhlm_theory import drafting, presets, risk, rivals, rooms, throughput
from cuhlm_theory.capacity import awgn_capacity_bit_per_s, log_distance_path_gain, snr_from_db
from cuhlm_theory.parameters import Codec
from cuhlm_theory.payload import dense_bit, printed_bit
from cuhlm_theory.rejection import Line
from cuhlm_theory.schemes.payload import DenseLattice
from cuhlm_theory.schemes.skip import Never
from cuhlm_theory.uncertainty import disagreement_count_pmf

_U, _CU, _FOLLOWS = "U-HLM 2412.12687", "CU-HLM 2505.11788", "2508.12590"
_SD, _TK = "speculative decoding 2211.17192", "TK-SLT 2509.04576"
_STOP, _QS, _ASYM = "UCB-SpecStop 2606.20591", "Q-S 2507.00605", "AsymSpec 2608.04974"


def _line(name: str) -> Line:
    published = presets.PUBLISHED_LINES[name]
    return Line(published.slope.value, published.intercept.value, published.delta.value)


_U_LINE, _CU_LINE = _line("u-hlm"), _line("cu-hlm")
_VOCAB = int(presets.SETTINGS["vocab_size"].value)
_SLM_S, _LLM_S = (presets.SETTINGS[f"{side}_latency_s"].value for side in ("slm", "llm"))
_U_SKIP, _CU_SKIP = (presets.FIGURES[f"{paper}_skip_rate"].value for paper in ("u_hlm", "cu_hlm"))
_SCHEMES_OF_TABLE_1 = ("llm", "hlm", "u-hlm")
_OTHER_PAIR = "another pair"
_UNPUBLISHED = "what it depends on is not published"
_NO_ANSWERS = "reference answers and their encoder are not at hand"


Row = dict[str, Any]


def _row(paper: str, quantity: str, printed: str, ours: Any = None, note: str = "") -> Row:
    """Return a printed figure, ours, None where nothing can compute it, and the verdict."""
    found = None if ours is None else float(ours)
    return {
        "paper": paper,
        "quantity": quantity,
        "printed": printed,
        "ours": found,
        "verdict": verdict(printed, found, note),
    }


def verdict(printed: str, ours: float | None, note: str = "") -> str:
    """Say whether a computed figure is the printed one, to the digits that were printed.

    Parameters
    ----------
    printed : str
        The figure as printed, such as ``0.431``, ``2.24e-3`` or ``<4e-3``.
    ours : float or None
        The computed figure [-]; None where there is none.
    note : str, default ""
        What is different here.

    Returns
    -------
    str
        ``reproduced``, ``not reproduced (by how much)`` or ``cannot be``, each with the note.

    Examples
    --------
    >>> verdict("0.0732", 0.07317), verdict("0.431", 0.44024), verdict("<4e-3", 0.005)
    ('reproduced', 'not reproduced (by +2.1 %)', 'not reproduced (by +25.0 %)')
    """
    said = f"; {note}" if note else ""
    if ours is None:
        return f"cannot be{said}"
    value = float(printed.lstrip("<"))
    mantissa, _, exponent = printed.lstrip("<").partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    near = abs(ours - value) <= 0.5 * unit * (1.0 + 1e-9)
    if near or (printed.startswith("<") and ours < value):
        return f"reproduced{said}"
    return f"not reproduced (by {100 * (ours / value - 1):+.1f} %{said})"


@cache
def _pair() -> Any:
    return rooms.load("qwen2.5-coder")


@cache
def _frequency() -> np.ndarray:
    """Law of u on its grid of 20 on the recorded pair."""
    return disagreement_count_pmf(_pair().tokens.uncertainty, 20).mean(axis=0)


def _skipped(threshold: float) -> float:
    """Share of the recorded drafts with u at most a threshold."""
    return float(_frequency()[: math.floor(20 * threshold + 1e-9) + 1].sum())


def _hlm_token_per_s() -> float:
    """U-HLM's full payload at the mean SNR of its link, with its latencies."""
    link = {key: one.value for key, one in presets.SETTINGS.items()}
    gain = float(log_distance_path_gain(link["distance_m"], 1.0, link["path_loss_exponent"]))
    snr = float(snr_from_db(link["tx_power_dbm"] - link["noise_dbm"])) * gain
    uplink_s = float(dense_bit(_VOCAB, 16)) / float(awgn_capacity_bit_per_s(link["bandwidth_hz"], snr))
    return 1.0 / (_SLM_S + uplink_s + _LLM_S)


def _table_1(scheme: str, over: str) -> float:
    return float(np.mean(np.divide(presets.TABLE_I[scheme], presets.TABLE_I[over])))


def _u_hlm() -> list[Row]:
    ratio = (_SLM_S + _LLM_S) / _SLM_S
    return [
        _row(_U, "risk-averse threshold [-]", "0.073", _U_LINE.risk_averse),
        _row(_U, "risk-prone threshold [-]", "0.431", float(_U_LINE.risk_prone or 0.0)),
        _row(_U, "slope a of the line [-]", "0.82", _pair().line.slope, _OTHER_PAIR),
        _row(_U, "intercept b [-]", "-0.06", _pair().line.intercept, _OTHER_PAIR),
        _row(_U, "Delta = P(y_d < x_d) [-]", "0.301", _pair().line.delta, _OTHER_PAIR),
        _row(
            _U,
            "R, frequencies read as a density [-]",
            "2.24e-3",
            risk.between_thresholds(_frequency(), _U_LINE) / 20,
            _OTHER_PAIR,
        ),
        _row(
            _U,
            "R, the integral of eq. (13) [-]",
            "2.24e-3",
            float(risk.between_thresholds(_frequency(), _U_LINE)),
            "a density is 20 times its frequencies",
        ),
        _row(
            _U,
            "bound on R, frequencies read as a density [-]",
            "<4e-3",
            risk.between_thresholds_bound(_frequency(), _U_LINE) / 20,
        ),
        _row(
            _U,
            "bound on R, the integral of eq. (14) [-]",
            "<4e-3",
            float(risk.between_thresholds_bound(_frequency(), _U_LINE)),
            "a density is 20 times its frequencies",
        ),
        _row(_U, "skipped at the risk-prone threshold [-]", "0.4593", _skipped(0.431), _OTHER_PAIR),
        _row(_U, "full payload [bit]", "5e5", float(dense_bit(_VOCAB, 16))),
        _row(_U, "U-HLM over the LLM, mean of Table I [-]", "0.9754", _table_1("u-hlm", "llm")),
        _row(
            _U,
            "speed-up at 45.93 % skipped, E[N]/E[D], at most [-]",
            "2.54",
            float(throughput.speedup_ceiling(1.0 - _U_SKIP, 1.0)),
        ),
        _row(
            _U,
            "the same, mean of the rates, at least [-]",
            "2.54",
            float(throughput.mean_rate_speedup(_U_SKIP, ratio)),
        ),
        _row(_U, "time of the small model [s]", "0.0246", None, "other machines"),
        _row(_U, "time of the large model [s]", "0.1046", None, "other machines"),
        *(
            _row(_U, f"Table I, {name.upper()}, Alpaca [-]", f"{alpaca:.4f}", None, _NO_ANSWERS)
            for name, alpaca in ((name, presets.TABLE_I[name][0]) for name in _SCHEMES_OF_TABLE_1)
        ),
        _row(_FOLLOWS, "HLM, least of its figures [token/s]", "0.36", _hlm_token_per_s(), "U-HLM's mean SNR"),
    ]


def _cu_hlm() -> list[Row]:
    full, some = float(printed_bit(_VOCAB, _VOCAB)), float(printed_bit(30, _VOCAB))
    return [
        _row(_CU, "risk-averse threshold [-]", "0.0810", _CU_LINE.risk_averse),
        _row(_CU, "risk-prone threshold [-]", "0.8117", None, "its Delta is not published"),
        _row(_CU, "slope a of the line [-]", "0.815", _pair().line.slope, _OTHER_PAIR),
        _row(_CU, "intercept b [-]", "-0.066", _pair().line.intercept, _OTHER_PAIR),
        _row(_CU, "full distribution [byte]", "92000", full / 8),
        _row(_CU, "payload of k = 30 over the full one [-]", "<1e-3", some / full),
        _row(_CU, "compression, at its k = 30 [-]", "0.974", 1.0 - some / full),
        _row(
            _CU,
            "speed-up over HLM at 74.8 % skipped and 97.4 % compressed, at most [-]",
            "206",
            float(throughput.speedup_ceiling(1.0 - _CU_SKIP, 1.0 - 0.974)),
        ),
        _row(_CU, "skipped at the risk-prone threshold [-]", "0.748", _skipped(0.8117), _OTHER_PAIR),
        _row(_CU, "offline k [token]", "30", None, _UNPUBLISHED),
        _row(_CU, "accuracy over HLM [-]", "0.974", None, _NO_ANSWERS),
    ]


def _drafts() -> list[Row]:
    table = ((0.6, 2, "1.96", "1.53"), (0.7, 3, "2.53", "1.58"), (0.8, 2, "2.44", "1.23"))
    table += ((0.8, 5, "3.69", "1.63"), (0.9, 2, "2.71", "1.11"), (0.9, 10, "6.86", "1.60"))
    rows = []
    for alpha, count, speed, operations in table:
        at = f"alpha = {alpha}, {count} drafts [-]"
        rows.append(_row(_SD, f"speed-up, {at}", speed, drafting.speculation_speedup(alpha, count, 0.0)))
        rows.append(_row(_SD, f"operations, {at}", operations, drafting.operations_ratio(alpha, count)))
    best = drafting.printed_num_drafts(0.6, 0.01)
    return [
        *rows,
        _row(_TK, "best drafts, alpha = 0.6, L = 0.01 [token]", "7", best),
        _row(_TK, "speed-up there [-]", "2.2972", drafting.speculation_speedup(0.6, best, 0.01)),
    ]


def _rivals() -> list[Row]:
    draft_s, verify_s = 1e-3, 0.5e-3
    rows = []
    for alpha, shown in ((0.5, "3.5"), (0.6, "2.333"), (0.7, "1.602"), (0.8, "1.109"), (0.9, "0.759")):
        critical_s = float(rivals.critical_delay_s(alpha, draft_s, verify_s))
        rows.append(_row(_STOP, f"critical delay, alpha = {alpha} [ms]", shown, 1000 * critical_s))
    table = ((0.7, 5, "3", "5.922"), (0.7, 10, "5", "9.520"), (0.7, 30, "7", "22.603"))
    table += ((0.7, 50, "8", "35.169"), (0.7, 100, "10", "65.954"), (0.7, 200, "12", "126.778"))
    table += ((0.7, 500, "14", "307.912"), (0.8, 100, "15", "45.892"), (0.9, 100, "26", "25.429"))
    for alpha, delay_ms, drafts, shown in table:
        at, delay_s = f"alpha = {alpha}, delay {delay_ms} ms", delay_ms / 1000
        best = drafting.best_num_drafts(alpha, rivals.delay_ratio(draft_s, verify_s, delay_s))
        latency_s = float(rivals.delayed_latency_s(alpha, best, draft_s, verify_s, delay_s))
        rows.append(_row(_STOP, f"best drafts, {at} [token]", drafts, best))
        rows.append(_row(_STOP, f"time a token, {at} [ms]", shown, 1000 * latency_s))
    for level, shown in ((720, "5467"), (240, "2209"), (100, "1054"), (24, "312"), (4, "74")):
        bits = DenseLattice(lattice_levels=level).bit(50_272, Codec(vocab_size=50_272), Never())
        rows.append(_row(_QS, f"bits a draft, V = 50272, {level} levels [bit]", shown, bits))
    return [
        *rows,
        _row(_ASYM, "compression V/K, V = 151936, K = 256 [-]", "593.5", 151_936 / 256),
        _row(_ASYM, "TV of the residual, K = 16 [-]", "0.0116", None, "other texts"),
        _row(_ASYM, "TV of the residual, K = 256 [-]", "4.85e-4", None, "other texts"),
    ]


def printed_figures() -> list[dict[str, Any]]:
    """Tabulate printed figures beside ours.

    Returns
    -------
    list of dict
        ``paper``, ``quantity``, ``printed``, ``ours`` and ``verdict`` of each.

    Raises
    ------
    MissingInputError
        If no room that reads calibrations is installed: some figures are judged on the recorded pair.

    Examples
    --------
    >>> [row["verdict"] for row in printed_figures()][:2]
    ['reproduced', 'not reproduced (by +2.1 %)']
    """
    return [*_u_hlm(), *_cu_hlm(), *_drafts(), *_rivals()]
