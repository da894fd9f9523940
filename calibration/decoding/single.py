"""The loop of every scheme that drafts one token a round, and of the LLM alone: the device's half."""

from dataclasses import replace

from calibration.decoding import laws, records
from calibration.decoding.link import Clock
from calibration.decoding.server import Server, ServerText
from calibration.decoding.session import Asking, Session
from calibration.decoding.settings import Settings
from calibration.decoding.stage import Stage
from calibration.decoding.wire import Request, Wire
from cuhlm_theory.codec import LatticeLaw

_REMEMBERED = 16  # skipped contexts, several laws each, that wait to be measured
_DRAWN: records.Row = dict.fromkeys(("tv", "skip_mass", "risk", "truncation_tv"), 0.0)


def run(
    device: Session | None,
    server: Server,
    settings: Settings,
    clock: Clock,
    draws: laws.Draws,
    stage: Stage,
) -> Asking[None]:
    """Decode; every committed token goes to ``stage``, every pass is asked for.

    What the device skipped is unknown to the server until the next request, whose pass feeds it: the logits
    of that catch-up are the laws that the skipped tokens should have followed, so measuring the bias costs no
    pass of its own. A text that ends skipping, or skips more than can be remembered, is measured by passes
    that are not charged. A server in another process shows no laws, and nothing is measured.
    """
    watched = server if stage.measure and isinstance(server, ServerText) else None
    waiting: list[tuple[records.Row, laws.Context]] = []  # skipped and not yet measured
    asking = _Asking(settings, clock, server, stage)
    while not stage.finished:
        here = None
        row = records.new_row(position=stage.num_new, round=stage.num_new, drafted=int(device is not None))
        if device is not None:
            here = laws.Context((yield device, stage.text, 1)[0], settings, clock.system)
            proposal = laws.propose(here, draws)
            row.update(draft=int(proposal.draft[0]), uncertainty=proposal.uncertainty[0])
            row.update(k=int(proposal.k[0]), slm_measured_s=device.seconds)
            if proposal.skipped[0]:
                row.update(token=row["draft"], action=records.SKIPPED)
                row.update(records.charged(row, clock, device.seconds, 0.0))
                asking.skipped += 1
                stage.commit([row])
                if watched is not None:
                    waiting.append((row, here))
                if watched is not None and len(waiting) == _REMEMBERED:
                    _measure(waiting, (yield watched.session, stage.text[:-1], len(waiting)))
                continue
        if watched is not None:
            watched.num_missed = len(waiting)
        rows = yield from asking.round(here, row)
        if watched is not None:
            _measure(waiting, watched.seen.before)
            y = watched.seen.ys[0]
            row.update({**_DRAWN} if here is None else laws.measure(here, y, row["draft"]))
        stage.commit(rows)
    if waiting and watched is not None:
        _measure(waiting, (yield watched.session, stage.text[:-1], len(waiting)))


class _Asking:
    """The requests of one text."""

    def __init__(self, settings: Settings, clock: Clock, server: Server, stage: Stage) -> None:
        self.settings = settings
        self.clock = clock
        self.server = server
        self.stage = stage
        self.wire = Wire(settings, clock.system.codec)
        self.skipped = 0
        """Tokens that the server has not seen."""
        self.num_requests = 0
        """Requests so far."""

    def round(self, here: laws.Context | None, row: records.Row) -> Asking[list[records.Row]]:
        """Ask about the draft of a row, or for a token where there is none; rows of what is committed."""
        rule, stage = self.settings.scheme.verification, self.stage
        bonus = self.settings.bonus and rule.looks_at_draft and here is not None and stage.room > 1
        asked = Request(
            round=self.num_requests,
            told=tuple(stage.text[len(stage.text) - self.skipped :]),
            bonus=bool(bonus and row["draft"] not in stage.stop_tokens),
        )
        if here is not None:
            asked = self._with_draft(asked, here, row)
        packet = self.wire.request(asked)
        content = yield from self.server.answer(packet.content)
        reply, came = self.wire.read_reply(content)
        kept = bool(reply.kept)
        row.update(token=row["draft"] if kept else reply.tokens[0], kept=int(kept))
        asks = records.RESAMPLED if rule.looks_at_draft else records.SAMPLED
        row.update(action=records.ACCEPTED if kept else asks, llm_calls=1, llm_width=1 + asked.bonus)
        row.update(catch_up=self.skipped, entries=row["k"], slm_catch_up=int(asked.bonus and kept))
        records.add_packets(row, self.clock.system, packet, came)
        row.update(records.charged(row, self.clock, row["slm_measured_s"], self.server.seconds))
        row["link_measured_s"] = self.server.link_s
        self.skipped, self.num_requests = 0, self.num_requests + 1
        return [row, bonus_row(reply.tokens[0], row)] if asked.bonus and kept else [row]

    def _with_draft(self, asked: Request, here: laws.Context, row: records.Row) -> Request:
        """Add the draft and what is sent of its law; the row is told how many entries that are."""
        draft, own = row["draft"], ()
        law = here.message(here.x, row["k"], draft)
        row["k"] = self.wire.entries(law, row["k"])
        if self.wire.own_probability:
            own = (LatticeLaw.of(here.x, self.wire.single.levels).only(draft),)
        return replace(asked, drafts=(draft,), laws=(law,), probabilities=own)


def bonus_row(token: int, before: records.Row) -> records.Row:
    """Token that the server added after keeping all drafts of the round: free, and of its own law."""
    return records.new_row(
        position=before["position"] + 1,
        round=before["round"],
        token=token,
        action=records.SAMPLED,
        **_DRAWN,
    )


def _measure(waiting: list[tuple[records.Row, laws.Context]], logits: laws.Law) -> None:
    for (row, here), z in zip(waiting, logits, strict=True):
        y = laws.next_law(z, here.settings.temperature)
        row.update(laws.measure(here, y, row["draft"]))
    waiting.clear()
