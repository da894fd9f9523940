"""The large model's half of one text, and how it is opened and asked.

A `Server` is asked with the bytes of a request and answers with the bytes of a reply (`wire`). `ServerText`
is one in the process of the device: its passes are yielded through the device's loop, so they are made like
the device's own. A remote one yields no pass.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from calibration.decoding import laws
from calibration.decoding.link import Exchange
from calibration.decoding.records import Decoded
from calibration.decoding.session import Asking, Session
from calibration.decoding.settings import Settings, settings_of
from calibration.decoding.wire import Reply, Request, Wire
from cuhlm_theory.codec import LatticeLaw
from cuhlm_theory.errors import CuhlmError, PacketError
from cuhlm_theory.parameters import Codec
from cuhlm_theory.schemes.verification import Proposes
from cuhlm_theory.truncation import quantise


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What the two sides agree on before the first request."""

    settings: Settings
    """How the text is decoded."""
    codec: Codec
    """Vocabulary and widths."""
    prompt: tuple[int, ...]
    """Tokens to continue."""
    seed: tuple[tuple[int, ...], tuple[int, ...]]
    """Entropy and spawn key of the server's generator (`numpy.random.SeedSequence`)."""

    @classmethod
    def of(
        cls, prompt: Sequence[int], settings: Settings, codec: Codec, rng: np.random.Generator
    ) -> tuple["Opening", np.random.Generator]:
        """Return the opening of a text, and the device's own generator; both are spawned from ``rng``."""
        device, server = rng.bit_generator.seed_seq.spawn(2)  # type: ignore[union-attr]
        entropy = tuple(int(word) for word in np.atleast_1d(np.asarray(server.entropy, dtype=object)))
        opening = cls(
            settings=settings,
            codec=codec,
            prompt=tuple(map(int, prompt)),
            seed=(entropy, tuple(map(int, server.spawn_key))),
        )
        return opening, np.random.default_rng(device)

    @property
    def rng(self) -> np.random.Generator:
        """The server's generator, at its beginning."""
        entropy, spawn_key = self.seed
        return np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=spawn_key))

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON holds it."""
        return {
            "settings": self.settings.described(),
            "codec": asdict(self.codec),
            "prompt": list(self.prompt),
            "seed": [list(part) for part in self.seed],
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Opening":
        """Return what `to_json` wrote."""
        try:
            entropy, spawn_key = told["seed"]
            return cls(
                settings=settings_of(told["settings"]),
                codec=Codec(**told["codec"]),
                prompt=tuple(map(int, told["prompt"])),
                seed=(tuple(map(int, entropy)), tuple(map(int, spawn_key))),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"opening must tell settings, codec, prompt and seed; got {error}") from None


class LostServerError(CuhlmError):
    """Whom the device asks is gone in the middle of a text."""

    decoded: Decoded | None = None
    """The text so far."""


class Server(Protocol):
    """Whom the device asks."""

    seconds: float
    """Wall clock of the server's compute in the last answer [s]."""
    link_s: float
    """Wall clock of a real connection in the last answer [s]; 0 in one process."""

    def answer(self, request: bytes) -> Asking[bytes]:
        """Return the reply; a generator that yields the passes it wants made, if any."""
        ...


class RemoteServer(Server, Protocol):
    """One that is asked over a connection."""

    exchanges: list[Exchange]
    """What was sent and how long it took, one entry a request."""

    def close(self) -> None:
        """End the text."""
        ...


class Remote(ABC):
    """A large model that is elsewhere: it opens texts, and cannot be fed."""

    reads_anew = True
    """Whether every pass reads its text from the start, as far as the caller can tell."""

    @abstractmethod
    def text(self, opening: Opening) -> RemoteServer:
        """Open a text."""


@dataclass(slots=True)
class Seen:
    """What the large model said in the last answer; only a device in the same process can look."""

    before: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    """Logits at the tokens that were skipped, shape [num_missed, V]."""
    ys: list[laws.Law] = field(default_factory=list)
    """The large model's law at each draft, and after the last where a bonus was wanted."""
    rejection: laws.Law = field(default_factory=lambda: np.zeros(0))
    """Chance that each draft is not kept, those before it being kept [-]."""


class ServerText:
    """The large model's half of one text."""

    def __init__(self, opening: Opening, session: Session, draws: laws.Draws | None = None) -> None:
        self.settings = opening.settings
        self.wire = Wire(opening.settings, opening.codec)
        self.session = session
        self.draws = draws or laws.Draws(opening.rng)
        self.text = list(opening.prompt)
        """Tokens that the server knows to be committed."""
        self.seconds = 0.0
        """Wall clock of the last answer's pass [s]."""
        self.link_s = 0.0
        self.num_missed = 0
        """Positions before the last token whose logits the next pass returns too, for measuring."""
        self.seen = Seen()
        self._last: tuple[Request, bytes, bytes] | None = None
        self._refused: laws.Law | None = None  # the large model's law where proposals go on

    def answer(self, request: bytes) -> Asking[bytes]:
        """Return the reply to a request; a repeated one changes nothing.

        Parameters
        ----------
        request : bytes
            What `Wire.request` wrote.

        Yields
        ------
        tuple
            Arguments of the pass that is wanted.

        Returns
        -------
        bytes
            What `Wire.read_reply` reads.

        Raises
        ------
        PacketError
            If the request is broken, is not the next one, or repeats the last one's number only.
        """
        asked = self.wire.read_request(request)
        expected = 0 if self._last is None else self._last[0].round + 1
        if self._last is not None and asked.round == expected - 1:
            if request == self._last[1]:
                return self._last[2]
            raise PacketError(f"packet must be the same where it repeats round {asked.round}; got another")
        if asked.round != expected:
            raise PacketError(f"packet must be of round {expected}; got {asked.round}")
        if asked.more:
            self.seconds = 0.0
            answer = self._replacing(asked, 0)
        else:
            answer = yield from self._verified(asked)
        reply = self.wire.reply(answer).content
        self._last = asked, request, reply
        return reply

    def _verified(self, asked: Request) -> Asking[Reply]:
        """Pass, keep, end the round; a pass that never comes leaves everything as it was."""
        self._check(asked)
        text = [*self.text, *asked.told]
        fed = [*text, *(asked.drafts if asked.bonus else asked.drafts[:-1])]
        width, sure = max(len(asked.drafts), 1) + asked.bonus, len(self.text) - 1
        try:
            logits = yield self.session, fed, width + self.num_missed
            self.seconds = self.session.seconds
            ys = [laws.next_law(z, self.settings.temperature) for z in logits[-width:]]
            sent = [self.wire.received(law) for law in asked.laws]
            kept, rejection = self._kept(asked, sent, ys)
            self._refused = None
            answer, committed = self._ended(asked, sent, ys, kept)
            self.seen = Seen(logits[: len(logits) - width], ys, rejection)
            self.text, sure = text + committed, len(text) + kept
        finally:
            self.session.rollback(sure)
        return answer

    def _check(self, asked: Request) -> None:
        """Refuse what no device of the scheme asks."""
        rule, num = self.settings.scheme.draft, len(asked.drafts)
        if num != rule.present and not (rule.several and num):
            raise PacketError(f"packet must hold drafts as {self.settings.scheme.name} sends them; got {num}")
        if asked.bonus and not num:
            raise PacketError("packet must hold drafts where a bonus is wanted; got 0")
        if self._refused is not None and not asked.told:
            raise PacketError("packet must tell the token that took the place of a draft; got 0")

    def _kept(self, asked: Request, sent: list[laws.Law], ys: list[laws.Law]) -> tuple[int, laws.Law]:
        """Drafts kept, and the chance of each not to be."""
        rule = self.settings.scheme.verification
        if not rule.looks_at_draft:
            return 0, np.ones(len(asked.drafts))
        assumed = [law.kept() for law in asked.probabilities] or sent
        rejection = rule.rejections(assumed, asked.drafts, ys)
        if asked.refused and not rule.verifies_trigger:
            rejection[-1] = 1.0
        return int(laws.keep_runs(1.0 - rejection[None], self.draws)[0]), rejection

    def _ended(
        self, asked: Request, sent: list[laws.Law], ys: list[laws.Law], kept: int
    ) -> tuple[Reply, list[int]]:
        """Reply, and the tokens that the server now knows to be committed."""
        rule, drafts = self.settings.scheme.verification, list(asked.drafts)
        committed, answer = drafts[:kept], Reply(round=asked.round, kept=kept)
        if drafts and kept == len(drafts):
            committed += [int(self.draws.token(ys[-1])[0])] if asked.bonus else []
            if rule.on_device and not asked.bonus:
                return answer, committed
        elif rule.on_device:
            self._refused = ys[kept]
            return self._replacing(asked, kept), committed
        else:
            rest = rule.rest(sent, drafts, ys, kept) if drafts else ys[0]
            committed.append(int(self.draws.token(rest)[0]))
        return replace(answer, tokens=tuple(committed if rule.on_server else committed[-1:])), committed

    def _replacing(self, asked: Request, kept: int) -> Reply:
        """Give the device what it replaces a draft with: the large model's law, or a proposal."""
        y, bits = self._refused, self.wire.codec.prob_bits
        if y is None:
            raise PacketError("packet must follow a draft that was not kept where it wants more; got none")
        answer, levels = Reply(round=asked.round, kept=kept), 2**bits - 1
        if not isinstance(self.settings.scheme.verification, Proposes):
            return replace(answer, law=LatticeLaw.of(quantise(y, bits), levels))
        token = int(self.draws.token(y)[0])
        return replace(answer, proposal=(token, self.draws.level(float(y[token]), levels)))
