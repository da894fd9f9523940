"""U-HLM's figures again, on another pair: estimators, law of u, line, transmissions, throughput.

Answers Figs. 3 to 6 of arXiv:2412.12687, whose numbers are drawn as marks.
Reproduced: thresholds from its line, and its throughput from its link, payload and latencies. What depends on
the pair is measured, and by how much it misses what was printed stands in the table ``printed``.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cuhlm_theory import presets
from cuhlm_theory.capacity import awgn_capacity_bit_per_s, snr_from_db
from cuhlm_theory.papers import verdict
from cuhlm_theory.parameters import Latency
from cuhlm_theory.payload import dense_bit
from cuhlm_theory.rejection import Line
from cuhlm_theory.throughput import round_latency_s
from figures import samples, style
from figures.frame import Figure, Source, Tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINE = presets.PUBLISHED_LINES["u-hlm"]
_AVERSE, _PRONE = _LINE.risk_averse.value, _LINE.risk_prone.value
_SKIPPED, _SPEEDUP = (presets.FIGURES[f"u_hlm_{name}"].value for name in ("skip_rate", "speedup"))
_SCHEMES = ("hlm", "rand-hlm", "u-hlm, averse", "u-hlm, prone", "slm")
_ESTIMATORS = {
    "temperature": "sampled_uncertainty",
    "dropout": "dropout_uncertainty",
    "paraphrase": "paraphrase_uncertainty",
}
_SAMPLES = int(presets.SETTINGS["num_samples"].value)


def compute(source: Source, *, num_points: int = 21, num_resamples: int = 500) -> Tables:
    """Measure on the recorded drafts what the paper shows of its own."""
    tokens = source.need()
    (sampled,) = source.column("sampled_uncertainty")
    beta, prompt = tokens.rejection, tokens.prompt
    place = np.round(_SAMPLES * np.asarray(sampled, dtype=np.float64)).astype(np.int64)  # u = place / 20
    grid = np.arange(_SAMPLES + 1) / _SAMPLES
    curves = _by_estimator(source, num_resamples)
    thresholds = np.append(grid, [_AVERSE, _PRONE])
    skipped = (place[:, None] <= np.floor(_SAMPLES * thresholds + 1e-9)).astype(np.float64)
    kept = skipped * (1.0 - beta[:, None])
    sent = samples.ratio_of_means(1.0 - skipped, np.ones_like(skipped), prompt, num_resamples)
    true = samples.ratio_of_means(kept, skipped, prompt, num_resamples)
    everything = 1.0 - float(tokens.weight @ beta)
    rates = {
        f"{name}{end} [-]": column[: len(grid)]
        for name, columns in (("TR", sent), ("TSR", true))
        for end, column in zip(("", " low", " high"), columns, strict=True)
    }
    throughput = _throughput(num_points, sent[0][-2:])
    speedup = throughput["u-hlm, prone [token/s]"] / throughput["hlm [token/s]"]
    ours = np.array([1.0 - sent[0][-1], speedup[0], speedup[-1]])
    printed = (_SKIPPED, _SPEEDUP, _SPEEDUP)
    return {
        "estimators": curves,
        "law": {"u [-]": grid, "share of tokens [-]": np.bincount(place, minlength=len(grid)) / len(place)},
        "line": {
            "u [-]": grid,
            **{f"rejection{end} [-]": curves[f"temperature{end} [-]"] for end in ("", " low", " high")},
            "line [-]": source.calibration.line(grid),
            "printed line [-]": Line(_LINE.slope.value, _LINE.intercept.value)(grid),
        },
        "threshold": {"u_th [-]": grid, **rates},
        "scheme": {
            "scheme": np.array(_SCHEMES),
            "TR [-]": np.array([1.0, sent[0][-1], *sent[0][-2:], 0.0]),
            "TSR [-]": np.array([np.nan, everything, *true[0][-2:], everything]),
        },
        "throughput": throughput,
        "printed": {
            "quantity": np.array(
                ["skipped at 0.431", "speed-up over HLM at -20 dB", "speed-up over HLM at 30 dB"]
            ),
            "printed [-]": np.array(printed),
            "ours [-]": ours,
            "verdict": np.array(
                [verdict(f"{p:g}", o, "another pair") for p, o in zip(printed, ours, strict=True)]
            ),
        },
    }


def _by_estimator(source: Source, num_resamples: int) -> dict[str, np.ndarray]:
    """Mean rejection at each value of every estimator that was made of the text."""
    tokens, columns = source.need(), source.columns
    table = {"u [-]": np.arange(_SAMPLES + 1) / _SAMPLES}
    for name, column in _ESTIMATORS.items():
        if column in columns:
            place = np.round(_SAMPLES * np.asarray(columns[column], dtype=np.float64)).astype(np.int64)
            found = samples.mean_by_group(
                tokens.rejection, place, len(table["u [-]"]), tokens.prompt, num_resamples=num_resamples
            )
            for end, values in zip(("", " low", " high"), found, strict=True):
                table[f"{name}{end} [-]"] = values
    return table


def _throughput(num_points: int, transmitted: np.ndarray) -> dict[str, np.ndarray]:
    """Tokens over seconds at a mean SNR without fading, with U-HLM's payload and latencies."""
    settings = {key: one.value for key, one in presets.SETTINGS.items()}
    latency = Latency(slm_s=settings["slm_latency_s"], llm_s=settings["llm_latency_s"])
    snr_db = np.linspace(-20.0, 30.0, num_points)
    bit = float(dense_bit(int(settings["vocab_size"]), 16))
    uplink_s = bit / awgn_capacity_bit_per_s(settings["bandwidth_hz"], snr_from_db(snr_db))
    shares = {"hlm": 1.0, "u-hlm, averse": transmitted[0], "u-hlm, prone": transmitted[1]}
    return {
        "snr [dB]": snr_db,
        **{f"{name} [token/s]": 1.0 / round_latency_s(latency, p, uplink_s) for name, p in shares.items()},
    }


def draw(axes: Mapping[str, "Axes"], tables: Tables) -> None:
    """Draw what was measured beside what was printed, whose marks are black."""
    curves, ax = tables["estimators"], axes["estimators"]
    looks = ((style.BLUE, "o"), (style.VERMILLION, "s"), (style.GREEN, "D"))
    for name, (color, marker) in zip(_ESTIMATORS, looks, strict=True):
        if f"{name} [-]" in curves:
            u, low, high = (curves[key] for key in ("u [-]", f"{name} low [-]", f"{name} high [-]"))
            ax.fill_between(u, low, high, color=color, alpha=0.2, linewidth=0)
            ax.plot(u, curves[f"{name} [-]"], color=color, marker=marker, markersize=3, label=name)
    ax.set(xlabel="uncertainty, 20 draws [-]", ylabel="rejection probability [-]", ylim=(-0.03, 1.03))
    ax.legend(loc="upper left")
    style.panel_title(ax, 0, "Fig. 3: what is perturbed, 95 % bands")

    law, ax = tables["law"], axes["law"]
    ax.bar(law["u [-]"], law["share of tokens [-]"], width=0.04, color=style.SKY)
    _thresholds(ax)
    ax.set(xlabel="uncertainty $u$, 20 draws [-]", ylabel="share of tokens [-]", xlim=(-0.03, 1.03))
    style.panel_title(ax, 1, "Fig. 5: how sure the small model is")

    line, ax = tables["line"], axes["line"]
    u, mean = line["u [-]"], line["rejection [-]"]
    lengths = samples.bars(mean, line["rejection low [-]"], line["rejection high [-]"])
    ax.errorbar(u, mean, lengths, **style.MEASURED, label="mean at each u, 95 %")
    ax.plot(u, line["line [-]"], **style.PREDICTED, label="fitted line")
    ax.plot(u, line["printed line [-]"], color=style.INK, linestyle=(0, (5, 1.5)), label="U-HLM, printed")
    _thresholds(ax)
    ax.set(xlabel="uncertainty $u$, 20 draws [-]", ylabel="rejection probability [-]", ylim=(-0.03, 1.03))
    ax.legend(loc="upper left")
    style.panel_title(ax, 2, "Fig. 5: regression, both thresholds")

    rate, ax = tables["threshold"], axes["threshold"]
    for name, color, marker in (("TR", style.BLUE, "s"), ("TSR", style.VERMILLION, "D")):
        value = rate[f"{name} [-]"]
        lengths = samples.bars(value, rate[f"{name} low [-]"], rate[f"{name} high [-]"])
        ax.errorbar(rate["u_th [-]"], value, lengths, color=color, marker=marker, markersize=3, label=name)
    ax.plot(_PRONE, 1.0 - _SKIPPED, color=style.INK, marker="*", markersize=8, linestyle="none")
    style.label(ax, _PRONE, 1.0 - _SKIPPED, "TR, printed", xytext=(5, 2))
    ax.set(xlabel="threshold $u_{th}$ [-]", ylabel="rate [-]", ylim=(-0.03, 1.05))
    ax.legend(loc="center right")
    style.panel_title(ax, 3, "Fig. 4: transmissions over the threshold")

    rows, ax = tables["scheme"], axes["scheme"]
    place = np.arange(len(rows["scheme"]))
    ax.bar(place - 0.2, rows["TR [-]"], width=0.38, color=style.BLUE, label="TR")
    ax.bar(place + 0.2, np.nan_to_num(rows["TSR [-]"]), width=0.38, color=style.VERMILLION, label="TSR")
    ax.set_xticks(place, [name.replace(", ", ",\n") for name in rows["scheme"]])
    ax.set(ylabel="rate [-]", ylim=(0.0, 1.25))
    ax.legend(loc="upper right", ncols=2)
    style.panel_title(ax, 4, "Fig. 6: what is sent, and skipped rightly")

    rate, ax = tables["throughput"], axes["throughput"]
    hlm = rate["hlm [token/s]"]
    looks = ((style.MUTED, "-"), (style.SKY, (0, (5, 1.5))), (style.BLUE, "-"))
    for name, (color, dashes) in zip(("hlm", "u-hlm, averse", "u-hlm, prone"), looks, strict=True):
        ax.plot(rate["snr [dB]"], rate[f"{name} [token/s]"], color=color, linestyle=dashes, label=name)
    ax.plot(rate["snr [dB]"], _SPEEDUP * hlm, color=style.INK, linestyle=(0, (1, 1)), label="2.54 times HLM")
    ax.set(xlabel="mean SNR [dB]", ylabel="throughput [token/s]", yscale="log")
    style.plain_log(ax)
    ax.legend(loc="lower right")
    style.panel_title(ax, 5, "Fig. 6: throughput, no fading")


def _thresholds(ax: "Axes") -> None:
    for threshold in (_AVERSE, _PRONE):
        ax.axvline(threshold, **style.REFERENCE)


FIGURE = Figure(
    name="u_hlm",
    title="U-HLM's Figures 3 to 6 on another pair",
    answers="U-HLM, Figs. 3-6: estimators, line, transmissions and true skips at 0.073 and 0.431, throughput",
    status="reconstructed",
    paper="u-hlm",
    caption="Printed numbers are black: the line 0.82 u - 0.06, its thresholds, 45.93 % skipped, 2.54 times "
    "HLM. The thresholds follow from the line; how many tokens lie below them is the pair's own, and a surer "
    "pair skips more. Intervals of the three estimators of Fig. 3 are over prompts: where they overlap, its "
    "ranking is not told. Cosine similarities of Fig. 4 and Table I cannot be had: their reference answers "
    "and encoder are not at hand. Throughput is E[N]/E[D] without fading, with the printed link, 16 bits a "
    "probability of 32 000 tokens, and the printed latencies; over the printed Rayleigh fading the mean "
    "latency is infinite.",
    compute=compute,
    draw=draw,
    panels=("estimators", "law", "line", "threshold", "scheme", "throughput"),
    panel_height_in=1.9,
    pair="qwen2.5-coder-t1",
)

if __name__ == "__main__":
    FIGURE.main()
