"""What a field means, said once: options, scenario keys, JSON keys, tables and axes all read it here."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from typing import Any, TypeVar

_KEY = "quantity"

AnyError = TypeVar("AnyError", bound=Exception)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One field of a description, as it is asked for and shown."""

    keyword: str
    """Argument of the constructor."""
    key: str
    """Scenario key with dashes, JSON key and Python name of the option with underscores."""
    kind: Any
    """Type of the value, as annotated."""
    help: str
    """What it is; the first words are the title of tables and axes."""
    symbol: str
    """The papers' symbol, or nothing."""
    unit: str
    """Unit of the option, `-` for a bare number, nothing for what is no number."""
    default: Any
    """Default of the constructor; `MISSING` where there is none."""
    assumed: Any
    """What is taken where nobody said it, and then said to be assumed; `MISSING` where nothing is."""
    calibrated: bool | str
    """Whether a calibration may know it; the key of a number: unless that one was said by hand."""
    unset: str
    """What the default None stands for."""

    @property
    def option(self) -> str:
        """Option on the command line."""
        return f"--{self.key.replace('_', '-')}"

    @property
    def title(self) -> str:
        """Label of a table's row or of an axis."""
        name = self.help.partition("(")[0].partition(",")[0].partition(";")[0].strip()
        return f"{name} [{self.unit}]" if self.unit else name

    @property
    def fallback(self) -> str:
        """What holds where nobody said it, in words; nothing where it must be said."""
        value = self.default if self.assumed is MISSING else self.assumed
        if value is None or value is MISSING:
            return self.unset
        if isinstance(value, bool):
            return "yes" if value else "no"
        return f"{value:g}" if isinstance(value, float) else str(value)


def quantity(
    default: Any = MISSING,
    *,
    help: str,
    symbol: str = "",
    unit: str = "",
    option: str = "",
    assumed: Any = MISSING,
    calibrated: bool | str = False,
    unset: str = "",
) -> Any:
    """Return a dataclass field that says what it means; see `Quantity`."""
    said = {
        "help": help,
        "symbol": symbol,
        "unit": unit,
        "option": option,
        "assumed": assumed,
        "calibrated": calibrated,
        "unset": unset,
    }
    return dataclasses.field(default=default, metadata={_KEY: said})


def quantities(kind: Any) -> dict[str, Quantity]:
    """Return the fields of a description that are asked for, by their keys."""
    found = {}
    for field in dataclasses.fields(kind):
        if _KEY in field.metadata:
            said = dict(field.metadata[_KEY])
            key = said.pop("option").replace("-", "_") or field.name
            keyword = key if key in kind.__dataclass_fields__ else field.name  # an InitVar takes other units
            found[key] = Quantity(keyword=keyword, key=key, kind=field.type, default=field.default, **said)
    return found


def renamed(error: AnyError, names: Mapping[str, str]) -> AnyError:
    """Return the error with names replaced in its text, such as ``--slm-latency-s`` for ``slm_latency_s``.

    A name of one plain word is one only where the text begins with it: ``k must be at least 1``.
    """
    plain = "|".join(name for name in names if "_" not in name)
    apart = "|".join(sorted((name for name in names if "_" in name), key=len, reverse=True))
    patterns = ([rf"^(?:{plain})(?= must )"] if plain else []) + (
        [rf"(?<![\w.-])(?:{apart})\b"] if apart else []
    )
    if patterns and error.args == (str(error),):
        error.args = (re.sub("|".join(patterns), lambda found: names[found.group()], str(error)),)
    return error
