"""Every scheme against its own protocol run with dice: output law, bits, rounds within 4 standard errors."""

import math
from dataclasses import replace

import numpy as np
import pytest

from cuhlm_theory.parameters import Codec, Latency, Link, System
from cuhlm_theory.schemes import SCHEMES, Policy, evaluate, lattice_bit, recorded_rounds
from cuhlm_theory.truncation import quantise
from cuhlm_theory.verification import output_law, server_sampling_law
from tests.protocols import Dice, chain, replay, single_round
from tests.worlds import World, random_world, recording, table

SYSTEM = System(
    link=Link(bandwidth_hz=1e3, snr=3.0),  # 2000 bit/s
    codec=Codec(vocab_size=6),  # 3 bits an index, 8 a probability
    latency=Latency(slm_s=0.01, llm_s=0.1),
)
POLICY = Policy(threshold=0.5, slope=0.8, intercept=-0.05, offline_k=3, truncation_budget=0.1, skip_rate=0.4)
NUM_ROUNDS = 20_000
CHAINS = [
    *((name, True) for name in ("dsd", "tk-slt", "tslt", "k-sqs", "dssd", "confidence-stop")),
    ("verify-on-sync", False),
    ("verify-on-sync", True),
]
SE = 4.0


def _assert_close(measured, expected):
    mean, error = measured
    assert abs(mean - expected) <= SE * error + 1e-9


def _assert_law(counts, law):
    """Each cell of each context within 4 standard errors, and no more than 1 in 200 beyond 3."""
    totals = counts.sum(axis=1, keepdims=True)
    error = np.sqrt(np.maximum(law * (1 - law), 1e-9) / totals)
    z = np.abs(counts / totals - law) / error
    assert z.max() < SE + 0.5
    assert (z > 3).mean() <= 1 / 30


def _sizes(world, name):
    """k of each context and draft, from the description of each rule."""
    if name in ("hlm", "rand-hlm", "u-hlm"):
        return np.full(world.shape, 6)
    if name == "cu-hlm-offline":
        return np.full(world.shape, 3)
    profile = world.tv_profile()
    if name == "cu-hlm-exact":
        return np.repeat(np.argmax(profile <= 0.1, axis=1)[:, None] + 1, 6, axis=1)
    beta = np.clip(0.8 * world.u - 0.05, 0, 1)
    scale = (1 - world.x) * math.log1p(math.exp(-1)) + world.x * np.log1p(np.exp(-beta))
    return np.argmax(2 * profile[:, None, :] / scale[:, :, None] <= 0.1, axis=2) + 1


@pytest.mark.parametrize(
    "name", ["slm", "hlm", "rand-hlm", "u-hlm", "cu-hlm-offline", "cu-hlm-online", "cu-hlm-exact", "floor"]
)
def test_single_draft_protocols(name):
    world = random_world(11)
    dice = Dice(5)
    skips = {
        "slm": lambda c, d: True,
        "hlm": lambda c, d: False,
        "rand-hlm": lambda c, d: dice.roll() < 0.4,
    }.get(name, lambda c, d: world.u[c, d] <= 0.5)
    sizes = _sizes(world, name) if name not in ("slm", "floor") else np.ones(world.shape, int)
    received = {k: world.truncated(k) for k in range(1, 7)}
    bits = (np.full(world.shape, 3) if name == "floor" else 11 * sizes).tolist()

    ledger = single_round(
        world,
        NUM_ROUNDS,
        dice,
        skips=skips,
        law_of=lambda c, d: received[sizes[c, d]][c].tolist(),
        bits_of=lambda c, d: bits[c][d],
        server_draws=name == "floor",
        seconds_of=lambda sent: 0.01 + (0.0 if sent is None else 0.1 + sent / 2000),
    )
    row = evaluate(SCHEMES[name], table(world), SYSTEM, POLICY)

    skip = {"slm": np.ones(world.shape), "hlm": np.zeros(world.shape), "rand-hlm": np.full(world.shape, 0.4)}
    s = skip.get(name, (world.u <= 0.5).astype(float))
    if name == "floor":
        law = server_sampling_law(world.x, world.y, s)
    elif name == "slm":
        law = world.x
    else:
        law = _draft_dependent_law(world, s, sizes, received)
    _assert_law(ledger.outputs, law)
    true_bias = 0.5 * np.abs(law - world.y).sum(axis=1).mean()
    if row.bias_is_bound:
        assert true_bias <= row.bias + 1e-12
    elif name != "cu-hlm-online":
        assert row.bias == pytest.approx(true_bias, abs=1e-12)

    _assert_close(ledger.per_token("calls"), row.llm_calls_per_token)
    _assert_close(ledger.per_token("bits"), row.uplink_bit_per_token)
    _assert_close(ledger.per_token("seconds"), row.latency_s)
    _assert_close(ledger.per_round("rates"), row.mean_rate_token_per_s)


def _draft_dependent_law(world, skip, sizes, received):
    """Exact law of the output when the size may depend on the draft: the sum over sizes of their shares."""
    law = np.zeros(world.shape)
    for k, truncated in received.items():
        chosen = (sizes == k).astype(float)
        share = world.x * chosen
        mass = share.sum(axis=1, keepdims=True)
        here = mass[:, 0] > 0
        if here.any():
            conditional = share[here] / mass[here]
            law[here] += mass[here] * output_law(
                conditional, world.y[here], skip=skip[here], verify_with=truncated[here]
            )
    return law


@pytest.mark.parametrize("seed", [272, 1034, 1430])
def test_the_estimate_of_the_online_rule_is_no_bound(seed):
    """THEORY 8.1: the printed rule's k depends on the draft; here its bias exceeds risk + E[TV_k(d)]."""
    world = random_world(seed, num_contexts=1)
    sizes = _sizes(world, "cu-hlm-online")
    received = {k: world.truncated(k) for k in range(1, 7)}
    law = _draft_dependent_law(world, (world.u <= 0.5).astype(float), sizes, received)
    row = evaluate(SCHEMES["cu-hlm-online"], table(world), SYSTEM, POLICY)
    assert 0.5 * np.abs(law - world.y).sum() > 1.5 * row.bias > 0.005
    assert not row.bias_is_bound
    assert "does not cover" in row.bias_note


def _bigrams(seed):
    """A world whose context is the previous token: one context a token."""
    world = random_world(seed, num_contexts=6, vocab_size=6)
    return World(x=world.x, y=world.y, u=world.u)


def _stationary(law):
    values, vectors = np.linalg.eig(law.T)
    weight = np.real(vectors[:, np.argmax(np.real(values))])
    return weight / weight.sum()


def _draft_law(world, name):
    if name in ("tk-slt", "tslt"):
        return world.candidates(3)
    if name == "k-sqs":
        return quantise_levels(world.candidates(3), 127)
    return world.x


def quantise_levels(law, levels):
    return quantise(law, int(math.log2(levels + 1)))


@pytest.mark.parametrize(("name", "bonus"), CHAINS)
def test_protocols_of_several_drafts_are_exact_on_a_chain(name, bonus):
    """Bias exactly 0: every transition of the output is one of the LLM, whatever the run did before it."""
    world = _bigrams(21)
    confident = world.x.max(axis=1) >= 0.55
    ends = {
        "confidence-stop": lambda c, d: not confident[c],
        "verify-on-sync": lambda c, d: world.u[c, d] > 0.5,
    }.get(name, lambda c, d: False)
    ledger = chain(
        world,
        30_000,
        Dice(8),
        draft_law=_draft_law(world, name),
        ends=ends,
        max_drafts=3 if name != "verify-on-sync" else 10_000,
        bonus=bonus,
        bits_per_draft=1,
        seconds_of=lambda length: 1.0,
    )
    _assert_law(ledger.outputs, world.y)


@pytest.mark.parametrize(("name", "bonus"), CHAINS)
def test_bits_and_rounds_of_independent_contexts(name, bonus):
    """A chain whose laws do not depend on the context is i.i.d.: the closed forms must meet it."""
    one = random_world(31, num_contexts=1, vocab_size=6)
    world = World(*(np.repeat(part, 6, axis=0) for part in (one.x, one.y, one.u)))
    threshold = float(np.sort(one.u[0])[3]) - 1e-6
    confidence = 0.99 if name == "confidence-stop" else 0.4
    policy = replace(
        POLICY,
        threshold=threshold,
        num_drafts=3,
        num_candidates=3,
        max_drafts=3,
        confidence=confidence,
        lattice_levels=127,
        bonus=bonus,
    )
    bits = {
        "dsd": 66,
        "tk-slt": 48,
        "tslt": 57,
        "k-sqs": lattice_bit(3, 127, 6),
    }.get(name, 11)
    ends = {
        "confidence-stop": lambda c, d: world.x[c].max() < confidence,
        "verify-on-sync": lambda c, d: world.u[c, d] > threshold,
    }.get(name, lambda c, d: False)
    ledger = chain(
        world,
        25_000,
        Dice(9),
        draft_law=_draft_law(world, name),
        ends=ends,
        max_drafts=3 if name != "verify-on-sync" else 10_000,
        bonus=bonus,
        bits_per_draft=bits,
        seconds_of=lambda length: 0.01 * length + 0.1 + bits * length / 2000,
    )
    row = evaluate(SCHEMES[name], table(one), SYSTEM, policy)
    assert row.bias == 0.0
    _assert_close(ledger.per_round("drafts"), row.num_drafts)
    if name == "k-sqs":  # its acceptance is a bound: never slower than promised
        assert ledger.per_round("tokens")[0] >= row.tokens_per_round
        assert ledger.per_token("seconds")[0] <= row.latency_s
        assert ledger.per_token("bits")[0] == pytest.approx(row.uplink_bit_per_token, rel=0.03)
        return
    _assert_close(ledger.per_round("tokens"), row.tokens_per_round)
    _assert_close(ledger.per_token("calls"), row.llm_calls_per_token)
    _assert_close(ledger.per_token("bits"), row.uplink_bit_per_token)
    _assert_close(ledger.per_token("seconds"), row.latency_s)
    _assert_close(ledger.per_round("rates"), row.mean_rate_token_per_s)


@pytest.mark.parametrize("bonus", [False, True])
@pytest.mark.parametrize("max_drafts", [3, 1000])
def test_rounds_over_a_recording_are_those_of_a_replay_with_dice(bonus, max_drafts):
    tokens = recording(random_world(41), num_texts=3, length=25, seed=2)
    acceptance, ends = 1 - tokens.rejection, tokens.uncertainty > 0.6
    num_replays = 800
    totals = replay(
        acceptance,
        ends,
        tokens.prompt,
        num_replays,
        Dice(4),
        max_drafts=max_drafts,
        bonus=bonus,
    )
    rounds = recorded_rounds(acceptance, ends, tokens.prompt, np.ones(75), max_drafts=max_drafts, bonus=bonus)
    expected = [
        rounds.weight.sum(),
        np.sum(rounds.weight * rounds.num_drafts),
        np.sum(rounds.weight * rounds.num_tokens / rounds.num_drafts),
        np.sum(rounds.weight * rounds.all_kept),
    ]
    error = totals.std(axis=0) / math.sqrt(num_replays)
    assert np.all(np.abs(totals.mean(axis=0) - expected) <= SE * error + 1e-9)


def test_verify_on_sync_meets_its_closed_form_on_a_long_recording():
    world = random_world(51)
    tokens = recording(world, num_texts=1, length=2500, seed=3)
    recorded = evaluate(SCHEMES["verify-on-sync"], tokens, SYSTEM, POLICY)
    closed = evaluate(SCHEMES["verify-on-sync"], table(world), SYSTEM, POLICY)
    assert recorded.llm_calls_per_token == pytest.approx(closed.llm_calls_per_token, rel=0.05)
    assert recorded.num_drafts == pytest.approx(closed.num_drafts, rel=0.06)
    assert recorded.latency_s == pytest.approx(closed.latency_s, rel=0.06)
    sent = tokens.uncertainty > 0.5
    calls = np.where(sent, 1.0, tokens.rejection)
    calls[-1] = 1.0
    assert recorded.llm_calls_per_token == pytest.approx(calls.mean())
