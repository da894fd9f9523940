"""What a rule may ask of the places where a token is due, and who answers: recorded tokens or a law's nodes.

The live decoder answers the same questions about one place with both distributions at hand.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cuhlm_theory._checks import as_floats, as_probability
from cuhlm_theory._laws import entropy_nat
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.kept_law import most_kept_tokens
from cuhlm_theory.law import NEVER_SKIP, Law, Recorded
from cuhlm_theory.rejection import Line
from cuhlm_theory.truncation import printed_bound

if TYPE_CHECKING:
    from cuhlm_theory.schemes.skip import Skip

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
_Value = TypeVar("_Value")

_ROUNDING = 1e-5  # of sums of float32 probabilities
_ALWAYS_SKIPS = 1e-6  # float32 rounding of a context in which every draft is skipped
_GRID_TOLERANCE = 1e-9
_MOST_KEPT = 4  # of each name


class Found:
    """What was found once, by name and by what else it depends on, of which a few are kept."""

    def __init__(self) -> None:
        self._known: dict[str, dict[Hashable, Any]] = {}

    def once(self, name: str, find: Callable[[], _Value], given: Hashable = None) -> _Value:
        """Return what was found under a name, or find it."""
        known = self._known.setdefault(name, {})
        if given in known:
            return known[given]
        value = known[given] = find()
        for oldest in list(known)[:-_MOST_KEPT]:
            known.pop(oldest, None)
        return value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Skips:
    """What a skip rule does in each context, shape [N]."""

    transmit: Array
    """Chance that the draft is transmitted [-]."""
    risk: Array
    """Mean of skip times rejection probability [-]."""
    truncates: Array
    """Chance that the rule can transmit in this context at all, so that truncation is charged [-]."""
    excess: Array
    """Sum of what is kept beyond the LLM's law, the bias of a server that knows what is kept; at most the
    risk, and equal to it where every draft is kept or sent for sure [-]."""
    excess_is_bound: bool = False
    """Whether the excess is only bounded by the risk."""

    def mixed(self, other: "Skips", share: float) -> "Skips":
        """Return what happens when a ``share`` of the tokens follows the ``other`` rule."""
        return Skips(
            transmit=(1.0 - share) * self.transmit + share * other.transmit,
            risk=(1.0 - share) * self.risk + share * other.risk,
            truncates=(1.0 - share) * self.truncates + share * other.truncates,
            excess=(1.0 - share) * self.excess + share * other.excess,
            excess_is_bound=True,
        )


@dataclass(frozen=True, slots=True)
class Steps:
    """Share of a draft's probability that is kept, a falling step function of its uncertainty.

    >>> Steps(edges=(0.2, 0.6), shares=(1.0, 0.3)).share([0.2, 0.3, 0.7])
    array([1. , 0.3, 0. ])
    """

    edges: tuple[float, ...] = ()
    """Where the steps end, rising: a share holds above the edge before it, and at its own [-]."""
    shares: tuple[float, ...] = ()
    """Share of each step, not rising; 0 beyond the last [-]."""

    def __post_init__(self) -> None:
        if len(self.edges) != len(self.shares):
            raise ValueError(f"shares must be one an edge, {len(self.edges)}; got {len(self.shares)}")
        as_probability("shares", self.shares)
        if np.any(np.diff(as_floats("edges", self.edges)) <= 0.0):
            raise ValueError(f"edges must increase; got {self.edges}")
        if np.any(np.diff(self.shares) > 0.0):
            raise ValueError(f"shares must not rise with the uncertainty; got {self.shares}")

    @classmethod
    def below(cls, threshold: float, upper_threshold: float | None = None, mix: float = 0.0) -> "Steps":
        """Return the steps of a threshold, or of one that is randomised between two."""
        if upper_threshold is None or mix == 0.0 or upper_threshold == threshold:
            return cls((threshold,), (1.0,))
        return (
            cls((upper_threshold,), (mix,))
            if threshold < 0.0
            else cls((threshold, upper_threshold), (1.0, mix))
        )

    def share(self, uncertainty: ArrayLike) -> Array:
        """Share of a draft of this uncertainty, shape [...] [-]."""
        place = np.searchsorted(self.edges, np.asarray(uncertainty, dtype=np.float64), side="left")
        return np.append(self.shares, 0.0)[place]

    @property
    def highest(self) -> float:
        """Largest uncertainty of which anything is kept; `NEVER_SKIP` where nothing is."""
        kept = [edge for edge, share in zip(self.edges, self.shares, strict=True) if share > 0.0]
        return kept[-1] if kept and kept[-1] >= 0.0 else NEVER_SKIP

    @property
    def whole(self) -> bool:
        """Whether every draft is kept or sent for sure: one threshold."""
        return all(share in (0.0, 1.0) for share in self.shares)


class Contexts(Protocol):
    """The questions that the rules of a scheme ask; N places where a token is due."""

    def __len__(self) -> int: ...

    @property
    def weight(self) -> Array:
        """Probability weights that sum to 1, shape [N] [-]."""
        ...

    def keeping(self, steps: Steps, *, drafts: bool = False) -> Skips:
        """Keep a share of each draft by its uncertainty; ``drafts`` looks at the recorded ones alone."""
        ...

    def knows_kept(self, highest: float) -> bool:
        """Whether every token of at most this uncertainty is known in each context."""
        ...

    def transmit_chance(self, skip: "Skip") -> Array:
        """Chance that each context transmits, whatever it drafts, shape [N] [-]."""
        ...

    def draft_uncertainty(self) -> Array:
        """Uncertainty of each draft, the mean where the device only sees a sample of it, shape [N] [-]."""
        ...

    def mean_rejection(self) -> Array:
        """Chance that a draft is rejected, shape [N] [-]."""
        ...

    def smallest_k(self, budget: float) -> Ints:
        """Fewest entries with a truncation TV within the budget, shape [N] [token]."""
        ...

    def smallest_printed_k(self, budget: float, line: Line) -> Ints:
        """Fewest entries within the budget of the printed rule, which looks at the draft, shape [N]."""
        ...

    def size_profile(self) -> tuple[Ints, Array]:
        """Sizes to choose from, shape [K], and the truncation TV of each, shape [N, K]."""
        ...

    def truncation_tv(self, k: Ints) -> Array:
        """TV between the draft's law and its reconstruction from k entries, shape [N] [-]."""
        ...

    def acceptance_within(self, k: Ints) -> Array:
        """Chance to keep a draft from the k renormalised largest entries, shape [N] [-]."""
        ...

    def rounded_acceptance(self, k: Ints, rounding: Callable[[Array], Array]) -> Array:
        """Chance to keep it once these entries are rounded, shape [N] [-]; NaN where not all are known."""
        ...

    def knows_largest(self, k: Ints) -> bool:
        """Whether the k largest entries of each context are known one by one, on both sides."""
        ...

    def kept_count(self, threshold: float, vocab_size: int) -> Ints:
        """Tokens that have at most this uncertainty, shape [N] [token]."""
        ...

    def largest_prob(self) -> Array:
        """x_(1), what the device gives its likeliest token, shape [N] [-]."""
        ...

    def server_bias_at(self, threshold: float) -> Array:
        """Bias of a server that draws from its own law whenever a threshold asks it, shape [N] [-]."""
        ...


_PROFILES = {
    "": ("kept", "draft_prob", "llm_prob", "tv", "max_prob"),
    "k_grid": ("tv_profile", "tail_mass", "sorted_prob"),
    "coarse_k_grid": ("truncated_acceptance", "output_bias"),
    "threshold_grid": ("skip_mass", "skip_risk", "server_bias"),
}
_CANDIDATES = ("candidate_uncertainty", "candidate_prob", "candidate_llm_prob")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Tokens:
    """Recorded tokens (or the nodes of an assumed law) as arrays; what a trace is to the theory.

    Only ``uncertainty`` and ``rejection`` are always there; what needs a missing column raises
    `cuhlm_theory.errors.MissingInputError` and names it. Columns may be read when they are first asked for
    (`reading`). N tokens, K truncation sizes, C coarse truncation sizes, J thresholds.
    """

    uncertainty: Array
    """u-bar of the draft token, shape [N] [-]."""
    rejection: Array
    """beta_d = (1 - y_d / x_d)_+, shape [N] [-]."""
    kept: Array | None = None
    """Chance that the draft is kept and the text goes on with it, shape [N]; None means 1 - rejection."""
    weight: Array = field(default_factory=lambda: np.empty(0))
    """Probability weights that sum to 1, shape [N]; empty means 1/N each."""
    draft_prob: Array | None = None
    """x_d, shape [N] [-]."""
    llm_prob: Array | None = None
    """y_d, shape [N] [-]."""
    tv: Array | None = None
    """TV(x, y), shape [N] [-]."""
    max_prob: Array | None = None
    """x_(1), shape [N] [-]."""
    prompt: NDArray[np.int64] | None = None
    """Which prompt a token belongs to, shape [N]; runs of tokens and clusters of the bootstrap."""
    k_grid: NDArray[np.int64] | None = None
    """Truncation sizes of the profiles, increasing, the last is V, shape [K]."""
    tv_profile: Array | None = None
    """TV(x, x-hat_k), shape [N, K] [-]."""
    tail_mass: Array | None = None
    """Mass outside the k largest entries, shape [N, K] [-]."""
    sorted_prob: Array | None = None
    """x_(k), shape [N, K] [-]."""
    coarse_k_grid: NDArray[np.int64] | None = None
    """Truncation sizes of the two profiles that need y, shape [C]."""
    truncated_acceptance: Array | None = None
    """Acceptance 1 - TV(x-tilde_k, y) when the draft comes from the renormalised k largest, shape [N, C]."""
    output_bias: Array | None = None
    """Exact TV(output, y) when nothing is skipped and the server verifies with x-hat_k, shape [N, C]."""
    threshold_grid: Array | None = None
    """Uncertainty thresholds t of the three profiles below, increasing, shape [J] [-]."""
    skip_mass: Array | None = None
    """P(u-bar <= t | context) = sum_d x_d 1[u-bar_d <= t], shape [N, J] [-]."""
    skip_risk: Array | None = None
    """sum_d x_d 1[u-bar_d <= t] beta_d, shape [N, J] [-]."""
    server_bias: Array | None = None
    """Exact bias when the server draws from y instead of verifying: TV of the output, shape [N, J] [-]."""

    candidate_uncertainty: Array | None = None
    """u-bar of the least uncertain tokens of each context, rising, shape [N, C]: all that can be kept
    at a threshold below 1 - 1/(C + 1)."""
    candidate_prob: Array | None = None
    """x of these tokens, shape [N, C] [-]."""
    candidate_llm_prob: Array | None = None
    """y of these tokens, shape [N, C] [-]."""
    text: str = ""
    """Text that they were recorded on: ``slm``, ``llm``, ``hybrid-<threshold>``; empty for an assumed law."""
    side: NDArray[np.int64] | None = None
    """Which of two mixed texts a token belongs to, 0 or 1, shape [N]; None where there is one text."""
    _later: dict[str, Callable[[], Array]] = field(default_factory=dict, init=False)
    """Columns that are read when they are first asked for, by name."""
    _found: Found = field(default_factory=Found, init=False)
    """What `once` found."""

    def __post_init__(self) -> None:
        num = len(self.uncertainty)
        if num == 0:
            raise ValueError("Tokens must hold at least 1 token; got 0")
        if self.weight.size == 0:
            object.__setattr__(self, "weight", np.full(num, 1.0 / num))
        for name, column in self.columns().items():
            self._check_rows(name, column)
        for name in ("uncertainty", "rejection", "weight"):
            as_probability(name, getattr(self, name))
        if abs(float(self.weight.sum()) - 1.0) > 1e-9:
            raise ValueError(f"weight must sum to 1; got {self.weight.sum():g}")
        self._check_candidates()
        for grid_name, names in _PROFILES.items():
            grid = getattr(self, grid_name) if grid_name else np.empty(())
            if grid is not None and np.any(np.diff(np.atleast_1d(grid)) <= 0):
                raise ValueError(f"Tokens.{grid_name} must increase; got {grid}")
            for name in names:
                if getattr(self, name) is not None:
                    self._check_column(name, grid_name, getattr(self, name))

    @classmethod
    def reading(cls, later: Mapping[str, Callable[[], Array]], **given: Any) -> "Tokens":
        """Return tokens of which some columns are read, and checked, when they are first asked for.

        >>> late = Tokens.reading(
        ...     {"tv": lambda: np.ones(1)}, uncertainty=np.array([0.2]), rejection=np.zeros(1)
        ... )
        >>> late.tv
        array([1.])
        """
        tokens = cls(**given)
        object.__setattr__(tokens, "_later", dict(later))
        for name in later:
            object.__delattr__(tokens, name)
        return tokens

    def __getattr__(self, name: str) -> Array:
        """Read a column; Python asks this where an attribute has no value yet."""
        later = object.__getattribute__(self, "_later")
        if name not in later:
            raise AttributeError(f"Tokens has no {name!r}")

        def read() -> Array:
            column = later[name]()
            self._check_rows(name, column)
            for grid_name, names in _PROFILES.items():
                if name in names:
                    self._check_column(name, grid_name, column)
            return column

        column = self.once(f"column {name}", read)
        object.__setattr__(self, name, column)
        return column

    def _check_rows(self, name: str, column: Array) -> None:
        if len(column) != len(self):
            raise ValueError(f"Tokens.{name} must have {len(self)} rows; got {len(column)}")

    def _check_candidates(self) -> None:
        """Refuse candidates without one of their columns, of different shapes, or that are not in [0, 1]."""
        columns = {name: getattr(self, name) for name in _CANDIDATES}
        if all(column is None for column in columns.values()):
            return
        shape = np.shape(columns["candidate_uncertainty"])
        for name, column in columns.items():
            if column is None or column.ndim != 2 or column.shape != shape:
                raise ValueError(f"Tokens.{name} must have the shape of the other candidate columns, {shape}")
            if not np.all((column >= 0.0) & (column <= 1.0 + _ROUNDING)):
                raise ValueError(
                    f"Tokens.{name} must lie in [0, 1]; got {column.min():g} to {column.max():g}"
                )

    def _check_column(self, name: str, grid_name: str, column: Array) -> None:
        """Refuse a profile that does not fit its grid and what is no probability, float32 rounding apart."""
        grid = getattr(self, grid_name) if grid_name else np.empty(())
        if grid is None:
            raise ValueError(f"Tokens.{name} must come with Tokens.{grid_name}; got None")
        shape = grid.shape
        if column.shape[1:] != shape:
            raise ValueError(f"Tokens.{name} must have rows of shape {shape}; got {column.shape[1:]}")
        bad = ~((column >= -_ROUNDING) & (column <= 1.0 + _ROUNDING))  # catches NaN
        if np.any(bad):
            raise ValueError(f"Tokens.{name} must lie in [0, 1]; got {column[bad].flat[0]:g}")

    def __len__(self) -> int:
        return len(self.uncertainty)

    def __repr__(self) -> str:
        texts = "" if self.prompt is None else f", {_counted(len(np.unique(self.prompt)), 'prompt')}"
        known = {"skip": self.skip_mass, "truncation": self.tv_profile, "server": self.output_bias}
        profiles = ", ".join(name for name, column in known.items() if column is not None)
        return f"Tokens({_counted(len(self), 'token')}{texts}; profiles: {profiles or 'none'})"

    @classmethod
    def of(cls, law: Law, line: Line) -> "Tokens":
        """Return the nodes of a law, with their own rejections where it records them, else the line's."""
        nodes = law.nodes()
        weight = np.empty(0) if nodes.weight is None else nodes.weight / nodes.weight.sum()
        return cls(uncertainty=nodes.uncertainty, rejection=nodes.rejections(line), weight=weight)

    @property
    def law(self) -> Recorded:
        """The law of the uncertainty with the recorded rejections."""
        return Recorded(self.uncertainty, self.rejection, self.weight)

    def known(self) -> tuple[str, ...]:
        """Return the names of the columns that are there, read or not: what has a row a token."""
        return tuple(name for name in _COLUMNS if name in self._later or getattr(self, name) is not None)

    def columns(self) -> dict[str, Array]:
        """Return the columns that are there by name, each of them read."""
        return {name: getattr(self, name) for name in self.known()}

    @property
    def longest_text(self) -> int | None:
        """Tokens of the longest recorded text; None where nothing says which text a token is of."""
        return None if self.prompt is None else int(np.unique(self.prompt, return_counts=True)[1].max())

    def once(self, name: str, find: Callable[[], _Value], given: Hashable = None) -> _Value:
        """Return what depends on what was recorded alone, no weight and no link; found once, then kept.

        The tokens keep it as long as they live, and share it with those that only weigh them otherwise
        (`weighted`), so there must be few names. Of what else it depends on, ``given``, a few are kept.

        >>> tokens = Tokens(uncertainty=np.array([0.2, 0.1]), rejection=np.zeros(2))
        >>> tokens.once("least", lambda: float(tokens.uncertainty.min()))
        0.1
        >>> tokens.weighted(np.array([0.3, 0.7])).once("least", lambda: 1.0)
        0.1
        """
        return self._found.once(name, find, given)

    def only(self, chosen: NDArray[np.bool_]) -> "Tokens":
        """Return some of the tokens, marked by a mask of shape [N]; their weights then sum to 1.

        >>> Tokens(uncertainty=np.array([0.1, 0.2]), rejection=np.zeros(2)).only(np.array([True, False]))
        Tokens(1 token; profiles: none)
        """
        columns: dict[str, Any] = {name: column[chosen] for name, column in self.columns().items()}
        columns["weight"] = columns["weight"] / columns["weight"].sum()
        return self.having(**columns)

    def weighted(self, weight: Array) -> "Tokens":
        """Return the same tokens with other weights, which must sum to 1, shape [N] [-]."""
        other = object.__new__(Tokens)
        for entry in fields(self):
            if entry.name not in self._later:
                object.__setattr__(other, entry.name, getattr(self, entry.name))
        object.__setattr__(other, "weight", weight)
        return other

    def having(self, **columns: Any) -> "Tokens":
        """Return the tokens with other values of some fields; columns that were not read are not read for it.

        >>> Tokens(uncertainty=np.array([0.2]), rejection=np.zeros(1)).having(text="llm").text
        'llm'
        """
        later = {name: partial(getattr, self, name) for name in self._later if name not in columns}
        kept = {entry.name for entry in fields(self) if entry.init} - later.keys() - columns.keys()
        return Tokens.reading(later, **{name: getattr(self, name) for name in kept}, **columns)

    def at(self, threshold: float) -> "Tokens":
        """Return the tokens whatever threshold wrote the text: one text stands for all (`texts.Texts`)."""
        return self

    @property
    def acceptance(self) -> Array:
        """Chance that each draft is kept and the text goes on with it, shape [N] [-]."""
        return 1.0 - self.rejection if self.kept is None else self.kept

    def need(self, name: str) -> Array:
        """Return a column that may be missing, or say which one is."""
        value = getattr(self, name)
        if value is None:
            raise MissingInputError(
                f"the recorded tokens have no {name}; run `cuhlm calibrate`, "
                "or use --calibration qwen2.5-coder"
            )
        return value

    def thresholds(self) -> Array:
        """Return the thresholds to choose from: `NEVER_SKIP`, then the grid or the drafts' own values."""
        if self.threshold_grid is not None and self.skip_mass is not None:
            known = np.asarray(self.threshold_grid, dtype=np.float64)
        else:
            known = np.unique(self.uncertainty)
        return np.concatenate(([NEVER_SKIP], known))

    def threshold_place(self, threshold: float) -> int | None:
        """Place of a threshold on the recorded grid; -1 if it skips nothing, None off the grid."""
        if threshold < 0.0:
            return -1
        if self.threshold_grid is None or self.skip_mass is None or self.skip_risk is None:
            return None
        nearest = int(np.argmin(np.abs(self.threshold_grid - threshold)))
        return nearest if abs(self.threshold_grid[nearest] - threshold) < _GRID_TOLERANCE else None

    def below(self, threshold: float, *, drafts: bool = False) -> Skips:
        """Keep the drafts of at most this uncertainty, and send the others.

        >>> Tokens(uncertainty=np.array([0.1, 0.9]), rejection=np.array([0.2, 0.6])).below(0.5).risk
        array([0.2, 0. ])
        """
        return self.keeping(Steps.below(threshold), drafts=drafts)

    def keeping(self, steps: Steps, *, drafts: bool = False) -> Skips:
        r"""Keep a share s of every draft the context could have made, or of the one it did make.

        .. math:: 1 - \textstyle\sum_d x_d s_d, \quad \sum_d x_d s_d \beta_d, \quad \sum_d (x_d s_d - y_d)_+

        A threshold on the recorded grid, and every share where the candidates hold all that is kept, are
        known exactly in each context. Otherwise, or with ``drafts``, the recorded draft stands for its
        context: unbiased, but noisier.

        >>> tokens = Tokens(uncertainty=np.array([0.1, 0.5]), rejection=np.array([0.2, 0.6]))
        >>> skips = tokens.keeping(Steps((0.3, 0.6), (1.0, 0.5)))
        >>> skips.risk, skips.excess
        (array([0.2, 0.3]), array([0.2, 0.1]))
        """
        highest = steps.highest
        if highest < 0.0:
            zero = np.zeros(len(self))
            return Skips(transmit=zero + 1.0, risk=zero, truncates=zero + 1.0, excess=zero)
        place = self.threshold_place(highest) if steps.whole else None
        if place is not None and not drafts:
            transmit = _transmit(self.need("skip_mass")[:, place])
            risk = np.asarray(self.need("skip_risk")[:, place], dtype=np.float64)
        elif self.knows_kept(highest) and not drafts:
            return self._of_candidates(steps)
        else:
            share = steps.share(self.uncertainty)
            kept_by_llm = 1.0 - self.rejection
            return Skips(
                transmit=1.0 - share,
                risk=share * self.rejection,
                truncates=np.full(len(self), 0.0 if np.all(share == 1.0) else 1.0),
                excess=np.maximum(share - kept_by_llm, 0.0),
            )
        return Skips(transmit=transmit, risk=risk, truncates=(transmit > 0.0).astype(np.float64), excess=risk)

    def knows_kept(self, highest: float) -> bool:
        """Whether the candidates hold every token of at most this uncertainty, since 1 - u sums to 1."""
        u = self.candidate_uncertainty
        return u is not None and (highest < 0.0 or highest < 1.0 - 1.0 / (1.0 + u.shape[1]))

    def _of_candidates(self, steps: Steps) -> Skips:
        few = self._candidates_below(steps.highest)
        x, y = self.need("candidate_prob")[:, :few], self.need("candidate_llm_prob")[:, :few]
        kept = x * steps.share(self.need("candidate_uncertainty")[:, :few])  # m, shape [N, few]
        rejected = np.divide(np.maximum(x - y, 0.0), x, out=np.zeros_like(x), where=x > 0.0)
        transmit = _transmit(kept.sum(axis=1))
        return Skips(
            transmit=transmit,
            risk=(kept * rejected).sum(axis=1),
            truncates=(transmit > 0.0).astype(np.float64),
            excess=np.maximum(kept - y, 0.0).sum(axis=1),
        )

    def _candidates_below(self, threshold: float) -> int:
        """How many candidates have at most this uncertainty, in the context with most."""
        u = self.need("candidate_uncertainty")
        least = self.once("least_uncertainty", lambda: u.min(axis=0))  # rising, shape [C]
        return int(np.searchsorted(least, threshold, side="right"))

    def transmit_chance(self, skip: "Skip") -> Array:
        """Chance that each context transmits; their mean where the record only knows the drafts."""
        chance = skip.skips(self).transmit
        known = self.knows_kept(skip.highest) or skip.mixture(
            lambda t: self.threshold_place(t) is not None, lambda low, high, mix: low and high
        )
        return chance if known else np.full(len(self), float(self.weight @ chance))

    def transmit_profile(self) -> Array:
        """Chance to transmit in each context at each recorded threshold, shape [N, J] [-]."""
        return _transmit(self.need("skip_mass"))

    def risk_profile(self) -> Array:
        """Risk of each context at each threshold, or of its draft, of the same mean, shape [N, J] [-].

        >>> grid = np.array([0.3, 1.0])
        >>> draft = {"uncertainty": np.array([0.5]), "rejection": np.array([0.2])}
        >>> Tokens(**draft, threshold_grid=grid).risk_profile()
        array([[0. , 0.2]])
        """
        if self.skip_risk is not None:
            return np.asarray(self.skip_risk, dtype=np.float64)
        return self.rejection[:, None] * (self.uncertainty[:, None] <= self.need("threshold_grid"))

    def draft_uncertainty(self) -> Array:
        """u-bar as it was recorded, shape [N] [-]."""
        return self.uncertainty

    def mean_rejection(self) -> Array:
        """TV(x, y) of each context, or beta of its draft, which has the same mean, shape [N] [-]."""
        return self.rejection if self.tv is None else self.tv

    def size_profile(self) -> tuple[Ints, Array]:
        """Return the recorded sizes and the truncation TV of each."""
        profile = self.need("tv_profile")
        return np.asarray(self.need("k_grid"), dtype=np.int64), profile

    def smallest_k(self, budget: float) -> Ints:
        """Fewest recorded entries with a truncation TV within the budget, else all.

        >>> profile = np.array([[0.5, 0.1, 0.0], [0.5, 0.4, 0.3]])
        >>> grid = {"k_grid": np.array([1, 2, 8]), "tv_profile": profile}
        >>> Tokens(uncertainty=np.zeros(2), rejection=np.zeros(2), **grid).smallest_k(0.2)
        array([2, 8])
        """
        sizes, profile = self.size_profile()
        return sizes[_first_within(profile, budget)]

    def smallest_printed_k(self, budget: float, line: Line) -> Ints:
        """Fewest recorded entries within the budget of the printed rule, else all."""
        sizes, profile = self.size_profile()
        prob, rejection = self.need("draft_prob"), line(self.uncertainty)
        merit = printed_bound(np.clip(profile, 0.0, 1.0), prob[:, None], rejection[:, None])  # [N, K]
        return sizes[_first_within(merit, budget)]

    def truncation_tv(self, k: Ints) -> Array:
        """TV_k at the recorded size at or below k, a bound between sizes; NaN where none was recorded."""
        if self.tv_profile is None:
            return np.full(len(self), np.nan)
        sizes, profile = self.size_profile()
        place = np.searchsorted(sizes, k, side="right") - 1
        return np.take_along_axis(profile, place[:, None], axis=1)[:, 0].astype(np.float64)

    def output_bias_at(self, k: Ints, may_keep: int) -> Array:
        r"""Bias of verifying with k entries, nothing skipped: as recorded, or TV_k at a size that was not.

        .. math:: \mathrm{TV}(q, y) \le \mathrm{TV}(q_0, y) + \textstyle\sum_d x_d s_d \beta_d

        as long as the tokens that ``may_keep`` are among the entries; with fewer TV_k is charged.

        Derivation: ``derivations.truncation.recorded_account``.

        >>> row = {"uncertainty": np.zeros(2), "rejection": np.zeros(2), "k_grid": np.array([1, 2, 3])}
        >>> row |= {"tv_profile": np.tile([0.3, 0.1, 0.0], (2, 1)), "coarse_k_grid": np.array([1, 3])}
        >>> tokens = Tokens(**row, output_bias=np.tile([0.2, 0.0], (2, 1)))
        >>> tokens.output_bias_at(np.array([1, 2]), may_keep=1)
        array([0.2, 0.1])
        """
        sizes, known = self.need("coarse_k_grid"), self.need("output_bias")
        place = np.minimum(np.searchsorted(sizes, k), len(sizes) - 1)
        recorded = np.take_along_axis(known, place[:, None], axis=1)[:, 0].astype(np.float64)
        bound = self.truncation_tv(k)
        return np.where((sizes[place] == k) & (k >= may_keep), np.minimum(recorded, bound), bound)

    def acceptance_within(self, k: Ints) -> Array:
        """1 - TV(x-tilde_k, y) of each context, linear in log k between two recorded sizes."""
        grid = np.log(self.need("coarse_k_grid").astype(np.float64))
        table = self.need("truncated_acceptance")
        at = np.clip(np.log(k), grid[0], grid[-1])
        right = np.maximum(np.searchsorted(grid, at), 1)
        share = (at - grid[right - 1]) / (grid[right] - grid[right - 1])
        row = np.arange(len(self))
        return (1.0 - share) * table[row, right - 1] + share * table[row, right]

    def rounded_acceptance(self, k: Ints, rounding: Callable[[Array], Array]) -> Array:
        r"""Chance to keep a draft from the k largest entries, renormalised and rounded; NaN where unknown.

        .. math:: 1 - \mathrm{TV}(\hat x, y) = \textstyle\sum_{i \le k} \min(\hat x_i, y_i)

        The candidates hold these entries up to their number: the larger a logit the larger is its probability
        at every temperature, so that the least uncertain tokens are the likeliest.

        >>> row = {"candidate_uncertainty": np.array([[0.2, 0.6]]), "candidate_prob": np.array([[0.6, 0.3]])}
        >>> row |= {"uncertainty": np.zeros(1), "rejection": np.zeros(1)}
        >>> tokens = Tokens(**row, candidate_llm_prob=np.array([[0.7, 0.2]]))
        >>> tokens.rounded_acceptance(np.array([2]), lambda law: np.round(2 * law) / 2)
        array([0.7])
        """
        found = np.full(len(self), np.nan)
        if self.candidate_prob is None:
            return found
        x, y = self.likeliest()
        known = k <= x.shape[1]
        kept = np.where(np.arange(x.shape[1]) < k[:, None], x, 0.0)[known]
        law = rounding(kept / kept.sum(axis=1, keepdims=True))
        found[known] = np.minimum(law, y[known]).sum(axis=1)
        return found

    def knows_largest(self, k: Ints) -> bool:
        """Whether the candidates hold the k largest entries of each context.

        >>> row = {"uncertainty": np.array([0.1]), "rejection": np.array([0.0])}
        >>> Tokens(**row).knows_largest(np.array([1]))
        False
        """
        return self.candidate_prob is not None and bool(np.all(k <= self.candidate_prob.shape[1]))

    def likeliest(self) -> tuple[Array, Array]:
        """Return x and y of the candidates of each context, the likeliest first, shape [N, C] [-]."""
        x, y = self.need("candidate_prob"), self.need("candidate_llm_prob")

        def sorted_() -> tuple[Array, Array]:
            order = np.argsort(-x, axis=1, kind="stable")
            return np.take_along_axis(x, order, axis=1), np.take_along_axis(y, order, axis=1)

        return self.once("likeliest", sorted_)

    def kept_count(self, threshold: float, vocab_size: int) -> Ints:
        """Tokens of at most this uncertainty in each context; the most there can be if none were recorded.

        >>> row = {"uncertainty": np.array([0.1]), "rejection": np.array([0.0])}
        >>> Tokens(**row).kept_count(0.4, 32_000), Tokens(**row).kept_count(0.7, 32_000)
        (array([1]), array([3]))
        """
        if threshold < 0.0:
            return np.zeros(len(self), dtype=np.int64)
        if self.knows_kept(threshold):
            few = self._candidates_below(threshold)
            u, x = self.need("candidate_uncertainty")[:, :few], self.need("candidate_prob")[:, :few]
            return np.sum((u <= threshold) & (x > 0.0), axis=1)
        most = int(most_kept_tokens(min(threshold, 1.0), vocab_size))
        return np.where(self.below(threshold).transmit < 1.0, most, 0)

    def largest_prob(self) -> Array:
        """x_(1) as it was recorded, shape [N] [-]."""
        return self.need("max_prob")

    def llm_largest_prob(self) -> tuple[Array, Array]:
        """Bounds on y_(1) by the recorded candidates: it is one of them, or within what they leave."""
        y = self.need("candidate_llm_prob")

        def bounds() -> tuple[Array, Array]:
            largest = y.max(axis=1)
            return largest, np.maximum(largest, 1.0 - y.sum(axis=1))

        return self.once("llm_largest_prob", bounds)

    def llm_entropy(self) -> tuple[Array, Array]:
        """Bounds on the entropy of y [nat]: what the candidates leave is one token, or spread evenly."""
        y = self.need("candidate_llm_prob")
        others = int(self.need("k_grid")[-1]) - y.shape[1]

        def bounds() -> tuple[Array, Array]:
            known = np.clip(y, 0.0, 1.0)
            rest = np.maximum(1.0 - known.sum(axis=1), 0.0)
            least = entropy_nat(np.column_stack((known, rest)))
            return least, least + rest * np.log(max(others, 1))

        return self.once("llm_entropy", bounds)

    def server_bias_at(self, threshold: float) -> Array:
        """Bias of a server that draws from its own law at a recorded threshold, else NaN, shape [N] [-]."""
        place = self.threshold_place(threshold)
        if place == -1:
            return np.zeros(len(self))
        if place is None or self.server_bias is None:
            return np.full(len(self), np.nan)
        return np.asarray(self.server_bias[:, place], dtype=np.float64)


_COLUMNS = tuple(
    entry.name
    for entry in fields(Tokens)
    if not entry.name.endswith("_grid") and entry.name not in ("text", "_later", "_found")
)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _first_within(profile: Array, budget: float) -> Ints:
    """Place of the first entry of each row that is within a budget, else the last, shape [N]."""
    within = profile <= budget
    within[:, -1] = True
    return np.argmax(within, axis=1)


def _transmit(mass: Array) -> Array:
    """Chance to transmit where so much mass is skipped."""
    transmit = np.clip(1.0 - np.asarray(mass, dtype=np.float64), 0.0, 1.0)
    transmit[transmit < _ALWAYS_SKIPS] = 0.0
    return transmit
