"""`cuhlm distil`: make the built-in pair's small model."""

from pathlib import Path

import click

from cuhlm_theory.cli import options, output


def _render(result: output.Result) -> None:
    output.table(
        "Mean TV to the large model on held-out prompts",
        ["text of", "TV"],
        result["held_out_tv"].items(),
        note=f"Wrote {result['file']}.",
    )


@click.command("distil", epilog="\b\nExample: cuhlm distil --out weights --seed 1")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder of the weights; its folder work/ is resumed.",
)
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where it runs."
)
@click.option("--seed", type=options.WHOLE, default=0, show_default=True, help="Seed of every draw.")
@output.reports(_render)
def command(*, out: Path, device: str, seed: int) -> output.Result:
    """Distil the built-in pair's small model out of its large one; hours, resumed where it stopped."""
    from calibration import draft_model, pairs

    recipe = draft_model.Recipe(seed=seed)
    large, tokenizer = pairs.load_built_in_llm()
    small, found = draft_model.distil(
        large.to(device), tokenizer, recipe, out / "work", lambda text: click.echo(text, err=True)
    )
    file = out / "slm.safetensors"
    draft_model.save(small, recipe, found, file)
    return {"file": str(file), "held_out_tv": found, "seed": seed}
