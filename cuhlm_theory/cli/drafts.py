"""`cuhlm drafts`: best number of drafts a round."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from cuhlm_theory import drafting
from cuhlm_theory._arrays import load
from cuhlm_theory._checks import as_positive
from cuhlm_theory.cli import options, output
from cuhlm_theory.parameters import FixedRate, Latency, Link

_LATENCIES = ("slm_latency_s", "llm_latency_s", "slm_per_token_s", "llm_per_token_s", "round_trip_s")


def _render(result: output.Result) -> None:
    curve = result.get("survival")
    output.table(
        f"Acceptance {result['acceptance']:g}" if curve is None else f"Survival of {len(curve)} drafts",
        ["drafts", "token/round", "speed-up", "speculate"],
        [[result[key] for key in ("num_drafts", "tokens_per_round", "speedup", "speculate")]],
        note=_note(result),
    )


def _note(result: output.Result) -> str:
    curve, lambert = result.get("survival"), result.get("num_drafts_lambert")
    text = "More were not recorded. " if curve and result["num_drafts"] == len(curve) else ""
    if "throughput_token_per_s" in result:
        return f"{text}{result['throughput_token_per_s']:.4g} token/s over this link."
    text += "" if lambert is None else f"Lambert form: {lambert:.4f}. "
    first = curve[0] if curve else result["acceptance"]
    return text + f"Drafting pays while the latency ratio is below {first:g}."


@click.command(
    "drafts",
    epilog="\b\nExample: cuhlm drafts --acceptance 0.6 --latency-ratio 0.01",
)
@options.scenario
@click.option("--acceptance", type=options.Number(), default=None, help="Chance that a draft is kept.")
@click.option(
    "--survival",
    type=click.Path(exists=True, dir_okay=False),
    default=None,
    help="FILE instead: chance that the first 1, 2, ... drafts are kept, numbers in text or .npy [J].",
)
@click.option(
    "--latency-ratio", type=options.Number(), default=None, help="Time of a draft over that of an LLM pass."
)
@click.option(
    "--num-drafts", type=options.WHOLE, default=None, help="Evaluate this number instead of the best."
)
@click.option(
    "--bits-per-draft", type=options.Number("bit"), default=None, help="Uplink payload of a draft [bit]."
)
@options.of(Link, FixedRate)
@options.of(Latency, only=_LATENCIES, calibrated=False)
@output.reports(_render)
def command(
    *,
    acceptance: float | None,
    survival: str | None,
    latency_ratio: float | None,
    num_drafts: int | None,
    bits_per_draft: float | None,
    **values: Any,
) -> output.Result:
    """Best number of drafts a round, for a latency ratio or over a link (with --bits-per-draft)."""
    if (latency_ratio is None) == (bits_per_draft is None):
        raise ValueError("give either latency_ratio, or bits_per_draft and the two latencies; not both")
    if (acceptance is None) == (survival is None):
        raise ValueError("give either --acceptance or --survival; got both or neither")
    if latency_ratio is not None and acceptance is not None:
        return _from_ratio(acceptance, latency_ratio, num_drafts)
    if num_drafts is not None:
        raise ValueError("num_drafts goes with acceptance and latency_ratio; the others are searched")
    if latency_ratio is None and (values["slm_latency_s"] is None or values["llm_latency_s"] is None):
        raise ValueError("bits_per_draft needs slm_latency_s and llm_latency_s; give both")
    ladder = options.ladder(values)
    if latency_ratio is None:
        system = ladder.build(Latency), ladder.link(), bits_per_draft
    else:
        ratio = float(as_positive("latency_ratio", latency_ratio))
        system = Latency(slm_s=ratio, llm_s=1.0), FixedRate(rate_bit_per_s=1.0), 0.0
    curve = None if survival is None else _read_curve(survival)
    if curve is None:
        plan = drafting.best_drafts_on_link(acceptance, *system)  # type: ignore[arg-type]
    else:
        plan = drafting.best_drafts_of_survival(curve, *system)  # type: ignore[arg-type]
    over_link = {
        "bits_per_draft": bits_per_draft,
        "round_latency_s": plan.round_s,
        "throughput_token_per_s": plan.throughput_token_per_s,
    }
    return {
        "acceptance": acceptance,
        "survival": None if curve is None else curve.tolist(),
        "num_drafts": plan.num_drafts,
        "tokens_per_round": plan.tokens_per_round,
        **(over_link if latency_ratio is None else {"latency_ratio": latency_ratio}),
        "speedup": plan.speedup,
        "speculate": plan.speculate,
    }


def _read_curve(path: str) -> np.ndarray:
    try:
        if path.endswith(".npy"):
            return load(Path(path), max_axes=1, name="survival")
        return np.loadtxt(path, ndmin=1)
    except ValueError as error:
        raise ValueError(f"survival {path} must hold numbers: {error}") from None


def _from_ratio(acceptance: float, latency_ratio: float, num_drafts: int | None) -> dict[str, Any]:
    best = float(drafting.best_num_drafts(acceptance, latency_ratio)) if num_drafts is None else num_drafts
    inside = 0.0 < acceptance < 1.0 and 0.0 < latency_ratio < 1.0
    return {
        "acceptance": acceptance,
        "latency_ratio": latency_ratio,
        "num_drafts": int(best),
        "num_drafts_lambert": float(drafting.continuous_num_drafts(acceptance, latency_ratio))
        if inside
        else None,
        "tokens_per_round": float(drafting.expected_tokens_per_round(acceptance, best)),
        "speedup": float(drafting.speculation_speedup(acceptance, best, latency_ratio)),
        "speculate": bool(drafting.speculate(acceptance, latency_ratio)),
    }
