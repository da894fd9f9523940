"""Inferences that look sound and are not: no rule of the derivations draws them, whatever it is given."""

import pytest
import sympy as sp

from derivations import rules
from derivations.statement import eq, le, lt

a, b, c, d = sp.symbols("a b c d", positive=True)
s = sp.Symbol("s", nonnegative=True)
r = sp.Symbol("r", real=True)

FALSE = {
    "x < y from x <= y": (lt(a, b), (le(a, b),)),
    "|x - y| > 0": (lt(0, sp.Abs(a - b)), ()),
    "|x - y| > 0 from x <= y": (lt(0, sp.Abs(a - b)), (le(a, b),)),
    "s < 1 from s <= 1": (lt(s, 1), (le(s, 1),)),
    "b = 1 from a b = a": (eq(r, 1), (eq(s * r, s),)),
    "x = y from a x = a y": (eq(a, b), (eq(r * a, r * b),)),
    "TV > 0 for any two laws": (lt(0, (sp.Abs(a - c) + sp.Abs(b - d)) / 2), ()),
}
RULES = (
    rules.Evaluate(),
    rules.Coefficients(),
    rules.Orderings((a, b)),
    rules.Orderings((a, b, c, d)),
    rules.SignPatterns((a, b), (c, d)),
    *(rules.Combine(factors) for factors in ((), (1 / s,), (1 / r,), (s,), (0,))),
    rules.Largest(),
    *(rules.Solve(variable) for variable in (a, b, r, s)),
    *(rules.OnlyRoot(variable) for variable in (a, r)),
    *(rules.PositiveRoot(variable) for variable in (a, b)),
    *(rules.Monotone(variable) for variable in (a, r, s)),
    rules.Linear(),
    rules.SameSum(),
    rules.ToLimit(),
    *(rules.Substitute(values) for values in ((), ((s, 0),), ((a, b),))),
    rules.Rename(),
    rules.Numeric(),
)


@pytest.mark.parametrize("name", FALSE)
def test_no_rule_draws_what_does_not_follow(name):
    claim, given = FALSE[name]
    drawn = []
    for rule in RULES:
        try:
            drawn += [rule] if rule.proves(claim, given) else []
        except (ValueError, TypeError, AttributeError):  # refused with a reason
            continue
    assert drawn == []


def test_the_same_rules_draw_what_does_follow():
    assert rules.Orderings((a, b)).proves(lt(a, b), (lt(a, b),))
    assert rules.Coefficients().proves(lt(s, 1), (lt(s, 1),))
    assert rules.Solve(r).proves(eq(r, 1), (eq(s * r, s), lt(0, s)))
    assert rules.Solve(a).proves(eq(a, b), (eq(c * a, c * b),))
    assert rules.Orderings((a, b)).proves(lt(0, sp.Abs(a - b)), (lt(a, b),))
