"""Symbols of one context, and totals over its vocabulary, shared by the derivations.

A lower-case symbol is one coordinate (the entry of one token); the same letter with an index is that entry
inside a sum over the whole vocabulary.
"""

import sympy as sp
from sympy.core.relational import Relational

from derivations.rules import SumOver, pairs
from derivations.statement import eq

token, other = sp.symbols("i j", integer=True, positive=True)
size = sp.Symbol("V", integer=True, positive=True)
X, Y, XH, S = (sp.IndexedBase(name) for name in ("x", "y", "xhat", "s"))
x, y, xh = sp.symbols("x y xhat", positive=True)
s = sp.Symbol("s", nonnegative=True)
"""Probability that the device keeps this draft and sends nothing."""

COORDINATES = pairs((x, y, xh, s), (X[token], Y[token], XH[token], S[token]))


def pos(value: sp.Expr) -> sp.Expr:
    """Return the positive part.

    Parameters
    ----------
    value : sympy expression
        What to cut off at 0.

    Returns
    -------
    sympy expression
        The larger of 0 and the value.
    """
    return sp.Max(0, value)


def total(expression: sp.Expr, index: sp.Symbol = token) -> sp.Sum:
    """Return the sum over the vocabulary.

    Parameters
    ----------
    expression : sympy expression
        One entry, in the index.
    index : sympy symbol, default i
        What to sum over.

    Returns
    -------
    sympy expression
        The unevaluated sum.
    """
    return sp.Sum(expression, (index, 1, size))


def over(expression: sp.Expr) -> sp.Sum:
    """Return the sum of a coordinate expression over the vocabulary.

    Parameters
    ----------
    expression : sympy expression
        In the coordinate symbols of this module.

    Returns
    -------
    sympy expression
        The unevaluated sum.
    """
    return total(expression.subs(dict(COORDINATES), simultaneous=True))


def sums_to_one(*bases: sp.IndexedBase) -> tuple[Relational, ...]:
    """Return the totals that make each argument a distribution.

    Parameters
    ----------
    *bases : sympy IndexedBase
        Distributions.

    Returns
    -------
    tuple of sympy relations
        One a distribution.
    """
    return tuple(eq(total(base[token]), 1) for base in bases)


def summing(*more: tuple[sp.Basic, sp.Expr]) -> SumOver:
    """Return the rule that sums a coordinate relation over the vocabulary.

    Parameters
    ----------
    *more : pair of sympy expressions
        Further coordinate symbols and what they stand for.

    Returns
    -------
    SumOver
        The rule.
    """
    return SumOver(token, size, (*COORDINATES, *more))  # type: ignore[arg-type]
