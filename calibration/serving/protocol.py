"""What both ends of the connection agree on: version, limits, names of the methods, addresses, channels."""

import ipaddress
import os
from pathlib import Path

from calibration.serving import _messages_pb2 as messages

__all__ = [
    "DESCRIBE",
    "LONGEST_MESSAGE_BYTE",
    "SERVICE",
    "TEXT",
    "TOKEN_VARIABLE",
    "VERSION",
    "framed_byte",
    "is_loopback",
    "options",
    "read_token",
    "split",
]

VERSION = 1
SERVICE = "cuhlm.serving.v1.LargeModel"
DESCRIBE, TEXT = "Describe", "Text"
LONGEST_MESSAGE_BYTE = 1 << 22
"""Longest message that either end takes [B]; the law of one draft over 151 936 tokens is a tenth of it."""
TOKEN_VARIABLE = "CUHLM_TOKEN"  # noqa: S105 - its name, not a token
"""Environment variable that may hold the token."""
_GRPC_BYTE, _HTTP2_BYTE = 5, 9  # before a message, and before each of its frames
_FRAME_BYTE = 1 << 14  # longest frame, as HTTP/2 begins
_PING_EVERY_S, _PING_TIMEOUT_S = 20.0, 10.0


def options() -> list[tuple[str, int]]:
    """Return what gRPC is told at either end: the longest message, and pings that notice a dead connection.

    Returns
    -------
    list of (str, int)
        Options of a channel or a server.

    Examples
    --------
    >>> dict(options())["grpc.max_receive_message_length"]
    4194304
    """
    return [
        ("grpc.max_receive_message_length", LONGEST_MESSAGE_BYTE),
        ("grpc.max_send_message_length", LONGEST_MESSAGE_BYTE),
        ("grpc.keepalive_time_ms", int(1e3 * _PING_EVERY_S)),
        ("grpc.keepalive_timeout_ms", int(1e3 * _PING_TIMEOUT_S)),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", int(5e2 * _PING_EVERY_S)),
        ("grpc.http2.bdp_probe", 0),  # its pings would be counted with the rounds
        # a message is sent whole, and does not wait a round trip for more of HTTP/2's window of 64 kB
        ("grpc.http2.lookahead_bytes", LONGEST_MESSAGE_BYTE),
    ]


def framed_byte(message: messages.FromDevice | messages.FromServer) -> int:
    """Bytes of a message on a connection without TLS: the message, gRPC's prefix, a header a frame.

    Parameters
    ----------
    message : FromDevice or FromServer
        What is sent.

    Returns
    -------
    int
        Bytes below which TCP begins [B].

    Examples
    --------
    >>> framed_byte(messages.FromDevice(request=bytes(100)))
    116
    """
    body = _GRPC_BYTE + message.ByteSize()
    return body + _HTTP2_BYTE * -(-body // _FRAME_BYTE)


def split(name: str, address: str) -> tuple[str, int]:
    """Host and port of an address.

    Parameters
    ----------
    name : str
        What the address was given as, for what is refused.
    address : str
        ``HOST:PORT``; an IPv6 address stands in brackets.

    Returns
    -------
    tuple of (str, int)
        Host without brackets, and port.

    Raises
    ------
    ValueError
        If there is no host, or no port from 0 to 65535.

    Examples
    --------
    >>> split("listen", "[::1]:50051")
    ('::1', 50051)
    """
    host, colon, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    whole = port.isascii() and port.isdigit() and int(port) <= 65535
    if not (bare and colon and whole) or (":" in bare and host == bare) or "/" in bare:
        raise ValueError(f"{name} must be HOST:PORT with a port of at most 65535; got {address!r}")
    return bare, int(port)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, so that nothing that is sent to it can be read on the way.

    Parameters
    ----------
    host : str
        Address or name, as `split` returns it.

    Returns
    -------
    bool
        True of ``localhost``, 127.0.0.0/8 and ``::1``.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_token(file: Path | None) -> str | None:
    """Return the token of a file, or of the environment variable `TOKEN_VARIABLE`.

    Parameters
    ----------
    file : Path or None
        File that holds the token and nothing else.

    Returns
    -------
    str or None
        The token; None where there is neither.

    Raises
    ------
    ValueError
        If the token is empty, or has what no HTTP header may have.
    OSError
        If the file cannot be read.
    """
    found = os.environ.get(TOKEN_VARIABLE) if file is None else file.read_text(encoding="utf-8").strip()
    if found is not None and not (found and found.isascii() and found.isprintable() and " " not in found):
        where = TOKEN_VARIABLE if file is None else "token_file"
        raise ValueError(f"{where} must hold a token of printable ASCII without spaces; got another text")
    return found
