"""The page of who wins at which bias, on every text that is shipped: what `cuhlm budgets` prints of each."""

import contextlib
import io
from pathlib import Path

from calibration.finding import built_in
from cuhlm_theory.cli import main

PAGE = Path(__file__).parent / "budgets.md"

_INTRODUCTION = """\
# Who wins at which bias

Every scheme at its best within a bias, on each text that is shipped, over the default link and with the
latencies that `cuhlm optimize` would take. This page is written by `python -m figures.budgets`.
"""


def section(name: str, *options: str) -> str:
    """Return the part of the page on one pair.

    Parameters
    ----------
    name : str
        A shipped calibration.
    *options : str
        More options of `cuhlm budgets`.

    Returns
    -------
    str
        Markdown.
    """
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        main(["budgets", "--calibration", name, "--format", "markdown", *options])
    return f"## {name}\n\n`cuhlm budgets --calibration {name}` prints\n\n{printed.getvalue()}"


def page() -> str:
    """Return the page: a part a pair.

    Returns
    -------
    str
        Markdown.
    """
    return "\n".join([_INTRODUCTION, *map(section, built_in())])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
