"""Print a derivation, or check them all."""

import functools
import sys
from collections.abc import Callable
from typing import Any

import click

from cuhlm_theory.cli import output
from cuhlm_theory.errors import CuhlmError

_FAILED = "cuhlm.derive.failed"


def _load() -> Any:
    from derivations import registry, render

    return registry, render


def _render(result: output.Result) -> None:
    if "document" in result:
        click.echo(result["document"])
        return
    output.table(
        "Statements",
        ("name", "what it says", "status", "steps", "seconds", "holds"),
        (
            (row["name"], row["title"], row["status"], row["num_steps"], row["seconds"], row["holds"])
            for row in result["derivations"]
        ),
        note=f"{result['num_steps']} steps checked in {result['seconds']:.1f} s; "
        "`cuhlm derive NAME` prints one with its steps",
    )


def _exit_on_failure(function: Callable[..., None]) -> Callable[..., None]:
    """After everything is printed, a statement that does not hold is exit code 1."""

    @functools.wraps(function)
    def command(**options: Any) -> None:
        function(**options)
        if failed := click.get_current_context().meta.get(_FAILED):
            raise CuhlmError(f"not proved: {'; '.join(failed)}")

    return command


@click.command(
    "derive",
    epilog="\b\nExample: cuhlm derive capacity.arq_spectral_efficiency\n         cuhlm derive --format "
    "markdown > theory.md",
)
@click.argument("name", required=False)
@click.option(
    "--format",
    "style",
    type=click.Choice(["text", "latex", "markdown"]),
    default=None,
    help="How to print; all as Markdown or LaTeX make a short paper.  [default: text]",
)
@_exit_on_failure
@output.reports(_render)
def command(name: str | None, style: str | None) -> output.Result:
    """Print the derivation NAME (a statement or a module), or check all of them.

    Every step is decided again by computer algebra. Exits 1 if one does not hold.
    """
    registry, render = _load()
    chosen = registry.statements(name)
    if name is None or name in registry.MODULES:
        wanted = {statement.name for statement in chosen}
    else:
        wanted = {chosen[0].name}
    verdicts = []
    total = len(registry.with_lemmas(chosen))
    with click.progressbar(
        registry.check(chosen),
        length=total,
        label="checking",
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
    ) as bar:
        verdicts.extend(bar)
    failed = [f"{verdict.statement.name}, {one.reason}" for verdict in verdicts for one in verdict.failures]
    click.get_current_context().meta[_FAILED] = failed
    rows = [
        {
            "name": verdict.statement.name,
            "title": verdict.statement.title,
            "statement": [render.claim_text(claim) for claim in verdict.statement.claims],
            "status": verdict.statement.status,
            "holds": verdict.holds,
            "section": verdict.statement.section,
            "source": verdict.statement.source,
            "functions": list(verdict.statement.functions),
            "departs": verdict.statement.departs or None,
            "num_steps": len(verdict.statement.steps),
            "seconds": verdict.seconds,
        }
        for verdict in sorted(
            verdicts, key=lambda verdict: list(registry.builders()).index(verdict.statement.name)
        )
    ]
    result: output.Result = {
        "derivations": rows,
        "num_steps": sum(row["num_steps"] for row in rows),
        "seconds": sum(row["seconds"] for row in rows),
        "holds": not failed,
    }
    shown = [verdict for verdict in verdicts if verdict.statement.name in wanted]
    if style == "markdown":
        result["document"] = (
            render.document(shown) if name is None else "\n".join(map(render.markdown, shown))
        )
    elif style == "latex":
        result["document"] = (
            render.latex_document(shown) if name is None else "\n\n".join(map(render.latex, shown))
        )
    elif name is not None or style == "text":
        result["document"] = "\n\n".join(map(render.text, shown))
    return result
