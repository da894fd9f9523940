"""The page of all statements: function, derivation, tests, status; written from the objects."""

import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from derivations.registry import statements
from derivations.statement import STATUS_MEANING, Statement

PAGE = Path(__file__).parent / "README.md"
TESTS = Path(__file__).parent.parent / "tests"


@cache
def test_files() -> dict[str, tuple[str, ...]]:
    """Return the files that hold each test.

    Returns
    -------
    dict
        Name of a test to the files that define it, relative to the tests' folder.
    """
    found: dict[str, tuple[str, ...]] = {}
    for file in sorted(TESTS.rglob("test_*.py")):
        for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE):
            found[name] = (*found.get(name, ()), file.relative_to(TESTS).as_posix())
    return found


_INTRODUCTION = """\
# Statements

Every formula of the toolkit is a statement with its assumptions and the steps that lead to it.
`cuhlm derive` decides each step again by computer algebra, `cuhlm derive verification.risk_is_bias`
prints one statement, and `cuhlm derive --as markdown` prints all of them as a short paper. The
tests join each statement to the function that computes it and to an independent route. This page is
written by `python -m derivations.table`.
"""


def _row(statement: Statement) -> str:
    files = dict.fromkeys(file for name in statement.tests for file in test_files()[name])
    functions = "<br>".join(f"`{name}`" for name in statement.functions) or "none"
    return " | ".join(
        (
            statement.title,
            functions,
            f"`{statement.name}`",
            ", ".join(f"[{file}](../tests/{file})" for file in files),
            statement.status,
        )
    )


def _sections(chosen: tuple[Statement, ...]) -> Iterator[str]:
    """Yield the table of each part of the theory under its title."""
    for section in dict.fromkeys(statement.section for statement in chosen):
        rows = [f"| {_row(statement)} |" for statement in chosen if statement.section == section]
        head = [
            f"## {section}",
            "",
            "| statement | function | derivation | tests | status |",
            "| --- | --- | --- | --- | --- |",
        ]
        yield "\n".join([*head, *rows]) + "\n"


def page() -> str:
    """Return the page of all statements.

    Returns
    -------
    str
        Markdown: a table a part of the theory, and what departs from the literature.
    """
    statuses = "\n".join(f"- *{name}*: {meaning}" for name, meaning in STATUS_MEANING.items())
    chosen = statements()
    departures = "\n".join(
        f"- **{statement.title}** (`{statement.name}`). {statement.departs}"
        for statement in chosen
        if statement.departs
    )
    return "\n".join(
        (
            _INTRODUCTION,
            f"{statuses}\n",
            *_sections(chosen),
            f"## Where this departs from what was printed\n\n{departures}\n",
        )
    )


def main(path: str | None = None) -> None:
    """Write the page into a file.

    Parameters
    ----------
    path : str, optional
        The file; by default the one beside the derivations.
    """
    (Path(path) if path else PAGE).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
