"""How a result leaves: one JSON object, or tables on a terminal."""

import functools
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click
import numpy as np

Result = dict[str, Any]

_PROSE = 20  # characters above which a cell is a sentence, to be wrapped


def plain(value: Any) -> Any:
    """Return ``value`` as JSON types: arrays become lists, what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def reports(render: Callable[[Result], None]) -> Callable[[Callable[..., Result]], Callable[..., None]]:
    """Give a command that returns a result the option ``--json``; without it, ``render`` draws the tables."""

    def decorate(function: Callable[..., Result]) -> Callable[..., None]:
        @click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
        @functools.wraps(function)
        def command(*, as_json: bool, **options: Any) -> None:
            result = function(**options)
            if as_json:
                click.echo(json.dumps(plain(result), ensure_ascii=False, allow_nan=False))
            else:
                render(result)

        return command

    return decorate


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[Any]], *, note: str = "") -> None:
    """Print a table; numbers get four significant digits, None a dash."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    cells = [[_cell(value) for value in row] for row in rows]
    for index, column in enumerate(columns):
        prose = index > 0 and any(len(row[index]) > _PROSE for row in cells)
        drawn.add_column(column, justify="left" if index == 0 or prose else "right", no_wrap=not prose)
    for row in cells:
        drawn.add_row(*row)
    console = Console(markup=False, highlight=False)  # "[bit]" is a unit, not markup
    console.print(title, drawn, *([note, ""] if note else []), sep="\n")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}".replace(",", "\u202f")
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    if isinstance(value, list | tuple | np.ndarray):
        return ", ".join(_cell(item) for item in value)
    return str(value)
