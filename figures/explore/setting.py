"""What the page stands at: options of `cuhlm optimize` as text, from the command, a link or the sliders."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import click
import numpy as np
from quantiphy import Quantity as Written

from cuhlm_theory._fields import Quantity, quantities
from cuhlm_theory.cli import options
from cuhlm_theory.cli._setting import build_setting, setting_options
from cuhlm_theory.cli.optimize import command
from cuhlm_theory.parameters import Budget, FixedRate, Latency, Link
from cuhlm_theory.recommendation import Question

FIXED = ("calibration", "uncertainty", "rate_trace")
"""Options that name files: said where the command is started, and by no link."""

(_RATE,) = quantities(FixedRate)
_RADIO = tuple(quantities(Link))
_INSTEAD = {_RATE: ("rate_trace", *_RADIO), **dict.fromkeys(_RADIO, ("rate_trace", _RATE))}
_PREFIXED = ("s", "Hz", "bit/s")  # units that are read with a prefix, such as ms


def _log(low: float, high: float, *, zero: bool = False) -> tuple[float, ...]:
    """Return 20 numbers a decade of two digits, after 0 where that is wanted."""
    count = round(20 * np.log10(high / low)) + 1
    return (*((0.0,) if zero else ()), *(float(f"{value:.2g}") for value in np.geomspace(low, high, count)))


def _even(low: float, high: float, step: float) -> tuple[float, ...]:
    return tuple(round(low + step * place, 6) for place in range(round((high - low) / step) + 1))


_SHORT = _log(1e-5, 0.1, zero=True)
GRIDS: Mapping[str, tuple[float, ...]] = {
    _RATE: _log(1e2, 1e9),
    "snr_db": _even(-20.0, 40.0, 0.5),
    "bandwidth_hz": _log(1e3, 1e9),
    "round_trip_s": _log(1e-4, 2.0, zero=True),
    "slm_latency_s": _log(1e-3, 1.0),
    "llm_latency_s": _log(1e-3, 2.0),
    "bias_budget": _even(0.0, 0.2, 0.0025),
    "slm_per_token_s": _SHORT,
    "llm_per_token_s": _SHORT,
}
"""Where each slider can stand, by the key of its option."""
_EVEN = ("snr_db", "bias_budget")

QUANTITIES: Mapping[str, Quantity] = {
    key: one
    for kind in (FixedRate, Link, Latency, Budget)
    for key, one in quantities(kind).items()
    if key in GRIDS
}
"""What the option of each slider means."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What was said; the rest keeps its default, as where `cuhlm optimize` is not told."""

    said: Mapping[str, str]
    """Options as text, by their keys."""

    def moved(self, key: str, value: float) -> "Setting":
        """Return the setting with one more option said; a rate and a bandwidth stand instead of each other.

        >>> Setting({"rate_bit_per_s": "5e4", "bias_budget": "0.1"}).moved("snr_db", 3.0).said
        {'bias_budget': '0.1', 'snr_db': '3.0'}
        """
        kept = {name: text for name, text in self.said.items() if name not in _INSTEAD.get(key, ())}
        return Setting(kept | {key: repr(value)})

    @property
    def unseen(self) -> str:
        """What was said of which no slider tells.

        >>> Setting({"snr_db": "5", "fading": "rayleigh-arq"}).unseen
        'fading rayleigh-arq'
        """
        return ", ".join(
            f"{key.replace('_', '-')} {text}" for key, text in self.said.items() if key not in GRIDS
        )

    @property
    def query(self) -> str:
        """What a link says after its question mark; nothing of what names files."""
        return urlencode({key.replace("_", "-"): self.said[key] for key in self.said if key not in FIXED})

    def context(self) -> click.Context:
        """Return what the command line makes of it; ValueError for what is no option, or no such number."""
        told = options.scenario_defaults(command, self.said)
        try:
            return command.make_context("optimize", [], default_map=told)
        except click.UsageError as error:
            raise ValueError(error.format_message()) from None

    def toml(self) -> str:
        """Return the scenario that `cuhlm optimize` reads."""
        return options.scenario_text(self.context())

    def build(self, calibration: Any = None) -> tuple[Question, dict[str, Any]]:
        """Return the question and the inputs, as `cuhlm optimize` understands them."""
        return build_setting(self.context().params, (), calibration)


@click.command("setting")
@setting_options
def _asked(**_: Any) -> None:
    """Hold the options that make a setting, which `optimize` has among others."""


def of_command(context: click.Context) -> Setting:
    """Return what the running command was told, by its options or by a scenario."""
    known = options.options_by_key(_asked)
    said = {}
    for key, option in options.options_by_key(context.command).items():
        source = context.get_parameter_source(str(option.name))
        if key in known and source is not click.core.ParameterSource.DEFAULT:
            said[key] = str(context.params[str(option.name)])
    return Setting(said)


def of_link(query: Mapping[str, str], start: Setting) -> Setting:
    """Return what a link says of a page that was started at ``start``.

    ValueError where it names a file, or says what is no option of a setting.

    >>> of_link({"snr-db": "3"}, Setting({"calibration": "smollm2", "snr_db": "9"})).said
    {'calibration': 'smollm2', 'snr_db': '3'}
    """
    if not query:
        return start
    said = {key.replace("-", "_"): text for key, text in query.items()}
    for key in FIXED:
        if key in said:
            raise ValueError(f"{key} must be said where cuhlm explore is started; got it in a link")
    options.scenario_defaults(_asked, said)
    stands = {"rate_trace"} if any(key in said for key in (_RATE, *_RADIO)) else set()
    return Setting({key: start.said[key] for key in FIXED if key in start.said and key not in stands} | said)


def written(key: str, value: float) -> str:
    """Return the number of a slider as people write it.

    >>> written("llm_latency_s", 0.12), written("snr_db", -8.92), written("bias_budget", 0.05)
    ('120 ms', '-8.92 dB', '0.05')
    """
    unit = QUANTITIES[key].unit
    if unit in _PREFIXED:
        return Written(value, unit).render(prec=3)
    return f"{value:.4g} {'' if unit == '-' else unit}".strip()


def nearest(key: str, value: float) -> int:
    """Return the step of a slider that is closest to a value.

    >>> GRIDS["snr_db"][nearest("snr_db", -8.92)]
    -9.0
    """
    grid = np.asarray(GRIDS[key])
    if key not in _EVEN:  # steps of equal ratio
        grid, value = np.log(np.maximum(grid, 1e-9)), np.log(max(value, 1e-9))
    return int(np.argmin(np.abs(grid - value)))
