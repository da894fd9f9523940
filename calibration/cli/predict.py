"""`cuhlm predict`: write down what a line-up will do, before it is decoded."""

from pathlib import Path
from typing import Any

import click

from calibration.cli import lineup, reach
from cuhlm_theory import load
from cuhlm_theory.cli import options, output


def _render(result: output.Result) -> None:
    rows = [
        (row["run"], row["quantity"], row["class"], row["predicted"], reach(row["prediction_interval95"]))
        for row in result["predictions"]
    ]
    note = f"Wrote {result['files'][0]}, sha256 {result['sha256']}."
    output.table("Predicted", ["run", "quantity", "class", "predicted", "95 %"], rows, note=note)


@click.command(
    "predict", epilog="\b\nExample: cuhlm predict --out predictions.json --only u-hlm --num-prompts 4"
)
@options.scenario
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File to write.")
@lineup.options
@click.option("--resamples", type=options.WHOLE, default=4000, show_default=True, help="Draws of prompts.")
@output.reports(_render)
def command(*, out: Path, resamples: int, **values: Any) -> output.Result:
    """Predict, with intervals, what `cuhlm runs --predictions` will then decode."""
    from calibration import compare

    if resamples < 100:
        raise ValueError(f"resamples must be at least 100; got {resamples}")
    found = compare.predict(
        load(values["calibration"], text=values["text"]),
        lineup.lineup_of(values),
        seed=values["seed"],
        num_resamples=resamples,
    )
    found.save(out)
    return {
        "predictions": [row.to_dict() for row in found.rows],
        "sha256": found.sha256,
        "files": [str(out)],
        "inputs": {"calibration": found.calibration, "seed": found.seed, "resamples": resamples},
    }
