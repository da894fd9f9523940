"""A language model with a key-value cache that catches up and rolls back."""

import time
from collections.abc import Generator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from calibration.answers import admit, keeps_prefix
from calibration.pairs import context_length

Result = TypeVar("Result")


class Session(Protocol):
    """One side of one decoding: the tokens that a model's cache holds."""

    seconds: float
    """Wall clock of the last pass [s]."""

    def catch_up(self, text: Sequence[int], keep: int = 1) -> NDArray[np.float64]:
        """Feed what the cache lacks of ``text``; logits after its last ``keep`` tokens, shape [keep, V]."""
        ...

    def rollback(self, num_tokens: int) -> None:
        """Forget all but the first ``num_tokens`` tokens."""
        ...


Asking = Generator[tuple[Session, list[int], int], NDArray[np.float64], Result]
"""A loop that yields the arguments of the `Session.catch_up` it wants made, and is sent the logits."""


def drive(loop: Asking[Result]) -> Result:
    """Make the passes that a loop asks for, one by one, until it ends."""
    try:
        session, text, keep = next(loop)
        while True:
            session, text, keep = loop.send(session.catch_up(text, keep))
    except StopIteration as end:
        return end.value


class CachedModel:
    """One side of the decoder: a causal language model and the tokens that its cache holds.

    The cache always holds a prefix of the text, at most all but its last token between rounds, so that no
    law is computed twice and nothing is recomputed from scratch. A model whose state cannot be rolled back
    has no cache and reads the whole text in every pass.
    """

    def __init__(self, model: Any, vocab_size: int | None = None, side: str = "the model") -> None:
        from transformers import DynamicCache

        self.model = model
        self.vocab_size = vocab_size
        """V, tokens that both heads score; padding of the head beyond them is cut off."""
        self.side = side
        """Which model this is, as it is named in what is refused."""
        self.cache = DynamicCache() if keeps_prefix(model) else None
        self.held: list[int] = []
        """Tokens in the cache."""
        self.seconds = 0.0
        """Wall clock of the last pass [s]."""

    def catch_up(self, text: Sequence[int], keep: int = 1) -> NDArray[np.float64]:
        """Feed what the cache lacks of ``text`` and return the logits after its last tokens.

        Parameters
        ----------
        text : sequence of int
            Tokens; those that the cache holds must be its strict prefix.
        keep : int
            How many of the last positions to return.

        Returns
        -------
        ndarray of float64, shape [keep, V]
            Logits of the token after each of the last ``keep`` tokens.

        Raises
        ------
        ValueError
            If the text is longer than the context, or more positions are asked for than are fed.
        CuhlmError
            If a logit is not finite.
        """
        import torch

        fed = list(text[len(self.held) :])
        if len(text) > context_length(self.model):
            raise ValueError(
                f"text must fit the context of {context_length(self.model)} tokens; got {len(text)}"
            )
        if not 1 <= keep <= len(fed):
            raise ValueError(f"keep must lie in [1, {len(fed)}], the tokens to feed; got {keep}")
        start = time.perf_counter()
        with torch.inference_mode():
            read = list(text) if self.cache is None else fed
            ids = torch.tensor([read], device=self.model.device)
            cached = {} if self.cache is None else {"past_key_values": self.cache}
            answer = self.model(ids, use_cache=self.cache is not None, logits_to_keep=keep, **cached)
            before = [len(text) - len(read)]
            kept = admit(answer.logits[:, -keep:], self.vocab_size, self.side, [read], before)
            logits = kept[0].cpu().numpy().astype(np.float64)
        self.seconds = time.perf_counter() - start
        self.held.extend(fed)
        return logits

    def rollback(self, num_tokens: int) -> None:
        """Forget all but the first ``num_tokens`` tokens; a cache that holds fewer stays as it is."""
        surplus = len(self.held) - num_tokens
        if surplus > 0:
            if self.cache is not None:
                self.cache.crop(-surplus)
            del self.held[num_tokens:]

    def forget(self) -> None:
        """Forget everything, and give the memory back."""
        from transformers import DynamicCache

        self.held.clear()
        self.cache = None if self.cache is None else DynamicCache()
