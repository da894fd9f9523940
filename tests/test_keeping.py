"""Shares to keep: the best against a linear programme, what estimating them costs, what can be promised."""

import numpy as np
import pytest
from scipy.optimize import linprog

from calibration import keeping, promises
from cuhlm_theory import comparison
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.parameters import Codec, Latency, Link, System
from cuhlm_theory.rejection import Curve
from cuhlm_theory.schemes import SCHEMES, ShareFamily, best_shares
from cuhlm_theory.schemes.draft import UntilRisky
from tests.test_kept_law_schemes import with_candidates
from tests.worlds import random_world, table

# ---------------------------------------------------------------------------------- bets


@pytest.mark.parametrize("place", [0, 1, 7, 30, 59])
def test_a_bet_knows_only_the_prompts_before_it(place):
    rng = np.random.default_rng(place)
    z, other = rng.random(60), rng.random(60)
    changed = np.where(np.arange(60) < place, z, other)
    before, after = promises.bets(z, 0.3, 0.1), promises.bets(changed, 0.3, 0.1)
    np.testing.assert_array_equal(before[: place + 1], after[: place + 1])
    assert np.all(before[place + 2 :] != after[place + 2 :])  # and it does use those


def test_capital_does_not_grow_on_average_at_the_mean_that_is_bet_against():
    """A peeking bet would: over every outcome of eight prompts, the mean capital is exactly 1."""
    epsilon, delta, mean = 0.5, 0.5, 0.0
    for code in range(256):
        z = np.array([(code >> place) & 1 for place in range(8)], dtype=float)
        chance = np.prod(np.where(z == 1.0, epsilon, 1.0 - epsilon))
        bet = promises.bets(z, epsilon, delta)
        assert bet.max() < 0.99 / (1.0 - epsilon)  # so that it depends on what was seen
        mean += chance * np.prod(1.0 - bet * (z - epsilon))
    assert mean == pytest.approx(1.0, abs=1e-12)


# ---------------------------------------------------------------------------------- the best shares


def drafts(rng, num, levels=8):
    """Uncertainties with ties, ratios on a grid, weights."""
    u = np.sort(rng.choice(np.linspace(0.05, 0.8, 6), num))
    ratio = np.minimum(rng.integers(0, levels + 3, num), levels) / levels
    weight = rng.dirichlet(np.ones(num))
    return u, ratio, weight


def most_skipped(u, ratio, weight, budget):
    """Largest skip rate of falling shares within a budget, by a linear programme over shares and losses."""
    values, place = np.unique(u, return_inverse=True)
    num, groups = len(u), len(values)
    gain = np.concatenate([np.bincount(place, weight), np.zeros(num)])
    loses = np.hstack([np.eye(groups)[place], -np.eye(num)])  # s - loss <= ratio
    falls = np.hstack([np.diff(np.eye(groups), axis=0), np.zeros((groups - 1, num))])
    spends = np.concatenate([np.zeros(groups), weight])[None]
    found = linprog(
        -gain,
        A_ub=np.vstack([loses, falls, spends]),
        b_ub=np.concatenate([ratio, np.zeros(groups - 1), [budget]]),
        bounds=[(0.0, 1.0)] * groups + [(0.0, None)] * num,
    )
    assert found.status == 0
    return -found.fun


@pytest.mark.parametrize("seed", range(12))
def test_the_shares_are_those_of_a_linear_programme(seed):
    u, ratio, weight = drafts(np.random.default_rng(seed), 14)
    family = ShareFamily(u, ratio, weight, num_levels=8)
    for budget in (0.0, 0.01, 0.04, 0.1, 0.3, 1.0):
        fitted = family.at_budget(budget)
        spent = weight @ np.maximum(fitted.rule.share(u) - ratio, 0.0)
        assert spent == pytest.approx(fitted.bias, abs=1e-12)
        assert fitted.bias <= budget + 1e-12
        assert weight @ fitted.rule.share(u) == pytest.approx(fitted.skip_rate, abs=1e-12)
        assert fitted.skip_rate == pytest.approx(most_skipped(u, ratio, weight, budget), abs=1e-8)
        assert fitted.gap > -1e-8


def test_no_rule_of_its_class_transmits_less_than_the_certificate():
    rng = np.random.default_rng(5)
    u, ratio, weight = drafts(rng, 40)
    fitted = ShareFamily(u, ratio, weight, num_levels=8).at_budget(0.05)
    values, place = np.unique(u, return_inverse=True)
    closest = 1.0
    for _ in range(4000):
        share = rng.random(len(values)) ** rng.choice([0.2, 1.0, 5.0])  # falling or not
        loss = weight @ np.maximum(share[place] - ratio, 0.0)
        share = share * min(1.0, 0.05 / loss)  # bias is convex and 0 at nothing kept
        transmit = 1.0 - weight @ share[place]
        assert transmit >= fitted.least_transmit - 1e-9
        closest = min(closest, transmit - fitted.least_transmit)
    assert closest < 0.2


def test_shares_rise_with_the_price_and_fall_with_the_uncertainty():
    u, ratio, weight = drafts(np.random.default_rng(6), 200)
    family = ShareFamily(u, ratio, weight)
    shares = np.stack([family.at_level(level).share(np.unique(u)) for level in np.linspace(0.02, 1.0, 30)])
    assert np.all(np.diff(shares, axis=0) >= 0.0)
    assert np.all(np.diff(shares, axis=1) <= 0.0)


def test_drafts_without_weights_count_alike():
    u, ratio, _ = drafts(np.random.default_rng(8), 50)
    alike = ShareFamily(u, ratio, np.full(50, 0.02)).at_budget(0.1)
    assert ShareFamily(u, ratio).at_budget(0.1) == alike


def test_nothing_is_kept_above_the_widest():
    u, ratio, weight = drafts(np.random.default_rng(7), 100)
    narrow = ShareFamily(u, ratio, weight, highest=0.5).at_budget(0.1)
    assert narrow.rule.highest <= 0.5
    assert narrow.skip_rate < ShareFamily(u, ratio, weight).at_budget(0.1).skip_rate
    with pytest.raises(ValueError, match=r"highest must reach the least uncertainty, 0.05; got 0.01"):
        ShareFamily(u, ratio, weight, highest=0.01)


def test_candidates_are_fitted_with_the_chance_that_they_are_drafted():
    world = random_world(3, num_contexts=30)
    tokens = with_candidates(world, table(world), np.repeat(np.arange(30), 6), num=6)
    exact = best_shares(tokens, 0.03)
    plain = best_shares(table(world), 0.03, highest=6 / 7 - 1e-9)  # all that six candidates are sure to hold
    assert exact.skip_rate == pytest.approx(plain.skip_rate, abs=2e-3)
    skips = tokens.keeping(exact.rule)
    assert tokens.weight @ skips.excess == pytest.approx(0.03, abs=1e-9)
    assert 1.0 - tokens.weight @ skips.transmit == pytest.approx(exact.skip_rate, abs=1e-9)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([0.1], [0.1, 0.2]), "ratio must have the shape of uncertainty"),
        (([0.1], [1.2]), r"ratio must lie in \[0, 1\]"),
        (([0.1], [0.5], [0.0]), "weight must be one a draft"),
    ],
)
def test_drafts_that_are_none_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        ShareFamily(*given)


# ---------------------------------------------------------------------------------- on other prompts


def simulated(num_prompts, length, seed):
    """Drafts that are refused for sure, or kept by 0.4, more often where u is large; prompts differ."""
    rng = np.random.default_rng(seed)
    prompt = np.repeat(np.arange(num_prompts), length)
    u = np.clip(rng.random(prompt.size) + 0.1 * rng.normal(size=num_prompts)[prompt], 0.0, 1.0)
    beta = np.where(rng.random(prompt.size) < u, 0.6, 0.0)
    return Tokens(uncertainty=u, rejection=beta, prompt=prompt)


def test_shares_gain_where_a_refused_draft_would_have_been_kept_in_part():
    tokens = simulated(60, 40, 1)
    noise = np.random.default_rng(2).random(len(tokens))
    features = {"trees": {"uncertainty": tokens.uncertainty, "noise": noise}}
    rows = keeping.gains(tokens, features, budgets=[0.03, 0.1], num_resamples=100)
    assert [(row.name, row.bias) for row in rows] == [
        (name, bias) for bias in (0.03, 0.1) for name in ("threshold", "uncertainty", "trees")
    ]
    for row in rows:
        low, high = row.skip_rate_ci95
        assert low <= row.skip_rate <= high
        if row.name == "threshold":
            assert row.gain == 0.0
            order = np.argsort(tokens.uncertainty)
            spent = np.cumsum(tokens.rejection[order]) / len(tokens)
            assert row.skip_rate == pytest.approx(np.mean(spent <= row.bias), abs=5e-3)
        else:  # 0.4 of every draft is free
            assert row.gain_ci95[0] > 0.1
            assert row.skip_rate > 0.4


def test_what_is_promised_where_it_was_fitted_is_had_elsewhere():
    tokens = simulated(60, 40, 3)
    rows = keeping.price_of_estimating(tokens, budgets=[0.05], num_repeats=2, num_resamples=200)
    for row in rows:
        assert row.bias_had == pytest.approx(0.05, abs=0.006)
        low, high = row.bias_had_ci95
        assert low < row.bias_had < high
        assert row.skip_rate_had == pytest.approx(row.skip_rate_promised, abs=0.02)
    assert rows[1].skip_rate_had > rows[0].skip_rate_had + 0.1


def test_promised_shares_are_tested_on_prompts_that_did_not_fit_them():
    tokens = simulated(200, 30, 4)
    found = keeping.guaranteed_shares(tokens, 0.08)
    assert 0.0 < found.bias < 0.08
    assert found.skip_rate > 0.4
    assert "at most 0.08, if the 180 prompts that they were tested on" in found.statement
    surer = keeping.guaranteed_shares(tokens, 0.08, failure_probability=0.01)
    assert surer.skip_rate <= found.skip_rate
    assert surer.level < found.level
    few = keeping.guaranteed_shares(simulated(8, 30, 4), 0.02)
    assert few.level is None
    assert few.skip_rate == 0.0


@pytest.mark.slow
def test_promises_of_shares_are_broken_no_more_often_than_they_say():
    law = simulated(4000, 30, 99)
    broken, repeats = 0, 150
    for seed in range(repeats):
        found = keeping.guaranteed_shares(simulated(60, 30, seed), 0.08, failure_probability=0.2, seed=seed)
        broken += law.keeping(found.rule).excess.mean() > 0.08
    assert broken <= 0.2 * repeats + 3 * np.sqrt(0.16 * repeats)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0.0}, r"budget must lie in \(0, 1\); got 0"),
        ({"budget": 0.1, "failure_probability": 1.0}, r"failure_probability must lie in \(0, 1\); got 1"),
        (
            {"budget": 0.1, "fitting_share": 0.0},
            "fitting_share must leave prompts on both sides; got 0 of 10",
        ),
        ({"budget": 0.1, "max_tokens": 4}, "max_tokens must be at least 5, the longest prompt's; got 4"),
    ],
)
def test_promises_of_shares_refuse_what_they_cannot_be_made_from(options, message):
    with pytest.raises(ValueError, match=message):
        keeping.guaranteed_shares(simulated(10, 5, 0), **options)


@pytest.mark.parametrize(
    "call", [keeping.gains, keeping.price_of_estimating, lambda t: keeping.guaranteed_shares(t, 0.1)]
)
def test_what_needs_prompts_says_so(call):
    with pytest.raises(ValueError, match="prompt is missing"):
        call(Tokens(uncertainty=np.array([0.1, 0.9]), rejection=np.array([0.1, 0.9])))


# ---------------------------------------------------------------------------------- comparisons

SYSTEM = System(
    link=Link(bandwidth_hz=1e5, snr=3.0),
    codec=Codec(vocab_size=32_000),
    latency=Latency(slm_s=0.01, llm_s=0.1),
)


def test_the_look_ahead_finds_the_best_number_of_drafts_where_acceptances_are_alike():
    prompt = np.zeros(300, dtype=np.int64)
    for beta in (0.2, 0.6):
        tokens = Tokens(uncertainty=np.full(300, 0.5), rejection=np.full(300, beta), prompt=prompt)
        row = SCHEMES["dssd"].drafting(UntilRisky(line=Curve((0.5,), (beta,))))
        theta = comparison.look_ahead_survival(row, tokens, SYSTEM)
        found = row.using(survival=theta).ledger(tokens, SYSTEM).outcome()
        rates = [
            SCHEMES["dssd"].using(num_drafts=n).ledger(tokens, SYSTEM).outcome().throughput_token_per_s
            for n in range(1, 13)
        ]
        assert found.throughput_token_per_s == pytest.approx(max(rates), rel=2e-3)


def test_a_table_at_budgets_pairs_differences_to_the_fastest():
    tokens = simulated(12, 30, 8)
    names = ["kept-law", "kept-law, quantile", "dssd", "llm", "tk-slt"]  # no profile for the last
    found = comparison.at_budgets(tokens, SYSTEM, budgets=[0.0, 0.1], names=names, num_resamples=50)
    assert {row["scheme"] for row in found} == set(names) - {"tk-slt"}
    for budget in (0.0, 0.1):
        rows = [row for row in found if row["budget"] == budget]
        assert rows[0]["behind_best"] == 0.0
        assert rows[0]["behind_best_ci95"] is None
        for row in rows:
            assert row["bias"] <= budget + 1e-9
            assert row["behind_best"] == pytest.approx(
                rows[0]["throughput_token_per_s"] - row["throughput_token_per_s"]
            )
    assert found["llm@0"]["behind_best_ci95"] is not None
    assert found["kept-law, quantile@0.1"]["skip_rate"] > found["kept-law@0.1"]["skip_rate"]
    other = comparison.at_budgets(
        tokens, SYSTEM, budgets=[0.1], names=names, tuned_on=simulated(12, 30, 9), num_resamples=5
    )
    assert other["kept-law@0.1"]["bias"] != pytest.approx(0.1, abs=1e-6)


def test_stop_rules_are_tuned_on_one_half_and_judged_on_the_other():
    tokens = simulated(16, 30, 10)
    first, second = comparison.halves(tokens, seed=3)
    assert not set(first.prompt) & set(second.prompt)
    assert len(first) + len(second) == len(tokens)
    assert first.weight.sum() == pytest.approx(1.0)
    found = comparison.stop_rules(
        tokens, SYSTEM, names=["dssd", "dssd, survival", "verify-on-sync"], num_resamples=20, seed=3
    )
    assert found["dssd"]["over_first"] == 0.0
    best = comparison.TUNERS["dssd"](first, SYSTEM, 0.0)
    assert found["dssd"]["throughput_token_per_s"] == pytest.approx(
        best.ledger(second, SYSTEM).outcome().throughput_token_per_s
    )
    with pytest.raises(ValueError, match="prompt is missing"):
        comparison.halves(Tokens(uncertainty=np.zeros(2), rejection=np.zeros(2)))
