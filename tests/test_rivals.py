"""The rivals since mid-2025: their printed numbers, and what they rest on by brute force and with dice."""

from dataclasses import replace

import numpy as np
import pytest

from calibration import load
from cuhlm_theory import rivals
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.drafting import best_drafts_of_survival, best_num_drafts
from cuhlm_theory.errors import InfeasibleError, MissingInputError
from cuhlm_theory.kept_law import output_law
from cuhlm_theory.parameters import Codec, Latency, Link, System
from cuhlm_theory.schemes import SCHEMES, at_bias, recorded_rounds
from cuhlm_theory.schemes import best_num_drafts as best_num_drafts_of
from cuhlm_theory.schemes.verification import Cascade, Lenient, Typical
from cuhlm_theory.verification import total_variation
from tests.protocols import Dice, block_rounds, propose
from tests.worlds import random_world, recording, table

MS = 1e-3
LATENCY = Latency(slm_s=0.0246, llm_s=0.1046)
PAIR = System(link=Link(bandwidth_hz=1e6, snr=3.0), codec=Codec(vocab_size=151_936), latency=LATENCY)


def _best(alpha, delay_s):
    count = best_num_drafts(alpha, rivals.delay_ratio(MS, 0.5 * MS, delay_s))
    return count, rivals.delayed_latency_s(alpha, count, MS, 0.5 * MS, delay_s) / MS


@pytest.mark.parametrize(
    ("alpha", "delay_ms", "count", "latency_ms"),
    [
        (0.7, 5, 3, 5.922),
        (0.7, 10, 5, 9.520),
        (0.7, 30, 7, 22.603),
        (0.7, 50, 8, 35.169),
        (0.7, 100, 10, 65.954),
        (0.7, 200, 12, 126.778),
        (0.7, 500, 14, 307.912),
        (0.8, 100, 15, 45.892),
        (0.9, 100, 26, 25.429),
    ],
)
def test_the_printed_counts_and_latencies_of_specstop(alpha, delay_ms, count, latency_ms):
    found = _best(alpha, delay_ms * MS)
    assert int(found[0]) == count
    assert float(found[1]) == pytest.approx(latency_ms, abs=5e-4)


@pytest.mark.parametrize(
    ("alpha", "delay_ms"), [(0.5, 3.5), (0.6, 2.333), (0.7, 1.602), (0.8, 1.109), (0.9, 0.759)]
)
def test_below_the_critical_delay_one_draft_is_best(alpha, delay_ms):
    critical = float(rivals.critical_delay_s(alpha, MS, 0.5 * MS))
    assert critical / MS == pytest.approx(delay_ms, abs=5e-4)
    assert _best(alpha, 0.999 * critical)[0] == 1
    assert _best(alpha, 1.001 * critical)[0] == 2


@pytest.mark.parametrize("seed", range(5))
def test_no_count_is_faster_over_a_delay_than_the_best(seed):
    rng = np.random.default_rng(seed)
    alpha, draft, verify, delay = rng.uniform(0.1, 0.95), *rng.uniform(1e-3, 0.1, 3)
    counts = np.arange(1, 400)
    every = rivals.delayed_latency_s(alpha, counts, draft, verify, delay)
    best = best_num_drafts(alpha, rivals.delay_ratio(draft, verify, delay))
    assert counts[np.argmin(every)] == best


@pytest.mark.parametrize("seed", range(10))
def test_knowing_the_state_never_costs(seed):
    rng = np.random.default_rng(seed)
    delays, weight = rng.uniform(0, 0.5, 4), rng.dirichlet(np.ones(4))
    alpha, draft, verify = rng.uniform(0.2, 0.95), *rng.uniform(1e-3, 0.05, 2)
    value = float(rivals.state_value_s(alpha, draft, verify, delays, weight))
    assert value >= -1e-12
    fixed = [weight @ rivals.delayed_latency_s(alpha, k, draft, verify, delays) for k in range(1, 300)]
    own = [min(rivals.delayed_latency_s(alpha, np.arange(1, 300), draft, verify, d)) for d in delays]
    assert value == pytest.approx(min(fixed) - weight @ own, abs=1e-12)


@pytest.mark.parametrize("round_trip_s", [0.0, 0.1, 0.3])
def test_recorded_survival_is_heavy_headed_but_less_so_where_rounds_begin(round_trip_s):
    """Rejections cluster, and rounds begin after them: counts by the survival of any place are too long."""
    tokens = load("qwen2.5-coder").tokens
    anywhere = rivals.survival_curve(tokens.acceptance, tokens.prompt, 32)
    assert anywhere[11] > 1.5 * anywhere[0] ** 12
    nothing = np.zeros(len(tokens))
    begins = recorded_rounds(tokens.acceptance, nothing, tokens.prompt, nothing, max_drafts=6).weight
    there = rivals.survival_curve(tokens.acceptance, tokens.prompt, 32, begins)
    assert np.all(there < anywhere)
    waits = replace(PAIR, latency=replace(LATENCY, round_trip_s=round_trip_s))
    rates = [
        SCHEMES["dssd"].using(num_drafts=count).ledger(tokens, waits).outcome().throughput_token_per_s
        for count in range(1, 25)
    ]
    by_survival = best_num_drafts_of(SCHEMES["specstop"], tokens, waits)
    assert rates[by_survival - 1] > 0.97 * max(rates)
    too_long = best_drafts_of_survival(anywhere, waits.latency, waits.link, 26).num_drafts
    assert too_long > by_survival
    assert rates[too_long - 1] < rates[by_survival - 1]


@pytest.mark.parametrize(("levels", "bits"), [(720, 5467), (240, 2209), (100, 1054), (24, 312), (4, 74)])
def test_the_printed_bits_of_the_dense_lattice(levels, bits):
    payload = SCHEMES["q-s"].using(lattice_levels=levels).payload
    assert float(payload.bit(50_272, Codec(vocab_size=50_272), SCHEMES["q-s"].skip)) == bits


@pytest.mark.parametrize("seed", range(3))
def test_the_protocol_of_proposals_run_with_dice(seed):
    world, dice = random_world(seed, num_contexts=1), Dice(seed)
    x, y = world.x[0].tolist(), world.y[0].tolist()
    ran = [propose(dice.draw(x), x, y, dice) for _ in range(40_000)]
    tokens, proposals = np.array([one[0] for one in ran]), np.array([one[2] for one in ran])
    assert abs(proposals.mean() - 1.0) <= 4 * proposals.std() / 200
    for token in range(6):
        assert abs(np.mean(tokens == token) - y[token]) <= 4 * np.sqrt(y[token] / 40_000)
    apart = float(total_variation(x, y))
    for most in (0, 1, 4):
        chance = float(rivals.fall_back_probability(apart, most))
        assert abs(np.mean(proposals > most) - chance) <= 4 * np.sqrt(chance / 40_000)
        capped = np.minimum(proposals, most)
        mean = float(rivals.proposals_per_token(apart, most))
        assert abs(capped.mean() - mean) <= 4 * capped.std() / 200 + 1e-12


@pytest.mark.parametrize("seed", range(20))
def test_the_bias_of_a_truncated_residual_is_within_its_certificate(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.dirichlet(np.full(9, 0.4), 2)
    shared, exact = np.minimum(x, y), np.maximum(y - x, 0)
    apart, before = float(total_variation(x, y)), 1.0
    for kept in range(1, 10):
        residual = rivals.truncated_residual(x, y, kept)
        certificate = rivals.residual_certificate(x, y, kept)
        distance = float(total_variation(residual, exact / exact.sum()))
        bias = float(total_variation(shared + apart * residual, y))
        assert distance <= float(certificate) + 1e-9
        assert bias == pytest.approx(apart * distance, abs=1e-12)
        assert bias <= 1 - np.sort(y)[::-1][:kept].sum() + 1e-9
        assert float(certificate) <= before + 1e-9
        before = float(certificate)
    assert before == pytest.approx(0.0, abs=1e-9)


def test_block_verification_run_with_dice():
    """Lossless on a chain whose context is the last token; over i.i.d. contexts as many tokens as charged."""
    chained = random_world(21, num_contexts=6, vocab_size=6)
    outputs, _ = block_rounds(chained, 12_000, Dice(3), num_drafts=3, then=lambda token: token)
    totals = outputs.sum(axis=1, keepdims=True)
    z = (outputs / totals - chained.y) / np.sqrt(chained.y * (1 - chained.y) / totals)
    assert np.abs(z).max() <= 4
    world, dice = random_world(31, num_contexts=5, vocab_size=6), Dice(4)
    _, tokens = block_rounds(world, 20_000, dice, num_drafts=3, then=lambda token: int(dice.roll() * 5))
    recorded = recording(world, num_texts=40, length=600, seed=5)
    system = replace(PAIR, codec=Codec(vocab_size=6))
    block, single = (
        SCHEMES[name].using(num_drafts=3).ledger(recorded, system).outcome()
        for name in ("block-verification", "dsd")
    )
    error = tokens.std() * np.sqrt(1 / 20_000 + 3 / 24_000)  # of overlapping runs of three too
    assert abs(block.tokens_per_round - tokens.mean()) <= 4 * error
    assert block.tokens_per_round > single.tokens_per_round
    closed = SCHEMES["block-verification"].using(num_drafts=3).ledger(table(world), system).outcome()
    assert abs(closed.tokens_per_round - tokens.mean()) <= 4 * tokens.std() / np.sqrt(20_000)
    assert block.bias == closed.bias == 0.0
    assert block.uplink_bit_per_token * block.tokens_per_round == pytest.approx(3 * 66)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_block_is_kept_at_least_as_long_on_the_real_pair(count):
    tokens = load("qwen2.5-coder").tokens
    ratio = tokens.llm_prob / tokens.draft_prob
    block = rivals.survival_curve(ratio, tokens.prompt, count)
    single = rivals.survival_curve(tokens.acceptance, tokens.prompt, count)
    assert np.all(block >= single - 1e-6)
    assert (block[-1] > single[-1] + 1e-3) == (count > 1)


# ------------------------------------------------------------------------------------ lossy acceptance


@pytest.mark.parametrize(
    "rule", [Lenient(lenience=0.5), Typical(typical_threshold=0.2), Cascade(deferral_price=0.2)]
)
@pytest.mark.parametrize("seed", range(8))
def test_the_account_of_a_lossy_rule_is_the_bias_of_its_enumerated_law(rule, seed):
    world = random_world(seed)
    row = replace(SCHEMES["lenience"], verification=rule, payload=SCHEMES["typical"].payload).using(
        num_drafts=1
    )
    tokens = table(world)
    account = rule.account(tokens, row.skip, row.skip.skips(tokens), row.payload, None)
    laws = [rule.verified_law(x, y) for x, y in zip(world.x, world.y, strict=True)]
    kept = [x * rule.acceptance(x, y) for x, y in zip(world.x, world.y, strict=True)]
    assert np.allclose(laws, [output_law(m, y) for m, y in zip(kept, world.y, strict=True)])
    assert not account.is_bound
    bias = np.mean([float(total_variation(law, y)) for law, y in zip(laws, world.y, strict=True)])
    assert float(tokens.weight @ account.bias) == pytest.approx(bias, abs=1e-9)
    accepted = tokens.weight @ rule.of_drafts(tokens, tokens.acceptance)
    assert accepted == pytest.approx(np.sum(kept) / 5, abs=1e-9)
    assert accepted <= tokens.weight @ tokens.acceptance + bias + 1e-9


@pytest.mark.parametrize("kept", [1, 2, 4])
def test_fewer_candidates_bound_what_decides(kept):
    world = random_world(3, num_contexts=40, vocab_size=6)
    known = table(world)
    cut = {
        name: getattr(known, name)[:, :kept]
        for name in ("candidate_uncertainty", "candidate_prob", "candidate_llm_prob")
    }
    fewer = replace(known, **cut)
    for question in ("llm_entropy", "llm_largest_prob"):
        (low, high), (exact, same) = getattr(fewer, question)(), getattr(known, question)()
        assert exact == pytest.approx(same)
        assert np.all(low <= exact + 1e-9)
        assert np.all(exact <= high + 1e-9)
    for name in ("typical", "cascade"):
        system = replace(PAIR, codec=Codec(vocab_size=6))
        bounded, exact = (
            SCHEMES[name].using(num_drafts=2).ledger(tokens, system).outcome() for tokens in (fewer, known)
        )
        assert bounded.bias_is_bound
        assert "recorded candidates" in bounded.bias_note
        assert bounded.tokens_per_round <= exact.tokens_per_round + 1e-9


def test_lossy_rows_need_the_candidates_that_decide():
    tokens = Tokens(
        uncertainty=np.zeros(1), rejection=np.zeros(1), llm_prob=np.ones(1), prompt=np.zeros(1, int)
    )
    with pytest.raises(MissingInputError, match="no candidate_llm_prob"):
        SCHEMES["typical"].using(num_drafts=1).ledger(tokens, PAIR)


@pytest.mark.parametrize("wanted", [0.0, 0.02, 0.08])
def test_lenience_meets_a_wanted_bias(wanted):
    tokens = load("qwen2.5-coder").tokens
    row = at_bias(SCHEMES["lenience"], tokens, PAIR, wanted).ledger(tokens, PAIR).outcome()
    assert wanted - 2e-3 <= row.bias <= wanted + 1e-9


def test_a_rule_whose_strictest_setting_is_biased_refuses_a_smaller_bias():
    with pytest.raises(InfeasibleError, match=r"typical has a bias of .* at its strictest"):
        at_bias(SCHEMES["typical"], load("qwen2.5-coder").tokens, PAIR, 0.0)


def test_the_first_unit_of_bias_saves_more_by_skipping():
    """On the real pair lenience is ahead where little bias may be spent, because it starts from exact rounds
    of several drafts; but each unit saves more by skipping, which is ahead from a bias of 0.05 on."""
    tokens = load("qwen2.5-coder").tokens
    seconds = {
        name: np.array(
            [
                at_bias(SCHEMES[name], tokens, PAIR, bias).ledger(tokens, PAIR).outcome().latency_s
                for bias in (0.0, 0.01, 0.05, 0.1)
            ]
        )
        for name in ("lenience", "kept-law")
    }
    assert seconds["lenience"][1] < seconds["kept-law"][1]
    assert seconds["kept-law"][2] < seconds["lenience"][2]
    assert seconds["kept-law"][3] < 0.9 * seconds["lenience"][3]
    saved = {name: -np.diff(column) / np.diff([0.0, 0.01, 0.05, 0.1]) for name, column in seconds.items()}
    assert np.all(saved["kept-law"][:2] > 2 * saved["lenience"][:2])
    row = SCHEMES["dssd"].ledger(tokens, PAIR).outcome()
    price = float(
        rivals.lossy_bias_price_s(
            float(tokens.acceptance.mean()), round(row.num_drafts), row.latency_s * row.tokens_per_round
        )
    )
    assert saved["lenience"][0] == pytest.approx(price, rel=0.5)
