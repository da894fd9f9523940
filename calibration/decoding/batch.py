"""Many decodings in step: their passes share one batch, each keeps a cache of its own.

A model of this size spends its time reading weights, so a pass over twenty-four texts costs little more than
a pass over one. Every text has a row of a roomy cache and its own length; a rollback shortens the row. The
loops are generators that ask for their passes, so nothing about them changes: here the passes that all of
them ask for are made together, and the batches, and with them the last bits of the logits, are the same every
time.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.answers import admit, keeps_prefix
from calibration.decoding.session import Asking


class RowModel:
    """A causal language model and one cache row for each of several texts."""

    def __init__(
        self, model: Any, num_rows: int, room: int, vocab_size: int | None = None, side: str = "the model"
    ) -> None:
        self.model = model
        self.vocab_size = vocab_size
        self.side = side
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
            before = [int(self.length[row]) - len(text) for row, text in zip(rows, texts, strict=True)]
            kept = admit(answer.logits[:, -keep:], self.vocab_size, self.side, texts, before)
            return kept.cpu().numpy()


def takes_rows(model: Any) -> bool:
    """Whether texts of several lengths can share a pass: attention that is full in every layer."""
    from transformers import DynamicCache

    return keeps_prefix(model) and not any(DynamicCache(config=model.config).is_sliding)


def _row_cache(model: Any, num_rows: int, num_slots: int) -> Any:
    from transformers.cache_utils import Cache, DynamicLayer

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
                read.append(_read(store, self.rows, self.reach).transpose(1, 2))
            return read[0], read[1]

    return Cache(layers=[RowLayer() for _ in range(model.config.num_hidden_layers)])


def _read(store: Any, rows: Any, reach: int) -> Any:
    """Copy what rows hold up to the longest, and the slot of padding, shape [R, reach + 1, heads, size]."""
    import torch

    return torch.cat([store[rows, :reach], store[rows, -1:]], dim=1)


class RowSession:
    """One text's view of a shared model: what a `CachedModel` is to a single decoding."""

    def __init__(self, model: RowModel, row: int) -> None:
        self.model = model
        self.row = row
        self.held: list[int] = []
        """Tokens in the cache row."""
        self.seconds = 0.0
        """Wall clock of the last pass, shared with the other rows [s]."""

    def lacks(self, text: Sequence[int], keep: int) -> list[int]:
        """Return the tokens that a pass has to feed."""
        fed = list(text[len(self.held) :])
        if len(text) > self.model.room:
            raise ValueError(f"text must fit the {self.model.room} tokens of a row; got {len(text)}")
        if not 1 <= keep <= len(fed):
            raise ValueError(f"keep must lie in [1, {len(fed)}], the tokens to feed; got {keep}")
        return fed

    def catch_up(self, text: Sequence[int], keep: int = 1) -> NDArray[np.float64]:
        """Feed what the row lacks of ``text``; the logits after its last ``keep`` tokens, shape [keep, V]."""
        return make_pass([(self, list(text), keep)])[0]

    def rollback(self, num_tokens: int) -> None:
        """Forget all but the first ``num_tokens`` tokens; a row that holds fewer stays as it is."""
        if len(self.held) > num_tokens:
            del self.held[num_tokens:]
            self.model.length[self.row] = num_tokens


def make_pass(asked: Sequence[tuple[RowSession, list[int], int]]) -> list[NDArray[np.float64]]:
    """Make one pass for several rows of one model; where it fails, all of them hold what they held."""
    start = time.perf_counter()
    fed = [session.lacks(text, keep) for session, text, keep in asked]
    model, most = asked[0][0].model, max(keep for _, _, keep in asked)
    try:
        logits = model.feed([session.row for session, _, _ in asked], fed, most)
    except Exception:
        for session, _, _ in asked:
            model.length[session.row] = len(session.held)
        raise
    for (session, _, _), more in zip(asked, fed, strict=True):
        session.held.extend(more)
        session.seconds = time.perf_counter() - start
    return [row[most - keep :].astype(np.float64) for row, (_, _, keep) in zip(logits, asked, strict=True)]


def drive_in_step(loops: Sequence[Asking[None]]) -> None:
    """Make the passes that several loops ask for, those of one model together, until all have ended.

    Parameters
    ----------
    loops : sequence of generators
        Decodings (`calibration.decoding.decoding`) whose sessions are rows of the same models.
    """
    wanted: dict[int, Any] = {}
    answers: dict[int, Any] = dict.fromkeys(range(len(loops)))  # None starts a generator
    while answers or wanted:
        for number, answer in answers.items():
            try:
                wanted[number] = loops[number].send(answer)
            except StopIteration:
                wanted.pop(number, None)
        answers = {}
        for model in {id(session.model): session.model for session, _, _ in wanted.values()}.values():
            mine = [number for number, (session, _, _) in wanted.items() if session.model is model]
            answers.update(zip(mine, make_pass([wanted[number] for number in mine]), strict=True))
