"""Rejection models: each recovers its own truth, and they are compared on prompts they have not seen."""

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression, LogisticRegression

from calibration import rejection_models as models
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import CuhlmError
from tests.prompts_law import simulate


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
    with pytest.raises(CuhlmError, match=r"no slope: all 2 tokens have uncertainty 0\.2"):
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


@pytest.mark.parametrize("num_repeats", [1, 3])
def test_a_line_that_is_the_truth_is_found_in_every_fold_and_their_mean_is_scored(num_repeats):
    u = np.random.default_rng(5).uniform(size=200)
    beta = 0.2 + 0.5 * u
    tokens = Tokens(uncertainty=u, rejection=beta, prompt=np.arange(200) // 10)
    rows = models.cross_validate(tokens, budgets=[0.1], num_repeats=num_repeats, num_resamples=50)
    line = next(row for row in rows if row.name == "line")
    assert line.brier == pytest.approx(np.mean(beta * (1.0 - beta)), rel=1e-9)


@pytest.mark.parametrize("named", ["num_repeats", "num_folds"])
def test_what_is_refused_of_the_folds_is_named(named):
    tokens = simulate(np.random.default_rng(8), num_prompts=12, curve=lambda u: 0.5 * u)
    with pytest.raises(ValueError, match=f"^{named} must "):
        models.cross_validate(tokens, **{named: 0})


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
        models.line_against_isotonic,
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
