"""All statements, found on call: importing this module imports no derivation."""

import difflib
import importlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from derivations.statement import Failure, Statement, own_failures

MODULES: tuple[str, ...] = (
    "capacity",
    "run_length",
    "payload",
    "verification",
    "uncertainty",
    "rejection",
    "threshold",
    "truncation",
    "kept_law",
    "texts",
    "drafting",
    "throughput",
    "passes",
    "schemes",
    "codec",
    "rivals",
    "optimise",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the check of one statement found."""

    statement: Statement
    """What was checked."""
    failures: tuple[Failure, ...]
    """Empty if it holds."""
    seconds: float
    """Time the check took [s]."""

    @property
    def holds(self) -> bool:
        """Whether every step holds and every claim is reached."""
        return not self.failures


def builders() -> dict[str, str]:
    """Return the names of all statements with their modules, without building them.

    Returns
    -------
    dict
        ``module.function`` to ``module``, in the order of the theory.
    """
    return {
        f"{module}.{builder.__name__}": module
        for module in MODULES
        for builder in importlib.import_module(f"derivations.{module}").BUILDERS
    }


def statements(name: str | None = None) -> tuple[Statement, ...]:
    """Build statements.

    Parameters
    ----------
    name : str, optional
        ``module.function``, or a module for all of its statements; by default all statements.

    Returns
    -------
    tuple of Statement
        In the order of the theory.

    Raises
    ------
    ValueError
        If no statement has that name.

    Examples
    --------
    >>> [statement.title for statement in statements("payload.index_only")]
    ['Index alone']
    """
    known = builders()
    wanted = [one for one in known if name in (None, one, known[one])]
    if not wanted:
        # a name without a module is compared with those of the functions, and answered with the whole one
        names = {one if "." in str(name) else one.split(".")[1]: one for one in known}
        names |= {} if "." in str(name) else dict(zip(MODULES, MODULES, strict=True))
        near = names[difflib.get_close_matches(str(name), names, n=1, cutoff=0.0)[0]]
        raise ValueError(
            f"name must be a statement or a module of derivations, the nearest is {near!r}; got {name!r}"
        )
    return tuple(
        getattr(importlib.import_module(f"derivations.{known[one]}"), one.split(".")[1])() for one in wanted
    )


def with_lemmas(chosen: Iterable[Statement]) -> tuple[Statement, ...]:
    """Return statements after the lemmas they use, each once.

    Parameters
    ----------
    chosen : iterable of Statement
        What is wanted.

    Returns
    -------
    tuple of Statement
        Lemmas first.
    """
    found: dict[str, Statement] = {}

    def visit(statement: Statement) -> None:
        if statement.name not in found:
            for lemma in statement.lemmas:
                visit(lemma)
            found[statement.name] = statement

    for statement in chosen:
        visit(statement)
    return tuple(found.values())


def check(chosen: Iterable[Statement]) -> Iterator[Verdict]:
    """Check statements and the lemmas they use, one by one.

    Parameters
    ----------
    chosen : iterable of Statement
        What is wanted.

    Yields
    ------
    Verdict
        One a statement, lemmas first.
    """
    for statement in with_lemmas(chosen):
        start = time.perf_counter()
        found = tuple(own_failures(statement))
        yield Verdict(statement=statement, failures=found, seconds=time.perf_counter() - start)
