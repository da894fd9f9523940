"""The loop of every scheme whose server verifies several drafts in one pass."""

from dataclasses import dataclass
from typing import cast

import numpy as np

from calibration.decoding import laws, records
from calibration.decoding.link import Clock
from calibration.decoding.session import Asking, Session
from calibration.decoding.settings import Settings
from calibration.decoding.single import bonus_row
from calibration.decoding.stage import Stage
from cuhlm_theory import verification
from cuhlm_theory.contexts import Skips
from cuhlm_theory.schemes.draft import Run, UntilRisky

_LEAST = 1e-12  # a chance that rounding made 0


@dataclass(slots=True)
class _Draft:
    token: int
    law: laws.Law
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
        sent = scheme.payload.law_of_draft(law, int(token[0]))
        if scheme.draft.triggered:
            sent = scheme.payload.received_law(law, k, here.skip)
        refused = bool(scheme.draft.triggered and not keeps[0])
        return _Draft(int(token[0]), sent, k, float(seen[0]), bool(ends), refused)


def run(
    device: Session,
    server: Session,
    settings: Settings,
    clock: Clock,
    draws: laws.Draws,
    stage: Stage,
) -> Asking[None]:
    """Decode; every pass is asked for, every token goes to ``stage``, a round's cost on its last token.

    The laws that the drafts were drawn from are those that the server verifies with, so every committed token
    follows the large model's law, whatever ended the run: the end depends on drafts that are already drawn.
    """
    drafting = _Drafting(settings, clock)
    num_rounds = 0
    while not stage.finished:
        drafts, slm_wall_s = yield from _draft_run(device, settings, draws, stage, drafting)
        bonus = settings.bonus and len(drafts) < stage.room and drafts[-1].token not in stage.stop_tokens
        tokens = [draft.token for draft in drafts]
        fed = stage.text + (tokens if bonus else tokens[:-1])
        logits = yield server, fed, len(drafts) + bonus
        ys = [laws.next_law(z, settings.temperature) for z in logits]
        rows = _verify(drafts, ys, settings, draws, stage, num_rounds)
        kept = sum(row["action"] == records.ACCEPTED for row in rows)
        if bonus and kept == len(drafts):
            rows.append(bonus_row(int(draws.token(ys[-1])[0]), rows[-1]))
        else:
            server.rollback(len(stage.text) + kept)
        if drafting.longest is not None:
            drafting.longest = drafting.rule.after(drafting.longest, kept == len(drafts))
        # what was drafted after a rejection is no part of the text
        drafting.memory = drafting.memories[min(kept, len(drafts) - 1)]
        device.rollback(len(stage.text) + kept)
        sizes, codec = [draft.k for draft in drafts], clock.system.codec
        on_server = settings.scheme.verification.on_server
        answers = settings.scheme.verification.answer_bit(
            codec, bonus=bonus, proposals=_proposals(drafts, ys, kept)
        )
        rows[-1].update(
            drafted=len(drafts),
            kept=kept,
            entries=sum(sizes),
            llm_calls=1,
            llm_width=len(drafts) + bonus,
            slm_catch_up=int(bonus and kept == len(drafts)),
            uplink_bit=float(settings.scheme.payload.bit(sizes, codec, settings.scheme.skip).sum()),
            downlink_bit=answers[kept < len(drafts)] * (len(rows) if on_server else 1),
        )
        rows[-1].update(records.charged(rows[-1], clock, slm_wall_s, server.seconds, on_server=on_server))
        stage.commit(rows)
        num_rounds += 1


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


def _verify(
    drafts: list[_Draft],
    ys: list[laws.Law],
    settings: Settings,
    draws: laws.Draws,
    stage: Stage,
    num_rounds: int,
) -> list[records.Row]:
    """Rows of the drafts that are kept and of the token that replaces the first one that is not."""
    rule = settings.scheme.verification
    sent, tokens = [draft.law for draft in drafts], [draft.token for draft in drafts]
    rejection = rule.rejections(sent, tokens, ys)
    if not rule.verifies_trigger:
        rejection = np.where([draft.refused for draft in drafts], 1.0, rejection)
    kept = int(laws.keep_runs(1.0 - rejection[None], draws)[0])
    rows = []
    for place, draft in enumerate(drafts[: kept + 1]):
        token = draft.token if place < kept else int(draws.token(rule.rest(sent, tokens, ys, kept))[0])
        row = records.new_row(
            position=stage.num_new + place,
            round=num_rounds,
            token=token,
            draft=draft.token,
            action=records.ACCEPTED if place < kept else records.RESAMPLED,
            k=draft.k,
            uncertainty=draft.uncertainty,
            draft_prob=draft.law[draft.token],
            llm_prob=ys[place][draft.token],
            rejection=rejection[place],
        )
        if stage.measure:
            law = rule.verified_law(draft.law, ys[place])
            row.update(tv=float(verification.total_variation(law, ys[place])), skip_mass=0.0, risk=0.0)
            row["truncation_tv"] = 0.0  # the draft was drawn from what is sent
        rows.append(row)
    return rows


def _proposals(drafts: list[_Draft], ys: list[laws.Law], kept: int) -> float:
    """Tokens of the LLM that the device sees, on average, until one replaces the draft that is not kept."""
    if kept == len(drafts):
        return 1.0
    takes = float(np.maximum(ys[kept] - drafts[kept].law, 0.0).sum())
    return 1.0 / max(takes, _LEAST)
