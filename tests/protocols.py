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
    down: list = field(default_factory=list)
    calls: list = field(default_factory=list)
    seconds: list = field(default_factory=list)

    def note(self, tokens, drafts, bits, down, calls, seconds):
        """Enter a round."""
        self.tokens.append(tokens)
        self.drafts.append(drafts)
        self.bits.append(bits)
        self.down.append(down)
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


def match(draft, law, y, dice):
    """A server that sees the draft alone draws a token of its own; returns (token, kept)."""
    token = dice.draw(y)
    return token, token == draft


def propose(draft, law, y, dice):
    """Keep the draft, or let the device take or refuse tokens of y; returns (token, kept, proposals)."""
    if dice.roll() * law[draft] < y[draft]:
        return draft, True, 0
    proposals = 1
    while True:
        token = dice.draw(y)
        if dice.roll() * y[token] < y[token] - law[token]:
            return token, False, proposals
        proposals += 1


def lossy(chance):
    """Keep a draft with a chance a(law, y) of one's own, and draw the rest from (y - law a)_+."""

    def check(draft, law, y, dice):
        a = chance(law, y)
        if dice.roll() < a[draft]:
            return draft, True
        return dice.draw([max(q - p * keep, 0.0) for p, q, keep in zip(law, y, a, strict=True)]), False

    return check


def block_rounds(world, num_rounds, dice, *, num_drafts, then):
    """Block verification; returns how often each token followed each context, and the tokens a round."""
    x, y = world.x.tolist(), world.y.tolist()
    outputs, tokens, context = np.zeros(world.shape), [], 0
    for _ in range(num_rounds):
        run, c = [], context
        for _ in range(num_drafts):
            d = dice.draw(x[c])
            run.append((c, d))
            c = then(d)
        run.append((c, None))
        p, taken, rest = 1.0, 0, None
        for place, (c, d) in enumerate(run):
            beyond = [max(p * q - k, 0.0) for k, q in zip(x[c], y[c], strict=True)]
            last = place == num_drafts
            h = p if last else sum(beyond) / (sum(beyond) + 1 - p) if sum(beyond) > 0 else 0.0
            if place == 0 or dice.roll() < h:
                taken, rest = place, y[c] if last else beyond
            if d is not None:
                p = min(1.0, p * y[c][d] / x[c][d])
        committed = [*run[:taken], (run[taken][0], dice.draw(rest))]
        for c, d in committed:
            outputs[c, d] += 1
        tokens.append(len(committed))
        context = then(committed[-1][1])
    return outputs, np.array(tokens, float)


def single_round(
    world, num_rounds, dice, *, skips, law_of, bits_of, answer_bit, draws_from, seconds_of, told_bit=0
):
    """HLM and its relatives: one draft a round.

    skips(c, d) says whether the device keeps the draft; law_of(c, d) is the law that the server receives;
    bits_of(c, d) the message, answer_bit the answer; draws_from the laws of a server that does not look at
    the draft, or None; seconds_of(bits or None) the duration of a round. Each message also tells the tokens
    that were kept since the last one, told_bit each.
    """
    x, y = world.x.tolist(), world.y.tolist()
    ledger, untold = Ledger(outputs=np.zeros(world.shape)), 0
    for _ in range(num_rounds):
        c = int(dice.roll() * len(x))
        d = dice.draw(x[c])
        token, bits = d, None
        if skips(c, d):
            untold += 1
        else:
            bits, untold = bits_of(c, d) + told_bit * untold, 0
            token = verify(d, law_of(c, d), y[c], dice)[0] if draws_from is None else dice.draw(draws_from[c])
        ledger.outputs[c, token] += 1
        sent = bits is not None
        ledger.note(1, 1, bits or 0, answer_bit * sent, int(sent), seconds_of(bits))
    return ledger


def rounded(law, levels):
    """The law in multiples of 1/levels: rounded down, the rest to the largest remainders."""
    scaled = np.asarray(law) * levels
    whole = np.floor(scaled)
    for place in np.argsort(whole - scaled)[: levels - int(whole.sum())]:
        whole[place] += 1
    return whole / levels


class FixedLaws:
    """What a device draws from and sends: one law a context."""

    def __init__(self, laws):
        self._laws = np.asarray(laws).tolist()

    def law(self, context):
        """The law of the next draft."""
        return self._laws[context]

    def rewind(self, num_drafts):
        """Forget what came after the last num_drafts drafts that stand."""


class ConformalLaws:
    """C-SQS: what is at least a threshold, which moves with the mass that was dropped, on a lattice.

    The device remembers the threshold at each draft of a round, and goes back to it where drafts are undone.
    """

    def __init__(self, world, *, start, step, target, levels):
        self._x, self._levels, self._step, self._target = world.x, levels, step, target
        self._thresholds = [start]
        self._laws = {}

    def law(self, context):
        """The law of the next draft; moves the threshold."""
        x, threshold = self._x[context], self._thresholds[-1]
        keep = x >= min(threshold, x.max())
        self._thresholds.append(threshold - self._step * (x[~keep].sum() - self._target))
        key = context, keep.tobytes()
        if key not in self._laws:
            kept = np.where(keep, x, 0.0)
            self._laws[key] = rounded(kept / kept.sum(), self._levels).tolist()
        return self._laws[key]

    def rewind(self, num_drafts):
        """Undo the drafts after the first num_drafts of the round."""
        self._thresholds = [self._thresholds[num_drafts]]


def chain(
    world,
    num_tokens,
    dice,
    *,
    laws,
    ends,
    max_drafts,
    bonus,
    bits_of,
    answer_bits,
    then,
    seconds_of,
    rest=None,
    check=verify,
    schedule=lambda num, all_kept: num,
):
    """Several drafts a round, on a chain of contexts.

    laws.law(c) is what the device draws from and the server verifies with; ends(c, d) says whether the
    device calls after drafting d in context c; then(d) is the context that follows d; bits_of(c) what a draft
    costs, answer_bits(kept) what comes down, seconds_of(drafts, read, bits, answer) the duration of the
    round, ``read`` being the tokens that the device and the server are fed, by what their caches lack.
    Where the context is the previous token, drafts depend on earlier drafts, so a wrong rollback would show
    in the transitions. With ``rest`` the draft that ends a run is not looked at, and the server replaces
    from there. schedule(num, all_kept) is the most drafts of the next round. What ``check`` returns beside a
    token and whether the draft was kept goes to answer_bits.
    """
    y = world.y.tolist()
    ledger = Ledger(outputs=np.zeros(world.shape))
    context, total = 0, 0
    text, device, server = 1, 0, 0  # tokens, and those that each model has in its cache
    while total < num_tokens:
        run, c = [], context
        while True:
            law = laws.law(c)
            d = dice.draw(law)
            run.append((c, d, law))
            if ends(c, d) or len(run) == max_drafts:
                break
            c = then(d)
        committed, kept, seen = [], True, []
        for c, d, law in run:
            if rest is None:
                token, kept, *seen = check(d, law, y[c], dice)
            else:
                kept = not ends(c, d) and dice.roll() * law[d] < y[c][d]
                token = d if kept else dice.draw(rest[c])
            committed.append((c, token))
            if not kept:
                break
        laws.rewind(len(committed))
        all_kept = kept
        max_drafts = schedule(max_drafts, all_kept)
        if all_kept and bonus:
            c = then(committed[-1][1])
            committed.append((c, dice.draw(y[c])))
        for c, token in committed:
            ledger.outputs[c, token] += 1
        context = then(committed[-1][1])
        total += len(committed)
        drafted = text + len(run)
        read = drafted - 1 - device, drafted - (not bonus) - server
        text += len(committed)
        device, server = min(drafted - 1, text - 1), min(drafted - (not bonus), text - 1)
        down = answer_bits(all_kept, *seen)
        bits = sum(bits_of(c) for c, _, _ in run)
        ledger.note(len(committed), len(run), bits, down, 1, seconds_of(len(run), read, bits, down))
    return ledger


def replay(
    acceptance, ends, prompt, bits, num_replays, dice, *, max_drafts, bonus, schedule=lambda num, kept: num
):
    """Run the rounds over recorded acceptances; returns totals per replay [num_replays, 5].

    Columns: rounds, drafts, sum over rounds of tokens / drafts, fully kept rounds, bits.
    """
    texts = [
        tuple(values[prompt == text].tolist() for values in (acceptance, ends, bits))
        for text in np.unique(prompt)
    ]
    totals = np.zeros((num_replays, 5))
    for r in range(num_replays):
        for keep, stop, size in texts:
            at, num, most = 0, len(keep), max_drafts
            while at < num:
                last = at
                while not stop[last] and last + 1 < num and last - at + 1 < most:
                    last += 1
                rejected = [j for j in range(at, last + 1) if dice.roll() >= keep[j]]
                if rejected:
                    committed = rejected[0] - at + 1
                else:
                    committed = last - at + 1 + (1 if bonus and last + 1 < num else 0)
                    totals[r, 3] += 1
                most = schedule(most, not rejected)
                totals[r, 0] += 1
                totals[r, 1] += last - at + 1
                totals[r, 2] += committed / (last - at + 1)
                totals[r, 4] += sum(size[at : last + 1])
                at += committed
    return totals
