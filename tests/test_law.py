"""Laws and thresholds: printed numbers, risk by quadrature, enumeration, simulation, and prices."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, special

from cuhlm_theory.law import (
    NEVER_SKIP,
    Beta,
    Recorded,
    Threshold,
    Uniform,
    bias_price_for_budget,
    budget_for_bias_price,
    parse_law,
)
from cuhlm_theory.rejection import Line

slopes, intercepts, units = st.floats(0.05, 4.0), st.floats(-1.5, 1.5), st.floats(0.0, 1.0)

LINES = {
    "published": (0.815, -0.066),
    "clipped at 1": (1.6, -0.2),
    "positive intercept": (0.5, 0.2),
    "positive intercept, clipped": (2.0, 0.3),
    "through the origin": (0.7, 0.0),
    "never rejects": (0.5, -0.6),
    "always rejects": (0.5, 1.2),
    "steep": (30.0, -12.0),
}
LAWS = {"uniform": (1.0, 1.0), "low": (0.6, 2.5), "high": (3.0, 1.5), "ends": (0.4, 0.3)}


def by_quadrature(t, slope, intercept, alpha, beta):
    """R(t) by adaptive quadrature over the quantile of u, split at the corners of the line."""
    corners = [
        special.betainc(alpha, beta, min(max(c, 0.0), t))
        for c in (-intercept / slope, (1 - intercept) / slope)
    ]
    ends = [0.0, *sorted(corners), special.betainc(alpha, beta, t)]
    return sum(
        integrate.quad(
            lambda p: float(np.clip(slope * special.betaincinv(alpha, beta, p) + intercept, 0.0, 1.0)),
            low,
            high,
            epsabs=1e-11,
            limit=200,
        )[0]
        for low, high in itertools.pairwise(ends)
        if high > low
    )


def test_published_thresholds_to_the_printed_digits():
    assert f"{Line(0.815, -0.066).risk_averse:.4f}" == "0.0810"
    assert f"{Line(0.82, -0.06).risk_averse:.4f}" == "0.0732"
    assert f"{Line(0.815, -0.066, 0.5955).risk_prone:.4f}" == "0.8117"
    assert f"{Line(0.82, -0.06, 0.2926).risk_prone:.2f}" == "0.43"
    assert [Line(a, 0.1).risk_averse for a in (0.5, 0.25)] == [-0.2, -0.4]  # as printed, not clipped
    assert [Line(0.5, b, 0.8).risk_prone for b in (0.1, -0.4)] == pytest.approx([1.4, 2.4])
    assert Line(0.5, 0.1).risk_prone is None


@given(slopes, intercepts, units)
def test_printed_thresholds_solve_the_line(slope, intercept, delta):
    assert slope * Line(slope, intercept).risk_averse + intercept == pytest.approx(0.0, abs=1e-12)
    assert slope * Line(slope, intercept, delta).risk_prone + intercept == pytest.approx(delta, abs=1e-12)
    assert Line(slope, intercept, 0.0).risk_prone == Line(slope, intercept).risk_averse


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("law", LAWS)
def test_risk_agrees_with_quadrature(name, law):
    slope, intercept = LINES[name]
    alpha, beta = LAWS[law]
    for t in (0.0, 0.07, 0.35, 0.8, 1.0):
        truth = by_quadrature(t, slope, intercept, alpha, beta)
        assert Beta(alpha, beta).risk(t, Line(slope, intercept)) == pytest.approx(truth, abs=1e-8)
        if law == "uniform":
            assert Uniform().risk(t, Line(slope, intercept)) == pytest.approx(truth, abs=1e-9)
    outside = Beta(alpha, beta).risk([-1.0, 2.0], Line(slope, intercept))
    assert outside == pytest.approx(Beta(alpha, beta).risk([0.0, 1.0], Line(slope, intercept)))
    assert Uniform().risk([-1.0, 2.0], Line(slope, intercept)) == pytest.approx(
        Uniform().risk([0.0, 1.0], Line(slope, intercept))
    )


def test_no_rounding_makes_a_risk_negative():
    assert Beta(1.0, 1.7).risk(0.4, Line(3.0, -1.2)) == 0.0  # the line leaves 0 at 0.4; the sum is -1e-16


def test_a_budget_that_is_just_the_risk_of_skipping_everything_skips_everything():
    everything = float(Beta(2.0, 1.5).risk(1.0, Line(0.8, -0.1)))
    assert Beta(2.0, 1.5).within(everything, Line(0.8, -0.1)).threshold == 1.0


@given(slopes, st.floats(-1.5, 0.0), units)
def test_uniform_budget_is_the_stated_closed_form_where_the_line_is_not_clipped(slope, intercept, budget):
    start = -intercept / slope
    stated = start + math.sqrt(2.0 * budget / slope)
    got = Uniform().within(budget, Line(slope, intercept))
    if stated <= min(1.0, (1.0 - intercept) / slope):
        assert got.threshold == pytest.approx(stated, rel=1e-12)
        assert got.risk == pytest.approx(budget, abs=1e-12)
    else:
        assert got.threshold == 1.0 or got.threshold > (1.0 - intercept) / slope


@settings(max_examples=60)
@given(slopes, intercepts, units, st.sampled_from(sorted(LAWS)))
def test_budget_is_met_and_one_step_further_is_not(slope, intercept, budget, name):
    alpha, beta = LAWS[name]
    law = Beta(alpha, beta)
    got = law.within(budget, Line(slope, intercept))
    if name == "uniform":
        closed = Uniform().within(budget, Line(slope, intercept))
        assert got.threshold == pytest.approx(closed.threshold, abs=1e-7)
        assert closed.tie_probability == 1.0
    assert 0.0 <= got.threshold <= 1.0
    assert got.tie_probability == 1.0
    assert got.risk <= budget + 1e-12
    assert got.risk == pytest.approx(Beta(alpha, beta).risk(got.threshold, Line(slope, intercept)), abs=1e-12)
    assert got.skip_rate == pytest.approx(special.betainc(alpha, beta, got.threshold), abs=1e-12)
    assert got.skip_rate == pytest.approx(law.skip_rate(got.threshold), abs=1e-12)
    if got.threshold < 1.0:
        # sup: a little more threshold spends more than the budget
        assert Beta(alpha, beta).risk(got.threshold + 1e-5, Line(slope, intercept)) > budget
    else:
        assert Beta(alpha, beta).risk(1.0, Line(slope, intercept)) <= budget + 1e-12


@pytest.mark.parametrize(
    ("slope", "intercept", "budget", "threshold"),
    [
        (0.5, 0.2, 0.05, (math.sqrt(0.04 + 0.05) - 0.2) / 0.5),  # b > 0: b t + a t^2 / 2 = eps
        (2.0, 0.3, 0.3, 0.35 + 0.3 - 0.91 / 4.0),  # past the corner at 0.35 the risk grows at rate 1
        (2.0, -0.5, 0.4, 0.75 + 0.4 - 0.25),  # u_0 = 1/4, u_1 = 3/4, triangle 1/4
        (0.5, 1.2, 0.4, 0.4),  # always rejected: R(t) = t
        (0.5, -0.6, 0.0, 1.0),  # never rejected
        (0.5, -0.2, 0.0, 0.4),  # a zero budget still skips what is free
        (0.5, 0.2, 0.0, 0.0),
        (0.5, 0.0, 1.0, 1.0),  # more than can be spent
    ],
)
def test_uniform_budget_where_the_stated_form_does_not_hold(slope, intercept, budget, threshold):
    assert Uniform().within(budget, Line(slope, intercept)).threshold == pytest.approx(threshold, abs=1e-12)
    by_bisection = Beta(1.0, 1.0).within(budget, Line(slope, intercept))
    assert by_bisection.threshold == pytest.approx(threshold, abs=1e-12)


def test_the_uniform_law_is_the_beta_law_of_1_and_1():
    line = Line(0.815, -0.066)
    t = np.linspace(-0.2, 1.2, 41)
    assert Uniform().risk(t, line) == pytest.approx(Beta(1.0, 1.0).risk(t, line), abs=1e-14)
    assert Uniform().skip_rate(t) == pytest.approx(Beta(1.0, 1.0).skip_rate(t), abs=1e-14)
    closed, searched = Uniform().within(0.05, line), Beta(1.0, 1.0).within(0.05, line)
    assert (closed.threshold, closed.risk) == pytest.approx((searched.threshold, searched.risk), abs=1e-12)


def test_risk_of_a_simulated_decoder_within_four_standard_errors():
    rng = np.random.default_rng(0)
    num = 200_000
    u = rng.beta(0.6, 2.5, num)
    rejected = rng.random(num) < Line(1.6, -0.2)(u)
    got = Beta(0.6, 2.5).within(0.05, Line(1.6, -0.2))
    spent = np.where(u <= got.threshold, rejected, False)
    assert abs(spent.mean() - 0.05) <= 4.0 * spent.std() / math.sqrt(num)
    assert abs(np.mean(u <= got.threshold) - got.skip_rate) <= 4.0 * 0.5 / math.sqrt(num)


atoms = st.integers(0, 4).map(lambda i: i / 4.0)
recorded = st.lists(
    st.tuples(atoms, st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 3)), min_size=1, max_size=12
)


def skipping(u, threshold, tie_probability):
    """Chance of skipping each token: 1 below the threshold, 0 above it, the tie probability at it."""
    return np.where(u < threshold, 1.0, np.where(u == threshold, tie_probability, 0.0))


@given(recorded, units)
def test_empirical_budget_agrees_with_enumeration(tokens, budget):
    u, beta, weight = (np.array(column, dtype=float) for column in zip(*tokens, strict=True))
    assume(weight.sum() > 0)
    mass = weight / weight.sum()
    got = Recorded(u, beta, weight).within(budget)
    below, at = (mass * beta)[u < got.threshold].sum(), (mass * beta)[u == got.threshold].sum()
    share = skipping(u, got.threshold, got.tie_probability)
    assert got.risk == pytest.approx(np.sum(mass * beta * share), abs=1e-12)
    assert got.skip_rate == pytest.approx(np.sum(mass * share), abs=1e-12)
    if np.sum(mass * beta) > budget * (1 + 1e-9):
        assert got.risk == pytest.approx(budget, abs=1e-12)  # the budget is met exactly
        assert below <= budget + 1e-12
        assert below + at > budget - 1e-12
        assert got.tie_probability == pytest.approx((budget - below) / at, abs=1e-9)
    elif np.sum(mass * beta) < budget:
        assert (got.threshold, got.tie_probability, got.skip_rate) == (1.0, 1.0, pytest.approx(1.0))
    # no threshold rule within the budget skips more
    for t, nu in itertools.product(np.arange(5) / 4.0, np.linspace(0.0, 1.0, 11)):
        other = skipping(u, t, nu)
        if np.sum(mass * beta * other) <= budget:
            assert np.sum(mass * other) <= got.skip_rate + 1e-9


def test_an_atom_that_does_not_fit_is_split_and_one_that_fits_is_not():
    u, beta = [0.0, 0.0, 0.5, 0.5, 0.9], [0.0, 0.1, 0.4, 0.6, 1.0]
    split = Recorded(u, beta).within(0.12)
    assert split.threshold == 0.5
    assert split.tie_probability == pytest.approx(0.5)  # 0.02 + 0.5 * 0.2
    assert split.risk == pytest.approx(0.12)
    assert split.skip_rate == pytest.approx(0.6)
    whole = Recorded(u, beta).within(0.22)
    assert whole.threshold == 0.9
    assert whole.tie_probability == pytest.approx(0.0, abs=1e-12)
    assert whole.risk == pytest.approx(0.22)
    assert whole.skip_rate == pytest.approx(0.8)
    first = Recorded(u, beta).within(0.005)
    assert (first.threshold, first.skip_rate) == (0.0, pytest.approx(0.1))
    assert first.tie_probability == pytest.approx(0.25)
    nothing = Recorded([0.3, 0.6], [1.0, 1.0]).within(0.0)
    assert (nothing.threshold, nothing.tie_probability, nothing.risk, nothing.skip_rate) == (
        0.3,
        0.0,
        0.0,
        0.0,
    )
    free = Recorded([0.3, 0.6], [0.0, 1.0]).within(0.0)
    assert (free.threshold, free.tie_probability, free.skip_rate) == (0.6, 0.0, 0.5)


def test_rounding_of_a_sum_does_not_split_the_last_atom():
    u, beta = np.linspace(0.0, 1.0, 10), np.full(10, 0.1)
    got = Recorded(u, beta).within(0.1)  # ten times 0.01 is not quite 0.1
    assert (got.threshold, got.tie_probability) == (1.0, 1.0)


def test_empirical_law_goes_to_the_continuous_one():
    u = (np.arange(20_000) + 0.5) / 20_000
    law = Recorded(u)
    exact = Uniform().within(0.05, Line(0.815, -0.066))
    got = law.within(0.05, Line(0.815, -0.066))
    assert got.threshold == pytest.approx(exact.threshold, abs=1e-4)
    assert got.skip_rate == pytest.approx(exact.skip_rate, abs=1e-4)
    assert law.risk(0.6, Line(0.815, -0.066)) == pytest.approx(
        Uniform().risk(0.6, Line(0.815, -0.066)), abs=1e-4
    )
    assert law.skip_rate(0.6) == pytest.approx(0.6)
    assert law.skip_rate(-0.1) == 0.0


def test_recorded_rejections_and_weights_replace_the_line():
    u, beta = np.array([0.1, 0.5, 0.5]), np.array([1.0, 0.2, 0.8])
    law = Recorded(u, beta, np.array([2.0, 1.0, 1.0]))
    assert law.risk(0.1, Line(0.8, 0.0)) == pytest.approx(0.5)
    assert law.risk(0.5, Line(0.8, 0.0)) == pytest.approx(0.75)
    assert law.skip_rate(0.1) == pytest.approx(0.5)
    assert law.within(0.6, Line(0.8, 0.0)) == Recorded(u, beta, [2, 1, 1]).within(0.6)
    assert law.within(0.6, Line(0.8, 0.0)).tie_probability == pytest.approx(0.4)
    assert law.rejections(Line(0.8, 0.0)) == pytest.approx(beta)
    assert Recorded(u).rejections(Line(0.8, 0.1)) == pytest.approx([0.18, 0.5, 0.5])


def test_recorded_tokens_may_come_in_any_shape():
    u, beta, weight = (
        np.array([0.1, 0.9, 0.5, 0.5]),
        np.array([0.0, 1.0, 0.4, 0.6]),
        np.array([1.0, 2.0, 3.0, 4.0]),
    )
    flat = Recorded(u, beta, weight).within(0.1)
    square = Recorded(u.reshape(2, 2), beta.reshape(2, 2), weight.reshape(2, 2))
    assert square.within(0.1) == flat
    assert square.risk([0.3, 0.5, 1.0]) == pytest.approx([0.0, 0.36, 0.56])


def test_whole_ties_give_the_last_atom_that_fits():
    law = Recorded([0.1, 0.2, 0.3, 0.3], [0.0, 0.2, 0.1, 0.1])
    whole = law.within(0.06, split_ties=False)
    assert whole == Threshold(0.2, 1.0, pytest.approx(0.05), pytest.approx(0.5))
    assert Recorded([0.1, 0.2], [0.5, 0.5]).within(0.2, split_ties=False) == Threshold(
        NEVER_SKIP, 1.0, 0.0, 0.0
    )
    assert law.within(1.0, split_ties=False) == Threshold(1.0, 1.0, pytest.approx(0.1), 1.0)


@given(recorded, units, st.booleans(), st.integers(0, 99))
def test_many_weights_are_many_laws_on_the_same_tokens(tokens, budget, split, seed):
    u, beta, _ = (np.array(column, dtype=float) for column in zip(*tokens, strict=True))
    weights = np.random.default_rng(seed).integers(1, 4, size=(3, u.size)).astype(float)
    many = Recorded(u, beta, weights)
    found = many.within(budget, split_ties=split)
    for place, weight in enumerate(weights):
        alone = Recorded(u, beta, weight)
        one = alone.within(budget, split_ties=split)
        for name in ("threshold", "tie_probability", "risk", "skip_rate"):
            assert getattr(found, name)[place] == getattr(one, name)
        assert many.risk(found.threshold)[place] == alone.risk(one.threshold)
        assert many.skip_rate(0.5)[place] == alone.skip_rate(0.5)


def test_a_resample_without_tokens_has_no_answer_and_does_not_stop_the_others():
    law = Recorded([0.1, 0.5], [0.2, 0.4], [[1.0, 1.0], [0.0, 0.0]])
    assert law.within(0.1, split_ties=False).threshold.tolist() == [0.1, NEVER_SKIP]
    assert np.isnan(law.risk(0.1)).tolist() == [False, True]


def test_nodes_stand_for_their_law():
    for law in (Uniform(), Beta(2.0, 3.0)):
        nodes = law.nodes(20_000)
        assert nodes.within(0.05, Line(0.8, -0.05)).threshold == pytest.approx(
            law.within(0.05, Line(0.8, -0.05)).threshold, abs=1e-3
        )
    recorded_law = Recorded([0.1, 0.2])
    assert recorded_law.nodes() is recorded_law
    assert repr(recorded_law) == "Recorded(2 tokens, rejections by the line)"
    assert repr(Recorded([0.1], [0.2])) == "Recorded(1 tokens, rejections recorded)"


def test_a_law_without_rejections_asks_for_a_line():
    for law in (Uniform(), Beta(2.0, 3.0), Recorded([0.5])):
        for call in (lambda law=law: law.risk(0.5), lambda law=law: law.within(0.1)):
            with pytest.raises(ValueError, match="line must be given for a law without recorded rejections"):
                call()


def test_an_array_of_two_columns_is_u_and_beta_and_one_is_u(tmp_path):
    pairs = np.array([[0.1, 0.0], [0.4, 0.2], [0.9, 1.0]])
    np.save(tmp_path / "pairs.npy", pairs)
    np.save(tmp_path / "u.npy", pairs[:, 0])
    both, alone = (parse_law(str(tmp_path / name)) for name in ("pairs.npy", "u.npy"))
    assert (both.uncertainty.tolist(), both.rejection.tolist()) == ([0.1, 0.4, 0.9], [0.0, 0.2, 1.0])
    assert (alone.uncertainty.tolist(), alone.rejection) == ([0.1, 0.4, 0.9], None)
    np.save(tmp_path / "wide.npy", np.zeros((4, 3)))
    with pytest.raises(
        ValueError, match=r"^--law must have shape \[N\] or \[N, 2\]; got .*, shape \(4, 3\)$"
    ):
        parse_law(str(tmp_path / "wide.npy"), option="--law")
    np.save(tmp_path / "deep.npy", np.zeros((1, 2, 2)))
    with pytest.raises(ValueError, match=r"^--law must have 1 to 2 axes, none empty; .*shape \(1, 2, 2\)$"):
        parse_law(str(tmp_path / "deep.npy"), option="--law")


def test_what_else_is_a_law_is_read_by_the_caller(tmp_path):
    found = Recorded([0.3])
    (tmp_path / "trace.parquet").touch()
    assert parse_law(str(tmp_path / "trace.parquet"), lambda path: found) is found
    with pytest.raises(ValueError, match="must be a file with recorded uncertainties"):
        parse_law(str(tmp_path / "trace.parquet"), lambda path: None)
    for text, refusal in (
        ("gamma", "must be uniform, beta:P,Q or an existing file"),
        ("beta:1", "two numbers"),
    ):
        with pytest.raises(ValueError, match=refusal):
            parse_law(text, lambda path: found)


def test_the_risk_threshold_is_the_best_by_brute_force():
    rng = np.random.default_rng(7)
    for _ in range(50):
        u = rng.integers(0, 8, size=20) / 7
        beta = rng.uniform(size=20) * rng.integers(0, 2, size=20)
        budget = rng.uniform(0.0, 0.4)
        allowed = [t for t in [NEVER_SKIP, *u] if np.mean(beta * (u <= t)) <= budget + 1e-12]
        best = 1.0 if np.mean(beta) <= budget else max(allowed)
        assert Recorded(u, beta).within(budget, split_ties=False).threshold == best


def test_a_budget_may_be_met_exactly_or_by_nothing():
    assert Recorded([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]).within(0.1, split_ties=False).threshold == 0.2
    assert Recorded([0.1, 0.2], [0.5, 0.5]).within(0.2, split_ties=False).threshold == NEVER_SKIP
    assert Recorded([0.1, 0.2], [0.0, 1.0]).within(0.0, split_ties=False).threshold == 0.1
    with pytest.raises(ValueError, match=r"budget must lie in \[0, 1\]; got 1.5"):
        Recorded([0.1], [0.1]).within(1.5, split_ties=False)


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
        assert Recorded(score, beta).within(risk).skip_rate == pytest.approx(
            _best_skip_rate(score, beta, risk)
        )
        weights = rng.integers(0, 3, size=(2, 25))
        for row, found in zip(weights, Recorded(score, beta, weights).within(risk).skip_rate, strict=True):
            expected = _best_skip_rate(np.repeat(score, row), np.repeat(beta, row), risk)
            assert found == pytest.approx(expected)
    assert Recorded([0.1, 0.2], [0.0, 0.5]).within(1.0).skip_rate == 1.0
    with pytest.raises(ValueError, match=r"budget must lie in \[0, 1\]; got 2"):
        Recorded([0.1], [0.0]).within(2.0)


def test_nothing_is_skipped_below_0_and_everything_above_1():
    for law in (Uniform(), Beta(2.0, 0.5), Recorded(np.array([0.0, 0.5, 1.0]))):
        assert [law.skip_rate(t) for t in (-0.5, 1.5)] == [0.0, 1.0]


@given(slopes, intercepts, st.floats(0.0, 3.0), st.floats(0.0, 3.0))
def test_cost_optimal_threshold_minimises_the_cost_of_every_token(slope, intercept, tau, price):
    u = np.linspace(0.0, 1.0, 201)
    skip_cost = price * Line(slope, intercept)(u)
    best = np.minimum(skip_cost, tau)
    t = Line(slope, intercept).cost_optimal(tau, price, clip=False)
    cost = np.where(u <= t, skip_cost, tau)
    assert cost == pytest.approx(best, abs=1e-9)
    clipped = Line(slope, intercept).cost_optimal(tau, price)
    assert clipped == max(t, 0.0)
    assert 0.0 <= clipped <= 1.0


def test_cost_optimal_of_any_finite_times_is_computed_in_float64():
    assert Line(1.0, 0.0).cost_optimal(1e300, 1e-300) == 1.0  # the ratio overflows
    tau, price = np.float32(0.1), np.float32(0.3)
    assert Line(0.5, 0.0).cost_optimal(tau, price) == pytest.approx(
        float(tau) / float(price) / 0.5, rel=1e-15
    )


def test_cost_optimal_formula_and_its_ends():
    assert Line(0.8, -0.05).cost_optimal(0.2, 0.5) == pytest.approx((0.4 + 0.05) / 0.8)
    assert Line(2.0, -0.5).cost_optimal(0.3, 0.4) == pytest.approx(0.625)
    assert Line(2.0, -0.5).cost_optimal(0.4, 0.4) == 1.0  # a bias of 1 costs no more than transmitting
    assert Line(0.8, 0.3).cost_optimal(0.1, 1.0) == 0.0
    assert Line(0.8, 0.3).cost_optimal(0.1, 1.0, clip=False) == pytest.approx(-0.25)
    assert Line(0.8, -0.1).cost_optimal(0.5, 0.0) == 1.0
    assert Line(0.8, -0.1).cost_optimal(0.0, 0.0) == 1.0
    assert Line(0.8, -0.1).cost_optimal(np.inf, 1.0) == 1.0
    assert Line(0.8, -0.1).cost_optimal(1.0, np.inf) == pytest.approx(0.125)
    assert Line(0.8, -0.1).cost_optimal(0.0, 1.0) == pytest.approx(0.125)
    assert Line(0.8, -0.1).cost_optimal([[0.0], [0.4]], [1.0, 0.8]) == pytest.approx(
        np.array([[0.125, 0.125], [0.625, 0.75]])
    )


@given(slopes, intercepts, st.floats(0.01, 1.0))
def test_cost_optimal_threshold_never_grows_with_snr_or_bandwidth(slope, intercept, price):
    snr = np.geomspace(1e-2, 1e4, 40)
    bandwidth_hz = np.geomspace(1e4, 1e8, 30)[:, None]
    transmit_s = 690.0 / (bandwidth_hz * np.log2(1.0 + snr)) + 0.05
    t = Line(slope, intercept).cost_optimal(transmit_s, price)
    assert np.all(np.diff(t, axis=0) <= 0.0)
    assert np.all(np.diff(t, axis=1) <= 0.0)


@given(st.floats(0.05, 4.0), st.floats(-0.9, 0.9), st.floats(0.0, 1.0), st.floats(0.01, 5.0))
def test_threshold_and_price_there_and_back(slope, intercept, t, tau):
    beta = Line(slope, intercept)(t)
    assume(1e-6 < beta < 1.0 - 1e-6)
    price = Line(slope, intercept).bias_price_s(t, tau)
    assert price == pytest.approx(tau / beta)
    assert Line(slope, intercept).cost_optimal(tau, price) == pytest.approx(t, abs=1e-9)


def test_price_where_the_line_is_flat():
    assert Line(0.8, -0.1).bias_price_s(0.05, 0.3) == np.inf
    assert Line(2.0, -0.4).bias_price_s([0.75, 0.9], 0.3).tolist() == [0.3, 0.3]
    assert Line(0.8, -0.1).bias_price_s([0.05, 0.5], [[0.3], [0.6]]).tolist() == [
        [np.inf, pytest.approx(1.0)],
        [np.inf, pytest.approx(2.0)],
    ]


@settings(max_examples=40)
@given(
    st.floats(0.05, 4.0),
    st.floats(-0.9, 0.9),
    st.floats(0.001, 0.9),
    st.floats(0.01, 5.0),
    st.sampled_from(["uniform", "low", "high"]),
)
def test_budget_and_price_there_and_back(slope, intercept, budget, tau, name):
    law = Beta(LAWS[name][0], LAWS[name][1])
    spent = law.within(budget, Line(slope, intercept))
    beta = Line(slope, intercept)(spent.threshold)
    assume(spent.threshold < 1.0 and 1e-4 < beta < 1.0 - 1e-6)
    price = bias_price_for_budget(budget, Line(slope, intercept), tau, law)
    assert price == pytest.approx(tau / beta)
    assert budget_for_bias_price(price, Line(slope, intercept), tau, law) == pytest.approx(budget, abs=1e-7)


def test_price_of_a_budget_is_its_derivative():
    slope, intercept, tau, law, step = 0.815, -0.066, 0.4, Beta(0.6, 2.5), 1e-5
    latency = [
        tau * (1.0 - law.within(e, Line(slope, intercept)).skip_rate) for e in (0.05 - step, 0.05 + step)
    ]
    price = bias_price_for_budget(0.05, Line(slope, intercept), tau, law)
    assert price == pytest.approx((latency[0] - latency[1]) / (2 * step), rel=1e-5)


def test_prices_at_the_ends():
    law = Uniform()
    assert bias_price_for_budget(0.9, Line(0.8, -0.1), 0.3, law) == 0.0  # nothing binds
    assert bias_price_for_budget(0.0, Line(0.8, -0.1), 0.3, law) == np.inf
    assert bias_price_for_budget(0.0, Line(0.8, 0.2), 0.3, law) == pytest.approx(1.5)
    assert budget_for_bias_price(0.0, Line(0.8, -0.1), 0.3, law) == pytest.approx(
        Uniform().risk(1.0, Line(0.8, -0.1))
    )
    assert budget_for_bias_price(10.0, Line(0.8, 0.2), 0.3, Recorded(np.zeros(3))) == 0.0
    all_of_it = Uniform().risk(1.0, Line(0.8, -0.1))
    assert bias_price_for_budget(float(all_of_it), Line(0.8, -0.1), 0.3, law) == pytest.approx(0.3 / 0.7)


def test_price_of_an_atom_covers_a_range_of_budgets():
    law = Recorded(np.array([0.2, 0.6, 0.6]))
    prices = {round(bias_price_for_budget(e, Line(0.5, 0.0), 0.3, law), 9) for e in (0.04, 0.1, 0.2)}
    assert prices == {1.0}
    assert budget_for_bias_price(1.0, Line(0.5, 0.0), 0.3, law) == pytest.approx((0.1 + 0.3 + 0.3) / 3)


GOOD = {
    "threshold": 0.4, "slope": 0.8, "intercept": -0.1, "delta": 0.5, "budget": 0.05,
    "alpha": 2.0, "beta": 1.5, "uncertainty": [0.2, 0.7], "rejection": [0.1, 0.6], "weight": [1.0, 2.0],
    "tie_probability": 0.5, "transmit_s": 0.1, "bias_price_s": 1.0,
}  # fmt: skip
TAKES = {
    "prone": ["slope", "intercept", "delta"],
    "uniform": ["threshold", "slope", "intercept"],
    "uniform within": ["slope", "intercept", "budget"],
    "beta": ["threshold", "slope", "intercept", "alpha", "beta"],
    "beta within": ["slope", "intercept", "budget", "alpha", "beta"],
    "recorded": ["threshold", "uncertainty", "rejection", "weight"],
    "recorded within": ["uncertainty", "rejection", "budget", "weight"],
    "optimal": ["slope", "intercept", "transmit_s", "bias_price_s"],
    "price": ["slope", "intercept", "threshold", "transmit_s"],
}
CALLS = {
    "prone": lambda slope, intercept, delta: Line(slope, intercept, delta).risk_prone,
    "uniform": lambda threshold, **line: Uniform().risk(threshold, Line(**line)),
    "uniform within": lambda budget, **line: Uniform().within(budget, Line(**line)),
    "beta": lambda threshold, alpha, beta, **line: Beta(alpha, beta).risk(threshold, Line(**line)),
    "beta within": lambda budget, alpha, beta, **line: Beta(alpha, beta).within(budget, Line(**line)),
    "recorded": lambda threshold, **law: Recorded(**law).risk(threshold),
    "recorded within": lambda budget, **law: Recorded(**law).within(budget),
    "optimal": lambda transmit_s, bias_price_s, **line: Line(**line).cost_optimal(transmit_s, bias_price_s),
    "price": lambda threshold, transmit_s, **line: Line(**line).bias_price_s(threshold, transmit_s),
}
POSITIVE, SECONDS = {"slope", "alpha", "beta"}, {"transmit_s", "bias_price_s"}
WITHIN_ONE = {"delta", "budget", "uncertainty", "rejection", "tie_probability"}


@pytest.mark.parametrize(
    ("function", "name"), [(function, name) for function, names in TAKES.items() for name in names]
)
def test_refuses_what_is_no_chance_shape_or_time(function, name):
    good = {argument: np.asarray(GOOD[argument]) for argument in TAKES[function]}
    call = CALLS[function]
    call(**good)
    bad_values = {math.nan: "be finite; got nan"}
    if name in SECONDS:
        bad_values = {bad: rf"be at least 0 \(infinite is allowed\); got {bad:g}" for bad in (math.nan, -0.5)}
    if name in POSITIVE:
        bad_values |= {bad: f"be positive; got {bad:g}" for bad in (0.0, -0.5)}
    if name in WITHIN_ONE or (function, name) == ("price", "threshold"):
        bad_values |= {bad: rf"lie in \[0, 1\]; got {bad:g}" for bad in (1.5, -0.5)}
    if name == "weight":
        bad_values[-0.5] = "be at least 0; got -0.5"
    for bad, text in bad_values.items():
        wrong = np.where(np.arange(good[name].size) == 0, bad, good[name]).reshape(good[name].shape)
        with pytest.raises(ValueError, match=f"^{name} must {text}$"):
            call(**(good | {name: wrong}))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Line(0.0, 0.1).risk_averse, "slope must be positive; got 0"),
        (lambda: Line(0.5, np.nan).risk_averse, "intercept must be finite; got nan"),
        (lambda: Line(-1.0, 0.1, 0.5).risk_prone, "slope must be positive; got -1"),
        (lambda: Line(1.0, 0.1, 1.5).risk_prone, r"delta must lie in \[0, 1\]; got 1.5"),
        (lambda: Uniform().risk(0.5, Line(0.0, 0.0)), "slope must be positive; got 0"),
        (lambda: Uniform().risk(np.nan, Line(1.0, 0.0)), "threshold must be finite; got nan"),
        (lambda: Uniform().within(0.1, Line(0.0, 0.0)), "slope must be positive; got 0"),
        (lambda: Uniform().within(-0.1, Line(1.0, 0.0)), r"budget must lie in \[0, 1\]; got -0.1"),
        (lambda: Beta(0.0, 1.0).risk(0.5, Line(1.0, 0.0)), "alpha must be positive; got 0"),
        (lambda: Beta(1.0, -1.0).risk(0.5, Line(1.0, 0.0)), "beta must be positive; got -1"),
        (lambda: Beta(1.0, 1.0).within(1.1, Line(1.0, 0.0)), r"budget must lie in \[0, 1\]; got 1.1"),
        (lambda: Beta(0.0, 1.0).within(0.1, Line(1.0, 0.0)), "alpha must be positive; got 0"),
        (lambda: Beta(1.0, 0.0), "beta must be positive; got 0"),
        (lambda: Recorded(np.array([1.2])), r"uncertainty must lie in \[0, 1\]; got 1.2"),
        (
            lambda: Recorded(np.array([0.2]), np.array([-0.5])),
            r"rejection must lie in \[0, 1\]; got -0.5",
        ),
        (lambda: Recorded([], []).risk(0.5), "^uncertainty must hold at least 1 token; got 0$"),
        (
            lambda: Recorded([0.1], [0.1, 0.2]).risk(0.5),
            "rejection must have as many tokens as uncertainty, 1; got 2",
        ),
        (lambda: Recorded([0.1], [0.1], [1, 1]).risk(0.5), "weight must have as many tokens"),
        (lambda: Recorded([0.1], [0.1], [0]).risk(0.5), "weight must have a positive sum; got 0"),
        (lambda: Recorded([0.1], [0.1]).within(1.1), r"budget must lie in \[0, 1\]; got 1.1"),
        (lambda: Recorded([0.1], [np.nan]).within(0.1), "rejection must be finite; got nan"),
        (lambda: Uniform().skip_rate(np.nan), "threshold must be finite; got nan"),
        (lambda: Line(0.0, 0.0).cost_optimal(0.1, 1.0), "slope must be positive; got 0"),
        (
            lambda: Line(1.0, 0.0).cost_optimal(-0.1, 1.0),
            r"transmit_s must be at least 0 \(infinite is allowed\); got -0.1",
        ),
        (lambda: Line(1.0, 0.0).cost_optimal(0.1, np.nan), "bias_price_s must be at least 0"),
        (lambda: Line(1.0, 0.0).bias_price_s(1.5, 0.1), r"threshold must lie in \[0, 1\]; got 1.5"),
        (lambda: Line(1.0, 0.0).bias_price_s(0.5, -0.1), "transmit_s must be at least 0"),
        (lambda: bias_price_for_budget(1.5, Line(1.0, 0.0), 0.1, Uniform()), r"budget must lie in \[0, 1\]"),
        (
            lambda: budget_for_bias_price(-1.0, Line(1.0, 0.0), 0.1, Uniform()),
            "bias_price_s must be at least 0",
        ),
    ],
)
def test_refuses_bad_input(call, text):
    with pytest.raises(ValueError, match=text):
        call()
