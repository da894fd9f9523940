"""Rejection models: each recovers its own truth; budgets hold on unseen prompts; promises are kept."""

import numpy as np
import pytest
from scipy import stats
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression, LogisticRegression

from calibration import rejection_models as models
from cuhlm_theory.errors import CuhlmError
from cuhlm_theory.parameters import Tokens


def simulate(rng, num_prompts=80, length=25, curve=lambda u: 0.6 * u, spread=0.1, lengths=None):
    """Draw tokens with E[beta | u] = curve(u); beta is 0 or 1 with it, prompts differ in their u."""
    lengths = np.full(num_prompts, length) if lengths is None else lengths
    prompt = np.repeat(np.arange(num_prompts), lengths)
    centre = rng.uniform(0.3, 0.7, size=num_prompts)[prompt]
    u = np.clip(centre + rng.uniform(-0.3, 0.3, size=prompt.size), 0.0, 1.0)
    mean = np.clip(curve(u), 0.0, 1.0)
    size = 4.0
    beta = np.where(mean > 0.0, rng.beta(np.maximum(mean, 1e-6) * size, (1.0 - mean) * size + 1e-9), 0.0)
    return Tokens(uncertainty=u, rejection=np.clip(beta, 0.0, 1.0), prompt=prompt)


def test_the_line_is_that_of_linear_regression_and_is_clipped():
    tokens = simulate(np.random.default_rng(0), curve=lambda u: 1.4 * u - 0.4)
    u, beta = tokens.uncertainty, tokens.rejection
    model = models.fit_line(u, beta)
    truth = LinearRegression().fit(u[:, None], beta)
    assert model.parameters["slope"] == pytest.approx(truth.coef_[0], abs=1e-10)
    assert model.parameters["intercept"] == pytest.approx(truth.intercept_, abs=1e-10)
    steep = models.fit_line([0.4, 0.6], [0.0, 1.0])
    np.testing.assert_allclose(steep.predict([[0.0, 0.45], [0.5, 1.0]]), [[0.0, 0.25], [0.5, 1.0]], atol=1e-9)


def test_the_weighted_line_solves_its_own_weighted_problem():
    tokens = simulate(np.random.default_rng(1), curve=lambda u: 0.9 * u**2)
    u, beta = tokens.uncertainty, tokens.rejection
    model = models.fit_weighted_line(u, beta)
    fitted = model.predict(u)
    weight = 1.0 / np.maximum(fitted * (1.0 - fitted), 0.01)
    truth = LinearRegression().fit(u[:, None], beta, sample_weight=weight)
    assert model.parameters["slope"] == pytest.approx(truth.coef_[0], abs=5e-3)
    assert model.parameters["intercept"] == pytest.approx(truth.intercept_, abs=5e-3)
    plain = models.fit_line(u, beta)
    assert abs(model.parameters["slope"] - plain.parameters["slope"]) > 0.02


def test_the_clipped_line_has_the_least_error_of_all_lines_on_a_grid():
    tokens = simulate(np.random.default_rng(2), curve=lambda u: 1.6 * u - 0.6)
    u, beta = tokens.uncertainty, tokens.rejection
    model = models.fit_clipped_line(u, beta)

    def error(slope, intercept):
        return np.mean((np.clip(slope * u + intercept, 0.0, 1.0) - beta) ** 2)

    best = error(**model.parameters)
    assert best < error(**models.fit_line(u, beta).parameters) - 1e-5
    for slope in np.linspace(1.0, 2.2, 25):
        for intercept in np.linspace(-1.0, -0.2, 25):
            assert best <= error(slope, intercept) + 1e-6


@pytest.mark.parametrize(("slope", "intercept"), [(3.0, -1.0), (1.2, 0.3), (2.0, -0.7)])
def test_the_clipped_line_sees_through_the_clip_at_both_ends(slope, intercept):
    u = np.linspace(0.0, 1.0, 400)
    model = models.fit_clipped_line(u, np.clip(slope * u + intercept, 0.0, 1.0))
    assert model.parameters["slope"] == pytest.approx(slope, abs=1e-3)
    assert model.parameters["intercept"] == pytest.approx(intercept, abs=1e-3)


def test_the_corrected_line_recovers_the_slope_on_the_mean_uncertainty():
    rng = np.random.default_rng(3)
    mean = rng.uniform(size=60_000)
    beta = 0.7 * mean + 0.1
    noisy = rng.binomial(5, mean) / 5
    model = models.fit_corrected_line(noisy, 5, beta)
    assert model.name == "corrected_line"
    assert model.parameters["slope"] == pytest.approx(0.7, abs=0.01)
    assert model.parameters["intercept"] == pytest.approx(0.1, abs=0.01)
    assert models.fit_line(noisy, beta).parameters["slope"] < 0.55
    assert 0.6 < model.parameters["factor"] < 0.8
    with pytest.raises(CuhlmError, match="u at 2 draws is all sampling noise"):
        models.fit_corrected_line([0.5, 0.5, 0.0, 1.0], 2, [0.1, 0.2, 0.3, 0.4])


def test_the_quadratic_recovers_a_parabola_and_is_clipped():
    u = np.linspace(0.0, 1.0, 60)
    model = models.fit_quadratic(u, 0.1 + 0.2 * u + 0.5 * u**2)
    assert [model.parameters[f"c{p}"] for p in range(3)] == pytest.approx([0.1, 0.2, 0.5], abs=1e-9)
    assert models.fit_quadratic([0.0, 0.5, 1.0], [0.5, 0.0, 0.5]).predict(0.5) == pytest.approx(
        0.0, abs=1e-12
    )
    assert models.fit_quadratic([0.0, 0.1, 0.2], [0.0, 0.4, 1.0]).predict(1.0) == 1.0
    with pytest.raises(CuhlmError, match="a quadratic needs 3 values of u; got 2"):
        models.fit_quadratic([0.0, 1.0], [0.0, 1.0])


def test_the_logistic_curve_is_that_of_sklearn_on_split_tokens():
    tokens = simulate(np.random.default_rng(4))
    u, beta = tokens.uncertainty, tokens.rejection
    model = models.fit_logistic(u, beta)
    both = LogisticRegression(C=1e10, tol=1e-10, max_iter=10_000).fit(
        np.concatenate([u, u])[:, None],
        np.repeat([1, 0], u.size),
        sample_weight=np.concatenate([beta, 1.0 - beta]),
    )
    assert model.parameters["slope"] == pytest.approx(both.coef_[0, 0], rel=1e-3)
    assert model.parameters["intercept"] == pytest.approx(both.intercept_[0], rel=1e-3)
    np.testing.assert_allclose(model.predict([0.3]), both.predict_proba([[0.3]])[:, 1], atol=1e-4)


def test_the_isotonic_curve_is_that_of_sklearn():
    rng = np.random.default_rng(5)
    u = rng.integers(0, 30, size=400) / 29
    beta = rng.uniform(size=400) * u
    model = models.fit_isotonic(u, beta)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(u, beta)
    points = np.linspace(0.0, 1.0, 77)
    np.testing.assert_allclose(model.predict(points), theirs.predict(points), atol=1e-10)


def test_every_model_of_the_table_fits_under_its_own_name():
    tokens = simulate(np.random.default_rng(6))
    for name, fit in models.MODELS.items():
        model = fit(tokens.uncertainty, tokens.rejection)
        assert model.name == name
        assert model.predict(np.array([[0.1], [0.9]])).shape == (2, 1)


@pytest.mark.parametrize("fit", [models.fit_line, models.fit_weighted_line, models.fit_clipped_line])
def test_lines_refuse_tokens_that_do_not_vary(fit):
    with pytest.raises(CuhlmError, match=r"a line needs u to vary; got 0\.2"):
        fit([0.2, 0.2], [0.1, 0.4])


@pytest.mark.parametrize(
    ("u", "beta", "message"),
    [
        ([0.1, 1.2], [0.0, 0.1], r"uncertainty must lie in \[0, 1\]; got 1.2"),
        ([0.1, 0.2], [0.0, -0.1], r"rejection must lie in \[0, 1\]; got -0.1"),
        ([0.1, 0.2], [0.0], r"must have one shape \[N\]"),
        ([], [], r"N at least 1"),
    ],
)
def test_models_refuse_what_is_not_a_sample(u, beta, message):
    with pytest.raises(ValueError, match=message):
        models.fit_line(u, beta)


def test_the_risk_threshold_is_the_best_by_brute_force():
    rng = np.random.default_rng(7)
    for _ in range(50):
        u = rng.integers(0, 8, size=20) / 7
        beta = rng.uniform(size=20) * rng.integers(0, 2, size=20)
        budget = rng.uniform(0.0, 0.4)
        allowed = [t for t in [models.NEVER_SKIP, *u] if np.mean(beta * (u <= t)) <= budget + 1e-12]
        assert models.risk_threshold(u, beta, budget) == max(allowed)


def test_a_budget_may_be_met_exactly_or_by_nothing():
    assert models.risk_threshold([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], 0.1) == 0.2
    assert models.risk_threshold([0.1, 0.2], [0.5, 0.5], 0.2) == models.NEVER_SKIP
    assert models.risk_threshold([0.1, 0.2], [0.0, 1.0], 0.0) == 0.1
    with pytest.raises(ValueError, match=r"budget must lie in \[0, 1\]; got 1.5"):
        models.risk_threshold([0.1], [0.1], 1.5)


def test_cross_validation_prefers_the_true_shape_and_keeps_prompts_apart():
    tokens = simulate(np.random.default_rng(8), num_prompts=120, curve=lambda u: 0.9 * u**3)
    noisy = np.random.default_rng(9).binomial(20, tokens.uncertainty) / 20
    rows = models.cross_validate(tokens, budgets=[0.05], sampled=(noisy, 20), num_repeats=2)
    by_name = {row.name: row for row in rows}
    assert list(by_name) == [*models.MODELS, "corrected_line", "empirical"]
    floor = np.mean(tokens.rejection * (1 - tokens.rejection))
    for name in ("quadratic", "logistic", "isotonic"):
        assert by_name[name].brier_over_line < 0.0
        assert by_name[name].brier_over_line_ci95[1] < 0.0
        assert by_name[name].brier_over_line == pytest.approx(by_name[name].brier - by_name["line"].brier)
    assert by_name["line"].brier_over_line == 0.0
    for name in (*models.MODELS, "corrected_line"):
        row = by_name[name]
        assert floor < row.brier < 0.25
        assert row.brier_ci95[0] < row.brier < row.brier_ci95[1]
    assert np.isnan(by_name["empirical"].brier)
    assert by_name["empirical"].brier_ci95 is None
    assert by_name["empirical"].risk == pytest.approx(0.05, abs=0.006)
    assert by_name["isotonic"].risk == pytest.approx(0.05, abs=0.006)
    # the line of a convex curve promises too much risk in the middle and so skips too little, or the reverse
    assert abs(by_name["line"].threshold - by_name["empirical"].threshold) > 0.02
    assert 0.2 < by_name["empirical"].violation_rate < 0.8


def test_the_brier_score_is_that_of_simulated_coins():
    tokens = simulate(np.random.default_rng(10), num_prompts=40)
    row = models.cross_validate(tokens, budgets=[0.1], num_repeats=1)[0]
    rng = np.random.default_rng(11)
    line = models.fit_line(tokens.uncertainty, tokens.rejection).predict(tokens.uncertainty)
    coins = rng.uniform(size=(4000, line.size)) < tokens.rejection
    scores = np.mean((coins - line) ** 2, axis=1)
    assert row.brier == pytest.approx(scores.mean(), abs=0.002)
    assert row.brier > scores.mean()  # held out is worse than in sample


def test_a_prompt_that_repeats_its_tokens_does_not_leak_into_its_own_fold():
    rng = np.random.default_rng(12)
    prompt = np.repeat(np.arange(30), 20)
    u = rng.uniform(size=30)[prompt]
    beta = rng.uniform(size=30)[prompt]  # a prompt's level, unrelated to its u
    tokens = Tokens(uncertainty=u, rejection=beta, prompt=prompt)
    rows = {row.name: row for row in models.cross_validate(tokens, budgets=[0.1], num_repeats=3)}
    constant = np.mean(beta * (1 - beta.mean()) ** 2 + (1 - beta) * beta.mean() ** 2)
    assert rows["isotonic"].brier > 0.97 * constant  # with leakage it would be near the within-prompt score


def test_the_same_seed_gives_the_same_folds():
    tokens = simulate(np.random.default_rng(13), num_prompts=20, length=10)
    first = models.cross_validate(tokens, budgets=[0.1], num_repeats=1, seed=3)
    assert repr(first) == repr(models.cross_validate(tokens, budgets=[0.1], num_repeats=1, seed=3))
    assert repr(first) != repr(models.cross_validate(tokens, budgets=[0.1], num_repeats=1, seed=4))


def test_cross_validation_refuses_too_few_prompts():
    tokens = Tokens(uncertainty=np.array([0.1, 0.9]), rejection=np.array([0.1, 0.9]), prompt=np.array([0, 1]))
    with pytest.raises(ValueError, match="num_folds must be at most the number of prompts, 2; got 5"):
        models.cross_validate(tokens)


@pytest.mark.parametrize(
    "call",
    [
        models.cross_validate,
        models.monotonicity,
        models.threshold_intervals,
        lambda t: models.guaranteed_threshold(t, 0.1),
        lambda t: models.transfer(t, t),
    ],
)
def test_what_needs_prompts_says_so(call):
    with pytest.raises(ValueError, match="prompt is missing"):
        call(Tokens(uncertainty=np.array([0.1, 0.9]), rejection=np.array([0.1, 0.9])))


def test_monotonicity_is_refuted_where_it_fails_and_only_there():
    rising = models.monotonicity(simulate(np.random.default_rng(14)), num_resamples=500)
    assert rising.p_value > 0.05
    hump = models.monotonicity(
        simulate(np.random.default_rng(15), curve=lambda u: 0.5 - 1.5 * (u - 0.5) ** 2), num_resamples=500
    )
    assert hump.p_value < 0.01
    assert hump.distance > rising.distance
    assert np.all(np.diff(hump.isotonic) >= 0.0)
    assert np.all(np.diff(hump.uncertainty) > 0.0)
    flat = models.monotonicity(simulate(np.random.default_rng(16), curve=lambda u: 0.3 + 0 * u))
    assert flat.p_value > 0.05  # a constant is non-decreasing


def test_bins_hold_the_means_of_their_tokens_and_equal_values_share_one():
    u = np.repeat([0.0, 0.5, 1.0], [60, 30, 10])
    beta = np.repeat([0.1, 0.3, 0.2], [60, 30, 10])
    test = models.monotonicity(
        Tokens(uncertainty=u, rejection=beta, prompt=np.arange(100) % 10), num_resamples=50
    )
    assert test.uncertainty.tolist() == [0.0, 0.5, 1.0]
    np.testing.assert_allclose(test.rejection, [0.1, 0.3, 0.2])
    pooled = (0.3 * 30 + 0.2 * 10) / 40
    np.testing.assert_allclose(test.isotonic, [0.1, pooled, pooled])
    expected = (30 * (0.3 - pooled) ** 2 + 10 * (0.2 - pooled) ** 2) / 100
    assert test.distance == pytest.approx(expected)


def test_thresholds_agree_with_their_formulas_and_their_intervals_hold_them():
    tokens = simulate(np.random.default_rng(17), curve=lambda u: np.maximum(0.8 * u - 0.1, 0.0))
    u, beta = tokens.uncertainty, tokens.rejection
    rows = {
        row.name: row
        for row in models.threshold_intervals(
            tokens, budgets=[0.02, 0.1], cost_ratios=[0.2, 5.0], num_resamples=600
        )
    }
    line = stats.linregress(u, beta)
    assert rows["risk_averse"].threshold == pytest.approx(-line.intercept / line.slope)
    assert rows["risk_prone"].threshold == pytest.approx((np.mean(beta > 0) - line.intercept) / line.slope)
    assert rows["cost_optimal 0.2"].threshold == pytest.approx((0.2 - line.intercept) / line.slope)
    assert rows["cost_optimal 5"].threshold == 1.0
    for budget in (0.02, 0.1):
        row = rows[f"risk_budget {budget:g}"]
        assert row.threshold == models.risk_threshold(u, beta, budget)
    for row in rows.values():
        low, high = row.threshold_ci95
        assert low <= row.threshold <= high
        assert high - low < 0.3


def test_a_promise_is_kept_on_the_calibration_prompts_and_is_careful():
    tokens = simulate(np.random.default_rng(18), num_prompts=200)
    empirical = models.risk_threshold(tokens.uncertainty, tokens.rejection, 0.08)
    found = {}
    for method in ("betting", "hoeffding", "conformal"):
        promise = models.guaranteed_threshold(tokens, 0.08, method=method)
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
    surer = models.guaranteed_threshold(tokens, 0.08, failure_probability=0.01)
    assert surer.threshold < found["betting"].threshold


def test_the_conformal_threshold_is_the_largest_that_its_inequality_allows():
    tokens = simulate(np.random.default_rng(19), num_prompts=50, length=10)
    promise = models.guaranteed_threshold(tokens, 0.06, method="conformal")
    u, beta = tokens.uncertainty, tokens.rejection
    allowed = [t for t in u if (50 * np.mean(beta * (u <= t)) + 1) / 51 <= 0.06]
    assert promise.threshold == max(allowed)


def test_the_hoeffding_threshold_is_the_largest_that_its_inequality_allows():
    tokens = simulate(np.random.default_rng(20), num_prompts=90, length=10)
    promise = models.guaranteed_threshold(tokens, 0.1, method="hoeffding", failure_probability=0.2)
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
        promise = models.guaranteed_threshold(tokens, 0.02, method=method)
        assert promise.threshold == models.NEVER_SKIP
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
        models.guaranteed_threshold(tokens, **options)


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
                models.guaranteed_threshold(
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


def test_transfer_to_the_same_tokens_promises_what_it_has():
    tokens = simulate(np.random.default_rng(23))
    rows = models.transfer(tokens, tokens, budgets=[0.05])
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
    line = models.fit_line(tokens.uncertainty, tokens.rejection)
    expected = line.predict(tokens.uncertainty)
    assert rows[1].threshold == models.risk_threshold(tokens.uncertainty, expected, 0.05)
    assert rows[1].risk_promised <= 0.05


def test_transfer_to_a_worse_pair_shows_the_broken_promise():
    first = simulate(np.random.default_rng(24), curve=lambda u: 0.3 * u)
    second = simulate(np.random.default_rng(25), curve=lambda u: 0.9 * u)
    rows = {row.rule: row for row in models.transfer(first, second, budgets=[0.05])}
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
    assert "risk_averse" not in [row.rule for row in models.transfer(tokens, tokens, budgets=[0.1])]


def test_groups_split_by_prompt_and_keep_every_token():
    tokens = simulate(np.random.default_rng(27), num_prompts=6, length=4)
    parts = models.by_group(tokens, ["b", "a", "b", "b", "a", "b"])
    assert list(parts) == ["a", "b"]
    assert set(parts["a"].prompt) == {1, 4}
    assert set(parts["b"].prompt) == {0, 2, 3, 5}
    chosen = np.isin(tokens.prompt, [1, 4])
    np.testing.assert_array_equal(parts["a"].uncertainty, tokens.uncertainty[chosen])
    np.testing.assert_array_equal(parts["a"].rejection, tokens.rejection[chosen])
    with pytest.raises(ValueError, match="group must label every prompt; got 2 for prompt 5"):
        models.by_group(tokens, ["a", "b"])
    with pytest.raises(ValueError, match="prompt is missing"):
        models.by_group(Tokens(uncertainty=np.array([0.1]), rejection=np.array([0.1])), ["a"])


def _best_skip_rate(score, beta, risk):
    """Walk through the tokens, ties averaged over their orders, and stop where the risk is spent."""
    groups = [np.flatnonzero(score == value) for value in np.unique(score)]
    spent = skipped = 0.0
    for group in groups:
        loss = beta[group].sum() / beta.size
        if spent + loss > risk + 1e-15:
            return skipped + group.size / beta.size * (risk - spent) / loss
        spent, skipped = spent + loss, skipped + group.size / beta.size
    return skipped


def test_the_skip_rate_at_a_risk_is_that_of_a_walk_through_the_tokens():
    rng = np.random.default_rng(28)
    for _ in range(40):
        score = rng.integers(0, 7, size=25) / 6
        beta = rng.uniform(size=25) * rng.integers(0, 2, size=25)
        risk = rng.uniform(0.0, 0.5)
        assert models.skip_rate_at_risk(score, beta, risk) == pytest.approx(
            _best_skip_rate(score, beta, risk)
        )
        weights = rng.integers(0, 3, size=(2, 25))
        for row, found in zip(weights, models.skip_rate_at_risk(score, beta, risk, weights), strict=True):
            expected = _best_skip_rate(np.repeat(score, row), np.repeat(beta, row), risk)
            assert found == pytest.approx(expected)
    assert models.skip_rate_at_risk([0.1, 0.2], [0.0, 0.5], 1.0) == 1.0
    with pytest.raises(ValueError, match=r"risk must lie in \[0, 1\]; got 2"):
        models.skip_rate_at_risk([0.1], [0.0], 2.0)


def test_a_line_costs_nothing_where_rejections_rise_and_much_where_they_fall():
    rising = models.line_against_isotonic(simulate(np.random.default_rng(29)), risks=[0.05, 0.1])
    for row in rising:
        assert row.skip_rate_line > 0.1
        assert row.lost == pytest.approx(row.skip_rate_isotonic - row.skip_rate_line)
        assert abs(row.lost) < 0.03
    falling = simulate(np.random.default_rng(30), curve=lambda u: np.where(u < 0.5, 0.5, 0.02))
    flat = models.line_against_isotonic(falling, risks=[0.1])[0]
    assert flat.lost > 0.0
    assert flat.lost_ci95[0] <= flat.lost <= flat.lost_ci95[1]
    assert flat.lost_ci95[0] > 0.0
    with pytest.raises(ValueError, match="num_folds must be at most the number of prompts, 80; got 81"):
        models.line_against_isotonic(falling, num_folds=81)
    with pytest.raises(ValueError, match="prompt is missing"):
        models.line_against_isotonic(Tokens(uncertainty=np.array([0.1]), rejection=np.array([0.1])))
