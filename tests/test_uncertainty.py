"""The mean uncertainty against closed forms, brute quadrature and sampling; errors in variables."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special, stats

from cuhlm_theory import uncertainty
from cuhlm_theory.uncertainty import (
    attenuated_correlation,
    attenuated_line,
    attenuation_factor,
    disagreement_count_pmf,
    mean_uncertainty,
    num_nodes,
    restored_correlation,
    restored_line,
    sampled_uncertainty,
    varentropy_bound,
)

_X, _W = np.polynomial.legendre.leggauss(24)


@pytest.fixture(autouse=True)
def fresh_panels():
    """What one test computed is not what the next one tests."""
    uncertainty._panels.cache_clear()


def brute(logits, draft, max_temperature=2.0):
    """The integral with 24 nodes on each quarter of an e-fold, over 40 e-folds, equal logits grouped."""
    values, count = np.unique(np.asarray(logits, dtype=float), return_counts=True)
    own = float(np.asarray(logits)[draft])
    ends = np.linspace(-40.0, 0.0, 161)
    middle, half = (ends[1:] + ends[:-1]) / 2, (ends[1:] - ends[:-1]) / 2
    theta = max_temperature * np.exp(middle[:, None] + half[:, None] * _X).reshape(-1)
    weight = (half[:, None] * _W).reshape(-1) * theta
    log_z = special.logsumexp((values - values[-1]) / theta[:, None], b=count, axis=1)
    return 1.0 - float(weight @ np.exp((own - values[-1]) / theta - log_z)) / max_temperature


def two_tokens(gap, max_temperature=2.0):
    """Uncertainty of the leading token, as a series of exponential integrals."""
    k = np.arange(1, 2000)
    # int_0^T e^(-c/t) dt = T E_2(c/T)
    terms = (-1.0) ** (k + 1) * special.expn(2, k * gap / max_temperature)
    return float(terms.sum())


CASES = {
    "two tokens": np.array([0.0, 3.0]),
    "two tokens, gap 1e-9": np.array([1e-9, 0.0]),
    "two tokens, gap 1e-4": np.array([1e-4, 0.0]),
    "two tokens, gap 1e3": np.array([0.0, 1e3]),
    "huge range": np.array([-1e4, 1e4, 1e4 - 1.0, 0.0]),
    "near tie in a huge range": np.array([-1e4, 1e4, 1e4 - 1e-9, 0.0]),
    "exact ties": np.array([2.0, 2.0, 2.0, -1.0, -1.0]),
    "all equal": np.zeros(7),
    "random, 50 tokens": np.random.default_rng(1).normal(size=50) * 3.0,
    "gaps of every scale": -np.concatenate([[0.0], np.geomspace(1e-9, 1e3, 60)]),
    "one-hot-like, 4096 tokens": np.concatenate([[16.0], np.zeros(4095)]),
    "sharp transition, 49 152 tokens": np.concatenate([[0.5 * math.log(49151)], np.zeros(49151)]),
    "sharp transition, 151 936 tokens": np.concatenate([[1.5 * math.log(151935)], np.zeros(151935)]),
    "random, 151 936 tokens": np.random.default_rng(2).normal(size=151_936).round(1) * 3.0,
}


@pytest.mark.parametrize("name", CASES)
def test_error_is_within_the_tolerance(name):
    logits = CASES[name]
    order = np.argsort(logits)
    tokens = np.unique([order[0], order[-1], order[-2], order[order.size // 2]])
    everything = mean_uncertainty(logits)
    for token in tokens:
        truth = brute(logits, token)
        assert everything[token] == pytest.approx(truth, abs=1e-6)
        assert mean_uncertainty(logits, token) == pytest.approx(truth, abs=1e-6)
    assert np.sum(1.0 - everything) == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-9, 1e-12])
@pytest.mark.parametrize("name", ["two tokens", "gaps of every scale", "sharp transition, 49 152 tokens"])
def test_every_tolerance_is_kept(name, tolerance):
    logits = CASES[name]
    token = int(np.argmax(logits))
    got = mean_uncertainty(logits, token, tolerance=tolerance)
    assert got == pytest.approx(brute(logits, token), abs=tolerance + 2e-13)


@given(
    hnp.arrays(
        np.float64, st.integers(2, 12), elements=st.floats(-1e4, 1e4, allow_nan=False, allow_infinity=False)
    ),
    st.floats(1e-3, 50.0),
)
def test_any_logits_and_any_largest_temperature(logits, max_temperature):
    token = int(np.argmax(logits))
    got = mean_uncertainty(logits, token, max_temperature=max_temperature)
    assert got == pytest.approx(brute(logits, token, max_temperature), abs=1e-6)


@pytest.mark.parametrize("gap", [0.02, 0.3, 2.0, 9.0, 40.0])
def test_two_tokens_have_a_closed_form(gap):
    u = mean_uncertainty([gap, 0.0], tolerance=1e-9)
    assert u[0] == pytest.approx(two_tokens(gap), abs=2e-6 if gap < 0.1 else 1e-8)
    assert u[0] + u[1] == pytest.approx(1.0, abs=1e-12)


def test_argmax_limit_is_split_among_ties():
    assert mean_uncertainty([5.0, 5.0, -1e9, 5.0]) == pytest.approx([2 / 3, 2 / 3, 1.0, 2 / 3], abs=1e-12)
    assert mean_uncertainty([1e9, 0.0, 0.0]) == pytest.approx([0.0, 1.0, 1.0], abs=1e-12)
    assert mean_uncertainty(np.zeros(10), 3) == pytest.approx(0.9, abs=1e-12)
    assert mean_uncertainty([-1e9, 0.0, 0.0], [0, 1]) == pytest.approx([1.0, 0.5], abs=1e-12)


def test_logits_of_any_finite_size():
    with np.errstate(all="raise", under="ignore"):
        assert mean_uncertainty([1.7e308, -1.7e308]) == pytest.approx([0.0, 1.0])
        assert num_nodes([1.7e308, -1.7e308]) == 0
        for least in (-1.7e308, -1e308):  # the gap overflows, or its product with an inverse temperature
            draws = sampled_uncertainty(
                [0.0, least, least], [0, 1], max_temperature=1.0, rng=np.random.default_rng(0)
            )
            assert draws.tolist() == [0.0, 1.0]


def test_only_the_ratio_of_logits_to_the_largest_temperature_matters():
    z = CASES["random, 50 tokens"]
    assert mean_uncertainty(z * 3.5, max_temperature=7.0) == pytest.approx(mean_uncertainty(z), abs=1e-12)
    assert mean_uncertainty(z + 123.0) == pytest.approx(mean_uncertainty(z), abs=1e-12)
    assert mean_uncertainty(z, max_temperature=0.5)[z.argmax()] < mean_uncertainty(z)[z.argmax()] - 0.1


def test_more_likely_tokens_are_less_uncertain():
    z = CASES["random, 50 tokens"]
    assert np.all(np.diff(mean_uncertainty(z)[np.argsort(z)]) <= 0.0)


def test_rows_and_drafts_broadcast():
    rng = np.random.default_rng(3)
    z = rng.normal(size=(2, 3, 6)) * 4.0
    everything = mean_uncertainty(z)
    assert everything.shape == (2, 3, 6)
    assert mean_uncertainty(z, 4) == pytest.approx(everything[..., 4], abs=1e-12)
    tokens = rng.integers(0, 6, (2, 3))
    assert mean_uncertainty(z, tokens) == pytest.approx(
        np.take_along_axis(everything, tokens[..., None], -1)[..., 0], abs=1e-12
    )
    assert mean_uncertainty(z[0, 0], np.arange(6)) == pytest.approx(everything[0, 0], abs=1e-12)
    assert mean_uncertainty(z.astype(np.float32), 4) == pytest.approx(everything[..., 4], abs=1e-6)


def test_many_nodes_of_a_wide_row_are_taken_in_groups(monkeypatch):
    z = CASES["random, 50 tokens"]
    whole = mean_uncertainty(z)
    draws = sampled_uncertainty(z, 7, num_samples=400, rng=np.random.default_rng(5))
    monkeypatch.setattr(uncertainty, "_CACHE_ELEMENTS", 170)
    assert mean_uncertainty(z) == pytest.approx(whole, abs=1e-14)
    assert mean_uncertainty(z, int(z.argmax())) == pytest.approx(whole.min(), abs=1e-14)
    assert sampled_uncertainty(z, 7, num_samples=400, rng=np.random.default_rng(5)) == draws


def exact_panels(vocab_size, tolerance):
    """Node counts, ends and cutoffs of the panels, from the bound in the module text."""
    varentropy = 0.25 * math.log(vocab_size - 1) ** 2 + 1.0
    num = math.ceil(math.log(4.0 / tolerance))
    for index in range(num):
        yield index, math.exp(-index), tolerance / num, varentropy


@pytest.mark.parametrize(("vocab_size", "tolerance"), [(2, 1e-6), (49_152, 4.73e-7), (151_936, 4.28e-7)])
def test_nodes_meet_the_bound_and_one_fewer_could_not(vocab_size, tolerance):
    panels = uncertainty._panels(vocab_size, tolerance)
    assert len(panels) == math.ceil(math.log(4.0 / tolerance))
    for panel, (index, top, share, varentropy) in zip(
        panels, exact_panels(vocab_size, tolerance), strict=True
    ):
        theta = 1.0 / panel.inverse_temperature
        assert top * math.exp(-1.0) < theta.min() < theta.max() < top
        assert panel.weight.sum() == pytest.approx(top * (1.0 - math.exp(-1.0)), rel=1e-2 if index else 1e-6)
        assert panel.cutoff / top == pytest.approx(
            max(0.0, math.log(vocab_size * top / (share / 4.0))), rel=1e-12
        )

        def error(count, top=top, varentropy=varentropy):
            def bound(delta):
                strip = math.atan(math.sqrt(2.0 * (1.0 - delta) / varentropy))
                eta = math.asinh(2.0 * strip)
                height = top * math.exp(0.5 * (math.cosh(eta) - 1.0)) / delta
                series = math.exp(-2.0 * count * eta) / (1.0 - math.exp(-2.0 * eta))
                return 0.5 * 64.0 / 15.0 * height * series

            return min(bound(delta) for delta in np.geomspace(1e-4, 0.9, 60))

        count = panel.weight.size
        assert error(count) <= share / 2.0
        assert count == 2 or error(count - 1) > share / 2.0


@given(st.integers(2, 40), st.floats(-3.0, 3.0), st.integers(0, 2**32 - 1))
def test_varentropy_is_bounded(vocab_size, log_scale, seed):
    p = special.softmax(np.random.default_rng(seed).normal(size=vocab_size) * 10.0**log_scale)
    p = p[p > 0.0]
    assert np.log(p) @ (p * np.log(p)) - (p @ np.log(p)) ** 2 <= varentropy_bound(vocab_size) + 1e-12


@pytest.mark.parametrize("vocab_size", [2, 10, 151_936])
def test_varentropy_bound_is_nearly_reached_by_one_token_against_the_rest(vocab_size):
    r = np.linspace(1e-6, 1.0 - 1e-6, 200_001)
    best = np.max(r * (1.0 - r) * np.log((1.0 - r) * (vocab_size - 1) / r) ** 2)
    assert best < varentropy_bound(vocab_size) < best + 1.0
    assert varentropy_bound(vocab_size) == pytest.approx(math.log(vocab_size - 1) ** 2 / 4.0 + 1.0)


def test_node_counts_reach_down_to_the_smallest_gap():
    panels = uncertainty._panels(3, 1e-6)
    sizes = np.cumsum([panel.weight.size for panel in panels])
    assert num_nodes([0.0, 0.0, 0.0]) == 0
    assert num_nodes([1e-9, 0.0, 0.0]) == sizes[-1]
    for reached, panel in enumerate(panels):
        gap = 2.0 * panel.cutoff
        assert num_nodes([0.0, -gap, -gap - 1.0]) == sizes[reached]
        assert num_nodes([0.0, -gap, -gap - 1.0], max_temperature=2.1) == sizes[reached]
    assert num_nodes([0.0, -1e4, -1e5]) == 0
    just_beyond = [0.0, -2.2 * panels[3].cutoff, -1e6]
    assert num_nodes(just_beyond) < num_nodes(just_beyond, max_temperature=2.2)
    assert num_nodes(just_beyond) == num_nodes(just_beyond, max_temperature=2.0)
    assert num_nodes(np.zeros((4, 2, 3))).shape == (4, 2)
    rows = num_nodes([[0.0, -1e-9], [50.0, 50.0 - 2.0 * panels[3].cutoff], [-7.0, -1e5]])
    assert rows.tolist() == [num_nodes([0.0, -1e-9]), num_nodes([0.0, -2.0 * panels[3].cutoff]), 0]
    assert rows.dtype == np.int64
    assert num_nodes([0.0, 3.0], tolerance=1e-9) > num_nodes([0.0, 3.0])


def sampled_mean(logits, token, num_samples, rng):
    """Share of genuine perturbed draws that disagree; equal logits grouped."""
    values, count = np.unique(logits, return_counts=True)
    theta = 2.0 * (1.0 - rng.random(num_samples))
    differs = 0
    for part in np.array_split(theta, 1 + num_samples * values.size // 2**21):
        log_z = special.logsumexp((values - values[-1]) / part[:, None], b=count, axis=1)
        accept = np.exp((logits[token] - values[-1]) / part - log_z)
        differs += np.count_nonzero(rng.random(part.size) >= accept)
    return differs / num_samples


@pytest.mark.parametrize(
    ("name", "rank"),
    [
        ("two tokens", 0),
        ("exact ties", 0),
        ("exact ties", 4),
        ("random, 50 tokens", 0),
        ("random, 50 tokens", 1),
        ("one-hot-like, 4096 tokens", 0),
        ("sharp transition, 49 152 tokens", 0),
        ("sharp transition, 151 936 tokens", 0),
        ("random, 151 936 tokens", 0),
    ],
)
def test_agrees_with_a_hundred_thousand_samples_within_four_standard_errors(name, rank):
    logits = CASES[name]
    token = int(np.argsort(-logits, kind="stable")[rank])
    u = float(mean_uncertainty(logits, token))
    draw = sampled_mean(logits, token, 100_000, np.random.default_rng(6))
    assert abs(draw - u) <= 4.0 * math.sqrt(u * (1.0 - u) / 100_000)
    assert 0.0 < u < 1.0


@pytest.mark.parametrize("max_temperature", [2.0, 0.5])
def test_sampled_uncertainty_is_binomial_around_the_mean(max_temperature):
    z = [1.0, 0.4, -0.5]
    num_rows, num_samples = 4000, 6
    u = sampled_uncertainty(
        np.tile(z, (num_rows, 1)),
        0,
        num_samples=num_samples,
        max_temperature=max_temperature,
        rng=np.random.default_rng(7),
    )
    assert u.shape == (num_rows,)
    mean = float(mean_uncertainty(z, 0, max_temperature=max_temperature))
    assert abs(u.mean() - mean) <= 4.0 * math.sqrt(mean * (1.0 - mean) / (num_samples * num_rows))
    observed = np.bincount(np.rint(num_samples * u).astype(int), minlength=num_samples + 1)
    assert observed.sum() == num_rows
    law = disagreement_count_pmf(mean, num_samples)
    rare = law * num_rows < 5
    fit = stats.chisquare(
        np.append(observed[~rare], observed[rare].sum() + 1e-9),
        np.append(law[~rare], law[rare].sum() + 1e-9 / num_rows) * num_rows,
        sum_check=False,
    )
    assert fit.pvalue > 1e-4


def test_sampled_uncertainty_is_reproducible_and_needs_no_luck_where_it_is_certain():
    z = np.random.default_rng(0).normal(size=(5, 9))
    one, two = (sampled_uncertainty(z, 2, rng=np.random.default_rng(8)) for _ in range(2))
    assert np.array_equal(one, two)
    assert np.allclose(one * 20, np.rint(one * 20))
    usual = sampled_uncertainty(z, 2, num_samples=20, max_temperature=2.0, rng=np.random.default_rng(8))
    assert np.array_equal(one, usual)
    sure = sampled_uncertainty([1e9, 0.0], [[0, 1]], num_samples=50, rng=np.random.default_rng(9))
    assert sure.tolist() == [[0.0, 1.0]]


@given(st.floats(1e-9, 1.0 - 1e-9), st.integers(1, 60))
def test_disagreement_counts_are_binomial(mean, num_samples):
    law = disagreement_count_pmf(mean, num_samples)
    assert law == pytest.approx(stats.binom.pmf(np.arange(num_samples + 1), num_samples, mean), abs=1e-12)


def test_disagreement_counts_at_the_ends_and_in_batches():
    assert disagreement_count_pmf([0.0, 1.0], 3).tolist() == [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]


def test_attenuation_factor_is_the_share_of_variance_between_tokens():
    u = np.array([0.0, 0.2, 0.9])
    between, within = u.var(), np.mean(u * (1.0 - u))
    for m in (1, 5, 20):
        assert attenuation_factor(u, m) == pytest.approx(between / (between + within / m), rel=1e-12)
    repeated = attenuation_factor([0.0, 0.2, 0.2, 0.9], 5)
    assert attenuation_factor(u, 5, weight=[3.0, 6.0, 3.0]) == pytest.approx(repeated, rel=1e-12)
    assert attenuation_factor([0.0, 1.0], 1) == 1.0
    square = np.array([[0.0, 0.2], [0.2, 0.9]]), np.array([[3.0, 2.0], [4.0, 3.0]])
    assert attenuation_factor(square[0], 5, weight=square[1]) == pytest.approx(repeated, rel=1e-12)


@pytest.mark.parametrize("num_samples", [1, 5, 20])
def test_predicted_attenuation_is_what_a_regression_finds(num_samples):
    rng = np.random.default_rng(10)
    num = 400_000
    u_bar = rng.beta(0.6, 0.9, num)
    slope, intercept = 0.8, 0.1
    beta = np.where(rng.random(num) < slope * u_bar + intercept, 1.0, 0.0)
    u = rng.binomial(num_samples, u_bar) / num_samples
    fit = stats.linregress(u, beta)
    factor = attenuation_factor(u_bar, num_samples)
    a, b = attenuated_line(slope, intercept, factor, u_bar.mean())
    assert abs(fit.slope - a) <= 4.0 * fit.stderr
    assert abs(fit.intercept - b) <= 4.0 * fit.intercept_stderr
    back = restored_line(fit.slope, fit.intercept, factor, u.mean())
    assert abs(back[0] - slope) <= 4.0 * fit.stderr / factor
    assert abs(back[1] - intercept) <= 4.0 * (fit.intercept_stderr + fit.stderr / factor)
    exact = np.corrcoef(u_bar, beta)[0, 1]
    assert attenuated_correlation(exact, factor) == pytest.approx(fit.rvalue, abs=4.0 / math.sqrt(num))
    assert restored_correlation(fit.rvalue, factor) == pytest.approx(exact, abs=4.0 / math.sqrt(num * factor))


@given(st.floats(-2, 2), st.floats(-1, 1), st.floats(0.01, 1.0), st.floats(0, 1))
def test_lines_and_correlations_there_and_back(slope, intercept, factor, mean):
    there = attenuated_line(slope, intercept, factor, mean)
    assert there[0] == pytest.approx(factor * slope)
    assert slope * mean + intercept == pytest.approx(
        there[0] * mean + there[1], abs=1e-12
    )  # same mean of beta
    assert restored_line(*there, factor, mean) == pytest.approx((slope, intercept), abs=1e-12)
    correlation = max(-1.0, min(1.0, slope))
    low = attenuated_correlation(correlation, factor)
    assert low == pytest.approx(correlation * factor**0.5)
    assert restored_correlation(low, factor) == pytest.approx(correlation, abs=1e-12)


GOOD = np.zeros((2, 4))


ARGUMENTS = {
    "logits": [[0.0, 1.0, 3.0]], "draft": [1], "max_temperature": 1.5, "tolerance": 1e-6, "num_samples": 4,
    "mean_uncertainty": [0.2, 0.6], "weight": [1.0, 2.0], "factor": 0.5, "slope": 0.8, "intercept": -0.1,
    "mean_of_uncertainty": 0.4, "correlation": 0.3, "vocab_size": 10, "rng": None,
}  # fmt: skip
TAKES = {
    varentropy_bound: ["vocab_size"],
    mean_uncertainty: ["logits", "draft", "max_temperature", "tolerance"],
    num_nodes: ["logits", "max_temperature", "tolerance"],
    sampled_uncertainty: ["logits", "draft", "num_samples", "max_temperature", "rng"],
    disagreement_count_pmf: ["mean_uncertainty", "num_samples"],
    attenuation_factor: ["mean_uncertainty", "num_samples", "weight"],
    attenuated_line: ["slope", "intercept", "factor", "mean_of_uncertainty"],
    restored_line: ["slope", "intercept", "factor", "mean_of_uncertainty"],
    attenuated_correlation: ["correlation", "factor"],
    restored_correlation: ["correlation", "factor"],
}


@pytest.mark.parametrize(
    ("function", "name"),
    [(function, name) for function, names in TAKES.items() for name in names if name != "rng"],
)
def test_refuses_what_is_no_number_chance_or_count(function, name):
    good = {argument: np.asarray(ARGUMENTS[argument]) for argument in TAKES[function]}
    if "rng" in good:
        good["rng"] = np.random.default_rng(0)
    function(**good)
    bad_values = {math.nan: "be finite; got nan"}
    if name in ("mean_uncertainty", "factor", "mean_of_uncertainty"):
        bad_values |= {bad: rf"lie in \[0, 1\]; got {bad:g}" for bad in (1.5, -0.5)}
    if name in ("max_temperature", "tolerance", "factor"):
        bad_values[0.0] = "be positive; got 0"
    if name == "correlation":
        bad_values |= {bad: rf"lie in \[-1, 1\]; got {bad:g}" for bad in (1.5, -1.5)}
    for bad, text in bad_values.items():
        wrong = np.where(np.arange(good[name].size) == 0, bad, good[name].ravel()).reshape(good[name].shape)
        with pytest.raises(ValueError, match=f"^{name} must {text}$"):
            function(**(good | {name: wrong}))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: mean_uncertainty([1.0]), "logits must have a last axis of at least 2 tokens; got 1"),
        (lambda: mean_uncertainty(1.0), "logits must have a last axis of at least 2 tokens; got 1"),
        (lambda: mean_uncertainty([1.0, np.nan]), "logits must be finite; got nan"),
        (lambda: mean_uncertainty([1.0, np.inf]), "logits must be finite; got inf"),
        (lambda: mean_uncertainty(GOOD, 4), r"draft must lie in \[0, 3\]; got 4"),
        (lambda: mean_uncertainty(GOOD, -1), r"draft must lie in \[0, 3\]; got -1"),
        (lambda: mean_uncertainty(GOOD, 1.5), "draft must be a whole number; got 1.5"),
        (lambda: mean_uncertainty(GOOD, [0, 1, 2]), r"shape \(2,\); got shape \(3,\)"),
        (lambda: mean_uncertainty(np.zeros((3, 2, 4)), [0, 1, 2]), r"shape \(3, 2\); got shape \(3,\)$"),
        (lambda: mean_uncertainty(GOOD, max_temperature=0.0), "max_temperature must be positive; got 0"),
        (lambda: mean_uncertainty(GOOD, tolerance=0.0), "tolerance must be positive; got 0"),
        (lambda: mean_uncertainty(GOOD, tolerance=1.0), r"tolerance must lie in \[1e-13, 1\); got 1"),
        (lambda: mean_uncertainty(GOOD, tolerance=1e-14), r"tolerance must lie in \[1e-13, 1\); got 1e-14"),
        (lambda: num_nodes([1.0, np.nan]), "logits must be finite; got nan"),
        (lambda: varentropy_bound(1), "vocab_size must be at least 2; got 1"),
        (lambda: sampled_uncertainty(GOOD, 4, rng=np.random.default_rng()), "draft must lie in"),
        (
            lambda: sampled_uncertainty(GOOD, 0, num_samples=0, rng=np.random.default_rng()),
            "num_samples must be at least 1; got 0",
        ),
        (lambda: disagreement_count_pmf(1.1, 3), r"mean_uncertainty must lie in \[0, 1\]; got 1.1"),
        (lambda: disagreement_count_pmf(0.5, 0), "num_samples must be at least 1; got 0"),
        (lambda: attenuation_factor([0.5, 0.5], 3), "must vary between tokens; got a variance of 0"),
        (lambda: attenuation_factor([0.5, 0.6], 3, weight=[-1, 2]), "weight must be at least 0; got -1"),
        (
            lambda: attenuation_factor([0.5, 0.6], 3, weight=[1, 2, 3]),
            "weight must have as many tokens as mean_uncertainty, 2; got 3",
        ),
        (lambda: attenuation_factor([0.5, 0.6], 3, weight=[0, 0]), "weight must have a positive sum; got 0"),
        (lambda: attenuated_line(1.0, 0.0, 0.0, 0.5), "factor must be positive; got 0"),
        (lambda: attenuated_line(1.0, 0.0, 1.1, 0.5), r"factor must lie in \[0, 1\]; got 1.1"),
        (lambda: restored_line(1.0, 0.0, 0.5, 1.5), r"mean_of_uncertainty must lie in \[0, 1\]; got 1.5"),
        (
            lambda: restored_line(1e308, 0.0, 0.5, 0.5),
            r"slope must lie in \[-1e\+150, 1e\+150\]; got 1e\+308",
        ),
        (lambda: attenuated_correlation(-1.2, 0.5), r"correlation must lie in \[-1, 1\]; got -1.2"),
        (lambda: restored_correlation(np.nan, 0.5), "correlation must be finite; got nan"),
        (lambda: restored_correlation([1.0, 1.5], 0.5), r"^correlation must lie in \[-1, 1\]; got 1.5$"),
    ],
)
def test_refuses_bad_input(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_the_smallest_tolerance_is_allowed():
    assert mean_uncertainty([0.0, 0.0], tolerance=1e-13).tolist() == [0.5, 0.5]
