"""The geometric series, which every statement on repeated trials needs."""

from dataclasses import dataclass

import sympy as sp
from sympy.core.relational import Relational

from derivations.rules import Evaluate, Series
from derivations.statement import Step, eq, step


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometric:
    """The sum of the powers of a chance below 1."""

    total: sp.Sum
    """1 + r + r^2 + ..., unevaluated."""
    below_one: Relational
    """r = exp(-rho), which says that r is below 1."""
    steps: tuple[Step, ...]
    """What leads to its value."""
    value: Relational
    """(1 - r) times the sum is 1."""


def geometric(ratio: sp.Symbol, text: str) -> Geometric:
    """Sum the powers of a chance.

    Parameters
    ----------
    ratio : sympy symbol
        A positive chance r.
    text : str
        What the powers are, for the reader.

    Returns
    -------
    Geometric
        The sum with the steps to its value.
    """
    index, last = sp.symbols("n m", integer=True, positive=True)
    decay = sp.Symbol("rho", positive=True)
    term = ratio ** (index - 1)
    below_one = eq(ratio, sp.exp(-decay))
    partial = eq(sp.Sum(term, (index, 1, last)) * (1 - ratio), 1 - ratio**last)
    limit = eq(sp.Limit(1 - ratio**last, last, sp.oo, "-"), 1)
    total = sp.Sum(term, (index, 1, sp.oo))
    value = eq(total * (1 - ratio), 1)
    return Geometric(
        total=total,
        below_one=below_one,
        value=value,
        steps=(
            step(f"{text} The first m of them, times 1 - {ratio.name}, telescope.", partial, Evaluate()),
            step(
                f"As m grows {ratio.name}^m vanishes, because {ratio.name} = exp(-rho) is below 1,",
                limit,
                Evaluate(),
                below_one,
            ),
            step("so all of them sum to", value, Series(), partial, limit),
        ),
    )
