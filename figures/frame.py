"""What every figure has in common: what it is drawn from, the tables it computes, and the files it writes."""

import csv
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

import calibration as calibrations
from calibration import Calibration, perturbations
from cuhlm_theory._files import whole
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.ladder import Ladder
from cuhlm_theory.parameters import Budget, Link, System
from cuhlm_theory.recommendation import Question
from figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

    from calibration.trace import Trace

Status = Literal["reproduced", "reconstructed", "new"]
Table = dict[str, NDArray[Any]]
Tables = dict[str, Table]

_ROUNDING = (
    1e-12  # below it stands what the order of a sum left behind, which depends on the machine's threads
)

SUFFIXES = (".pdf", ".png", ".csv", ".txt")
"""What `Figure.write` makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a figure is drawn from: a calibration, its recorded tokens and the system they are put into."""

    calibration: Calibration
    """The fitted line with its recorded tokens, or a published one."""
    system: System
    """Link, codec and latencies."""
    bias_budget: float = 0.05
    """Mean per-token total variation that may be spent [-]."""
    decoded: Path | None = None
    """Folder of decoding really run on this pair (`cuhlm runs`), where there is one."""

    @property
    def tokens(self) -> Tokens | None:
        """The recorded tokens; None for a published line."""
        return self.calibration.tokens

    @property
    def columns(self) -> Mapping[str, NDArray[Any]]:
        """The trace as recorded, with what `cuhlm perturb` put beside it; empty without a trace."""
        recorded = self.calibration.trace
        if recorded is None:
            return {}
        file = self.calibration.texts.get(self.calibration.own_text)
        perturbed = {} if file is None else perturbations.read(file, recorded.sha256)
        return {**recorded.columns, **{f"{name}_uncertainty": u for name, u in perturbed.items()}}

    @property
    def verified(self) -> "Trace | None":
        """Trace of the large model's text of this pair, where there is one beside the small model's."""
        return None if self.calibration.writer == "llm" else self.calibration.text("llm")

    @property
    def link(self) -> Link:
        """The link of the system, for a figure that varies its bandwidth or SNR."""
        if isinstance(self.system.link, Link):
            return self.system.link
        raise MissingInputError(
            "a link given by --rate-bit-per-s has no bandwidth and no SNR to vary; give --bandwidth-hz and "
            "--snr-db instead"
        )

    def question(self, *names: str, system: System | None = None) -> Question:
        """Return the question that the command `optimize` would answer, or say which columns it lacks."""
        return Question(
            line=self.calibration.line,
            tokens=self.need(*names),
            texts=self.calibration.contexts,
            trials=self.calibration.promises,
            system=system or self.system,
            budget=Budget(bias=self.bias_budget),
        )

    def need(self, *names: str) -> Tokens:
        """Return the tokens, or say which columns this figure lacks."""
        if self.tokens is None:
            raise MissingInputError(
                f"calibration {self.calibration.name} has no recorded tokens; give a folder made by "
                "`cuhlm calibrate`, or --calibration smollm2"
            )
        lacking = [name for name in names if getattr(self.tokens, name) is None]
        if lacking:
            raise MissingInputError(
                f"the recorded tokens of calibration {self.calibration.name} have no {', '.join(lacking)}; "
                "record the trace again with `cuhlm calibrate`"
            )
        return self.tokens

    def column(self, *names: str) -> list[NDArray[Any]]:
        """Return columns of the trace, or say which one it lacks."""
        self.need()
        columns = self.columns
        lacking = [name for name in names if name not in columns]
        if lacking:
            raise MissingInputError(
                f"the trace of calibration {self.calibration.name} has no column {', '.join(lacking)}; "
                "record it again with `cuhlm calibrate`"
            )
        return [np.asarray(columns[name]) for name in names]


def load(
    calibration: str | Path = "qwen2.5-coder",
    *,
    text: str = "auto",
    system: System | None = None,
    bias_budget: float = 0.05,
) -> Source:
    """Read a calibration and everything recorded beside it.

    Parameters
    ----------
    calibration : str or Path, default "qwen2.5-coder"
        Name or path as `calibration.load` takes it.
    text : str, default "auto"
        Whose texts are kept, ``slm``, ``llm`` or ``hybrid``; ``auto`` keeps all.
    system : System, optional
        Link, codec and latencies; the assumed link and the calibration's own when not given.
    bias_budget : float, default 0.05
        Mean per-token total variation that may be spent [-].

    Returns
    -------
    Source
        What figures are drawn from.

    Raises
    ------
    ValueError
        If there is no such calibration.

    Examples
    --------
    >>> load("cu-hlm").system.codec.vocab_size
    32000
    """
    found = calibrations.load(calibration, text=text)
    decoded = None if found.folder is None else found.folder / "decoded"
    return Source(
        calibration=found,
        system=system or Ladder({}, {"calibration": found}).system(),
        bias_budget=bias_budget,
        decoded=decoded if decoded is not None and decoded.is_dir() else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure: what it claims, how its tables are computed and how they are drawn."""

    name: str
    """Module in `figures`, and name on the command line."""
    title: str
    """What it shows, in a few words."""
    answers: str
    """The published figure or claim it answers."""
    status: Status
    """`reproduced` from printed formulas, `reconstructed` where a formula could not be read, or `new`."""
    caption: str
    """What to see in it, with the assumptions."""
    compute: Callable[[Source], Tables]
    """Make the tables; arrays only."""
    draw: Callable[[Mapping[str, "Axes"], Tables], None]
    """Draw the tables on one axes a panel; reads nothing but the tables."""
    panels: tuple[str, ...]
    """Tables that have a panel of their own, row by row; one that is missing gets no panel."""
    num_columns: int = 1
    """Panels beside each other."""
    panel_height_in: float = 2.1
    """Height of a panel [in]."""
    paper: str = ""
    """Published system whose figures it draws again, as ``--paper`` names it."""
    pair: str = "qwen2.5-coder"
    """Shipped calibration that the small picture of the gallery is drawn from."""

    def canvas(self, tables: Tables, look: style.Look = style.LOOKS["ieee"]) -> "Canvas":
        """Return the drawn figure; call inside `style.applied` of the same look."""
        from matplotlib.figure import Figure as Canvas

        shown = [panel for panel in self.panels if panel in tables]
        num_rows = -(-len(shown) // self.num_columns)
        height_in = look.height * self.panel_height_in * num_rows
        canvas = Canvas(figsize=(look.width_in, height_in), layout="constrained")
        axes = canvas.subplots(num_rows, self.num_columns, squeeze=False)
        self.draw(dict(zip(shown, axes.ravel(), strict=True)), tables)
        canvas.draw_without_rendering()
        canvas.set_layout_engine("none")  # laid out once, for every format
        return canvas

    def write(self, tables: Tables, out: Path, look: style.Look = style.LOOKS["ieee"]) -> list[Path]:
        """Write .pdf, .png, .csv and the caption; the same tables always give the same files.

        Parameters
        ----------
        tables : Tables
            What `compute` made.
        out : Path
            Folder to write into; made if it is not there.
        look : Look, optional
            Kind of publication, one of `style.LOOKS`.

        Returns
        -------
        list of Path
            The files, in the order of `SUFFIXES`.
        """
        out.mkdir(parents=True, exist_ok=True)
        files = [out / f"{self.name}{suffix}" for suffix in SUFFIXES]
        with style.applied(self.name, look):
            canvas = self.canvas(tables, look)
            style.save(canvas, files[:2], self.title)
        write_csv(tables, files[2])
        with whole(files[3]) as part:
            part.write_text(f"{self.title} ({self.status}). {self.caption}\n", encoding="utf-8")
        return files

    def main(self, arguments: list[str] | None = None) -> None:
        """Run as a script: ``python -m figures.NAME --out DIR [--calibration DIR]``."""
        import click

        @click.command(self.name, help=f"{self.title}.")
        @click.option(
            "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("build/figures")
        )
        @click.option("--calibration", default="qwen2.5-coder", show_default=True)
        def script(out: Path, calibration: str) -> None:
            for file in self.write(self.compute(load(calibration)), out):
                click.echo(file)

        script(arguments)


def write_csv(tables: Tables, path: Path) -> None:
    """Write tables below each other in one file: the name of the table, then the union of the columns.

    Numbers have nine significant digits, rounding errors are 0;
    a column that a table does not have is empty there.
    """
    names = list(dict.fromkeys(name for table in tables.values() for name in table))
    with whole(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["table", *names])
        for title, table in tables.items():
            columns = [np.atleast_1d(table[name]) if name in table else None for name in names]
            length = len(next(column for column in columns if column is not None))
            for row in range(length):
                writer.writerow([title, *("" if c is None else _cell(c[row]) for c in columns)])


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    number = float(value)
    if math.isnan(number):
        return ""
    return format(number if abs(number) >= _ROUNDING else 0.0, ".9g")


def read_csv(path: Path) -> Tables:
    """Read what `write_csv` wrote; a column is numbers where every entry is one, else text."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    names = rows[0][1:]
    grouped: dict[str, list[list[str]]] = {}
    for row in rows[1:]:
        grouped.setdefault(row[0], []).append(row[1:])
    tables: Tables = {}
    for title, body in grouped.items():
        tables[title] = {}
        for place, name in enumerate(names):
            entries = [row[place] for row in body]
            if any(entries):
                tables[title][name] = _parsed(entries)
    return tables


def _parsed(entries: list[str]) -> NDArray[Any]:
    try:
        return np.array([math.nan if entry == "" else float(entry) for entry in entries])
    except ValueError:
        return np.array(entries)
