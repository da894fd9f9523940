"""A bar on stderr for work that takes minutes."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

Step = TypeVar("Step")


def track(steps: Iterable[Step], total: int, text: str) -> Iterator[Step]:
    """Pass steps on; a bar counts them where stderr is a terminal.

    Parameters
    ----------
    steps : iterable
        The work, done as it is asked for.
    total : int
        Number of steps [-].
    text : str
        What stands before the bar.

    Yields
    ------
    object
        The steps.
    """
    from rich.console import Console
    from rich.progress import track as tracked

    console = Console(stderr=True)
    yield from tracked(steps, text, total=total, console=console, disable=not console.is_terminal)
