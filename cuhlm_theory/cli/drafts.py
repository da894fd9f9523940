"""`cuhlm drafts`: best number of drafts a round."""

from typing import Any

import click

from cuhlm_theory import drafting
from cuhlm_theory.cli import options, output
from cuhlm_theory.parameters import FixedRate, Latency, Link


def _render(result: output.Result) -> None:
    output.table(
        f"Acceptance {result['acceptance']:g}",
        ["drafts", "token/round", "speed-up", "speculate"],
        [[result[key] for key in ("num_drafts", "tokens_per_round", "speedup", "speculate")]],
        note=_note(result),
    )


def _note(result: output.Result) -> str:
    if "throughput_token_per_s" in result:
        return f"{result['throughput_token_per_s']:.4g} token/s over this link."
    lambert = result["num_drafts_lambert"]
    text = "" if lambert is None else f"Lambert form: {lambert:.4f}. "
    return text + f"Drafting pays while the latency ratio is below {result['acceptance']:g}."


@click.command(
    "drafts",
    epilog="\b\nExample: cuhlm drafts --acceptance 0.6 --latency-ratio 0.01",
)
@options.scenario
@click.option("--acceptance", type=options.Number(), required=True, help="Chance that a draft is kept.")
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
@options.of(Latency, only=["slm_latency_s", "llm_latency_s", "round_trip_s"])
@output.reports(_render)
def command(
    *,
    acceptance: float,
    latency_ratio: float | None,
    num_drafts: int | None,
    bits_per_draft: float | None,
    **values: Any,
) -> output.Result:
    """Best number of drafts a round, for a latency ratio or over a link (with --bits-per-draft)."""
    if (latency_ratio is None) == (bits_per_draft is None):
        raise ValueError("give either latency_ratio, or bits_per_draft and the two latencies; not both")
    if latency_ratio is not None:
        return _from_ratio(acceptance, latency_ratio, num_drafts)
    if values["slm_latency_s"] is None or values["llm_latency_s"] is None:
        raise ValueError("bits_per_draft needs slm_latency_s and llm_latency_s; give both")
    if num_drafts is not None:
        raise ValueError("num_drafts goes with latency_ratio; a link is searched")
    ladder = options.ladder(values)
    latency, link = ladder.build(Latency), ladder.link()
    plan = drafting.best_drafts_on_link(acceptance, latency, link, bits_per_draft)  # type: ignore[arg-type]
    return {
        "acceptance": acceptance,
        "bits_per_draft": bits_per_draft,
        "num_drafts": plan.num_drafts,
        "tokens_per_round": plan.tokens_per_round,
        "round_latency_s": plan.round_s,
        "throughput_token_per_s": plan.throughput_token_per_s,
        "speedup": plan.speedup,
        "speculate": plan.speculate,
    }


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
