"""The loop of every scheme whose server verifies several drafts in one pass."""

from dataclasses import dataclass

import numpy as np

from calibration.decoding import laws, records
from calibration.decoding.link import Clock
from calibration.decoding.session import Asking, Session
from calibration.decoding.settings import Settings
from calibration.decoding.single import bonus_row
from calibration.decoding.stage import Stage
from cuhlm_theory import truncation, verification
from cuhlm_theory.payload import dense_bit, distribution_bit
from cuhlm_theory.schemes.table import lattice_bit


@dataclass(slots=True)
class _Draft:
    token: int
    law: laws.Law
    k: int
    uncertainty: float
    ends: bool


class _Drafting:
    """Law and end of a run; C-SQS moves its threshold from draft to draft."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.floor = settings.policy.conformal_start

    def draft(self, logits: laws.Law, draws: laws.Draws) -> _Draft:
        settings, rules, policy = self.settings, self.settings.rules, self.settings.policy
        here = laws.context(logits, settings, self.clock.system)
        law, k = self._law(here)
        ends, seen = False, np.nan
        if rules.draft == "trigger":  # the skip rule speaks of a draft of its own law
            proposal = laws.propose(here, draws)
            token, seen, ends = int(proposal.draft[0]), proposal.uncertainty[0], not proposal.skipped[0]
        else:
            token = int(draws.token(law)[0])
            ends = rules.draft == "confidence" and here.x.max() < policy.confidence
        return _Draft(token, law, k, float(seen), bool(ends))

    def _law(self, here: laws.Context) -> tuple[laws.Law, int]:
        payload, policy = self.settings.rules.payload, self.settings.policy
        p, size = here.draft_law, min(policy.num_candidates, len(here.x))
        if payload in ("candidates", "candidates-and-indices"):
            return truncation.drop_tail(p, size), size
        if payload == "lattice":
            return laws.lattice(truncation.drop_tail(p, size), policy.lattice_levels), size
        if payload == "conformal-lattice":
            kept = max(int(np.count_nonzero(p >= self.floor)), 1)
            law = truncation.drop_tail(p, kept)
            dropped = 1.0 - float(p[law > 0.0].sum())
            self.floor -= policy.conformal_step * (dropped - policy.conformal_target)
            return laws.lattice(law, policy.lattice_levels), kept
        return p, len(p) if payload == "full" else 0


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
        rows = _verify(drafts, ys, draws, stage, num_rounds)
        kept = sum(row["action"] == records.ACCEPTED for row in rows)
        if bonus and kept == len(drafts):
            rows.append(bonus_row(int(draws.token(ys[-1])[0]), rows[-1]))
        else:
            server.rollback(len(stage.text) + kept)
        device.rollback(len(stage.text) + kept)
        rows[-1].update(drafted=len(drafts), kept=kept, llm_calls=1)
        rows[-1].update(_costs(drafts, kept, bonus, settings, clock, slm_wall_s, server.seconds))
        stage.commit(rows)
        num_rounds += 1


def _draft_run(
    device: Session, settings: Settings, draws: laws.Draws, stage: Stage, drafting: _Drafting
) -> Asking[tuple[list[_Draft], float]]:
    """Draft until the run ends, the text is full, or the text would stop."""
    longest = stage.room if settings.num_drafts is None else min(settings.num_drafts, stage.room)
    drafts: list[_Draft] = []
    text, wall_s = list(stage.text), 0.0
    while len(drafts) < longest:
        logits = (yield device, text, 1)[0]
        wall_s += device.seconds
        drafts.append(drafting.draft(logits, draws))
        text.append(drafts[-1].token)
        if drafts[-1].ends or drafts[-1].token in stage.stop_tokens:
            break
    return drafts, wall_s


def _verify(
    drafts: list[_Draft], ys: list[laws.Law], draws: laws.Draws, stage: Stage, num_rounds: int
) -> list[records.Row]:
    """Rows of the drafts that are kept and of the token that replaces the first one that is not."""
    draft_prob = np.array([[draft.law[draft.token] for draft in drafts]])
    llm_prob = np.array([[y[draft.token] for draft, y in zip(drafts, ys, strict=False)]])
    kept = int(laws.keep_runs(np.minimum(draft_prob, 1.0), np.minimum(llm_prob, 1.0), draws)[0])
    rows = []
    for place, draft in enumerate(drafts[: kept + 1]):
        token = (
            draft.token if place < kept else int(draws.token(verification.residual(draft.law, ys[place]))[0])
        )
        row = records.new_row(
            position=stage.num_new + place,
            round=num_rounds,
            token=token,
            draft=draft.token,
            action=records.ACCEPTED if place < kept else records.RESAMPLED,
            k=draft.k,
            uncertainty=draft.uncertainty,
            draft_prob=draft_prob[0, place],
            llm_prob=llm_prob[0, place],
            rejection=float(
                verification.rejection_probability(
                    min(draft_prob[0, place], 1.0), min(llm_prob[0, place], 1.0)
                )
            ),
        )
        if stage.measure:
            law = verification.output_law(draft.law, ys[place])
            row.update(tv=float(verification.total_variation(law, ys[place])), skip_mass=0.0, risk=0.0)
            row["truncation_tv"] = 0.0  # the draft was drawn from what is sent
        rows.append(row)
    return rows


def _costs(
    drafts: list[_Draft],
    kept: int,
    bonus: bool,
    settings: Settings,
    clock: Clock,
    slm_wall_s: float,
    llm_wall_s: float,
) -> dict[str, float]:
    codec, rules, policy = clock.system.codec, settings.rules, settings.policy
    index_bit = codec.bits_per_index
    if rules.payload == "full":
        up = len(drafts) * float(distribution_bit(codec, codec.vocab_size))
    elif rules.payload == "candidates":
        up = float(sum(draft.k for draft in drafts) * policy.candidate_bits)
    elif rules.payload == "candidates-and-indices":
        up = float(sum(draft.k for draft in drafts) * (policy.candidate_bits + index_bit))
    elif rules.payload in ("lattice", "conformal-lattice"):
        sized = rules.payload == "conformal-lattice"
        up = float(
            sum(
                lattice_bit(draft.k, policy.lattice_levels, codec.vocab_size, send_size=sized)
                for draft in drafts
            )
        )
    else:
        up = float(len(drafts) * (index_bit + codec.prob_bits))
    down = float(index_bit)
    if rules.verification == "prefix-on-device":  # y after a rejection, else the bonus token or a yes
        down = float(
            dense_bit(codec.vocab_size, codec.prob_bits) if kept < len(drafts) else down if bonus else 1
        )
    charged = clock.charge(
        slm_steps=len(drafts),
        llm_calls=1,
        catch_up=0,  # the pass verifies the drafts; there is nothing else to feed
        uplink_bit=up,
        downlink_bit=down,
        slm_wall_s=slm_wall_s,
        llm_wall_s=llm_wall_s,
    )
    return {"uplink_bit": up, "downlink_bit": down, **charged}
