"""Commands of this room: the figures, and the page that holds them."""

import json
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click

from cuhlm_theory import load
from cuhlm_theory.cli import options, output
from cuhlm_theory.cli._setting import build_setting, setting_options
from cuhlm_theory.parameters import Budget
from figures.style import LOOKS


def _render_files(result: output.Result) -> None:
    for file in result["files"]:
        click.echo(file)
    for name, reason in result["refused"].items():
        click.echo(f"not drawn: {name}: {reason}", err=True)


def _list(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    """Print the names and titles, and stop."""
    if not wanted:
        return
    from figures import catalogue

    for name in catalogue.NAMES:
        click.echo(f"{name:18} {catalogue.figure(name).title}")
    context.exit()


@click.command(
    "figures", epilog="\b\nExample: cuhlm figures headline throughput --out build/figures --calibration DIR"
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write into."
)
@options.calibration
@options.system
@options.of(Budget, only=["bias_budget"])
@options.scenario_file
@click.option("--paper", type=click.Choice(["u-hlm"]), default=None, help="Only the figures of this paper.")
@click.option(
    "--style",
    "look",
    type=click.Choice(list(LOOKS)),
    default="ieee",
    show_default=True,
    help="Width and size of text.",
)
@click.option("--jobs", type=click.IntRange(min=1), default=None, help="Processes [default: one a core].")
@click.option(
    "--list", "listed", is_flag=True, expose_value=False, is_eager=True, callback=_list, help="Names."
)
@output.reports(_render_files)
def figures(
    *,
    names: tuple[str, ...],
    paper: str | None,
    out: Path,
    calibration: str,
    text: str,
    look: str,
    jobs: int | None,
    **values: Any,
) -> output.Result:
    """Draw the figures as .pdf and .png, and write the .csv that each one draws and its caption."""
    from figures import catalogue

    if names and paper is not None:
        raise ValueError(f"--paper and NAME exclude each other; got {paper!r} and {names[0]!r}")
    if paper is not None:
        names = tuple(name for name in catalogue.NAMES if catalogue.figure(name).paper == paper)
    ladder = options.ladder(values, {"calibration": load(calibration, text=text)})
    files, refused = catalogue.make(
        names,
        out=out,
        calibration=calibration,
        text=text,
        system=ladder.system(),
        bias_budget=ladder.build(Budget).bias,
        look=look,
        num_jobs=jobs,
    )
    return {"files": [str(file) for file in files], "refused": refused}


@click.command("report", epilog="\b\nExample: cuhlm report scenario.toml --out report.html")
@options.scenario
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="HTML file to write; it needs no other file.",
)
@setting_options
@output.reports(lambda result: click.echo(result["file"]))
@options.saves_scenario
def report(*, out: Path, **values: Any) -> output.Result:
    """Write one page for a scenario: recommendation, schemes, figures, provenance, assumptions."""
    if not out.parent.is_dir():
        raise ValueError(f"out must lie in an existing folder; got {str(out)!r}")
    question, _ = build_setting(values)
    from figures import frame, report

    source = frame.load(
        values["calibration"],
        text=values["text"],
        system=question.system,
        bias_budget=question.budget.bias,
    )
    if values["uncertainty"] is not None:
        source = replace(source, calibration=source.calibration.without_tokens())
    report.write(question.answer(), out, source)
    return {"file": str(out)}


@click.command(
    "explore", epilog="\b\nExample: cuhlm explore --snr-db 10 --bandwidth-hz 180k --bias-budget 0.05"
)
@options.scenario
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen at; any but this machine's own must be said on the command line.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0 takes any."
)
@click.option("--browser/--no-browser", default=True, show_default=True, help="Open the page in a browser.")
@setting_options
@click.option("--json", "as_json", is_flag=True, help="Tell where the page is as one JSON object.")
def explore(*, host: str, port: int, browser: bool, as_json: bool, **values: Any) -> None:
    """Show sliders and what they would change in a browser, until it is interrupted."""
    from figures.explore import page, setting

    context = click.get_current_context()
    said = context.get_parameter_source("host")
    if not _is_own(host) and said is not click.core.ParameterSource.COMMANDLINE:
        raise ValueError(f"host must be this machine's own unless --host says another; got {host!r}")
    start, found = setting.of_command(context), load(values["calibration"], text=values["text"])
    start.build(found)
    port = page.free_port(host, port)
    told = {"url": f"http://{f'[{host}]' if ':' in host else host}:{port}/"}
    click.echo(json.dumps(told) if as_json else f"{told['url']} (Ctrl-C ends it)")
    page.serve(start, found, host=host, port=port, show=browser)


def _is_own(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@click.command("paper", epilog="\b\nExample: cuhlm paper --out build/paper --calibration DIR")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write into."
)
@options.calibration
@options.system
@options.of(Budget, only=["bias_budget"])
@output.reports(lambda result: click.echo("\n".join(result["files"])))
def paper(*, out: Path, calibration: str, text: str, **values: Any) -> output.Result:
    """Write the paper on the kept law, every number computed; a PDF too where LaTeX is installed."""
    from calibration.finding import built_in
    from figures import frame, paper

    sources = []
    for name in dict.fromkeys((calibration, *built_in())):
        ladder = options.ladder(values, {"calibration": load(name, text=text)})
        found = {"system": ladder.system(), "bias_budget": ladder.build(Budget).bias}
        sources.append((frame.load(name, text=text, **found), ladder.assumed))
    (source, assumed), *others = sources
    files = paper.write(out, source, [other for other, _ in others], assumed=assumed)
    return {"files": [str(file) for file in files]}
