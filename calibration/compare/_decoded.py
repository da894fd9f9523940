"""Theory beside decoding that was really run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.compare import _ledgers
from calibration.compare._rows import (
    ROUNDING,
    Ratios,
    Row,
    add_skips,
    largest_variance,
)
from calibration.decoding import records, scheme_of
from calibration.decoding.records import DECODED_FORMAT
from calibration.trace import Trace
from cuhlm_theory._files import read_json
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.parameters import System
from cuhlm_theory.rejection import Line
from cuhlm_theory.schemes import SCHEMES, Ledger, Scheme


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedTable:
    """Tokens that hybrid decoding committed, from the runs of `calibration.runs`."""

    header: dict[str, Any]
    """Pair, seed and system; ``runs`` is a list of {name, scheme, numbers, ...}."""
    columns: dict[str, NDArray[Any]]
    """One entry a committed token; ``run`` and ``prompt`` say whose."""

    @property
    def timed(self) -> bool:
        """Whether the wall clock of the passes was charged."""
        return bool(self.header.get("measured_compute"))

    def part(self, run: int) -> dict[str, NDArray[Any]]:
        """Return the columns of a run by text and round; a timed one goes without first rounds."""
        chosen = self.columns["run"] == run
        if self.timed:
            chosen &= self.columns["round"] > 0
        rows = np.flatnonzero(chosen)
        rows = rows[np.lexsort((self.columns["round"][rows], self.columns["prompt"][rows]))]
        return {name: values[rows] for name, values in self.columns.items()}

    def ledger(self, run: int, system: System, line: Line | None = None) -> Ledger:
        """Return the rounds of a run, measured in the columns of `Scheme.ledger`."""
        return records.ledger(self.part(run), scheme_of(self.header["runs"][run], line), system)


_DECODED = (
    "run",
    "prompt",
    "draft",
    "action",
    "draft_prob",
    "rejection",
    "uncertainty",
    "tv",
    "skip_mass",
    "risk",
    "truncation_tv",
    "k",
    "uplink_bit",
    "llm_calls",
    "round",
    "drafted",
    "downlink_bit",
    "slm_s",
    "uplink_s",
    "llm_s",
    "other_s",
)


def read_decoded(path: str | Path) -> DecodedTable:
    """Read ``decoded.parquet``.

    Parameters
    ----------
    path : str or Path
        File written by ``cuhlm runs``.

    Returns
    -------
    DecodedTable
        Header and columns.

    Raises
    ------
    ValueError
        If the file is missing, damaged, without a header or without a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = Path(path)
    if not file.is_file():
        raise ValueError(f"decoded must be an existing file; got {str(file)!r}")
    try:
        with pq.ParquetFile(file) as opened:  # read_table would import pandas where it is installed
            table = opened.read()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"decoded {file} is not a whole parquet file: {error}") from None
    try:
        header = read_json((table.schema.metadata or {})[b"cuhlm"], "its header")
        runs = header["runs"]
        if header.get("format", DECODED_FORMAT) != DECODED_FORMAT:  # none was told at first
            raise ValueError(f"its format is {header['format']!r}")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"decoded {file} must have a cuhlm header with its runs; {error}") from None
    if missing := [name for name in _DECODED if name not in table.column_names]:
        raise ValueError(f"decoded {file} must have the column {missing[0]!r}; it is missing")
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count or not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            raise ValueError(f"decoded {file} must have numbers and no nulls in {name!r}; got {column.type}")
    columns = {name: np.from_dlpack(table.column(name).combine_chunks()) for name in table.column_names}
    if columns["run"].size and not 0 <= columns["run"].min() <= columns["run"].max() < len(runs):
        raise ValueError(f"decoded {file} has tokens of a run that its header does not list")
    return DecodedTable(header=header, columns=columns)


def compare_decoded(
    decoded: DecodedTable,
    system: System,
    *,
    line: Line | None = None,
    where: str = "",
    seed: int = 0,
    num_resamples: int = 2000,
) -> list[Row]:
    """Compare theory with decoding that was really run, run by run, given the contexts that it met.

    Theory claims skip rate, risk, bias, resampling and, where the size of a message does not depend on what
    was not recorded, bits and throughput. What it says before a run is for `predict`.

    ``system`` is what the runs simulated; ``line`` is that of printed rules whose run tells none; ``where``
    goes before the names of the runs.
    """
    rows: list[Row] = []
    for number, told in enumerate(decoded.header["runs"]):
        part = decoded.part(number)
        if told.get("scheme") not in SCHEMES or not len(part["round"]):
            continue
        scheme = scheme_of(told, line)
        run = _Run(
            name=where + str(told.get("name", scheme.name)) + (", timed" if decoded.timed else ""),
            scheme=scheme,
            part=part,
            measured=records.ledger(part, scheme, system),
            timed=decoded.timed,
        )
        table = Ratios(part["prompt"], run.name)
        if scheme.draft.present and np.isfinite(part["tv"]).all():
            (_add_several if scheme.draft.several else _add_single)(table, run)
        rows += table.rows(seed=seed, num_resamples=num_resamples)
    return rows


def beginnings(recorded: Trace, length: int) -> Tokens:
    """Tokens among the first ``length`` of their answer, because acceptance rises along an answer."""
    early = recorded.columns["position"] < length
    return Trace(recorded.header, {name: values[early] for name, values in recorded.columns.items()}).tokens()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A run and what it came to."""

    name: str
    scheme: Scheme
    part: Mapping[str, NDArray[Any]]
    measured: Ledger
    timed: bool

    def column(self, name: str) -> NDArray[np.float64]:
        """Return a column, 0 where nothing was measured."""
        return np.nan_to_num(np.asarray(self.part[name], dtype=np.float64))

    def did(self, *actions: int) -> NDArray[np.float64]:
        """Whether each token has one of the actions."""
        return np.isin(self.part["action"], actions).astype(np.float64)


_MET = "given the contexts that decoding met"


def _add_single(table: Ratios, run: _Run) -> None:
    """Predict single drafts from the contexts that decoding met."""
    name = run.name
    mass, risk, skipped = run.column("skip_mass"), run.column("risk"), run.did(records.SKIPPED)
    if 0.0 < mass.mean() < 1.0:
        loss = run.column("rejection") * skipped
        add_skips(table, f"{name}: {{}}", (mass, risk), skipped, loss, f", {_MET}")
    _add_bias(table, run, risk)
    if run.scheme.verification.asks and not np.any(run.measured.tokens > 1.0):
        try:
            predicted = run.scheme.ledger(_met(run, mass, risk, skipped), run.measured.system)
        except MissingInputError:  # the size of a message that was not sent is not recorded
            return
        _ledgers.add_pairs(table, name, predicted, run.measured, basis=_MET, measures_time=run.timed)


def _add_bias(table: Ratios, run: _Run, risk: NDArray[np.float64]) -> None:
    """Compare the exact bias of every context with its risk, or with the bound that truncation adds."""
    name, rule, payload = f"{run.name}: output bias", run.scheme.verification, run.scheme.payload
    tv, lost = run.column("tv"), risk + run.column("truncation_tv")
    if not rule.asks:
        table.add(name, risk, tv, basis="all drafts are kept: TV(x, y)")
    elif rule.looks_at_draft and not payload.truncates:
        table.add(name, risk, tv, basis="bias is the rejection risk (verification.risk_is_bias)")
        asked = run.column("rejection") * (1.0 - run.did(records.SKIPPED))
        table.add(
            f"{run.name}: resampled drafts",
            asked,
            run.did(records.RESAMPLED),
            basis="a transmitted draft is rejected with beta_d [SD]",
            variance=largest_variance(asked),
        )
    elif rule.looks_at_draft:
        basis = "at most risk + TV_k (verification.bias_bound)"
        if payload.depends_on_draft:
            basis += ", taken where k depends on the draft, which the bound does not cover"
        table.add(name, lost, tv, bound=True, basis=basis)
        table.add(
            f"{run.name}: share of tokens with a bias above risk + TV_k",
            0.0,
            tv > lost + ROUNDING,
            bound=True,
            basis=basis,
        )


def _met(
    run: _Run, mass: NDArray[np.float64], risk: NDArray[np.float64], skipped: NDArray[np.float64]
) -> Tokens:
    """Contexts that decoding met as recorded tokens, their skip profile at the rule's own thresholds."""
    numbers = run.scheme.numbers
    used = {numbers.get(name) for name in ("threshold", "upper_threshold")}
    grid = np.array(sorted(value for value in used if value is not None and value >= 0.0))
    profiles = {}
    if len(grid):
        profiles = {
            "threshold_grid": grid,
            "skip_mass": np.tile(mass[:, None], len(grid)),
            "skip_risk": np.tile(risk[:, None], len(grid)),
        }
    return Tokens(
        uncertainty=run.column("uncertainty"),
        rejection=np.clip(run.column("rejection"), 0.0, 1.0),
        prompt=np.asarray(run.part["prompt"], dtype=np.int64),
        **profiles,
    )


def _add_several(table: Ratios, run: _Run) -> None:
    """Predict several drafts from the contexts that decoding met."""
    table.add(f"{run.name}: output bias", 0.0, run.column("tv"), basis="prefix verification is exact [SD]")
    examined = (run.part["draft"] >= 0) * run.did(records.ACCEPTED, records.RESAMPLED)
    rejection = run.column("rejection") * examined
    table.add(
        f"{run.name}: rejected share of examined drafts",
        rejection,
        run.did(records.RESAMPLED) * examined,
        over=examined,
        basis="a draft that the server reaches is rejected with beta_d [SD]",
        variance=largest_variance(rejection),
    )
