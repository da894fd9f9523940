"""`cuhlm budgets`: who wins at which bias."""

from typing import Any

import click

from cuhlm_theory import comparison, load
from cuhlm_theory.cli import options, output
from cuhlm_theory.errors import MissingInputError

COLUMNS = {
    "scheme": "scheme",
    "throughput_token_per_s": "token/s",
    "throughput_ci95": "95 %",
    "behind_best": "behind",
    "behind_best_ci95": "95 %",
    "bits": "bit/token",
    "bits_ci95": "95 %",
    "skip_rate": "skipped",
    "bias": "bias",
}
"""What is shown of a row of `comparison.at_budgets`, and how it is called."""

_NOTE = (
    "Every scheme at the numbers that are best for it within the bias; behind: token/s less than the first, "
    "paired over texts."
)
_HELD_OUT = "Tuned on half of the texts, judged on the others: there a bias may differ from its budget."


class _Numbers(options.Number):
    """Numbers with commas between them."""

    form = ", or several with commas between them"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        return tuple(super(_Numbers, self).convert(part, param, ctx) for part in str(value).split(","))


def _render(result: output.Result) -> None:
    for first in result["fastest"]:
        at = (first["text"], first["budget"])
        rows = [row for row in result["rows"] if (row["text"], row["budget"]) == at]
        cells = [[row[key] for key in COLUMNS] for row in rows]
        output.table(f"Text {first['text']}: {first['sentence']}", list(COLUMNS.values()), cells)
    output.say(f"{_NOTE} {_HELD_OUT}" if result["inputs"]["held_out"] else _NOTE)


@click.command("budgets", epilog="\b\nExample: cuhlm budgets --calibration DIR --bias-budget 0,0.05")
@options.scenario
@options.calibration
@click.option(
    "--bias-budget",
    "budgets",
    type=_Numbers(),
    default=comparison.BUDGETS,
    help=f"Biases to compare at [default: {','.join(f'{budget:g}' for budget in comparison.BUDGETS)}].",
)
@click.option("--held-out", is_flag=True, help="Tune on half of the texts and judge on the other half.")
@options.system
@output.reports(_render)
def command(
    *, calibration: str, text: str, budgets: tuple[float, ...], held_out: bool, **values: Any
) -> output.Result:
    """Compare the schemes at several biases on each text: who is the fastest, by how much, with what bits."""
    found = load(calibration, text=text)
    if not found.texts:
        raise MissingInputError(f"calibration {calibration} has no recorded tokens; give --calibration DIR")
    ladder = options.ladder(values, {"calibration": found})
    system, rows, fastest = ladder.system(), [], []
    for name in found.texts:
        tokens = found.text(name).tokens()
        tuned_on, judged = comparison.halves(tokens) if held_out else (None, tokens)
        table = comparison.at_budgets(judged, system, budgets=budgets, tuned_on=tuned_on)
        fastest += [{"text": name, **first} for first in comparison.fastest_at(table)]
        for row in table:  # but for a curve that was fitted here
            rows.append({"text": name, **row, "numbers": {**row["numbers"], "line": None}})
    inputs = {"calibration": found.name, "held_out": held_out, **ladder.told, "assumed": ladder.assumed}
    return {"inputs": inputs, "fastest": fastest, "rows": rows}
