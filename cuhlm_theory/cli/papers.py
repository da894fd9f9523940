"""`cuhlm papers`: printed figures beside ours."""

from collections import Counter

import click

from cuhlm_theory.cli import output

_COLUMNS = ("paper", "quantity", "printed", "ours", "verdict")


def _render(result: output.Result) -> None:
    kinds = Counter(row["verdict"].partition(" (")[0].partition(";")[0] for row in result["rows"])
    output.table(
        "Printed figures",
        list(_COLUMNS),
        [[row[key] for key in _COLUMNS] for row in result["rows"]],
        note=", ".join(f"{number} {kind}" for kind, number in kinds.items()) + ".",
    )


@click.command("papers", epilog="\b\nExample: cuhlm papers --format markdown")
@output.reports(_render)
def command() -> output.Result:
    """Print figures of the papers beside ours: reproduced, not (by how much), or out of reach."""
    from cuhlm_theory.papers import printed_figures

    return {"rows": printed_figures()}
