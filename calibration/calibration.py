"""A calibration: a pair of models on prompts, with its line, its law of u, its texts and its pass times."""

import itertools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cuhlm_theory._files import read_json, whole
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.law import Recorded
from cuhlm_theory.parameters import Passes
from cuhlm_theory.rejection import Line
from cuhlm_theory.texts import Texts, Trial, Written

if TYPE_CHECKING:
    from calibration.trace import Trace

Interval = tuple[float, float]

ESTIMATES = ("slope", "intercept", "delta", "correlation", "acceptance", "risk_averse", "risk_prone")
"""What a fit estimates: the line, delta, the correlation of u-bar and beta, the mean of 1 - beta, and the
thresholds -b/a and (delta - b)/a, which there are where the line rises."""

_FORMAT = "cuhlm-calibration/1"
_OF_ONE_TEXT = (
    *("line", "correlation", "acceptance", "ci95"),
    *("num_tokens", "num_prompts", "uncertainty_quantile"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PassTime(Passes):
    """Fitted time of a pass with 95 % intervals, (low, high)."""

    fixed_s_error: float
    """Standard error of t_0 [s]."""
    per_token_s_error: float
    """Standard error of t_1 [s]."""
    per_context_token_s_error: float
    """Standard error of t_2 [s]."""
    fixed_s_ci95: tuple[float, float]
    """Interval of t_0 [s]."""
    per_token_s_ci95: tuple[float, float]
    """Interval of t_1 [s]."""
    per_context_token_s_ci95: tuple[float, float]
    """Interval of t_2 [s]."""
    relative_residual: float
    """Root mean square of (measured - fitted) / measured: noise and what the plane misses [-]."""
    num_passes: int
    """Timed pairs of width and context that were fitted."""

    @classmethod
    def of(cls, entries: Mapping[str, Any]) -> "PassTime":
        """Return what `dataclasses.asdict` gave, as JSON has it."""
        told: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in entries.items()
        }
        return cls(**told)


@dataclass(frozen=True, kw_only=True, repr=False)
class Calibration:
    """A rejection line and what is known around it; a published line knows little beyond the line itself.

    A trace is read when it is first asked for, once.
    """

    name: str
    """Which pair or paper this is."""
    line: Line
    """beta(u) = clip(a u + b, 0, 1), with delta = P(y_d < x_d) where it is known."""
    correlation: float | None = None
    """Pearson correlation of u-bar and beta over tokens [-]."""
    acceptance: float | None = None
    """Mean of 1 - beta [-], an estimate of 1 - E TV(x, y)."""
    ci95: Mapping[str, Interval] = field(default_factory=dict)
    """95 % intervals, (low, high), by name of `ESTIMATES`; without those that were not resampled."""
    num_tokens: int = 0
    """Recorded tokens; 0 for a published line."""
    num_prompts: int = 0
    """Prompts they came from."""
    vocab_size: int | None = None
    """V."""
    temperature: float | None = None
    """Sampling temperature T of both models [-]."""
    slm_latency_s: float | None = None
    """tau_SLM, mean over tokens: what renewal-reward needs [s]."""
    llm_latency_s: float | None = None
    """tau_LLM, mean over tokens [s]."""
    slm_pass: PassTime | None = None
    """Time of a pass of the small model by its width and context; None where one number is known."""
    llm_pass: PassTime | None = None
    """The same of the large model."""
    uncertainty_quantile: tuple[float, ...] = ()
    """Quantiles 0, 1/100, ..., 1 of u-bar over tokens [-]; empty for a published line."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """Where this comes from: models, seed, dtype, versions; or the paper and each number's provenance."""
    promises: tuple[Trial, ...] = ()
    """What can be promised of hybrid texts, from the safest; made before any answer is decoded."""
    folder: Path | None = field(default=None, compare=False)
    """Where it was found; None for a published line and for a fit that was not saved."""
    texts: Mapping[str, Path] = field(default_factory=dict, compare=False)
    """Traces of this pair by the text they were recorded on: ``slm``, ``llm``, ``hybrid-<threshold>``."""
    _traces: dict[str, "Trace"] = field(default_factory=dict, compare=False)
    _tokens: Tokens | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        line = f"{self.line.slope:.4g} u {self.line.intercept:+.4g}"
        recorded = f", {self.num_tokens} tokens of {self.num_prompts} prompts" if self.num_tokens else ""
        texts = f", texts {', '.join(self.texts)}" if self.texts else ""
        return f"Calibration({self.name}: beta = {line}{recorded}{texts})"

    @property
    def estimates(self) -> dict[str, float | None]:
        """Every name of `ESTIMATES` with its value; None for what is unknown or has none."""
        line, rises = self.line, self.line.slope > 0.0
        values = (line.slope, line.intercept, line.delta, self.correlation, self.acceptance)
        thresholds = (line.risk_averse, line.risk_prone) if rises else (None, None)
        return dict(zip(ESTIMATES, (*values, *thresholds), strict=True))

    @property
    def slm_per_token_s(self) -> float | None:
        """What a further token takes in a pass of the small model [s]; None where it is not known."""
        return None if self.slm_pass is None else self.slm_pass.per_token_s

    @property
    def llm_per_token_s(self) -> float | None:
        """What a further token takes in a pass of the large model [s]; None where it is not known."""
        return None if self.llm_pass is None else self.llm_pass.per_token_s

    @property
    def writer(self) -> str:
        """Who wrote the text which the line was fitted on: ``slm``, ``llm`` or ``hybrid``."""
        return str(self.source.get("writer", "slm"))

    @property
    def own_text(self) -> str:
        """Name of the text which the line was fitted on, as in `texts`."""
        threshold = self.source.get("threshold")
        return self.writer if threshold is None else f"{self.writer}-{threshold:g}"

    def text(self, name: str) -> "Trace | None":
        """Return the trace on a text of this pair, read once; None where there is none.

        Parameters
        ----------
        name : str
            ``slm``, ``llm`` or ``hybrid-<threshold>``, a key of `texts`.

        Returns
        -------
        Trace or None
            Header and columns.

        Raises
        ------
        ValueError
            If the file is damaged, or is not the one that the line was fitted on.
        """
        if name not in self._traces and name in self.texts:
            from calibration import trace

            known = {self.own_text: self.source.get("trace_sha256"), **self.source.get("texts_sha256", {})}
            found = trace.read(self.texts[name], sha256=known.get(name))
            if name == self.own_text and len(found) != self.num_tokens:
                raise ValueError(
                    f"calibration {self.name} was fitted on {self.num_tokens} tokens; "
                    f"{self.texts[name]} holds {len(found)}"
                )
            if known.get(name) not in (None, found.sha256):
                raise ValueError(
                    f"calibration {self.name} was fitted on another trace than {self.texts[name]}; "
                    "fit again with `cuhlm fit`"
                )
            self._traces[name] = found
        return self._traces.get(name)

    @property
    def trace(self) -> "Trace | None":
        """The trace that the line was fitted on; None where only the line is known."""
        return self.text(self.own_text)

    def needed_trace(self) -> "Trace":
        """Return the trace, or say that there is none."""
        if self.trace is None:
            raise MissingInputError(
                f"calibration {self.name} has no recorded tokens; give a folder written by `cuhlm calibrate`"
            )
        return self.trace

    def without_tokens(self) -> "Calibration":
        """Return what is left where the recorded tokens are not to be used."""
        return replace(self, texts={}, promises=(), _traces={}, _tokens=None)

    def only(self, writer: str) -> "Calibration":
        """Return the calibration on the texts of one writer alone, its line fitted on the first of them.

        Parameters
        ----------
        writer : str
            ``slm``, ``llm`` or ``hybrid``.

        Returns
        -------
        Calibration
            What belongs to the pair, such as its latencies, is kept.

        Raises
        ------
        MissingInputError
            If none of its texts has that writer.
        """
        texts = {name: at for name, at in self.texts.items() if name.partition("-")[0] == writer}
        if not texts:
            known = ", ".join(self.texts) or "none"
            raise MissingInputError(
                f"calibration {self.name} has no text of {writer}, it has {known}; "
                f"record it with `cuhlm calibrate --texts {writer}`"
            )
        if self.own_text in texts:
            return replace(self, texts=texts)
        from calibration.fit import fit_trace

        first = self.text(next(iter(texts)))
        assert first is not None
        fitted = fit_trace(first, name=self.name)
        fit = {name: getattr(fitted, name) for name in _OF_ONE_TEXT}
        source, name = {**self.source, **fitted.source}, f"{self.name}-{writer}-text"
        return replace(self, name=name, texts=texts, source=source, _tokens=None, **fit)

    @cached_property
    def contexts(self) -> Texts | None:
        """Its texts, for schemes that are to be evaluated on the one they write; None where it has none."""
        return Texts(self.texts, self._contexts_of) if self.texts else None

    @property
    def written(self) -> Written:
        """Its texts, or what stands for them: the tokens that the line was fitted on."""
        return self.contexts or self.needed_trace().tokens()

    def _contexts_of(self, name: str) -> Tokens:
        """Tokens of a text, with the same number for the same prompt on all texts."""
        recorded = self.text(name)
        assert recorded is not None
        names, first = (one.header.prompt_names for one in (recorded, next(iter(self._traces.values()))))
        number = np.array(
            [i if i < len(first) and first[i] == names[i] else -1 - i for i in range(len(names))]
        )
        tokens = recorded.tokens()
        return tokens if np.all(number >= 0) else tokens.having(prompt=number[tokens.prompt])

    @cached_property
    def tokens(self) -> Tokens | None:
        """The recorded tokens as the theory takes them; None where only the line is known."""
        if self._tokens is not None:
            return self._tokens
        return None if self.trace is None else self.trace.tokens()

    @cached_property
    def law(self) -> Recorded | None:
        """Law of u: that of the tokens, else a node a step of the quantiles; None where none is known."""
        if self.tokens is not None:
            return self.tokens.law
        if len(self.uncertainty_quantile) < 2:
            return None
        ends = np.asarray(self.uncertainty_quantile)
        nodes = 0.5 * (ends[:-1] + ends[1:])
        return Recorded(nodes, self.line(nodes))

    def to_json(self) -> str:
        """Return the calibration as indented JSON, one key a number and ``format``; texts keep their place.

        Examples
        --------
        >>> fitted = Calibration(name="x", line=Line(1.0, 0.0))
        >>> Calibration.from_json(fitted.to_json()) == fitted
        True
        """
        entries: dict[str, Any] = {"format": _FORMAT, "name": self.name}
        for key, value in self.estimates.items():
            entries |= {key: value, f"{key}_ci95": self.ci95.get(key)}
        entries |= {key: getattr(self, key) for key in _KNOWN}
        entries |= {key: None if (one := getattr(self, key)) is None else asdict(one) for key in _PASSES}
        entries["promises"] = [asdict(one) for one in self.promises]
        return json.dumps(entries, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, origin: str = "calibration") -> "Calibration":
        """Read what `to_json` wrote; ``origin`` names the text in an error.

        Examples
        --------
        >>> Calibration.from_json("{}")
        Traceback (most recent call last):
        ...
        ValueError: calibration must have format 'cuhlm-calibration/1'; got None
        """
        entries = read_json(text, origin)
        if not isinstance(entries, dict) or entries.get("format") != _FORMAT:
            got = entries.get("format") if isinstance(entries, dict) else type(entries).__name__
            raise ValueError(f"{origin} must have format {_FORMAT!r}; got {got!r}")
        del entries["format"]
        for key, value in entries.items():
            if key not in _KEYS:
                raise ValueError(f"{origin} has an unknown key {key!r}")
            good, what = _KEYS[key]
            if not good(value):
                raise ValueError(f"{origin}: {key} must be {what}; got {value!r}")
        for key in ("name", "slope", "intercept"):
            if key not in entries:
                raise ValueError(f"{origin} lacks the key {key!r}")
        promises = tuple(Trial(**one) for one in entries.get("promises", ()))
        ends = {key: entries.get(f"{key}_ci95") for key in ESTIMATES}
        known: dict[str, Any] = {key: entries[key] for key in _KNOWN if key in entries}
        known["uncertainty_quantile"] = tuple(known.get("uncertainty_quantile", ()))
        known |= {key: PassTime.of(entries[key]) for key in _PASSES if entries.get(key) is not None}
        return cls(
            name=entries["name"],
            line=Line(entries["slope"], entries["intercept"], entries.get("delta")),
            correlation=entries.get("correlation"),
            acceptance=entries.get("acceptance"),
            ci95={key: (pair[0], pair[1]) for key, pair in ends.items() if pair is not None},
            promises=promises,
            **known,
        )

    def save(self, path: str | Path) -> None:
        """Write the calibration as JSON, whole or not at all; `calibration.load` reads it.

        Parameters
        ----------
        path : str or Path
            File to (re)place.
        """
        with whole(path) as part:
            part.write_text(self.to_json(), encoding="utf-8")


Check = tuple[Callable[[Any], bool], str]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(_number, value))


def _rising(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    return _numbers(value) and all(one <= more for one, more in itertools.pairwise([low, *value, high]))


def _within(low: float, high: float) -> Check:
    return lambda value: _number(value) and low <= value <= high, f"a number in [{low:g}, {high:g}]"


def _pass_time(value: Any) -> bool:
    names = {entry.name for entry in fields(PassTime)}
    return isinstance(value, dict) and set(value) == names and all(map(_number_or_two, value.values()))


def _number_or_two(value: Any) -> bool:
    return _number(value) or (_numbers(value) and len(value) == 2)


def _are_promises(value: Any) -> bool:
    names = {entry.name for entry in fields(Trial)}
    return isinstance(value, list) and all(
        isinstance(one, dict) and one.keys() == names and all(map(_number, one.values())) for one in value
    )


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check[0](value), check[1]


_NUMBER: Check = (_number, "a finite number")
_COUNT: Check = (_count, "a count")
_INTERVAL: Check = (
    lambda value: value is None or (_rising(value) and len(value) == 2),
    "null or [low, high]",
)
_KNOWN: dict[str, Check] = {
    "num_tokens": _COUNT,
    "num_prompts": _COUNT,
    "vocab_size": _or_null((lambda value: _count(value) and value >= 2, "a count of at least 2")),
    "temperature": _or_null(_within(0.0, math.inf)),
    **dict.fromkeys(
        ("slm_latency_s", "llm_latency_s"),
        _or_null((lambda value: _number(value) and value > 0.0, "positive")),
    ),
    "uncertainty_quantile": (lambda value: _rising(value, 0.0, 1.0), "a rising list of numbers in [0, 1]"),
    "source": (lambda value: isinstance(value, dict), "an object"),
}
_PASSES: dict[str, Check] = dict.fromkeys(
    ("slm_pass", "llm_pass"), _or_null((_pass_time, "a fitted time of a pass"))
)
_KEYS: dict[str, Check] = {
    "name": (lambda value: isinstance(value, str), "a text"),
    **dict.fromkeys(ESTIMATES, _or_null(_NUMBER)),
    **dict.fromkeys(("slope", "intercept"), _NUMBER),
    **dict.fromkeys(("delta", "acceptance"), _or_null(_within(0.0, 1.0))),
    "correlation": _or_null(_within(-1.0, 1.0)),
    **{f"{key}_ci95": _INTERVAL for key in ESTIMATES},
    **_KNOWN,
    **_PASSES,
    "promises": (_are_promises, "a list of trials"),
}
"""Keys of the file, and what each must hold."""
