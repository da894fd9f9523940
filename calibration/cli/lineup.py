"""Options that make a line-up: which prompts, which schemes at which thresholds, over which system."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from calibration.cli import prompts_of
from cuhlm_theory import load
from cuhlm_theory.cli import options as common
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.schemes import SCHEMES

if TYPE_CHECKING:
    from calibration.runs import LineUp

options = common.group(
    common.calibration_of("smollm2"),
    click.option(
        "--prompts", type=click.Path(path_type=Path), default=None, help="Prompts [default: built in]."
    ),
    click.option(
        "--from-prompt", type=common.WHOLE, default=0, show_default=True, help="Leave the first N out."
    ),
    click.option(
        "--num-prompts", type=common.WHOLE, default=24, show_default=True, help="Use N prompts from there on."
    ),
    click.option(
        "--max-new-tokens", type=common.WHOLE, default=48, show_default=True, help="Longest answer [token]."
    ),
    click.option(
        "--thresholds", default="0.1,0.3,0.6", show_default=True, help="u_th of the schemes that skip."
    ),
    click.option(
        "--only", default=None, help="Schemes or runs (u-hlm, u-hlm@0.3), separated by commas [default: all]."
    ),
    common.system,
    click.option(
        "--one-by-one",
        is_flag=True,
        help="Decode each prompt by itself and charge the wall clock of every pass.",
    ),
    click.option("--seed", type=common.WHOLE, default=0, show_default=True, help="Seed of every draw."),
)
"""Everything that a line-up is made of."""


def lineup_of(values: dict[str, Any]) -> "LineUp":
    """Return the line-up of a command's options."""
    from calibration import runs

    fitted = load(values["calibration"], text=values["text"])
    tokens = fitted.tokens
    if tokens is None:
        raise MissingInputError(f"calibration {fitted.name} has no recorded tokens; give one that has")
    system = common.ladder(values, {"calibration": fitted}, assume=False).system()
    made = runs.default_runs(
        tokens,
        system,
        fitted.line,
        thresholds=_thresholds(values["thresholds"]),
        temperature=fitted.temperature or 0.7,
        max_new_tokens=values["max_new_tokens"],
    )
    first, number = values["from_prompt"], values["num_prompts"]
    if first < 0:
        raise ValueError(f"from_prompt must be at least 0; got {first}")
    return runs.LineUp(
        prompts=prompts_of(values["prompts"], number, first=first),
        runs=_chosen(made, values["only"]),
        system=system,
        seed=values["seed"],
        note=f"calibration {fitted.name}: a={fitted.line.slope:.4g}, b={fitted.line.intercept:.4g}",
        one_by_one=values["one_by_one"],
    )


def _thresholds(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"thresholds must be numbers separated by commas; got {text!r}") from None


def _chosen(made: list[Any], only: str | None) -> list[Any]:
    """Return the runs whose scheme or own name was asked for."""
    if only is None:
        return made
    names = only.split(",")
    known = {*SCHEMES, *(run.name for run in made)}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"only must be among {', '.join(SCHEMES)}, or a run; got {unknown[0]!r}")
    return [run for run in made if {run.name, run.settings.scheme.name} & {*names}]


def names() -> list[str]:
    """Names of the parameters that the options set."""
    return [str(option.name) for option in click.command()(options(lambda **values: None)).params]
