"""How a result leaves: one JSON object, or tables for a terminal, a spreadsheet or a document."""

import csv
import functools
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from cuhlm_theory.cli.terminal import printable

if TYPE_CHECKING:
    from rich.console import Console

Result = dict[str, Any]

FORMATS = ("table", "json", "csv", "parquet", "markdown", "latex")
"""How a command may print its result; Parquet is bytes, and so only goes into a file or a pipe."""

_PROSE = 20  # characters above which a cell is a sentence, to be wrapped
_NARROWEST = 40  # columns; a terminal that says it has fewer does not know
_WIDEST = 10_000
_STYLE = "cuhlm.style"
_TABLES = "cuhlm.tables"
_COMMENT = {"csv": "# ", "latex": "% "}


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


def reports(
    render: Callable[[Result], None], *, formats: Sequence[str] = FORMATS
) -> Callable[[Callable[..., Result]], Callable[..., None]]:
    """Give a command that returns a result ``--json`` and ``--format``; ``render`` makes the tables.

    A command whose ``formats`` are empty has a ``--format`` of its own.
    """

    def decorate(function: Callable[..., Result]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(*, as_json: bool, style: str = "table", **options: Any) -> None:
            if not formats:
                options["style"] = style
            meta = click.get_current_context().meta
            meta[_STYLE], meta[_TABLES] = "json" if as_json else style, []
            if _style() == "parquet" and sys.stdout.isatty():
                raise ValueError("style must not be parquet on a terminal; send it into a file: > FILE")
            leave(function(**options), render)

        told = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
        if formats:
            command = click.option(
                "--format",
                "style",
                type=click.Choice(formats),
                default=formats[0],
                show_default=True,
                help="How the result is printed.",
            )(command)
        return told(command)

    return decorate


def leave(result: Result, render: Callable[[Result], None]) -> None:
    """Print a result in the form that was asked for."""
    if _style() == "json":
        click.echo(_json(plain(result)))
    else:
        render(result)
    if _style() == "parquet":
        _write_parquet(click.get_current_context().meta[_TABLES])


def _json(result: Any) -> str:
    text = json.dumps(result, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(result, allow_nan=False)
    return text


def live() -> bool:
    """Whether the running command may show its work beside the result."""
    return _style() == "table"


def _style() -> str:
    context = click.get_current_context(silent=True)
    return "table" if context is None else context.meta.get(_STYLE, "table")


def say(text: str) -> None:
    """Print a sentence beside the tables; a comment where only tables may stand."""
    text = printable(text)
    if _style() == "table":
        _console().print(text)
    elif _style() != "parquet":
        mark = _COMMENT.get(_style(), "")
        click.echo("\n".join(mark + line if line else line for line in text.split("\n")))


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[Any]], *, note: str = "") -> None:
    """Print a table; for reading, numbers get four significant digits and None a dash."""
    note = printable(note)
    title, heads, body = printable(title), list(columns), [list(row) for row in rows]
    if (style := _style()) == "parquet":
        click.get_current_context().meta[_TABLES].append((title, heads, body))
        return
    if style not in ("csv", "markdown", "latex"):
        _draw(title, heads, body, note)
        return
    if title:
        say(f"**{title}**\n" if style == "markdown" else title)
    if style == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([heads, *([_raw(value) for value in row] for row in body)])
    else:
        from tabulate import tabulate

        cells = [[_escaped(_cell(value), style) for value in row] for row in body]
        form = {"markdown": "github", "latex": "latex_booktabs"}[style]
        click.echo(tabulate(cells, [_escaped(head, style) for head in heads], form, disable_numparse=True))
    if note:
        say(f"\n{note}" if style == "markdown" else note)
    click.echo()


def _write_parquet(tables: Sequence[tuple[str, list[str], list[list[Any]]]]) -> None:
    """Write all tables as one; its column ``table`` tells them apart where there are several."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = [
        {"table": title, **dict(zip(heads, map(_raw, row), strict=True))}
        for title, heads, body in tables
        for row in body
    ]
    columns: dict[str, list[Any]] = {key: [row.get(key) for row in rows] for row in rows for key in row}
    if len(tables) < 2:
        columns.pop("table", None)
    written = pa.BufferOutputStream()
    parquet.write_table(pa.table({key: _column(values) for key, values in columns.items()}), written)
    click.echo(written.getvalue().to_pybytes(), nl=False)


def _column(values: list[Any]) -> Any:
    """Return a column of one type; where numbers and words share it, all are words."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values])


def _draw(title: str, heads: list[str], body: list[list[Any]], note: str) -> None:
    """Draw on the terminal; a number is never cut: rows that are too wide stand below each other."""
    console = _console()
    drawn = _grid(heads, body)
    needed = console.measure(drawn, options=console.options.update(max_width=_WIDEST)).minimum
    if body and needed > console.width:
        pairs = [pair for row in body for pair in (*zip(heads, row, strict=True), ("", ""))]
        drawn = _grid(["", ""], pairs[:-1])
    console.print(title, drawn, *([note, ""] if note else []), sep="\n")


def _console() -> "Console":
    from rich.console import Console

    console = Console(markup=False, highlight=False)  # "[bit]" is a unit, not markup
    console.width = max(console.width, _NARROWEST)
    return console


def _grid(heads: Sequence[str], body: Sequence[Sequence[Any]]) -> Any:
    from rich import box
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_header=any(heads))
    for index, head in enumerate(heads):
        cells = [row[index] for row in body]
        numbers = any(isinstance(cell, int | float | np.number) for cell in cells)
        prose = any(isinstance(cell, str) and len(cell) > _PROSE for cell in cells)
        left = index == 0 or prose or not numbers
        grid.add_column(
            head,
            justify="left" if left else "right",
            no_wrap=(numbers or index == 0) and not prose,
            overflow="fold",
        )
    for row in body:
        grid.add_row(*map(_cell, row))
    return grid


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
        ends = (f"{one:.3g}" if isinstance(one, float | np.floating) else _cell(one) for one in value)
        return ", ".join(ends)
    return printable(str(value))


def _raw(value: Any) -> Any:
    """Return what a spreadsheet reads: every digit, nothing for None."""
    value = plain(value)
    if isinstance(value, str):
        return printable(value)
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _escaped(text: str, style: str) -> str:
    if style == "markdown":
        return text.replace("|", "\\|").replace("\n", "<br>")
    return text.replace("\n", " ")  # what LaTeX needs more, tabulate does
