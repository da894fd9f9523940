"""Many decodings in step: their passes share one batch, each keeps a cache of its own.

A model of this size spends its time reading weights, so a pass over twenty-four texts costs little more than
a pass over one. Every text has a row of a roomy cache and its own length; a rollback shortens the row. The
loops stay as they are: each runs in a thread and waits when it asks for a pass, and the pass is made when all
wait, so the batches, and with them the last bits of the logits, do not depend on timing.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cuhlm_theory.errors import CuhlmError


class RowModel:
    """A causal language model and one cache row for each of several texts."""

    def __init__(self, model: Any, num_rows: int, room: int, vocab_size: int | None = None) -> None:
        self.model = model
        self.vocab_size = vocab_size
        self.room = room
        """Tokens that a row can hold; one further slot takes what padding writes."""
        self.length = np.zeros(num_rows, dtype=np.int64)
        """Tokens that each row holds, shape [num_rows]."""
        self._cache = _row_cache(model, num_rows, room + 1)

    def feed(self, rows: Sequence[int], texts: Sequence[Sequence[int]], keep: int) -> NDArray[np.float32]:
        """Append tokens to rows and return the logits after the last ``keep`` of each, shape [R, keep, V]."""
        import torch

        width = max(map(len, texts))
        ids = torch.zeros(len(rows), width, dtype=torch.int64)
        slots = torch.full((len(rows), width), self.room)
        for i, (row, text) in enumerate(zip(rows, texts, strict=True)):
            ids[i, width - len(text) :] = torch.tensor(text)
            slots[i, width - len(text) :] = torch.arange(self.length[row], self.length[row] + len(text))
            self.length[row] += len(text)
        padding = slots == self.room
        position = slots.masked_fill(padding, 0)
        reach = int(self.length[list(rows)].max())
        visible = torch.arange(reach)[None, None, :] <= position[..., None]  # [R, width, reach]
        visible = torch.cat(
            [visible & ~padding[..., None], padding[..., None]], dim=-1
        )  # padding sees itself
        device, dtype = self.model.device, self.model.dtype
        mask = torch.zeros(visible.shape, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)
        for layer in self._cache.layers:
            layer.aim(torch.tensor(list(rows)), slots.to(device), reach)
        with torch.inference_mode():
            answer = self.model(
                ids.to(device),
                attention_mask=mask[:, None].to(device),
                position_ids=position.to(device),
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=keep,
            )
            return answer.logits[:, -keep:, : self.vocab_size].float().cpu().numpy()


def _row_cache(model: Any, num_rows: int, num_slots: int) -> Any:
    from transformers import DynamicCache
    from transformers.cache_utils import Cache, DynamicLayer

    plain = DynamicCache(config=model.config)
    if any(plain.is_sliding):
        raise CuhlmError(
            f"{type(model).__name__} attends through a sliding window, whose cache cannot be rolled back; "
            "use a model with full attention"
        )

    class RowLayer(DynamicLayer):
        """Keys and values by row and slot; each pass writes and reads the rows that it was aimed at."""

        def aim(self, rows: Any, slots: Any, reach: int) -> None:
            self.rows, self.slots, self.reach = rows, slots, reach

        def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> Any:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
                _, heads, _, size = key_states.shape
                self.store = [key_states.new_zeros(num_rows, num_slots, heads, size) for _ in range(2)]
            read = []
            for store, states in zip(self.store, (key_states, value_states), strict=True):
                store[self.rows[:, None], self.slots] = states.transpose(1, 2)
                held = store[self.rows]  # [R, slots, heads, size]
                read.append(_join_slots(held, self.reach).transpose(1, 2))
            return read[0], read[1]

    return Cache(layers=[RowLayer() for _ in range(model.config.num_hidden_layers)])


def _join_slots(held: Any, reach: int) -> Any:
    import torch

    return torch.cat([held[:, :reach], held[:, -1:]], dim=1)


@dataclass(slots=True)
class _Request:
    side: int
    row: int
    text: list[int]
    keep: int
    logits: NDArray[np.float32] | None = None
    error: BaseException | None = None
    seconds: float = 0.0


@dataclass(slots=True)
class Together:
    """Makes the passes that several decodings ask for, when all of them wait."""

    models: Sequence[RowModel]
    alive: int
    """Decodings that have not ended."""
    waiting: list[_Request] = field(default_factory=list)
    turn: threading.Condition = field(default_factory=threading.Condition)

    def ask(self, request: _Request) -> _Request:
        """Wait for a pass; whoever comes last makes it."""
        with self.turn:
            self.waiting.append(request)
            self._pass_if_all_wait()
            while request.logits is None and request.error is None:
                self.turn.wait()
        if request.error is not None:
            raise request.error
        return request

    def leave(self) -> None:
        """Say that a decoding has ended, one way or another."""
        with self.turn:
            self.alive -= 1
            self._pass_if_all_wait()

    def _pass_if_all_wait(self) -> None:
        if not self.waiting or len(self.waiting) < self.alive:
            return
        for side, model in enumerate(self.models):
            asked = sorted((r for r in self.waiting if r.side == side), key=lambda r: r.row)
            if asked:
                _answer(model, asked)
        self.waiting.clear()
        self.turn.notify_all()


def _answer(model: RowModel, asked: list[_Request]) -> None:
    start = time.perf_counter()
    try:
        keep = max(request.keep for request in asked)
        logits = model.feed([r.row for r in asked], [r.text for r in asked], keep)
        for request, row in zip(asked, logits, strict=True):
            request.logits = row[keep - request.keep :]
            request.seconds = time.perf_counter() - start
    except BaseException as error:  # every decoding that waits must hear of it
        for request in asked:
            request.error = error


class RowSession:
    """One text's view of a shared model: what a `CachedModel` is to a single decoding."""

    def __init__(self, together: Together, side: int, row: int) -> None:
        self.together, self.side, self.row = together, side, row
        self.vocab_size = together.models[side].vocab_size
        self.held: list[int] = []
        """Tokens in the cache row."""
        self.seconds = 0.0
        """Wall clock of the last pass, shared with the other rows [s]."""

    def catch_up(self, text: Sequence[int], keep: int = 1) -> NDArray[np.float64]:
        """Feed what the row lacks of ``text``; the logits after its last ``keep`` tokens, shape [keep, V]."""
        fed = list(text[len(self.held) :])
        if len(text) > self.together.models[self.side].room:
            raise ValueError(
                f"text must fit the {self.together.models[self.side].room} tokens of a row; got {len(text)}"
            )
        if not 1 <= keep <= len(fed):
            raise ValueError(f"keep must lie in [1, {len(fed)}], the tokens to feed; got {keep}")
        answer = self.together.ask(_Request(self.side, self.row, fed, keep))
        self.seconds = answer.seconds
        self.held.extend(fed)
        assert answer.logits is not None
        return answer.logits.astype(np.float64)

    def rollback(self, num_tokens: int) -> None:
        """Forget all but the first ``num_tokens`` tokens."""
        if len(self.held) > num_tokens:
            del self.held[num_tokens:]
            self.together.models[self.side].length[self.row] = num_tokens


def in_step(
    models: Sequence[Any],
    num_rows: int,
    room: int,
    vocab_size: int,
    work: Callable[[int, tuple[RowSession, ...]], None],
) -> None:
    """Run ``work(row, sessions)`` for every row at once, the passes of all rows in common batches.

    Parameters
    ----------
    models : sequence of transformers.PreTrainedModel
        The models that the work asks, a session each.
    num_rows : int
        Texts.
    room : int
        Longest text [token].
    vocab_size : int
        V.
    work : callable
        What to do with a row; the first exception is raised here when all rows have ended.
    """
    together = Together([RowModel(model, num_rows, room, vocab_size) for model in models], num_rows)
    errors: list[BaseException] = []

    def live(row: int) -> None:
        try:
            work(row, tuple(RowSession(together, side, row) for side in range(len(models))))
        except BaseException as error:
            errors.append(error)
        finally:
            together.leave()

    threads = [threading.Thread(target=live, args=(row,), daemon=True) for row in range(num_rows)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
