"""The kept law: outputs walked through by hand, a linear programme over all servers, decoded rounds."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.stats import chisquare

from cuhlm_theory import kept_law, throughput
from cuhlm_theory.parameters import Latency
from cuhlm_theory.verification import (
    kept_given_token,
    rejection_risk,
    server_sampling_law,
    total_variation,
)
from tests.test_verification import random_law

SEEDS = st.integers(0, 2**32 - 1)
few = settings(max_examples=60)


def random_case(rng, vocab_size):
    """Two laws, ties and zeros among them, and shares of every kind."""
    x, y = random_law(rng, vocab_size), random_law(rng, vocab_size)
    match rng.integers(4):
        case 0:  # ties: entries of y that are those of x, as far as the sums allow
            i, j = rng.choice(vocab_size, 2, replace=False)
            y = x.copy()
            moved = rng.random() * y[i]
            y[i], y[j] = y[i] - moved, y[j] + moved
        case 1:
            y = x.copy()
    s = [rng.random(vocab_size), rng.integers(0, 2, vocab_size), rng.choice([0.0, 0.5, 1.0], vocab_size)]
    return x, y, np.asarray(s[rng.integers(3)], dtype=float)


def walk(x, s, y):
    """Follow every draft through keeping and asking, and every answer; returns the law of the output."""
    m = [x[d] * s[d] for d in range(len(x))]
    rest = [max(y[i] - m[i], 0.0) for i in range(len(x))]
    q = np.zeros(len(x))
    for d in range(len(x)):
        q[d] += x[d] * s[d]
        for i in range(len(x)):
            q[i] += x[d] * (1 - s[d]) * (rest[i] / sum(rest) if sum(rest) > 0 else y[i])
    return q


# ---------------------------------------------------------------------------------- one draft


def test_the_output_is_what_a_walk_through_all_drafts_gives_and_its_bias_the_excess_of_m():
    rng = np.random.default_rng(0)
    for _ in range(3000):
        x, y, s = random_case(rng, int(rng.integers(2, 6)))
        m = kept_law.kept(x, s)
        q = kept_law.output_law(m, y)
        assert q == pytest.approx(walk(x, s, y), abs=1e-12)
        assert q.sum() == pytest.approx(1.0, abs=1e-12)
        assert np.all(q >= m - 1e-15)
        assert float(total_variation(q, y)) == pytest.approx(float(kept_law.bias(m, y)), abs=1e-12)


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_bias_is_the_distance_in_every_pattern_of_which_is_larger(size):
    rng = np.random.default_rng(size)
    for pattern in itertools.product((-1, 0, 1), repeat=size):  # the sign of m - y, token by token
        for _ in range(3):
            y = rng.dirichlet(np.ones(size))
            m = np.clip(y * (1 + np.array(pattern) * rng.random(size)), 0.0, 1.0)
            m *= min(1.0, 1.0 / m.sum())
            distance = float(np.maximum(m - y, 0).sum())
            q = kept_law.output_law(m, y)
            assert float(kept_law.bias(m, y)) == pytest.approx(distance, abs=1e-12)
            assert float(total_variation(q, y)) == pytest.approx(distance, abs=1e-12)


def test_no_server_does_better():
    rng = np.random.default_rng(1)
    for _ in range(150):
        size = int(rng.integers(2, 6))
        x, y, s = random_case(rng, size)
        m = x * s
        # variables: the output q and the excess e of q over y; least sum of e with q >= m, e >= q - y
        found = linprog(
            np.concatenate([np.zeros(size), np.ones(size)]),
            A_ub=np.hstack([np.eye(size), -np.eye(size)]),
            b_ub=y,
            A_eq=np.concatenate([np.ones(size), np.zeros(size)])[None],
            b_eq=[1.0],
            bounds=[(low, None) for low in m] + [(0, None)] * size,
        )
        assert found.status == 0
        assert float(kept_law.bias(m, y)) == pytest.approx(found.fun, abs=1e-8)


@few
@given(SEEDS)
def test_any_answer_leaves_at_least_the_bias(seed):
    rng = np.random.default_rng(seed)
    x, y, s = random_case(rng, int(rng.integers(2, 9)))
    m = kept_law.kept(x, s)
    other = m + (1 - m.sum()) * random_law(rng, x.size)
    assert float(total_variation(other, y)) >= float(kept_law.bias(m, y)) - 1e-12


@few
@given(SEEDS)
def test_bias_is_at_most_the_risk_and_equal_to_it_where_a_draft_is_kept_whole_or_not_at_all(seed):
    rng = np.random.default_rng(seed)
    x, y, s = random_case(rng, int(rng.integers(2, 9)))
    bias, risk = float(kept_law.bias(kept_law.kept(x, s), y)), float(rejection_risk(x, y, s))
    assert bias <= risk + 1e-12
    whole = np.round(s)
    equal = float(kept_law.bias(kept_law.kept(x, whole), y))
    assert equal == pytest.approx(float(rejection_risk(x, y, whole)), abs=1e-12)


def test_a_fraction_of_a_draft_may_cost_nothing_where_the_whole_costs_its_excess():
    x, y, s = [0.8, 0.2], [0.4, 0.6], [0.5, 0.0]
    assert float(kept_law.bias(kept_law.kept(x, s), y)) == 0.0
    assert float(rejection_risk(x, y, s)) == pytest.approx(0.2)


def test_a_server_that_draws_from_its_own_law_is_biased_where_this_one_is_not():
    law, skip = [0.75, 0.25], [1.0, 0.0]
    assert float(total_variation(server_sampling_law(law, law, skip), law)) == pytest.approx(3 / 16)
    m = kept_law.kept(law, skip)
    assert kept_law.output_law(m, law).tolist() == law
    assert kept_law.answer_law(m, law).tolist() == [0.0, 1.0]


def test_where_nothing_is_sent_the_output_is_the_draft_and_the_answer_is_never_missing():
    x, y = np.array([0.75, 0.25]), np.array([0.25, 0.75])
    assert kept_law.output_law(x, y).tolist() == x.tolist()
    assert float(kept_law.bias(x, y)) == 0.5
    assert kept_law.answer_law(y, y).tolist() == y.tolist()
    assert kept_law.output_law(y, y).tolist() == y.tolist()
    assert kept_law.output_law([0.0, 0.0], y).tolist() == y.tolist()


@few
@given(SEEDS, st.integers(2, 6))
def test_leading_axes_are_contexts(seed, size):
    rng = np.random.default_rng(seed)
    x = rng.dirichlet(np.ones(size), size=(2, 3))
    y = rng.dirichlet(np.ones(size), size=3)
    s = rng.random((2, 3, size))
    m = kept_law.kept(x, s)
    for index in np.ndindex(2, 3):
        one, other = m[index], y[index[1]]
        for function in (kept_law.bias, kept_law.output_law, kept_law.several_drafts_law):
            assert function(m, y)[index] == pytest.approx(function(one, other), abs=1e-14)


# ---------------------------------------------------------------------------------- what is sent


def test_a_threshold_keeps_no_more_tokens_than_its_bound():
    rng = np.random.default_rng(2)
    most_seen: dict[float, int] = {}
    for threshold in (0.0, 0.3, 0.49, 0.5, 0.6, 2 / 3, 0.8, 0.95):
        for _ in range(300):
            size = int(rng.integers(2, 30))
            certain = random_law(rng, size)  # 1 - ubar: a mean of softmax probabilities
            if rng.random() < 0.3:  # as many as there may be, exactly at the edge
                tied = min(int(1 / (1 - threshold)), size)
                certain = np.where(np.arange(size) < tied, 1 / tied, 0.0)
            number = int((1 - certain <= threshold).sum())
            assert number <= int(kept_law.most_kept_tokens(threshold, size))
            most_seen[threshold] = max(most_seen.get(threshold, 0), number)
    assert most_seen[0.49] == 1
    assert most_seen[0.5] == 2
    assert most_seen[0.8] == 5


@given(st.integers(1, 2000))
def test_the_bound_counts_whole_quotients_and_never_exceeds_the_vocabulary(number):
    assert int(kept_law.most_kept_tokens(1 - 1 / number, 1 << 15)) == number
    assert int(kept_law.most_kept_tokens(1 - 1 / number, 7)) == min(number, 7)
    assert int(kept_law.most_kept_tokens(1.0, 7)) == 7


@given(st.integers(1, 5000), st.data())
def test_a_packet_can_be_read_by_a_server_that_knows_the_bound(most, data):
    number = data.draw(st.integers(0, most))
    size, width = 5000, 8
    bits = int(kept_law.payload_bit(number, size, width, most))
    count = bits - number * (13 + width)  # 2^12 < 5000 <= 2^13
    assert 2 ** (count - 1) <= most < 2**count  # as few bits as number every count from 0 to the bound
    assert int(kept_law.payload_bit(0, size, width)) == 13


def test_a_kept_token_costs_24_bits_where_the_printed_packet_has_736_000():
    assert int(kept_law.payload_bit(1, 32_000, 8, 1)) == 24
    assert int(kept_law.payload_bit(0, 2, 1, 1)) == 1
    assert int(kept_law.payload_bit(1, 2, 1, 1)) == 3
    assert int(kept_law.payload_bit(1, 32_768, 8, 1)) == 24  # 15 bits tell 2^15 tokens apart
    assert kept_law.payload_bit([0, 1, 2], 151_936, 8, 2).tolist() == [2, 28, 54]


@few
@given(SEEDS, st.integers(1, 48))
def test_rounding_down_costs_skips_and_no_bias(seed, bits):
    rng = np.random.default_rng(seed)
    x, y, s = random_case(rng, int(rng.integers(2, 9)))
    m = kept_law.kept(x, s)
    down = kept_law.round_down(m, bits)
    levels = 2**bits - 1
    assert np.all(down <= m)
    assert np.all(down >= 0.0)
    assert np.all(m - down < 1 / levels + 1e-15)
    assert np.rint(down * levels) / levels == pytest.approx(down, abs=0.0)
    assert np.array_equal(kept_law.round_down(down, bits), down)
    assert float(kept_law.bias(down, y)) <= float(kept_law.bias(m, y))
    assert m.sum() - down.sum() <= np.count_nonzero(m) / levels + 1e-12


def test_rounding_keeps_certainty_and_grid_points():
    assert kept_law.round_down([1.0, 0.0], 8).tolist() == [1.0, 0.0]
    grid = np.arange(256) / 255
    for j in range(256):
        assert kept_law.round_down([grid[j], 0.0], 8)[0] == grid[j]
        if j:
            assert kept_law.round_down([np.nextafter(grid[j], 0.0), 0.0], 8)[0] == grid[j - 1]
    assert kept_law.round_down([0.999, 0.0], 1).tolist() == [0.0, 0.0]


# ---------------------------------------------------------------------------------- several drafts


def test_a_token_of_the_several_draft_form_has_the_law_of_the_llm():
    rng = np.random.default_rng(3)
    for _ in range(2000):
        x, y, s = random_case(rng, int(rng.integers(2, 6)))
        m = kept_law.kept(x, s)
        assert kept_law.several_drafts_law(m, y) == pytest.approx(y, abs=1e-12)
        assert m @ (1 - kept_law.acceptance(m, y)) == pytest.approx(float(kept_law.bias(m, y)), abs=1e-12)
        ends = float(np.maximum(y - m, 0).sum())
        assert 1 - m.sum() + float(kept_law.bias(m, y)) == pytest.approx(ends, abs=1e-12)


def chain(rng, size, order):
    """Laws x, y and shares for every context of up to ``order`` tokens."""
    return {
        context: random_case(rng, size)
        for length in range(order)
        for context in itertools.product(range(size), repeat=length)
    }


def run_law(world, size, length):
    """Joint law of the first tokens that rounds of several drafts write, outcome by outcome.

    A round drafts while it keeps; a state is (text, whether a draft was already sent back). Drafts after the
    first that is not left are rolled back, so a round's text is its left drafts and one drawn token.
    """
    done: dict[tuple[int, ...], float] = {}
    open_texts: dict[tuple[int, ...], float] = {(): 1.0}
    while open_texts:
        text, chance = open_texts.popitem()
        if len(text) == length:
            done[text] = done.get(text, 0.0) + chance
            continue
        x, y, s = world[text]
        m = kept_law.kept(x, s)
        left = m * kept_law.acceptance(m, y)
        answer = kept_law.answer_law(m, y)
        refused = 1.0 - left.sum()  # the device refuses, or the server does not leave the draft
        for token in range(size):
            share = chance * (left[token] + refused * answer[token])
            if share > 0:
                after = (*text, token)
                open_texts[after] = open_texts.get(after, 0.0) + share
    return done


@pytest.mark.parametrize("seed", range(25))
def test_three_tokens_of_the_several_draft_form_have_the_joint_law_of_the_llm(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 4))
    world = chain(rng, size, 3)
    got = run_law(world, size, 3)
    for text in itertools.product(range(size), repeat=3):
        wanted = np.prod([world[text[:n]][1][text[n]] for n in range(3)])
        assert got.get(text, 0.0) == pytest.approx(wanted, abs=1e-12)


def decode_one(rng, m, y, rounds):
    """Rounds of one draft: kept with m / x, else the server answers; drawn, not computed."""
    size = len(m)
    x = m + (1 - m.sum()) * np.full(size, 1 / size)  # any draft law above m
    drafts = rng.choice(size, size=rounds, p=x)
    keeps = rng.random(rounds) < m[drafts] / x[drafts]
    answers = rng.choice(size, size=rounds, p=kept_law.answer_law(m, y))
    return np.where(keeps, drafts, answers), keeps


def decode_several(rng, m, y, rounds):
    """Rounds of several drafts with every draft, refusal and answer drawn; tokens and lengths of rounds."""
    size = len(m)
    x = m + (1 - m.sum()) * np.full(size, 1 / size)
    answer, left = kept_law.answer_law(m, y), kept_law.acceptance(m, y)
    tokens, lengths = [], []
    for _ in range(rounds):
        run = []
        while True:  # the device drafts on until it refuses a draft
            draft = rng.choice(size, p=x)
            if rng.random() >= m[draft] / x[draft]:
                break
            run.append(draft)
        written = []
        for draft in run:  # the server's one pass
            if rng.random() >= left[draft]:
                break
            written.append(draft)
        written.append(rng.choice(size, p=answer))
        tokens += written
        lengths.append(len(written))
    return np.array(tokens), np.array(lengths)


def check_rounds_of_one_draft(rounds):
    rng = np.random.default_rng(7)
    y = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
    for m in (np.array([0.6, 0.0, 0.05, 0.0, 0.0]), np.array([0.3, 0.45, 0.0, 0.0, 0.2])):
        drawn, keeps = decode_one(rng, m, y, rounds)
        law = kept_law.output_law(m, y)
        assert chisquare(np.bincount(drawn, minlength=5), rounds * law).pvalue > 1e-3
        assert keeps.mean() == pytest.approx(m.sum(), abs=5 * np.sqrt(0.25 / rounds))


def check_rounds_of_several_drafts(rounds):
    rng = np.random.default_rng(8)
    y = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
    m = np.array([0.5, 0.0, 0.05, 0.0, 0.1])
    tokens, lengths = decode_several(rng, m, y, rounds)
    assert chisquare(np.bincount(tokens, minlength=5), tokens.size * y).pvalue > 1e-3
    mean = float(kept_law.tokens_per_round(1 - m.sum(), kept_law.bias(m, y)))
    ends = 1 / mean
    assert lengths.mean() == pytest.approx(mean, abs=5 * np.sqrt(1 - ends) / ends / np.sqrt(rounds))
    counts = np.bincount(np.minimum(lengths, 8))[1:]  # the last one and all beyond it
    geometric = ends * (1 - ends) ** np.arange(7)
    assert chisquare(counts, rounds * np.append(geometric, 1 - geometric.sum())).pvalue > 1e-3


def test_ten_thousand_rounds_follow_their_law():
    check_rounds_of_one_draft(10_000)
    check_rounds_of_several_drafts(2_000)


@pytest.mark.slow
def test_a_hundred_thousand_rounds_of_both_forms_follow_their_law():
    check_rounds_of_one_draft(100_000)
    check_rounds_of_several_drafts(100_000)


@few
@given(SEEDS)
def test_tokens_of_a_round_are_the_sum_of_the_chances_to_get_so_far(seed):
    rng = np.random.default_rng(seed)
    x, y, s = random_case(rng, int(rng.integers(2, 6)))
    m = kept_law.kept(x, s)
    risk = float(kept_law.bias(m, y))
    on = float((m * kept_law.acceptance(m, y)).sum())
    if on < 0.99:
        mean = float(kept_law.tokens_per_round(max(1 - m.sum(), 0.0), risk))
        assert mean == pytest.approx(sum(on**n for n in range(5000)), rel=1e-9)


def test_a_text_of_the_llm_tells_the_rounds_of_this_scheme():
    rng = np.random.default_rng(9)
    size, order = 3, 3
    world = chain(rng, size, order)
    # by drafting: the chance that a round is left whole for n drafts; by the text: products along it
    by_draft, by_text = 0.0, 0.0
    for text in itertools.product(range(size), repeat=order):
        drafted, written, left = 1.0, 1.0, 1.0
        for n in range(order):
            x, y, s = world[text[:n]]
            m = kept_law.kept(x, s)
            drafted *= m[text[n]] * kept_law.acceptance(m, y)[text[n]]
            written *= y[text[n]]
            left *= kept_given_token(m[text[n]], y[text[n]])
        by_draft += drafted
        by_text += written * left
    assert by_draft == pytest.approx(by_text, abs=1e-12)


def test_a_round_that_nothing_ends_has_no_end():
    assert float(kept_law.tokens_per_round(0.0, 0.0)) == np.inf
    assert float(kept_law.tokens_per_round(1.0, 0.0)) == 1.0
    assert float(kept_law.tokens_per_round(0.1 + 0.2, 0.7)) == 1.0  # together above 1 by rounding


# ---------------------------------------------------------------------------------- the best kept law


@few
@given(SEEDS, st.floats(0.0, 1.5))
def test_the_quantile_costs_least(seed, level):
    rng = np.random.default_rng(seed)
    ratio = np.round(rng.gamma(1.0, size=int(rng.integers(1, 9))), int(rng.integers(1, 6)))
    weight = rng.integers(0, 4, ratio.size) + np.eye(ratio.size)[0]
    share = kept_law.best_kept_share(ratio, level, weight)
    cost = kept_law.kept_share_cost_s(share, ratio, level, 1.0, weight)
    grid = np.unique(np.concatenate([np.linspace(0, 1, 201), np.minimum(ratio, 1)]))
    others = kept_law.kept_share_cost_s(grid, ratio[None], level, 1.0, weight[None])
    assert float(cost) <= others.min() + 1e-12
    assert float(share) >= grid[others <= others.min() - 1e-12].max(initial=0.0)  # the largest of the best
    below = float(weight[ratio < share].sum() / weight.sum())
    assert below <= level + 1e-9
    if share < 1.0:
        assert float(weight[ratio <= share].sum() / weight.sum()) > level - 1e-9


@few
@given(SEEDS)
def test_a_dearer_transmission_keeps_more(seed):
    rng = np.random.default_rng(seed)
    ratio = rng.gamma(0.7, size=12)
    shares = kept_law.best_kept_share(ratio, np.linspace(0, 1.2, 40))
    assert np.all(np.diff(shares) >= 0.0)
    assert shares[-1] == 1.0


def groups(rng):
    shape = (int(rng.integers(1, 5)), int(rng.integers(1, 6)))
    ratio = np.round(rng.gamma(0.8, size=shape), int(rng.integers(1, 5)))
    weight = rng.dirichlet(np.ones(ratio.size)).reshape(shape)
    if shape[1] > 1:
        weight[0, 0] = 0.0  # a group of fewer drafts
    return ratio, weight / weight.sum()


@few
@given(SEEDS, st.floats(0.0, 0.4))
def test_the_shares_within_a_budget_are_those_of_a_linear_programme_and_certified(seed, budget):
    rng = np.random.default_rng(seed)
    ratio, weight = groups(rng)
    best = kept_law.best_kept_shares(ratio, budget, weight)
    assert best.bias <= budget + 1e-12
    spent = (weight * np.maximum(best.share[:, None] - ratio, 0.0)).sum()
    assert spent == pytest.approx(best.bias, abs=1e-12)
    # variables: the shares and what each draft is kept above its ratio
    number, count = ratio.shape
    rows = np.zeros((ratio.size, number + ratio.size))
    for place, (g, n) in enumerate(np.ndindex(ratio.shape)):
        rows[place, g], rows[place, number + place] = 1.0, -1.0
        assert n < count
    found = linprog(
        np.concatenate([-weight.sum(axis=1), np.zeros(ratio.size)]),
        A_ub=np.vstack([rows, np.concatenate([np.zeros(number), weight.ravel()])]),
        b_ub=np.append(ratio.ravel(), budget),
        bounds=[(0, 1)] * number + [(0, None)] * ratio.size,
    )
    assert found.status == 0
    assert best.skip_rate == pytest.approx(-found.fun, abs=1e-8)
    bound = kept_law.least_transmit_probability(ratio, budget, best.level, weight)
    assert bound == pytest.approx(1 - best.skip_rate, abs=1e-9)


@few
@given(SEEDS, st.floats(0.0, 0.4), st.floats(0.01, 3.0))
def test_every_level_bounds_every_kept_law_of_the_groups(seed, budget, level):
    rng = np.random.default_rng(seed)
    ratio, weight = groups(rng)
    bound = kept_law.least_transmit_probability(ratio, budget, level, weight)
    for _ in range(20):
        share = rng.choice([rng.random(len(ratio)), rng.integers(0, 2, len(ratio)).astype(float)])
        if (weight * np.maximum(share[:, None] - ratio, 0.0)).sum() <= budget:
            assert bound <= 1 - float(weight.sum(axis=1) @ share) + 1e-9


def test_a_budget_that_covers_everything_keeps_everything():
    best = kept_law.best_kept_shares([[0.5, 0.9], [1.0, 2.0]], 0.5)
    assert best.share.tolist() == [1.0, 1.0]
    assert best.skip_rate == 1.0
    assert best.bias == pytest.approx(0.15)
    assert best.level == 1.0


def test_fractions_skip_more_than_thresholds_at_the_same_bias():
    ratio = np.array([[0.5, 0.5, 0.5, 0.5]])  # every draft would be refused half of the time
    best = kept_law.best_kept_shares(ratio, 0.0)
    assert best.share.tolist() == [0.5]  # for nothing, where all or nothing keeps nothing


# ---------------------------------------------------------------------------------- against the LLM


@given(
    st.floats(1e-3, 1.0), st.floats(0.0, 1.0), st.floats(1e-3, 1.0), st.floats(0.0, 0.9), st.floats(0.0, 0.9)
)
def test_at_the_break_even_skip_rate_a_round_takes_as_long_as_the_llm_alone(slm, up, llm, part, told):
    tau = Latency(slm_s=slm, llm_s=llm, llm_per_token_s=part * llm)
    later = told * (up + tau.llm.fixed_s)  # to tell a skipped token
    saves = float(throughput.skip_saves_s(tau, up)) - later
    rate = float(kept_law.llm_break_even_skip_rate(slm, up, saves))
    if rate <= 1.0:
        round_s = float(throughput.round_latency_s(tau, 1.0 - rate, up)) + rate * later
        assert round_s == pytest.approx(llm, rel=1e-9, abs=1e-9)
    else:
        assert slm + later > tau.llm.fixed_s


# ---------------------------------------------------------------------------------- refusals

Y = [0.5, 0.5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kept_law.kept([0.5, 0.5], [1.5, 0.0]), "skip must lie in"),
        (lambda: kept_law.kept([0.5, 0.5], [1.0, 0.0, 0.0]), "skip must have a last axis of 2"),
        (lambda: kept_law.bias([0.9, 0.2], Y), "kept_law must have a sum of at most 1"),
        (lambda: kept_law.bias([-0.1, 0.2], Y), "kept_law must be at least 0"),
        (lambda: kept_law.bias([0.1, 0.2, 0.3], Y), "llm_law must have the vocabulary of kept_law, 3"),
        (lambda: kept_law.output_law([0.5], [1.0]), "kept_law must have a last axis of at least 2"),
        (lambda: kept_law.answer_law([0.1, 0.1], [0.5, 0.2]), "llm_law must be probabilities"),
        (lambda: kept_law.most_kept_tokens(1.1, 10), "threshold must lie in"),
        (lambda: kept_law.most_kept_tokens(0.5, 1), "vocab_size must be at least 2"),
        (lambda: kept_law.payload_bit(3, 10, 8, 2), "num_kept must lie in"),
        (lambda: kept_law.payload_bit(0, 10, 8, 0), "most_kept must lie in"),
        (lambda: kept_law.payload_bit(0, 10, 0), "prob_bits must lie in"),
        (lambda: kept_law.round_down([0.5, 0.5], 49), "prob_bits must lie in"),
        (lambda: kept_law.acceptance(0.5, np.nan), "llm_prob must be finite"),
        (lambda: kept_law.tokens_per_round(0.7, 0.4), "at most 1 together"),
        (lambda: kept_law.best_kept_share([-0.1], 0.5), "ratio must be at least 0"),
        (lambda: kept_law.best_kept_share([], 0.5), "ratio must have a last axis"),
        (lambda: kept_law.best_kept_share([0.1, 0.2], 0.5, [0.0, 0.0]), "weight must be positive"),
        (lambda: kept_law.best_kept_share([0.1, 0.2], 0.5, [1.0, 1.0, 1.0]), "weight must broadcast"),
        (lambda: kept_law.best_kept_shares([[[0.1]]], 0.5), "ratio must be groups"),
        (lambda: kept_law.best_kept_shares([[0.1, 0.2]], 0.5, [[1.0]]), "weight must have the shape"),
        (lambda: kept_law.best_kept_shares([[0.1, 0.2]], 1.5), "budget must lie in"),
        (lambda: kept_law.best_kept_shares([[0.1]], 0.5, [[0.0]]), "weight must be positive"),
        (lambda: kept_law.least_transmit_probability([[0.1]], 0.5, 0.0), "level must be positive"),
        (lambda: kept_law.llm_break_even_skip_rate(0.1, 0.1, 0.0), "saves_s must be positive"),
    ],
)
def test_refuses_what_makes_no_sense(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_sum_that_rounding_put_above_one_is_one():
    m = np.array([0.7, 0.3], dtype=np.float32) * np.float32(1.00001)
    assert float(kept_law.output_law(m, Y).sum()) == pytest.approx(1.0, abs=1e-12)
