"""All figures: their names in order, how they are made, and the page of what they answer."""

import difflib
import functools
import importlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from cuhlm_theory._progress import track
from cuhlm_theory.errors import CuhlmError, MissingInputError
from cuhlm_theory.parameters import Budget, System
from figures import style
from figures.frame import Figure, Source, load

NAMES = (
    "rejection_line",
    "estimators",
    "concentration",
    "truncation_rules",
    "bound_tightness",
    "throughput",
    "fronts",
    "skip_rates",
    "whose_text",
    "policy_map",
    "phase_diagram",
    "channel",
    "headline",
    "bits_and_bias",
    "attenuation",
    "u_hlm",
    "run_length",
)
"""Every figure, a module of the same name each."""

_SLOW = ("phase_diagram", "throughput", "estimators")
"""Figures that take longest; they start first, each in its own process."""

PAGE = Path(__file__).parent / "README.md"
GALLERY = PAGE.parent / "gallery"

_DPI = 150.0  # of the small pictures


def figure(name: str) -> Figure:
    """Return a figure by its name.

    Parameters
    ----------
    name : str
        One of `NAMES`; dashes may stand for underscores.

    Returns
    -------
    Figure
        Its claim, and how it is computed and drawn.

    Raises
    ------
    ValueError
        If there is no such figure.

    Examples
    --------
    >>> figure("headline").status
    'new'
    """
    module = name.replace("-", "_")
    if module not in NAMES:
        near = difflib.get_close_matches(module, NAMES, n=1, cutoff=0.0)[0]
        raise ValueError(f"figure must be one of {', '.join(NAMES)}; got {name!r}, the nearest is {near!r}")
    return importlib.import_module(f"figures.{module}").FIGURE


def make(
    names: Sequence[str] = (),
    *,
    out: Path,
    calibration: str = "qwen2.5-coder",
    text: str = "auto",
    system: System | None = None,
    bias_budget: float = 0.05,
    look: str = "ieee",
    num_jobs: int | None = None,
) -> tuple[list[Path], dict[str, str]]:
    """Compute, draw and write figures, as many at a time as there are processes.

    Parameters
    ----------
    names : sequence of str
        Which figures; all when empty.
    out : Path
        Folder to write into.
    calibration : str, default "qwen2.5-coder"
        What to draw from, as `calibration.load` takes it.
    text : str, default "auto"
        Whose texts are kept, ``slm``, ``llm`` or ``hybrid``; ``auto`` keeps all.
    system : System, optional
        Link, codec and latencies; the assumed link and the calibration's own when not given.
    bias_budget : float, default 0.05
        Mean per-token total variation that may be spent [-].
    look : str, default "ieee"
        Kind of publication, one of `style.LOOKS`.
    num_jobs : int, optional
        Processes; as many as cores, at most 4, when not given.

    Returns
    -------
    files : list of Path
        What was written, .pdf, .png, .csv and .txt, the caption, of each figure.
    refused : dict of str to str
        Figures that this calibration has no data for, and what it lacks.

    Raises
    ------
    ValueError
        If there is no such figure or calibration.
    MissingInputError
        If a figure that was asked for by name, or every figure, lacks its data.
    """
    chosen = list(dict.fromkeys(figure(name).name for name in (names or NAMES)))
    jobs = min(num_jobs or min(os.cpu_count() or 1, 4), len(chosen))
    given = (calibration, text, system, Budget(bias=bias_budget).bias)
    _ = _source(*given).tokens  # what is bad for all fails here, once
    order = sorted(chosen, key=lambda name: (name not in _SLOW, chosen.index(name)))
    found = dict(track(_made(order, jobs, out, style.LOOKS[look], given), len(order), "Drawing"))
    results = [found[name] for name in chosen]
    refused = {name: reason for name, (_, reason) in zip(chosen, results, strict=True) if reason}
    files = [file for written, _ in results for file in written]
    if refused and (names or not files):
        name, reason = next(iter(refused.items()))
        raise MissingInputError(f"figure {name}: {reason}")
    return files, refused


_Given = tuple[str, str, System | None, float]
_Made = tuple[list[Path], str]


def _made(
    names: Sequence[str], num_jobs: int, out: Path, look: style.Look, given: _Given
) -> Iterator[tuple[str, _Made]]:
    """Make figures in so many processes; each as it is done."""
    if num_jobs == 1:
        yield from ((name, _make_one(name, out, look, given)) for name in names)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed

    with ProcessPoolExecutor(num_jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        asked = {pool.submit(_make_one, name, out, look, given): name for name in names}
        yield from ((asked[done], done.result()) for done in as_completed(asked))


def _make_one(name: str, out: Path, look: style.Look, given: _Given) -> _Made:
    """Make a figure; its files, or why there are none."""
    drawn = figure(name)
    try:
        tables = drawn.compute(_source(*given))
    except (CuhlmError, ValueError) as error:  # such as a line that falls: no threshold follows from it
        return [], str(error)
    return drawn.write(tables, out, look), ""


@functools.lru_cache(maxsize=1)
def _source(calibration: str, text: str, system: System | None, bias_budget: float) -> Source:
    """Read what all figures of a process are drawn from."""
    return load(calibration, text=text, system=system, bias_budget=bias_budget)


_INTRODUCTION = """\
# Figures

`cuhlm figures --out DIR` draws them all, as .pdf and .png, and writes the .csv that each one draws and its
caption, `--style ieee|nature|slides` for a column of either or half a slide, for any link and scenario;
`cuhlm figures NAME --out DIR --calibration DIR` draws one of your own pair. Beside each picture stands what
it was drawn from, `qwen2.5-coder` where nothing is named. The same data always gives the same files.

This page is written by `python -m figures.catalogue`; with `--draw` it draws the small pictures again, in a
few minutes. The picture of the idea is drawn by `python -m figures.idea --out DIR`. Numbers instead of
pictures: [budgets.md](budgets.md), which scheme wins at which bias on every text that is shipped.

- *reproduced*: from formulas as printed
- *reconstructed*: where a formula or its data could not be read
- *new*: not in the literature
"""


def page() -> str:
    """Return the page of all figures: picture, claim it answers, status, command.

    Returns
    -------
    str
        Markdown, a row a figure.
    """
    rows = ["| figure | claim it answers | status and command |", "| --- | --- | --- |"]
    for name in NAMES:
        one, file = figure(name), f"gallery/{name}.png"
        shown = one.title
        if (PAGE.parent / file).is_file():
            shown = f'<a href="{file}"><img src="{file}" width="220" alt="{one.title}"></a><br>{one.title}'
        pair = "" if one.pair == "qwen2.5-coder" else f" --calibration {one.pair}"
        command = f"*{one.status}*<br>`cuhlm figures {name}{pair} --out DIR`"
        rows.append(f"| {shown} | {one.answers} | {command} |")
    return "\n".join([_INTRODUCTION, *rows]) + "\n"


def draw(names: Sequence[str] = NAMES, *, out: Path = GALLERY) -> None:
    """Draw the small pictures of the page from the shipped pairs into ``out``."""
    sources = {pair: load(pair) for pair in {figure(name).pair for name in names}}
    for name in names:
        one = figure(name)
        tables = one.compute(sources[one.pair])
        with style.applied(name):
            one.canvas(tables).savefig(out / f"{name}.png", dpi=_DPI, metadata={"Software": None})


if __name__ == "__main__":
    import click

    @click.command("catalogue", help="Write the page of all figures.")
    @click.option("--draw", "draws", is_flag=True, help="Draw its pictures again, too.")
    def script(draws: bool) -> None:
        """Write the page, and the pictures when asked to."""
        if draws:
            draw()
        PAGE.write_text(page(), encoding="utf-8")

    script()
