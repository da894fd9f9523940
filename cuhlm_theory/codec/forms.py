"""How a law is written: first how many tokens it names, then which, then their levels.

Every payload rule is one `Form` (`Payload.form` says which). Its length is the formula of the rule: to
the bit where all fields have a fixed width, within `bits.most_subset_bit` where a set is written by its gaps.
A form in which nothing tells the size reads it off the length of what is left, so it stands last in a packet.
"""

import json
from dataclasses import astuple, dataclass
from typing import Generic, TypeVar

import numpy as np

from cuhlm_theory._checks import as_count
from cuhlm_theory.codec.bits import Ints, Reader, Writer
from cuhlm_theory.codec.frame import opened, sealed
from cuhlm_theory.codec.laws import MOST_LEVELS, LatticeLaw
from cuhlm_theory.errors import PacketError
from cuhlm_theory.parameters import Codec

Message = TypeVar("Message")


@dataclass(frozen=True, slots=True)
class Written(Generic[Message]):
    """A way to write messages of one kind; what is not sent both sides agree on."""

    @property
    def agreed(self) -> str:
        """What a packet's checksum covers beside the packet."""
        return json.dumps([type(self).__name__, astuple(self)], default=int)

    def bit(self, message: Message) -> int:
        """Length of a message [bit]."""
        writer = Writer()
        self.write(writer, message)
        return writer.bit

    def write(self, writer: Writer, message: Message) -> None:
        """Write a message."""
        raise NotImplementedError

    def read(self, reader: Reader) -> Message:
        """Read a message; what `write` has not written is refused."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Form(Written[LatticeLaw]):
    """A law on a lattice: its size, its tokens, their levels, its tag.

    >>> form = Form(vocab_size=3, levels=4, size=2, index_bits=2, prob_bits=3)
    >>> law = LatticeLaw.of([0.0, 0.75, 0.25], levels=4)
    >>> form.bit(law), decode(form, encode(form, law))
    (10, [LatticeLaw of 2 of 3 tokens, 4 of 4 levels])
    """

    vocab_size: int
    """V [token]."""
    levels: int
    """ell: a probability is a multiple of 1/ell [-]."""
    size: int | None = None
    """Entries, where they are agreed [token]; a law of fewer is filled up with zeros."""
    least: int = 1
    """Fewest entries, where they are not [token]."""
    most: int | None = None
    """Most entries, where their number is sent [token]; else it follows from the length."""
    index_bits: int | None = None
    """Width of an index [bit]; None writes the set of tokens by its gaps."""
    prob_bits: int | None = None
    """Width of a level [bit]; None writes where the levels of one token end, by gaps: they leave no rest."""
    tag_bits: int | None = 0
    """Width of the tag [bit]; None is the least that tells the entries apart."""

    def __post_init__(self) -> None:
        as_count("vocab_size", self.vocab_size, at_least=2)
        as_count("levels", self.levels, at_most=MOST_LEVELS)
        if self.size is not None:
            as_count("size", self.size, at_most=self.vocab_size)
        elif self.most is not None:
            as_count("most", self.most, at_least=self.least, at_most=self.vocab_size)
        elif self.index_bits is None or self.prob_bits is None or self.tag_bits != 0:
            raise ValueError("size or most must be given unless entries of fixed width are all; got neither")
        if self.prob_bits is not None and self.levels >> self.prob_bits:
            raise ValueError(f"levels must be below 2^{self.prob_bits}; got {self.levels}")

    def write(self, writer: Writer, message: LatticeLaw) -> None:
        """Write a law."""
        index, count = self._filled(message)
        if self.size is None and self.most is not None:
            writer.numbers(index.size - self.least, self._size_bit)
        if self.index_bits is None:
            writer.subset(index, self.vocab_size)
        else:
            writer.numbers(index, self.index_bits)
        if self.prob_bits is not None:
            writer.numbers(count, self.prob_bits)
        elif message.rest:
            raise ValueError(f"law must have all {self.levels} levels in this form; got {message}")
        else:
            bars = np.cumsum(count)[:-1] + np.arange(count.size - 1)
            writer.subset(bars, self.levels + count.size - 1)
        writer.numbers(message.tag, self._tag_bit(count.size))

    def read(self, reader: Reader) -> LatticeLaw:
        """Read a law; what no law has written is refused."""
        k = self._size(reader)
        index = (
            reader.subset(k, self.vocab_size)
            if self.index_bits is None
            else reader.numbers(k, self.index_bits)
        )
        if self.prob_bits is not None:
            count = reader.numbers(k, self.prob_bits)
        else:
            bars = reader.subset(k - 1, self.levels + k - 1)
            count = np.diff(bars, prepend=-1, append=self.levels + k - 1) - 1
        tag = int(reader.numbers(1, self._tag_bit(k))[0])
        some = count != 0
        try:
            return LatticeLaw(
                vocab_size=self.vocab_size, levels=self.levels, index=index[some], count=count[some], tag=tag
            )
        except ValueError as error:
            raise PacketError(f"packet must hold a law: {error}") from None

    def _filled(self, law: LatticeLaw) -> tuple[Ints, Ints]:
        """Tokens and levels to write, shape [k] both: the lowest tokens without levels fill up."""
        if (law.vocab_size, law.levels) != (self.vocab_size, self.levels):
            raise ValueError(f"law must have {self.vocab_size} tokens and {self.levels} levels; got {law}")
        named, most = law.index.size, self.most if self.size is None else self.size
        if most is not None and named > most:
            raise ValueError(f"law must name at most {most} tokens in this form; got {law}")
        missing = max((self.least if self.size is None else self.size) - named, 0)
        fill = np.flatnonzero(law.kept() == 0.0)[:missing]
        index = np.concatenate([law.index, fill])
        order = np.argsort(index)
        return index[order], np.concatenate([law.count, np.zeros_like(fill)])[order]

    def _size(self, reader: Reader) -> int:
        if self.size is not None:
            return self.size
        if self.most is not None:
            k = self.least + int(reader.numbers(1, self._size_bit)[0])
            if k > self.most:
                raise PacketError(f"packet must name at most {self.most} tokens; got {k}")
            return k
        entry = (self.index_bits or 0) + (self.prob_bits or 0)
        if reader.left % entry:
            raise PacketError(f"packet must hold entries of {entry} bits to its end; got {reader.left} bits")
        return reader.left // entry

    @property
    def _size_bit(self) -> int:
        return ((self.most or self.least) - self.least).bit_length()

    def _tag_bit(self, k: int) -> int:
        return (max(k, 1) - 1).bit_length() if self.tag_bits is None else self.tag_bits


@dataclass(frozen=True, slots=True)
class Shorter(Written[LatticeLaw]):
    """The whole law without indices wherever that takes no more bits; the length says which it is.

    >>> whole = Form(vocab_size=3, levels=1, size=3, prob_bits=1)
    >>> form = Shorter(Form(vocab_size=3, levels=1, index_bits=2, prob_bits=1), whole)
    >>> form.bit(LatticeLaw.of([0.0, 1.0, 0.0], levels=1))
    3
    """

    listed: Form
    """Form of some tokens."""
    whole: Form
    """Form of all, of one length for every law."""

    def write(self, writer: Writer, message: LatticeLaw) -> None:
        """Write a law in the shorter form."""
        form = self.listed if self.listed.bit(message) < self._whole_bit else self.whole
        form.write(writer, message)

    def read(self, reader: Reader) -> LatticeLaw:
        """Read a law; its end must be that of the packet."""
        form = self.whole if reader.left == self._whole_bit else self.listed
        return form.read(reader)

    @property
    def _whole_bit(self) -> int:
        return self.whole.vocab_size * (self.whole.prob_bits or 0)


@dataclass(frozen=True, slots=True)
class TokenList(Written[Ints]):
    """Tokens one after the other, such as a run that was skipped; the length says how many.

    >>> tokens = TokenList(index_bits=15)
    >>> decode(tokens, encode(tokens, np.array([7, 7, 31_999])))
    [array([    7,     7, 31999])]
    """

    index_bits: int
    """Width of an index [bit]."""

    def write(self, writer: Writer, message: Ints) -> None:
        """Write the tokens, shape [N]."""
        writer.numbers(message, self.index_bits)

    def read(self, reader: Reader) -> Ints:
        """Read all tokens up to the end, shape [N]."""
        num, odd = divmod(reader.left, self.index_bits)
        if odd:
            raise PacketError(f"packet must hold indices of {self.index_bits} bits; got {reader.left} bits")
        return reader.numbers(num, self.index_bits)


def listed_form(codec: Codec, k: int | None = None) -> Form:
    r"""Form of entries of fixed width: what `payload.printed_bit` counts.

    Parameters
    ----------
    codec : Codec
        Vocabulary and widths.
    k : int, optional
        Entries, where both sides know it; by default they go to the end of the packet [token].

    Returns
    -------
    Form
        Index and probability of each entry.

    Raises
    ------
    ValueError
        If k is not a whole number in [1, V], or a probability has more than 48 bits.

    Examples
    --------
    >>> listed_form(Codec(vocab_size=32_000)).bit(LatticeLaw.of(np.eye(1, 32_000)[0], levels=255))
    23
    """
    return Form(
        vocab_size=codec.vocab_size,
        levels=2**codec.prob_bits - 1,
        size=k,
        index_bits=codec.bits_per_index,
        prob_bits=codec.prob_bits,
    )


def distribution_form(codec: Codec, k: int | None = None) -> Form | Shorter:
    r"""Form of a truncated law in a codec: what `payload.distribution_bit` counts.

    Parameters
    ----------
    codec : Codec
        Vocabulary, widths and kind.
    k : int, optional
        Entries kept, where both sides know it [token].

    Returns
    -------
    Form or Shorter
        Printed and dense laws take the bits of the formula. Enumerative ones write their set by gaps, and its
        size, which the formula leaves out, where it is not agreed.

    Raises
    ------
    ValueError
        If k is not a whole number in [1, V], or a probability has more than 48 bits.

    Notes
    -----
    The two bits that would name the codec of the shortest law are not needed, because its length does.

    Examples
    --------
    >>> from cuhlm_theory.codec import round_truncated
    >>> law = round_truncated([0.1, 0.6, 0.25, 0.05], k=2, prob_bits=8)
    >>> for kind in ("printed", "dense", "enumerative"):
    ...     print(kind, distribution_form(Codec(vocab_size=4, kind=kind), k=2).bit(law))
    printed 20
    dense 32
    enumerative 19
    """
    vocab, bits = codec.vocab_size, codec.prob_bits
    levels = 2**bits - 1
    whole = Form(vocab_size=vocab, levels=levels, size=vocab, prob_bits=bits)
    if codec.kind == "dense" or (k == vocab and (codec.kind != "printed" or codec.index_bits == 0)):
        return whole  # which no other is shorter than where every token is sent
    if codec.kind == "printed":
        listed = listed_form(codec, k)
        return Shorter(listed, whole) if codec.index_bits == 0 else listed
    most = min(vocab, levels) if k is None else None
    by_gaps = Form(vocab_size=vocab, levels=levels, size=k, most=most, prob_bits=bits)
    return Shorter(by_gaps, whole) if codec.kind == "best" else by_gaps


def encode(form: Written[Message], *messages: Message) -> bytes:
    """Return the packet of one message, or of a run of them.

    Parameters
    ----------
    form : Written
        How they are written: a `Form`, a `Shorter` or a `TokenList`.
    *messages : LatticeLaw or list of tokens
        Laws, one a draft, or a list of tokens; several only where the form says where one ends.

    Returns
    -------
    bytes
        The packet, `frame.overhead_byte` longer than the payload in whole bytes.

    Raises
    ------
    ValueError
        If a message does not fit the form.

    Examples
    --------
    >>> encode(TokenList(index_bits=4), np.array([3, 9])).hex()
    '0839fad766ea'
    """
    writer = Writer()
    for message in messages:
        form.write(writer, message)
    return sealed(writer, form.agreed)


def decode(form: Written[Message], packet: bytes) -> list[Message]:
    """Return the messages of a packet.

    Parameters
    ----------
    form : Written
        How they were written.
    packet : bytes
        What `encode` returned.

    Returns
    -------
    list
        The messages.

    Raises
    ------
    PacketError
        If the packet was cut short, altered, written in another form, or is none that `encode` returns.

    Examples
    --------
    >>> decode(TokenList(index_bits=4), bytes.fromhex("0839fad766ea"))
    [array([3, 9])]
    """
    reader = opened(packet, form.agreed)
    messages: list[Message] = []
    while reader.left:
        messages.append(form.read(reader))
    if encode(form, *messages) != packet:
        raise PacketError("packet must be the one that its messages have; got another with their content")
    return messages
