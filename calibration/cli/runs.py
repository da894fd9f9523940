"""`cuhlm runs`: decode prompts with every scheme."""

import functools
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from calibration.cli import models, prompts_of
from cuhlm_theory import load
from cuhlm_theory.cli import options, output
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.schemes import SCHEMES

if TYPE_CHECKING:
    from calibration.pairs import Pair
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


@functools.cache
def _loaded(choice: tuple[tuple[str, Any], ...]) -> "Pair":
    """Load a pair, once in each process."""
    from calibration.pairs import load_pair

    return load_pair(**dict(choice))


@click.command("runs", epilog="\b\nExample: cuhlm runs --out runs --num-prompts 4 --only hlm,cu-hlm-exact")
@options.scenario
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write into."
)
@options.calibration
@models
@click.option("--prompts", type=click.Path(path_type=Path), default=None, help="Prompts [default: built in].")
@click.option(
    "--num-prompts", type=options.WHOLE, default=24, show_default=True, help="Use the first N prompts."
)
@click.option(
    "--max-new-tokens", type=options.WHOLE, default=48, show_default=True, help="Longest answer [token]."
)
@click.option("--thresholds", default="0.1,0.3,0.6", show_default=True, help="u_th of the schemes that skip.")
@click.option("--only", default=None, help="Schemes to run, separated by commas [default: all].")
@options.system
@click.option("--finished-only", is_flag=True, help="Decode nothing; join the runs that are finished.")
@click.option(
    "--one-by-one",
    is_flag=True,
    help="Decode each prompt by itself, time both models first, charge the wall clock of every pass.",
)
@click.option("--seed", type=options.WHOLE, default=0, show_default=True, help="Seed of every draw.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
@output.reports(_render)
def command(*, out: Path, seed: int, jobs: int, finished_only: bool, **values: Any) -> output.Result:
    """Decode prompts with every scheme; an interrupted call goes on where it stopped."""
    from calibration import compare, runs

    fitted = load(values["calibration"])
    tokens = fitted.tokens
    if tokens is None:
        raise MissingInputError(f"calibration {fitted.name} has no recorded tokens; give one that has")
    system = options.ladder(values, {"calibration": fitted}, assume=False).system()
    made = runs.default_runs(
        tokens,
        system,
        fitted.line,
        thresholds=_thresholds(values["thresholds"]),
        temperature=fitted.temperature or 0.7,
        max_new_tokens=values["max_new_tokens"],
    )
    lineup = runs.LineUp(
        prompts=prompts_of(values["prompts"], values["num_prompts"]),
        runs=[run for run in made if run.settings.scheme.name in _schemes(values["only"])],
        system=system,
        seed=seed,
        note=f"calibration {fitted.name}: a={fitted.line.slope:.4g}, b={fitted.line.intercept:.4g}",
        one_by_one=values["one_by_one"],
    )
    choice = tuple(
        (name, values[name]) for name in ("name", "slm", "llm", "dtype", "device") if name in values
    )
    pair = functools.partial(_loaded, (("name", values["pair"]), *choice))
    if lineup.one_by_one:
        lineup = replace(lineup, system=_timed(pair(), lineup, values))
    runs.execute(pair, lineup, out, jobs=jobs, finished_only=finished_only)
    return {
        "runs": [run.name for run in lineup.runs],
        "rows": compare.read_front(out / runs.FRONT_FILE),
        "files": [str(out / name) for name in (runs.DECODED_FILE, runs.ANSWERS_FILE, runs.FRONT_FILE)],
        "inputs": {"calibration": fitted.name, "seed": seed, "system": asdict(lineup.system)},
    }


def _thresholds(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"thresholds must be numbers separated by commas; got {text!r}") from None


def _schemes(text: str | None) -> list[str]:
    chosen = list(SCHEMES) if text is None else text.split(",")
    if unknown := [name for name in chosen if name not in SCHEMES]:
        raise ValueError(f"only must be among {', '.join(SCHEMES)}; got {unknown[0]!r}")
    return chosen


def _timed(pair: "Pair", lineup: Any, values: dict[str, Any]) -> "System":
    """Return the system with the models' own times, where nobody gave one."""
    from calibration.collect import decode_latency_s

    context = pair.context(lineup.prompts[0], values["max_new_tokens"])
    timed = {
        f"{side}_s": decode_latency_s(getattr(pair, side), context)
        for side in ("slm", "llm")
        if values[f"{side}_latency_s"] is None
    }
    return replace(lineup.system, latency=replace(lineup.system.latency, **timed))
