r"""What goes over the link: a request of the device, and the reply of the server, each one packet.

A packet is a frame of `cuhlm_theory.codec` around a head and a body. What the formulas of the theory count is
the body: `Packet.payload_bit`. Skipped tokens are counted apart (`told_bit`), because a system may leave
them uncharged, and `frame_bit` is all the rest: head, padding, length, checksum.

A request is

======================  ==================================  =====================================
head                    version, round, flags, two counts    ``8 + 32 + 3 + 24 + 16`` bits
told                    tokens that the server has not seen  an index each
named                   drafts whose laws do not name them   an index each (and a probability)
laws                    `Payload.form`, one a draft          one after the other
======================  ==================================  =====================================

and a reply has the version, the round, a kind and the number of drafts kept, then what the answer of the
scheme's verification rule is: tokens, a yes, a law, or a token with a level.

No published formula charges what is told or named. `hlm`, `rand-hlm`, `u-hlm`, `cu-hlm-*`, `dsd`, `cascade`,
`block-verification`, `tk-slt`, `tslt`, `k-sqs` and `c-sqs` must name the draft; `tk-slt` must send the
indices of its candidates as well, and sets that are written by gaps take up to `codec.most_subset_bit`.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from calibration.decoding.settings import Settings
from cuhlm_theory.codec import Form, LatticeLaw, Reader, Shorter, Writer, listed_form, opened, sealed
from cuhlm_theory.errors import PacketError
from cuhlm_theory.parameters import Codec
from cuhlm_theory.truncation import quantise

VERSION = 1
_ROUND_BITS, _TOLD_BITS, _DRAFT_BITS, _KIND_BITS = 32, 24, 16, 2
_TOKENS, _YES, _LAW, _PROPOSAL = range(4)
_INSIDE_BITS = 48  # of a probability that passes between two models on one machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the device asks."""

    round: int
    """Number of the request, from 0; a repeated one gets the same reply."""
    told: tuple[int, ...] = ()
    """Committed tokens that the server has not seen."""
    drafts: tuple[int, ...] = ()
    """Drafts to verify; any token stands for one that the server need not know."""
    laws: tuple[LatticeLaw, ...] = ()
    """What is sent of the law of each draft."""
    probabilities: tuple[LatticeLaw, ...] = ()
    """What the device's own law says of each draft, where the acceptance test asks for that."""
    bonus: bool = False
    """Whether a token of the server's own is wanted after drafts that are all kept."""
    refused: bool = False
    """Whether the device itself refuses the last draft."""
    more: bool = False
    """Whether another proposal is wanted for the draft that was not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the server answers."""

    round: int
    """Number of the request."""
    kept: int
    """Drafts kept."""
    tokens: tuple[int, ...] = ()
    """The token that ends the round, or all that are committed where the device has none of them."""
    law: LatticeLaw | None = None
    """The large model's law where a draft was not kept and the device replaces it."""
    proposal: tuple[int, int] | None = None
    """A token of the large model and a level: the device takes it if its own level is at most that."""


@dataclass(frozen=True, slots=True)
class Packet:
    """Bytes to send, and what they are spent on."""

    content: bytes
    """What is sent."""
    payload_bit: int
    """What the formulas of the theory count, and what they leave out of a law or its draft [bit]."""
    told_bit: int = 0
    """Tokens that the server has not seen [bit]."""

    @property
    def frame_bit(self) -> int:
        """All the rest: head, padding, length, checksum [bit]."""
        return 8 * len(self.content) - self.payload_bit - self.told_bit


class Wire:
    """Writes and reads the packets of one text; both ends make it from the same settings."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self.settings = settings
        self.codec = codec
        self.payload = settings.scheme.payload
        self.on_server = settings.scheme.verification.on_server
        form = self.payload.form(codec, settings.scheme.skip)
        if self.on_server:
            inside = replace(codec, prob_bits=_INSIDE_BITS, kind="dense")
            form = Form(
                vocab_size=codec.vocab_size,
                levels=2**inside.prob_bits - 1,
                size=codec.vocab_size,
                prob_bits=inside.prob_bits,
            )
        elif not self.payload.names_draft and settings.convention.temperatures != "mean":
            assert isinstance(form, Form)  # tokens with draws of their own may be kept by more than one bound
            form = replace(form, most=min(codec.vocab_size, form.levels))
        self.form: Form | Shorter | None = form
        """How a law is written; None where none is."""
        if settings.scheme.draft.several and form is not None and not _has_end(form):
            raise ValueError(
                "payload must say where a law ends, or send one a round, in the codec "
                f"{codec.kind!r}; got {type(self.payload).__name__}"
            )

    @property
    def own_probability(self) -> bool:
        """Whether the acceptance test asks for the device's own probability of a single draft."""
        told = self.payload.needs_index and not self.settings.scheme.draft.several
        return told and self.settings.convention.accept_with == "draft"

    @property
    def names_drafts(self) -> bool:
        """Whether an index goes beside the law of each draft."""
        return self.payload.needs_index and not self.own_probability

    @cached_property
    def dense(self) -> Form:
        """Form of the large model's law on its way down."""
        codec = self.codec
        size, bits = codec.vocab_size, codec.prob_bits
        return Form(vocab_size=size, levels=2**bits - 1, size=size, prob_bits=bits)

    @cached_property
    def single(self) -> Form:
        """Form of the device's own probability of a draft."""
        return listed_form(self.codec, 1)

    def law(self, law: np.ndarray, size: int, draft: int) -> LatticeLaw:
        """Return what is sent of a law, of which so many entries and this draft."""
        if self.on_server:
            return LatticeLaw.of(quantise(law, _INSIDE_BITS), 2**_INSIDE_BITS - 1)
        return self.payload.message(law, size, draft, self.codec)

    def received(self, law: LatticeLaw) -> np.ndarray:
        """Law that the server has when that arrives, shape [V]."""
        return law.kept() if self.on_server else self.payload.received_law(law)

    def entries(self, law: LatticeLaw, size: int) -> int:
        """Entries that are sent of a law where so many are chosen [token]; what has no level is left out."""
        form = self.form.listed if isinstance(self.form, Shorter) else self.form
        return size if form is None or form.size is not None else min(size, law.index.size)

    def request(self, asked: Request) -> Packet:
        """Write a request."""
        writer = Writer()
        writer.numbers(VERSION, 8)
        writer.numbers(asked.round, _ROUND_BITS)
        writer.numbers([asked.bonus, asked.refused, asked.more], 1)
        writer.numbers(len(asked.told), _TOLD_BITS)
        writer.numbers(len(asked.drafts), _DRAFT_BITS)
        head = writer.bit
        writer.numbers(np.array(asked.told, dtype=np.int64), self.codec.bits_per_index)
        told = writer.bit - head
        if self.names_drafts:
            writer.numbers(np.array(asked.drafts, dtype=np.int64), self.codec.bits_per_index)
        for law in asked.probabilities:
            self.single.write(writer, law)
        for law in asked.laws:
            assert self.form is not None
            self.form.write(writer, law)
        return Packet(sealed(writer, self._agreed("request")), writer.bit - head - told, told)

    def read_request(self, packet: bytes) -> Request:
        """Read a request; what `request` has not written is refused."""
        reader = opened(packet, self._agreed("request"))
        number = self._head(reader)
        bonus, refused, more = map(bool, reader.numbers(3, 1))
        num_told = int(reader.numbers(1, _TOLD_BITS)[0])
        num = int(reader.numbers(1, _DRAFT_BITS)[0])
        told = self._tokens(reader, num_told)
        named = self._tokens(reader, num) if self.names_drafts else ()
        probabilities = [self._law(self.single, reader) for _ in range(num if self.own_probability else 0)]
        laws = [] if self.form is None else [self._law(self.form, reader) for _ in range(num)]
        if probabilities:
            named = [int(law.index[0]) for law in probabilities]
        elif not self.names_drafts:
            named = [self.payload.named_draft(law) for law in laws]
        asked = Request(
            round=number,
            told=told,
            drafts=tuple(named),
            laws=tuple(laws),
            probabilities=tuple(probabilities),
            bonus=bonus,
            refused=refused,
            more=more,
        )
        self._whole(self.request(asked), packet)
        return asked

    def reply(self, answer: Reply) -> Packet:
        """Write a reply."""
        writer = Writer()
        writer.numbers(VERSION, 8)
        writer.numbers(answer.round, _ROUND_BITS)
        writer.numbers(answer.kept, _DRAFT_BITS)
        kind = _TOKENS if answer.tokens else _PROPOSAL if answer.proposal else _LAW if answer.law else _YES
        writer.numbers(kind, _KIND_BITS)
        head = writer.bit
        if kind == _TOKENS:
            writer.numbers(np.array(answer.tokens, dtype=np.int64), self.codec.bits_per_index)
        elif answer.proposal:
            writer.numbers(answer.proposal[0], self.codec.bits_per_index)
            writer.numbers(answer.proposal[1], self.codec.prob_bits)
        elif answer.law:
            self.dense.write(writer, answer.law)
        else:
            writer.numbers(1, 1)
        return Packet(sealed(writer, self._agreed("reply")), writer.bit - head)

    def read_reply(self, packet: bytes) -> tuple[Reply, Packet]:
        """Read a reply, and what it was spent on; what `reply` has not written is refused."""
        reader = opened(packet, self._agreed("reply"))
        number = self._head(reader)
        answer = Reply(round=number, kept=int(reader.numbers(1, _DRAFT_BITS)[0]))
        kind = int(reader.numbers(1, _KIND_BITS)[0])
        if kind == _TOKENS:
            answer = replace(answer, tokens=self._tokens(reader, reader.left // self.codec.bits_per_index))
        elif kind == _PROPOSAL:
            token = self._tokens(reader, 1)[0]
            answer = replace(answer, proposal=(token, int(reader.numbers(1, self.codec.prob_bits)[0])))
        elif kind == _LAW:
            answer = replace(answer, law=self.dense.read(reader))
        return answer, self._whole(self.reply(answer), packet)

    def _agreed(self, kind: str) -> str:
        return f"{kind} {self.codec.bits_per_index} {self.form.agreed if self.form else ''}"

    def _head(self, reader: Reader) -> int:
        version = int(reader.numbers(1, 8)[0])
        if version != VERSION:
            raise PacketError(f"packet must be of version {VERSION}; got {version}")
        return int(reader.numbers(1, _ROUND_BITS)[0])

    def _tokens(self, reader: Reader, num: int) -> tuple[int, ...]:
        tokens = reader.numbers(num, self.codec.bits_per_index)
        if np.any(tokens >= self.codec.vocab_size):
            raise PacketError(
                f"packet must hold tokens below {self.codec.vocab_size}; got {int(tokens.max())}"
            )
        return tuple(tokens.tolist())

    def _law(self, form: Form | Shorter, reader: Reader) -> LatticeLaw:
        law = form.read(reader)
        if isinstance(form, Form) and form.size == 1 and not law.index.size:
            raise PacketError("packet must give its draft a probability; got 0")
        return law

    @staticmethod
    def _whole(written: Packet, packet: bytes) -> Packet:
        if written.content != packet:
            raise PacketError("packet must be the one that its content has; got another with that content")
        return written


def _has_end(form: Form | Shorter) -> bool:
    """Whether a reader finds the end of a law without that of the packet."""
    return isinstance(form, Form) and (form.size is not None or form.most is not None)
