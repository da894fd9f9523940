"""The protocols themselves, run token by token with dice: what the theory of schemes is checked against.

Written from the descriptions of the schemes, not from the formulas: a device that drafts and decides, a
server that verifies, messages that are counted. Nothing here imports `cuhlm_theory.schemes`.
"""

import bisect
import itertools
import math
from dataclasses import dataclass, field

import numpy as np


class Dice:
    """A generator's uniform numbers, drawn in blocks because one at a time is slow."""

    def __init__(self, seed):
        self._rng = np.random.default_rng(seed)
        self._pool = iter(())

    def roll(self):
        """One uniform number."""
        for number in self._pool:
            return number
        self._pool = iter(self._rng.random(1 << 16).tolist())
        return next(self._pool)

    def draw(self, law):
        """One token from a law."""
        edges = list(itertools.accumulate(law))
        return min(bisect.bisect_right(edges, self.roll() * edges[-1]), len(edges) - 1)


@dataclass
class Ledger:
    """What happened, round by round."""

    outputs: np.ndarray  # [C, V], how often each token followed each context
    tokens: list = field(default_factory=list)
    drafts: list = field(default_factory=list)
    bits: list = field(default_factory=list)
    calls: list = field(default_factory=list)
    seconds: list = field(default_factory=list)

    def note(self, tokens, drafts, bits, calls, seconds):
        """Enter a round."""
        self.tokens.append(tokens)
        self.drafts.append(drafts)
        self.bits.append(bits)
        self.calls.append(calls)
        self.seconds.append(seconds)

    def per_token(self, what):
        """Ratio of totals and its standard error."""
        amount, tokens = np.asarray(getattr(self, what), float), np.asarray(self.tokens, float)
        ratio = amount.sum() / tokens.sum()
        return ratio, (amount - ratio * tokens).std() / tokens.mean() / math.sqrt(len(tokens))

    def per_round(self, what):
        """Mean over rounds and its standard error; "rates" are tokens over seconds."""
        if what == "rates":
            values = np.asarray(self.tokens, float) / np.asarray(self.seconds, float)
        else:
            values = np.asarray(getattr(self, what), float)
        return values.mean(), values.std() / math.sqrt(len(values))


def verify(draft, law, y, dice):
    """Keep the draft or draw from what y has and the law lacks; returns (token, kept)."""
    if dice.roll() * law[draft] < y[draft]:
        return draft, True
    return dice.draw([max(b - a, 0.0) for a, b in zip(law, y, strict=True)]), False


def single_round(world, num_rounds, dice, *, skips, law_of, bits_of, server_draws, seconds_of):
    """HLM and its relatives: one draft a round.

    skips(c, d) says whether the device keeps the draft; law_of(c, d) is the law that the server receives;
    bits_of(c, d) the message; seconds_of(bits or None) the duration of a round.
    """
    x, y = world.x.tolist(), world.y.tolist()
    ledger = Ledger(outputs=np.zeros(world.shape))
    for _ in range(num_rounds):
        c = int(dice.roll() * len(x))
        d = dice.draw(x[c])
        token, bits = d, None
        if not skips(c, d):
            bits = bits_of(c, d)
            token = dice.draw(y[c]) if server_draws else verify(d, law_of(c, d), y[c], dice)[0]
        ledger.outputs[c, token] += 1
        ledger.note(1, 1, bits or 0, int(bits is not None), seconds_of(bits))
    return ledger


def chain(world, num_tokens, dice, *, draft_law, ends, max_drafts, bonus, bits_per_draft, seconds_of):
    """Several drafts a round, on a chain whose context is the previous token.

    draft_law[c] is what the device draws from and the server verifies with; ends(c, d) says whether the
    device calls after drafting d in context c. Needs as many contexts as tokens. Drafts depend on earlier
    drafts, so a wrong rollback would show in the transitions.
    """
    x, y = np.asarray(draft_law).tolist(), world.y.tolist()
    ledger = Ledger(outputs=np.zeros(world.shape))
    context, total = 0, 0
    while total < num_tokens:
        run, c = [], context
        while True:
            d = dice.draw(x[c])
            run.append((c, d))
            if ends(c, d) or len(run) == max_drafts:
                break
            c = d
        committed, kept = [], True
        for c, d in run:
            token, kept = verify(d, x[c], y[c], dice)
            committed.append((c, token))
            if not kept:
                break
        if kept and bonus:
            c = committed[-1][1]
            committed.append((c, dice.draw(y[c])))
        for c, token in committed:
            ledger.outputs[c, token] += 1
        context = committed[-1][1]
        total += len(committed)
        ledger.note(len(committed), len(run), bits_per_draft * len(run), 1, seconds_of(len(run)))
    return ledger


def replay(acceptance, ends, prompt, num_replays, dice, *, max_drafts, bonus):
    """Run the rounds over recorded acceptances; returns totals per replay [num_replays, 4].

    Columns: rounds, drafts, sum over rounds of tokens / drafts, fully kept rounds.
    """
    texts = [
        (acceptance[prompt == text].tolist(), ends[prompt == text].tolist()) for text in np.unique(prompt)
    ]
    totals = np.zeros((num_replays, 4))
    for r in range(num_replays):
        for keep, stop in texts:
            at, num = 0, len(keep)
            while at < num:
                last = at
                while not stop[last] and last + 1 < num and last - at + 1 < max_drafts:
                    last += 1
                rejected = [j for j in range(at, last + 1) if dice.roll() >= keep[j]]
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
