"""`cuhlm truncate`: smallest truncation size within a budget."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from cuhlm_theory import _arrays as arrays
from cuhlm_theory import payload, truncation
from cuhlm_theory._checks import as_count, as_distribution, as_positive
from cuhlm_theory.cli import options, output
from cuhlm_theory.parameters import Codec
from cuhlm_theory.rejection import Line


def _render(result: output.Result) -> None:
    rows = zip(
        *(np.atleast_1d(result[key]) for key in ("k", "tv", "payload_bit", "compression")), strict=True
    )
    output.table(
        f"{result['rule']} rule at {result['budget']:g}, {result['vocab_size']} tokens",
        ["row", "k", "TV_k", "bits", "compression"],
        (
            (index, int(k), float(tv), int(bit), f"{saved:.4%}")
            for index, (k, tv, bit, saved) in enumerate(rows)
        ),
        note="TV_k bounds the bias that truncation adds to the output"
        + ("." if result["rule"] == "exact" else ", for one k a context; this k depends on the draft."),
    )


@click.command("truncate", epilog="\b\nExample: cuhlm truncate probabilities.npy --budget 0.05")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--budget", type=options.Number(), required=True, help="Budget of the rule, in [0, 1].")
@click.option(
    "--rule",
    type=click.Choice(["exact", "printed"]),
    default="exact",
    show_default=True,
    help="exact: TV_k within the budget; printed: the rule of CU-HLM.",
)
@click.option("--uncertainty", type=options.Number(), default=None, help="u of the draft (printed rule).")
@click.option("--draft", type=options.WHOLE, default=None, help="Draft token (printed rule).")
@click.option("--slope", type=options.Number(), default=None, help="a of the rejection line (printed rule).")
@click.option(
    "--intercept", type=options.Number(), default=None, help="b of the rejection line (printed rule)."
)
@options.of(Codec, only=["prob_bits", "index_bits"])
@output.reports(_render)
def command(
    *,
    file: Path,
    budget: float,
    rule: str,
    uncertainty: float | None,
    draft: int | None,
    slope: float | None,
    intercept: float | None,
    **values: Any,
) -> output.Result:
    """Smallest k for probabilities in a .npy file, shape [V] or [N, V]."""
    dist = as_distribution("file", arrays.load(file))
    vocab_size = dist.shape[-1]
    codec = options.ladder(values | {"vocab_size": vocab_size}).build(Codec)
    if rule == "exact":
        k = truncation.exact_k(dist, budget)
    else:
        needed = {"uncertainty": uncertainty, "draft": draft, "slope": slope, "intercept": intercept}
        missing = [f"--{name}" for name, value in needed.items() if value is None]
        if missing:
            raise ValueError(
                f"rule printed needs --uncertainty, --draft, --slope, --intercept; got no {missing[0]}"
            )
        token = int(as_count("draft", draft, at_least=0, at_most=vocab_size - 1))  # type: ignore[arg-type]
        beta = Line(float(as_positive("slope", slope)), intercept)(uncertainty)  # type: ignore[arg-type]
        k = truncation.printed_k(dist, budget, dist[..., token], beta)
    return {
        "k": k,
        "tv": truncation.truncation_tv(dist, k),
        "payload_bit": payload.printed_bit(k, vocab_size, codec.prob_bits, codec.index_bits)[()],
        "compression": payload.compression(k, vocab_size, codec.prob_bits, codec.index_bits),
        "rule": rule,
        "budget": budget,
        "vocab_size": vocab_size,
    }
