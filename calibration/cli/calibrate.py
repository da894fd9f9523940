"""`cuhlm calibrate`: run a real pair, record a trace, fit it."""

import shlex
import sys
from pathlib import Path
from typing import Any, Literal

import click

from calibration.cli import models, prompts_of
from cuhlm_theory.cli import options, output

_CONTEXT = ("num_tokens", "num_prompts", "slm_latency_s", "llm_latency_s", "vocab_size", "temperature")
_NUM_PROMPTS = 128


def _render(result: output.Result) -> None:
    from calibration.calibration import ESTIMATES

    rows = [(name, result[name], *(result[f"{name}_ci95"] or (None, None))) for name in ESTIMATES]
    output.table(
        f"{result['name']}: {result['num_tokens']} tokens of {result['num_prompts']} prompts",
        ["estimate", "value", "95 % from", "to"],
        rows,
        note=result["intervals"],
    )
    output.table(
        "",
        ["latency, alone on this machine", "s/token"],
        [("small model", result["slm_latency_s"]), ("large model", result["llm_latency_s"])],
    )
    output.say(f"Wrote {result['trace']} and {result['calibration']}.")


@click.command(
    "calibrate",
    epilog="\b\nExample: cuhlm calibrate --pair smollm2 --num-prompts 8 --max-new-tokens 32 --out my-pair",
)
@options.scenario
@models
@click.option(
    "--prompts", type=click.Path(path_type=Path), default=None, help="Prompts file [default: built in]."
)
@click.option(
    "--num-prompts",
    type=options.WHOLE,
    default=None,
    help=f"Use the first N prompts [default: {_NUM_PROMPTS} built-in ones, or the whole file].",
)
@click.option(
    "--max-new-tokens", type=options.WHOLE, default=64, show_default=True, help="Longest answer [token]."
)
@click.option(
    "--temperature", type=options.Number(), default=0.7, show_default=True, help="T of both models."
)
@click.option(
    "--writer",
    type=click.Choice(["slm", "llm"]),
    default="slm",
    show_default=True,
    help="Which model writes the recorded text; what a server verifies reads like the llm's.",
)
@click.option("--seed", type=options.WHOLE, default=0, show_default=True, help="Seed of every draw.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write into.")
@output.reports(_render)
def command(
    *,
    prompts: Path | None,
    num_prompts: int | None,
    writer: Literal["slm", "llm"],
    seed: int,
    out: Path,
    **values: Any,
) -> output.Result:
    """Run a real model pair over prompts, record a trace, fit the rejection line."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"out must be a folder; got the file {str(out)!r}")
    from calibration import collect, trace
    from calibration.finding import CALIBRATION_FILE
    from calibration.fit import fit_trace
    from calibration.pairs import load_pair

    settings = collect.Settings(
        max_new_tokens=values["max_new_tokens"], temperature=values["temperature"], writer=writer, seed=seed
    )
    chosen = prompts_of(prompts, num_prompts, built_in=_NUM_PROMPTS)
    pair, slm, llm = (values[name] for name in ("pair", "slm", "llm"))
    running = load_pair(pair, slm=slm, llm=llm, device=values["device"], dtype=values["dtype"])
    written = collect.collect(running, chosen, settings, out, command=shlex.join(["cuhlm", *sys.argv[1:]]))
    name = (pair or "smollm2") if slm is None else f"{running.slm_id} and {running.llm_id}"
    if writer == "llm":
        name += ", text of the llm"
    fitted = fit_trace(trace.read(written), name=name, seed=seed)
    target = out / CALIBRATION_FILE
    fitted.save(target)
    return {
        "name": fitted.name,
        **fitted.estimates,
        **{f"{key}_ci95": fitted.ci95.get(key) for key in fitted.estimates},
        **{key: getattr(fitted, key) for key in _CONTEXT},
        "writer": writer,
        "seed": seed,
        "intervals": fitted.source["intervals"],
        "trace": str(written),
        "calibration": str(target),
    }
