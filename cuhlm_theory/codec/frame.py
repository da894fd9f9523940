"""What stands around a payload in a packet: its length in front, a checksum behind.

Neither is part of a payload formula; together they are `overhead_byte`. Between them a payload is padded to
whole bytes. The checksum covers the length, the payload, and what both sides must agree on without sending
it, so that a packet of another vocabulary or another width is refused like one that was altered. A single
flipped bit, or any burst of up to 32, is always seen; other damage is missed once in 2^32.
"""

import zlib

from cuhlm_theory._checks import as_count
from cuhlm_theory.codec.bits import Reader, Writer
from cuhlm_theory.errors import PacketError

_CHECKSUM_BYTE = 4
_MOST_HEAD_BYTE = 5  # 2^35 bits


def sealed(message: Writer, agreed: str = "") -> bytes:
    """Return the packet of a message.

    Parameters
    ----------
    message : Writer
        The payload.
    agreed : str, default ""
        What the reader must know as well, such as the form of the message.

    Returns
    -------
    bytes
        Length, payload and checksum.

    Examples
    --------
    >>> message = Writer()
    >>> message.numbers([5, 1], width=3)
    >>> sealed(message).hex()
    '06a4c638d288'
    """
    content = _head(message.bit) + message.packed
    return content + _checksum(content, agreed)


def opened(packet: bytes, agreed: str = "") -> Reader:
    """Return the payload of a packet that is whole.

    Parameters
    ----------
    packet : bytes
        What `sealed` returned.
    agreed : str, default ""
        What the writer knew.

    Returns
    -------
    Reader
        The payload.

    Raises
    ------
    PacketError
        If the packet is cut short, altered, or belongs to a message on which the sides do not agree.

    Examples
    --------
    >>> opened(bytes.fromhex("06a4c638d288")).numbers(2, width=3)
    array([5, 1])
    >>> opened(bytes.fromhex("06a4c638d289"))
    Traceback (most recent call last):
    ...
    cuhlm_theory.errors.PacketError: packet must end with the checksum c638d288; got c638d289
    """
    size = next((n for n, byte in enumerate(packet[:_MOST_HEAD_BYTE], 1) if byte < 128), None)
    if size is None:
        raise PacketError(
            f"packet must begin with the length of its payload; got {packet[:5].hex() or 'none'}"
        )
    bit = sum((byte & 127) << 7 * place for place, byte in enumerate(packet[:size]))
    whole = size + -(-bit // 8) + _CHECKSUM_BYTE
    if len(packet) != whole:
        raise PacketError(f"packet must have {whole} bytes for a payload of {bit} bits; got {len(packet)}")
    content, found = packet[:-_CHECKSUM_BYTE], packet[-_CHECKSUM_BYTE:]
    if found != (wanted := _checksum(content, agreed)):
        raise PacketError(f"packet must end with the checksum {wanted.hex()}; got {found.hex()}")
    return Reader(content[size:], bit)


def overhead_byte(payload_bit: int) -> int:
    """Bytes of a packet beside its payload in whole bytes: the length, 7 bits a byte, and the checksum.

    Parameters
    ----------
    payload_bit : int
        Payload, at most 2^35 - 1 [bit].

    Returns
    -------
    int
        Overhead [byte].

    Raises
    ------
    ValueError
        If the payload is not a whole number in [0, 2^35 - 1].

    Examples
    --------
    >>> overhead_byte(24), overhead_byte(690), overhead_byte(736_000)
    (5, 6, 7)
    """
    return len(_head(payload_bit)) + _CHECKSUM_BYTE


def _head(payload_bit: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last byte have their highest bit set."""
    left = int(as_count("payload_bit", payload_bit, at_least=0, at_most=2 ** (7 * _MOST_HEAD_BYTE) - 1))
    head = bytearray()
    while left > 127:
        head.append(left & 127 | 128)
        left >>= 7
    return bytes([*head, left])


def _checksum(content: bytes, agreed: str) -> bytes:
    return zlib.crc32(content, zlib.crc32(agreed.encode())).to_bytes(_CHECKSUM_BYTE, "big")
