"""The kept-law rows: brute force on small vocabularies, and the protocols run with dice."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from cuhlm_theory.contexts import NEVER_SKIP, Steps, Tokens
from cuhlm_theory.errors import MissingInputError
from cuhlm_theory.parameters import Codec, Latency, Link, System
from cuhlm_theory.rejection import Curve, Line
from cuhlm_theory.schemes import SCHEMES, KeepShare, at_bias, recorded_rounds
from cuhlm_theory.schemes.draft import UntilRisky, UntilRiskyOrTrigger, UntilTrigger, surviving_drafts
from cuhlm_theory.schemes.skip import Below
from cuhlm_theory.schemes.verification import PrefixDrawsRest
from tests.protocols import Dice, Ledger
from tests.worlds import random_world, recording, table

SYSTEM = System(
    link=Link(bandwidth_hz=1e3, snr=3.0),  # 2000 bit/s
    codec=Codec(vocab_size=6),  # 3 bits an index, 8 a probability
    latency=Latency(slm_s=0.01, llm_s=0.1, round_trip_s=0.02, downlink_bit_per_s=1e3),
)
SE = 4.0
RULES = {
    "threshold": Below(threshold=0.5),
    "randomised": Below(threshold=0.4, upper_threshold=0.6, mix=0.3),
    "quantile": KeepShare((0.3, 0.5, 0.7), (1.0, 0.7, 0.25)),
}


def with_candidates(world, tokens, context, num=None):
    """The tokens of a world with the candidate columns of their contexts."""
    order = np.argsort(world.u, axis=1, kind="stable")[:, :num]
    columns = {
        "candidate_uncertainty": world.u,
        "candidate_prob": world.x,
        "candidate_llm_prob": world.y,
    }
    return replace(
        tokens,
        **{name: np.take_along_axis(values, order, axis=1)[context] for name, values in columns.items()},
    )


def every_draft(world):
    context = np.repeat(np.arange(world.shape[0]), world.shape[1])
    return with_candidates(world, table(world), context)


def no_candidates(world):
    names = ("candidate_uncertainty", "candidate_prob", "candidate_llm_prob")
    return replace(table(world), **dict.fromkeys(names))


def share_of(rule, u):
    """What a device keeps, said once more."""
    if isinstance(rule, Below):
        upper = rule.threshold if rule.upper_threshold is None else rule.upper_threshold
        return np.where(u <= rule.threshold, 1.0, np.where(u <= upper, rule.mix, 0.0))
    place = [next((s for e, s in zip(rule.edges, rule.shares, strict=True) if v <= e), 0.0) for v in u.flat]
    return np.array(place).reshape(u.shape)


# ---------------------------------------------------------------------------------- brute force


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("seed", range(5))
def test_the_bias_is_that_of_the_output_walked_through_draft_by_draft(name, seed):
    world, rule = random_world(seed), RULES[name]
    share = share_of(rule, world.u)
    bias = []
    for x, y, s in zip(world.x, world.y, share, strict=True):
        m = x * s
        rest = np.maximum(y - m, 0.0)
        q = m + (1.0 - m.sum()) * rest / rest.sum()
        bias.append(0.5 * np.abs(q - y).sum())
    ledger = SCHEMES["kept-law"].keeping(rule).ledger(every_draft(world), SYSTEM)
    outcome = ledger.outcome()
    assert outcome.bias == pytest.approx(np.mean(bias), abs=1e-12)
    assert not outcome.bias_is_bound
    assert outcome.skip_rate == pytest.approx(np.mean((world.x * share).sum(axis=1)), abs=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_recorded_drafts_give_the_same_means_as_candidates(name):
    world, rule = random_world(7), RULES[name]
    exact, drafts = every_draft(world), table(world)
    known, seen = exact.keeping(rule.steps), drafts.keeping(rule.steps, drafts=True)
    for column in ("transmit", "risk", "excess"):
        assert exact.weight @ getattr(known, column) == pytest.approx(
            drafts.weight @ getattr(seen, column), abs=1e-12
        )


def test_a_server_that_is_told_less_has_more_bias():
    world, rule = random_world(3), RULES["quantile"]
    tokens = every_draft(world)
    skips = rule.skips(tokens)
    assert np.all(skips.excess <= skips.risk + 1e-15)
    assert tokens.weight @ skips.excess < tokens.weight @ skips.risk
    drawn = rule.mixture(
        lambda t: tokens.keeping(Steps.below(t)).excess, lambda a, b, share: (1 - share) * a + share * b
    )
    np.testing.assert_allclose(drawn, skips.risk, atol=1e-12)  # each threshold keeps all or nothing


def test_thresholds_mixed_without_candidates_are_charged_their_risk_as_a_bound():
    world = random_world(4)
    outcome = SCHEMES["kept-law"].keeping(RULES["randomised"]).ledger(no_candidates(world), SYSTEM).outcome()
    known = SCHEMES["kept-law"].keeping(RULES["randomised"]).ledger(every_draft(world), SYSTEM).outcome()
    assert outcome.bias_is_bound
    assert outcome.bias == pytest.approx(known.bias, rel=0.5)
    assert outcome.bias >= known.bias
    assert outcome.uplink_bit_per_token >= known.uplink_bit_per_token


def test_a_threshold_is_the_share_of_height_one():
    tokens = table(random_world(5))
    below, steps = tokens.below(0.5), tokens.keeping(KeepShare((0.5,), (1.0,)))
    for column in ("transmit", "risk", "excess", "truncates"):
        np.testing.assert_array_equal(getattr(below, column), getattr(steps, column))
    np.testing.assert_array_equal(below.risk, tokens.skip_risk[:, 5])
    np.testing.assert_array_equal(tokens.below(NEVER_SKIP).transmit, np.ones(len(tokens)))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_token_that_may_be_kept_is_sent(rule):
    world = random_world(6)
    tokens = every_draft(world)
    kept = (share_of(rule, world.u) > 0.0).sum(axis=1)
    sent = SCHEMES["kept-law"].payload.carried(tokens, SYSTEM, rule)
    np.testing.assert_array_equal(sent.size, np.repeat(kept, world.shape[1]))
    width = max(int(np.floor(1.0 / (1.0 - rule.highest) + 1e-9)), kept.max()).bit_length()
    np.testing.assert_array_equal(sent.bit, width + 11.0 * sent.size)


def test_more_may_be_kept_with_more_bias():
    world = random_world(8)
    tokens = every_draft(world)
    shares = [KeepShare((0.3, 0.5, 0.7), tuple(s * np.array([1.0, 0.7, 0.25]))) for s in (0.2, 0.6, 1.0)]
    skips = [rule.skips(tokens) for rule in shares]
    for few, many in itertools.pairwise(skips):
        assert np.all(many.transmit <= few.transmit)
        assert np.all(many.excess >= few.excess)


@pytest.mark.parametrize(
    ("edges", "shares", "message"),
    [
        ((0.5,), (1.2,), r"shares must lie in \[0, 1\]"),
        ((0.5, 0.4), (1.0, 0.5), "edges must increase"),
        ((0.4, 0.5), (0.5, 1.0), "shares must not rise"),
        ((0.4, 0.5), (1.0,), "shares must be one an edge, 2; got 1"),
        ((np.nan,), (1.0,), "edges"),
    ],
)
def test_shares_that_are_none_are_refused(edges, shares, message):
    with pytest.raises(ValueError, match=message):
        KeepShare(edges, shares)


def test_candidates_that_are_none_are_refused():
    tokens = every_draft(random_world(1))
    with pytest.raises(ValueError, match="candidate_prob must have the shape"):
        replace(tokens, candidate_prob=None)
    with pytest.raises(ValueError, match=r"candidate_llm_prob must lie in \[0, 1\]"):
        replace(tokens, candidate_llm_prob=tokens.candidate_llm_prob + 1.0)


def test_the_shares_at_a_bias_meet_it_and_skip_more_than_the_threshold():
    tokens = every_draft(random_world(9, num_contexts=40))
    for wanted in (0.01, 0.03, 0.06):
        plain = at_bias(SCHEMES["kept-law"], tokens, SYSTEM, wanted)
        tuned = at_bias(SCHEMES["kept-law"].keeping(KeepShare()), tokens, SYSTEM, wanted)
        ledgers = [row.ledger(tokens, SYSTEM).outcome() for row in (plain, tuned)]
        for outcome in ledgers:  # a randomised threshold spends all of it too
            assert outcome.bias == pytest.approx(wanted, abs=1e-9)
        assert ledgers[1].latency_s < ledgers[0].latency_s


# ---------------------------------------------------------------------------------- one draft, with dice


def kept_law_rounds(world, rule, num_rounds, dice):
    """One draft a round: keep it with its share, else send the kept law and take what the server draws.

    Each message also tells the tokens that were kept since the last one, 3 bits each.
    """
    x, y, share = world.x.tolist(), world.y.tolist(), share_of(rule, world.u)
    most = int(np.floor(1.0 / (1.0 - rule.highest) + 1e-9)) if rule.highest < 1 else 6
    most = max(most, int((share > 0.0).sum(axis=1).max()))
    ledger, untold = Ledger(outputs=np.zeros(world.shape)), 0
    for _ in range(num_rounds):
        c = int(dice.roll() * len(x))
        d = dice.draw(x[c])
        if dice.roll() < share[c, d]:
            ledger.outputs[c, d] += 1
            ledger.note(1, 1, 0, 0, 0, 0.01)
            untold += 1
            continue
        kept = {i: x[c][i] * share[c, i] for i in range(6) if share[c, i] > 0.0}
        bits, untold = most.bit_length() + len(kept) * (3 + 8) + 3 * untold, 0
        token = dice.draw([max(y[c][i] - kept.get(i, 0.0), 0.0) for i in range(6)])
        ledger.outputs[c, token] += 1
        ledger.note(1, 1, bits, 3, 1, 0.01 + bits / 2000 + 0.1 + 0.02 + 3 / 1000)
    return ledger


def assert_close(measured, expected):
    mean, error = measured
    assert abs(mean - expected) <= SE * error + 1e-9


def assert_law(outputs, law):
    for row, q in zip(outputs, law, strict=True):
        error = np.sqrt(q * (1.0 - q) / row.sum())
        assert np.all(np.abs(row / row.sum() - q) <= SE * error + 1e-9)


@pytest.mark.parametrize("name", RULES)
def test_kept_law_writes_and_costs_what_its_row_says(name):
    world, rule = random_world(11), RULES[name]
    ledger = kept_law_rounds(world, rule, 20_000, Dice(5))
    outcome = SCHEMES["kept-law"].keeping(rule).ledger(every_draft(world), SYSTEM).outcome()
    m = world.x * share_of(rule, world.u)
    rest = np.maximum(world.y - m, 0.0)
    law = m + (1.0 - m.sum(axis=1, keepdims=True)) * rest / rest.sum(axis=1, keepdims=True)
    assert_law(ledger.outputs, law)
    assert outcome.bias == pytest.approx(np.mean(0.5 * np.abs(law - world.y).sum(axis=1)), abs=1e-12)
    assert_close(ledger.per_token("bits"), outcome.uplink_bit_per_token)
    assert_close(ledger.per_token("down"), outcome.downlink_bit_per_token)
    assert_close(ledger.per_token("calls"), outcome.llm_calls_per_token)
    assert_close(ledger.per_token("seconds"), outcome.latency_s)


# ---------------------------------------------------------------------------------- several, with dice


def exact_rounds(world, rule, num_tokens, dice):
    """Draft while the device keeps; the server checks the run with m and draws from what is left of y."""
    x, y, share = world.x.tolist(), world.y.tolist(), share_of(rule, world.u)
    count = (share > 0.0).sum(axis=1)
    most = max(int(np.floor(1.0 / (1.0 - rule.highest) + 1e-9)), int(count.max()))
    ledger = Ledger(outputs=np.zeros(world.shape))

    def bits_of(c):
        return most.bit_length() + count[c] * 11 + math.ceil(math.log2(max(count[c], 1)))

    total = 0
    while total < num_tokens:
        run, kept = [], True
        while kept:
            c = int(dice.roll() * len(x))
            d = dice.draw(x[c])
            kept = dice.roll() < share[c, d]
            run.append((c, d, kept))
        committed = 0
        for c, d, kept in run:
            committed += 1
            m = [a * b for a, b in zip(x[c], share[c], strict=True)]
            if kept and dice.roll() * m[d] < y[c][d]:
                ledger.outputs[c, d] += 1
                continue
            token = dice.draw([max(b - a, 0.0) for a, b in zip(m, y[c], strict=True)])
            ledger.outputs[c, token] += 1
            break
        bits = sum(bits_of(c) for c, _, _ in run)
        seconds = len(run) * 0.01 + bits / 2000 + 0.1 + 0.02 + 3 / 1000
        total += committed
        ledger.note(committed, len(run), bits, 3, 1, seconds)
    return ledger


@pytest.mark.parametrize("name", RULES)
def test_kept_law_exact_writes_the_llms_law_and_costs_what_its_row_says(name):
    world, rule = random_world(12), RULES[name]
    ledger = exact_rounds(world, rule, 30_000, Dice(6))
    outcome = SCHEMES["kept-law-exact"].keeping(rule).ledger(every_draft(world), SYSTEM).outcome()
    assert_law(ledger.outputs, world.y)
    assert outcome.bias == 0.0
    assert_close(ledger.per_round("tokens"), outcome.tokens_per_round)
    assert_close(ledger.per_round("drafts"), outcome.num_drafts)
    assert_close(ledger.per_token("bits"), outcome.uplink_bit_per_token)
    assert_close(ledger.per_token("down"), outcome.downlink_bit_per_token)
    assert_close(ledger.per_token("seconds"), outcome.latency_s)


def test_a_long_recording_agrees_with_independent_tokens():
    world, rule = random_world(13), RULES["quantile"]
    scheme = SCHEMES["kept-law-exact"].keeping(rule)
    tokens = recording(world, num_texts=4, length=3000, seed=1)
    recorded = scheme.ledger(tokens, SYSTEM).outcome()
    closed = scheme.ledger(table(world), SYSTEM).outcome()
    assert recorded.tokens_per_round == pytest.approx(closed.tokens_per_round, rel=0.05)
    assert recorded.num_drafts == pytest.approx(closed.num_drafts, rel=0.05)


def test_text_that_tells_what_was_kept_agrees_with_text_that_does_not():
    """Refusal and loss follow from whether the draft became the text's token, and average to the same."""
    rng = np.random.default_rng(0)
    share, beta = rng.random(400_000), rng.random(400_000)
    beta[:1000], share[1000:2000] = 0.0, 1.0
    kept = (rng.random(beta.size) < 1.0 - beta).astype(float)
    rule = PrefixDrawsRest()
    known = rule.run(1.0 - share, kept, beta)
    mean = rule.run(1.0 - share, 1.0 - beta, beta)
    np.testing.assert_allclose(mean[0], 1.0 - share, atol=1e-12)
    np.testing.assert_allclose((1 - mean[0]) * mean[1], np.minimum(share, 1.0 - beta), atol=1e-12)
    for a, b in (
        (known[0], mean[0]),
        ((1 - known[0]) * known[1], (1 - mean[0]) * mean[1]),
        (known[0] * share, mean[0] * share),
    ):
        assert abs(a.mean() - b.mean()) <= SE * (a - b).std() / math.sqrt(len(a))


# ---------------------------------------------------------------------------------- stop rules


def replay(kept, refused, estimates, prompt, survival, num_replays, dice, *, bonus):
    """Rounds over recorded drafts with a stop by survival, run with dice: rounds, drafts, full runs."""
    totals = np.zeros((num_replays, 3))
    texts = [np.flatnonzero(prompt == text) for text in np.unique(prompt)]
    for r in range(num_replays):
        for place in texts:
            at = 0
            while at < len(place):
                chance, j, run = 1.0, at, []
                while True:
                    n = place[j]
                    refuses = dice.roll() < refused[n]
                    run.append((n, refuses))
                    chance *= estimates[n]
                    if refuses or chance < survival or j + 1 == len(place):
                        break
                    j += 1
                committed, full = 0, True
                for n, refuses in run:
                    committed += 1
                    if refuses or dice.roll() >= kept[n]:
                        full = False
                        break
                if full:
                    totals[r, 2] += 1
                    committed += bonus and at + committed < len(place)
                totals[r] += (1, len(run), 0)
                at += committed
    return totals


@pytest.mark.parametrize("bonus", [False, True])
@pytest.mark.parametrize("survival", [0.0, 0.35, 0.7, 1.0])
def test_rounds_that_end_by_chance_and_by_survival_are_those_of_a_replay(survival, bonus):
    rng = np.random.default_rng(3)
    prompt = np.repeat(np.arange(3), 20)
    kept, refused = rng.choice([0.0, 0.5, 0.9, 1.0], 60), rng.choice([0.0, 0.2, 1.0], 60, p=[0.5, 0.4, 0.1])
    estimates = rng.choice([0.6, 0.95, 1.0], 60)
    limit = surviving_drafts(estimates, prompt, survival)
    options = {"ending_acceptance": np.zeros(60), "max_drafts": limit, "bonus": bonus}
    rounds = recorded_rounds(kept, refused, prompt, np.ones(60), **options)
    totals = replay(kept, refused, estimates, prompt, survival, 1500, Dice(8), bonus=bonus)
    expected = [
        rounds.weight.sum(),
        np.sum(rounds.weight * rounds.num_drafts),
        np.sum(rounds.weight * rounds.all_kept),
    ]
    error = totals.std(axis=0) / math.sqrt(len(totals))
    assert np.all(np.abs(totals.mean(axis=0) - expected) <= SE * error + 1e-9)
    np.testing.assert_allclose(rounds.draft_bit, rounds.num_drafts)
    assert np.sum(rounds.weight * rounds.num_tokens) == pytest.approx(60.0)


def test_surviving_drafts_multiply_until_the_limit():
    rng = np.random.default_rng(4)
    prompt = np.array([0] * 7 + [2] * 5)
    chance = rng.choice([0.0, 0.5, 0.8, 1.0], 12, p=[0.1, 0.3, 0.3, 0.3])
    for survival, most in itertools.product((0.0, 0.2, 0.5, 0.64, 1.0), (None, 3)):
        found = surviving_drafts(chance, prompt, survival, most)
        for n in range(12):
            product, drafts = 1.0, 0
            while n + drafts < 12 and prompt[n + drafts] == prompt[n]:
                product *= chance[n + drafts]
                drafts += 1
                if product < survival or drafts == most:
                    break
            assert found[n] == drafts
    with pytest.raises(ValueError, match=r"survival must lie in \[0, 1\]"):
        surviving_drafts(chance, prompt, 1.5)


def test_a_stop_by_survival_needs_a_line_and_texts():
    tokens = recording(random_world(2), num_texts=2, length=10, seed=0)
    with pytest.raises(
        MissingInputError, match=r"^the survival of a run needs a rejection line; give --calibration$"
    ):
        SCHEMES["kept-law-exact"].drafting(UntilRisky()).ledger(tokens, SYSTEM)
    rule = UntilRisky(line=Line(0.8, -0.05))
    with pytest.raises(MissingInputError, match="needs recorded texts"):
        SCHEMES["dssd"].drafting(rule).ledger(table(random_world(2)), SYSTEM)


def test_a_survival_of_nothing_stops_no_run_but_the_trigger():
    tokens = recording(random_world(14), num_texts=3, length=40, seed=2)
    curve = Curve((0.0, 1.0), (0.0, 0.9))
    exact = SCHEMES["kept-law-exact"].using(threshold=0.6)
    stopped = exact.drafting(UntilRiskyOrTrigger(survival=0.0, line=curve))
    plain = exact.drafting(UntilTrigger())
    a, b = (row.ledger(tokens, SYSTEM).outcome() for row in (stopped, plain))
    assert a.num_drafts == pytest.approx(b.num_drafts)
    assert a.latency_s == pytest.approx(b.latency_s)
    short = exact.drafting(UntilRiskyOrTrigger(survival=1.0, line=curve)).ledger(tokens, SYSTEM).outcome()
    assert short.num_drafts == 1.0  # every draft may be lost
    assert short.tokens_per_round > 1.0  # and a bonus token follows the one that is kept


def test_the_drafts_of_one_place_are_the_columns_that_matter():
    tokens = Tokens(uncertainty=np.array([0.1, 0.5]), rejection=np.array([0.0, 0.4]))
    skips = KeepShare((0.3, 0.6), (1.0, 0.5)).skips(tokens)
    np.testing.assert_allclose(skips.transmit, [0.0, 0.5])
    np.testing.assert_allclose(skips.excess, [0.0, 0.0])
