"""All figures: their names in order, how they are made, and the README's table of what they answer."""

import difflib
import importlib
import os
from collections.abc import Sequence
from pathlib import Path

from cuhlm_theory.errors import CuhlmError, MissingInputError
from cuhlm_theory.parameters import Budget, System
from figures.frame import Figure, load

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
    "channel",
    "headline",
    "bits_and_bias",
    "attenuation",
)
"""Every figure, a module of the same name each."""

_SLOW = ("throughput", "estimators")
"""Figures that take longest; they start first, each in its own process."""

BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"


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
    calibration: str = "smollm2",
    system: System | None = None,
    bias_budget: float = 0.05,
    num_jobs: int | None = None,
) -> tuple[list[Path], dict[str, str]]:
    """Compute, draw and write figures, two at a time.

    Parameters
    ----------
    names : sequence of str
        Which figures; all when empty.
    out : Path
        Folder to write into.
    calibration : str, default "smollm2"
        What to draw from, as `calibration.load` takes it.
    system : System, optional
        Link, codec and latencies; the assumed link and the calibration's own when not given.
    bias_budget : float, default 0.05
        Mean per-token total variation that may be spent [-].
    num_jobs : int, optional
        Processes; as many as cores, at most 4, when not given.

    Returns
    -------
    files : list of Path
        What was written, .pdf, .png and .csv of each figure.
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
    bias_budget = Budget(bias=bias_budget).bias
    _ = load(
        calibration, system=system, bias_budget=bias_budget
    ).tokens  # what is bad for all fails here, once
    order = sorted(chosen, key=lambda name: (name not in _SLOW, chosen.index(name)))
    shares = [(order[job::jobs], out, calibration, system, bias_budget) for job in range(jobs)]
    if jobs == 1:
        made = [_make_some(*shares[0])]
    else:
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            made = [future.result() for future in [pool.submit(_make_some, *share) for share in shares]]
    found = {name: result for part in made for name, result in part.items()}
    results = [found[name] for name in chosen]
    refused = {name: text for name, (_, text) in zip(chosen, results, strict=True) if text}
    files = [file for written, _ in results for file in written]
    if refused and (names or not files):
        name, text = next(iter(refused.items()))
        raise MissingInputError(f"figure {name}: {text}")
    return files, refused


def _make_some(
    names: Sequence[str], out: Path, calibration: str, system: System | None, bias_budget: float
) -> dict[str, tuple[list[Path], str]]:
    """Make the figures of one process; for each its files, or why there are none."""
    source = load(calibration, system=system, bias_budget=bias_budget)
    results: dict[str, tuple[list[Path], str]] = {}
    for name in names:
        drawn = figure(name)
        try:
            tables = drawn.compute(source)
        except (CuhlmError, ValueError) as error:  # such as a line that falls: no threshold follows from it
            results[name] = [], str(error)
        else:
            results[name] = drawn.write(tables, out), ""
    return results


def table() -> str:
    """Return the README's table: figure, claim it answers, status, command.

    Returns
    -------
    str
        Markdown, a row a figure.
    """
    rows = ["| figure | claim it answers | status | command |", "| --- | --- | --- | --- |"]
    for name in NAMES:
        one = figure(name)
        rows.append(f"| {one.title} | {one.answers} | {one.status} | `cuhlm figures {name} --out DIR` |")
    return "\n".join(rows)


def updated(text: str) -> str:
    """Return a README's text with the table between its markers replaced by the present one.

    Parameters
    ----------
    text : str
        Text that holds `BEGIN` and `END`.

    Returns
    -------
    str
        The text, up to date.

    Raises
    ------
    ValueError
        If a marker is missing.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README must hold the markers {BEGIN} and {END}")
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


if __name__ == "__main__":
    readme = Path(__file__).parent.parent / "README.md"
    readme.write_text(updated(readme.read_text(encoding="utf-8")), encoding="utf-8")
