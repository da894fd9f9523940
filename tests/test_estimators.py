"""Estimators side by side: each statistic by an independent route, attenuation where the truth is known."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import r2_score

from calibration import estimators
from cuhlm_theory import uncertainty as theory
from cuhlm_theory.errors import MissingInputError


def _area_by_steps(score, beta):
    """Mean over token ranks of the mean rejection so far, on tokens repeated so finely that steps vanish."""
    fine = 400
    order = np.argsort(score, kind="stable")
    repeated = np.repeat(beta[order], fine)
    return np.mean(np.cumsum(repeated) / (np.arange(repeated.size) + 1.0))


def test_measures_point_the_same_way_and_have_known_values():
    columns = {
        "uncertainty": [0.1],
        "rejection": [0.3],
        "sampled_uncertainty": [0.15],
        "sampled_uncertainty_1": [1.0],
        "sampled_uncertainty_5": [0.2],
        "sampled_uncertainty_100": [0.11],
        "entropy": [np.log(10.0)],
        "max_prob": [0.6],
        "draft_prob": [0.25],
        "margin": [0.45],
        "tv": [0.9],
        "dropout_uncertainty": [0.12],
        "paraphrase_uncertainty": [0.13],
    }
    found = estimators.measures(columns, 100)
    assert {name: round(float(value[0]), 12) for name, value in found.items()} == {
        "mean_uncertainty": 0.1,
        "sampled_uncertainty_1": 1.0,
        "sampled_uncertainty_5": 0.2,
        "sampled_uncertainty_20": 0.15,
        "dropout_uncertainty": 0.12,
        "paraphrase_uncertainty": 0.13,
        "sampled_uncertainty_100": 0.11,
        "entropy": 0.5,
        "one_minus_max_prob": 0.4,
        "one_minus_draft_prob": 0.75,
        "one_minus_margin": 0.55,
        "genie": 0.3,
    }


@pytest.mark.parametrize("missing", ["uncertainty", "rejection"])
def test_refuses_a_trace_without_what_is_compared(missing):
    columns = {"uncertainty": [0.1], "rejection": [0.3]}
    del columns[missing]
    with pytest.raises(MissingInputError, match=f"must hold the column {missing}"):
        estimators.measures(columns, 100)


def test_refuses_a_vocabulary_of_one():
    with pytest.raises(ValueError, match="vocab_size must be at least 2; got 1"):
        estimators.measures({"uncertainty": [0.1], "rejection": [0.3]}, 1)


def test_area_agrees_with_a_fine_sum_over_the_curve():
    rng = np.random.default_rng(0)
    score, beta = rng.uniform(size=60), rng.uniform(size=60)
    assert estimators.risk_coverage_area(score, beta) == pytest.approx(_area_by_steps(score, beta), abs=2e-3)


def test_area_of_ties_is_the_mean_over_their_orders():
    rng = np.random.default_rng(1)
    score = np.repeat([0.1, 0.4, 0.8], 8)
    beta = rng.uniform(size=24)
    sums = []
    for _ in range(2000):
        mixed = rng.permutation(24)
        sums.append(estimators.risk_coverage_area(score[mixed] + 1e-6 * np.arange(24), beta[mixed]))
    error = np.std(sums) / np.sqrt(2000)
    assert abs(estimators.risk_coverage_area(score, beta) - np.mean(sums)) < 4 * error


def test_area_is_least_for_the_genie_and_the_mean_for_a_constant():
    rng = np.random.default_rng(2)
    beta = rng.uniform(size=200)
    genie = estimators.risk_coverage_area(beta, beta)
    assert genie < estimators.risk_coverage_area(rng.uniform(size=200), beta)
    assert genie < beta.mean() < estimators.risk_coverage_area(-beta, beta)
    assert estimators.risk_coverage_area(np.zeros(200), beta) == pytest.approx(beta.mean(), abs=1e-12)


def test_weights_repeat_tokens_in_every_statistic():
    rng = np.random.default_rng(3)
    score, beta = rng.integers(0, 6, size=30) / 5, rng.uniform(size=30)
    weights = rng.integers(0, 4, size=(3, 30))
    for row, area, rank in zip(
        weights,
        estimators.risk_coverage_area(score, beta, weights),
        estimators.spearman_correlation(score, beta, weights),
        strict=True,
    ):
        s, b = np.repeat(score, row), np.repeat(beta, row)
        assert area == pytest.approx(estimators.risk_coverage_area(s, b), abs=1e-12)
        assert rank == pytest.approx(stats.spearmanr(s, b).statistic, abs=1e-12)


def test_spearman_of_a_constant_is_undefined():
    assert np.isnan(estimators.spearman_correlation([1.0, 1.0], [0.0, 1.0]))


def test_rows_hold_the_textbook_statistics_of_each_measure():
    rng = np.random.default_rng(4)
    u = rng.uniform(size=500)
    beta = np.clip(0.7 * u + rng.normal(scale=0.2, size=500), 0.0, 1.0)
    prompt = np.arange(500) // 10
    scores = {"u": u, "noise": rng.uniform(size=500), "genie": beta}
    rows = estimators.side_by_side(scores, beta, prompt, num_resamples=300, seed=1)
    assert [row.name for row in rows] == ["u", "noise", "genie"]
    for row in rows:
        score = scores[row.name]
        line = stats.linregress(score, beta)
        assert row.pearson == pytest.approx(line.rvalue, abs=1e-10)
        assert row.spearman == pytest.approx(stats.spearmanr(score, beta).statistic, abs=1e-10)
        assert row.r_squared == pytest.approx(r2_score(beta, line.intercept + line.slope * score), abs=1e-10)
        assert row.risk_coverage_area == pytest.approx(estimators.risk_coverage_area(score, beta), abs=1e-12)
        assert row.excess_area == pytest.approx(row.risk_coverage_area - rows[2].risk_coverage_area)
    informed, noise, genie = rows
    for name in ("pearson", "spearman", "r_squared", "risk_coverage_area", "excess_area"):
        low, high = getattr(informed, f"{name}_ci95")
        assert low < getattr(informed, name) < high
    assert noise.pearson_ci95[0] < 0.0 < noise.pearson_ci95[1]
    assert genie.excess_area == 0.0
    assert genie.excess_area_ci95 == (0.0, 0.0)
    assert informed.excess_area_ci95[0] > 0.0
    again = estimators.side_by_side({"u": u}, beta, prompt, num_resamples=300, seed=1)[0]
    assert again == informed
    assert estimators.side_by_side({"u": u}, beta, prompt, num_resamples=300, seed=2)[0] != informed


def test_an_interval_of_pearson_has_the_width_that_fisher_gives_independent_tokens():
    rng = np.random.default_rng(8)
    u = rng.uniform(size=500)
    beta = np.clip(0.5 + 0.3 * (u - 0.5) + rng.normal(scale=0.1, size=500), 0.0, 1.0)
    row = estimators.side_by_side({"u": u}, beta, np.arange(500), num_resamples=1500)[0]
    fisher = np.tanh(np.arctanh(row.pearson) + np.array([-1.96, 1.96]) / np.sqrt(497))
    assert row.pearson_ci95[1] - row.pearson_ci95[0] == pytest.approx(np.ptp(fisher), rel=0.12)


@pytest.mark.parametrize("num_samples", [2, 5, 20])
def test_reliability_from_samples_alone_finds_the_attenuation_factor(num_samples):
    rng = np.random.default_rng(num_samples)
    mean = rng.beta(0.6, 1.4, size=100_000)
    u = rng.binomial(num_samples, mean) / num_samples
    truth = theory.attenuation_factor(mean, num_samples)
    assert estimators.reliability(u, num_samples) == pytest.approx(truth, abs=0.01)


def test_reliability_is_negative_when_the_draws_vary_less_than_coins():
    assert estimators.reliability([0.4, 0.6], 2) < 0.0


def test_reliability_refuses_one_draw_and_constant_tokens():
    with pytest.raises(ValueError, match="num_samples must be at least 2; got 1"):
        estimators.reliability([0.0, 1.0], 1)
    with pytest.raises(ValueError, match="sampled must vary between tokens; got a variance of 0"):
        estimators.reliability([0.5, 0.5], 4)


def _sampled_world(rng, num_samples):
    mean = rng.beta(0.6, 1.4, size=(120, 40))
    beta = np.clip(0.75 * mean + 0.05 + rng.normal(scale=0.05, size=mean.shape), 0.0, 1.0)
    u = rng.binomial(num_samples, mean) / num_samples
    return mean.reshape(-1), u.reshape(-1), beta.reshape(-1), np.repeat(np.arange(120), 40)


@pytest.mark.parametrize("num_samples", [1, 5, 20, 100])
def test_attenuation_is_predicted_by_the_theory_and_measured_by_regression(num_samples):
    mean, u, beta, prompt = _sampled_world(np.random.default_rng(70 + num_samples), num_samples)
    row = estimators.attenuation(mean, u, num_samples, beta, prompt)
    line, clean = stats.linregress(u, beta), stats.linregress(mean, beta)
    assert row.num_samples == num_samples
    assert row.factor == pytest.approx(theory.attenuation_factor(mean, num_samples), abs=1e-10)
    slope, intercept = theory.attenuated_line(clean.slope, clean.intercept, row.factor, mean.mean())
    assert row.slope_predicted == pytest.approx(slope, abs=1e-10)
    assert row.intercept_predicted == pytest.approx(intercept, abs=1e-10)
    assert row.correlation_predicted == pytest.approx(
        theory.attenuated_correlation(clean.rvalue, row.factor), abs=1e-10
    )
    assert row.slope_measured == pytest.approx(line.slope, abs=1e-10)
    assert row.intercept_measured == pytest.approx(line.intercept, abs=1e-10)
    assert row.correlation_measured == pytest.approx(line.rvalue, abs=1e-10)
    for name in ("slope", "intercept", "correlation"):
        low, high = getattr(row, f"{name}_gap_ci95")
        gap = getattr(row, f"{name}_measured") - getattr(row, f"{name}_predicted")
        assert low < gap < high
        assert high - low < 0.15


def test_attenuation_notices_a_wrong_number_of_draws():
    mean, u, beta, prompt = _sampled_world(np.random.default_rng(5), 5)
    row = estimators.attenuation(mean, u, 20, beta, prompt)
    assert row.slope_gap_ci95[1] < 0.0


@pytest.mark.slow
def test_the_interval_of_the_gap_holds_zero_as_often_as_it_says():
    rng = np.random.default_rng(33)
    held = np.zeros(3)
    repeats = 300
    for _ in range(repeats):
        row = estimators.attenuation(
            *(lambda mean, u, beta, prompt: (mean, u, 5, beta, prompt))(*_sampled_world(rng, 5)),
            num_resamples=400,
        )
        held += [
            low <= 0.0 <= high
            for low, high in (row.slope_gap_ci95, row.intercept_gap_ci95, row.correlation_gap_ci95)
        ]
    error = np.sqrt(0.95 * 0.05 / repeats)
    assert np.all(np.abs(held / repeats - 0.95) < 3 * error + 0.01)


def test_costs_count_softmax_evaluations():
    table = estimators.costs(300, rng=np.random.default_rng(0), num_logits=3)
    assert [table[f"sampled_uncertainty_{m}"].softmax_evaluations for m in (1, 5, 20, 100)] == [1, 5, 20, 100]
    for name in ("entropy", "one_minus_max_prob", "one_minus_draft_prob", "one_minus_margin"):
        assert table[name].softmax_evaluations == 0.0
    logits = 3.0 * np.random.default_rng(0).standard_normal((3, 300))
    assert table["mean_uncertainty"].softmax_evaluations == np.mean(theory.num_nodes(logits))
    assert all(cost.seconds > 0.0 for cost in table.values())


ONES = np.ones(6)


@pytest.mark.parametrize(
    ("named", "call"),
    [
        ("rejection", lambda: estimators.side_by_side({"u": ONES}, 2 * ONES, np.arange(6))),
        ("rejection", lambda: estimators.risk_coverage_area(ONES, 2 * ONES)),
        ("mean_uncertainty", lambda: estimators.attenuation(2 * ONES, ONES, 5, ONES, np.arange(6))),
        ("sampled", lambda: estimators.attenuation(ONES, 2 * ONES, 5, ONES, np.arange(6))),
        ("num_samples", lambda: estimators.attenuation(ONES, ONES, 0, ONES, np.arange(6))),
        ("rejection", lambda: estimators.attenuation(ONES, ONES, 5, 2 * ONES, np.arange(6))),
        ("sampled", lambda: estimators.reliability(2 * ONES, 5)),
        ("num_samples", lambda: estimators.reliability(ONES, 1)),
        ("num_logits", lambda: estimators.costs(100, rng=np.random.default_rng(0), num_logits=0)),
        ("vocab_size", lambda: estimators.costs(1, rng=np.random.default_rng(0))),
    ],
)
def test_what_is_refused_is_named(named, call):
    with pytest.raises(ValueError, match=f"^{named} must "):
        call()


def test_tokens_of_no_weight_are_not_there():
    rng = np.random.default_rng(1)
    score, beta = rng.integers(0, 9, 40) / 9, rng.uniform(size=40)
    weight = np.where(score > 0.5, 0, rng.integers(1, 4, 40))
    seen = weight > 0
    area = estimators.risk_coverage_area(score, beta, weight)
    np.testing.assert_allclose(area, estimators.risk_coverage_area(score[seen], beta[seen], weight[seen]))
    whole = estimators.spearman_correlation(score, beta, weight)
    np.testing.assert_allclose(whole, estimators.spearman_correlation(score[seen], beta[seen], weight[seen]))
