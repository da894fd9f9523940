"""`cuhlm calibrate`: run a real pair, record a trace, fit it."""

import shlex
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from calibration.cli import kept_pair_of, models, pair_of, prompts_of
from calibration.finding import CALIBRATION_FILE
from calibration.trace import OF_LAWS
from cuhlm_theory._checks import as_probability
from cuhlm_theory._files import alone
from cuhlm_theory._workers import Workers
from cuhlm_theory.cli import options, output
from cuhlm_theory.parameters import Budget

if TYPE_CHECKING:
    from calibration.calibration import Calibration
    from cuhlm_theory.estimate import Estimate
    from cuhlm_theory.texts import Written

Writer = Literal["slm", "llm", "hybrid"]

_TEXTS: tuple[Writer, ...] = ("slm", "llm", "hybrid")
_CONTEXT = ("num_tokens", "num_prompts", "slm_latency_s", "llm_latency_s", "vocab_size", "temperature")
_NUM_PROMPTS = 128
_WITHOUT_LAWS = (
    "text of the large model and hybrid text, schemes whose acceptance takes both laws (tk-slt, tslt, k-sqs, "
    "c-sqs, cascade, typical) and the certificate"
)
_MOST_ROUNDS = 6


def show(result: output.Result) -> None:
    """Print what was fitted."""
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
    rounds = result.get("rounds", [])
    for one, before in zip(rounds[1:], rounds, strict=False):
        output.say(
            f"Text written at {before['threshold']:g}: the best threshold is {one['threshold']:g} "
            f"[{one['threshold_ci95'][0]:g}, {one['threshold_ci95'][1]:g}]."
        )
    if result.get("missing_columns"):
        output.say(
            "The large model told how likely the drafts are, not its laws. What needs the columns "
            f"{', '.join(result['missing_columns'])} is left out: {result['leaves_out']}."
        )
    output.say(f"Wrote {', '.join(result['texts'].values())} and {result['calibration']}.")


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
    "--texts",
    default=None,
    help="Whose texts are recorded: slm (its drafts), llm (what exact schemes write), hybrid (skipping "
    "ones) [default: slm,llm,hybrid, or slm where the large model scores given tokens alone].",
)
@click.option(
    "--writer", type=click.Choice(_TEXTS), default=None, help="Record the text of one writer alone."
)
@click.option(
    "--threshold",
    type=options.Number(),
    default=None,
    help="u_th of the hybrid text [-] [default: the best for --bias-budget on the texts recorded so far].",
)
@click.option(
    "--bias-budget",
    type=options.Number(),
    default=Budget().bias,
    show_default=True,
    help="Mean per-token bias that the best threshold may spend [-].",
)
@click.option(
    "--iterate", is_flag=True, help="Record hybrid text until the best threshold moves within its interval."
)
@click.option("--batch-size", type=options.WHOLE, default=8, show_default=True, help="Prompts at once.")
@click.option("--skip-long", is_flag=True, help="Leave out prompts that do not fit the models' context.")
@options.workers
@click.option("--seed", type=options.WHOLE, default=0, show_default=True, help="Seed of every draw.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write into.")
@output.reports(show)
def command(
    *,
    prompts: Path | None,
    num_prompts: int | None,
    seed: int,
    out: Path,
    workers: Workers,
    **values: Any,
) -> output.Result:
    """Run a real model pair over prompts, record its texts, fit the rejection line."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"out must be a folder; got the file {str(out)!r}")
    texts = _wanted(values)
    from calibration import collect
    from calibration.fit import fit_folder
    from calibration.iteration import iterate

    settings = collect.Settings(
        seed=seed, **{key: values[key] for key in ("max_new_tokens", "temperature", "batch_size")}
    )
    chosen = prompts_of(prompts, num_prompts, built_in=_NUM_PROMPTS)
    running = pair_of(values)
    if not running.tells_laws and values["texts"] is values["writer"] is None:
        texts = list(_TEXTS[:1])
    if values["skip_long"]:
        given, chosen = chosen, running.fitting(chosen, settings.max_new_tokens)
        click.echo(
            f"left out {len(given) - len(chosen)} of {len(given)} prompts, which are too long", err=True
        )
    name = values["pair"] or "smollm2"
    if values["slm"] is not None:
        name = f"{running.slm_id} and {running.llm_id}"
    click.get_current_context().with_resource(alone(out))

    def record(writer: Writer, threshold: float | None = None) -> None:
        how = replace(settings, writer=writer, threshold=threshold)
        call, load = shlex.join(["cuhlm", *sys.argv[1:]]), kept_pair_of(values)
        collect.collect(running, chosen, how, out, command=call, load=load, workers=workers)

    def contexts(threshold: float) -> "Written":
        record("hybrid", threshold)
        return fit_folder(out, name=name, seed=seed).written

    rounds: list[Estimate] = []
    for writer in texts:
        if writer != "hybrid" or values["threshold"] is not None:
            record(writer, values["threshold"] if writer == "hybrid" else None)
            continue
        start, bias = fit_folder(out, name=name, seed=seed).written, values["bias_budget"]
        rounds = iterate(contexts, start, bias, most_rounds=_MOST_ROUNDS if values["iterate"] else 1)
    fitted = fit_folder(out, name=name, seed=seed)
    told = [{"threshold": one.value, "threshold_ci95": one.ci95} for one in rounds]
    lacks = "" if running.tells_laws else _WITHOUT_LAWS
    missing = [] if running.tells_laws else sorted(OF_LAWS)
    return {**report_of(fitted, out, seed), "rounds": told, "missing_columns": missing, "leaves_out": lacks}


def report_of(fitted: "Calibration", out: Path, seed: int) -> output.Result:
    """Return what a fit found and where it lies."""
    return {
        "name": fitted.name,
        **fitted.estimates,
        **{f"{key}_ci95": fitted.ci95.get(key) for key in fitted.estimates},
        **{key: getattr(fitted, key) for key in _CONTEXT},
        "texts": {text: str(file) for text, file in fitted.texts.items()},
        "writer": fitted.writer,
        "promises": [asdict(one) for one in fitted.promises],
        "seed": seed,
        "intervals": fitted.source["intervals"],
        "trace": str(fitted.texts[fitted.own_text]),
        "calibration": str(out / CALIBRATION_FILE),
    }


def _wanted(values: dict[str, Any]) -> list[Writer]:
    """Writers whose texts are recorded, the hybrid one last."""
    names = [values["writer"]] if values["writer"] else (values["texts"] or ",".join(_TEXTS)).split(",")
    if unknown := [name for name in names if name not in _TEXTS]:
        raise ValueError(f"texts must be among {', '.join(_TEXTS)}; got {unknown[0]!r}")
    if values["threshold"] is not None and (values["iterate"] or "hybrid" not in names):
        raise ValueError("threshold must be given for hybrid text that is not iterated")
    as_probability("threshold", values["threshold"] or 0.0)
    as_probability("bias_budget", values["bias_budget"])
    return [name for name in _TEXTS if name in names]
