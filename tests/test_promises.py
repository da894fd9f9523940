"""Thresholds and promises: intervals hold their truths, promises are kept as often as they say."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from calibration import promises
from calibration.fit import fit_line
from calibration.trace import Trace
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.law import NEVER_SKIP, Recorded
from cuhlm_theory.rejection import SAME
from tests.prompts_law import simulate
from tests.recording import record


def test_thresholds_agree_with_their_formulas_and_their_intervals_hold_them():
    tokens = simulate(np.random.default_rng(17), curve=lambda u: np.maximum(0.8 * u - 0.1, 0.0))
    u, beta = tokens.uncertainty, tokens.rejection
    rows = {
        row.name: row
        for row in promises.threshold_intervals(
            tokens, budgets=[0.02, 0.1], cost_ratios=[0.2, 5.0], num_resamples=600
        )
    }
    line = stats.linregress(u, beta)
    assert rows["risk_averse"].threshold == pytest.approx(-line.intercept / line.slope)
    delta = np.mean(beta >= SAME)
    assert rows["risk_prone"].threshold == pytest.approx((delta - line.intercept) / line.slope)
    assert rows["cost_optimal 0.2"].threshold == pytest.approx((0.2 - line.intercept) / line.slope)
    assert rows["cost_optimal 5"].threshold == 1.0
    for budget in (0.02, 0.1):
        row = rows[f"risk_budget {budget:g}"]
        assert row.threshold == tokens.law.within(budget, split_ties=False).threshold
    for row in rows.values():
        low, high = row.threshold_ci95
        assert low <= row.threshold <= high
        assert high - low < 0.3


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others():
    tokens = simulate(np.random.default_rng(17), curve=lambda u: np.maximum(0.8 * u - 0.1, 0.0))
    ratios = {"budgets": [0.05], "cost_ratios": [0.2, 0.3], "num_resamples": 200}
    first, again, other = (
        [row.threshold_ci95 for row in promises.threshold_intervals(tokens, seed=seed, **ratios)]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("betting", "with probability at least 0.9 over the prompts, the mean risk a token at"),
        ("hoeffding", "with probability at least 0.9 over the prompts, the mean risk a token at"),
        ("conformal", "the expected risk over calibration sets at"),
    ],
)
def test_a_promise_says_of_what_it_is_one(method, said):
    tokens = simulate(np.random.default_rng(3), curve=lambda u: 0.3 * u)
    assert said in promises.guaranteed_threshold(tokens, 0.1, method=method).statement


@pytest.mark.parametrize(
    ("named", "options"),
    [("budgets", {"budgets": [2.0]}), ("cost_ratios", {"cost_ratios": [-1.0]})],
)
def test_what_is_refused_of_thresholds_is_named(named, options):
    tokens = Tokens(uncertainty=np.array([0.1, 0.5]), rejection=np.array([0.0, 0.5]), prompt=np.arange(2))
    with pytest.raises(ValueError, match=f"^{named} must "):
        promises.threshold_intervals(tokens, **options)


def test_a_falling_line_has_no_threshold_but_recorded_rejections_have():
    tokens = simulate(np.random.default_rng(26), curve=lambda u: 0.7 - 0.5 * u)
    rows = promises.threshold_intervals(tokens, budgets=[0.1], cost_ratios=[0.2], num_resamples=50)
    assert [row.name for row in rows] == ["risk_budget 0.1"]


def test_the_limit_of_a_mean_covers_it_as_often_as_it_says():
    rng, num, mean, misses = np.random.default_rng(5), 72, 0.04, 0
    found = []
    for _ in range(400):
        share = rng.choice([0.3, 1.0], size=num)
        cost = share * rng.choice([0.0, 0.4], p=[0.9, 0.1], size=num)  # skewed: most prompts spend nothing
        limit = promises.upper_limit(cost, share, 0.05)
        assert promises.within_budget(cost + 1.001 * limit * (1.0 - share), 1.001 * limit, 0.05)
        assert not promises.within_budget(cost + 0.99 * limit * (1.0 - share), 0.99 * limit, 0.05)
        found.append(limit)
        misses += limit < mean
    assert misses / 400 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    assert np.median(found) < 0.13


def test_nothing_less_than_three_in_the_number_of_prompts_can_be_promised():
    for num in (30, 72, 300):
        limit = promises.upper_limit(np.zeros(num), np.ones(num), 0.05)
        assert 1.0 - 0.05 ** (1.0 / num) <= limit < 1.15 * np.log(20) / num


def test_a_trial_is_made_of_the_exact_bias_of_hybrid_text():
    recorded = record(2, num_prompts=40, length=10)
    with pytest.raises(ValueError, match="recorded must be hybrid text; got text of slm"):
        promises.trial(recorded)
    header = replace(recorded.header, writer="hybrid", threshold=0.55)
    found = promises.trial(Trace(header, recorded.columns))
    kept = np.where(
        recorded.columns["candidate_uncertainty"] <= 0.55, recorded.columns["candidate_prob"], 0.0
    )
    excess = np.maximum(kept - recorded.columns["candidate_llm_prob"], 0.0).sum(axis=1)
    assert found.bias == pytest.approx(excess.mean(), rel=1e-6)
    assert (found.threshold, found.num_prompts, found.max_tokens) == (0.55, 40, 10)
    assert found.bias < found.resampled_limit95 < found.bias_limit95
    per_prompt = excess.reshape(40, 10).mean(axis=1)
    normal = per_prompt.mean() + 1.645 * per_prompt.std() / np.sqrt(40)
    assert found.resampled_limit95 == pytest.approx(normal, rel=0.05)


def test_a_promise_is_kept_on_the_calibration_prompts_and_is_careful():
    tokens = simulate(np.random.default_rng(18), num_prompts=200)
    empirical = tokens.law.within(0.08, split_ties=False).threshold
    found = {}
    for method in ("betting", "hoeffding", "conformal"):
        promise = promises.guaranteed_threshold(tokens, 0.08, method=method)
        assert promise.threshold in tokens.uncertainty
        assert promise.threshold < empirical
        assert promise.risk == pytest.approx(
            np.mean(tokens.rejection * (tokens.uncertainty <= promise.threshold))
        )
        assert promise.skip_rate == pytest.approx(np.mean(tokens.uncertainty <= promise.threshold))
        assert (promise.method, promise.budget) == (method, 0.08)
        assert "at most 0.08, if the 200 prompts" in promise.statement
        found[method] = promise
    assert found["hoeffding"].threshold <= found["betting"].threshold < found["conformal"].threshold
    assert found["conformal"].failure_probability is None
    assert found["betting"].failure_probability == 0.1
    assert found["betting"].statement.startswith("with probability at least 0.9 over the prompts")
    surer = promises.guaranteed_threshold(tokens, 0.08, failure_probability=0.01)
    assert surer.threshold < found["betting"].threshold


def test_the_conformal_threshold_is_the_largest_that_its_inequality_allows():
    tokens = simulate(np.random.default_rng(19), num_prompts=50, length=10)
    promise = promises.guaranteed_threshold(tokens, 0.06, method="conformal")
    u, beta = tokens.uncertainty, tokens.rejection
    allowed = [t for t in u if (50 * np.mean(beta * (u <= t)) + 1) / 51 <= 0.06]
    assert promise.threshold == max(allowed)


def test_the_hoeffding_threshold_is_the_largest_that_its_inequality_allows():
    tokens = simulate(np.random.default_rng(20), num_prompts=90, length=10)
    promise = promises.guaranteed_threshold(tokens, 0.1, method="hoeffding", failure_probability=0.2)
    u, beta = tokens.uncertainty, tokens.rejection

    def chernoff(mean):
        if mean >= 0.1:
            return 1.0
        kl = mean * np.log(mean / 0.1) if mean else 0.0
        return np.exp(-90 * (kl + (1 - mean) * np.log((1 - mean) / 0.9)))

    assert promise.threshold == max(t for t in u if chernoff(np.mean(beta * (u <= t))) <= 0.2)


def test_too_few_prompts_promise_nothing():
    tokens = simulate(np.random.default_rng(21), num_prompts=5)
    for method in ("betting", "hoeffding", "conformal"):
        promise = promises.guaranteed_threshold(tokens, 0.02, method=method)
        assert promise.threshold == NEVER_SKIP
        assert promise.risk == 0.0
        assert promise.skip_rate == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0.0}, r"budget must lie in \(0, 1\); got 0"),
        ({"budget": 1.0}, r"budget must lie in \(0, 1\); got 1"),
        ({"budget": 0.1, "failure_probability": 0.0}, r"failure_probability must lie in \(0, 1\); got 0"),
        ({"budget": 0.1, "method": "magic"}, "method must be betting, hoeffding or conformal; got 'magic'"),
        ({"budget": 0.1, "max_tokens": 24}, "max_tokens must be at least 25, the longest prompt's; got 24"),
    ],
)
def test_a_promise_refuses_what_it_cannot_be_made_from(options, message):
    tokens = simulate(np.random.default_rng(22), num_prompts=10)
    with pytest.raises(ValueError, match=message):
        promises.guaranteed_threshold(tokens, **options)


def _true_risk(threshold, curve, law):
    """Risk a token at a threshold, from many prompts of the same law (lengths included)."""
    return np.mean(curve(law.uncertainty) * (law.uncertainty <= threshold))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["betting", "hoeffding", "conformal"])
@pytest.mark.parametrize("varying", [False, True])
def test_promises_are_broken_no_more_often_than_they_say(method, varying):
    rng = np.random.default_rng(40 + varying)
    budget, delta, repeats, prompts = 0.1, 0.2, 400, 60

    def curve(u):
        return 0.6 * u

    def draw(num):
        lengths = rng.integers(2, 13, size=num) if varying else np.full(num, 12)
        return simulate(rng, num_prompts=num, lengths=lengths)

    law = draw(40_000)
    risks = np.array(
        [
            _true_risk(
                promises.guaranteed_threshold(
                    draw(prompts), budget, failure_probability=delta, method=method, max_tokens=12
                ).threshold,
                curve,
                law,
            )
            for _ in range(repeats)
        ]
    )
    if not (varying and method == "hoeffding"):  # that one pays for the prompts' unused tokens
        assert risks.mean() > 0.2 * budget  # the promise is not empty
    if method == "conformal":
        assert risks.mean() <= budget + 3 * risks.std() / np.sqrt(repeats)
    else:
        assert np.mean(risks > budget) <= delta + 3 * np.sqrt(delta * (1 - delta) / repeats)


def test_a_file_sorted_by_topic_does_not_break_the_promise():
    """Half of the prompts are easy and come first; risk at t is 0.525 t^2 / 2."""
    rng = np.random.default_rng(42)
    budget, delta, repeats, prompts, length = 0.1, 0.2, 60, 60, 12
    prompt = np.repeat(np.arange(prompts), length)
    broken = 0
    for _ in range(repeats):
        hard = np.sort(rng.uniform(size=prompts) < 0.5)
        u = rng.uniform(size=prompt.size)
        tokens = Tokens(uncertainty=u, rejection=np.where(hard[prompt], u, 0.05 * u), prompt=prompt)
        promise = promises.guaranteed_threshold(tokens, budget, failure_probability=delta)
        assert promise.threshold > 0.3  # the promise is not empty
        broken += 0.525 * promise.threshold**2 / 2 > budget
    assert broken <= delta * repeats + 3 * np.sqrt(delta * (1 - delta) * repeats)


def test_prompts_too_short_for_their_cap_promise_nothing_that_was_not_tested():
    u = np.linspace(0.0, 1.0, 60)
    tokens = Tokens(uncertainty=u, rejection=np.zeros(60), prompt=np.arange(60) // 2)
    assert promises.guaranteed_threshold(tokens, 0.1, max_tokens=2).threshold == 1.0
    assert promises.guaranteed_threshold(tokens, 0.1, max_tokens=2000).threshold == NEVER_SKIP


def test_transfer_to_the_same_tokens_promises_what_it_has():
    tokens = simulate(np.random.default_rng(23))
    rows = promises.transfer(tokens, tokens, budgets=[0.05])
    assert [(row.rule, row.budget) for row in rows] == [
        ("risk_averse", None),
        ("line", 0.05),
        ("empirical", 0.05),
        ("guaranteed", 0.05),
    ]
    empirical = rows[2]
    assert empirical.risk_promised == pytest.approx(empirical.risk_had)
    assert empirical.skip_rate_promised == empirical.skip_rate_had
    assert empirical.kept
    assert rows[3].risk_had < 0.05
    assert rows[3].risk_promised == 0.05
    expected = fit_line(tokens.uncertainty, tokens.rejection)(tokens.uncertainty)
    assert (
        rows[1].threshold == Recorded(tokens.uncertainty, expected).within(0.05, split_ties=False).threshold
    )
    assert rows[1].risk_promised <= 0.05


def test_transfer_to_a_worse_pair_shows_the_broken_promise():
    first = simulate(np.random.default_rng(24), curve=lambda u: 0.3 * u)
    second = simulate(np.random.default_rng(25), curve=lambda u: 0.9 * u)
    rows = {row.rule: row for row in promises.transfer(first, second, budgets=[0.05])}
    row = rows["empirical"]
    skipped = second.uncertainty <= row.threshold
    assert row.risk_had == pytest.approx(np.mean(second.rejection * skipped))
    assert row.skip_rate_had == pytest.approx(np.mean(skipped))
    assert row.skip_rate_promised == pytest.approx(np.mean(first.uncertainty <= row.threshold))
    assert row.risk_had_ci95[0] < row.risk_had < row.risk_had_ci95[1]
    assert row.risk_had_ci95[0] > 0.05
    assert not row.kept
    assert not rows["line"].kept


def test_a_falling_line_transfers_no_risk_averse_threshold():
    tokens = simulate(np.random.default_rng(26), curve=lambda u: 0.7 - 0.5 * u)
    assert "risk_averse" not in [row.rule for row in promises.transfer(tokens, tokens, budgets=[0.1])]


def test_groups_split_by_prompt_and_keep_every_token():
    tokens = simulate(np.random.default_rng(27), num_prompts=6, length=4)
    parts = promises.by_group(tokens, ["b", "a", "b", "b", "a", "b"])
    assert list(parts) == ["a", "b"]
    assert set(parts["a"].prompt) == {1, 4}
    assert set(parts["b"].prompt) == {0, 2, 3, 5}
    chosen = np.isin(tokens.prompt, [1, 4])
    np.testing.assert_array_equal(parts["a"].uncertainty, tokens.uncertainty[chosen])
    np.testing.assert_array_equal(parts["a"].rejection, tokens.rejection[chosen])
    with pytest.raises(ValueError, match="group must label every prompt; got 2 for prompt 5"):
        promises.by_group(tokens, ["a", "b"])
    with pytest.raises(ValueError, match="prompt is missing"):
        promises.by_group(Tokens(uncertainty=np.array([0.1]), rejection=np.array([0.1])), ["a"])


@pytest.mark.parametrize(
    "call",
    [
        promises.threshold_intervals,
        lambda t: promises.guaranteed_threshold(t, 0.1),
        lambda t: promises.transfer(t, t),
    ],
)
def test_what_needs_prompts_says_so(call):
    with pytest.raises(ValueError, match="prompt is missing"):
        call(Tokens(uncertainty=np.array([0.1, 0.9]), rejection=np.array([0.1, 0.9])))
