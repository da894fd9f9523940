"""`cuhlm sweep`: the recommendation over a grid of settings."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import click

from cuhlm_theory import load
from cuhlm_theory._workers import Workers
from cuhlm_theory.cli import options, output
from cuhlm_theory.cli._setting import KEYS, build_setting, setting_options
from cuhlm_theory.recommendation import Question
from cuhlm_theory.sweep import Row, row_of, sweep

_WORDS = ("fading", "codec")  # keys whose values are names
_SWEPT = (*KEYS, "bias_price_s")


class _Over(click.ParamType):
    """A key and its values: ``snr-db=-10:20:1`` with both ends, or ``fading=awgn,rayleigh-arq``."""

    name = "KEY=VALUES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        key, equals, told = str(value).partition("=")
        key = key.strip().replace("-", "_")
        if not (equals and told):
            raise click.UsageError(f"--over must be KEY=A:B:STEP or KEY=V,V; got {value!r}", ctx)
        if key not in _SWEPT:
            near = difflib.get_close_matches(key, _SWEPT, n=1, cutoff=0.0)[0].replace("_", "-")
            raise click.UsageError(
                f"--over must name a number of the setting, nearest {near}; got {key!r}", ctx
            )
        if key in _WORDS:
            return key, told.split(",")
        numbers = options.Sweep()
        found = [numbers.convert(part, param, ctx) for part in told.split(",")]
        return key, [float(x) for one in found for x in (one if hasattr(one, "__len__") else [one])]


def _render(result: output.Result) -> None:
    output.say(
        f"Wrote {result['num_points']} points to {result['file']}; {result['num_refused']} have no answer."
    )


@click.command(
    "sweep",
    epilog="\b\nExample: cuhlm sweep --over snr-db=-10:20:2 --over round-trip-s=0,0.05 --out map.parquet",
)
@options.scenario
@setting_options
@click.option(
    "--over",
    type=_Over(),
    multiple=True,
    required=True,
    help="Key and its values, KEY=A:B:STEP or KEY=V,V; may be repeated, the grid is the product.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Table to write, .parquet or .csv, a row a point; without a suffix a folder, one Parquet data set.",
)
@options.workers
@output.reports(_render)
def command(
    *,
    over: Sequence[tuple[str, list[Any]]],
    out: Path,
    workers: Workers,
    **values: Any,
) -> output.Result:
    """Find the recommendation at every point of a grid; what was found is kept when it is interrupted."""
    grid = dict(over)
    if len(grid) < len(over):
        raise ValueError("over must name each key once")
    solve = _Solve(values, frozenset(options.from_scenario(values)) - grid.keys())
    first = {key: listed[0] for key, listed in grid.items()}
    solve.question(first)  # what is wrong with all points is said before any work
    num_points, num_refused = sweep(solve, grid, out, given=solve.values, workers=workers)
    return {"file": str(out), "num_points": num_points, "num_refused": num_refused, "over": grid}


@dataclass(frozen=True, slots=True)
class _Solve:
    """What a worker is sent: the options of the command, in words."""

    values: dict[str, Any]
    scenario: frozenset[str]
    sweep: str = field(default_factory=lambda: uuid4().hex)

    def __call__(self, points: Sequence[Row]) -> list[Row]:
        """Answer the questions of some points, on one calibration."""
        found = _loaded(self.sweep, self.values["calibration"], self.values["text"])
        return [row_of(self.question(point, found)) for point in points]

    def question(self, point: Row, found: Any = None) -> Question:
        """Return the question of a point."""
        return build_setting(self.values | point, self.scenario, found)[0]


@lru_cache(maxsize=1)
def _loaded(sweep: str, calibration: str, text: str) -> Any:
    """Load the calibration of a sweep, once in each process that solves points of it."""
    return load(calibration, text=text)
