"""A row: one quantity predicted and measured, its interval, and which kind of statement predicts it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cuhlm_theory import bootstrap
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import MissingInputError

Floats = NDArray[np.float64]


Category = Literal["identity", "internal", "forecast"]
"""What a statement predicts from: the formula that is charged, the contexts met, or a trace alone."""

Entry = tuple[str, Category, bool, str]  # quantity, class, whether a bound, what the prediction rests on

ROUNDING = 2e-5  # columns are float32, and bounds are sums over the vocabulary

_NORMAL_95 = 1.96


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One quantity, predicted and measured."""

    quantity: str
    """What is compared, with its unit in brackets if it has one."""
    predicted: float
    """Theory."""
    measured: float
    """Measurement."""
    ci95: tuple[float, float] | None
    """Interval of the measurement around the prediction; None where there is one prompt."""
    agrees: bool | None
    """Whether the prediction lies in the interval (a bound: whether it holds); None where nothing says."""
    basis: str
    """What the prediction rests on."""
    category: Category
    """Class of the statement, whatever came of it."""
    bound: bool
    """Whether the prediction is an upper bound."""
    table: str
    """`trace` or the decoding run."""


def agreement(rows: Sequence[Row]) -> dict[Category, tuple[int, int]]:
    """Count the rows that agree and those that could be judged, by class.

    Parameters
    ----------
    rows : sequence of Row
        Compared rows.

    Returns
    -------
    dict
        Two counts a class.

    Examples
    --------
    >>> agreement([])
    {'identity': (0, 0), 'internal': (0, 0)}
    """
    found: dict[Category, tuple[int, int]] = {}
    for category in ("identity", "internal"):
        judged = [row.agrees for row in rows if row.category == category and row.agrees is not None]
        found[category] = sum(judged), len(judged)
    return found


class Ratios:
    """Rows whose two sides are ratios of sums over the same tokens, resampled together."""

    def __init__(self, prompt: ArrayLike, table: str) -> None:
        self.prompt = np.asarray(prompt)
        self.table = table
        self.entries: list[Entry] = []
        self.columns: list[Floats] = []
        self.noise: list[Floats] = []

    def add(
        self,
        quantity: str,
        predicted: ArrayLike,
        measured: ArrayLike,
        *,
        over: ArrayLike | tuple[ArrayLike, ArrayLike] = 1.0,
        basis: str,
        category: Category = "internal",
        bound: bool = False,
        variance: ArrayLike = 0.0,
    ) -> None:
        """Compare sum(predicted)/sum(over) with sum(measured)/sum(over), or over a pair the second of it.

        ``variance`` is that of a token's measured part given its context; the deviations of successive tokens
        are uncorrelated (martingale differences), so the variances add.
        """
        first, last = over if isinstance(over, tuple) else (over, over)
        for values in (predicted, first, measured, last):
            column = np.asarray(values, dtype=np.float64)
            self.columns.append(np.broadcast_to(column, self.prompt.shape))
        self.noise.append(np.broadcast_to(np.asarray(variance, dtype=np.float64), self.prompt.shape))
        self.entries.append((quantity, category, bound, basis))

    def rows(self, *, seed: int, num_resamples: int) -> list[Row]:
        if not self.entries:
            return []

        def statistic(sums: Floats) -> Floats:
            top, under, low, below = (sums[..., i::4] for i in range(4))
            predicted, measured = top / under, low / below
            return np.concatenate([predicted, measured, measured - predicted], axis=-1)

        result = bootstrap.of_sums(
            statistic,
            np.column_stack(self.columns),
            self.prompt,
            num_resamples=num_resamples,
            rng=np.random.default_rng(seed),
        )
        num = len(self.entries)
        rows = []
        for i, entry in enumerate(self.entries):
            predicted, measured = float(result.estimate[i]), float(result.estimate[num + i])
            total = float(self.columns[4 * i + 1].sum())
            known = float(np.sqrt(self.noise[i].sum())) / total if total > 0.0 else 0.0
            gap = result.interval(2 * num + i)
            if known > 0.0:
                centre, half = measured - predicted, _NORMAL_95 * known
                gap = gap or (centre, centre)
                gap = (min(gap[0], centre - half), max(gap[1], centre + half))
            rows.append(judge(entry, predicted, measured, gap, self.table))
        return rows


def judge(
    entry: Entry, predicted: float, measured: float, gap: tuple[float, float] | None, table: str
) -> Row:
    """Return a row; a bound agrees if it is kept, and a prediction if it lies in the interval."""
    quantity, category, bound, basis = entry
    slack = ROUNDING * max(1.0, abs(predicted)) if np.isfinite(predicted) else 0.0
    agrees = None  # undefined here, too few prompts, or too few tokens of this kind
    if np.isfinite(predicted) and np.isfinite(measured):
        if bound:
            agrees = bool(measured <= predicted + slack)
        elif gap is not None:
            agrees = bool(gap[0] - slack <= 0.0 <= gap[1] + slack)
    return Row(
        quantity=quantity,
        predicted=predicted,
        measured=measured,
        ci95=None if gap is None else (predicted + gap[0], predicted + gap[1]),
        agrees=agrees,
        basis=basis,
        category=category,
        bound=bound,
        table=table,
    )


def largest_variance(mean: Floats) -> Floats:
    """Largest variance of a value in [0, 1] with this mean (Bhatia-Davis), shape [N]."""
    return np.clip(mean * (1.0 - mean), 0.0, None)


def kept_variance(mass: Floats, risk: Floats) -> Floats:
    """Largest variance of s (1 - beta - R), R the mean share of skips that are kept, shape [N]."""
    total = float(mass.sum())
    share = 1.0 - float(risk.sum()) / total if total > 0.0 else 0.0
    kept = 1.0 - np.divide(risk, mass, out=np.zeros_like(mass), where=mass > 0.0)
    return mass * (largest_variance(kept) + (kept - share) ** 2)


def add_skips(
    table: Ratios, where: str, profile: tuple[Floats, Floats], skipped: Floats, loss: Floats, met: str
) -> None:
    """Compare what a skip rule keeps and loses with its mass and risk over the vocabulary, ``profile``.

    ``where`` takes the name of a row; ``loss`` is the rejection probability of the skipped drafts, else 0.
    """
    mass, risk = profile
    coin, kept = largest_variance(mass), kept_variance(mass, risk)
    said = {
        "skip rate": f"sum_d x_d s(d){met}",
        "risk": f"sum_d x_d s(d) beta_d{met} (verification.risk_is_bias)",
        "true skip rate": f"share of skips that verification would have kept{met}",
    }
    for what, top, found, over, variance in (
        ("skip rate", mass, skipped, 1.0, coin),
        ("risk", risk, loss, 1.0, largest_variance(risk)),
        ("true skip rate", mass - risk, skipped - loss, (mass, skipped), kept),
    ):
        table.add(where.format(what), top, found, over=over, basis=said[what], variance=variance)


def needed(tokens: Tokens, name: str) -> NDArray[Any]:
    value = getattr(tokens, name)
    if value is None:
        raise MissingInputError(f"the trace must hold the column {name}")
    return value
