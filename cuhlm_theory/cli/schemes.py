"""`cuhlm schemes`: a glossary."""

import inspect

import click

from cuhlm_theory.cli import output
from cuhlm_theory.schemes import SCHEMES

_COLUMNS = {
    "name": "scheme",
    "title": "what it does",
    "draft": "drafts",
    "skip": "skips",
    "payload": "sends",
    "verification": "checked by",
    "reference": "source",
    "status": "status",
}


def _render(result: output.Result) -> None:
    output.table(
        "Schemes", list(_COLUMNS.values()), [[row[key] for key in _COLUMNS] for row in result["schemes"]]
    )


@click.command("schemes", epilog="\b\nExample: cuhlm schemes --format markdown")
@output.reports(_render)
def command() -> output.Result:
    """Glossary of the schemes: what each drafts, skips and sends, and where it is published."""
    return {"schemes": [{key: _said(getattr(row, key)) for key in _COLUMNS} for row in SCHEMES.values()]}


def _said(entry: object) -> str:
    """Return a text as it is, and what a rule says of itself."""
    return entry if isinstance(entry, str) else (inspect.getdoc(entry) or "").partition("\n")[0].rstrip(".")
