"""Passes of the large model for many texts: those that are wanted together are made together.

A text has a session that keeps its cache. There are fewer caches than texts may be open: a text that needs
one takes that of the text that has been idle the longest, which reads its prefix again when it goes on.
Sessions of models whose texts can share a pass (`calibration.decoding.batch`) are rows of one roomy cache,
made once, so memory does not grow with what devices ask; other models make one pass after the other.

The model runs in a thread of its own, so that connections are looked after while it computes.
"""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.decoding.batch import RowModel, RowSession, make_pass, takes_rows
from calibration.decoding.session import CachedModel

__all__ = ["Cached", "Passes"]

Cached = RowSession | CachedModel
_NARROW = 16  # tokens that a pass may feed and share; one that reads a prefix would have the others padded
_NO_ROW = -1


@dataclass(slots=True, eq=False)
class _Asked:
    session: Cached
    text: list[int]
    keep: int
    done: asyncio.Future[NDArray[np.float64]]

    @property
    def width(self) -> int:
        """Tokens to feed: all, where another text took the cache."""
        return len(self.text) - len(self.session.held)


class Passes:
    """Makes the passes that texts ask for.

    Parameters
    ----------
    model : PreTrainedModel
        Causal language model.
    vocab_size : int
        V, tokens that are scored.
    num_caches : int
        Texts whose cache is kept; the others read their prefix again.
    room : int
        Tokens that a text may have.
    window_s : float
        How long a pass waits for others where not all open texts have asked [s].
    """

    def __init__(
        self, model: Any, *, vocab_size: int, num_caches: int, room: int, window_s: float = 0.002
    ) -> None:
        self.model = model
        self.vocab_size = vocab_size
        self.num_caches = num_caches
        self.room = room
        self.window_s = window_s
        self.num_evictions = 0
        """Caches that another text took."""
        self._rows = RowModel(model, num_caches, room, vocab_size, "llm") if takes_rows(model) else None
        self._free = list(range(num_caches))
        self._held: dict[Cached, int] = {}  # the cache of each session that has one, the idlest first
        self._open: set[Cached] = set()
        self._asked: list[_Asked] = []
        self._busy: list[Cached] = []  # whose pass is being made
        self._some = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="passes")

    @property
    def num_held(self) -> int:
        """Texts that have a cache."""
        return len(self._held)

    def session(self) -> Cached:
        """Return the session of a new text; it takes a cache with its first pass."""
        made = (
            CachedModel(self.model, self.vocab_size, "llm")
            if self._rows is None
            else RowSession(self._rows, _NO_ROW)
        )
        self._open.add(made)
        return made

    def leave(self, session: Cached) -> None:
        """Free the cache of a text that is over, once no pass writes into it; what it asked is not made."""
        self._open.discard(session)
        for asked in [one for one in self._asked if one.session is session]:
            self._asked.remove(asked)
            asked.done.cancel()
        if session in self._held and session not in self._busy:
            self._take_from(session)

    async def make(self, session: Cached, text: list[int], keep: int) -> NDArray[np.float64]:
        """Return the logits after the last ``keep`` tokens of a text, shape [keep, V].

        Whoever stops waiting leaves the session as it was, or as it is after the pass where that has begun.
        """
        if len(text) > self.room:
            raise ValueError(f"text must have at most {self.room} tokens; got {len(text)}")
        width = len(text) - len(session.held)
        if not 1 <= keep <= width:
            raise ValueError(f"keep must lie in [1, {width}], the tokens to feed; got {keep}")
        asked = _Asked(session, text, keep, asyncio.get_running_loop().create_future())
        self._asked.append(asked)
        self._some.set()
        try:
            return await asyncio.shield(asked.done)
        except asyncio.CancelledError:
            if asked in self._asked:
                self._asked.remove(asked)
                asked.done.cancel()
            while not asked.done.done():  # the model writes into the cache
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([asked.done])
            raise

    async def run(self) -> None:
        """Make passes until cancelled; what is then asked for is not made."""
        loop, batch = asyncio.get_running_loop(), []
        try:
            while True:
                await self._some.wait()
                if len(self._asked) < len(self._open):
                    await asyncio.sleep(self.window_s)
                batch = self._next()
                if batch:
                    self._busy = [one.session for one in batch]
                    await loop.run_in_executor(self._thread, self._make, batch, loop)
                    gone = [session for session in self._busy if session not in self._open]
                    self._busy = []
                    for session in gone:
                        self.leave(session)
                if not self._asked:
                    self._some.clear()
        finally:
            self._thread.shutdown()
            for one in (*batch, *self._asked):  # a pass that had not begun, or that nobody will begin
                one.done.cancel()

    def _next(self) -> list[_Asked]:
        """Take the oldest pass that is asked for, and those that can share it, and give each a cache."""
        if not self._asked:
            return []
        batch = self._asked[:1]
        if self._rows is not None and batch[0].width <= _NARROW:
            batch = [one for one in self._asked if one.width <= _NARROW][: self.num_caches]
        self._asked = [one for one in self._asked if one not in batch]
        sessions = [one.session for one in batch]
        for session in sessions:
            if session in self._held:
                self._held[session] = self._held.pop(session)  # to the end
        for session in sessions:
            if session not in self._held:
                self._give_to(session, sessions)
        return batch

    def _give_to(self, session: Cached, busy: list[Cached]) -> None:
        if not self._free:
            self._take_from(next(one for one in self._held if one not in busy))
            self.num_evictions += 1
        self._held[session] = self._free.pop()
        if isinstance(session, RowSession):
            session.row = self._held[session]

    def _take_from(self, session: Cached) -> None:
        self._free.append(self._held.pop(session))
        if isinstance(session, RowSession):
            session.rollback(0)
            session.row = _NO_ROW
        else:
            session.forget()

    def _make(self, batch: list[_Asked], loop: asyncio.AbstractEventLoop) -> None:
        """Make a pass; where a shared one fails, each text is tried alone, so that one spoils no other."""
        try:
            found = self._together(batch)
        except Exception as error:
            if len(batch) > 1:
                for one in batch:
                    self._make([one], loop)
            else:
                loop.call_soon_threadsafe(_fail, batch[0].done, error)
            return
        for one, logits in zip(batch, found, strict=True):
            loop.call_soon_threadsafe(_tell, one.done, logits)

    def _together(self, batch: list[_Asked]) -> list[NDArray[np.float64]]:
        rows = [(one.session, one.text, one.keep) for one in batch if isinstance(one.session, RowSession)]
        return make_pass(rows) if rows else [one.session.catch_up(one.text, one.keep) for one in batch]


def _tell(done: asyncio.Future[Any], logits: NDArray[np.float64]) -> None:
    if not done.done():
        done.set_result(logits)


def _fail(done: asyncio.Future[Any], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
