"""Rules that decide a claim: each returns True only where the claim follows, False where it cannot tell.

Exact throughout: what is numeric here (`Numeric`) compares closed numbers, with sympy's certified precision.
Nonnegativity is decided by coefficients: a quotient of polynomials in nonnegative symbols whose coefficients
are all nonnegative is nonnegative. Hypotheses such as a <= b enter by writing b = a + t with a new t >= 0,
and s <= 1 by s = t / (1 + t). The end point that is missing there, and ties between quantities that are put
in order, follow by continuity for equations and weak inequalities; for strict ones they are decided too.
"""

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import sympy as sp
from sympy.core.relational import Relational

Given = tuple[Relational, ...]
_KINKS = (sp.Max, sp.Min, sp.Abs)


def is_zero(expression: Any) -> bool:
    """Decide whether an expression vanishes identically; False also where sympy cannot tell.

    Parameters
    ----------
    expression : sympy expression
        What to decide.

    Returns
    -------
    bool
        True only if a chain of exact rewritings ends in 0.
    """
    expression = sp.sympify(expression)
    rewritings = (
        lambda e: e,
        sp.expand,
        lambda e: sp.cancel(sp.together(e)),
        lambda e: sp.powsimp(sp.expand(sp.powsimp(e, force=False))),
        lambda e: sp.expand(sp.expand_log(sp.expand_power_exp(e))),
        sp.simplify,
        lambda e: sp.simplify(sp.piecewise_fold(e)),
        lambda e: sp.simplify(sp.expand_func(e)),
        lambda e: sp.simplify(sp.expand_log(sp.expand(e), force=False)),
        lambda e: sp.simplify(_lambert(e)),
    )
    return any(rewrite(expression) == 0 for rewrite in rewritings)


def _lambert(expression: sp.Expr) -> sp.Expr:
    """Use W(z) exp(W(z)) = z, after writing powers of numbers as exponentials."""
    exponentials = expression.replace(
        lambda e: e.is_Pow and e.base.is_number and e.base.is_positive,
        lambda e: sp.exp(sp.expand(e.exp * sp.log(e.base))),
    )
    return exponentials.replace(
        lambda e: isinstance(e, sp.exp) and isinstance(e.exp, sp.LambertW),
        lambda e: e.exp.args[0] / e.exp,
    )


def is_nonnegative(expression: Any, *, strict: bool = False) -> bool:
    """Decide the sign of an expression by sympy's assumptions or by coefficients.

    Parameters
    ----------
    expression : sympy expression
        What to decide, in symbols that carry their own sign.
    strict : bool, default False
        Ask for a positive expression.

    Returns
    -------
    bool
        True only if the sign is certain.
    """
    expression = sp.sympify(expression)
    if expression.has(sp.LambertW):  # its principal branch is positive where its argument is
        expression = expression.replace(
            lambda e: isinstance(e, sp.LambertW) and len(e.args) == 1 and e.args[0].is_positive,
            lambda e: sp.Dummy(positive=True),
        )
    known = expression.is_positive if strict else expression.is_nonnegative
    if known:
        return True
    numerator, denominator = sp.fraction(sp.together(expression))
    if _coefficients(numerator, strict=strict) and _coefficients(denominator, strict=True):
        return True
    numerator, denominator = sp.fraction(sp.cancel(expression))
    if not strict and _square(numerator) and _coefficients(denominator, strict=True):
        return True
    if _coefficients(numerator, strict=strict) and _coefficients(denominator, strict=True):
        return True
    # cancel may return both with the sign turned
    return _coefficients(-numerator, strict=strict) and _coefficients(-denominator, strict=True)


def _coefficients(expression: sp.Expr, *, strict: bool) -> bool:
    known = expression.is_positive if strict else expression.is_nonnegative
    if known or expression.is_negative:
        return bool(known)
    expression = sp.expand(expression)
    if not strict and expression == 0:
        return True
    if not expression.free_symbols and not expression.atoms(sp.Indexed):
        return bool(expression.is_positive if strict else expression.is_nonnegative)
    positive_term = False
    for term in sp.Add.make_args(expression):
        factors = sp.Mul.make_args(term)
        if not all(factor.is_nonnegative or _even_power(factor) for factor in factors):
            return False
        positive_term = positive_term or all(factor.is_positive for factor in factors)
    return positive_term or not strict


def _square(expression: sp.Expr) -> bool:
    factors = sp.Mul.make_args(sp.factor(expression))
    return all(factor.is_nonnegative or _even_power(factor) for factor in factors)


def _even_power(factor: sp.Expr) -> bool:
    return bool(factor.is_Pow and factor.base.is_real and factor.exp.is_even)


@functools.lru_cache(maxsize=4096)
def _dominates(larger: sp.Expr, smaller: sp.Expr) -> bool:
    return is_nonnegative(larger - smaller)


def resolve(expression: Any, change: Mapping[sp.Basic, Any] | None = None) -> sp.Expr:
    """Remove maxima, minima and absolute values whose branch is certain.

    Parameters
    ----------
    expression : sympy expression
        In symbols that carry their own sign.
    change : mapping, optional
        What to substitute on the way.

    Returns
    -------
    sympy expression
        Equal to the argument after the substitution.
    """
    done: dict[sp.Basic, sp.Basic] = dict(change or {})

    def visit(node: sp.Basic) -> sp.Basic:
        # from the leaves up: sympy's own evaluation of kinks with large arguments is slow
        if node not in done:
            if not node.args:
                done[node] = node
            else:
                args = [visit(argument) for argument in node.args]
                done[node] = _resolved(type(node), args) if isinstance(node, _KINKS) else node.func(*args)
        return done[node]

    return cast(sp.Expr, visit(sp.sympify(expression)))


def _resolved(kind: Any, args: list[Any]) -> sp.Basic:
    if kind is sp.Abs:
        inside = args[0]
        if is_nonnegative(inside):
            return inside
        return -inside if is_nonnegative(-inside) else sp.Abs(inside, evaluate=False)
    kept = list(dict.fromkeys(args))
    for one, other in itertools.permutations(kept, 2):
        if one in kept and other in kept and _dominates(*((other, one) if kind is sp.Max else (one, other))):
            kept.remove(one)
    return kept[0] if len(kept) == 1 else kind(*kept, evaluate=False)


def branches(expression: sp.Expr) -> Iterator[sp.Expr]:
    """Yield every expression that the undecided maxima, minima and absolute values could mean.

    Parameters
    ----------
    expression : sympy expression
        Anything.

    Yields
    ------
    sympy expression
        One for each choice of branches; the argument equals one of them at every point.
    """
    expression = resolve(expression)
    innermost = [a for a in expression.atoms(*_KINKS) if not any(b.has(*_KINKS) for b in a.args)]
    if not innermost:
        yield expression
        return
    atom = min(innermost, key=sp.default_sort_key)
    choices = (atom.args[0], -atom.args[0]) if isinstance(atom, sp.Abs) else atom.args
    for choice in choices:
        yield from branches(expression.xreplace({atom: choice}))


def _decide(
    claim: Relational, change: Mapping[sp.Basic, Any], totals: Mapping[Any, Any] | None = None
) -> bool:
    """Decide a claim after a substitution that carries the hypotheses."""
    larger, smaller = (claim.gts, claim.lts) if _ordered(claim) else (claim.lhs, claim.rhs)
    gap = resolve(larger, change) - resolve(smaller, change)
    if totals:
        gap = gap.xreplace(dict(totals))
    if isinstance(claim, sp.Eq):
        return all(is_zero(case) for case in branches(gap))
    strict = _strict(claim)
    return all(is_nonnegative(case, strict=strict) for case in branches(gap))


def _ordered(claim: Relational) -> bool:
    return isinstance(claim, sp.Le | sp.Lt | sp.Ge | sp.Gt)


def _strict(claim: Relational) -> bool:
    return isinstance(claim, sp.StrictLessThan | sp.StrictGreaterThan)


def _never_zero(expression: Any) -> bool:
    """Decide whether an expression vanishes nowhere."""
    expression = sp.sympify(expression)
    return bool(
        expression.is_nonzero
        or is_nonnegative(expression, strict=True)
        or is_nonnegative(-expression, strict=True)
    )


def hypotheses(given: Given) -> dict[sp.Basic, sp.Expr]:
    """Turn hypotheses into a substitution that makes them true by construction.

    Parameters
    ----------
    given : tuple of sympy relations
        Each ``a <= s`` or ``a < s`` with a symbol on the larger side, ``s <= 1`` or ``s < 1`` for a
        nonnegative symbol, or ``s = expression``.

    Returns
    -------
    dict
        What to substitute, in terms of new nonnegative symbols.
    """
    return _written(given, frozenset())[0]


def _ways(given: Given, claim: Relational) -> Iterator[dict[sp.Basic, sp.Expr]]:
    """Yield substitutions that reach every point of the hypotheses, up to continuity where that suffices.

    A weak upper bound is written as a half-open interval; for a strict claim its end point is a case.
    """
    ends = _written(given, frozenset())[1] if _strict(claim) else []
    for chosen in itertools.product((False, True), repeat=len(ends)):
        reached = frozenset(place for place, end in zip(ends, chosen, strict=True) if end)
        yield _written(given, reached)[0]


def _written(given: Given, reached: frozenset[int]) -> tuple[dict[sp.Basic, sp.Expr], list[int]]:
    """Write hypotheses as a substitution, and return the places of those that miss their end point.

    The smaller side of a hypothesis in ``reached`` is put equal to the larger one.
    """
    change: dict[sp.Basic, sp.Expr] = {}
    without_end: list[int] = []
    for number, relation in enumerate(given):
        if isinstance(relation, sp.Eq):
            change[relation.lhs] = relation.rhs.subs(change)
            continue
        small, large = relation.lts, relation.gts
        free = small.is_Symbol and small.is_nonnegative and small not in change and not large.has(small)
        if large.is_Symbol and large not in change and not small.has(large):
            slack = sp.Symbol(f"t_{number}", nonnegative=True, positive=True if _strict(relation) else None)
            change[large] = small.subs(change) + slack
        elif free:
            # large t/(1+t) covers [0, large); a positive symbol needs t > 0
            slack = sp.Symbol(f"t_{number}", nonnegative=True, positive=small.is_positive)
            part = sp.S.One if number in reached else slack / (1 + slack)
            change[small] = large.subs(change) * part
            without_end += [] if _strict(relation) else [number]
        else:
            raise ValueError(f"cannot use the hypothesis {relation}")
    return change, without_end


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Carry out the derivatives, integrals, sums and limits of both sides and compare."""

    label: str = "carry out and compare"

    def proves(self, claim: Relational, given: Given) -> bool:
        """Decide the claim after substituting the given equations, left side by right side."""
        left, right = (_with(_with(side, given).doit(), given) for side in (claim.lhs, claim.rhs))
        if sp.oo in (left, right) or -sp.oo in (left, right):
            return isinstance(claim, sp.Eq) and left == right
        if isinstance(claim, sp.Eq):
            return is_zero(left - right)
        gap = right - left if claim.gts == claim.rhs else left - right
        return is_nonnegative(gap, strict=_strict(claim))


def _with(expression: sp.Expr, given: Given) -> sp.Expr:
    for relation in given:
        if not isinstance(relation, sp.Eq):
            raise ValueError(f"only equations can be substituted; got {relation}")
        expression = expression.subs(relation.lhs, relation.rhs)
    return expression


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Write the hypotheses into the claim and look at the signs of all coefficients."""

    label: str = "signs of all coefficients"

    def proves(self, claim: Relational, given: Given) -> bool:
        """Decide the claim under the given inequalities."""
        return all(_decide(claim, way) for way in _ways(given, claim))


@dataclass(frozen=True, slots=True)
class Orderings:
    """Split into every order of some positive quantities; in each, all kinks and signs are decided."""

    symbols: tuple[sp.Symbol, ...]
    label: str = "case by case, over every order of the quantities"

    def proves(self, claim: Relational, given: Given) -> bool:
        """Decide the claim in each ordering, under the given inequalities on other symbols."""
        ranks = [r for r in given if _ordered(r) and {r.lts, r.gts} <= set(self.symbols)]
        others = tuple(relation for relation in given if relation not in ranks)
        if any(symbol in hypotheses(others) for symbol in self.symbols):
            raise ValueError("an ordered symbol must be bare")
        if not all(symbol.is_nonnegative for symbol in self.symbols):
            raise ValueError("an ordered symbol must be nonnegative")
        for order in itertools.permutations(self.symbols):
            if any(order.index(r.lts) > order.index(r.gts) for r in ranks):
                continue
            for steps in self._gaps(order, ranks, strict=_strict(claim)):
                change = {symbol: sp.Add(*steps[: place + 1]) for place, symbol in enumerate(order)}
                for base in _ways(others, claim):
                    inner = {key: value.subs(change, simultaneous=True) for key, value in base.items()}
                    if not _decide(claim, {**inner, **change}):
                        return False
        return True

    @staticmethod
    def _gaps(
        order: tuple[sp.Symbol, ...], ranks: list[Relational], *, strict: bool
    ) -> Iterator[tuple[sp.Symbol, ...]]:
        """Yield symbols for the steps from 0 up; for a strict claim one may be 0 unless something forbids."""
        names = [f"g_{place}" for place in range(len(order))]
        if not strict:
            yield tuple(sp.Symbol(name, positive=True) for name in names)
            return
        # one of the steps up to a positive quantity, and one of those between strict neighbours, is positive
        spans = [range(place + 1) for place, symbol in enumerate(order) if symbol.is_positive]
        spans += [range(order.index(r.lts) + 1, order.index(r.gts) + 1) for r in ranks if _strict(r)]
        for chosen in {frozenset(choice) for choice in itertools.product(*spans)}:
            yield tuple(
                sp.Symbol(name, nonnegative=True, positive=True if place in chosen else None)
                for place, name in enumerate(names)
            )


@dataclass(frozen=True, slots=True)
class SignPatterns:
    """Split two distributions on a small vocabulary into every pattern of which is larger where.

    With ``rest`` the first one has that much of its mass outside the vocabulary, where the second has none.
    """

    first: tuple[sp.Symbol, ...]
    second: tuple[sp.Symbol, ...]
    unit: tuple[sp.Symbol, ...] = ()
    rest: sp.Symbol | None = None
    label: str = "every sign pattern of the two distributions"

    def proves(self, claim: Relational, given: Given) -> bool:
        """Decide the claim in each feasible pattern; both distributions sum to 1.

        Ties follow by continuity, so nothing strict is decided: the distributions may be the same.
        """
        if _strict(claim):
            return False
        base = hypotheses((*given, *(sp.Le(symbol, 1, evaluate=False) for symbol in self.unit)))
        size = len(self.first)
        lows = sp.symbols(f"m_:{size}", positive=True)
        gaps = sp.symbols(f"g_:{size}", positive=True)
        outside = [sp.Symbol("g_rest", positive=True)] if self.rest is not None else []
        for pattern in itertools.product((True, False), repeat=size):
            if all(pattern) or not (any(pattern) or outside):
                continue  # two distributions cannot differ in one direction only
            change: dict[sp.Basic, Any] = {**base, **({self.rest: outside[0]} if outside else {})}
            up = [gaps[i] for i in range(size) if pattern[i]] + outside
            down = [gaps[i] for i in range(size) if not pattern[i]]
            # what one law has more in some places it has less in the others
            scale = sp.Add(*up) / sp.Add(*down)
            for i, first_larger in enumerate(pattern):
                change[self.first[i]] = lows[i] + gaps[i] if first_larger else lows[i]
                change[self.second[i]] = lows[i] if first_larger else lows[i] + gaps[i] * scale
            totals = {lows[-1]: 1 - sp.Add(*lows[:-1]) - sp.Add(*up)}  # the first law sums to 1
            if not _decide(claim, change, totals):
                return False
        return size > 1


def linear_sums(expression: Any, totals: Mapping[sp.Basic, sp.Expr]) -> sp.Expr:
    """Write sums over the vocabulary as linear combinations of sums that cannot be split further.

    Parameters
    ----------
    expression : sympy expression
        Built from ``sympy.Sum``; sums inside sums are joined.
    totals : mapping
        Sums whose value is known, already split.

    Returns
    -------
    sympy expression
        Equal to the argument; the order of finite sums has been made canonical.
    """
    expression = sp.sympify(expression)

    def split(total: sp.Sum) -> sp.Expr:
        inner = linear_sums(total.function, {}) if total.function.has(sp.Sum) else total.function
        pieces: list[sp.Expr] = []
        for term in sp.Add.make_args(sp.expand(inner)):
            limits = list(total.limits)
            factors: list[sp.Expr] = []
            for factor in sp.Mul.make_args(term):
                if isinstance(factor, sp.Sum):
                    factors.append(factor.function)
                    limits.extend(factor.limits)
                else:
                    factors.append(factor)
            pieces.append(_settle(sp.Mul(*factors), limits, totals))
        return sp.Add(*pieces)

    return sp.expand(expression.replace(lambda e: isinstance(e, sp.Sum), split))


def _settle(term: sp.Expr, limits: list[Any], totals: Mapping[sp.Basic, sp.Expr]) -> sp.Expr:
    for limit in limits:
        index, low, high = limit
        outside, inside = term.as_independent(index, as_Add=False)
        value = (high - low + 1) if inside == 1 else totals.get(sp.Sum(inside, limit))
        if value is not None:
            rest = [other for other in limits if other != limit]
            return _settle(outside * value, rest, totals) if rest else outside * value
    if not limits:
        return term
    indices = [limit[0] for limit in limits]
    outside, inside = term.as_independent(*indices, as_Add=False)
    return outside * sp.Sum(inside, *sorted(limits, key=sp.default_sort_key))


@dataclass(frozen=True, slots=True)
class SumOver:
    """Sum a relation between coordinates over the whole vocabulary and insert the known totals."""

    index: sp.Symbol
    size: sp.Symbol
    coordinates: tuple[tuple[sp.Symbol, sp.Expr], ...]
    label: str = "sum the coordinates"

    def proves(self, claim: Relational, given: Given) -> bool:
        """Decide the claim from the first given relation; the other given equations are totals."""
        coordinate, *known = given
        if type(coordinate) is not type(claim):
            return False
        totals: dict[sp.Basic, sp.Expr] = {}
        for relation in known:
            value = linear_sums(relation.lhs, {})
            if not isinstance(relation, sp.Eq) or not isinstance(value, sp.Sum):
                raise ValueError(f"a total must be one sum with its value; got {relation}")
            totals[value] = relation.rhs
        limits = (self.index, 1, self.size)
        put = dict(self.coordinates)
        sides = []
        for side in (coordinate.lhs, coordinate.rhs):
            terms = sp.Add.make_args(sp.expand(side))
            total = sp.Add(*(sp.Sum(term.subs(put, simultaneous=True), limits) for term in terms))
            sides.append(linear_sums(total, totals))
        wanted = [linear_sums(side, totals) for side in (claim.lhs, claim.rhs)]
        # moving terms across the sign keeps the relation
        return is_zero(sp.expand((wanted[0] - wanted[1]) - (sides[0] - sides[1])))


@dataclass(frozen=True, slots=True)
class SameSum:
    """Reorder finite sums, take factors out of them and insert the known totals."""

    label: str = "reorder the sums"

    def proves(self, claim: Relational, given: Given) -> bool:
        """Decide an equation between sums; the given equations are totals."""
        totals = {linear_sums(relation.lhs, {}): relation.rhs for relation in given}
        return isinstance(claim, sp.Eq) and is_zero(
            linear_sums(claim.lhs, totals) - linear_sums(claim.rhs, totals)
        )


@dataclass(frozen=True, slots=True)
class Combine:
    """Add earlier relations, each times a nonnegative factor, and compare with the claim."""

    factors: tuple[Any, ...] = ()
    sums: bool = False
    label: str = "add the earlier relations"

    def proves(self, claim: Relational, given: Given) -> bool:
        """Decide the claim; the factor of an equation may have any sign, a leftover must be nonnegative."""
        factors = self.factors or (1,) * len(given)
        if len(factors) != len(given):
            raise ValueError("one factor a relation")
        if not all(_is_finite(factor) for factor in factors):
            return False  # a relation times 1/0 says nothing
        start = sp.sympify((claim.gts - claim.lts) if _ordered(claim) else (claim.lhs - claim.rhs))
        strict = False
        equations = []
        for factor, relation in zip(factors, given, strict=True):
            if isinstance(relation, sp.Eq):
                equations.append(factor * (relation.lhs - relation.rhs))
                continue
            if not _ordered(claim) or not is_nonnegative(factor):
                return False
            if _strict(relation):
                strict = strict or is_nonnegative(factor, strict=True)
            start -= factor * (relation.gts - relation.lts)
        # an equation may be used in either direction
        gaps = [
            start - sp.Add(*(sign * equation for sign, equation in zip(signs, equations, strict=True)))
            for signs in itertools.product((1, -1), repeat=len(equations))
        ]
        gaps = [linear_sums(gap, {}) for gap in gaps] if self.sums else gaps
        wants_strict = _strict(claim)
        if any(sp.expand(gap) == 0 for gap in gaps) or any(is_zero(gap) for gap in gaps):
            return strict or not wants_strict
        return _ordered(claim) and any(
            is_nonnegative(gap, strict=wants_strict and not strict) for gap in gaps
        )


def _is_finite(factor: Any) -> bool:
    """Decide whether no denominator of a factor can vanish."""
    return _never_zero(sp.fraction(sp.together(sp.sympify(factor)))[1])


@dataclass(frozen=True, slots=True)
class Largest:
    """A quantity is at most a bound if each branch of its maximum or absolute value is."""

    label: str = "both branches are bounded"

    def proves(self, claim: Relational, given: Given) -> bool:
        """Decide ``Max(...) <= bound`` or ``Abs(...) <= bound`` from one given relation a branch."""
        if not isinstance(claim, sp.Le) or not isinstance(claim.lhs, sp.Max | sp.Abs):
            return False
        inside = claim.lhs.args
        cases = (inside[0], -inside[0]) if isinstance(claim.lhs, sp.Abs) else inside

        def bounded(case: sp.Basic) -> bool:
            if is_nonnegative(claim.rhs - case):
                return True
            return any(
                isinstance(relation, sp.Le) and is_zero((claim.rhs - case) - (relation.rhs - relation.lhs))
                for relation in given
            )

        return all(bounded(case) for case in cases)


@dataclass(frozen=True, slots=True)
class Solve:
    """Solve an equation for one quantity; the root must be the only one that its sign allows."""

    variable: sp.Symbol
    label: str = "solve"

    def proves(self, claim: Relational, given: Given) -> bool:
        """Decide ``variable = root`` from the first given equation, after substituting the others.

        Given strict inequalities say what does not vanish.
        """
        equation, *known = given
        if not isinstance(claim, sp.Eq) or claim.lhs != self.variable or not isinstance(equation, sp.Eq):
            return False
        conditions = tuple(relation for relation in known if _strict(relation))
        equations = tuple(relation for relation in known if relation not in conditions)
        function = _with(equation.lhs - equation.rhs, equations)
        numerator = sp.fraction(sp.together(function))[0]
        if not numerator.is_polynomial(self.variable):
            return False
        polynomial = sp.Poly(numerator, self.variable)
        rest = polynomial.eval(0) if polynomial.degree() == 1 else sp.S.Zero
        # where the leading coefficient vanishes any value would do, or none, as 0 v = 1 has
        if not (_never_zero(rest) or _nonzero_where(polynomial.LC(), conditions)):
            return False
        roots = sp.solve(function, self.variable)
        return len(roots) == 1 and is_zero(roots[0] - claim.rhs)


def _nonzero_where(expression: sp.Expr, conditions: Given) -> bool:
    """Decide whether an expression vanishes nowhere that strict inequalities hold."""
    if _never_zero(expression):
        return True
    if any(_never_zero(sp.cancel(expression / (r.gts - r.lts))) for r in conditions):
        return True
    try:
        change = hypotheses(conditions)
    except ValueError:
        return False
    return bool(conditions) and _never_zero(resolve(expression, change))


@dataclass(frozen=True, slots=True)
class OnlyRoot:
    """A strictly monotone function has one root: check that this is it."""

    variable: sp.Symbol
    label: str = "insert the root; a strictly monotone function has no other"

    def proves(self, claim: Relational, given: Given) -> bool:
        """Decide ``variable = root`` from ``f = 0`` and ``df/dvariable > 0`` (or ``< 0``)."""
        equation, slope = given
        if not isinstance(claim, sp.Eq) or claim.lhs != self.variable or not isinstance(equation, sp.Eq):
            return False
        function = equation.lhs - equation.rhs
        sign = {slope.gts, slope.lts} - {sp.S.Zero}
        if not isinstance(slope, sp.Gt | sp.Lt) or len(sign) != 1:
            return False
        (derivative,) = sign
        if not is_zero(derivative.doit() - sp.diff(function, self.variable)):
            return False
        if self.variable.is_positive and not is_nonnegative(claim.rhs, strict=True):
            return False
        return is_zero(function.subs(self.variable, claim.rhs))


@dataclass(frozen=True, slots=True)
class PositiveRoot:
    """Descartes: coefficients with one change of sign leave one positive root; check that this is it."""

    variable: sp.Symbol
    label: str = "insert the root; one change of sign leaves no other positive root"

    def proves(self, claim: Relational, given: Given) -> bool:
        """Decide ``variable = root`` from ``polynomial = 0``."""
        (equation,) = given
        if not isinstance(claim, sp.Eq) or claim.lhs != self.variable or not isinstance(equation, sp.Eq):
            return False
        polynomial = sp.Poly(equation.lhs - equation.rhs, self.variable)
        signs = []
        for coefficient in polynomial.all_coeffs():
            if coefficient == 0:
                continue
            if not (coefficient.is_positive or coefficient.is_negative):
                return False
            signs.append(bool(coefficient.is_positive))
        changes = sum(a != b for a, b in itertools.pairwise(signs))
        root = claim.rhs
        return (
            changes == 1
            and bool(root.is_positive)
            and is_zero(polynomial.as_expr().subs(self.variable, root))
        )


@dataclass(frozen=True, slots=True)
class Fundamental:
    """Integrate by the antiderivative and its two limits."""

    label: str = "the antiderivative between its limits"

    def proves(self, claim: Relational, given: Given) -> bool:
        """Decide ``Integral(f, (x, a, b)) = value`` from dF/dx = f, lim F at b and lim F at a."""
        slope, upper, lower = given
        integral = claim.lhs
        if not isinstance(claim, sp.Eq) or not isinstance(integral, sp.Integral) or len(integral.limits) != 1:
            return False
        variable, low, high = integral.limits[0]
        if not (isinstance(slope.lhs, sp.Derivative) and is_zero(slope.rhs - integral.function)):
            return False
        antiderivative = slope.lhs.expr
        for relation, point in ((upper, high), (lower, low)):
            if not isinstance(relation.lhs, sp.Limit) or not isinstance(relation, sp.Eq):
                return False
            function, var, end, _ = relation.lhs.args
            if var != variable or end != point or not is_zero(function - antiderivative):
                return False
        return slope.lhs.variables == (variable,) and is_zero(claim.rhs - (upper.rhs - lower.rhs))


@dataclass(frozen=True, slots=True)
class Linear:
    """Take sums and constants out of integrals, then compare; no integral is evaluated."""

    label: str = "the integral is linear"

    def proves(self, claim: Relational, given: Given) -> bool:
        """Decide an equation between integrals from the given equations."""
        if not isinstance(claim, sp.Eq):
            return False
        gap = (claim.lhs - claim.rhs) - sum((r.lhs - r.rhs for r in given), sp.S.Zero)
        return is_zero(_linear_integrals(gap))


def _linear_integrals(expression: sp.Expr) -> sp.Expr:
    """Write integrals as linear combinations of integrals that cannot be split further."""

    def split(integral: sp.Integral) -> sp.Expr:
        variables = [limit[0] for limit in integral.limits]
        pieces = []
        for term in sp.Add.make_args(sp.expand(integral.function)):
            outside, inside = term.as_independent(*variables, as_Add=False)
            pieces.append(outside * sp.Integral(inside, *integral.limits))
        return sp.Add(*pieces)

    return sp.expand(expression.replace(lambda e: isinstance(e, sp.Integral), split))


@dataclass(frozen=True, slots=True)
class IntegrateOver:
    """Integrate a relation that holds at every point of an interval."""

    variable: sp.Symbol
    low: Any
    high: Any
    label: str = "integrate both sides"

    def proves(self, claim: Relational, given: Given) -> bool:
        """Decide the claim from the relation at a point; an inequality also needs ``low < high``."""
        pointwise, *order = given
        if type(pointwise) is not type(claim):
            return False
        ends = (sp.sympify(self.low), sp.sympify(self.high))
        if self.variable.is_nonnegative and not all(end.is_extended_nonnegative for end in ends):
            return False  # the relation is known only where the variable's own sign holds
        if _ordered(claim) and order != [sp.Lt(self.low, self.high, evaluate=False)]:
            return False
        limits = (self.variable, self.low, self.high)
        return all(
            is_zero(_linear_integrals(mine - sp.Integral(theirs, limits)))
            for mine, theirs in ((claim.lhs, pointwise.lhs), (claim.rhs, pointwise.rhs))
        )


@dataclass(frozen=True, slots=True)
class Series:
    """Let the number of terms of a sum grow without end."""

    label: str = "let the number of terms grow"

    def proves(self, claim: Relational, given: Given) -> bool:
        """Decide ``c Sum(f, (n, a, oo)) = L`` from ``c Sum(f, (n, a, m)) = g(m)`` and ``lim g = L``."""
        partial, end = given
        sums = list(partial.lhs.atoms(sp.Sum))
        if not all(isinstance(r, sp.Eq) for r in (claim, partial, end)) or len(sums) != 1:
            return False
        (finite,) = sums
        index, low, last = finite.limits[0]
        if len(finite.limits) != 1 or not isinstance(end.lhs, sp.Limit):
            return False
        function, variable, point, _ = end.lhs.args
        if variable != last or point != sp.oo or not is_zero(function - partial.rhs):
            return False
        endless = partial.lhs.xreplace({finite: sp.Sum(finite.function, (index, low, sp.oo))})
        return not endless.has(last) and claim.lhs == endless and claim.rhs == end.rhs


@dataclass(frozen=True, slots=True)
class Telescope:
    """A sum of differences is the difference of its ends."""

    potential: Any
    label: str = "telescope"

    def proves(self, claim: Relational, given: Given) -> bool:
        """Decide ``Sum(f(i), (i, a, n)) = F(a) - F(n + 1)`` where f(i) = F(i) - F(i + 1)."""
        if not isinstance(claim, sp.Eq) or not isinstance(claim.lhs, sp.Sum) or len(claim.lhs.limits) != 1:
            return False
        index, low, high = claim.lhs.limits[0]
        if not ((high - low + 1).is_nonnegative and index.is_integer):
            return False
        potential = sp.sympify(self.potential)
        difference = potential - potential.subs(index, index + 1)
        ends = potential.subs(index, low) - potential.subs(index, high + 1)
        return is_zero(claim.lhs.function - difference) and is_zero(claim.rhs - ends)


@dataclass(frozen=True, slots=True)
class ToLimit:
    """What holds for every number of terms holds, without strictness, in the limit."""

    label: str = "in the limit"

    def proves(self, claim: Relational, given: Given) -> bool:
        """Decide ``L <= c`` (or ``c <= L``) from ``f(n) <= c`` (or ``c <= f(n)``) and ``lim f = L``."""
        every, end = given
        if not isinstance(claim, sp.Le) or not _ordered(every) or not isinstance(end, sp.Eq):
            return False
        if not isinstance(end.lhs, sp.Limit) or claim.has(end.lhs.args[1]):
            return False
        function, variable, point, _ = end.lhs.args
        if point != sp.oo or not variable.is_integer:
            return False
        for (side, other), (mine, fixed) in (
            ((every.lts, every.gts), (claim.lhs, claim.rhs)),
            ((every.gts, every.lts), (claim.rhs, claim.lhs)),
        ):
            if is_zero(side - function) and is_zero(mine - end.rhs) and is_zero(other - fixed):
                return True
        return False


@dataclass(frozen=True, slots=True)
class ChangeVariable:
    """Change the variable of an integral."""

    variable: sp.Symbol
    value: Any
    new: sp.Symbol
    label: str = "change the variable"

    def proves(self, claim: Relational, given: Given) -> bool:
        """Decide ``Integral(f, x) = Integral(g, t)`` for x = value(t), up to factors free of t."""
        left, right = claim.lhs, claim.rhs
        if not isinstance(claim, sp.Eq) or not isinstance(left, sp.Integral):
            return False
        moved = left.transform(self.variable, (self.value, self.new))
        ours = list(right.atoms(sp.Integral))
        if len(ours) != 1 or ours[0].limits != moved.limits:
            return False
        factor = right / ours[0]
        if factor.has(self.new, sp.Integral):
            return False
        return is_zero(moved.function - factor * ours[0].function)


@dataclass(frozen=True, slots=True)
class Monotone:
    """A function that rises from a known value stays above it; one that falls stays below."""

    variable: sp.Symbol
    label: str = "monotone from a known value"

    def proves(self, claim: Relational, given: Given) -> bool:
        """Decide ``c <= f`` (or ``<``) from ``0 <= df/dx`` (or ``<``) right of a, and ``lim f at a+ = c``."""
        slope, start = given
        if not isinstance(start, sp.Eq) or not isinstance(start.lhs, sp.Limit):
            return False
        function, variable, point, side = start.lhs.args
        if variable != self.variable or str(side) != "+" or not _ordered(claim) or not _ordered(slope):
            return False
        if not _starts_at(self.variable, point):
            return False
        strict = _strict(slope)
        if _strict(claim) and not strict:
            return False
        derivative = sp.diff(function, variable)
        rise = slope.gts - slope.lts
        gap = claim.gts - claim.lts
        if is_zero(rise.doit() - derivative):
            return is_zero(gap - (function - start.rhs))
        if is_zero(rise.doit() + derivative):
            return is_zero(gap - (start.rhs - function))
        return False


def _starts_at(variable: sp.Symbol, point: sp.Basic) -> bool:
    """Whether the values that the variable's own sign allows begin at the point."""
    return bool(point == 0 and variable.is_nonnegative) or bool(point == -sp.oo and variable.is_real)


@dataclass(frozen=True, slots=True)
class Concave:
    """A stationary point of a strictly concave function is its only maximum."""

    variable: sp.Symbol
    label: str = "a stationary point of a concave function is its maximum"

    def proves(self, claim: Relational, given: Given) -> bool:
        """Decide ``f <= f(root)`` from d2f/dx2 < 0 and f'(root) = 0."""
        curvature, stationary = given
        if not isinstance(claim, sp.Le) or not isinstance(curvature, sp.Lt) or curvature.rhs != 0:
            return False
        second, x = curvature.lhs, self.variable
        if not isinstance(second, sp.Derivative) or second.variables != (x, x):
            return False
        function = second.expr
        first = stationary.lhs
        if not isinstance(first, sp.Subs) or not isinstance(stationary, sp.Eq) or stationary.rhs != 0:
            return False
        root = first.point[0]
        if first.variables != (x,) or not is_zero(first.expr.doit() - sp.diff(function, x)):
            return False
        if x.is_positive and not is_nonnegative(root, strict=True):
            return False  # the curvature is known only where the variable's own sign holds
        return is_zero(claim.lhs - function) and is_zero(claim.rhs - function.subs(x, root))


@dataclass(frozen=True, slots=True)
class Substitute:
    """Insert values for symbols in a relation that holds for all of them."""

    values: tuple[tuple[sp.Symbol, Any], ...]
    label: str = "insert"

    def proves(self, claim: Relational, given: Given) -> bool:
        """Decide the claim as an instance of the given relation; signs that symbols carry must be kept."""
        (general,) = given
        for symbol, value in self.values:
            expression = sp.sympify(value)
            if symbol.is_positive and not is_nonnegative(expression, strict=True):
                return False
            if symbol.is_nonnegative and not is_nonnegative(expression):
                return False
            if symbol.is_integer and not expression.is_integer:
                return False
        put = dict(self.values)
        if type(claim) is not type(general):
            return False
        return all(
            is_zero(mine - theirs.subs(put, simultaneous=True))
            for mine, theirs in ((claim.lhs, general.lhs), (claim.rhs, general.rhs))
        )


@dataclass(frozen=True, slots=True)
class Rename:
    """Write a symbol for what it stands for."""

    label: str = "name"

    def proves(self, claim: Relational, given: Given) -> bool:
        """Decide the claim: with ``symbol = meaning`` inserted it is the first given relation."""
        relation, *meanings = given
        if type(claim) is not type(relation) or not all(isinstance(m, sp.Eq) for m in meanings):
            return False
        # an entry such as q_j keeps its meaning inside a sum over j
        entries = {m.lhs: m.rhs for m in meanings if isinstance(m.lhs, sp.Indexed)}
        symbols = tuple(m for m in meanings if m.lhs not in entries)
        return all(
            is_zero(_with(mine.xreplace(entries), symbols) - theirs)
            for mine, theirs in ((claim.lhs, relation.lhs), (claim.rhs, relation.rhs))
        )


@dataclass(frozen=True, slots=True)
class Numeric:
    """Compare two closed numbers exactly, or to certified precision."""

    label: str = "compare the numbers"

    def proves(self, claim: Relational, given: Given) -> bool:
        """Decide a claim without free symbols, after substituting the given equations."""
        left, right = (_with(sp.sympify(side), given).doit() for side in (claim.lhs, claim.rhs))
        if left.free_symbols or right.free_symbols:
            return False
        if isinstance(claim, sp.Eq):
            return is_zero(left - right)
        return bool(claim.func(sp.N(left - right, 40), 0))


def pairs(symbols: Iterable[sp.Symbol], values: Iterable[Any]) -> tuple[tuple[sp.Symbol, Any], ...]:
    """Return coordinates for `SumOver` or values for `Substitute`.

    Parameters
    ----------
    symbols : iterable of sympy symbols
        What stands in the relation.
    values : iterable of sympy expressions
        What is put in its place.

    Returns
    -------
    tuple of pairs
        One a symbol.
    """
    return tuple(zip(symbols, values, strict=True))
