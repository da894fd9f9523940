"""The table of the README: statement, function, derivation, tests, status; written from the objects."""

import re
import sys
from functools import cache
from pathlib import Path

from derivations.registry import statements
from derivations.statement import Statement

BEGIN, END = "<!-- statements:begin -->", "<!-- statements:end -->"


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


def _row(statement: Statement) -> str:
    files = dict.fromkeys(file for name in statement.tests for file in test_files()[name])
    functions = "<br>".join(f"`{name}`" for name in statement.functions) or "none"
    return " | ".join(
        (
            f"{statement.section} {statement.title}",
            functions,
            f"`{statement.name}`",
            ", ".join(f"[{file}](tests/{file})" for file in files),
            statement.status,
        )
    )


def table() -> str:
    """Return the table of all statements.

    Returns
    -------
    str
        Markdown between the two markers, markers included.
    """
    lines = [
        BEGIN,
        "| statement | function | derivation | tests | status |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [f"| {_row(statement)} |" for statement in statements()]
    return "\n".join([*lines, END])


def updated(readme: str) -> str:
    """Return a text with the table between its markers.

    Parameters
    ----------
    readme : str
        A text that has both markers once.

    Returns
    -------
    str
        The text with the table as it should be.

    Raises
    ------
    ValueError
        If a marker is missing.
    """
    if BEGIN not in readme or END not in readme:
        raise ValueError(f"the text must contain {BEGIN} and {END}")
    before, rest = readme.split(BEGIN, 1)
    return before + table() + rest.split(END, 1)[1]


def main(path: str = "README.md") -> None:
    """Write the table into a file.

    Parameters
    ----------
    path : str, default "README.md"
        The file.
    """
    file = Path(path)
    file.write_text(updated(file.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
