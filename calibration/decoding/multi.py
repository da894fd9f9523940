"""The loop of every scheme whose server verifies several drafts in one pass: the device's half."""

from dataclasses import dataclass
from typing import cast

import numpy as np

from calibration.decoding import laws, records
from calibration.decoding.link import Clock
from calibration.decoding.server import Server, ServerText
from calibration.decoding.session import Asking, Session
from calibration.decoding.settings import Settings
from calibration.decoding.single import bonus_row
from calibration.decoding.stage import Stage
from calibration.decoding.wire import Reply, Request, Wire
from cuhlm_theory import truncation, verification
from cuhlm_theory.codec import LatticeLaw
from cuhlm_theory.contexts import Skips
from cuhlm_theory.schemes.draft import Run, UntilRisky
from cuhlm_theory.schemes.verification import Proposes


@dataclass(slots=True)
class _Draft:
    token: int
    law: laws.Law
    """Law that it was drawn from or, where that is sent, the kept law, shape [V]."""
    sent: LatticeLaw
    k: int
    uncertainty: float
    ends: bool
    refused: bool


class _Drafting:
    """Law and end of a run; what the payload rule remembers goes on along the text that is committed."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.memory = settings.scheme.payload.start
        self.memories: list[float] = []
        """What was remembered after each draft of the run."""
        self.rule = cast("Run", settings.scheme.draft)
        """What ends a run."""
        self.longest = self.rule.longest
        """Longest run of the next round [token]; None sets no limit."""
        self.chance = 1.0
        """That all drafts of the run are kept, as a rule that looks at it estimates it [-]."""

    def draft(self, logits: laws.Law, draws: laws.Draws) -> _Draft:
        scheme = self.settings.scheme
        here = laws.Context(logits, self.settings, self.clock.system)
        law, k, self.memory = scheme.payload.draft_law(here.draft_law, self.memory)
        self.memories.append(self.memory)
        token = draws.token(law)
        seen, keeps = laws.decide(here, token, draws)
        zero = np.zeros(1)
        decided = Skips(transmit=(~keeps).astype(np.float64), risk=zero, truncates=np.ones(1), excess=zero)
        ends = self.rule.ends(here.drafts(token), decided)[0] > 0.0
        if isinstance(self.rule, UntilRisky):
            self.chance *= float(self.rule.acceptance(here.drafts(token))[0])
            ends = ends or self.rule.stops(self.chance)
        if not scheme.payload.names_draft:  # the kept law is sent, not that of the draft
            k = int(here.kept_entries(token)[0])
        sent = here.message(law, k, int(token[0]))
        refused = bool(scheme.draft.triggered and not keeps[0])
        law = scheme.payload.law_of_draft(law, int(token[0])) if scheme.payload.names_draft else here.kept
        k = here.wire.entries(sent, k)
        return _Draft(int(token[0]), law, sent, k, float(seen[0]), bool(ends), refused)


def run(
    device: Session,
    server: Server,
    settings: Settings,
    clock: Clock,
    draws: laws.Draws,
    stage: Stage,
) -> Asking[None]:
    """Decode; every pass is asked for, every token goes to ``stage``, a round's cost on its last token.

    The laws that the drafts were drawn from are those that the server verifies with, so every committed token
    follows the large model's law, whatever ended the run: the end depends on drafts that are already drawn.
    Where the device replaces a draft with what it is sent of the large model's law in b bits, the token has
    the law that those bits tell.
    """
    drafting, rounds = _Drafting(settings, clock), _Rounds(settings, clock, server, draws, stage)
    while not stage.finished:
        drafts, slm_wall_s = yield from _draft_run(device, settings, draws, stage, drafting)
        rows, bonus = yield from rounds.ask(drafts)
        kept = rows[-1]["kept"]
        if drafting.longest is not None:
            drafting.longest = drafting.rule.after(drafting.longest, kept == len(drafts))
        # what was drafted after a rejection is no part of the text
        drafting.memory = drafting.memories[min(kept, len(drafts) - 1)]
        device.rollback(len(stage.text) + kept)
        rows[-1].update(
            drafted=len(drafts),
            entries=sum(draft.k for draft in drafts),
            llm_calls=1,
            llm_width=len(drafts) + bonus,
            slm_catch_up=int(bonus and kept == len(drafts)),
        )
        on_server = settings.scheme.verification.on_server
        rows[-1].update(records.charged(rows[-1], clock, slm_wall_s, server.seconds, on_server=on_server))
        stage.commit(rows)


class _Rounds:
    """The requests of one text."""

    def __init__(
        self, settings: Settings, clock: Clock, server: Server, draws: laws.Draws, stage: Stage
    ) -> None:
        self.rule = settings.scheme.verification
        self.settings = settings
        self.clock = clock
        self.server = server
        self.draws = draws
        self.stage = stage
        self.wire = Wire(settings, clock.system.codec)
        self.told: tuple[int, ...] = ()
        """The token that took the place of a draft on the device, where the server has not seen it."""
        self.num_rounds = 0
        self.num_requests = 0

    def ask(self, drafts: list[_Draft]) -> Asking[tuple[list[records.Row], bool]]:
        """Have a run verified; rows of what is committed, and whether a token was wanted beyond it."""
        stage, tokens = self.stage, tuple(draft.token for draft in drafts)
        asked = Request(
            round=self.num_requests,
            told=self.told,
            drafts=tokens,
            laws=tuple(draft.sent for draft in drafts),
            bonus=self.settings.bonus and len(drafts) < stage.room and tokens[-1] not in stage.stop_tokens,
            refused=drafts[-1].refused,
        )
        cost = records.new_row()
        reply = yield from self._exchange(asked, cost)
        kept, self.told = reply.kept, ()
        committed = [*tokens[:kept], *reply.tokens[-1:]] if kept < len(drafts) else list(tokens)
        if kept < len(drafts) and not reply.tokens:
            self.told = ((yield from self._replaced(drafts, reply, cost)),)
            committed += self.told
        rows = self._rows(drafts, committed, kept)
        if asked.bonus and kept == len(drafts):
            rows.append(bonus_row(reply.tokens[-1], rows[-1]))
        names = ("uplink_bit", "uplink_frame_bit", "downlink_bit", "downlink_frame_bit", "link_measured_s")
        rows[-1].update({name: cost[name] for name in names}, kept=kept)
        if self.rule.on_server:  # what passes between the two models is on no link
            rows[-1].update(uplink_bit=0.0, uplink_frame_bit=0.0)
        self.num_rounds += 1
        return rows, asked.bonus

    def _exchange(self, asked: Request, cost: records.Row) -> Asking[Reply]:
        packet = self.wire.request(asked)
        content = yield from self.server.answer(packet.content)
        reply, came = self.wire.read_reply(content)
        records.add_packets(cost, self.clock.system, packet, came)
        cost["link_measured_s"] += self.server.link_s
        self.num_requests += 1
        return reply

    def _replaced(self, drafts: list[_Draft], reply: Reply, cost: records.Row) -> Asking[int]:
        """Token that the device puts in the place of the draft that is not kept."""
        place = drafts[reply.kept]
        while reply.law is None:
            assert reply.proposal is not None
            token, level = reply.proposal
            if np.rint(place.law[token] * self.wire.single.levels) <= level:
                return token
            reply = yield from self._exchange(Request(round=self.num_requests, more=True), cost)
        sent, tokens = [draft.law for draft in drafts], [draft.token for draft in drafts]
        ys = [reply.law.law()] * len(drafts)
        return int(self.draws.token(self.rule.rest(sent, tokens, ys, reply.kept))[0])

    def _rows(self, drafts: list[_Draft], committed: list[int], kept: int) -> list[records.Row]:
        """Rows of the drafts that are kept and of the token that replaces the first one that is not."""
        seen = self.server.seen if isinstance(self.server, ServerText) else None
        rows = []
        for place, (token, draft) in enumerate(zip(committed, drafts, strict=False)):
            row = records.new_row(
                position=self.stage.num_new + place,
                round=self.num_rounds,
                token=token,
                draft=draft.token,
                action=records.ACCEPTED if place < kept else records.RESAMPLED,
                k=draft.k,
                uncertainty=draft.uncertainty,
                draft_prob=draft.law[draft.token],
            )
            if seen is not None:
                y = seen.ys[place]
                row.update(llm_prob=y[draft.token], rejection=seen.rejection[place])
                if self.stage.measure:
                    q = self._law(draft.law, y)
                    row.update(tv=float(verification.total_variation(q, y)), skip_mass=0.0, risk=0.0)
                    row["truncation_tv"] = 0.0  # the draft was drawn from what is sent
            rows.append(row)
        return rows

    def _law(self, drafted: laws.Law, y: laws.Law) -> laws.Law:
        """Exact law of the token that follows where a draft is verified, shape [V]."""
        rule, codec = self.rule, self.clock.system.codec
        if not rule.on_device or isinstance(rule, Proposes):
            return rule.verified_law(drafted, y)
        kept = drafted * rule.acceptance(drafted, y)
        came = truncation.quantise(y, codec.prob_bits)
        return kept + (1.0 - kept.sum()) * rule.replacement(drafted, came)


def _draft_run(
    device: Session, settings: Settings, draws: laws.Draws, stage: Stage, drafting: _Drafting
) -> Asking[tuple[list[_Draft], float]]:
    """Draft until the run ends, the text is full, or the text would stop."""
    longest = min(drafting.longest or stage.room, stage.room)
    drafts: list[_Draft] = []
    text, wall_s = list(stage.text), 0.0
    drafting.chance = 1.0
    drafting.memories.clear()
    while len(drafts) < longest:
        logits = (yield device, text, 1)[0]
        wall_s += device.seconds
        drafts.append(drafting.draft(logits, draws))
        text.append(drafts[-1].token)
        if drafts[-1].ends or drafts[-1].token in stage.stop_tokens:
            break
    return drafts, wall_s
