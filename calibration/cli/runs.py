"""`cuhlm runs`: decode prompts with every scheme."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from calibration.cli import kept_pair_of, lineup, models, server
from cuhlm_theory._workers import Workers
from cuhlm_theory.cli import options, output

if TYPE_CHECKING:
    from calibration.pairs import Pair
    from calibration.runs import LineUp
    from cuhlm_theory.parameters import System

_COLUMNS = {
    "run": "run",
    "skip_rate": "skipped",
    "bias": "bias",
    "uplink_bit_per_token": "bit/token",
    "throughput_token_per_s": "token/s",
    "cosine_to_llm": "cosine to LLM",
}


def _render(result: output.Result) -> None:
    rows = [[row[key] for key in _COLUMNS] for row in result["rows"]]
    output.table(
        "Decoded for real", list(_COLUMNS.values()), rows, note=f"Wrote {', '.join(result['files'])}."
    )


@click.command("runs", epilog="\b\nExample: cuhlm runs --out runs --num-prompts 4 --only hlm,cu-hlm-exact")
@options.scenario
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write into."
)
@click.option(
    "--predictions",
    type=click.Path(path_type=Path),
    default=None,
    help="Decode the line-up that `cuhlm predict` wrote into this file, and keep its hash.",
)
@models
@server
@lineup.options
@click.option("--finished-only", is_flag=True, help="Decode nothing; join the runs that are finished.")
@options.workers
@output.reports(_render)
def command(
    *, out: Path, predictions: Path | None, workers: Workers, finished_only: bool, **values: Any
) -> output.Result:
    """Decode prompts with every scheme; an interrupted call goes on where it stopped."""
    from calibration import compare, runs

    pair = kept_pair_of(values)
    if predictions is None:
        made = lineup.lineup_of(values)
        if made.one_by_one:
            made = replace(made, system=_timed(pair(), made, values))
    else:
        made = _predicted(predictions)
    runs.execute(pair, made, out, workers=workers, finished_only=finished_only)
    return {
        "runs": [run.name for run in made.runs],
        "rows": compare.read_front(out / runs.FRONT_FILE),
        "files": [str(out / name) for name in (runs.DECODED_FILE, runs.ANSWERS_FILE, runs.FRONT_FILE)],
        "inputs": {
            "note": made.note,
            "seed": made.seed,
            "system": asdict(made.system),
            "predictions_sha256": made.predictions_sha256,
        },
    }


def _predicted(file: Path) -> "LineUp":
    """Return the line-up of a file of predictions; an option that would change it is refused."""
    from calibration.compare import Predictions

    context = click.get_current_context()
    given = [
        name
        for name in lineup.names()
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
    ]
    if given:
        raise ValueError(f"{given[0]} is set by predictions; give one of them")
    found = Predictions.read(file)
    return replace(found.lineup, predictions_sha256=found.sha256)


def _timed(pair: "Pair", made: "LineUp", values: dict[str, Any]) -> "System":
    """Return the system with the models' own times, where nobody gave one and they are here."""
    from calibration.collect import decode_latency_s
    from calibration.decoding import Remote

    context = pair.context(made.prompts[0], values["max_new_tokens"])
    models = {"slm": pair.slm, "llm": pair.llm}
    timed = {
        f"{side}_s": decode_latency_s(model, context)
        for side, model in models.items()
        if values[f"{side}_latency_s"] is None and not isinstance(model, Remote)
    }
    return replace(made.system, latency=replace(made.system.latency, **timed))
