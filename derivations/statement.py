"""What a derivation is made of: a statement, the steps that reach it, and the check of both.

A claim is a sympy relation. A step states a claim and names the rule that decides it; the rule sees the claim
and the earlier claims the step uses, nothing else. So every line that a reader sees is a line that was
checked, and a wrong line is a line that no rule proves.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import sympy as sp
from sympy.core.relational import Relational

Status = Literal["printed", "reconstructed", "new", "departs", "assumed"]

STATUS_MEANING: dict[str, str] = {
    "printed": "as the literature prints it",
    "reconstructed": "rebuilt from published facts, because the equation's text could not be read",
    "new": "derived here",
    "departs": "derived here, and in conflict with what is printed or what comes to mind first; the entry "
    "says where",
    "assumed": "taken as given",
}

SOURCES: dict[str, str] = {
    "CU": "CU-HLM, arXiv:2505.11788",
    "U": "U-HLM, arXiv:2412.12687",
    "SD": "Leviathan, Kalman, Matias, speculative decoding, arXiv:2211.17192",
    "TK": "TK-SLT, arXiv:2509.04576",
    "SQS": "sparsify, quantise and sample (K-SQS and C-SQS), arXiv:2510.09942",
    "DSSD": "distributed split speculative decoding, arXiv:2507.12000",
    "SpecStop": "UCB-SpecStop, arXiv:2606.20591",
    "QS": "Q-S, a dense lattice, arXiv:2507.00605",
    "AsymSpec": "asymmetric exchange with proposals, arXiv:2608.04974",
    "SpecEdge": "proactive drafting, arXiv:2505.17052; AceSpec, arXiv:2609.02514",
    "Block": "block verification, arXiv:2403.10444",
    "PPV": "Polyanskiy, Poor, Verdu, IEEE Trans. Inf. Theory 56(5), 2010",
    "textbook": "common knowledge of the field",
    "here": "first stated in this toolkit, as far as its makers know",
}
"""What the sources of statements stand for."""


class Rule(Protocol):
    """Decides a claim from earlier ones."""

    @property
    def label(self) -> str:
        """What the rule does, in a few words, for the reader."""
        ...

    def proves(self, claim: Relational, given: tuple[Relational, ...]) -> bool:
        """Return True only if ``claim`` follows from ``given``; False when it cannot be decided."""
        ...


def eq(left: Any, right: Any) -> Relational:
    """Return the unevaluated claim left = right, so that the page shows what was done and not its result."""
    return sp.Eq(sp.sympify(left), sp.sympify(right), evaluate=False)


def le(left: Any, right: Any) -> Relational:
    """Return the unevaluated claim left <= right."""
    return sp.Le(sp.sympify(left), sp.sympify(right), evaluate=False)


def lt(left: Any, right: Any) -> Relational:
    """Return the unevaluated claim left < right."""
    return sp.Lt(sp.sympify(left), sp.sympify(right), evaluate=False)


def at(expression: Any, values: Mapping[Any, Any]) -> sp.Expr:
    """Return an expression at given values, unevaluated, so that the page shows the formula.

    Parameters
    ----------
    expression : sympy expression
        A formula.
    values : mapping
        Symbols and what to put in their place.

    Returns
    -------
    sympy expression
        The unevaluated substitution.
    """
    return sp.Subs(sp.sympify(expression), tuple(values), tuple(sp.sympify(v) for v in values.values()))


def rounds_to(value: Any, printed: str) -> Relational:
    """Return the claim that a value rounds to a printed decimal.

    Parameters
    ----------
    value : sympy expression
        A closed number, possibly unevaluated.
    printed : str
        The decimal with the digits that were printed.

    Returns
    -------
    sympy relation
        The value is within half a unit of the last digit.
    """
    digits = len(printed.partition(".")[2])
    gap = sp.Add(sp.sympify(value), -sp.Rational(printed), evaluate=False)
    return le(sp.Abs(gap, evaluate=False), sp.Rational(1, 2 * 10**digits))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One inference: what is done, the relation it leaves, and the rule that decides it."""

    text: str
    """What is done and why, one or two sentences."""
    claim: Relational
    """The relation that is now known."""
    rule: Rule
    """What decides the claim."""
    uses: tuple[Relational, ...] = ()
    """Earlier claims, assumptions of the statement or claims of its lemmas that the rule may use."""

    def holds(self) -> bool:
        """Decide the claim."""
        return bool(self.rule.proves(self.claim, self.uses))


def step(text: str, claim: Relational, rule: Rule, *uses: Relational) -> Step:
    """Return a step.

    Parameters
    ----------
    text : str
        What is done and why.
    claim : sympy relation
        What is known afterwards.
    rule : Rule
        What decides the claim.
    *uses : sympy relation
        Earlier claims that the rule may use.

    Returns
    -------
    Step
        One line of a derivation.
    """
    return Step(text=text, claim=claim, rule=rule, uses=uses)


class Proof:
    """A derivation as it is written down: each line is defined where it is drawn, and read from the top."""

    def __init__(self) -> None:
        self._assumed: list[Relational] = []
        self._steps: list[Step] = []

    def assume(self, claim: Relational) -> Relational:
        """Write down an assumption or a definition and return it.

        Parameters
        ----------
        claim : sympy relation
            What is taken as given.

        Returns
        -------
        sympy relation
            The claim, for the lines that use it.
        """
        self._assumed.append(claim)
        return claim

    def step(self, text: str, claim: Relational, rule: Rule, *uses: Relational) -> Relational:
        """Write down an inference and return what it leaves.

        Parameters
        ----------
        text : str
            What is done and why.
        claim : sympy relation
            What is known afterwards.
        rule : Rule
            What decides the claim.
        *uses : sympy relation
            Earlier claims that the rule may use.

        Returns
        -------
        sympy relation
            The claim, for the lines that use it.
        """
        self._steps.append(step(text, claim, rule, *uses))
        return claim

    @property
    def assumed(self) -> tuple[Relational, ...]:
        """Assumptions and definitions, in their order."""
        return tuple(self._assumed)

    @property
    def steps(self) -> tuple[Step, ...]:
        """Inferences, in their order."""
        return tuple(self._steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A formula of the theory with everything needed to trust it."""

    name: str
    """``module.function`` inside `derivations`."""
    title: str
    """What it says, in words."""
    source: str
    """Who printed it, with equation and version, or ``here``."""
    status: Status
    """Where the formula comes from; see `STATUS_MEANING`."""
    functions: tuple[str, ...]
    """The functions of `cuhlm_theory` that compute it, ``module.function``; empty where nothing does."""
    tests: tuple[str, ...]
    """Tests that hold the numbers against it, two at least: the first against the derivation."""
    assumptions: tuple[str, ...]
    """What is taken for granted, in words."""
    claims: tuple[Relational, ...]
    """The statement; each claim is the claim of a step."""
    steps: tuple[Step, ...]
    """What leads there."""
    assumed: tuple[Relational, ...] = ()
    """Assumptions and definitions that a rule may use, as relations."""
    lemmas: tuple["Statement", ...] = ()
    """Statements whose claims a step may use."""
    departs: str = ""
    """Where and why this differs from what was printed, with the exact case."""
    glue: str = ""
    """The sentence of the argument that no machine checked; empty where there is none."""

    @property
    def module(self) -> str:
        """Name of the module that holds the derivation."""
        return self.name.split(".")[0]

    @property
    def section(self) -> str:
        """Title of the part of the theory that it belongs to: what its module's docstring begins with."""
        module = importlib.import_module(f"derivations.{self.module}")
        return (module.__doc__ or "").partition(":")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A step that did not hold, or a gap between steps."""

    statement: str
    """Name of the statement."""
    step: int | None
    """Number of the step, from 1; None when the gap is not in one step."""
    reason: str
    """What is wrong, one sentence."""


def failures(statement: Statement) -> tuple[Failure, ...]:
    """Check a statement and its lemmas.

    Parameters
    ----------
    statement : Statement
        What to check.

    Returns
    -------
    tuple of Failure
        Empty if every step follows from the assumptions and the steps before it, and every claim of the
        statement is reached.
    """
    found: list[Failure] = []
    for lemma in statement.lemmas:
        found.extend(failures(lemma))
    found.extend(own_failures(statement))
    return tuple(found)


def own_failures(statement: Statement) -> Iterator[Failure]:
    """Check a statement, taking its lemmas for granted.

    Parameters
    ----------
    statement : Statement
        What to check.

    Yields
    ------
    Failure
        What does not follow.
    """
    known = set(statement.assumed)
    for lemma in statement.lemmas:
        known.update(lemma.claims)
    for number, step in enumerate(statement.steps, start=1):
        unknown = [claim for claim in step.uses if claim not in known]
        if unknown:
            yield Failure(
                statement=statement.name, step=number, reason=f"uses what is not known: {unknown[0]}"
            )
        elif (reason := _refusal(step)) is not None:
            yield Failure(statement=statement.name, step=number, reason=reason)
        known.add(step.claim)
    reached = {step.claim for step in statement.steps}
    for claim in statement.claims:
        if claim not in reached:
            yield Failure(statement=statement.name, step=None, reason=f"no step reaches {claim}")


def _refusal(step: Step) -> str | None:
    try:
        holds = step.holds()
    except (
        Exception
    ) as error:  # a rule that stumbles has proved nothing, and the others must still be checked
        return f"rule {step.rule.label!r} stopped with {type(error).__name__}: {error}"
    return None if holds else f"not proved by rule {step.rule.label!r}: {step.claim}"


Builder = Callable[[], Statement]
