"""`cuhlm calibrate`: run a real pair, record a trace, fit it."""

import shlex
import sys
from pathlib import Path
from typing import Literal

import click

from cuhlm_theory.cli import options, output

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
    click.echo(f"Wrote {result['trace']} and {result['calibration']}.")


@click.command(
    "calibrate",
    epilog="\b\nExample: cuhlm calibrate --pair smollm2 --num-prompts 8 --max-new-tokens 32 --out my-pair",
)
@options.scenario
@click.option("--pair", default=None, help="Built-in pair [default: smollm2].")
@click.option("--slm", default=None, help="Small model: hub id, folder or .gguf file; with --llm.")
@click.option("--llm", default=None, help="Large model, likewise.")
@click.option(
    "--prompts", type=click.Path(path_type=Path), default=None, help="Prompts file [default: built in]."
)
@click.option(
    "--num-prompts",
    type=int,
    default=None,
    help=f"Use the first N prompts [default: {_NUM_PROMPTS} built-in ones, or the whole file].",
)
@click.option("--max-new-tokens", type=int, default=64, show_default=True, help="Longest answer [token].")
@click.option("--temperature", type=float, default=0.7, show_default=True, help="T of both models.")
@click.option(
    "--writer",
    type=click.Choice(["slm", "llm"]),
    default="slm",
    show_default=True,
    help="Whose text is recorded; verified text has the law of the llm's.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of every draw.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--dtype", default="float32", show_default=True, help="float32, bfloat16 or float16.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write into.")
@output.reports(_render)
def command(
    *,
    pair: str | None,
    slm: str | None,
    llm: str | None,
    prompts: Path | None,
    num_prompts: int | None,
    max_new_tokens: int,
    temperature: float,
    writer: Literal["slm", "llm"],
    seed: int,
    device: str,
    dtype: str,
    out: Path,
) -> output.Result:
    """Run a real model pair over prompts, record a trace, fit the rejection line."""
    if num_prompts is not None and num_prompts < 1:
        raise ValueError(f"num_prompts must be at least 1; got {num_prompts}")
    if out.exists() and not out.is_dir():
        raise ValueError(f"out must be a folder; got the file {str(out)!r}")
    from calibration import collect, trace
    from calibration.finding import CALIBRATION_FILE
    from calibration.fit import fit_trace
    from calibration.prompts import built_in_prompts, read_prompts

    settings = collect.Settings(
        max_new_tokens=max_new_tokens, temperature=temperature, writer=writer, seed=seed
    )
    if prompts is None:
        chosen = built_in_prompts()
        wanted = _NUM_PROMPTS if num_prompts is None else num_prompts
    else:
        chosen = read_prompts(prompts)
        wanted = len(chosen) if num_prompts is None else num_prompts
    if wanted > len(chosen):
        raise ValueError(f"num_prompts must be at most the {len(chosen)} prompts there are; got {wanted}")
    from calibration.pairs import load_pair

    models = load_pair(pair, slm=slm, llm=llm, device=device, dtype=dtype)
    written = collect.collect(
        models, chosen[:wanted], settings, out, command=shlex.join(["cuhlm", *sys.argv[1:]])
    )
    name = (pair or "smollm2") if slm is None else f"{models.slm_id} and {models.llm_id}"
    if writer == "llm":
        name += ", text of the llm"
    fitted = fit_trace(trace.read(written), name=name, seed=seed)
    target = out / CALIBRATION_FILE
    fitted.save(target)
    result: output.Result = {"name": fitted.name}
    for key, value in fitted.estimates.items():
        result |= {key: value, f"{key}_ci95": fitted.ci95.get(key)}
    return {
        **result,
        "num_tokens": fitted.num_tokens,
        "num_prompts": fitted.num_prompts,
        "slm_latency_s": fitted.slm_latency_s,
        "llm_latency_s": fitted.llm_latency_s,
        "vocab_size": fitted.vocab_size,
        "temperature": fitted.temperature,
        "writer": writer,
        "seed": seed,
        "intervals": fitted.source["intervals"],
        "trace": str(written),
        "calibration": str(target),
    }
