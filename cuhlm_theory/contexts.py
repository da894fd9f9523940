"""What is known of the places where a token is due: recorded tokens, or the nodes of an assumed law."""

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from cuhlm_theory._checks import as_probability

Array = NDArray[np.float64]

_ROUNDING = 1e-5  # of sums of float32 probabilities
_PROFILES = {
    "": ("kept", "draft_prob", "llm_prob", "tv", "max_prob"),
    "k_grid": ("tv_profile", "tail_mass", "sorted_prob"),
    "coarse_k_grid": ("truncated_acceptance", "output_bias"),
    "threshold_grid": ("skip_mass", "skip_risk", "server_bias"),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Tokens:
    """Recorded tokens (or the nodes of an assumed law) as arrays; what a trace is to the theory.

    Only ``uncertainty`` and ``rejection`` are always there; what needs a missing column raises
    `cuhlm_theory.errors.MissingInputError` and names it. N tokens, K truncation sizes, C coarse
    truncation sizes, J thresholds.
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

    def __post_init__(self) -> None:
        num = len(self.uncertainty)
        if num == 0:
            raise ValueError("Tokens must hold at least 1 token; got 0")
        if self.weight.size == 0:
            object.__setattr__(self, "weight", np.full(num, 1.0 / num))
        for entry in fields(self):
            value = getattr(self, entry.name)
            if value is not None and not entry.name.endswith("_grid") and len(value) != num:
                raise ValueError(f"Tokens.{entry.name} must have {num} rows; got {len(value)}")
        for name in ("uncertainty", "rejection", "weight"):
            as_probability(name, getattr(self, name))
        if abs(float(self.weight.sum()) - 1.0) > 1e-9:
            raise ValueError(f"weight must sum to 1; got {self.weight.sum():g}")
        for grid_name, names in _PROFILES.items():
            grid = getattr(self, grid_name) if grid_name else np.empty(())
            if grid is not None and np.any(np.diff(np.atleast_1d(grid)) <= 0):
                raise ValueError(f"Tokens.{grid_name} must increase; got {grid}")
            for name in names:
                self._check_column(name, grid_name, None if grid is None else grid.shape)

    def _check_column(self, name: str, grid_name: str, shape: tuple[int, ...] | None) -> None:
        """Refuse a profile that does not fit its grid and what is no probability, float32 rounding apart."""
        column = getattr(self, name)
        if column is None:
            return
        if shape is None:
            raise ValueError(f"Tokens.{name} must come with Tokens.{grid_name}; got None")
        if column.shape[1:] != shape:
            raise ValueError(f"Tokens.{name} must have rows of shape {shape}; got {column.shape[1:]}")
        bad = ~((column >= -_ROUNDING) & (column <= 1.0 + _ROUNDING))  # catches NaN
        if np.any(bad):
            raise ValueError(f"Tokens.{name} must lie in [0, 1]; got {column[bad].flat[0]:g}")

    def __len__(self) -> int:
        return len(self.uncertainty)

    def __repr__(self) -> str:
        texts = "" if self.prompt is None else f", {len(np.unique(self.prompt))} prompts"
        known = {"skip": self.skip_mass, "truncation": self.tv_profile, "server": self.output_bias}
        profiles = ", ".join(name for name, column in known.items() if column is not None)
        return f"Tokens({len(self)} tokens{texts}; profiles: {profiles or 'none'})"

    @property
    def acceptance(self) -> Array:
        """Chance that each draft is kept and the text goes on with it, shape [N] [-]."""
        return 1.0 - self.rejection if self.kept is None else self.kept
