"""Recommendations over a grid of settings, point by point, on any number of workers.

A point depends on nothing but its own values, so the table is the same whatever worked on it, in whatever
order, and however often it was interrupted. Rows are stored as they come.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cuhlm_theory._files import alone, read_rows, whole
from cuhlm_theory._progress import track
from cuhlm_theory._workers import Workers
from cuhlm_theory.errors import CuhlmError

if TYPE_CHECKING:
    from cuhlm_theory.recommendation import Question

__all__ = ["COLUMNS", "row_of", "sweep"]

_CHUNK = 16  # points that are stored together
_PARTITION = 65_536  # points of a file of a data set
_FORMATS = (".parquet", ".csv", "")
_STATED, _REFUSED = "cuhlm_points", "cuhlm_refused"

COLUMNS: Mapping[str, type] = {
    "scheme": str,
    "threshold": float,
    "skip_rate": float,
    "bias": float,
    "bias_account": str,
    "throughput_token_per_s": float,
    "throughput_low_token_per_s": float,
    "throughput_high_token_per_s": float,
    "uplink_bit_per_token": float,
    "over_llm": float,
    "cu_hlm_threshold": float,
    "cu_hlm_k_mean": float,
    "cu_hlm_throughput_token_per_s": float,
    "refused": str,
}
"""Columns beside those of the grid; ``refused`` says why a point has no answer."""

Row = dict[str, Any]


def row_of(question: Question) -> Row:
    """Answer a question in one row; a question without an answer is a row that says why.

    Parameters
    ----------
    question : Question
        What is asked.

    Returns
    -------
    dict
        `COLUMNS`; None where there is nothing to say.
    """
    row: Row = dict.fromkeys(COLUMNS)
    try:
        found = question.answer(bound=False)
        best = found.recommended
        low, high = best["throughput_ci95"] or (None, None)
        row |= {key: best[key] for key in COLUMNS if key in best}
        row |= {
            "scheme": found.scheme,
            "throughput_low_token_per_s": low,
            "throughput_high_token_per_s": high,
            "over_llm": found.over("llm").value if "llm" in found.ledgers else None,
            "cu_hlm_threshold": found.operating.threshold,
            "cu_hlm_k_mean": found.operating.k_mean,
            "cu_hlm_throughput_token_per_s": found.operating.throughput_token_per_s,
        }
    except (CuhlmError, ValueError) as error:
        row["refused"] = str(error)
    return row


def sweep(
    solve: Callable[[Sequence[Row]], list[Row]],
    over: Mapping[str, Sequence[Any]],
    out: Path,
    *,
    given: Mapping[str, Any],
    workers: Workers,
) -> tuple[int, int]:
    """Solve every point of a grid and write the table, once all are there; of a data set file by file.

    Parameters
    ----------
    solve : callable
        Rows of some points, given the values of each; it is sent to the workers.
    over : mapping of str to sequence
        Values of each key; the grid is their product, the last key fastest.
    out : Path
        Table to write, ``.parquet`` or ``.csv``; without a suffix a folder of Parquet files, one data set.
    given : mapping
        What else the points depend on; rows that were stored for other values are not taken.
    workers : Workers
        Who solves them.

    Returns
    -------
    tuple of int
        Points of the grid, and those without an answer.

    Raises
    ------
    ValueError
        If the table is of no known format.
    MissingInputError
        If the backend is not installed.
    """
    if out.suffix not in _FORMATS:
        raise ValueError(f"out must end in {', '.join(_FORMATS[:-1])} or nothing; got {str(out)!r}")
    sizes = [len(values) for values in over.values()]
    total = math.prod(sizes)
    each = _PARTITION if out.suffix == "" else total
    num_refused, written = 0, set()
    for number, start in enumerate(range(0, total, each)):
        file = out / f"points-{number:06}.parquet" if out.suffix == "" else out
        places = np.unravel_index(np.arange(start, min(start + each, total)), sizes)
        points = [
            {key: values[place] for (key, values), place in zip(over.items(), at, strict=True)}
            for at in zip(*(one.tolist() for one in places), strict=True)
        ]
        written.add(file)
        num_refused += _table(solve, workers, points, file, given, f"points {start} to {start + len(points)}")
    for left in {*out.glob("points-*.parquet")} - written:  # of a larger grid
        left.unlink()
    return total, num_refused


def _table(
    solve: Callable[[Sequence[Row]], list[Row]],
    workers: Workers,
    points: Sequence[Row],
    file: Path,
    given: Mapping[str, Any],
    text: str,
) -> int:
    """Write the table of some points, once all are there; the number of those without an answer."""
    stated = _digest(given, points)
    if (known := _written(file, stated)) is not None:
        return known
    file.parent.mkdir(parents=True, exist_ok=True)
    chunks = [points[start : start + _CHUNK] for start in range(0, len(points), _CHUNK)]
    store = file.with_name(f".{file.name}.points")
    with alone(store):
        parts = [store / f"{_digest(given, chunk)}.json" for chunk in chunks]
        todo = [place for place, part in enumerate(parts) if read_rows(part) is None]
        solved = workers.each(solve, [chunks[place] for place in todo])
        for number, rows in track(solved, len(todo), text):
            with whole(parts[todo[number]]) as path:
                path.write_text(json.dumps(rows), encoding="utf-8")
        rows = [row for part in parts for row in read_rows(part) or ()]
        columns = {key: [point[key] for point in points] for key in points[0]}
        columns |= {key: [row[key] for row in rows] for key in COLUMNS}
        num_refused = sum(row["refused"] is not None for row in rows)
        with whole(file) as path:
            _write(columns, path, file.suffix, {_STATED: stated, _REFUSED: str(num_refused)})
    shutil.rmtree(store)
    return num_refused


def _written(file: Path, stated: str) -> int | None:
    """Points without an answer of a part that was written for these points before; None where it was not."""
    import pyarrow.lib
    import pyarrow.parquet as pq

    try:
        told = pq.read_schema(file).metadata or {}
    except (OSError, pyarrow.lib.ArrowException):
        return None
    same = told.get(_STATED.encode()) == stated.encode()
    return int(told[_REFUSED.encode()]) if same else None


def _digest(given: Mapping[str, Any], chunk: Sequence[Row]) -> str:
    stated = json.dumps([dict(given), list(chunk), list(COLUMNS)], sort_keys=True, default=str)
    return hashlib.sha256(stated.encode()).hexdigest()[:20]


def _write(columns: Mapping[str, list[Any]], path: Path, suffix: str, told: Mapping[str, str]) -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    kinds = {str: pa.string(), float: pa.float64()}
    table = pa.table(
        {
            key: pa.array(values, kinds[COLUMNS[key]]) if key in COLUMNS else pa.array(values)
            for key, values in columns.items()
        }
    )
    if suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pq.write_table(table.replace_schema_metadata(told), path, compression="zstd")
