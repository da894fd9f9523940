"""How one text is decoded: a scheme of the table, its free numbers, and the conventions that differ."""

from dataclasses import dataclass, field
from typing import Literal

from cuhlm_theory._checks import as_count, as_nonnegative, as_positive
from cuhlm_theory.schemes.table import Policy, Scheme, scheme

_DEFAULT_DRAFTS = 4


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
    bonus: bool | None = None
    """Whether the server adds a token of its own when it keeps all drafts; None is the scheme's own habit."""

    def __post_init__(self) -> None:
        as_count("num_samples", self.num_samples)
        as_positive("max_temperature", self.max_temperature)
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
"""`quadrature` is ours; `printed` is [CU]; the others are public implementations (PEERS.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One way to decode; the scheme reads of ``policy`` what its rules name."""

    scheme: str
    """Name of the scheme, a row of `cuhlm_theory.schemes.table.SCHEMES`."""
    policy: Policy = field(default_factory=Policy)
    """Thresholds, truncation, draft counts."""
    temperature: float = 0.7
    """T, sampling temperature of both models; 0 is greedy."""
    max_new_tokens: int = 128
    """Tokens to decode at most."""
    convention: Convention = field(default_factory=Convention)
    """What public implementations disagree on."""

    def __post_init__(self) -> None:
        as_nonnegative("temperature", self.temperature)
        as_count("max_new_tokens", self.max_new_tokens)
        if self.rules.skip == "random" and self.policy.skip_rate is None:
            raise ValueError(f"skip_rate must be given for {self.scheme}; got nothing")
        if self.rules.payload == "online":
            if self.policy.slope is None or self.policy.intercept is None:
                raise ValueError(f"slope and intercept must be given for {self.scheme}; got nothing")
            as_positive("slope", self.policy.slope)

    @property
    def rules(self) -> Scheme:
        """Row of the table."""
        return scheme(self.scheme)

    @property
    def num_drafts(self) -> int | None:
        """Most drafts a round; None where only the trigger ends it."""
        if self.rules.draft == "confidence":
            return self.policy.max_drafts
        if self.rules.draft == "trigger":
            return None
        return self.policy.num_drafts or _DEFAULT_DRAFTS

    @property
    def bonus(self) -> bool:
        """Whether the server adds a token of its own when it keeps all drafts of a round."""
        if self.convention.bonus is not None:
            return self.convention.bonus
        if self.rules.draft == "trigger":
            return self.policy.bonus
        return self.rules.drafts_several  # as in [SD]; a single-draft round ends with its draft
