"""`cuhlm figures`: regenerate the figures, each as .pdf, .png and the .csv it draws."""

from pathlib import Path

import click

from cuhlm_theory.cli import output


def _render(result: output.Result) -> None:
    for file in result["files"]:
        click.echo(file)
    for name, reason in result["refused"].items():
        click.echo(f"not drawn: {name}: {reason}", err=True)


@click.command(
    "figures", epilog="\b\nExample: cuhlm figures headline throughput --out build/figures --calibration DIR"
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write into."
)
@click.option(
    "--calibration",
    default="smollm2",
    show_default=True,
    help="FILE, DIR, smollm2, smollm2-llm-text, cu-hlm or u-hlm.",
)
@click.option(
    "--bias-budget", type=float, default=0.05, show_default=True, help="Mean per-token bias allowed."
)
@click.option("--jobs", type=click.IntRange(min=1), default=None, help="Processes [default: one a core].")
@click.option(
    "--list", "listed", is_flag=True, expose_value=False, is_eager=True, callback=lambda *a: _list(*a)
)
@output.reports(_render)
def command(
    *, names: tuple[str, ...], out: Path, calibration: str, bias_budget: float, jobs: int | None
) -> output.Result:
    """Regenerate the figures: .pdf, .png and the .csv that each one draws."""
    from figures import catalogue

    files, refused = catalogue.make(
        names, out=out, calibration=calibration, bias_budget=bias_budget, num_jobs=jobs
    )
    return {"files": [str(file) for file in files], "refused": refused}


def _list(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    """Print the names and titles, and stop."""
    if not wanted:
        return
    from figures import catalogue

    for name in catalogue.NAMES:
        click.echo(f"{name:18} {catalogue.figure(name).title}")
    context.exit()
