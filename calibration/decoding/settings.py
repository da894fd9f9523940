"""How one text is decoded: a scheme of the table, its free numbers, and the conventions that differ."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from importlib import import_module
from typing import Any, Literal

from cuhlm_theory._checks import as_count, as_nonnegative, as_positive
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.rejection import Curve, Line
from cuhlm_theory.schemes import Scheme
from cuhlm_theory.schemes import scheme as find_scheme


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """Choices in which public implementations differ (the table of `CONVENTIONS` names them)."""

    temperatures: Literal["mean", "draws", "linspace"] = "mean"
    """Perturbed temperatures: the mean over U(0, 2] by quadrature, M draws from it, or M evenly spaced."""
    num_samples: int = 20
    """M, perturbed drafts of `draws` and `linspace`."""
    min_temperature: float = 0.0
    """Lower end of the temperatures; 0 is the argmax limit."""
    max_temperature: float = 2.0
    """theta_max, upper end of the temperatures."""
    draft: Literal["sampled", "argmax"] = "sampled"
    """Whether the draft is drawn from the small model's law or is its likeliest token."""
    transmit_at_threshold: bool = False
    """Transmit when u >= u_th instead of u > u_th."""
    accept_with: Literal["sent", "draft"] = "sent"
    """Acceptance test with the probability that the server received, or with the device's own x_d."""
    quantised: bool = True
    """Whether a single draft is drawn from the law in b_prob bits, which costs no bias, or from the device's
    own, of which the server has so many bits; several drafts are always drawn from what is sent."""
    bonus: bool | None = None
    """Whether the server adds a token of its own when it keeps all drafts; None is the scheme's own habit."""

    def __post_init__(self) -> None:
        as_count("num_samples", self.num_samples)
        as_positive("max_temperature", self.max_temperature)
        if self.accept_with == "draft" and not self.quantised:
            raise ValueError(
                "quantised must be true where accept_with is draft, whose bits are sent; got false"
            )
        if not 0.0 <= self.min_temperature < self.max_temperature:
            raise ValueError(
                f"min_temperature must lie in [0, {self.max_temperature:g}); got {self.min_temperature:g}"
            )


CONVENTIONS = {
    "quadrature": Convention(),
    "printed": Convention(temperatures="draws"),
    "linspace": Convention(temperatures="linspace"),
    "baseline": Convention(
        temperatures="draws",
        draft="argmax",
        transmit_at_threshold=True,
        accept_with="draft",
        bonus=True,
    ),
    "testbed": Convention(temperatures="draws", min_temperature=0.05, draft="argmax"),
}
"""`quadrature` is ours; `printed` is [CU]; the others are what public implementations do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One way to decode."""

    scheme: Scheme
    """Rules with their numbers; a name stands for the row of `cuhlm_theory.schemes.SCHEMES`."""
    temperature: float = 0.7
    """T, sampling temperature of both models; 0 is greedy."""
    max_new_tokens: int = 128
    """Tokens to decode at most."""
    convention: Convention = field(default_factory=Convention)
    """What public implementations disagree on."""
    k_grid: tuple[int, ...] | None = None
    """Sizes that a priced truncation chooses among, those that the price was found on [token]; None is
    `calibration.collect.k_grid` of the vocabulary."""

    def __post_init__(self) -> None:
        if isinstance(self.scheme, str):
            object.__setattr__(self, "scheme", find_scheme(self.scheme))
        as_nonnegative("temperature", self.temperature)
        as_count("max_new_tokens", self.max_new_tokens)
        if missing := [name for name in _NEEDED if self.scheme.numbers.get(name, ...) is None]:
            raise MissingInputError(_NEEDED[missing[0]])
        line = self.scheme.numbers.get("line")
        if isinstance(line, Line):
            as_positive("slope", line.slope)

    @property
    def bonus(self) -> bool:
        """Whether the server adds a token of its own when it keeps all drafts of a round."""
        if self.convention.bonus is not None:
            return self.convention.bonus
        return getattr(self.scheme.draft, "adds_bonus", False)  # a single-draft round ends with its draft

    def described(self) -> dict[str, Any]:
        """Return everything as JSON holds it; `settings_of` reads it back."""
        numbers = self.scheme.numbers
        line = numbers.pop("line", None)
        if isinstance(line, Line):
            numbers |= {"slope": line.slope, "intercept": line.intercept}
        elif line is not None:
            numbers |= {"line": asdict(line)}
        rest = {name: getattr(self, name) for name in ("temperature", "max_new_tokens", "k_grid")}
        convention = asdict(self.convention)
        if not convention["quantised"]:  # as in what was written before drafts were quantised
            del convention["quantised"]
        return {
            "scheme": self.scheme.name,
            "rules": {part: type(getattr(self.scheme, part)).__name__ for part in _RULES},
            "numbers": numbers,
            **rest,
            "convention": convention,
        }


_NEEDED = {
    "num_drafts": "num_drafts is not known; give --num-drafts or --calibration",
    "skip_rate": "skip_rate is not known; give --skip-rate or --calibration",
    "line": "the line is not known; give --slope and --intercept, or --calibration",
}
_NAMES = {"k": "offline_k", "skip_probability": "skip_rate"}  # a run's numbers under other names
_RULES = ("draft", "skip", "payload", "verification")  # of a scheme, and the modules of their classes


def scheme_of(run: Mapping[str, Any], line: Line | Curve | None = None) -> Scheme:
    """Return the scheme of a run from what its file says: ``numbers``, or what older files hold instead.

    ``line`` stands where the run tells none; whether a bonus token follows a kept run is the convention's
    where that says so. ``rules`` name the classes of rules that another than the table's stands for.
    """
    found = find_scheme(run["scheme"])
    for part, name in (run.get("rules") or {}).items():
        kind = _rule(part, name)
        if type(getattr(found, part)) is not kind:
            found = replace(found, **{part: kind()})
    told = {_NAMES.get(key, key): value for key, value in run.items() if value is not None}
    told |= run.get("policy") or {}
    told |= run.get("numbers") or {}
    if told.get("slope") is not None and told.get("intercept") is not None:
        line = Line(slope=told["slope"], intercept=told["intercept"])
    elif isinstance(told.get("line"), Mapping):
        line = Curve(**{name: tuple(values) for name, values in told["line"].items()})
    if told.get("num_drafts") is None and run.get("num_drafts") is not None:
        told["num_drafts"] = run["num_drafts"]
    convention = run.get("convention")
    bonus = convention.get("bonus") if isinstance(convention, Mapping) else None
    if bonus is not None:
        told |= {"bonus": bonus, "adds_bonus": bonus}
    told = {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
    return found.given(told | {"line": line})


def _rule(part: str, name: str) -> Any:
    """Class of a rule by its name; nothing else that its module holds."""
    if part not in _RULES:
        raise ValueError(f"rules must be of {', '.join(_RULES)}; got {part!r}")
    module = f"cuhlm_theory.schemes.{part}"
    kind = getattr(import_module(module), name, None)
    if not (isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == module):
        raise ValueError(f"rules.{part} must name a rule of {module}; got {name!r}")
    return kind


def settings_of(run: Mapping[str, Any]) -> Settings:
    """Return the settings that `Settings.described` wrote."""
    return Settings(
        scheme=scheme_of(run),
        temperature=run["temperature"],
        max_new_tokens=run["max_new_tokens"],
        k_grid=None if run["k_grid"] is None else tuple(run["k_grid"]),
        convention=Convention(**{"quantised": False, **run["convention"]}),
    )
