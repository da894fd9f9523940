"""From a derived claim to a number: what the joins share."""

import functools
import importlib

import numpy as np
import sympy as sp

from derivations.statement import Statement
from derivations.vocabulary import size


@functools.cache
def statement(name: str) -> Statement:
    """The statement ``module.function``, built once."""
    module, function = name.split(".")
    return getattr(importlib.import_module(f"derivations.{module}"), function)()


def claim(name: str, left: str, number: int = 0):
    """The claim whose left side is printed as ``left``, the ``number``-th of them."""
    found = [one for one in statement(name).claims if sp.sstr(one.lhs) == left]
    assert found, f"{name} has no claim on {left}: {[sp.sstr(one.lhs) for one in statement(name).claims]}"
    return found[number]


@functools.cache
def _compiled(expression: sp.Expr):
    symbols = tuple(sorted(expression.free_symbols, key=lambda symbol: symbol.name))
    return symbols, sp.lambdify(symbols, expression, modules="mpmath")


def value(expression: sp.Expr, **numbers: float) -> float:
    """The expression at the numbers given, by symbol name, in mpmath."""
    symbols, function = _compiled(expression)
    missing = {symbol.name for symbol in symbols} - set(numbers)
    assert not missing, f"needs {missing}"
    return float(np.real(complex(function(*(numbers[symbol.name] for symbol in symbols)))))


def derived(name: str, left: str, number: int = 0, **numbers: float) -> float:
    """The right side of a claim at the numbers given."""
    return value(claim(name, left, number).rhs, **numbers)


def on_vocabulary(expression: sp.Expr, **vectors: np.ndarray) -> float:
    """An expression with sums over the vocabulary, on vectors by the name of their letter."""
    length = len(next(iter(vectors.values())))
    written = expression.subs(size, length).doit()
    entries = {}
    for atom in written.atoms(sp.Indexed):
        place = atom.indices[0]
        entries[atom] = sp.Float(float(vectors[str(atom.base)][int(place) - 1]))
    return float(written.xreplace(entries))
