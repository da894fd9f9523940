"""Recommendations over a grid of settings, point by point, on any number of workers.

A point depends on nothing but its own values, so the table is the same whatever worked on it, in whatever
order, and however often it was interrupted. Rows are stored as they come.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuhlm_theory._files import alone, read_json, whole
from cuhlm_theory._progress import track
from cuhlm_theory.errors import CuhlmError, MissingInputError

if TYPE_CHECKING:
    from cuhlm_theory.recommendation import Question

__all__ = ["BACKENDS", "COLUMNS", "row_of", "sweep"]

BACKENDS = ("loky", "dask", "ray")
"""What can work on a grid: processes of this machine, or a cluster of dask or ray."""
_CHUNK = 16  # points that are stored together
_FORMATS = (".parquet", ".csv")

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
        best = found.schemes[found.scheme]
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
    jobs: int = 1,
    backend: str = "loky",
    address: str | None = None,
) -> tuple[int, int]:
    """Solve every point of a grid and write the table, once all are there.

    Parameters
    ----------
    solve : callable
        Rows of some points, given the values of each; it is sent to the workers.
    over : mapping of str to sequence
        Values of each key; the grid is their product, the last key fastest.
    out : Path
        Table to write, ``.parquet`` or ``.csv``.
    given : mapping
        What else the points depend on; rows that were stored for other values are not taken.
    jobs : int, default 1
        Workers on this machine [-].
    backend : str, default "loky"
        One of `BACKENDS`.
    address : str, optional
        Of a dask or ray cluster that is there; by default one is started on this machine.

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
        raise ValueError(f"out must end in {' or '.join(_FORMATS)}; got {str(out)!r}")
    points = [dict(zip(over, values, strict=True)) for values in itertools.product(*over.values())]
    chunks = [points[start : start + _CHUNK] for start in range(0, len(points), _CHUNK)]
    store = out.with_name(f".{out.name}.points")
    with alone(store):
        parts = [store / f"{_digest(given, chunk)}.json" for chunk in chunks]
        todo = [place for place, part in enumerate(parts) if _stored(part) is None]
        work = _worked_off(solve, [(place, chunks[place]) for place in todo], jobs, backend, address)
        for place, rows in track(work, len(todo), "points"):
            with whole(parts[place]) as path:
                path.write_text(json.dumps(rows), encoding="utf-8")
        rows = [row for part in parts for row in _stored(part) or ()]
        columns = {key: [point[key] for point in points] for key in over}
        columns |= {key: [row[key] for row in rows] for key in COLUMNS}
        with whole(out) as path:
            _write(columns, path, out.suffix)
    shutil.rmtree(store)
    return len(points), sum(row["refused"] is not None for row in rows)


def _digest(given: Mapping[str, Any], chunk: Sequence[Row]) -> str:
    stated = json.dumps([dict(given), list(chunk), list(COLUMNS)], sort_keys=True, default=str)
    return hashlib.sha256(stated.encode()).hexdigest()[:20]


def _stored(part: Path) -> list[Row] | None:
    """Rows of a chunk; None where they are not there, or damaged."""
    try:
        rows = read_json(part.read_bytes(), str(part))
    except (OSError, ValueError):
        return None
    return rows if isinstance(rows, list) else None


def _worked_off(
    solve: Callable[[Sequence[Row]], list[Row]],
    todo: Sequence[tuple[int, Sequence[Row]]],
    jobs: int,
    backend: str,
    address: str | None,
) -> Iterator[tuple[int, list[Row]]]:
    """Give the rows of each chunk as they come."""
    if jobs == 1 and backend == "loky":
        yield from ((place, solve(chunk)) for place, chunk in todo)
        return
    from joblib import Parallel, delayed

    with _workers(backend, address, jobs):
        as_they_come = "list" if backend == "ray" else "generator_unordered"  # joblib's ray gives all at once
        parallel: Any = Parallel(n_jobs=-1 if address else jobs, return_as=as_they_come)
        yield from parallel(delayed(_placed)(solve, place, chunk) for place, chunk in todo)


def _placed(
    solve: Callable[[Sequence[Row]], list[Row]], place: int, chunk: Sequence[Row]
) -> tuple[int, list[Row]]:
    return place, solve(chunk)


@contextlib.contextmanager
def _workers(backend: str, address: str | None, jobs: int) -> Iterator[None]:
    """Connect to a cluster, or start one here, for as long as it is needed."""
    from joblib import parallel_config

    with contextlib.ExitStack() as stack:
        try:
            if backend == "dask":
                here = {} if address else {"n_workers": jobs, "threads_per_worker": 1}
                stack.enter_context(import_module("distributed").Client(address, **here))
            elif backend == "ray":
                import_module("ray.util.joblib").register_ray()
                ray = import_module("ray")
                ray.init(address, **({} if address else {"num_cpus": jobs}), log_to_driver=False)
                stack.callback(ray.shutdown)
        except ModuleNotFoundError as error:
            raise MissingInputError(
                f"backend {backend} needs {error.name}: pip install {error.name}"
            ) from None
        stack.enter_context(parallel_config(backend=backend))
        yield


def _write(columns: Mapping[str, list[Any]], path: Path, suffix: str) -> None:
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
        pq.write_table(table, path, compression="zstd")
