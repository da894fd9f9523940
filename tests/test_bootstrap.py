"""The cluster bootstrap: exact replicates, second-order intervals, coverage where the truth is known."""

import numpy as np
import pytest
from scipy import stats

from cuhlm_theory import bootstrap


def _mean(sums):
    return sums[..., :1] / sums[..., 1:]


def _clusters(rng, num_prompts=40, length=12, spread=1.0):
    """Tokens with mean 0 whose prompts share a level; variance of the mean known."""
    level = rng.normal(scale=spread, size=num_prompts)
    values = (level[:, None] + rng.normal(size=(num_prompts, length))).reshape(-1)
    return values, np.repeat(np.arange(num_prompts), length)


def test_labels_become_numbers_in_their_order():
    index, count = bootstrap.cluster_index([30, 10, 30, 20])
    assert index.tolist() == [2, 0, 2, 1]
    assert count == 3
    with pytest.raises(ValueError, match="at least 1 token; got 0"):
        bootstrap.cluster_index([])


def test_a_resample_draws_as_many_clusters_as_there_are_each_alike():
    counts = bootstrap.cluster_counts(7, 20_000, np.random.default_rng(3))
    assert counts.shape == (20_000, 7)
    assert np.all(counts.sum(axis=1) == 7)
    error = np.sqrt((1 - 1 / 7) / 20_000)
    assert np.all(np.abs(counts.mean(axis=0) - 1.0) < 4.5 * error)
    assert np.allclose(counts.var(axis=0), 6 / 7, atol=0.05)


@pytest.mark.parametrize(("clusters", "resamples", "name"), [(0, 5, "num_clusters"), (5, 0, "num_resamples")])
def test_refuses_empty_resampling(clusters, resamples, name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1; got 0"):
        bootstrap.cluster_counts(clusters, resamples, np.random.default_rng(0))


def test_sums_and_weights_and_repeated_rows_give_the_same_replicates():
    rng = np.random.default_rng(5)
    values, prompt = _clusters(rng, num_prompts=9, length=4)
    columns = np.column_stack([values, np.ones_like(values)])
    by_sums = bootstrap.of_sums(_mean, columns, prompt, num_resamples=50, rng=np.random.default_rng(8))
    by_weights = bootstrap.of_weights(
        lambda w: (w @ values / w.sum(axis=-1))[..., None],
        prompt,
        num_resamples=50,
        rng=np.random.default_rng(8),
    )
    counts = bootstrap.cluster_counts(9, 50, np.random.default_rng(8)).astype(int)
    by_rows = [np.repeat(values.reshape(9, 4), row, axis=0).mean() for row in counts]
    np.testing.assert_allclose(by_sums.replicates[:, 0], by_rows, atol=1e-12)
    np.testing.assert_allclose(by_weights.replicates[:, 0], by_rows, atol=1e-12)
    np.testing.assert_allclose(by_sums.low, by_weights.low, atol=1e-12)
    np.testing.assert_allclose(by_sums.high, by_weights.high, atol=1e-12)
    assert by_sums.estimate[0] == pytest.approx(values.mean())


def test_chunks_of_the_weights_change_nothing(monkeypatch):
    values, prompt = _clusters(np.random.default_rng(1), num_prompts=6, length=5)

    def run():
        return bootstrap.of_weights(
            lambda w: (w @ values / w.sum(axis=-1))[..., None],
            prompt,
            num_resamples=23,
            rng=np.random.default_rng(2),
        ).replicates

    whole = run()
    monkeypatch.setattr(bootstrap, "_CHUNK_FLOATS", 70)
    np.testing.assert_allclose(run(), whole, rtol=0, atol=1e-14)


def test_bca_agrees_with_scipy_on_independent_draws():
    sample = np.random.default_rng(4).exponential(size=35)
    ours = bootstrap.of_sums(
        _mean,
        np.column_stack([sample, np.ones(35)]),
        np.arange(35),
        num_resamples=20_000,
        rng=np.random.default_rng(6),
    )
    theirs = stats.bootstrap(
        (sample,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(7)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert abs(ours.low[0] - theirs.low) < 0.03 * width
    assert abs(ours.high[0] - theirs.high) < 0.03 * width


def test_percentile_agrees_with_scipy_and_differs_from_bca_on_a_skewed_law():
    sample = np.random.default_rng(4).exponential(size=35)
    columns = np.column_stack([sample, np.ones(35)])
    options = {"num_resamples": 20_000, "rng": np.random.default_rng(6)}
    ours = bootstrap.of_sums(_mean, columns, np.arange(35), method="percentile", **options)
    theirs = stats.bootstrap(
        (sample,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(7)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert abs(ours.low[0] - theirs.low) < 0.03 * width
    assert abs(ours.high[0] - theirs.high) < 0.03 * width
    skewed = bootstrap.of_sums(_mean, columns, np.arange(35), **options)
    assert skewed.high[0] > ours.high[0] + 0.05 * width


def test_each_of_several_statistics_has_the_interval_that_it_has_alone():
    rng = np.random.default_rng(4)
    values = rng.gamma(2.0, size=(300, 2, 3)) * np.array([1.0, 10.0, 100.0])
    estimate, left_out = values.mean(axis=0), rng.gamma(2.0, size=(40, 2, 3))
    both = {
        "percentile": bootstrap.percentile_interval(values),
        "bca": bootstrap.bca_interval(estimate, values, left_out),
    }
    for place in np.ndindex(2, 3):
        at = (slice(None), *place)
        alone = {
            "percentile": bootstrap.percentile_interval(values[at]),
            "bca": bootstrap.bca_interval(estimate[place], values[at], left_out[at]),
        }
        for method, (low, high) in alone.items():
            assert (both[method][0][place], both[method][1][place]) == (low, high)


@pytest.mark.parametrize("name", ["estimate", "replicates", "jackknife"])
def test_what_is_no_number_is_named(name):
    given = {"estimate": 1.0, "replicates": [1.0, 2.0], "jackknife": [1.0, 2.0]} | {name: ["x", "y"]}
    with pytest.raises(ValueError, match=f"^{name} must "):
        bootstrap.bca_interval(**given)
    if name == "replicates":
        with pytest.raises(ValueError, match=r"^replicates must "):
            bootstrap.percentile_interval(["x", "y"])


def test_the_interval_of_a_mean_has_the_width_of_its_known_standard_error():
    values, prompt = _clusters(np.random.default_rng(12), num_prompts=400, length=6)
    columns = np.column_stack([values, np.ones_like(values)])
    result = bootstrap.of_sums(_mean, columns, prompt, num_resamples=4000, rng=np.random.default_rng(1))
    error = np.sqrt((1.0 + 1.0 / 6.0) / 400)
    assert (result.high[0] - result.low[0]) / (2 * 1.96 * error) == pytest.approx(1.0, abs=0.1)
    wider = bootstrap.of_sums(
        _mean, columns, prompt, num_resamples=4000, rng=np.random.default_rng(1), level=0.99
    )
    assert wider.low[0] < result.low[0]
    assert wider.high[0] > result.high[0]


def test_equal_replicates_give_a_point():
    low, high = bootstrap.bca_interval(2.0, np.full(30, 2.0), np.full(5, 2.0))
    assert (low, high) == (2.0, 2.0)


def test_an_estimate_outside_its_replicates_still_has_finite_ends():
    replicates = np.linspace(0.0, 1.0, 101)
    low, high = bootstrap.bca_interval(5.0, replicates, [5.0, 5.0, 5.0])
    assert 0.9 < low <= high == pytest.approx(1.0)
    low, high = bootstrap.bca_interval(-5.0, replicates, [5.0, 5.0, 5.0])
    assert low == pytest.approx(0.0, abs=1e-6)
    assert low <= high < 0.1


def test_undefined_replicates_leave_no_interval():
    replicates = np.array([[1.0, 1.0], [np.nan, 2.0], [0.5, 3.0]])
    low, high = bootstrap.bca_interval([1.0, 2.0], replicates, np.array([[1.0, 1.0], [1.0, 2.0]]))
    assert np.isnan(low[0])
    assert np.isnan(high[0])
    assert np.isfinite(low[1])
    result = bootstrap.Bootstrap(estimate=np.array([1.0, 2.0]), low=low, high=high, replicates=replicates)
    assert result.interval(0) is None
    assert result.interval(1) == (low[1], high[1])


def test_one_prompt_has_no_interval():
    columns = np.column_stack([np.arange(5.0), np.ones(5)])
    result = bootstrap.of_sums(_mean, columns, np.zeros(5), rng=np.random.default_rng(0))
    assert result.estimate[0] == 2.0
    assert result.interval(0) is None


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, np.nan])
def test_refuses_levels_outside_the_open_unit_interval(level):
    with pytest.raises(ValueError, match=r"level must lie in \(0, 1\)"):
        bootstrap.percentile_interval([1.0, 2.0], level=level)
    with pytest.raises(ValueError, match=r"level must lie in \(0, 1\)"):
        bootstrap.bca_interval(1.0, [1.0, 2.0], [1.0, 2.0], level=level)


def test_refuses_an_unknown_method_and_a_wrong_shape():
    with pytest.raises(ValueError, match="method must be bca or percentile; got 'normal'"):
        bootstrap.of_sums(
            _mean,
            np.ones((3, 2)),
            [0, 1, 2],
            rng=np.random.default_rng(0),
            method="normal",  # type: ignore[arg-type]
        )
    with pytest.raises(ValueError, match=r"values must have shape \[3, S\]; got \[2, 2\]"):
        bootstrap.of_sums(_mean, np.ones((2, 2)), [0, 1, 2], rng=np.random.default_rng(0))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_intervals_cover_the_true_mean_as_often_as_they_say(method):
    rng = np.random.default_rng(20)
    repeats, covered, by_tokens = 1000, 0, 0
    for _ in range(repeats):
        values, prompt = _clusters(rng, num_prompts=60)
        columns = np.column_stack([values, np.ones_like(values)])
        result = bootstrap.of_sums(_mean, columns, prompt, num_resamples=600, rng=rng, method=method)
        covered += result.low[0] <= 0.0 <= result.high[0]
        naive = 1.96 * values.std() / np.sqrt(values.size)
        by_tokens += abs(values.mean()) <= naive
    error = np.sqrt(0.95 * 0.05 / repeats)
    assert covered / repeats > 0.95 - 0.01 - 3 * error  # 60 clusters: the bootstrap lacks about 0.01
    assert covered / repeats < 0.95 + 3 * error
    assert by_tokens / repeats < 0.8  # what resampling tokens would have promised
