"""Options that several commands share, the scenario file that may carry them, and what they build."""

import difflib
import functools
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from cuhlm_theory import presets
from cuhlm_theory.capacity import snr_from_db
from cuhlm_theory.law import Recorded
from cuhlm_theory.parameters import Link

_MAX_POINTS = 100_000  # of a sweep on the command line

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Decibels(click.ParamType):
    """One value in dB, or with ``sweep`` also ``A:B:STEP``, ends included."""

    name = "dB"

    def __init__(self, *, sweep: bool = False) -> None:
        self.sweep = sweep

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a float, or an array for a sweep."""
        try:
            parts = [float(part) for part in str(value).split(":")]
        except ValueError:
            parts = []
        if len(parts) == 1 and parts[0] < np.inf:
            return parts[0]
        if (
            self.sweep
            and len(parts) == 3
            and np.all(np.isfinite(parts))
            and parts[2] > 0
            and parts[1] >= parts[0]
            and (parts[1] - parts[0]) / parts[2] < _MAX_POINTS
        ):
            start, stop, step = parts
            return start + step * np.arange(np.floor((stop - start) / step + 1e-9) + 1)
        form = (
            "a number or A:B:STEP with A <= B, STEP > 0 and at most 100000 points"
            if self.sweep
            else "a number"
        )
        self.fail(f"snr_db must be {form}; got {value!r}", param, ctx)


def group(*options: Decorator) -> Decorator:
    """Bundle options into one decorator that keeps their order in ``--help``."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        return functools.reduce(lambda inner, option: option(inner), reversed(options), function)

    return decorate


def _link_options(*, sweep: bool) -> Decorator:
    default = presets.DEFAULT_LINK
    return group(
        click.option(
            "--bandwidth-hz", type=float, default=default.bandwidth_hz, show_default=True, help="W [Hz]."
        ),
        click.option(
            "--snr-db",
            type=Decibels(sweep=sweep),
            default=presets.DEFAULT_SNR_DB,
            show_default=True,
            help="SNR, or its mean under fading [dB]" + ("; A:B:STEP sweeps." if sweep else "."),
        ),
        click.option(
            "--fading",
            type=click.Choice(
                ["awgn", "rayleigh-ergodic", "rayleigh-outage", "rayleigh-arq", "short-packet"]
            ),
            default=default.fading,
            show_default=True,
            help="Channel model.",
        ),
        click.option(
            "--outage", type=float, default=default.outage, show_default=True, help="Outage probability."
        ),
        click.option(
            "--block-error", type=float, default=default.block_error, show_default=True, help="Block error."
        ),
    )


link = _link_options(sweep=False)
link_sweep = _link_options(sweep=True)

codec = group(
    click.option("--vocab-size", type=int, default=None, help="V [default: the calibration's]."),
    click.option("--prob-bits", type=int, default=8, show_default=True, help="b_prob, bits a probability."),
    click.option("--index-bits", type=int, default=None, help="Bits a token index [default: ceil(log2 V)]."),
)

latency = group(
    click.option(
        "--slm-latency-s", type=float, default=None, help="tau_SLM [s] [default: the calibration's]."
    ),
    click.option(
        "--llm-latency-s", type=float, default=None, help="tau_LLM [s] [default: the calibration's]."
    ),
    click.option(
        "--round-trip-s", type=float, default=0.0, show_default=True, help="Round trip a transmission [s]."
    ),
)


def scenario(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command take its options from a TOML file given as the first argument."""
    return click.argument(
        "scenario",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        required=False,
        is_eager=True,
        expose_value=False,
        callback=_load_scenario,
    )(function)


def _load_scenario(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    if path is None:
        return None
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"scenario {path} is not TOML: {error}") from None
    known = {
        name.removeprefix("--").replace("-", "_"): option
        for option in ctx.command.params
        if isinstance(option, click.Option)
        for name in option.opts
        if name.startswith("--")
    }
    defaults = {}
    for key, value in entries.items():
        name = key.replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)[0]
            raise ValueError(
                f"scenario key {key!r} is unknown; the nearest known key is {near.replace('_', '-')!r}"
            )
        option = known[name]
        if isinstance(value, dict | list):
            raise ValueError(f"scenario key {key!r} must be one value; got a {type(value).__name__}")
        # as text, so that a scenario is read exactly as the command line is: no 1.5 as an int, no true as 1.0
        defaults[option.name] = value if isinstance(value, bool) and option.is_flag else str(value)
    ctx.default_map = defaults
    return path


def recorded_law(name: str) -> Recorded | None:
    """Return the law that a trace or a calibration recorded; what `parse_law` takes for other files."""
    from calibration import load

    return load(name).law


def left_to_default(*names: str) -> list[str]:
    """Return those of the running command's parameters that neither the user nor a scenario gave."""
    source = click.get_current_context().get_parameter_source
    return [name for name in names if source(name) is click.core.ParameterSource.DEFAULT]


def build_link(*, bandwidth_hz: float, snr_db: float, fading: str, outage: float, block_error: float) -> Link:
    """Make the link of the shared options; dB end here."""
    return Link(
        bandwidth_hz=bandwidth_hz,
        snr=float(snr_from_db(snr_db)),
        fading=fading,  # type: ignore[arg-type]
        outage=outage,
        block_error=block_error,
    )
