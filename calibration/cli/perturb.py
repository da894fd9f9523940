"""`cuhlm perturb`: the other two estimators of U-HLM's Figure 3, of a recorded trace."""

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import click

from calibration.cli import models, pair_of, prompts_of
from cuhlm_theory._files import alone
from cuhlm_theory.cli import options, output


def _render(result: output.Result) -> None:
    rows = [
        (row["name"], row["pearson"], *(row["pearson_ci95"] or (None, None)), row["spearman"])
        for row in result["estimators"]
    ]
    output.table(
        f"Correlation with rejection, {result['num_tokens']} drafts, {result['num_models']} draws each",
        ["perturbed", "Pearson [-]", "95 % from", "to", "Spearman [-]"],
        rows,
        note=f"Wrote {result['file']}.",
    )


@click.command(
    "perturb",
    epilog="\b\nExample: cuhlm perturb my-pair/slm/trace.parquet --pair smollm2 --by dropout",
)
@click.argument("trace", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@models
@click.option(
    "--prompts",
    type=click.Path(path_type=Path),
    default=None,
    help="Prompts file that was recorded [default: built in].",
)
@click.option(
    "--by",
    default="dropout,paraphrase",
    show_default=True,
    help="What is perturbed: dropout in the model, a paraphrase of the prompt (extra: paraphrases).",
)
@click.option(
    "--num-models", type=options.WHOLE, default=20, show_default=True, help="Perturbed models, or prompts."
)
@click.option("--seed", type=options.WHOLE, default=0, show_default=True, help="Seed of every draw.")
@output.reports(_render)
def command(
    *, trace: Path, prompts: Path | None, by: str, num_models: int, seed: int, **values: Any
) -> output.Result:
    """Estimate uncertainty by dropout and by paraphrases on a recorded text; resumed where it stopped."""
    from calibration import estimators, perturbations
    from calibration import trace as traces

    methods = by.split(",")
    if unknown := [name for name in methods if name not in perturbations.METHODS]:
        raise ValueError(f"by must be among {', '.join(perturbations.METHODS)}; got {unknown[0]!r}")
    chosen, running = prompts_of(prompts, None), pair_of(values)
    click.get_current_context().with_resource(alone(trace.parent))
    found = perturbations.estimate(
        trace,
        running,
        chosen,
        methods=cast(list[perturbations.Method], methods),
        num_models=num_models,
        seed=seed,
        command=shlex.join(["cuhlm", *sys.argv[1:]]),
    )
    columns = traces.read(trace).columns
    rows = estimators.side_by_side(
        {"temperature": columns["sampled_uncertainty"], **found}, columns["rejection"], columns["prompt"]
    )
    return {
        "file": str(trace.with_name("perturbed.parquet")),
        "num_tokens": len(columns["prompt"]),
        "num_models": num_models,
        "seed": seed,
        "estimators": [asdict(row) for row in rows],
    }
