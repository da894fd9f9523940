"""`cuhlm derive`: print a derivation, or check them all."""

import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from cuhlm_theory.cli import output
from cuhlm_theory.errors import CuhlmError

if TYPE_CHECKING:
    from derivations.registry import Verdict

_FAILED = "cuhlm.derive.failed"


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
@output.reports(_render, formats=())
def command(name: str | None, style: str | None) -> output.Result:
    """Print the derivation NAME (a statement or a module), or check all of them.

    Every step is decided again by computer algebra. Exits 1 if one does not hold.
    """
    from derivations import registry

    chosen = registry.statements(name)
    whole = name is None or name in registry.MODULES
    wanted = {statement.name for statement in (chosen if whole else chosen[:1])}
    verdicts = []
    with click.progressbar(
        registry.check(chosen),
        length=len(registry.with_lemmas(chosen)),
        label="checking",
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
    ) as bar:
        verdicts.extend(bar)
    failed = [f"{verdict.statement.name}, {one.reason}" for verdict in verdicts for one in verdict.failures]
    click.get_current_context().meta[_FAILED] = failed
    order = list(registry.builders())
    rows = [_row(verdict) for verdict in sorted(verdicts, key=lambda one: order.index(one.statement.name))]
    result: output.Result = {
        "derivations": rows,
        "num_steps": sum(row["num_steps"] for row in rows),
        "seconds": sum(row["seconds"] for row in rows),
        "holds": not failed,
    }
    if name is not None or style is not None:
        shown = [verdict for verdict in verdicts if verdict.statement.name in wanted]
        result["document"] = _document(shown, style or "text", everything=name is None)
    return result


def _row(verdict: "Verdict") -> dict[str, Any]:
    from derivations import render

    statement = verdict.statement
    return {
        "name": statement.name,
        "title": statement.title,
        "statement": [render.claim_text(claim) for claim in statement.claims],
        "status": statement.status,
        "holds": verdict.holds,
        "section": statement.section,
        "source": statement.source,
        "functions": list(statement.functions),
        "departs": statement.departs or None,
        "num_steps": len(statement.steps),
        "seconds": verdict.seconds,
    }


def _document(shown: "list[Verdict]", style: str, *, everything: bool) -> str:
    """Print statements one after the other, or, of everything, make a short paper."""
    from derivations import render

    if style == "markdown":
        return render.document(shown) if everything else "\n".join(map(render.markdown, shown))
    if style == "latex":
        return render.latex_document(shown) if everything else "\n\n".join(map(render.latex, shown))
    return "\n\n".join(map(render.text, shown))
