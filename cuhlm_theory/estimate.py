"""A number with its interval, which prints itself with its error."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cuhlm_theory import bootstrap
from cuhlm_theory._checks import Floats


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval.

    >>> Estimate(9.8482, 9.651, 10.07, unit="token/s")
    9.85 token/s [9.65, 10.1]
    """

    value: float
    """Point estimate."""
    low: float | None = None
    """Lower end of the interval; None where nothing was resampled."""
    high: float | None = None
    """Upper end."""
    unit: str = ""
    """Unit, empty for a pure number."""
    how: str = "no interval: i.i.d. tokens of an assumed law, or one text"
    """Where the interval comes from."""

    @classmethod
    def of(cls, value: float, replicates: Floats, *, unit: str = "", how: str = "") -> "Estimate":
        """Make an estimate of a value and its bootstrap replicates, shape [B]."""
        low, high = bootstrap.percentile_interval(replicates[:, None])
        return cls(float(value), float(low[0]), float(high[0]), unit, how)

    def covering(self, others: Iterable["Estimate"]) -> "Estimate":
        """Widen the interval until it covers those of others.

        >>> Estimate(1.0, 0.9, 1.1).covering([Estimate(1.2, 1.0, 1.3)])
        1 [0.9, 1.3]
        """
        known = [
            (one.low, one.high) for one in (self, *others) if one.low is not None and one.high is not None
        ]
        if self.ci95 is None or len(known) == 1:
            return self
        lows, highs = zip(*known, strict=True)
        return replace(self, low=min(lows), high=max(highs), how=f"{self.how}; covers both recorded texts")

    @property
    def ci95(self) -> tuple[float, float] | None:
        """The interval as a pair."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def to_dict(self) -> Mapping[str, Any]:
        """Value and interval as JSON takes them."""
        return {"value": self.value, "ci95": self.ci95}

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        if self.ci95 is None or not np.isfinite(self.value):
            return f"{self.value:.3g}{unit}"
        return f"{self.value:.3g}{unit} [{self.low:.3g}, {self.high:.3g}]"
