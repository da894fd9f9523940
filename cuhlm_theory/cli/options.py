"""Options made of the fields of descriptions, the scenario file that may carry them, and what they build."""

import difflib
import functools
import math
import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin

import click
import numpy as np

from cuhlm_theory import load, presets
from cuhlm_theory._checks import as_count
from cuhlm_theory._fields import Quantity, quantities
from cuhlm_theory._files import whole
from cuhlm_theory._workers import BACKENDS, Workers
from cuhlm_theory.ladder import Ladder
from cuhlm_theory.law import Recorded
from cuhlm_theory.parameters import Codec, FixedRate, Latency, Link, System

_MAX_POINTS = 100_000  # of a sweep on the command line
_CONVERSIONS: dict[tuple[str, str], Callable[[float], float]] = {  # from a unit as written to an option's
    ("dBm", "W"): lambda level: 10.0 ** (level / 10.0) / 1e3,
    ("%", "-"): lambda percent: percent / 100.0,
    ("bps", "bit/s"): float,
    ("B", "bit"): lambda byte: 8.0 * byte,
    ("B/s", "bit/s"): lambda byte: 8.0 * byte,
}

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


# ---------------------------------------------------------------------------------------------------- numbers


class Number(click.ParamType):
    """A number, plain or as people write it: ``5e6``, ``5M``, ``60ms``, ``1Mbit/s``, ``23dBm``."""

    name = "number"
    form = ""  # another form that it may have

    def __init__(self, unit: str = "-", *, whole: bool = False) -> None:
        self.unit, self.whole = unit, whole

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a float, or an int where it must be whole."""
        try:
            number = _in_unit(str(value), self.unit)
        except ValueError:
            number = math.nan
        if math.isnan(number) or (self.whole and not number.is_integer()):
            self.refuse(value, param, ctx)
        return int(number) if self.whole else number

    def refuse(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> NoReturn:
        """Say what the value must be."""
        unit = f" [{self.unit}]" if self.unit != "-" else ""
        name = "value" if param is None else max(param.opts, key=len)
        raise click.UsageError(
            f"{name} must be a {'whole ' * self.whole}number{unit}{self.form}; got {value!r}", ctx
        )


WHOLE = Number(whole=True)
"""A count."""


class Sweep(Number):
    """A number, or ``A:B:STEP`` with both ends included."""

    form = f" or A:B:STEP with A <= B, STEP > 0 and at most {_MAX_POINTS} points"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a float, or an array for a sweep."""
        parts = str(value).split(":")
        if len(parts) == 1:
            return super().convert(value, param, ctx)
        try:
            start, stop, step = (_in_unit(part, self.unit) for part in parts)
        except ValueError:
            start = stop = step = math.nan
        if not (
            math.isfinite(start + stop + step)
            and step > 0
            and stop >= start
            and (stop - start) / step < _MAX_POINTS
        ):
            self.refuse(value, param, ctx)
        return start + step * np.arange(np.floor((stop - start) / step + 1e-9) + 1)


def _in_unit(text: str, unit: str) -> float:
    """Read a number in a unit; ValueError where it is none, or is in another unit."""
    try:
        return float(text)
    except ValueError:
        from quantiphy import Quantity as Written

        if ":" in text or "=" in text:  # a name before a number
            raise
        written = Written(text)  # its InvalidNumber is a ValueError
        if written.units in ("", unit):
            return float(written)
        if (written.units, unit) in _CONVERSIONS:
            return _CONVERSIONS[written.units, unit](float(written))
        raise


# ---------------------------------------------------------------------------------------------------- options


def group(*options: Decorator) -> Decorator:
    """Bundle options into one decorator that keeps their order in ``--help``."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        return functools.reduce(lambda inner, option: option(inner), reversed(options), function)

    return decorate


def workers(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command choose who works, which it is given as ``workers``."""

    @functools.wraps(function)
    def command(*, jobs: int, backend: str, address: str | None, **values: Any) -> Any:
        return function(workers=Workers(jobs=jobs, backend=backend, address=address), **values)

    return group(
        click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Workers."),
        click.option(
            "--backend",
            type=click.Choice(BACKENDS),
            default=BACKENDS[0],
            show_default=True,
            help="What they are.",
        ),
        click.option(
            "--address", default=None, help="Of a dask or ray cluster [default: one on this machine]."
        ),
    )(command)


def of(
    *kinds: type, only: Collection[str] = (), sweep: Collection[str] = (), calibrated: bool = True
) -> Decorator:
    """Return the options of descriptions, from what their fields say; `Ladder` builds them again.

    ``only`` takes some fields, ``sweep`` lets some be a range ``A:B:STEP``; both name them by their keys.
    Without ``calibrated`` the command has no calibration to take a number from.
    """
    found = {key: one for kind in kinds for key, one in quantities(kind).items() if not only or key in only}
    return group(
        *(_option(one, key in sweep, calibrated and bool(one.calibrated)) for key, one in found.items())
    )


def _option(one: Quantity, sweep: bool, calibrated: bool) -> Decorator:
    unit = f" [{one.unit}]" if one.unit not in ("", "-") else ""
    symbol = f", {one.symbol}" if one.symbol else ""
    fallback = "the calibration's, else " * calibrated + one.fallback
    default = f" [default: {fallback}]" if fallback else ""
    text = f"{one.help}{symbol}{unit}{'; A:B:STEP sweeps' if sweep else ''}.{default}"
    if one.kind is bool:
        return click.option(f"{one.option}/--no-{one.option[2:]}", default=None, help=text)
    if get_origin(one.kind) is Literal:
        kind: click.ParamType = click.Choice(get_args(one.kind))
    elif sweep:
        kind = Sweep(one.unit)
    else:
        kind = Number(one.unit, whole=int in (one.kind, *get_args(one.kind)))
    return click.option(one.option, type=kind, default=None, help=text)


def calibration_of(default: str) -> Decorator:
    """Return the options that choose a calibration, and which of its texts."""
    return group(
        click.option(
            "--calibration",
            default=default,
            show_default=True,
            help="FILE, DIR, qwen2.5-coder or smollm2, or the published line cu-hlm or u-hlm.",
        ),
        click.option(
            "--text",
            type=click.Choice(["auto", "slm", "llm", "hybrid"]),
            default="auto",
            show_default=True,
            help="Evaluate all schemes on texts of this writer; auto: each on the text that it writes "
            "itself.",
        ),
    )


calibration = calibration_of("qwen2.5-coder")
"""Of what needs no model; the real pair, which was recorded elsewhere."""
preset = click.option(
    "--preset",
    type=click.Choice(list(presets.SCENARIOS)),
    default=None,
    help="Link, latencies and codec of a paper, or rate and round trip of a typical network.",
)
rate_trace = click.option(
    "--rate-trace",
    default=None,
    help="CSV of time_s and rate_bit_per_s, repeated at its end; stands instead of bandwidth, SNR and "
    "fading.",
)
link = of(Link, FixedRate)
"""Options of the uplink."""
frame_bit = click.option(
    "--frame-bit",
    type=Number("bit"),
    default=None,
    help="Bits around a request beside its payload: headers, checksum, framing; they lengthen its round "
    "trip. [default: 0]",
)
system = group(of(Link, FixedRate, Codec, Latency, System), frame_bit)
"""Options of a whole system; `Ladder.system` builds it."""


def from_scenario(values: Mapping[str, Any]) -> set[str]:
    """Return the keys that the scenario file of the running command told."""
    source = click.get_current_context().get_parameter_source
    return {key for key in values if source(key) is click.core.ParameterSource.DEFAULT_MAP}


def ladder(
    values: Mapping[str, Any],
    known: Mapping[str, Any] | None = None,
    *,
    assume: bool = True,
    scenario: Collection[str] | None = None,
) -> Ladder:
    """Return the ladder of a command's options; those of its scenario file are told apart.

    ``scenario`` names them where no command is running.
    """
    scenario = from_scenario(values) if scenario is None else scenario
    numbers = {key: one.value for key, one in presets.SCENARIOS.get(values.get("preset") or "", {}).items()}
    return Ladder(values, known, scenario=scenario, preset=numbers, assume=assume)


def index_bits(codec: Codec) -> int:
    """Return the bits of an index as they were asked for, 0 included."""
    return codec.bits_per_index if codec.index_bits is None else codec.index_bits


def recorded_law(name: str) -> Recorded | None:
    """Return the law that a trace or a calibration recorded; what `parse_law` takes for other files."""
    return load(name).law


def within_vocabulary(values: Mapping[str, Any], vocab_size: int, *names: str) -> None:
    """Refuse sizes of a support that is larger than the vocabulary."""
    for name in names:
        if values[name] is not None:
            as_count(name, values[name], at_most=vocab_size)


# --------------------------------------------------------------------------------------------------- scenario


def scenario(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command take its options from a TOML file given as the first argument."""
    return click.argument("scenario", required=False, **_scenario_file())(function)


def scenario_file(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command that takes names as its arguments take its options from ``--scenario FILE``."""
    help_text = "TOML file of options, such as `cuhlm optimize --save-scenario` writes."
    return click.option("--scenario", help=help_text, **_scenario_file())(function)


def _scenario_file() -> dict[str, Any]:
    path = click.Path(exists=True, dir_okay=False, path_type=Path)
    return {"type": path, "is_eager": True, "expose_value": False, "callback": _load_scenario}


def _load_scenario(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    if path is None:
        return None
    if not path.is_file():
        raise ValueError(f"scenario must be a regular file; got {path}")
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"scenario {path} is not TOML: {error}") from None
    except RecursionError:
        raise ValueError(f"scenario {path} is not TOML that can be read (nested too deep)") from None
    ctx.default_map = scenario_defaults(ctx.command, entries)
    return path


def scenario_defaults(command: click.Command, entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the entries of a scenario, read from a file or a link, make the defaults of a command."""
    known = options_by_key(command)
    defaults: dict[str, Any] = {}
    for key, value in entries.items():
        name = key.replace("-", "_")
        if sum(other.replace("-", "_") == name for other in entries) > 1:
            raise ValueError(f"scenario key {key!r} must be there once; got it with dashes and underscores")
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)[0]
            raise ValueError(
                f"scenario key {key!r} is unknown; the nearest known key is {near.replace('_', '-')!r}"
            )
        option = known[name]
        if option.multiple and isinstance(value, list) and all(isinstance(one, str) for one in value):
            defaults[option.name] = value
            continue
        if isinstance(value, dict | list):
            raise ValueError(f"scenario key {key!r} must be one value; got a {type(value).__name__}")
        # as text, so that a scenario is read exactly as the command line is: no 1.5 as an int, no true as 1.0
        defaults[option.name] = value if isinstance(value, bool) and option.is_flag else str(value)
        if option.multiple:
            defaults[option.name] = [defaults[option.name]]
    return defaults


def options_by_key(command: click.Command) -> dict[str, click.Option]:
    """Return the options of a command by their scenario keys, underscores for dashes."""
    return {
        name.removeprefix("--").replace("-", "_"): option
        for option in command.params
        if isinstance(option, click.Option)
        for name in option.opts
        if name.startswith("--")
    }


def saves_scenario(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--save-scenario FILE``, which writes its options as a scenario once it is done."""

    @click.option(
        "--save-scenario",
        type=click.Path(dir_okay=False, path_type=Path),
        default=None,
        help="Write all options into this scenario file.",
    )
    @functools.wraps(function)
    def command(*, save_scenario: Path | None, **values: Any) -> Any:
        result = function(**values)
        if save_scenario is not None:
            with whole(save_scenario) as part:
                part.write_text(scenario_text(click.get_current_context()), encoding="utf-8")
        return result

    return command


_NO_SCENARIO = (
    "save_scenario",
    "as_json",
    "style",
    "everything",
)  # how a result leaves is no part of the question


def scenario_text(ctx: click.Context) -> str:
    """Return every option with its help; a comment where nobody gave it, so that it may be read back."""
    import tomlkit

    document = tomlkit.document()
    document.add(
        tomlkit.comment(f"cuhlm {ctx.command.name}: every option; a comment is one left to its default")
    )
    for key, option in options_by_key(ctx.command).items():
        if option.name in _NO_SCENARIO or option.required:
            continue
        value = ctx.params[str(option.name)]
        given = ctx.get_parameter_source(str(option.name)) is not click.core.ParameterSource.DEFAULT
        document.add(tomlkit.nl())
        document.add(tomlkit.comment(option.help or ""))
        name = key.replace("_", "-")
        if given:
            document.add(name, str(value) if isinstance(value, Path) else value)
        else:
            shown = "" if value is None else tomlkit.item(value).as_string()
            document.add(tomlkit.comment(f"{name} = {shown}".rstrip()))
    return tomlkit.dumps(document)
