"""The front door: finds the subcommand, turns every failure into one line and an exit code."""

import importlib
import os
import sys
from collections.abc import Sequence

import click

from cuhlm_theory.errors import CuhlmError

_COMMANDS = {
    "channel": "rate and latency of one packet",
    "payload": "bits of a truncated distribution under each codec",
    "uncertainty": "mean uncertainty of a draft token from logits",
    "thresholds": "skip thresholds from a rejection line",
    "truncate": "smallest truncation size within a budget",
    "drafts": "best number of drafts a round",
    "optimize": "thresholds, truncation and operating point for one channel",
    "calibrate": "run a real model pair, record a trace, fit it",
    "decode": "hybrid decoding, live, over a simulated link",
    "compare": "theory against measurement",
    "derive": "print a derivation, or check them all",
    "figures": "regenerate the figures",
    "report": "one self-contained page for a scenario",
}

_EXTRAS = {"sympy": "derivations", "matplotlib": "figures"}  # every other optional package runs models


class _LazyGroup(click.Group):
    """Commands live in `cuhlm_theory.cli.<name>` as the object `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        return importlib.import_module(f"cuhlm_theory.cli.{cmd_name}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: cuhlm optimize --snr-db 10 --bandwidth-hz 1e6 --bias-budget 0.05",
)
@click.version_option(package_name="cuhlm", prog_name="cuhlm")
def cuhlm() -> None:
    """Compute when a small model on a device should call the big one, and what it should send."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `cuhlm`; exit 0 on success, 2 on bad input, 1 when a computation cannot be done."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # numpy is not imported yet; the threads of its BLAS would wait for each other longer than they work
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        cuhlm.main(args=given or ["--help"], prog_name="cuhlm", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except ValueError as error:
        _fail(str(error), 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(error.name or "", "calibration")
        _fail(f"this needs {error.name}; install it with: pip install 'cuhlm[{extra}]'", 1)
    except (CuhlmError, OSError) as error:
        _fail(str(error), 1)


def _fail(message: str, code: int) -> None:
    click.echo(f"cuhlm: {' '.join(message.split())}", err=True)
    sys.exit(code)
