"""The protocols themselves, run token by token with dice: what the theory of schemes is checked against.

Written from the descriptions of the schemes, not from the formulas: a device object that drafts and decides, a
server that verifies, messages that are counted. Nothing here imports `cuhlm_theory.schemes`.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from tests.worlds import World, draw


@dataclass
class Ledger:
    """What happened, in totals."""

    outputs: np.ndarray  # [C, V]
    rounds: int = 0
    tokens: int = 0
    drafts: int = 0
    uplink_bit: float = 0.0
    downlink_bit: float = 0.0
    calls: int = 0
    seconds: float = 0.0
    rates: list = field(default_factory=list)  # tokens over seconds of each round
    sizes: Counter = field(default_factory=Counter)


def verify(draft, law, y, rng):
    """Keep the draft or draw from what y has and the law lacks; returns (token, kept)."""
    if rng.random() * law[draft] < y[draft]:
        return draft, True
    rest = np.clip(y - law, 0.0, None)
    return int(draw(rest / rest.sum(), rng)), False


def single_round(world: World, num_rounds, rng, *, skips, law_of, bits_of, verify_by="law", seconds_of):
    """HLM and its relatives: one draft a round.

    skips(c, d, rng) says whether the device keeps the draft; law_of(c, d) is the law that the server receives;
    bits_of(c, d) the message; seconds_of(bits or None) the duration of a round.
    """
    ledger = Ledger(outputs=np.zeros(world.shape))
    contexts = rng.integers(0, world.shape[0], num_rounds)
    drafts = draw(world.x[contexts], rng)
    for c, d in zip(contexts, drafts, strict=True):
        token, bits = d, None
        if not skips(c, d, rng):
            bits = bits_of(c, d)
            ledger.uplink_bit += bits
            ledger.calls += 1
            if verify_by == "law":
                token, _ = verify(d, law_of(c, d), world.y[c], rng)
            else:
                token = int(draw(world.y[c], rng))
        ledger.outputs[c, token] += 1
        seconds = seconds_of(bits)
        ledger.seconds += seconds
        ledger.rates.append(1.0 / seconds)
        ledger.tokens += 1
        ledger.rounds += 1
    return ledger


def chain(world: World, num_tokens, rng, *, draft_law, ends, max_drafts, bonus, bits_per_draft, seconds_of):
    """Several drafts a round, on a chain whose context is the previous token.

    draft_law[c] is what the device draws from and the server verifies with; ends(c, d) says whether the device
    calls after drafting d in context c. Needs as many contexts as tokens. Drafts depend on earlier drafts, so a
    wrong rollback would show in the transitions.
    """
    ledger = Ledger(outputs=np.zeros(world.shape))
    context = 0
    while ledger.tokens < num_tokens:
        run, c = [], context
        while True:
            d = int(draw(draft_law[c], rng))
            run.append((c, d))
            if ends(c, d) or len(run) == max_drafts:
                break
            c = d
        committed, kept_all = [], True
        for c, d in run:
            token, kept = verify(d, draft_law[c], world.y[c], rng)
            committed.append((c, token))
            if not kept:
                kept_all = False
                break
        if kept_all and bonus:
            c = committed[-1][1]
            committed.append((c, int(draw(world.y[c], rng))))
        for c, token in committed:
            ledger.outputs[c, token] += 1
        context = committed[-1][1]
        seconds = seconds_of(len(run))
        ledger.rates.append(len(committed) / seconds)
        ledger.seconds += seconds
        ledger.tokens += len(committed)
        ledger.rounds += 1
        ledger.drafts += len(run)
        ledger.uplink_bit += bits_per_draft * len(run)
        ledger.calls += 1
    return ledger


def replay(acceptance, ends, prompt, num_replays, rng, *, max_drafts, bonus):
    """Run the rounds over recorded acceptances, with dice; returns totals per replay [num_replays, 4].

    Columns: rounds, drafts, sum over rounds of tokens / drafts, fully kept rounds.
    """
    totals = np.zeros((num_replays, 4))
    for r in range(num_replays):
        for text in np.unique(prompt):
            keep, stop = acceptance[prompt == text], ends[prompt == text]
            at, num = 0, int((prompt == text).sum())
            while at < num:
                last = at
                while not stop[last] and last + 1 < num and last - at + 1 < max_drafts:
                    last += 1
                rejected = [j for j in range(at, last + 1) if rng.random() >= keep[j]]
                if rejected:
                    committed = rejected[0] - at + 1
                else:
                    committed = last - at + 1 + (1 if bonus and last + 1 < num else 0)
                    totals[r, 3] += 1
                totals[r, 0] += 1
                totals[r, 1] += last - at + 1
                totals[r, 2] += committed / (last - at + 1)
                at += committed
    return totals
