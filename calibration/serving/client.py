"""The device's end: a large model behind `cuhlm serve`.

`RemoteModel` stands where a pair has its large model; `RemoteText` is whom the device asks about one text, as
it asks a `calibration.decoding.ServerText` in its own process. Nothing is awaited here, so that it works in a
notebook, whose loop runs already.
"""

import contextlib
import json
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc

from calibration.decoding.link import Exchange
from calibration.decoding.server import LostServerError, Opening, Remote
from calibration.decoding.session import Asking
from calibration.pairs import tokenizer_fingerprint
from calibration.serving import _messages_pb2 as messages
from calibration.serving import protocol
from cuhlm_theory.errors import CuhlmError

__all__ = ["RemoteModel", "RemoteText"]

_RETRIES_S = (0.0, 0.3, 1.0)  # waits before a text is taken up on another stream
_BROKEN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


class _BrokenError(Exception):
    """The connection broke; the text may still be there."""


class RemoteModel(Remote):
    """A large model behind `cuhlm serve`.

    Parameters
    ----------
    address : str
        ``HOST:PORT``. The connection is TLS unless the host is this machine and no ``tls_ca`` is given.
    tls_ca : Path, optional
        Certificate that signs the server's; None are those that gRPC brings.
    token : str, optional
        What the server asks for; sent over TLS, or within this machine.
    deadline_s : float, default 60.0
        How long an answer may take [s].

    Raises
    ------
    ValueError
        If the address is none.
    CuhlmError
        If no server answers there, or it refuses.
    """

    def __init__(
        self, address: str, *, tls_ca: Path | None = None, token: str | None = None, deadline_s: float = 60.0
    ) -> None:
        host, _ = protocol.split("server", address)
        self.address = address
        self.deadline_s = deadline_s
        self._metadata = () if token is None else (("authorization", f"Bearer {token}"),)
        options = [*protocol.options(), ("grpc.initial_reconnect_backoff_ms", 100)]
        if tls_ca is None and protocol.is_loopback(host):
            self._channel = grpc.insecure_channel(address, options)
        else:
            signer = None if tls_ca is None else tls_ca.read_bytes()
            self._channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(signer), options)
        self.description = self._describe()
        self.name = f"{self.description.name}, served"
        self.fingerprint = self.description.sha256
        self.config = SimpleNamespace(max_position_embeddings=self.description.longest)
        self.generation_config = SimpleNamespace(eos_token_id=list(self.description.stop_tokens))

    def _describe(self) -> messages.Description:
        ask = self._channel.unary_unary(
            f"/{protocol.SERVICE}/{protocol.DESCRIBE}",
            request_serializer=messages.DescribeRequest.SerializeToString,
            response_deserializer=messages.Description.FromString,
        )
        try:
            asked = messages.DescribeRequest(version=protocol.VERSION)
            return ask(asked, timeout=self.deadline_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise CuhlmError(_said(self.address, error)) from None

    def get_output_embeddings(self) -> Any:
        """Return what says how many tokens are scored."""
        return SimpleNamespace(out_features=self.description.vocab_size)

    def check_tokenizer(self, tokenizer: Any) -> int:
        """Return the tokens that are scored; refuse another tokenizer than the server's.

        Parameters
        ----------
        tokenizer : PreTrainedTokenizer
            Tokenizer of the device.

        Returns
        -------
        int
            V [token].

        Raises
        ------
        ValueError
            If the two have another fingerprint.
        """
        if (mine := tokenizer_fingerprint(tokenizer)) != self.description.tokenizer:
            raise ValueError(
                f"slm and the server at {self.address} must share a tokenizer; its fingerprint is {mine} "
                f"here, {self.description.tokenizer} there"
            )
        return self.description.vocab_size

    def text(self, opening: Opening) -> "RemoteText":
        """Open a text; the server reads its prompt.

        Parameters
        ----------
        opening : Opening
            What the two sides agree on.

        Returns
        -------
        RemoteText
            Whom the device asks.

        Raises
        ------
        CuhlmError
            If the server is gone, or refuses.
        """
        return RemoteText(self, opening)

    def stream(self) -> "_Stream":
        """Open a stream for one text."""
        method = self._channel.stream_stream(
            f"/{protocol.SERVICE}/{protocol.TEXT}",
            request_serializer=messages.FromDevice.SerializeToString,
            response_deserializer=messages.FromServer.FromString,
        )
        return _Stream(self, method, self._metadata)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


class _Stream:
    """One call of `LargeModel.Text`: a message there, a message back, each within the deadline."""

    def __init__(self, model: RemoteModel, method: Any, metadata: Any) -> None:
        self._model = model
        self._waiting: queue.SimpleQueue[messages.FromDevice | None] = queue.SimpleQueue()
        self._call = method(iter(self._waiting.get, None), metadata=metadata)

    def ask(self, message: messages.FromDevice) -> messages.FromServer:
        """Return the answer to a message; a stream that gave none is of no use any more."""
        self._waiting.put(message)
        with self._within(self._model.deadline_s) as late:
            try:
                return next(self._call)
            except StopIteration:
                raise LostServerError(f"server at {self._model.address}: it ended the text") from None
            except grpc.RpcError as error:
                self.cut()
                if late.is_set():
                    said = f"no answer within deadline_s, {self._model.deadline_s:g} s"
                    raise LostServerError(f"server at {self._model.address}: {said}") from None
                problem = _said(self._model.address, error)
                if self._call.code() in _BROKEN:
                    raise _BrokenError(problem) from None
                raise LostServerError(problem) from None

    def close(self) -> None:
        """End the text, and give the server a second to end its side."""
        self._waiting.put(messages.FromDevice(close=messages.Close()))
        self._waiting.put(None)
        with contextlib.suppress(grpc.RpcError), self._within(1.0):
            for _ in self._call:
                pass

    def cut(self) -> None:
        """Leave at once."""
        self._waiting.put(None)
        self._call.cancel()

    @contextlib.contextmanager
    def _within(self, seconds: float) -> Iterator[threading.Event]:
        """Cancel the call where it takes longer; the event says so."""
        late = threading.Event()

        def expire() -> None:
            late.set()
            self._call.cancel()

        timer = threading.Timer(seconds, expire)
        timer.daemon = True
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()


class RemoteText:
    """Whom the device asks of one text; what was exchanged is kept in `exchanges`."""

    def __init__(self, model: RemoteModel, opening: Opening) -> None:
        self.model = model
        self.exchanges: list[Exchange] = []
        """One a round."""
        self.seconds = 0.0
        """Wall clock of the server's compute in the last answer [s]."""
        self.link_s = 0.0
        """Seconds of the last answer that were neither compute nor waiting [s]."""
        told = messages.Open(
            version=protocol.VERSION,
            tokenizer=model.description.tokenizer,
            opening=json.dumps(opening.to_json()).encode(),
        )
        self._stream: _Stream | None = model.stream()
        start = time.perf_counter()
        try:
            opened = self._stream.ask(messages.FromDevice(open=told))
        except _BrokenError as error:
            raise CuhlmError(str(error)) from None
        self._key = opened.opened.key
        self.opening_s = time.perf_counter() - start
        """What the opening took, with the reading of the prompt [s]."""

    def answer(self, request: bytes) -> Asking[bytes]:
        """Return the reply to a request; it yields no pass.

        Parameters
        ----------
        request : bytes
            What `calibration.decoding.wire.Wire.request` wrote.

        Returns
        -------
        bytes
            What `calibration.decoding.wire.Wire.read_reply` reads.

        Raises
        ------
        LostServerError
            If the server is gone, or refuses.
        """
        sent = messages.FromDevice(request=request)
        start = time.perf_counter()
        came = self._asked(sent)
        answer = came.answer
        self.seconds = answer.compute_s
        took = Exchange(
            round_trip_s=time.perf_counter() - start,
            compute_s=answer.compute_s,
            queue_s=answer.queue_s,
            sent_byte=len(request),
            received_byte=len(answer.reply),
            sent_framed_byte=protocol.framed_byte(sent),
            received_framed_byte=protocol.framed_byte(came),
        )
        self.link_s = took.link_s
        self.exchanges.append(took)
        return answer.reply
        yield  # a generator, as those are that want passes

    def _asked(self, message: messages.FromDevice) -> messages.FromServer:
        """Ask; where the stream breaks, take the text up on another one and ask the same again."""
        waits_s = list(_RETRIES_S)
        while True:
            try:
                if self._stream is None:
                    stream = self.model.stream()
                    resumed = messages.Resume(version=protocol.VERSION, key=self._key)
                    stream.ask(messages.FromDevice(resume=resumed))
                    self._stream = stream
                return self._stream.ask(message)
            except _BrokenError as error:
                self._stream = None
                if not waits_s:
                    raise LostServerError(str(error)) from None
                time.sleep(waits_s.pop(0))

    def close(self) -> None:
        """End the text, so that the server frees its cache at once."""
        if self._stream is not None:
            self._stream.close()


def _said(address: str, error: Exception) -> str:
    """One line that says what is wrong with a server."""
    detail = error.details() if isinstance(error, grpc.Call) else error
    return f"server at {address}: {' '.join(str(detail).split())}"
