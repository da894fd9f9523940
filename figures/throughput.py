"""Throughput of every scheme against SNR and bandwidth, at one bias budget, with the floor.

Answers the throughput curves of U-HLM (arXiv:2412.12687) and CU-HLM (arXiv:2505.11788v1) over the SNR.
Reconstructed: bandwidth and latencies were not published. Equal bias, the floor and the schemes that
draft several tokens are new.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cuhlm_theory.capacity import db_from_snr, snr_from_db
from cuhlm_theory.errors import CuhlmError
from cuhlm_theory.parameters import System
from cuhlm_theory.schemes import SCHEMES, Scheme, line_up, single_draft_floor_s
from cuhlm_theory.texts import Written
from figures import style
from figures.frame import Figure, Source, Table, Tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SINGLE = ("hlm", "rand-hlm", "u-hlm", "cu-hlm-offline", "cu-hlm-online", "cu-hlm-exact", "kept-law", "llm")
SEVERAL = ("dsd", "tk-slt", "tslt", "k-sqs", "c-sqs", "dssd", "confidence-stop", "verify-on-sync")
SEVERAL += ("kept-law-exact",)
UNBOUNDED = ("llm", "kept-law")
"""What the floor does not bound: there is no draft, or it need not be named."""
_NEEDED = ("tv_profile", "skip_mass", "skip_risk", "k_grid", "draft_prob")


def least_transmissions(contexts: Written, bias: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the least share that a threshold on u must transmit when skipping may cost that bias, [...].

    Truncation is free here, so no single-draft scheme with a threshold transmits less at that bias. The
    larger of two estimates of the skip rate is taken: over all drafts of each context, and over the
    recorded drafts. A threshold that is randomised mixes risk and share in proportion.
    """
    shares = []
    for drafts in (False, True):
        risk, sent = [], []
        for threshold in map(float, contexts.thresholds()):
            tokens = contexts.at(max(threshold, 0.0))
            skip = tokens.below(threshold, drafts=drafts)
            risk.append(tokens.weight @ skip.risk)
            sent.append(tokens.weight @ skip.transmit)
        shares.append(np.interp(bias, np.maximum.accumulate(risk), sent))
    return np.clip(np.minimum(*shares), 0.0, 1.0)


def rates(source: Source, systems: Sequence[System], names: Sequence[str]) -> Table:
    """Return the throughput of each scheme at the bias budget on each system, and the floor's [token/s]."""
    columns = {name: np.full(len(systems), np.nan) for name in (*names, "floor")}
    lined: list[Scheme] = []  # the bias does not depend on the link: tuned once
    contexts: Written = source.calibration.contexts or source.need(*_NEEDED)
    for place, system in enumerate(systems):
        asked = source.question(*_NEEDED, system=system)
        try:
            best = asked.answer(bound=False)
        except CuhlmError:  # nothing meets the budget on this link
            continue
        if not lined:
            tuned = best.beside(filter(_is_lined, names), equal_bias=source.bias_budget)[0]
            lined = [scheme for scheme, _ in tuned]
        rows = best.beside(name for name in names if not _is_lined(name))[0]
        for scheme, ledger in [*rows, *line_up(lined, contexts, system)[0]]:
            columns[scheme.name][place] = ledger.outcome().throughput_token_per_s
    sent = float(least_transmissions(contexts, source.bias_budget))
    columns["floor"] = np.array([1.0 / single_draft_floor_s(system, sent) for system in systems])
    return {f"{name} [token/s]": column for name, column in columns.items()}


def _is_lined(name: str) -> bool:
    """Whether a scheme is brought to the budget by its knob, where CU-HLM's rule follows the link."""
    scheme = SCHEMES[name]
    return scheme.knob in ("threshold", "skip_rate") and not scheme.drafts_several and name != "cu-hlm-exact"


def compute(source: Source, *, num_points: int = 9) -> Tables:
    """Tune every scheme to the bias budget at each SNR and at each bandwidth with the same transmit power."""
    link = source.link
    snr_db = np.linspace(-10.0, 30.0, num_points)
    systems = [replace(source.system, link=replace(link, snr=float(s))) for s in snr_from_db(snr_db)]
    table = rates(source, systems, (*SINGLE, *SEVERAL))
    x = {"snr [dB]": snr_db}
    floor = {"floor [token/s]": table["floor [token/s]"]}
    bandwidth = np.geomspace(2e4, 2e7, num_points)
    spread = link.bandwidth_hz / bandwidth * link.snr  # one power over more hertz
    systems = [
        replace(source.system, link=replace(link, bandwidth_hz=float(w), snr=float(s)))
        for w, s in zip(bandwidth, spread, strict=True)
    ]
    wide = rates(source, systems, ("hlm", "u-hlm", "cu-hlm-exact", "kept-law", "verify-on-sync", "llm"))
    return {
        "single": x | {f"{n} [token/s]": table[f"{n} [token/s]"] for n in SINGLE} | floor,
        "several": x | {f"{n} [token/s]": table[f"{n} [token/s]"] for n in (*SEVERAL, "llm")},
        "bandwidth": {"bandwidth [Hz]": bandwidth, "snr [dB]": db_from_snr(spread)} | wide,
        "inputs": {
            "bias budget [-]": np.array([source.bias_budget]),
            "bandwidth [Hz]": np.array([link.bandwidth_hz]),
            "snr [dB]": np.array([float(db_from_snr(link.snr))]),
        },
    }


def draw(axes: Mapping[str, "Axes"], tables: Tables) -> None:
    """Draw the single-draft schemes under the floor, those with several drafts, and both over bandwidth."""
    inputs = tables["inputs"]
    budget, width_hz = inputs["bias budget [-]"][0], inputs["bandwidth [Hz]"][0]
    at = f"W = {width_hz / 1e3:g} kHz"
    titles = {
        "single": f"one draft a round, bias $\\leq$ {budget:g}, {at}",
        "several": f"several drafts a round, bias 0, {at}",
        "bandwidth": f"the same transmit power, bias $\\leq$ {budget:g}",
    }
    for index, (panel, title) in enumerate(titles.items()):
        table, ax = tables[panel], axes[panel]
        names = [name.removesuffix(" [token/s]") for name in table if name.endswith("[token/s]")]
        x = table["bandwidth [Hz]" if panel == "bandwidth" else "snr [dB]"]
        shown = np.concatenate([table[f"{name} [token/s]"] for name in names])
        low, top = float(np.nanmin(shown)), float(np.nanmax(shown))
        for name in names:
            if name != "floor":
                line = style.scheme_line(name, marked=True)
                ax.plot(x, table[f"{name} [token/s]"], **line, markersize=3, markevery=2)
        ax.set(ylabel="throughput [token/s]", ylim=(0.0, 1.15 * top))
        if panel != "several":  # there only one scheme is far from the others
            ax.set(yscale="log", ylim=(0.7 * low, 3.5 * top))
            style.plain_log(ax)
        ax.set(xlabel="bandwidth [Hz]" if panel == "bandwidth" else "SNR [dB]")
        if panel == "bandwidth":
            ax.set_xscale("log")
        if "floor" in names:
            floor = table["floor [token/s]"]
            ax.plot(x, floor, **style.scheme_line("floor"))
            style.unreachable(ax, x, floor)
            style.label(ax, x[len(x) // 2], 3.5 * top, style.BEYOND, xytext=(0, -2), ha="center", va="top")
        style.legend_below(ax, ncols=3)
        style.panel_title(ax, index, title)


FIGURE = Figure(
    name="throughput",
    title="Throughput against SNR and bandwidth at one bias budget",
    answers="U-HLM and CU-HLM: token throughput over the SNR",
    status="reconstructed",
    caption="Every scheme tuned to the same mean bias; E[N]/E[D]. The floor sends the index of one draft a "
    "round to a server that draws from its own law; no scheme with a threshold on the uncertainty that names "
    "its one draft is faster at this bias. It bounds neither the LLM alone, which needs no device, nor the "
    "kept law, which need not name a draft. Over bandwidth the transmit power is fixed, so the SNR falls as "
    "the bandwidth grows.",
    compute=compute,
    draw=draw,
    panels=("single", "several", "bandwidth"),
    panel_height_in=2.9,
)

if __name__ == "__main__":
    FIGURE.main()
