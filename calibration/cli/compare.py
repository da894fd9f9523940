"""`cuhlm compare`: theory against the recorded tokens and against decoding that was really run."""

import math
import shutil
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from calibration.cli import reach
from cuhlm_theory import load
from cuhlm_theory.cli import options, output
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.parameters import System

if TYPE_CHECKING:
    from calibration import Calibration
    from calibration.trace import Trace

_SETS = "sets"
_BESIDE_QUANTITY = 62  # columns that the numbers of a row take
_DECODED = "decoded.parquet"
_FRONT = "front.csv"
_PREDICTIONS = "predictions.json"
_ANSWERS = {True: "yes", False: "no", None: "-"}
_SECTIONS = (  # key of the result, title of a table (rows with another title make another table), columns
    (
        "accuracy",
        "Answers that were really decoded, beside the LLM's",
        ("run", "bias", "throughput_token_per_s", "cosine_to_llm", "llm_log_likelihood"),
    ),
    (
        "estimators",
        "Measures of uncertainty on the same tokens",
        ("name", "pearson", "spearman", "r_squared", "risk_coverage_area"),
    ),
    ("estimators", "What a measure costs a token", ("name", "softmax_evaluations", "seconds")),
    (
        "rejection_models",
        "Rejection models on prompts they have not seen",
        ("name", "brier", "brier_over_line"),
    ),
    (
        "rejection_models",
        "Their thresholds for a risk budget on prompts they have not seen",
        ("name", "budget", "threshold", "risk", "violation_rate", "skip_rate"),
    ),
    (
        "line_against_isotonic",
        "What the line costs against the isotonic fit at equal risk",
        ("risk", "skip_rate_line", "skip_rate_isotonic", "lost"),
    ),
    ("thresholds", "Thresholds", ("name", "threshold")),
    (
        "guarantees",
        "Thresholds with a promise",
        ("method", "budget", "failure_probability", "threshold", "risk", "skip_rate"),
    ),
    (
        "transfer",
        "Thresholds fitted on {fitted_on}, used on {used_on}",
        ("rule", "budget", "threshold", "risk_promised", "risk_had", "kept"),
    ),
)
_PROMISE = (
    "betting, hoeffding: the risk is within the budget, but for the failure probability; conformal: it is "
    "in the mean over calibration sets. All if the recorded prompts and those served later are independent "
    "draws from one law."
)
_NAMES = {  # of columns and measures, as a table shows them
    "throughput_token_per_s": "token/s",
    "cosine_to_llm": "cosine to LLM",
    "llm_log_likelihood": "log-likelihood",
    "r_squared": "R²",
    "risk_coverage_area": "risk-coverage",
    "softmax_evaluations": "further softmaxes",
    "seconds": "s/token",
    "brier_over_line": "over the line",
    "mean_uncertainty": "u-bar",
    **{f"sampled_uncertainty_{count}": f"u at M = {count}" for count in (1, 5, 20, 100)},
    "one_minus_max_prob": "1 - x_max",
    "one_minus_draft_prob": "1 - x_d",
    "one_minus_margin": "1 - margin",
}
_RISK_BUDGETS = (0.02, 0.05, 0.1)
_COST_RATIOS = (0.2, 0.4)  # rejections at which waiting for the server breaks even


def _render(result: output.Result) -> None:
    for name in dict.fromkeys(row["table"] for row in result["rows"]):
        output.table(
            f"Theory against {name}",
            ["quantity", "class", "predicted", "measured", "95 %", "agrees"],
            [
                (
                    _wrapped(row["quantity"].removeprefix(f"{name}: "), _BESIDE_QUANTITY),
                    row["class"],
                    _number(row["predicted"]),
                    _number(row["measured"]),
                    row["ci95"] and reach(row["ci95"]),
                    _ANSWERS[row["agrees"]],
                )
                for row in result["rows"]
                if row["table"] == name
            ],
        )
    _render_forecasts(result)
    for key, title, columns in _SECTIONS:
        rows = result.get(key, [])
        for told in dict.fromkeys(title.format(**row) for row in rows):
            cells = [
                tuple(_with_interval(row, name) for name in columns)
                for row in rows
                if title.format(**row) == told
            ]
            output.table(told, [_shown(name) for name in columns], dict.fromkeys(cells))
    if "guarantees" in result:
        output.say(f"{_PROMISE}\n")
    if "monotonicity" in result:
        output.say(
            f"E[beta | u] is non-decreasing: p = {result['monotonicity']['p_value']:.3g} "
            "(small values speak against it).\n"
        )
    for category, (agreeing, judged) in result["agreement"].items():
        output.say(f"{agreeing} of the {judged} {category} rows agree.")


def _render_forecasts(result: output.Result) -> None:
    """Print what was predicted before each run beside what came of it, and the verdict on all of it."""
    for name, verdict in result["forecasts"].items():
        output.table(
            f"Predicted before the runs in {name} ({verdict['note']})",
            ["run", "quantity", "class", "text", "predicted", "95 %", "measured", "inside", "p (Holm)"],
            [
                (
                    *(row[key] for key in ("run", "quantity", "class", "text", "predicted")),
                    reach(row["prediction_interval95"]),
                    row["measured"],
                    _ANSWERS[row["inside"]],
                    row["holm_p_value"],
                )
                for row in verdict["rows"]
            ],
            note=verdict["sentence"],
        )


def _wrapped(text: str, taken: int) -> str:
    """Break a text into lines that leave ``taken`` columns of the terminal to the other cells."""
    columns = max(20, shutil.get_terminal_size().columns - taken)
    return textwrap.fill(text, columns, subsequent_indent="  ")


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _shown(name: str) -> str:
    return _NAMES.get(name, name.replace("_", " "))


def _with_interval(row: dict[str, Any], name: str) -> Any:
    """Return a cell, with its interval on a second line where there is one."""
    value, ends = row[name], row.get(f"{name}_ci95")
    if isinstance(value, str):
        return _NAMES.get(value, value)
    if isinstance(value, float) and (math.isnan(value) or (name == "threshold" and value < 0.0)):
        return None  # a threshold below every uncertainty skips nothing
    return value if ends is None else f"{value:.4g}\n[{ends[0]:.3g}, {ends[1]:.3g}]"


@click.command("compare", epilog="\b\nExample: cuhlm compare --calibration smollm2 --snr-db 10")
@options.scenario
@click.option(
    "--calibration",
    default="qwen2.5-coder",
    show_default=True,
    help="DIR of `cuhlm calibrate`, qwen2.5-coder or smollm2.",
)
@click.option(
    "--decoded",
    type=click.Path(path_type=Path),
    default=None,
    help="decoded.parquet of `cuhlm runs` [default: beside the calibration, if there].",
)
@click.option(
    "--predictions",
    type=click.Path(path_type=Path),
    default=None,
    help="File of `cuhlm predict` that the runs were made of [default: beside them, if there].",
)
@options.system
@click.option(
    "--truncation-budget",
    type=options.Number(),
    default=0.02,
    show_default=True,
    help="TV_k of cu-hlm-exact [-].",
)
@click.option("--k", "offline_k", type=options.WHOLE, default=None, help="k of cu-hlm-offline [default: 30].")
@click.option("--estimators", is_flag=True, help="Also judge every measure of uncertainty.")
@click.option("--models", is_flag=True, help="Also judge rejection models, thresholds and promises.")
@click.option(
    "--transfer",
    default=None,
    help="Use this trace's thresholds on another calibration or trace; `sets`: between its own prompt sets.",
)
@click.option(
    "--risk-budget",
    type=options.Number(),
    default=None,
    help="Risk that thresholds are chosen for [-] [default: 0.02, 0.05 and 0.1].",
)
@click.option(
    "--failure-probability",
    type=options.Number(),
    default=0.1,
    show_default=True,
    help="Chance that a guaranteed threshold may exceed its budget [-].",
)
@click.option("--resamples", type=options.WHOLE, default=2000, show_default=True, help="Bootstrap resamples.")
@click.option("--seed", type=options.WHOLE, default=0, show_default=True, help="Seed of the bootstrap.")
@output.reports(_render)
def command(
    *,
    calibration: str,
    decoded: Path | None,
    predictions: Path | None,
    estimators: bool,
    models: bool,
    transfer: str | None,
    **values: Any,
) -> output.Result:
    """Compare theory with the recorded tokens and with decoding that was really run."""
    if values["resamples"] < 100:
        raise ValueError(f"resamples must be at least 100; got {values['resamples']}")
    for name in ("risk_budget", "failure_probability"):
        if values[name] is not None and not 0.0 < values[name] < 1.0:
            raise ValueError(f"{name} must lie in (0, 1); got {values[name]:g}")
    fitted = load(calibration)
    recorded = fitted.needed_trace()
    other = load(transfer).needed_trace() if transfer not in (None, _SETS) else None
    system = options.ladder(values, {"trace": recorded.header, "calibration": fitted}, assume=False).system()
    options.within_vocabulary(values, system.codec.vocab_size, "offline_k")
    budgets = _RISK_BUDGETS if values["risk_budget"] is None else (values["risk_budget"],)
    how = _How(budgets, values["failure_probability"], values["resamples"], values["seed"])
    size = {} if values["offline_k"] is None else {"offline_k": values["offline_k"]}
    numbers = {"truncation_budget": values["truncation_budget"], **({"offline_k": 30} | size)}
    files = _find_decoded(decoded, fitted.folder)
    result = _compared(fitted, system, numbers, files, how)
    result["forecasts"] = _forecasts(predictions, files)
    if estimators:
        result |= _judge_estimators(recorded, how)
    if models:
        result |= _judge_models(fitted, how)
    if transfer is not None:
        result["transfer"] = _judge_transfer(recorded, other, how)
    return result


class _How(NamedTuple):
    """How the judging is done."""

    budgets: tuple[float, ...]
    failure_probability: float
    resamples: int
    seed: int


def _compared(
    fitted: "Calibration", system: System, numbers: dict[str, Any], files: list[Path], how: _How
) -> output.Result:
    """Compare the trace, and the decoded files with the system that each simulated."""
    from calibration import compare
    from calibration.decoding import system_of

    recorded, common = fitted.needed_trace(), {"seed": how.seed, "num_resamples": how.resamples}
    rows = compare.compare_trace(recorded, fitted, system, numbers=numbers, budgets=how.budgets, **common)
    for file in files:
        table = compare.read_decoded(file)
        told = table.header.get("system")
        simulated = system_of(told) if isinstance(told, dict) else system
        where = f"{file.parent.name}/" if len(files) > 1 else ""
        rows += compare.compare_decoded(table, simulated, line=fitted.line, where=where, **common)
    result: output.Result = {
        "rows": [_told(row) for row in rows],
        "agreement": compare.agreement(rows),
        "inputs": {
            "calibration": fitted.name,
            "trace": str(fitted.texts[fitted.own_text]),
            "decoded": [str(file) for file in files],
            "system": asdict(system),
            **numbers,
            "risk_budgets": how.budgets,
            "failure_probability": how.failure_probability,
            "resamples": how.resamples,
            "seed": how.seed,
        },
    }
    for front in [file.parent / _FRONT for file in files if (file.parent / _FRONT).is_file()][:1]:
        result["accuracy"] = compare.read_front(front)
    return result


def _find_decoded(given: Path | None, folder: Path | None) -> list[Path]:
    """Return the decoding to compare: what was given, else all that lies in a folder and those in it."""
    if given is not None or folder is None:
        return [] if given is None else [given]
    return sorted({*folder.glob(_DECODED), *folder.glob(f"*/{_DECODED}"), *folder.glob(f"*/*/{_DECODED}")})


def _told(row: Any) -> dict[str, Any]:
    """Return a row under the names of its JSON."""
    told = asdict(row)
    return told | {"class": told.pop("category")}


def _forecasts(given: Path | None, decoded: list[Path]) -> dict[str, Any]:
    """Join what was predicted, beside each decoding or in a file, with what was decoded, by folder."""
    from calibration import compare

    if given is not None and len(decoded) != 1:
        raise MissingInputError("predictions are compared with the runs made of them; give --decoded")
    joined = {}
    for file in decoded:
        predicted = given or file.parent / _PREDICTIONS
        if given is None and not predicted.is_file():
            continue
        found = compare.Predictions.read(predicted)
        verdict = compare.judge_predictions(found, compare.read_decoded(file))
        joined[file.parent.name] = {
            "note": found.lineup.note,
            "sha256": found.sha256,
            "sentence": str(verdict),
            **asdict(verdict),
            "rows": [_told(row) for row in verdict.rows],
        }
    return joined


def _judge_estimators(recorded: "Trace", how: _How) -> output.Result:
    import numpy as np

    from calibration import estimators

    columns, size = recorded.columns, recorded.header.vocab_size
    rows = estimators.side_by_side(
        estimators.measures(columns, size),
        columns["rejection"],
        columns["prompt"],
        num_resamples=min(how.resamples, 1000),
        seed=how.seed,
    )
    costs = estimators.costs(size, rng=np.random.default_rng(how.seed))
    unknown = {"softmax_evaluations": None, "seconds": None}
    return {
        "estimators": [
            {**asdict(row), **(asdict(costs[row.name]) if row.name in costs else unknown)} for row in rows
        ]
    }


def _judge_transfer(recorded: "Trace", other: "Trace | None", how: _How) -> list[dict[str, Any]]:
    from calibration import promises

    if other is not None:
        ways = [("this trace", "the other", recorded.tokens(), other.tokens())]
    else:
        sets = [name.rpartition("/")[0] or name for name in recorded.header.prompt_names]
        parts = promises.by_group(recorded.tokens(), sets)
        if len(parts) < 2:
            raise MissingInputError(
                "the trace has one set of prompts (names before the last /); give --transfer another trace"
            )
        ways = [(a, b, parts[a], parts[b]) for a in parts for b in parts if a != b]
    return [
        {"fitted_on": fitted_on, "used_on": used_on, **asdict(row)}
        for fitted_on, used_on, first, second in ways
        for row in promises.transfer(
            first,
            second,
            budgets=how.budgets,
            failure_probability=how.failure_probability,
            num_resamples=how.resamples,
            seed=how.seed,
        )
    ]


def _judge_models(fitted: "Calibration", how: _How) -> output.Result:
    from calibration import promises, rejection_models

    recorded, seed = fitted.needed_trace(), how.seed
    tokens = recorded.tokens()
    few = min(how.resamples, 1000)
    models, cost = [], []
    if fitted.num_prompts >= 5:
        sampled = (recorded.columns["sampled_uncertainty"], 20)
        models = rejection_models.cross_validate(
            tokens, budgets=how.budgets, sampled=sampled, num_resamples=how.resamples, seed=seed
        )
        cost = rejection_models.line_against_isotonic(tokens, risks=how.budgets, num_resamples=few, seed=seed)
    test = rejection_models.monotonicity(tokens, num_resamples=few, seed=seed)
    thresholds = promises.threshold_intervals(
        tokens, budgets=how.budgets, cost_ratios=_COST_RATIOS, num_resamples=how.resamples, seed=seed
    )
    kept = [
        promises.guaranteed_threshold(
            tokens,
            budget,
            failure_probability=how.failure_probability,
            method=method,
            max_tokens=recorded.header.max_new_tokens,
        )
        for budget in how.budgets
        for method in ("betting", "hoeffding", "conformal")
    ]
    return {
        "rejection_models": [asdict(row) for row in models],
        "line_against_isotonic": [asdict(row) for row in cost],
        "monotonicity": asdict(test),
        "thresholds": [asdict(row) for row in thresholds],
        "guarantees": [asdict(row) for row in kept],
    }
