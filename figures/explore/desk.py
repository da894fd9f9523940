"""A process that computes beside the page, so that no slider waits; what nobody wants any more is stopped."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable, Hashable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from cuhlm_theory.cli.app import refuse_overflow
from cuhlm_theory.errors import CuhlmError

_KEPT = 32  # answers


class OvertakenError(Exception):
    """Who asked has asked for something else since."""


class RefusedError(Exception):
    """It cannot be computed; the reason is one line."""


class Desk:
    """A process that does one thing at a time, and remembers what came of it.

    Where it ``interrupts``, work that nobody waits for any more is stopped; else it is finished first, which
    is quicker than to begin anew where the work is short. Work of ``low`` priority waits for other processes.
    """

    def __init__(self, *, interrupts: bool, low: bool = False) -> None:
        self.interrupts, self.low = interrupts, low
        self._wanted: dict[object, Hashable] = {}
        self._known: dict[Hashable, Any] = {}
        self._running: Hashable | None = None
        self._free = asyncio.Lock()
        self._process: BaseProcess | None = None
        self._line: Connection | None = None
        self._stopped = True

    async def ask(self, owner: object, key: Hashable, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what the function makes of its arguments, or what it made of them before, by the key.

        Raises
        ------
        OvertakenError
            If the owner has asked for another key meanwhile.
        RefusedError
            If the function raised.
        """
        self._wanted[owner] = key
        self._drop_unwanted()
        async with self._free:
            if self._wanted.get(owner) != key:
                raise OvertakenError
            if key not in self._known:
                self._running = key
                try:
                    self._remember(key, await asyncio.to_thread(self._exchange, function, arguments))
                finally:
                    self._running = None
            if self._wanted.get(owner) != key:
                raise OvertakenError
            return self._known[key]

    def __contains__(self, key: Hashable) -> bool:
        """Whether it is known, or being worked at."""
        return key in self._known or key == self._running

    def leave(self, owner: object) -> None:
        """Forget an owner."""
        self._wanted.pop(owner, None)
        self._drop_unwanted()

    def stop(self) -> None:
        """End the process."""
        self._stopped = True
        if self._process is not None:
            self._process.kill()

    def _drop_unwanted(self) -> None:
        if self.interrupts and self._running is not None and self._running not in self._wanted.values():
            self.stop()

    def _remember(self, key: Hashable, answer: Any) -> None:
        self._known[key] = answer
        while len(self._known) > _KEPT:
            del self._known[next(iter(self._known))]

    def _exchange(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if self._stopped or self._line is None:
            self._stopped = False
            self._line, self._process = _started(low=self.low)
            if self._stopped:  # meanwhile
                self._process.kill()
        try:
            self._line.send((function, arguments))
            done, answer = self._line.recv()
        except (EOFError, OSError):
            self._line = None
            if self._stopped:
                raise OvertakenError from None
            raise RefusedError("the process that computes this has ended; is there enough memory?") from None
        if not done:
            raise RefusedError(answer)
        return answer


def _started(*, low: bool) -> tuple[Connection, BaseProcess]:
    """Start a process out of one that has imported everything, where the system has such a thing."""
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload(["figures.explore.work"])
    ours, its = context.Pipe()
    process = context.Process(target=_serve, args=(its, low), daemon=True)
    process.start()
    its.close()
    return ours, process


def _serve(line: Connection, low: bool) -> None:
    """Do what comes along the line until its other end is closed."""
    if low and hasattr(os, "nice"):
        os.nice(10)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal, meant for the page
    refuse_overflow()
    while True:
        try:
            function, arguments = line.recv()
        except EOFError:
            return
        try:
            answer: tuple[bool, Any] = True, function(*arguments)
        except (CuhlmError, ValueError, RuntimeWarning) as error:
            answer = False, str(error)
        except Exception as error:  # a fault of ours is shown, too
            answer = False, f"{type(error).__name__}: {error}"
        line.send(answer)
