"""Truncation: the server's picture, its total variation, both rules, the bias it causes, quantisation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from cuhlm_theory import truncation, verification
from cuhlm_theory.contexts import Tokens
from cuhlm_theory.errors import InfeasibleError
from cuhlm_theory.rejection import Line
from cuhlm_theory.truncation import (
    drop_tail,
    exact_k,
    printed_bound,
    printed_budget,
    printed_k,
    printed_k_offline,
    quantisation_tv,
    quantisation_tv_bound,
    quantise,
    reconstruct,
    resampling_tv_bound,
    truncate_then_sample,
    truncation_tv,
    tv_profile,
)

LN2, LN1E = math.log(2.0), math.log1p(math.exp(-1.0))
units = st.floats(0.0, 1.0)


def brute_reconstruct(x, k):
    """Entry by entry, ties to the lower index."""
    kept = sorted(range(len(x)), key=lambda i: (-x[i], i))[:k]
    rest = [i for i in range(len(x)) if i not in kept]
    out = np.array(x, dtype=float)
    for i in rest:
        out[i] = (1.0 - sum(x[j] for j in kept)) / len(rest)
    return out


def brute_tv(x, k):
    return 0.5 * float(np.abs(np.asarray(x) - brute_reconstruct(x, k)).sum())


@st.composite
def distributions(draw, max_size=9):
    size = draw(st.integers(2, max_size))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.dirichlet(np.full(size, draw(st.sampled_from([0.1, 0.5, 1.0, 20.0]))))
    if draw(st.booleans()):
        x = np.round(x, 1) + draw(st.sampled_from([0.0, 0.01]))  # ties, zeros
    if x.sum() == 0.0:
        x[0] = 1.0
    return x / x.sum()


@given(distributions())
def test_server_rebuilds_what_is_printed(x):
    for k in range(1, x.size + 1):
        got = reconstruct(x, k)
        assert got == pytest.approx(brute_reconstruct(x, k), abs=1e-12)
        assert got.sum() == pytest.approx(1.0)
        assert truncation_tv(x, k) == pytest.approx(brute_tv(x, k), abs=1e-12)
        assert truncation_tv(x, k) == pytest.approx(verification.total_variation(x, got), abs=1e-12)
    assert reconstruct(x, x.size) == pytest.approx(x, rel=1e-15)


@given(distributions())
def test_profile_never_rises_and_ends_at_zero(x):
    grid = np.arange(1, x.size + 1)
    profile = tv_profile(x, grid)
    assert profile == pytest.approx([brute_tv(x, k) for k in grid], abs=1e-12)
    assert np.all(np.diff(profile) <= 1e-15)
    assert profile[-1] == profile[-2] == pytest.approx(0.0, abs=1e-15)
    assert tv_profile(x, grid[::-1]) == pytest.approx(profile[::-1], abs=1e-15)


@given(distributions(), units)
def test_exact_rule_agrees_with_brute_force(x, budget):
    table = [brute_tv(x, k) for k in range(1, x.size + 1)]
    budgets = [budget, 0.0, 1.0, *table]
    truth = [1 + next(i for i, tv in enumerate(table) if tv <= b + 1e-12) for b in budgets]
    assert [int(exact_k(x, min(b, 1.0))) for b in budgets] == truth
    assert exact_k(x, np.minimum(budgets, 1.0)).tolist() == truth


def test_exact_rule_by_hand():
    x = [0.5, 0.3, 0.2]  # TV_1 = 0.05
    assert exact_k(x, [0.049, 0.05, 0.051]).tolist() == [2, 1, 1]
    assert exact_k(np.full(6, 1 / 6), 0.0) == 1
    assert exact_k([0.0, 0.0, 1.0, 0.0], 0.0) == 1
    assert exact_k([0.25, 0.0, 0.75, 0.0], 0.0) == 2
    assert exact_k([0.6, 0.4, 0.0, 0.0], [0.26, 0.27]).tolist() == [2, 1]  # TV_1 = 4/15


def test_rounding_below_the_stated_slack_is_forgiven():
    x = np.array([0.6, 0.2 + 4e-13, 0.2 - 4e-13])
    assert exact_k(x, 0.0) == 1
    x = np.array([0.6, 0.2 + 4e-12, 0.2 - 4e-12])
    assert exact_k(x, 0.0) == 2


@pytest.mark.parametrize("vocab_size", [49_152, 151_936])
def test_exact_rule_on_a_real_vocabulary(vocab_size):
    rng = np.random.default_rng(0)
    x = special.softmax(rng.normal(size=vocab_size) * 3.0)
    descending = np.sort(x)[::-1]
    for budget in (0.3, 0.05, 0.001):
        k = int(exact_k(x, budget))  # V x V numbers would not fit in any memory
        for size, within in ((k, True), (k - 1, False)):
            tail = descending[size:]
            tv = 0.5 * np.abs(tail - tail.mean()).sum()
            assert (tv <= budget) == within
            assert truncation_tv(x, size) == pytest.approx(tv, abs=1e-12)
            assert tv_profile(x, [size, vocab_size]) == pytest.approx([tv, 0.0], abs=1e-12)


@pytest.mark.parametrize("seed", [44, 94, 143, 172, 196, 261])
def test_the_tail_of_one_size_is_that_of_the_profile(seed):
    """One size is found by selection and many by sorting: both must find the same tail."""
    x = np.random.default_rng(seed).random(1000)
    x /= x.sum()
    grid = np.array([1, 100, 333, 500, 666, 998, 1000])
    assert [float(truncation_tv(x, k)) for k in grid] == pytest.approx(tv_profile(x, grid), abs=1e-13)


def test_few_entries_are_found_without_sorting_all(monkeypatch):
    x = np.concatenate([np.full(10_000, 0.2e-4), [0.5, 0.3]])
    above = truncation._Above
    monkeypatch.setattr(truncation, "_Above", None)
    assert exact_k(x, [0.5, 0.21, 0.19]).tolist() == [1, 2, 2]
    assert tv_profile(x, [1, 2, x.size]) == pytest.approx([0.3, 0.0, 0.0], abs=1e-4)
    monkeypatch.setattr(truncation, "_Above", above)
    assert above(x, 0.19 / x.size).rising.size == 10_002  # every entry of the tail is just above budget / V
    assert above(x, 0.21 / x.size).rising.size == 2
    many = np.random.default_rng(0).permutation(np.linspace(0.0, 1.0, 10_000))
    many /= many.sum()
    k = int(exact_k(many, 0.1))  # more than are looked at first
    assert k > truncation._MOST
    assert truncation_tv(many, k) <= 0.1 < truncation_tv(many, k - 1)


@pytest.mark.parametrize("seed", range(20))
def test_samples_and_parts_change_nothing(monkeypatch, seed):
    """What large vocabularies take, on small ones: values many octaves apart, ties and zeros."""
    rng = np.random.default_rng(seed)
    x = rng.choice(np.concatenate([[0.0, 1.0], rng.random(20), 2.0 ** -rng.uniform(0.0, 90.0, 40)]), 300)
    x /= x.sum()
    descending = np.sort(x)[::-1]
    sizes = np.arange(1, 301)
    tails = (descending[k:] for k in sizes[:-1])
    tv = np.array([0.5 * np.abs(tail - tail.mean()).sum() for tail in tails] + [0.0])
    for name, small in (("_MOST", 8), ("_FEW", 2), ("_STRIDE", 2), ("_WAYS", 3)):
        monkeypatch.setattr(truncation, name, small)
    assert tv_profile(x, sizes) == pytest.approx(tv, abs=1e-14)
    assert tv_profile(x, [1, 3, 300]) == pytest.approx(tv[[0, 2, 299]], abs=1e-14)
    assert tv_profile(descending, sizes) == pytest.approx(tv, abs=1e-14)
    budgets = rng.uniform(0.0, 0.5, 20)
    assert exact_k(descending, budgets).tolist() == exact_k(x, budgets).tolist()
    budgets = np.concatenate([rng.random(5) * tv[0], tv[[0, 20, 200]], [0.0, 1.0]])
    assert exact_k(x, budgets).tolist() == [int(np.argmax(tv <= budget + 1e-12)) + 1 for budget in budgets]
    for k in (1, 3, 40, 299, 300):
        kept = np.argsort(-x, kind="stable")[:k]
        tail = np.delete(x, kept)
        rebuilt = np.full(300, tail.mean() if tail.size else 0.0)
        rebuilt[kept] = x[kept]
        assert reconstruct(x, k) == pytest.approx(rebuilt, abs=1e-15)


def test_batches_broadcast():
    rng = np.random.default_rng(1)
    x = rng.dirichlet(np.full(7, 0.4), size=(2, 3))
    budgets = np.array([0.01, 0.1, 0.3])
    single = [[[int(exact_k(x[i, j], b)) for b in budgets] for j in range(3)] for i in range(2)]
    assert exact_k(x[0], [budgets, budgets[::-1]]).tolist() == [
        [single[0][j][j] for j in range(3)],
        [single[0][j][2 - j] for j in range(3)],
    ]
    assert exact_k(x[..., None, :], budgets).tolist() == single
    assert exact_k(x, 0.1).tolist() == [[row[1] for row in block] for block in single]
    assert exact_k(x, budgets).tolist() == [[single[i][j][j] for j in range(3)] for i in range(2)]
    assert exact_k(x, [[0.01], [0.3]]).tolist() == [[r[0] for r in single[0]], [r[2] for r in single[1]]]
    assert truncation_tv(x, [1, 2, 3])[1, 2] == truncation_tv(x[1, 2], 3)
    assert truncation_tv(x, 2).shape == (2, 3)
    assert tv_profile(x, [1, 4]).shape == (2, 3, 2)
    assert tv_profile(x, [1, 4])[1, 0] == pytest.approx(truncation_tv(x[1, 0], [1, 4]))
    kept = reconstruct(x, [[1], [7]])
    assert kept[0, 2] == pytest.approx(reconstruct(x[0, 2], 1))
    assert kept[1] == pytest.approx(x[1])
    assert tv_profile(x[0, 0], 3).tolist() == [truncation_tv(x[0, 0], 3)]
    assert np.array_equal(tv_profile(x[0], [[1, 4], [2, 3]]), tv_profile(x[0], [1, 4, 2, 3]))
    for counts in (exact_k(x, 0.1), printed_k(x, 0.1, 0.5, 0.5)):
        assert counts.dtype == np.int64
    assert quantisation_tv(x, 3) == pytest.approx(
        np.array([[quantisation_tv(row, 3) for row in block] for block in x])
    )
    dropped = drop_tail(x, [1, 2, 3])
    assert dropped.sum(axis=-1) == pytest.approx(np.ones((2, 3)))
    assert dropped[1, 2] == pytest.approx(drop_tail(x[1, 2], 3))
    assert np.count_nonzero(dropped, axis=-1).tolist() == [[1, 2, 3]] * 2


@given(distributions(), st.integers(0, 2**32 - 1))
def test_truncation_tv_bounds_the_output_bias(x, seed):
    rng = np.random.default_rng(seed)
    y = rng.dirichlet(np.full(x.size, 0.4))
    for k in range(1, x.size + 1):
        seen = reconstruct(x, k)
        q = verification.output_law(x, y, verify_with=seen)
        assert verification.total_variation(q, y) <= truncation_tv(x, k) + 1e-12


@given(distributions(), st.integers(0, 2**32 - 1))
def test_dropping_the_tail_and_drafting_from_the_rest_is_unbiased(x, seed):
    y = np.random.default_rng(seed).dirichlet(np.full(x.size, 0.4))
    for k in range(1, x.size + 1):
        law = drop_tail(x, k)
        kept = brute_reconstruct(x, k) == x
        assert np.count_nonzero(law) <= k
        assert law.sum() == pytest.approx(1.0)
        top = np.sort(x)[::-1][:k]
        assert np.sort(law)[::-1][:k] == pytest.approx(top / top.sum(), abs=1e-12)
        assert law[law > 0] == pytest.approx(x[law > 0] / top.sum(), abs=1e-12)
        assert np.all(kept[law > 0])
        assert verification.output_law(law, y) == pytest.approx(y, abs=1e-12)
    assert truncate_then_sample is drop_tail


def test_among_ties_the_lower_token_is_kept():
    assert drop_tail([0.1, 0.4, 0.1, 0.4], 1).tolist() == [0.0, 1.0, 0.0, 0.0]
    assert drop_tail([0.2, 0.4, 0.2, 0.2], 2) == pytest.approx([1 / 3, 2 / 3, 0.0, 0.0])
    assert drop_tail([0.25] * 4, 3) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0.0])


def printed_denominator(x_d, beta):
    return (1.0 - x_d) * math.log(1.0 + math.exp(-1.0)) + x_d * math.log(1.0 + math.exp(-beta))


@given(units, units, units)
def test_printed_bound_is_the_reconstructed_formula(tv, x_d, beta):
    got = printed_bound(tv, x_d, beta)
    assert got == pytest.approx(2.0 * tv / printed_denominator(x_d, beta), rel=1e-12)
    assert 2.0 / LN2 * tv * (1 - 1e-12) <= got <= 2.0 / LN1E * tv * (1 + 1e-12)


def test_printed_bound_over_tv_reaches_both_ends():
    assert printed_bound(1.0, 1.0, 0.0) == pytest.approx(2.0 / LN2)
    assert printed_bound(1.0, 0.0, 0.3) == pytest.approx(2.0 / LN1E)
    assert printed_bound(1.0, 1.0, 1.0) == pytest.approx(2.0 / LN1E)
    assert (round(2.0 / LN2, 3), round(2.0 / LN1E, 3)) == (2.885, 6.384)


def test_printed_bound_counts_absolute_differences_beyond_k():
    x = np.array([0.4, 0.3, 0.2, 0.1])
    for k in (1, 2, 3):
        tail = np.abs(x - brute_reconstruct(x, k))[k:].sum()
        value = printed_bound(truncation_tv(x, k), x[1], 0.25)
        assert value == pytest.approx(tail / printed_denominator(0.3, 0.25))


@given(units, units, units)
def test_the_printed_bound_meets_its_budget_where_tv_meets_the_exact_rules(budget, x_d, beta):
    allowed = printed_budget(budget, x_d, beta)
    assert printed_bound(allowed, x_d, beta) == pytest.approx(budget, rel=1e-12)
    assert allowed <= budget * LN2 / 2.0 * (1 + 1e-12)


@given(distributions(max_size=30), units, units, st.integers(0, 1000))
def test_printed_rule_agrees_with_brute_force_and_never_keeps_fewer(x, budget, beta, pick):
    x_d = float(x[pick % x.size])
    bounds = [2.0 * brute_tv(x, k) / printed_denominator(x_d, beta) for k in range(1, x.size + 1)]
    k = int(printed_k(x, budget, x_d, beta))
    assert k == 1 + next(i for i, bound in enumerate(bounds) if bound <= budget + 1e-11)
    assert k >= exact_k(x, budget)


def test_printed_rule_takes_every_draft_of_one_context():
    x = np.random.default_rng(2).dirichlet(np.full(40, 0.3))
    beta = Line(0.8, -0.05)(np.linspace(0.0, 1.0, 40))
    together = printed_k(x, 0.1, x, beta)
    assert together.tolist() == [int(printed_k(x, 0.1, x[d], beta[d])) for d in range(40)]
    assert len(set(together.tolist())) > 1
    rows = printed_k(np.tile(x, (40, 1)), 0.1, x, beta)
    assert rows.tolist() == together.tolist()


def test_offline_rule_averages_over_tokens():
    rng = np.random.default_rng(3)
    x = rng.dirichlet(np.full(12, 0.3), size=6)
    grid = np.array([1, 2, 3, 5, 8, 12])
    profile = tv_profile(x, grid)
    x_d, beta = x[:, 0], Line(0.8, -0.05)(rng.random(6))
    u = np.array(
        [[2 * profile[n, j] / printed_denominator(x_d[n], beta[n]) for j in range(6)] for n in range(6)]
    )
    for budget in (1.0, 0.4, 0.1, 0.02, 0.0):
        assert (
            printed_k_offline(profile, grid, x_d, beta, budget)
            == grid[np.flatnonzero(u.mean(axis=0) <= budget)[0]]
        )
    chosen = []
    for n, weight in enumerate(np.eye(6)):
        alone = printed_k_offline(profile, grid, x_d, beta, 0.4, weight=3.0 * weight)
        assert alone == grid[np.flatnonzero(u[n] <= 0.4)[0]]
        chosen.append(alone)
    assert len(set(chosen)) > 1
    exactly = float(u.mean(axis=0)[2])
    assert printed_k_offline(profile, grid, x_d, beta, exactly) == 3
    left = rf"the largest, 5, leaves {u.mean(axis=0)[3]:.4g}: end k_grid at the vocabulary size, or raise"
    with pytest.raises(InfeasibleError, match=left):
        printed_k_offline(profile[:, :4], grid[:4], x_d, beta, 0.0)


def resampling_tv(x, seen, y):
    r, r_hat = np.maximum(y - x, 0.0), np.maximum(y - seen, 0.0)
    return 0.5 * float(np.abs(r / r.sum() - r_hat / r_hat.sum()).sum())


def test_resampling_bound_holds_where_the_printed_bound_fails():
    rng = np.random.default_rng(4)
    below = 0
    for _ in range(400):
        x, y = rng.dirichlet(np.full(8, 0.5), size=2)
        y = 0.9 * x + 0.1 * y  # models that agree well: the denominator is small
        k, d = int(rng.integers(1, 7)), int(rng.integers(8))
        seen = reconstruct(x, k)
        tv, far = truncation_tv(x, k), verification.total_variation(x, y)
        if np.maximum(y - seen, 0.0).sum() < 1e-9:
            continue
        moved = resampling_tv(x, seen, y)
        assert moved <= resampling_tv_bound(tv, far) + 1e-12
        below += printed_bound(tv, x[d], max(0.0, 1.0 - y[d] / x[d])) < moved
    assert below > 20


def output_with_skipping(x, seen, y, share):
    """Law of a token: each draft is kept with a chance of its own, else verified with what was sent."""
    law = share * x
    residual = np.maximum(y - seen, 0.0)
    for d, chance in enumerate((1.0 - share) * x):
        accepts = min(1.0, y[d] / seen[d])
        law[d] += chance * accepts
        law += chance * (1.0 - accepts) * residual / max(residual.sum(), 1e-300)
    return law


def test_the_recorded_account_is_above_the_exact_bias_of_every_output():
    """At a recorded size, at one between two, and where fewer entries are sent than may be kept."""
    rng = np.random.default_rng(5)
    below, rises = 0, 0
    for _ in range(600):
        x, y = rng.dirichlet(np.full(6, 0.5), size=2)
        x = np.sort(np.maximum(x, 1e-9) / np.maximum(x, 1e-9).sum())[::-1]
        sizes, nothing = np.arange(1, 7), np.zeros(6)
        known = [
            verification.total_variation(output_with_skipping(x, reconstruct(x, k), y, nothing), y)
            for k in sizes
        ]
        rises += bool(np.any(np.diff(known) > 1e-9))
        coarse = np.array([1, 3, 6])
        tokens = Tokens(
            uncertainty=np.zeros(1),
            rejection=np.zeros(1),
            k_grid=sizes,
            tv_profile=truncation_tv(x, sizes)[None],
            coarse_k_grid=coarse,
            output_bias=np.array([[known[k - 1] for k in coarse]]),
        )
        may_keep = int(rng.integers(1, 4))
        share = np.where(np.arange(6) < may_keep, rng.random(6), 0.0)
        risk = float(share @ np.maximum(x - y, 0.0))
        for k in sizes:
            bias = verification.total_variation(output_with_skipping(x, reconstruct(x, k), y, share), y)
            charged = float(tokens.output_bias_at(np.array([k]), may_keep)[0])
            assert bias <= risk + charged + 1e-12
            below += charged < truncation_tv(x, k) - 1e-6
    assert below > 200
    assert rises > 5  # so that no size stands for another


def test_resampling_bound_values():
    assert resampling_tv_bound(0.1, 0.5) == pytest.approx(0.4)
    assert resampling_tv_bound([0.0, 0.3, 0.3], [0.0, 0.0, 0.5]).tolist() == [1.0, 1.0, 1.0]
    assert resampling_tv_bound(0.0, 0.5) == 0.0
    assert resampling_tv_bound([[0.1]], [0.4, 0.8]) == pytest.approx(np.array([[0.5, 0.25]]))


@given(distributions(max_size=40), st.integers(1, 16))
def test_quantised_distribution_is_the_nearest_on_the_lattice(x, prob_bits):
    levels = 2**prob_bits - 1
    q = quantise(x, prob_bits)
    count = q * levels
    assert count == pytest.approx(np.rint(count), abs=1e-6)
    assert np.rint(count).sum() == levels
    assert np.all(np.abs(q - x) < 1.0 / levels + 1e-12)
    assert np.all(q[x == 0.0] == 0.0)
    tv = quantisation_tv(x, prob_bits)
    assert tv == pytest.approx(verification.total_variation(x, q), abs=1e-15)
    assert tv <= quantisation_tv_bound(np.count_nonzero(x), prob_bits) + 1e-12


def test_quantisation_by_hand():
    # levels 3: scaled 1.5, 0.9, 0.6 -> 1, 0, 0 with remainders .5, .9, .6; two levels left over
    assert quantise([0.5, 0.3, 0.2], 2) == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    assert quantisation_tv([0.5, 0.3, 0.2], 2) == pytest.approx(1 / 6)
    assert quantise([0.5, 0.5], 1).tolist() == [1.0, 0.0]  # a tie goes to the lower token
    assert quantise([[0.2, 0.8], [1.0, 0.0]], 4) == pytest.approx(np.array([[0.2, 0.8], [1.0, 0.0]]))
    assert quantise([0.3, 0.7], 48) == pytest.approx([0.3, 0.7], abs=1e-14)


def test_quantisation_bound_is_reached():
    # 2n equal entries whose remainders are all one half: R = n, TV = 2n / (4 l)
    assert quantisation_tv(np.full(2, 0.5), 3) == pytest.approx(quantisation_tv_bound(2, 3))
    assert quantisation_tv_bound([30, 10_000], 8).tolist() == pytest.approx([30 / 1020, 1.0])


def test_drafting_from_the_quantised_distribution_is_unbiased():
    x, y = np.random.default_rng(5).dirichlet(np.full(6, 0.7), size=2)
    q = quantise(x, 3)
    assert verification.output_law(q, y) == pytest.approx(y, abs=1e-12)


GOOD = [0.5, 0.3, 0.2]


@pytest.mark.parametrize(
    "call",
    [
        lambda x: reconstruct(x, 1),
        lambda x: drop_tail(x, 1),
        lambda x: truncation_tv(x, 1),
        lambda x: tv_profile(x, [1]),
        lambda x: exact_k(x, 0.1),
        lambda x: printed_k(x, 0.1, 0.5, 0.5),
        lambda x: quantise(x, 8),
        lambda x: quantisation_tv(x, 8),
    ],
)
def test_refuses_what_is_no_distribution(call):
    with pytest.raises(ValueError, match=r"^dist must be probabilities .* \(not logits\); got a sum of 3$"):
        call([2.0, 1.0])
    with pytest.raises(ValueError, match=r"^dist must be finite; got nan$"):
        call([np.nan, 1.0])


def test_refuses_weights_that_are_none():
    for bad in (-0.5, np.nan):
        with pytest.raises(ValueError, match=rf"^weight must be .*; got {bad:g}$"):
            printed_k_offline([[0.1], [0.1]], [1], 0.5, 0.5, 1.0, weight=[1.0, bad])


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: reconstruct(GOOD, 4), r"k must lie in \[1, 3\]; got 4"),
        (lambda: reconstruct(GOOD, 0), r"k must lie in \[1, 3\]; got 0"),
        (
            lambda: reconstruct([3.0, -1.0, 0.5], 1),
            r"must be probabilities .*\(not logits\); got an entry of -1",
        ),
        (lambda: drop_tail(GOOD, 1.5), "k must be a whole number; got 1.5"),
        (lambda: drop_tail([1.0], 1), "dist must have a last axis of at least 2 tokens; got 1"),
        (lambda: truncation_tv(GOOD, 4), r"k must lie in \[1, 3\]; got 4"),
        (lambda: truncation_tv([0.5, np.nan], 1), "dist must be finite; got nan"),
        (lambda: tv_profile(GOOD, [1, 4]), r"k must lie in \[1, 3\]; got 4"),
        (lambda: tv_profile([0.9, 0.3], [1]), "must be probabilities .* got a sum of 1.2"),
        (lambda: exact_k(GOOD, 1.1), r"budget must lie in \[0, 1\]; got 1.1"),
        (lambda: exact_k([2.0, 1.0], 0.1), r"\(not logits\); got a sum of 3"),
        (lambda: exact_k([GOOD, GOOD], [0.1, 0.1, 0.1]), r"\(2,\), must broadcast with \(3,\)"),
        (lambda: printed_bound(1.1, 0.5, 0.5), r"tv must lie in \[0, 1\]; got 1.1"),
        (lambda: printed_bound(0.1, 1.5, 0.5), r"draft_prob must lie in \[0, 1\]; got 1.5"),
        (lambda: printed_bound(0.1, 0.5, -0.5), r"rejection must lie in \[0, 1\]; got -0.5"),
        (lambda: resampling_tv_bound(-0.1, 0.5), r"tv must lie in \[0, 1\]; got -0.1"),
        (lambda: resampling_tv_bound(0.1, 1.5), r"tv_from_llm must lie in \[0, 1\]; got 1.5"),
        (lambda: printed_k(GOOD, -0.1, 0.5, 0.5), r"budget must lie in \[0, 1\]; got -0.1"),
        (lambda: printed_k([3.0, 1.0], 0.1, 0.5, 0.5), "not logits"),
        (
            lambda: printed_k_offline([[0.1]], [1, 2], [0.5], [0.5], 0.1),
            r"K = len\(k_grid\) = 2; got \(1, 1\)",
        ),
        (lambda: printed_k_offline([0.1], [1], [0.5], [0.5], 0.1), r"tv_profile must have shape \[N, K\]"),
        (lambda: printed_k_offline([[0.1, 0.2]], [2, 2], [0.5], [0.5], 0.1), "k_grid must increase"),
        (lambda: printed_k_offline([[0.1]], [0], [0.5], [0.5], 0.1), "k_grid must be at least 1; got 0"),
        (lambda: printed_k_offline([[0.1]], [1], [0.5], [0.5], 1.1), r"budget must lie in \[0, 1\]; got 1.1"),
        (lambda: printed_k_offline([[1.1]], [1], [0.5], [0.5], 0.1), r"tv_profile must lie in \[0, 1\]"),
        (lambda: quantise(GOOD, 0), r"prob_bits must lie in \[1, 48\]; got 0"),
        (lambda: quantise(GOOD, 49), r"prob_bits must lie in \[1, 48\]; got 49"),
        (lambda: quantise([3.0, 1.0], 8), "not logits"),
        (lambda: quantisation_tv([3.0, 1.0], 8), "not logits"),
        (lambda: quantisation_tv_bound(0, 8), "num_entries must be at least 1; got 0"),
    ],
)
def test_refuses_bad_input(call, text):
    with pytest.raises(ValueError, match=text):
        call()
