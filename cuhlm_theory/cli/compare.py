"""`cuhlm compare`: theory against the recorded tokens and against decoding that was really run."""

import math
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cuhlm_theory.cli import options, output
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.parameters import Codec, Latency, Link, System

if TYPE_CHECKING:
    from calibration import Calibration
    from calibration.compare import Row
    from calibration.trace import Trace

_SETS = "sets"
_BESIDE_QUANTITY = 62  # columns that the numbers of a row take
_BESIDE_REASON = 45  # columns that a reason takes
_DECODED = ("decoded.parquet", "decoded/decoded.parquet")
_TIMED = "timed/decoded.parquet"
_FRONT = "front.csv"
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
            ["quantity", "predicted", "measured", "95 %", "agrees"],
            [
                (
                    _wrapped(row["quantity"].removeprefix(f"{name}: "), _BESIDE_QUANTITY),
                    _number(row["predicted"]),
                    _number(row["measured"]),
                    _interval(row["ci95"]),
                    _verdict(row),
                )
                for row in result["rows"]
                if row["table"] == name
            ],
        )
    failing = [row for row in result["rows"] if row["agrees"] is False]
    if failing:
        alike: dict[str, list[str]] = {}
        for row in failing:
            alike.setdefault(row["reason"], []).append(_wrapped(row["quantity"], _BESIDE_REASON))
        output.table(
            "Where it fails",
            ["quantity", "reason"],
            [("\n".join(quantities), reason) for reason, quantities in alike.items()],
        )
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
        click.echo(f"{_wrapped(_PROMISE)}\n")
    if "monotonicity" in result:
        click.echo(
            f"E[beta | u] is non-decreasing: p = {result['monotonicity']['p_value']:.3g} "
            "(small values speak against it).\n"
        )
    click.echo(
        _wrapped(
            f"{result['agreeing']} of the {result['claimed']} rows that theory claims agree. Rows marked "
            "(model) rest on a fitted line or an assumed law. Intervals: bootstrap over prompts."
        )
    )


def _wrapped(text: str, taken: int = 0) -> str:
    """Break a text into lines that leave ``taken`` columns of the terminal to the other cells."""
    columns = max(20, shutil.get_terminal_size().columns - taken)
    return textwrap.fill(text, columns, subsequent_indent="  " if taken else "")


def _interval(ends: list[float] | tuple[float, float] | None) -> str | None:
    return None if ends is None else f"{ends[0]:.3g} to {ends[1]:.3g}"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _verdict(row: dict[str, Any]) -> str:
    said = {True: "yes", False: "no", None: "-"}[row["agrees"]]
    return said if row["claimed"] else f"{said} (model)"


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
    default="smollm2",
    show_default=True,
    help="DIR of `cuhlm calibrate`, smollm2 or smollm2-llm-text.",
)
@click.option(
    "--decoded",
    type=click.Path(path_type=Path),
    default=None,
    help="decoded.parquet of `python -m calibration.runs` [default: beside the calibration, if there].",
)
@options.link
@options.codec
@options.latency
@click.option(
    "--truncation-budget", type=float, default=0.02, show_default=True, help="TV_k of cu-hlm-exact [-]."
)
@click.option("--k", "offline_k", type=int, default=30, show_default=True, help="k of cu-hlm-offline.")
@click.option("--estimators", is_flag=True, help="Also judge every measure of uncertainty.")
@click.option("--models", is_flag=True, help="Also judge rejection models, thresholds and promises.")
@click.option(
    "--transfer",
    default=None,
    help="Use this trace's thresholds on another calibration or trace; `sets`: between its own prompt sets.",
)
@click.option(
    "--risk-budget",
    type=float,
    default=None,
    help="Risk that thresholds are chosen for [-] [default: 0.02, 0.05 and 0.1].",
)
@click.option(
    "--failure-probability",
    type=float,
    default=0.1,
    show_default=True,
    help="Chance that a guaranteed threshold may exceed its budget [-].",
)
@click.option("--resamples", type=int, default=2000, show_default=True, help="Bootstrap resamples.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the bootstrap.")
@output.reports(_render)
def command(
    *,
    calibration: str,
    decoded: Path | None,
    bandwidth_hz: float,
    snr_db: float,
    fading: str,
    outage: float,
    block_error: float,
    vocab_size: int | None,
    prob_bits: int,
    index_bits: int | None,
    slm_latency_s: float | None,
    llm_latency_s: float | None,
    round_trip_s: float,
    truncation_budget: float,
    offline_k: int,
    estimators: bool,
    models: bool,
    transfer: str | None,
    risk_budget: float | None,
    failure_probability: float,
    resamples: int,
    seed: int,
) -> output.Result:
    """Set theory beside the recorded tokens and beside decoding that was really run."""
    if resamples < 100:
        raise ValueError(f"resamples must be at least 100; got {resamples}")
    for name, value in (("risk_budget", risk_budget), ("failure_probability", failure_probability)):
        if value is not None and not 0.0 < value < 1.0:
            raise ValueError(f"{name} must lie in (0, 1); got {value:g}")
    from calibration import compare, load

    fitted = load(calibration)
    recorded = fitted.needed_trace()
    place = fitted.texts[fitted.writer]
    other = load(transfer).needed_trace() if transfer not in (None, _SETS) else None
    link = options.build_link(
        bandwidth_hz=bandwidth_hz, snr_db=snr_db, fading=fading, outage=outage, block_error=block_error
    )
    system = System(
        link=link,
        codec=Codec(
            vocab_size=vocab_size or recorded.header.vocab_size, prob_bits=prob_bits, index_bits=index_bits
        ),
        latency=Latency(
            slm_s=_known("slm_latency_s", slm_latency_s, fitted.slm_latency_s),
            llm_s=_known("llm_latency_s", llm_latency_s, fitted.llm_latency_s),
            round_trip_s=round_trip_s,
        ),
    )
    numbers = {"truncation_budget": truncation_budget, "offline_k": offline_k}
    budgets = _RISK_BUDGETS if risk_budget is None else (risk_budget,)
    rows = compare.compare_trace(
        recorded, fitted, system, numbers=numbers, budgets=budgets, seed=seed, num_resamples=resamples
    )
    files = _find_decoded(decoded, place.parent)
    beside = None if fitted.writer == "llm" else fitted.texts.get("llm")
    verified = fitted.text("llm") if files and beside is not None else None
    for file in files:
        table = compare.read_decoded(file)
        rows += compare.compare_decoded(
            table,
            recorded,
            fitted,
            _system_of(table.header, system),
            verified=verified,
            seed=seed,
            num_resamples=resamples,
        )
    agreeing, claimed = compare.agreement(rows)
    result: output.Result = {
        "rows": [_plain(row) for row in rows],
        "agreeing": agreeing,
        "claimed": claimed,
        "inputs": {
            "calibration": fitted.name,
            "trace": str(place),
            "decoded": str(files[0]) if files else None,
            "timed": str(files[1]) if files[1:] else None,
            "verified_trace": None if beside is None else str(beside),
            "system": asdict(system),
            "truncation_budget": truncation_budget,
            "offline_k": offline_k,
            "risk_budgets": budgets,
            "failure_probability": failure_probability,
            "resamples": resamples,
            "seed": seed,
        },
    }
    if files and (files[0].parent / _FRONT).is_file():
        result["accuracy"] = compare.read_front(files[0].parent / _FRONT)
    if estimators:
        result |= _judge_estimators(recorded, resamples, seed)
    if models:
        result |= _judge_models(recorded, fitted, budgets, failure_probability, resamples, seed)
    if transfer is not None:
        result["transfer"] = _judge_transfer(recorded, other, budgets, failure_probability, resamples, seed)
    return result


def _known(name: str, given: float | None, recorded: float | None) -> float:
    value = recorded if given is None else given
    if value is None:
        raise MissingInputError(f"the calibration has no {name}; give --{name.replace('_', '-')}")
    return value


def _find_decoded(given: Path | None, folder: Path) -> list[Path]:
    """Return the decoding to compare, and that whose compute was timed where it is there as well."""
    if given is not None:
        return [given]
    found = [folder / name for name in _DECODED if (folder / name).is_file()][:1]
    return [*found, *(timed for timed in (folder / _TIMED,) if timed.is_file())]


def _system_of(header: dict[str, Any], default: System) -> System:
    """Return the system that the runs simulated, as their header tells it, else the one of the options."""
    told = header.get("system")
    if not isinstance(told, dict):
        return default
    try:
        rest = {key: value for key, value in told.items() if key not in ("link", "codec", "latency")}
        latency: dict[str, Any] = {
            key: float("inf") if value is None and key == "downlink_bit_per_s" else value
            for key, value in told["latency"].items()
        }
        return System(
            link=Link(**told["link"]), codec=Codec(**told["codec"]), latency=Latency(**latency), **rest
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"decoded has a header whose system cannot be read: {error}") from None


def _plain(row: "Row") -> dict[str, Any]:
    return {**asdict(row), "claimed": row.claimed}


def _judge_estimators(recorded: "Trace", resamples: int, seed: int) -> output.Result:
    import numpy as np

    from calibration import estimators

    columns, size = recorded.columns, recorded.header.vocab_size
    scores = estimators.measures(columns, size)
    rows = estimators.side_by_side(
        scores, columns["rejection"], columns["prompt"], num_resamples=min(resamples, 1000), seed=seed
    )
    costs = estimators.costs(size, rng=np.random.default_rng(seed))
    found = []
    for row in rows:
        cost = costs.get(row.name)
        found.append(
            {**asdict(row), **(asdict(cost) if cost else {"softmax_evaluations": None, "seconds": None})}
        )
    return {"estimators": found}


def _judge_transfer(
    recorded: "Trace",
    other: "Trace | None",
    budgets: Sequence[float],
    failure_probability: float,
    resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
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
            budgets=budgets,
            failure_probability=failure_probability,
            num_resamples=resamples,
            seed=seed,
        )
    ]


def _judge_models(
    recorded: "Trace",
    fitted: "Calibration",
    budgets: Sequence[float],
    failure_probability: float,
    resamples: int,
    seed: int,
) -> output.Result:
    from calibration import promises, rejection_models

    tokens = recorded.tokens()
    sampled = recorded.columns["sampled_uncertainty"]
    num_prompts = fitted.num_prompts
    models = (
        rejection_models.cross_validate(
            tokens, budgets=budgets, sampled=(sampled, 20), num_resamples=resamples, seed=seed
        )
        if num_prompts >= 5
        else []
    )
    cost = (
        rejection_models.line_against_isotonic(
            tokens, risks=budgets, num_resamples=min(resamples, 1000), seed=seed
        )
        if num_prompts >= 5
        else []
    )
    test = rejection_models.monotonicity(tokens, num_resamples=min(resamples, 1000), seed=seed)
    thresholds = promises.threshold_intervals(
        tokens,
        budgets=budgets,
        cost_ratios=_COST_RATIOS,
        num_resamples=resamples,
        seed=seed,
    )
    kept = [
        promises.guaranteed_threshold(
            tokens,
            budget,
            failure_probability=failure_probability,
            method=method,
            max_tokens=recorded.header.max_new_tokens,
        )
        for budget in budgets
        for method in ("betting", "hoeffding", "conformal")
    ]
    return {
        "rejection_models": [asdict(row) for row in models],
        "line_against_isotonic": [asdict(row) for row in cost],
        "monotonicity": asdict(test),
        "thresholds": [asdict(row) for row in thresholds],
        "guarantees": [asdict(row) for row in kept],
    }
