"""A trace: one row a recorded token, in a parquet file whose header says how it was made.

Whoever has the file can redo everything after the recording without a model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cuhlm_theory._checks import as_count, as_floats, as_nonnegative, as_positive, as_probability
from cuhlm_theory._files import read_json, whole

if TYPE_CHECKING:
    from cuhlm_theory.contexts import Tokens

__all__ = ["COLUMNS", "NUM_CANDIDATES", "OF_LAWS", "OPTIONAL", "Trace", "TraceHeader", "read", "write"]

_KEY = b"cuhlm"
_FORMAT = 1
_ROUNDING = 1e-4  # of a chance, summed in float32

NUM_CANDIDATES = 16
"""Tokens a context of the candidate columns.

At most 1 / (1 - t) tokens have an uncertainty of at most t, because 1 - u-bar sums to 1 over the vocabulary:
16 candidates hold every one of them for t below 1 - 1/17.
"""

COLUMNS: Mapping[str, str] = {
    "prompt": "index of the prompt in the header's prompt_names",
    "position": "place of the token in its answer, from 0",
    "draft": "d, the token that the small model sampled",
    "draft_prob": "x_d",
    "llm_prob": "y_d",
    "rejection": "beta_d = (1 - y_d / x_d)_+",
    "tv": "TV(x, y)",
    "uncertainty": "u-bar of d, by quadrature",
    "sampled_uncertainty": "u of d from 20 perturbed draws",
    "sampled_uncertainty_1": "the same from the first of 100 draws",
    "sampled_uncertainty_5": "from the first 5",
    "sampled_uncertainty_100": "from all 100",
    "entropy": "of x [nat]",
    "max_prob": "x_(1)",
    "margin": "x_(1) - x_(2)",
    "tv_profile": "TV(x, x-hat_k) over k_grid",
    "tail_mass": "mass of x outside its k largest entries, over k_grid",
    "sorted_prob": "x_(k), over k_grid",
    "truncated_acceptance": "1 - TV(x-tilde_k, y), x-tilde_k the renormalised k largest, over coarse_k_grid",
    "output_bias": "TV(output, y) when nothing is skipped and x-hat_k verifies, over coarse_k_grid",
    "skip_mass": "sum_d x_d 1[u-bar_d <= t], over threshold_grid",
    "skip_risk": "sum_d x_d 1[u-bar_d <= t] beta_d, over threshold_grid",
    "server_bias": "TV(output, y) when the server draws from y whenever u-bar_d > t, over threshold_grid",
    "kept": "chance that verification keeps d: 1 - beta_d, or, in text of the large model, whether it did",
    "k_exact": "smallest k with TV_k <= budget, over budgets",
    "k_printed": "smallest k of the printed online rule, with the header's printed_line, over budgets",
    "slm_latency_s": "measured time of one token of the small model, alone [s]",
    "llm_latency_s": "measured time of one token of the large model, alone [s]",
    "token": "the text's next token: d where the small model writes, what took its place elsewhere",
    "candidate_uncertainty": "u-bar of the 16 tokens that have the least, rising; 1 beyond the vocabulary",
    "candidate_prob": "x of these tokens; 0 beyond the vocabulary",
    "candidate_llm_prob": "y of these tokens; 0 beyond the vocabulary",
}
"""Columns and what they hold; float32 but for the integers; lists have the length of their grid."""

OPTIONAL = frozenset({"token", "candidate_uncertainty", "candidate_prob", "candidate_llm_prob"})
"""Columns that a trace may lack: none had them at first."""

OF_LAWS = frozenset(
    {"tv", "truncated_acceptance", "output_bias", "skip_risk", "server_bias"} | (OPTIONAL - {"token"})
)
"""Columns that take the large model's whole law, and are missing where only the drafts were scored."""

_INTEGERS = frozenset({"prompt", "position", "draft", "k_exact", "k_printed", "token"})
_GRIDS = {
    "tv_profile": "k_grid",
    "tail_mass": "k_grid",
    "sorted_prob": "k_grid",
    "truncated_acceptance": "coarse_k_grid",
    "output_bias": "coarse_k_grid",
    "skip_mass": "threshold_grid",
    "skip_risk": "threshold_grid",
    "server_bias": "threshold_grid",
    "k_exact": "budgets",
    "k_printed": "budgets",
}
_CANDIDATES = OPTIONAL - {"token"}


def _width(name: str, header: TraceHeader) -> int | None:
    """Entries a row of a column of lists; None for a column of numbers."""
    if name in _CANDIDATES:
        return NUM_CANDIDATES
    return len(getattr(header, _GRIDS[name])) if name in _GRIDS else None


def number_type(name: str) -> type[np.generic]:
    """Type of a column, int32 or float32."""
    return np.int32 if name in _INTEGERS else np.float32


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceHeader:
    """How a trace was made."""

    slm: str
    """Small model."""
    llm: str
    """Large model."""
    slm_sha256: str
    """SHA-256 of its weight files (``revision:...`` for a hub model)."""
    llm_sha256: str
    vocab_size: int
    """V."""
    temperature: float
    """T of both models [-]."""
    max_temperature: float
    """theta_max of the uncertainty [-]."""
    seed: int
    dtype: str
    """Number format of the weights while recording."""
    device: str
    max_new_tokens: int
    """Longest answer [token]."""
    writer: Literal["slm", "llm", "hybrid"] = "slm"
    """Who wrote the text, one model or both by the kept-law rule; its contexts are those recorded."""
    threshold: float | None = None
    """u_th that hybrid text was written at [-]; None for other text."""
    prompt_names: tuple[str, ...]
    k_grid: tuple[int, ...]
    """Truncation sizes, the last is V."""
    coarse_k_grid: tuple[int, ...]
    threshold_grid: tuple[float, ...]
    budgets: tuple[float, ...]
    """Truncation budgets of k_exact and k_printed [-]."""
    printed_line: tuple[float, float]
    """Slope and intercept that k_printed took beta(u) from."""
    versions: dict[str, str]
    """Library versions."""
    date: str
    """UTC, ISO 8601."""
    command: str
    """Command line that made the trace."""
    llm_laws: bool = True
    """Whether the large model told its whole laws, or the probabilities of the drafts alone."""

    def __post_init__(self) -> None:
        as_count("vocab_size", self.vocab_size, at_least=2)
        as_count("seed", self.seed, at_least=0)
        as_count("max_new_tokens", self.max_new_tokens)
        as_nonnegative("temperature", self.temperature)
        as_positive("max_temperature", self.max_temperature)
        as_probability("budgets", self.budgets)
        as_floats("printed_line", self.printed_line)
        if self.writer not in ("slm", "llm", "hybrid"):
            raise ValueError(f"writer must be slm, llm or hybrid; got {self.writer!r}")
        if not (self.prompt_names and all(isinstance(name, str) for name in self.prompt_names)):
            raise ValueError(f"prompt_names must be texts; got {self.prompt_names!r}")
        for name, last in (
            ("k_grid", self.vocab_size),
            ("coarse_k_grid", self.vocab_size),
            ("threshold_grid", 1),
        ):
            grid = as_nonnegative(name, getattr(self, name))
            if grid.ndim != 1 or not grid.size or np.any(np.diff(grid) <= 0.0) or grid[-1] != last:
                raise ValueError(f"{name} must rise and end at {last}; got {getattr(self, name)!r}")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that could be recorded."""
        return tuple(name for name in COLUMNS if self.llm_laws or name not in OF_LAWS)

    @property
    def text(self) -> str:
        """Name of the text and of its folder: ``slm``, ``llm`` or ``hybrid-<threshold>``."""
        return self.writer if self.threshold is None else f"{self.writer}-{self.threshold:g}"


@dataclass(frozen=True, slots=True)
class Trace:
    """Header and columns."""

    header: TraceHeader
    columns: Mapping[str, NDArray[Any]]
    sha256: str = field(default="", compare=False)
    """Of the file; nothing where it was not read from one."""

    def __len__(self) -> int:
        return len(self.columns["prompt"])

    def floats(self, name: str) -> NDArray[np.float64]:
        """Return a column of floats in double precision."""
        return self.columns[name].astype(np.float64)

    def tokens(self) -> Tokens:
        """Return the tokens as the theory takes them.

        Returns
        -------
        Tokens
            Float64 arrays, of which most are read when they are asked for, with the header's grids.
        """
        from cuhlm_theory.contexts import Tokens

        given = {field.name for field in dataclasses.fields(Tokens)} - {"uncertainty", "rejection", "prompt"}
        return Tokens.reading(
            {name: partial(self.floats, name) for name in self.columns if name in given},
            uncertainty=self.floats("uncertainty"),
            rejection=self.floats("rejection"),
            prompt=self.columns["prompt"].astype(np.int64),
            text=self.header.text,
            k_grid=np.array(self.header.k_grid, dtype=np.int64),
            coarse_k_grid=np.array(self.header.coarse_k_grid, dtype=np.int64),
            threshold_grid=np.array(self.header.threshold_grid, dtype=np.float64),
        )


def write(path: str | Path, header: TraceHeader, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write a trace; the file is there whole or not at all.

    Parameters
    ----------
    path : str or Path
        Parquet file to write.
    header : TraceHeader
        How the tokens were recorded.
    columns : mapping of str to ndarray
        Every name of the header's ``columns``, shape [N] or [N, grid]; those of `OPTIONAL` may be absent.

    Raises
    ------
    ValueError
        If a column is missing, unknown, or has the wrong shape.
    OSError
        If the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    wanted = set(header.columns)
    if wrong := sorted((wanted - OPTIONAL - columns.keys()) | (columns.keys() - wanted)):
        raise ValueError(f"columns must be those of a trace; {wrong[0]!r} is missing or unknown")
    num_tokens = len(columns["prompt"])
    arrays = {}
    for name in COLUMNS:
        if name not in columns:
            continue
        column = np.ascontiguousarray(columns[name], dtype=number_type(name))
        width = _width(name, header)
        shape = (num_tokens,) if width is None else (num_tokens, width)
        if column.shape != shape:
            raise ValueError(f"column {name!r} must have shape {shape}; got {column.shape}")
        flat = pa.array(column.reshape(-1))
        arrays[name] = flat if width is None else pa.FixedSizeListArray.from_arrays(flat, width)
    text = json.dumps({"format": _FORMAT, **dataclasses.asdict(header)})
    table = pa.table(arrays).replace_schema_metadata({_KEY: text.encode()})
    # exponents that lie together make the file a tenth smaller
    encodings: Any = {"use_dictionary": ["prompt"], "use_byte_stream_split": _float_leaves(columns)}
    with whole(path) as part:
        pq.write_table(table, part, compression="zstd", compression_level=19, **encodings)


def _float_leaves(names: Iterable[str]) -> list[str]:
    """Parquet paths of the float columns among these."""
    lists = {*_GRIDS, *_CANDIDATES}
    return [f"{name}.list.element" if name in lists else name for name in names if name not in _INTEGERS]


class _Unread(Mapping[str, "NDArray[Any]"]):
    """Columns of a file, each read and checked when it is first asked for."""

    def __init__(self, path: Path, file: Any, header: TraceHeader) -> None:
        self._path, self._file, self._header = path, file, header
        present = {*file.schema_arrow.names, "kept"}
        self._names = tuple(name for name in COLUMNS if name in present)
        self._known: dict[str, NDArray[Any]] = {}
        self._one_at_a_time = RLock()
        if missing := [name for name in header.columns if name not in present | OPTIONAL]:
            raise ValueError(f"trace {str(path)!r} must have the column {missing[0]!r}; it is missing")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:  # a mapping would read the column to say so
        return name in self._names

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._names:
            raise KeyError(name)
        with self._one_at_a_time:
            if name not in self._known:
                self._known[name] = self._read(name)
        return self._known[name]

    def _read(self, name: str) -> NDArray[Any]:
        import pyarrow as pa

        if name not in self._file.schema_arrow.names:  # kept, where only the small model could write
            return 1 - self["rejection"]
        try:
            column = self._file.read(columns=[name]).column(name).combine_chunks()
        except (pa.ArrowException, OSError) as error:
            raise _not_whole(self._path, error) from None
        try:
            return _column(name, column, self._header)
        except ValueError as error:
            raise ValueError(f"trace {str(self._path)!r}: column {name!r} {error}") from None


def _not_whole(path: Path, error: Exception) -> ValueError:
    reason = (str(error).strip().splitlines() or ["unreadable"])[0]
    return ValueError(f"trace {str(path)!r} must be a whole parquet file; {reason}")


def read(path: str | Path, *, sha256: str | None = None) -> Trace:
    """Read a trace.

    Parameters
    ----------
    path : str or Path
        Parquet file that `write` wrote.
    sha256 : str, optional
        Hash of the file where it was read before: columns of such a file are read when they are asked for.

    Returns
    -------
    Trace
        Header and columns, as they were recorded; columns of `OPTIONAL` that the file lacks stay absent.

    Raises
    ------
    ValueError
        If the file is missing, truncated, or not a trace; one line that names it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if not path.is_file():
        raise ValueError(f"trace must be a file that exists; got {str(path)!r}")
    content = path.read_bytes()
    try:  # read_table would import pandas where it is installed
        file = pq.ParquetFile(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise _not_whole(path, error) from None
    header = _header(path, (file.schema_arrow.metadata or {}).get(_KEY))
    columns = _Unread(path, file, header)
    digest = hashlib.sha256(content).hexdigest()
    return Trace(header, columns if digest == sha256 else dict(columns), digest)


def _column(name: str, column: Any, header: TraceHeader) -> NDArray[Any]:
    """Numbers of a column; ValueError where they cannot be what the header says."""
    import pyarrow as pa

    width = _width(name, header)
    flat = column
    if width is not None:
        if getattr(column.type, "list_size", None) != width:
            raise ValueError(f"must have {width} entries a row; got {column.type}")
        flat = column.values  # flatten() would import pyarrow.compute, a quarter of a second
    if column.null_count or flat.null_count:
        raise ValueError("must have no nulls")
    if not (pa.types.is_integer(flat.type) if name in _INTEGERS else pa.types.is_floating(flat.type)):
        raise ValueError(f"must hold {np.dtype(number_type(name))}; got {flat.type}")
    values = np.from_dlpack(flat)
    low, high = _bounds(name, header)
    if not np.all((values >= low) & (values <= high)):
        raise ValueError(f"must lie in [{low:g}, {high:g}]")
    return values if width is None else values.reshape(len(column), width)


def _bounds(name: str, header: TraceHeader) -> tuple[float, float]:
    """Least and largest number that a column may hold; chances get room for rounding."""
    if name in ("draft", "token"):
        return 0, header.vocab_size - 1
    if name == "prompt":
        return 0, len(header.prompt_names) - 1
    if name in ("k_exact", "k_printed"):
        return 1, header.vocab_size
    if name in ("position", "entropy") or name.endswith("_s"):
        return 0, float(np.finfo(np.float32).max)
    return -_ROUNDING, 1.0 + _ROUNDING


def _header(path: Path, text: bytes | None) -> TraceHeader:
    if text is None:
        raise ValueError(f"trace {str(path)!r} must have a cuhlm header; it is another parquet file")
    try:
        entries = read_json(text, "it")
        if entries.pop("format") != _FORMAT:
            raise KeyError("format")
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entries.items()}
        return TraceHeader(**fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"trace {str(path)!r} has a header of another version; {error}") from None
