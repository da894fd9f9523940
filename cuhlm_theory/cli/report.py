"""`cuhlm report`: one self-contained page for a scenario."""

from pathlib import Path
from typing import Any

import click

from cuhlm_theory.cli import options, output
from cuhlm_theory.cli._setting import build_setting, setting_options


def _render(result: output.Result) -> None:
    click.echo(result["file"])


@click.command("report", epilog="\b\nExample: cuhlm report scenario.toml --out report.html")
@options.scenario
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="HTML file to write; it needs no other file.",
)
@setting_options
@output.reports(_render)
def command(*, out: Path, **setting_values: Any) -> output.Result:
    """One page for a scenario: recommendation, schemes, figures, provenance, assumptions."""
    if not out.parent.is_dir():
        raise ValueError(f"out must lie in an existing folder; got {str(out)!r}")
    setting, _ = build_setting(**setting_values)
    from dataclasses import replace

    from figures import frame, report

    source = frame.load(setting_values["calibration"], system=setting.system, bias_budget=setting.budget.bias)
    if setting_values["uncertainty"] is not None:
        source = replace(source, calibration=source.calibration.without_tokens())
    report.write(setting.answer(), out, source)
    return {"file": str(out)}
