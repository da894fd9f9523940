"""`cuhlm serve`: the large model's half of every scheme, for many devices.

A text is a stream. Its half of the decoder (`calibration.decoding.server.ServerText`) asks for passes, which
`Passes` makes; a device that sends what cannot be read is told so, and nobody else notices. A stream that
broke leaves its text for `Limits.linger_s`, so that the device can come back and repeat its round.
"""

import asyncio
import contextlib
import hmac
import json
import logging
import secrets
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from calibration.decoding import Opening, ServerText
from calibration.pairs import tokenizer_fingerprint
from calibration.serving import _messages_pb2 as messages
from calibration.serving import protocol
from calibration.serving.passes import Passes
from cuhlm_theory.errors import CuhlmError, PacketError

__all__ = ["Limits", "Server", "Sides", "check_open", "describe", "serve"]

_LONGEST_DETAIL = 300  # characters of a refusal
_LAST_PASS_S = 10.0  # how long texts that were cut may wait for the pass that is being made


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a server holds at most, and how long it waits."""

    num_texts: int = 32
    """Texts that may be open; further ones are refused."""
    num_caches: int = 8
    """Texts whose cache is kept; the others read their prefix again."""
    longest: int = 1024
    """Tokens that a text may have, prompt and answer [token]."""
    idle_s: float = 300.0
    """How long a device may ask nothing [s]."""
    linger_s: float = 10.0
    """How long a text whose stream broke can be resumed [s]."""
    grace_s: float = 10.0
    """How long texts may go on after the server was told to end [s]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """What devices are told of the model, and how they are let in."""

    description: messages.Description
    """What is served."""
    credentials: grpc.ServerCredentials | None = None
    """TLS; None leaves it off."""
    token: str | None = field(default=None, repr=False)
    """What a device must know; None lets everybody in."""


class _RefusedError(Exception):
    """Ends a call with a status."""

    def __init__(self, status: grpc.StatusCode, detail: object) -> None:
        super().__init__(status)
        self.status = status
        self.detail = " ".join(str(detail).split())[:_LONGEST_DETAIL]


class _Text:
    """A text that is open: its half of the decoder, and whose stream it is on."""

    def __init__(self, opening: Opening, passes: Passes) -> None:
        self.passes = passes
        self.session = passes.session()
        self.size = opening.codec.vocab_size
        self.half = ServerText(opening, self.session)
        self.key = secrets.token_bytes(16)
        self.stream: Any = None
        self.end: asyncio.TimerHandle | None = None
        self._turn = asyncio.Lock()

    async def read(self, prompt: tuple[int, ...]) -> None:
        """Read the prompt before the first round is asked."""
        if len(prompt) > 1:
            await self.passes.make(self.session, list(prompt[:-1]), 1)

    async def answer(self, request: bytes) -> messages.Answer:
        """Answer a round, with the seconds that it took and waited."""
        async with self._turn:
            start, waited_s, queue_s = time.perf_counter(), 0.0, 0.0
            asking = self.half.answer(request)
            try:
                _, text, keep = next(asking)
                while True:
                    asked = time.perf_counter()
                    logits = await self.passes.make(self.session, text, keep)
                    waited_s = time.perf_counter() - asked
                    queue_s += max(0.0, waited_s - self.session.seconds)
                    _, text, keep = asking.send(logits[:, : self.size])
            except StopIteration as end:
                compute_s = time.perf_counter() - start - queue_s
                return messages.Answer(reply=end.value, compute_s=compute_s, queue_s=queue_s)
            finally:
                asking.close()


class Server:
    """Answers the calls of devices.

    Parameters
    ----------
    passes : Passes
        Makes the passes of the large model.
    sides : Sides
        What devices are told, and how they are let in.
    limits : Limits
        Bounds.
    """

    def __init__(self, passes: Passes, sides: Sides, limits: Limits) -> None:
        self.passes = passes
        self.sides = sides
        self.limits = limits
        self.texts: dict[bytes, _Text] = {}
        """Texts that are open, by the key that resumes them."""

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return what answers the methods of the service."""
        describe = grpc.unary_unary_rpc_method_handler(
            self._describe,
            request_deserializer=messages.DescribeRequest.FromString,
            response_serializer=messages.Description.SerializeToString,
        )
        text = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=messages.FromDevice.FromString,
            response_serializer=messages.FromServer.SerializeToString,
        )
        methods = {protocol.DESCRIBE: describe, protocol.TEXT: text}
        return grpc.method_handlers_generic_handler(protocol.SERVICE, methods)

    async def _describe(self, request: messages.DescribeRequest, context: Any) -> messages.Description:
        async with _refusing(context):
            self._let_in(context)
            _check_version(request.version)
        return self.sides.description

    async def _stream(self, incoming: AsyncIterator[messages.FromDevice], context: Any) -> None:
        """Serve a text on one stream, until the device ends it or is gone."""
        async with _refusing(context):
            self._let_in(context)
            text = await self._begun(await self._read(context), context)
            ended = False
            try:
                await context.write(messages.FromServer(opened=messages.Opened(key=text.key)))
                while not ended and (asked := await self._read(context)) is not None:
                    ended = asked.WhichOneof("what") == "close"
                    if not ended:
                        answer = await text.answer(_request(asked))
                        await context.write(messages.FromServer(answer=answer))
            except (_RefusedError, CuhlmError, ValueError):
                ended = True
                raise
            finally:
                self._leave(text, context, lingers=not ended)

    async def _read(self, context: Any) -> messages.FromDevice | None:
        """Return the next message of a device; None where it has ended its side."""
        try:
            found = await asyncio.wait_for(context.read(), self.limits.idle_s)
        except TimeoutError:
            late = f"a round must come within {self.limits.idle_s:g} s"
            raise _RefusedError(grpc.StatusCode.DEADLINE_EXCEEDED, late) from None
        return None if found is grpc.aio.EOF else found  # pyright: ignore[reportAttributeAccessIssue]

    async def _begun(self, first: messages.FromDevice | None, context: Any) -> _Text:
        """Open a text, or resume one whose stream broke."""
        kind = None if first is None else first.WhichOneof("what")
        if first is None or kind not in ("open", "resume"):
            raise _RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "first message must open or resume a text")
        _check_version(getattr(first, kind).version)
        if kind == "open":
            return await self._opened(first.open, context)
        text = self.texts.get(first.resume.key)
        if text is None:
            raise _RefusedError(grpc.StatusCode.NOT_FOUND, "the text is not open any more")
        if text.end is not None:
            text.end.cancel()
        text.stream, text.end = context, None
        return text

    async def _opened(self, asked: messages.Open, context: Any) -> _Text:
        """Open a text and read its prompt."""
        mine, limits = self.sides.description, self.limits
        if asked.tokenizer != mine.tokenizer:
            theirs = f"tokenizer must be {mine.tokenizer}, that of the server; got {asked.tokenizer}"
            raise _RefusedError(grpc.StatusCode.FAILED_PRECONDITION, theirs)
        opening = Opening.from_json(json.loads(asked.opening))
        size, longest = opening.codec.vocab_size, len(opening.prompt) + opening.settings.max_new_tokens
        if not opening.prompt or longest > limits.longest:
            raise ValueError(f"prompt and max_new_tokens must lie in [2, {limits.longest}]; got {longest}")
        if size > mine.vocab_size:
            raise ValueError(f"vocab_size must be at most {mine.vocab_size}; got {size}")
        if not all(0 <= token < size for token in opening.prompt):
            raise ValueError(f"prompt must have tokens in [0, {size})")
        self._make_room()
        text = _Text(opening, self.passes)
        text.stream = context
        self.texts[text.key] = text
        try:
            await text.read(opening.prompt)
        except BaseException:
            self._leave(text, context, lingers=False)
            raise
        return text

    def _make_room(self) -> None:
        """Let go of a text that waits to be resumed where there is no room for another; or refuse."""
        if len(self.texts) >= self.limits.num_texts:
            gone = next((text for text in self.texts.values() if text.end is not None), None)
            if gone is None:
                most = f"texts must be at most {self.limits.num_texts}, and as many are open; try again later"
                raise _RefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, most)
            self._drop(gone)

    def _leave(self, text: _Text, stream: Any, *, lingers: bool) -> None:
        """End a text whose stream has ended, now or where nobody resumes it; another stream may have it."""
        if text.stream is not stream:
            return
        if lingers and self.limits.linger_s > 0.0:
            loop = asyncio.get_running_loop()
            text.end = loop.call_later(self.limits.linger_s, self._drop, text)
        else:
            self._drop(text)

    def _drop(self, text: _Text) -> None:
        if self.texts.pop(text.key, None) is not None:
            if text.end is not None:
                text.end.cancel()
            self.passes.leave(text.session)

    def _let_in(self, context: Any) -> None:
        """Refuse a device that does not know the token."""
        if self.sides.token is None:
            return
        told = dict(context.invocation_metadata() or ()).get("authorization", "")
        if not hmac.compare_digest(str(told).encode(), f"Bearer {self.sides.token}".encode()):
            detail = "token must be that of the server; give --token-file or CUHLM_TOKEN"
            raise _RefusedError(grpc.StatusCode.UNAUTHENTICATED, detail)


@contextlib.asynccontextmanager
async def _refusing(context: Any) -> AsyncIterator[None]:
    """Turn what is wrong with a call into a status with one line."""
    try:
        yield
        return
    except _RefusedError as error:
        refused = error
    except (PacketError, ValueError) as error:
        refused = _RefusedError(grpc.StatusCode.INVALID_ARGUMENT, error)
    except CuhlmError as error:
        refused = _RefusedError(grpc.StatusCode.INTERNAL, error)
    except Exception as error:  # a fault of ours, or an opening that no reader foresaw: of this text alone
        refused = _RefusedError(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
    await context.abort(refused.status, refused.detail)


def _request(asked: messages.FromDevice) -> bytes:
    if asked.WhichOneof("what") != "request":
        raise _RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "message must be a request, or close the text")
    return asked.request


def _check_version(version: int) -> None:
    if version != protocol.VERSION:
        detail = f"version must be {protocol.VERSION}; got {version}"
        raise _RefusedError(grpc.StatusCode.FAILED_PRECONDITION, detail)


def describe(model: Any, tokenizer: Any, *, name: str, sha256: str, longest: int) -> messages.Description:
    """Return what devices are told of a model.

    Parameters
    ----------
    model : PreTrainedModel
        Causal language model.
    tokenizer : PreTrainedTokenizer
        Its tokenizer.
    name : str
        What to call it.
    sha256 : str
        Hash of its weights.
    longest : int
        Tokens that a text may have, prompt and answer [token].

    Returns
    -------
    Description
        The message.
    """
    ends = model.generation_config.eos_token_id
    read, scored = model.get_input_embeddings(), model.get_output_embeddings()
    return messages.Description(
        version=protocol.VERSION,
        name=name,
        sha256=sha256,
        tokenizer=tokenizer_fingerprint(tokenizer),
        vocab_size=min(len(tokenizer), len(read.weight), scored.out_features),
        longest=longest,
        stop_tokens=ends if isinstance(ends, list) else [] if ends is None else [ends],
    )


def check_open(listen: tuple[str, int], credentials: object, token: str | None) -> None:
    """Refuse to listen where others can read along, or anybody can ask.

    Parameters
    ----------
    listen : tuple of (str, int)
        Host and port.
    credentials : ServerCredentials or None
        TLS.
    token : str or None
        What a device must know.

    Raises
    ------
    ValueError
        If the address is not loopback, and TLS or the token is missing.
    """
    host, port = listen
    if not protocol.is_loopback(host) and (credentials is None or token is None):
        raise ValueError(
            f"listen must be of this machine, such as 127.0.0.1:{port}, unless tls_cert, tls_key and "
            f"token_file are given; got {host}:{port}"
        )


async def serve(
    served: Server,
    listen: tuple[str, int],
    *,
    tell: Callable[[str], None],
    until: Callable[[], Awaitable[object]] | None = None,
) -> int:
    """Serve until the process is told to end.

    Parameters
    ----------
    served : Server
        Answers the calls.
    listen : tuple of (str, int)
        Host and port; port 0 takes one that is free.
    tell : callable
        Told the address, once devices can connect.
    until : callable, optional
        What to wait for instead of SIGINT or SIGTERM.

    Returns
    -------
    int
        Texts that were cut, because they did not end within `Limits.grace_s`.

    Raises
    ------
    ValueError
        If nobody can listen there, or the address is not loopback and TLS or the token is off.
    """
    credentials, grace_s = served.sides.credentials, served.limits.grace_s
    check_open(listen, credentials, served.sides.token)
    host, port = listen
    logging.getLogger("grpc").setLevel(logging.CRITICAL)  # what fails is told to the device in a line
    server = grpc.aio.server(options=[*protocol.options(), ("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((served.handlers(),))
    name = f"[{host}]" if ":" in host else host
    try:
        if credentials is None:
            port = server.add_insecure_port(f"{name}:{port}")
        else:
            port = server.add_secure_port(f"{name}:{port}", credentials)
    except RuntimeError:
        raise ValueError(f"listen must be an address that is free; got {name}:{port}") from None
    making = asyncio.create_task(served.passes.run())
    try:
        await server.start()
        tell(f"{name}:{port}")
        await (until or _told_to_end)()
        ending = asyncio.create_task(server.stop(grace_s + 1.0))  # refuses further texts
        cut = await _unfinished(served, grace_s)
        await server.stop(0.0)
        await ending
        await _unfinished(served, _LAST_PASS_S)
        return cut
    finally:
        making.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await making


async def _unfinished(served: Server, grace_s: float) -> int:
    """Wait until texts have ended, at most so long; how many had not."""
    loop = asyncio.get_running_loop()
    end = loop.time() + grace_s
    while (left := sum(text.end is None for text in served.texts.values())) and loop.time() < end:
        await asyncio.sleep(0.05)
    return left


async def _told_to_end() -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    await told.wait()
