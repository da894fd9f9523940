"""`cuhlm uncertainty`: mean uncertainty of a draft token from logits."""

from pathlib import Path

import click
import numpy as np

from cuhlm_theory import _arrays as arrays
from cuhlm_theory import presets, uncertainty
from cuhlm_theory.cli import options, output


def _render(result: output.Result) -> None:
    draft, mean, nodes = (
        np.atleast_1d(result[key]).tolist() for key in ("draft", "mean_uncertainty", "num_nodes")
    )
    sampled = result["sampled_uncertainty"]
    sampled = [None] * len(draft) if sampled is None else np.atleast_1d(sampled).tolist()
    samples = result["samples"]
    output.table(
        f"Uncertainty over temperatures up to {result['max_temperature']:g}, {result['vocab_size']} tokens",
        ["row", "draft", "mean (exact)", "nodes", f"sampled, M = {samples}" if samples else "sampled"],
        zip(range(len(draft)), draft, mean, nodes, sampled, strict=True),
        note=f"The mean is within {result['tolerance']:g}, whatever the logits.",
    )


@click.command(
    "uncertainty", epilog="\b\nExample: cuhlm uncertainty logits.npy --draft 42 --samples 20 --seed 1"
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--draft", required=True, help="Draft token, or one for each row, separated by commas.")
@click.option(
    "--samples",
    "num_samples",
    type=options.WHOLE,
    default=None,
    help="Also sample, this many perturbed draws (M).",
)
@click.option("--seed", type=options.WHOLE, default=0, show_default=True, help="Seed of the sampling.")
@click.option(
    "--max-temperature",
    type=options.Number(),
    default=presets.SETTINGS["max_temperature"].value,
    show_default=True,
    help="Largest perturbed temperature.",
)
@click.option(
    "--tolerance",
    type=options.Number(),
    default=1e-6,
    show_default=True,
    help="Error allowed in the exact mean.",
)
@output.reports(_render)
def command(
    *,
    file: Path,
    draft: str,
    num_samples: int | None,
    seed: int,
    max_temperature: float,
    tolerance: float,
) -> output.Result:
    """Mean uncertainty of a draft token from logits in a .npy file, shape [V] or [N, V]."""
    logits = arrays.load(file, logits=True)
    tokens = _tokens(draft, logits)
    mean = uncertainty.mean_uncertainty(logits, tokens, max_temperature=max_temperature, tolerance=tolerance)
    sampled = None
    if num_samples is not None:
        if seed < 0:
            raise ValueError(f"seed must be at least 0; got {seed}")
        sampled = uncertainty.sampled_uncertainty(
            logits,
            tokens,
            num_samples=num_samples,
            max_temperature=max_temperature,
            rng=np.random.default_rng(seed),
        )
    nodes = uncertainty.num_nodes(logits, max_temperature=max_temperature, tolerance=tolerance)
    return {
        "mean_uncertainty": mean[()],
        "sampled_uncertainty": None if sampled is None else sampled[()],
        "num_nodes": nodes[()],
        "draft": tokens[()],
        "samples": num_samples,
        "seed": seed,
        "max_temperature": max_temperature,
        "tolerance": tolerance,
        "vocab_size": logits.shape[-1],
    }


def _tokens(draft: str, logits: np.ndarray) -> np.ndarray:
    """Read the draft tokens, one for all rows or one a row."""
    try:
        given = [int(part) for part in draft.split(",")]
    except ValueError:
        raise ValueError(f"draft must be whole numbers separated by commas; got {draft!r}") from None
    num_rows = 1 if logits.ndim == 1 else len(logits)
    if len(given) not in (1, num_rows):
        raise ValueError(f"draft must have 1 token or one for each of the {num_rows} rows; got {len(given)}")
    return np.broadcast_to(given, (num_rows,)).reshape(logits.shape[:-1])
