"""Hybrid decoding that really runs: two models with caches, a simulated link, a record of every token.

>>> from calibration.decoding import Settings
>>> Settings(scheme="hlm").scheme.verification
ReceivedLaw()
"""

import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from calibration.decoding import multi as _multi
from calibration.decoding import single as _single
from calibration.decoding.batch import RowModel, RowSession, drive_in_step, takes_rows
from calibration.decoding.laws import Draws
from calibration.decoding.link import Clock as Clock
from calibration.decoding.link import Exchange as Exchange
from calibration.decoding.link import system_of as system_of
from calibration.decoding.records import ACTIONS as ACTIONS
from calibration.decoding.records import Decoded as Decoded
from calibration.decoding.records import Row as Row
from calibration.decoding.server import LostServerError as LostServerError
from calibration.decoding.server import Opening as Opening
from calibration.decoding.server import Remote as Remote
from calibration.decoding.server import Server as Server
from calibration.decoding.server import ServerText as ServerText
from calibration.decoding.session import Asking, Session, drive
from calibration.decoding.session import CachedModel as CachedModel
from calibration.decoding.settings import CONVENTIONS as CONVENTIONS
from calibration.decoding.settings import Convention as Convention
from calibration.decoding.settings import Settings as Settings
from calibration.decoding.settings import scheme_of as scheme_of
from calibration.decoding.settings import settings_of as settings_of
from calibration.decoding.stage import Stage
from calibration.decoding.wire import Wire
from calibration.pairs import context_length


def decode(
    models: tuple[Any, Any],
    prompt: Sequence[int],
    settings: Settings,
    clock: Clock,
    *,
    rng: np.random.Generator,
    stop_tokens: Collection[int] = (),
    measure: bool = True,
    on_rows: Callable[[list[Row]], None] | None = None,
) -> Decoded:
    """Decode one prompt with one scheme.

    Parameters
    ----------
    models : tuple of transformers.PreTrainedModel
        Model of the device and of the server; causal, over one vocabulary. The server's may be a
        `calibration.serving.client.RemoteModel`.
    prompt : sequence of int
        Tokens to continue.
    settings : Settings
        Scheme, its numbers, conventions.
    clock : Clock
        Link and latencies to charge.
    rng : numpy.random.Generator
        Source of every random decision; the same state gives the same text.
    stop_tokens : collection of int
        Tokens that end the text.
    measure : bool, default True
        Whether to compute the exact bias of every context (the large model's laws come with its catch-up).
    on_rows : callable, optional
        Told of the rows of each round when they are committed; rows of skipped tokens are measured later.

    Returns
    -------
    Decoded
        Tokens and one row a token.

    Raises
    ------
    ValueError
        If the prompt is empty, it and the answer exceed a context, V exceeds a vocabulary, or a size V.
    LostServerError
        If a server elsewhere goes away; it holds the text so far.
    """
    check(*models, len(prompt), settings, clock)
    stage = _stage(prompt, settings, clock, stop_tokens, measure=measure, on_rows=on_rows)
    size = clock.system.codec.vocab_size
    device = CachedModel(models[0], size, "slm")
    read = prompt[:-1] if clock.measured else ()  # a token is charged its own passes, not that of the prompt
    if read:
        device.catch_up(read)
    opening, own = Opening.of(prompt, settings, clock.system.codec, rng)
    if isinstance(models[1], Remote):
        return _decode_over(models[1], opening, device, clock, Draws(own), stage)
    session = CachedModel(models[1], size, "llm")
    if read:
        session.catch_up(read)
    drive(loop(device, ServerText(opening, session), settings, clock, Draws(own), stage))
    return stage.decoded()


def _decode_over(
    remote: Remote, opening: Opening, device: Session, clock: Clock, draws: Draws, stage: Stage
) -> Decoded:
    """Decode with a large model that is elsewhere; one that goes away leaves the text so far."""
    with contextlib.closing(remote.text(opening)) as server:
        try:
            drive(loop(device, server, opening.settings, clock, draws, stage))
        except LostServerError as error:
            error.decoded = replace(stage.decoded(), exchanges=server.exchanges)
            raise
    return replace(stage.decoded(), exchanges=server.exchanges)


def decode_together(
    models: tuple[Any, Any],
    prompts: Sequence[Sequence[int]],
    settings: Settings,
    clock: Clock,
    *,
    rngs: Sequence[np.random.Generator],
    stop_tokens: Collection[int] = (),
    measure: bool = True,
) -> list[Decoded]:
    """Decode several prompts with one scheme, the passes of all of them in common batches.

    The arguments and results are those of `decode`, one prompt, generator and result each; a text may differ
    from the one that `decode` gives where the last bit of a logit decides. Measured seconds are those of the
    common pass. Models that cannot share a pass decode the prompts one after the other.
    """
    for prompt in prompts:
        check(*models, len(prompt), settings, clock)
    if not all(map(takes_rows, models)):
        told: dict[str, Any] = {"stop_tokens": stop_tokens, "measure": measure}
        each = zip(prompts, rngs, strict=True)
        return [decode(models, prompt, settings, clock, rng=rng, **told) for prompt, rng in each]
    room, size = max(map(len, prompts)) + settings.max_new_tokens, clock.system.codec.vocab_size
    sides = zip(models, ("slm", "llm"), strict=True)
    shared = [RowModel(model, len(prompts), room, size, side) for model, side in sides]
    stages = [_stage(prompt, settings, clock, stop_tokens, measure=measure) for prompt in prompts]
    loops = []
    for row, (prompt, stage, rng) in enumerate(zip(prompts, stages, rngs, strict=True)):
        opening, own = Opening.of(prompt, settings, clock.system.codec, rng)
        server = ServerText(opening, RowSession(shared[1], row))
        loops.append(loop(RowSession(shared[0], row), server, settings, clock, Draws(own), stage))
    drive_in_step(loops)
    return [stage.decoded() for stage in stages]


def loop(
    device: Session, server: Server, settings: Settings, clock: Clock, draws: Draws, stage: Stage
) -> Asking[None]:
    """Return the device's loop that decodes with a scheme; it asks for passes and commits to ``stage``."""
    draft = settings.scheme.draft
    if draft.several:
        return _multi.run(device, server, settings, clock, draws, stage)
    return _single.run(device if draft.present else None, server, settings, clock, draws, stage)


def _stage(
    prompt: Sequence[int], settings: Settings, clock: Clock, stop_tokens: Collection[int], **options: Any
) -> Stage:
    scheme, system, longest = settings.scheme, clock.system, settings.max_new_tokens
    return Stage(prompt, longest, stop_tokens, scheme=scheme, system=system, **options)


def check(slm: Any, llm: Any, prompt_length: int, settings: Settings, clock: Clock) -> None:
    """Refuse what cannot be decoded, before any model runs."""
    if prompt_length == 0:
        raise ValueError("prompt must have at least 1 token; got 0")
    smallest = min(model.get_output_embeddings().out_features for model in (slm, llm))
    if clock.system.codec.vocab_size > smallest:
        raise ValueError(
            f"vocab_size must be at most {smallest}, what both models score; "
            f"got {clock.system.codec.vocab_size}"
        )
    settings.scheme.payload.check_size(clock.system.codec.vocab_size)
    Wire(settings, clock.system.codec)
    longest = min(context_length(slm), context_length(llm))
    if prompt_length + settings.max_new_tokens > longest:
        raise ValueError(
            f"prompt and max_new_tokens must fit the context of {longest} tokens; got "
            f"{prompt_length} + {settings.max_new_tokens}"
        )
