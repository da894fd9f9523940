"""The front door: finds the subcommand, turns every failure into one line and an exit code."""

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import click

from cuhlm_theory import rooms
from cuhlm_theory._fields import renamed
from cuhlm_theory.cli import terminal
from cuhlm_theory.errors import CuhlmError

_EXTRAS = {  # every other optional package runs models
    "sympy": "derivations",
    "derivations": "derivations",
    "matplotlib": "figures",
    "jinja2": "figures",
    "mistletoe": "figures",
    "figures": "figures",
    "nicegui": "explore",
    "grpc": "serve",
    "google": "serve",
}


_LONGEST = 300  # characters of a refusal


class _Rooms(click.Group):
    """Commands of every room that is installed, imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(rooms.commands())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = rooms.commands().get(cmd_name)
        return entry and rooms.loaded(entry)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, rooms.first_line(entry)) for name, entry in rooms.commands().items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ValueError, CuhlmError) as error:
            command = self.get_command(ctx, ctx.invoked_subcommand or "")
            if command is None:
                raise
            typed = {str(one.name): max(one.opts, key=len) for one in command.params if one.opts[0][0] == "-"}
            raise renamed(error, typed) from error
        except EOFError as error:  # click would take it for an interrupt
            raise ValueError(f"a file ends too early: {error}") from None


@click.group(
    cls=_Rooms,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: cuhlm optimize --snr-db 10 --bandwidth-hz 1e6 --bias-budget 0.05",
)
@click.version_option(package_name="cuhlm", prog_name="cuhlm")
def cuhlm() -> None:
    """Compute when a small model on a device should call the big one, and what it should send."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `cuhlm`; exit 0 on success, 2 on bad input, 1 when a computation cannot be done."""
    terminal.prepare()
    given = list(sys.argv[1:] if arguments is None else arguments)
    # numpy is not imported yet; the threads of its BLAS would wait for each other longer than they work
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    refuse_overflow()
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
        extra = _EXTRAS.get((error.name or "").partition(".")[0], "calibration")
        _fail(f"this needs {error.name}; install it with: pip install 'cuhlm[{extra}]'", 1)
    except (CuhlmError, OSError) as error:
        _fail(str(error), 1)
    except RuntimeWarning as error:
        _fail(f"a number is too large or too small to compute with: {error}", 1)
    except MemoryError as error:
        _fail(f"there is not enough memory; {error}", 1)
    except Exception as error:  # a fault of ours, or a file that no reader foresaw: a line all the same
        if os.environ.get("CUHLM_TRACEBACK"):
            raise
        _fail(f"{type(error).__name__}: {error} (CUHLM_TRACEBACK=1 shows where)", 1)


def refuse_overflow() -> None:
    """Stop where the theory would go on with a number that is none; a recording may go on."""
    theory = r"(cuhlm_theory|numpy|scipy)\b"
    warnings.filterwarnings("error", ".* encountered in ", RuntimeWarning, module=theory)


def _fail(message: str, code: int) -> None:
    line = f"cuhlm: {' '.join(terminal.printable(message).split())}"
    if len(line) > _LONGEST:
        half = (_LONGEST - 5) // 2
        line = f"{line[:half]} ... {line[-half:]}"
    click.echo(line, err=True)
    sys.exit(code)
