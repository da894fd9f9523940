"""What the rooms above bring, found through entry points: this package imports none of them."""

import ast
import importlib.util
from collections.abc import Callable
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from cuhlm_theory.errors import CuhlmError, MissingInputError

COMMANDS, CALIBRATIONS, HOOKS = "cuhlm.commands", "cuhlm.calibrations", "cuhlm.hooks"
"""Groups of entry points: subcommands of ``cuhlm``; ``load``, which finds a calibration by name or path; what
else a room above does for this one, such as ``report``, which writes the page of a recommendation."""

_ROOMS = ("calibration", "derivations", "figures")


def commands() -> dict[str, EntryPoint]:
    """Return the subcommands that are installed, by name.

    Returns
    -------
    dict of str to EntryPoint
        Not imported yet.
    """
    return _brought(COMMANDS)


def loaded(entry: EntryPoint) -> Any:
    """Import what an entry point names, unless a module of another's stands where a room of ours should.

    Parameters
    ----------
    entry : EntryPoint
        A command, or what else a room brings.

    Returns
    -------
    object
        What it names.

    Raises
    ------
    CuhlmError
        If a file such as ``calibration.py`` in the working folder hides the room.

    Examples
    --------
    >>> loaded(EntryPoint(name="", value="cuhlm_theory.rooms:loaded", group="")).__name__
    'loaded'
    """
    for ours in Path(__file__).parents[1].glob("*/__init__.py"):
        room = ours.parent.name
        found = importlib.util.find_spec(room) if room in _ROOMS else None
        if found and found.origin and Path(found.origin).resolve() != ours.resolve():
            raise CuhlmError(
                f"{found.origin} is found instead of cuhlm's own {room}; rename it, or work elsewhere"
            )
    return entry.load()


def first_line(entry: EntryPoint) -> str:
    """Return the first line of the docstring of a command, without importing it.

    Parameters
    ----------
    entry : EntryPoint
        A command.

    Returns
    -------
    str
        Its sentence; nothing where its source cannot be read.

    Examples
    --------
    >>> first_line(EntryPoint(name="", value="cuhlm_theory.rooms:load", group=""))
    'Find a calibration by name or path.'
    """
    room, *inside = entry.module.split(".")
    found = importlib.util.find_spec(room)
    if found is None or not found.submodule_search_locations:
        return ""
    file = Path(found.submodule_search_locations[0], *inside).with_suffix(".py")
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == entry.attr:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


def load(name_or_path: str | Path, *, text: str = "auto") -> Any:
    """Find a calibration by name or path.

    Parameters
    ----------
    name_or_path : str or Path
        A name such as ``smollm2``, a folder written by ``cuhlm calibrate``, or a file in it.
    text : str, default "auto"
        Whose texts are kept, ``slm``, ``llm`` or ``hybrid``; ``auto`` keeps all, and each scheme is evaluated
        on the one that it writes.

    Returns
    -------
    object
        What the room that reads calibrations makes of it.

    Raises
    ------
    MissingInputError
        If no room that reads calibrations is installed.

    Examples
    --------
    >>> load("u-hlm").line.intercept
    -0.06
    """
    found = _brought(CALIBRATIONS).get("load")
    if found is None:
        raise MissingInputError(
            f"nothing that is installed reads the calibration {str(name_or_path)!r}; install it with: "
            "pip install 'cuhlm[calibration]'"
        )
    return loaded(found)(name_or_path, text=text)


def hook(name: str) -> Callable[..., Any]:
    """Find what a room above does for this one.

    Parameters
    ----------
    name : str
        What is to be done, such as ``report``.

    Returns
    -------
    callable
        What does it.

    Raises
    ------
    MissingInputError
        If no room that does it is installed.

    Examples
    --------
    >>> hook("report").__module__
    'figures.report'
    """
    found = _brought(HOOKS).get(name)
    if found is None:
        raise MissingInputError(
            f"nothing that is installed brings {name!r}; install it with: pip install 'cuhlm[figures]'"
        )
    return loaded(found)


def _brought(group: str) -> dict[str, EntryPoint]:
    """Entry points of a group by name: the rooms are installed as one, so no other package is looked into."""
    try:
        return {entry.name: entry for entry in distribution("cuhlm").entry_points.select(group=group)}
    except PackageNotFoundError:
        return {}
