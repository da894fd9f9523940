"""`cuhlm fit`: fit what lies in a folder, without a model."""

from pathlib import Path

import click

from calibration.cli.calibrate import report_of, show
from cuhlm_theory._files import alone
from cuhlm_theory.cli import options, output


@click.command("fit", epilog="\b\nExample: cuhlm fit my-pair")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--name", default=None, help="What to call the calibration [default: as before, else the folder's]."
)
@click.option("--seed", type=options.WHOLE, default=0, show_default=True, help="Seed of every resample.")
@output.reports(show)
def command(*, folder: Path, name: str | None, seed: int) -> output.Result:
    """Fit the recorded texts of a folder again, as after a recording that was stopped before its fit."""
    from calibration.calibration import Calibration
    from calibration.finding import CALIBRATION_FILE
    from calibration.fit import fit_folder

    before = folder / CALIBRATION_FILE
    if name is None and before.is_file():
        name = Calibration.from_json(before.read_text(encoding="utf-8"), origin=f"calibration {before}").name
    with alone(folder):
        return report_of(fit_folder(folder, name=name or folder.resolve().name, seed=seed), folder, seed)
