"""A link between two processes of one machine: a TCP proxy that is as slow as the link it stands for.

Whatever a side sends is read in pieces. A piece is through when the bits before it and its own have been
carried at the link's rate, as `cuhlm_theory.rate_trace.packet_end_s` has it, and arrives half a round trip
later. All connections of a link share its rate, in the order in which their pieces come.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import numpy as np

from cuhlm_theory._checks import as_nonnegative
from cuhlm_theory.errors import CuhlmError
from cuhlm_theory.parameters import FixedRate, RateTrace
from cuhlm_theory.rate_trace import packet_end_s

__all__ = ["Direction", "shaped"]

_PIECE_S, _LEAST_BYTE = 1e-3, 1500  # a piece lasts a millisecond or is a packet of Ethernet
_AHEAD_S = 0.02  # pieces are read before the link is free, so that late timers never leave it idle
_BUFFER_BYTE, _MOST_BYTE = 1 << 16, 1 << 26


@dataclass(slots=True, kw_only=True)
class Direction:
    """One direction of a link: a rate, a delay, and what it carries."""

    rate: FixedRate | RateTrace | None
    """How fast bits are carried; None at once."""
    delay_s: float = 0.0
    """How long a bit travels [s]."""
    piece_byte: int = field(init=False)
    """Most that is read at once [byte]."""
    room_byte: int = field(init=False)
    """Most of one connection that may be under way: what fills the link, and a buffer [byte]."""
    carried_byte: int = field(default=0, init=False)
    """What has arrived [byte]."""
    most_held_byte: int = field(default=0, init=False)
    """Most of one connection that was under way at a time [byte]."""
    _start_s: float | None = field(default=None, init=False)
    _free_s: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        as_nonnegative("delay_s", self.delay_s)
        peak_byte_per_s = math.inf if self.rate is None else float(np.max(self.rate.rate_bit_per_s)) / 8.0
        self.piece_byte = int(min(max(_LEAST_BYTE, _PIECE_S * peak_byte_per_s), _BUFFER_BYTE))
        self.room_byte = _BUFFER_BYTE + int(min(peak_byte_per_s * (self.delay_s + _AHEAD_S), _MOST_BYTE))

    def through_s(self, now_s: float, num_byte: int) -> float:
        """Take the next bytes; return when the last of them has been carried [s]."""
        if self._start_s is None:
            self._start_s = now_s  # a trace begins with the first byte
        begin_s = max(now_s, self._free_s)
        if self.rate is None:
            self._free_s = begin_s
        elif isinstance(self.rate, FixedRate):
            self._free_s = begin_s + 8.0 * num_byte / self.rate.rate_bit_per_s
        else:
            into_s = float(packet_end_s(self.rate, begin_s - self._start_s, 8.0 * num_byte))
            self._free_s = self._start_s + into_s
        return self._free_s

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry what one side sends to the other, to its end."""
        clock = asyncio.get_running_loop().time
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        room, held_byte = asyncio.Event(), 0

        async def deliver() -> None:
            nonlocal held_byte
            while True:
                due_s, piece = await pieces.get()
                await asyncio.sleep(due_s - clock())
                if not piece:
                    writer.write_eof()
                    return
                writer.write(piece)
                await writer.drain()
                held_byte -= len(piece)
                self.carried_byte += len(piece)
                room.set()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(deliver())
            while piece := await reader.read(self.piece_byte):
                through_s = self.through_s(clock(), len(piece))
                held_byte += len(piece)
                self.most_held_byte = max(self.most_held_byte, held_byte)
                pieces.put_nowait((through_s + self.delay_s, piece))
                await asyncio.sleep(through_s - _AHEAD_S - clock())
                while held_byte > self.room_byte:
                    room.clear()
                    await room.wait()
            pieces.put_nowait((self._free_s + self.delay_s, b""))


@contextlib.asynccontextmanager
async def shaped(
    listen: tuple[str, int], to: tuple[str, int], up: Direction, down: Direction
) -> AsyncIterator[tuple[str, int]]:
    """Stand between those who connect here and a server, for as long as the context lasts.

    Parameters
    ----------
    listen : tuple of str and int
        Host and port to listen on; port 0 takes a free one.
    to : tuple of str and int
        Host and port of the server.
    up, down : Direction
        The way to the server, and the way back.

    Yields
    ------
    tuple of str and int
        Host and port that it listens on.

    Raises
    ------
    CuhlmError
        If the port cannot be listened on.
    """
    running: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a connection is handled in a task"
        running.add(task)
        with contextlib.suppress(asyncio.CancelledError):
            await _join(reader, writer, to, up, down)
        running.discard(task)

    host, port = listen
    try:
        server = await asyncio.start_server(connected, host, port, limit=_BUFFER_BYTE)
    except OSError as error:
        raise CuhlmError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    async with server:
        try:
            yield server.sockets[0].getsockname()[:2]
        finally:
            server.close()
            for task in running:
                task.cancel()
            await asyncio.gather(*running)


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    to: tuple[str, int],
    up: Direction,
    down: Direction,
) -> None:
    """Carry both ways between a device and the server until both ends have closed, or one has failed."""
    writers = [writer]
    try:
        with contextlib.suppress(OSError):  # who is gone, or refuses, closes the other
            there, back = await asyncio.open_connection(*to, limit=_BUFFER_BYTE)
            writers.append(back)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(up.carry(reader, back))
                    both.create_task(down.carry(there, writer))
            except* OSError:
                pass
    finally:
        for one in writers:
            one.close()
