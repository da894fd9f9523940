"""Verification: output laws against a walk through every draft and every resample, bounds in random cases."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from cuhlm_theory import verification
from cuhlm_theory.verification import bias_bound, output_law, rejection_risk, total_variation

SEEDS = st.integers(0, 2**32 - 1)


def random_law(rng, vocab_size):
    """Sharp or flat, with entries that are exactly zero in half of the cases."""
    law = rng.dirichlet(np.full(vocab_size, rng.choice([0.1, 0.5, 1.0, 10.0]))) + 1e-300
    if rng.random() < 0.5:
        law[rng.random(vocab_size) < 0.4] = 0.0
        law[rng.integers(vocab_size)] += 0.1
    return law / law.sum()


def random_skip(rng, vocab_size):
    return rng.choice([rng.random(vocab_size), rng.integers(0, 2, vocab_size).astype(float)])


def keep_largest(law, k):
    """x-hat: the k largest entries, the rest spread evenly."""
    kept = np.full(law.size, 0.0)
    top = np.argsort(-law, kind="stable")[:k]
    kept[top] = law[top]
    if k < law.size:
        kept[np.setdiff1d(np.arange(law.size), top)] = (1 - law[top].sum()) / (law.size - k)
    return np.maximum(kept, 0.0) / np.maximum(kept, 0.0).sum()


def walk(x, y, s, x_hat):
    """Follow every draft through skipping, acceptance and every resample; returns the law of the output."""
    q = np.zeros(x.size)
    excess = [max(y[i] - x_hat[i], 0.0) for i in range(x.size)]
    for d in range(x.size):
        q[d] += x[d] * s[d]
        accept = min(1.0, y[d] / x_hat[d]) if x_hat[d] > 0 else float(y[d] > 0)
        q[d] += x[d] * (1 - s[d]) * accept
        for i in range(x.size):
            share = excess[i] / sum(excess) if sum(excess) > 0 else y[i]
            q[i] += x[d] * (1 - s[d]) * (1 - accept) * share
    return q


def case(seed):
    rng = np.random.default_rng(seed)
    vocab_size = int(rng.integers(2, 7))
    return rng, random_law(rng, vocab_size), random_law(rng, vocab_size), random_skip(rng, vocab_size)


# distance, rejection, residual


@given(SEEDS)
def test_total_variation_is_the_largest_difference_on_an_event(seed):
    _, x, y, _ = case(seed)
    events = itertools.product([False, True], repeat=x.size)
    largest = max(x[list(event)].sum() - y[list(event)].sum() for event in events)
    assert total_variation(x, y) == pytest.approx(largest, abs=1e-14)
    assert total_variation(x, y) == total_variation(y, x)


def test_total_variation_at_its_ends():
    assert total_variation([0.3, 0.7], [0.3, 0.7]) == 0.0
    assert total_variation([1.0, 0.0], [0.0, 1.0]) == 1.0
    for num in range(1, 60):  # at 6, 10, 26 entries the sum is 1 + 2e-16
        even, none = np.full(num, 1 / num), np.zeros(num)
        distance = total_variation(np.append(even, none), np.append(none, even))
        assert 1.0 - 1e-15 <= distance <= 1.0


@given(SEEDS)
def test_the_mean_rejection_is_the_total_variation(seed):
    _, x, y, _ = case(seed)
    beta = verification.rejection_probability(x, y)
    assert float(x @ beta) == pytest.approx(float(total_variation(x, y)), abs=1e-12)


def test_rejection_at_known_points():
    got = verification.rejection_probability(
        [0.5, 0.5, 0.5, 1e-300, 0.0, 0.0, 1.0], [0.5, 0.1, 0.6, 0.0, 0.2, 0.0, 0.0]
    )
    np.testing.assert_allclose(got, [0.0, 0.8, 0.0, 1.0, 0.0, 1.0, 1.0], rtol=1e-15)
    assert verification.rejection_probability(0.5, np.nextafter(0.5, 0)) == pytest.approx(2**-53, rel=1e-9)


def test_the_llm_s_own_text_tells_the_joint_law_of_text_and_kept_drafts():
    rng = np.random.default_rng(11)
    x, y = rng.dirichlet(np.ones(3), (2, 4))  # [the start or the token before, V]
    num, seen, chance = 100_000, np.zeros((3, 2, 3, 2)), np.zeros((3, 2, 3, 2))
    context = np.zeros(num, dtype=int)
    told = []
    for _ in range(2):  # verification as it runs: draft, accept or resample
        draft = (rng.random(num)[:, None] > np.cumsum(x[context], axis=1)).sum(axis=1)
        accept = rng.random(num) < np.minimum(1.0, y[context, draft] / x[context, draft])
        excess = np.maximum(y - x, 0.0)[context]
        again = (
            rng.random(num)[:, None] * excess.sum(axis=1, keepdims=True) > np.cumsum(excess, axis=1)
        ).sum(1)
        word = np.where(accept, draft, again)
        told += [word, accept.astype(int)]
        context = word + 1
    np.add.at(seen, tuple(told), 1)
    for first, second in itertools.product(range(3), repeat=2):  # the text by y, then a coin for each token
        coin = verification.kept_given_token(
            x[[0, first + 1], [first, second]], y[[0, first + 1], [first, second]]
        )
        both = np.outer([1.0 - coin[0], coin[0]], [1.0 - coin[1], coin[1]])
        chance[first, :, second, :] = y[0, first] * y[first + 1, second] * both
    possible = chance > 1e-12
    assert seen[~possible].sum() == 0
    assert chisquare(seen[possible], num * chance[possible]).pvalue > 1e-3


def test_kept_given_token_at_known_points():
    kept = verification.kept_given_token([0.5, 0.1, 0.0], [0.25, 0.4, 1.0])
    np.testing.assert_allclose(kept, [1.0, 0.25, 0.0], rtol=1e-15)


@given(SEEDS)
def test_the_residual_is_a_law_on_the_tokens_that_are_never_rejected(seed):
    _, x, y, _ = case(seed)
    r = verification.residual(x, y)
    assert r.sum() == pytest.approx(1.0, abs=1e-12)
    if total_variation(x, y) > 1e-9:
        np.testing.assert_allclose(r * total_variation(x, y), np.maximum(y - x, 0.0), atol=1e-15)
        assert not np.any((r > 0) & (verification.rejection_probability(x, y) > 0))


def test_the_residual_of_equal_laws_is_the_law():
    y = [0.25, 0.5, 0.25]
    np.testing.assert_array_equal(verification.residual(y, y), y)
    both = verification.residual([y, [0.5, 0.5, 0.0]], [y, [0.25, 0.5, 0.25]])
    np.testing.assert_array_equal(both, [y, [0.0, 0.0, 1.0]])


# the output


@given(SEEDS)
def test_verification_makes_the_output_exactly_the_llms(seed):
    _, x, y, _ = case(seed)
    np.testing.assert_allclose(output_law(x, y), y, rtol=1e-12, atol=1e-15)


@given(SEEDS)
def test_the_output_law_is_what_a_walk_through_all_outcomes_gives(seed):
    rng, x, y, s = case(seed)
    x_hat = random_law(rng, x.size)
    np.testing.assert_allclose(output_law(x, y, skip=s), walk(x, y, s, x), atol=1e-14)
    np.testing.assert_allclose(output_law(x, y, skip=s, verify_with=x_hat), walk(x, y, s, x_hat), atol=1e-14)
    np.testing.assert_allclose(output_law(x, y, verify_with=x_hat), walk(x, y, 0 * s, x_hat), atol=1e-14)
    assert output_law(x, y, skip=s, verify_with=x_hat).sum() == pytest.approx(1.0, abs=1e-12)


def test_the_output_law_agrees_with_drawing_it():
    rng = np.random.default_rng(3)
    x, y, s = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5]), np.array([0.9, 0.1, 0.5])
    x_hat, num = np.array([0.5, 0.25, 0.25]), 100_000
    draft = rng.choice(3, num, p=x)
    kept = (rng.random(num) < s[draft]) | (rng.random(num) < np.minimum(1, y[draft] / x_hat[draft]))
    excess = np.maximum(y - x_hat, 0)
    out = np.where(kept, draft, rng.choice(3, num, p=excess / excess.sum()))
    q = output_law(x, y, skip=s, verify_with=x_hat)
    standard_error = np.sqrt(q * (1 - q) / num)
    assert np.all(np.abs(np.bincount(out, minlength=3) / num - q) < 4 * standard_error)


# risk is bias


@given(SEEDS)
def test_rejection_risk_is_the_bias(seed):
    _, x, y, s = case(seed)
    risk = float(rejection_risk(x, y, s))
    assert risk == pytest.approx(sum(x * s * verification.rejection_probability(x, y)), abs=1e-12)
    assert risk == pytest.approx(float(total_variation(output_law(x, y, skip=s), y)), abs=1e-12)


@given(SEEDS)
def test_skipping_everything_costs_the_whole_distance_and_nothing_costs_nothing(seed):
    _, x, y, _ = case(seed)
    assert rejection_risk(x, y, 1.0) == pytest.approx(float(total_variation(x, y)), abs=1e-12)
    assert rejection_risk(x, y, 0.0) == 0.0
    np.testing.assert_allclose(output_law(x, y, skip=1.0), x, atol=1e-15)
    np.testing.assert_allclose(rejection_risk(x, y, 0.25), 0.25 * total_variation(x, y), atol=1e-12)


# truncation


@settings(max_examples=300)
@given(SEEDS)
def test_the_distance_to_the_reconstruction_bounds_the_bias(seed):
    """`verification.bias_bound`, with either law's rejections, for top-k and for any x-hat."""
    rng, x, y, s = case(seed)
    top_k = keep_largest(x, int(rng.integers(1, x.size + 1)))
    for x_hat in (top_k, random_law(rng, x.size)):
        distance = float(total_variation(x, x_hat))
        unskipped = float(total_variation(output_law(x, y, verify_with=x_hat), y))
        assert unskipped <= distance + 1e-12
        bias = float(total_variation(output_law(x, y, skip=s, verify_with=x_hat), y))
        recorded = float(bias_bound(x, y, skip=s, verify_with=x_hat))
        assert recorded == pytest.approx(float(np.sum(s * np.maximum(x - y, 0))) + distance, abs=1e-12)
        assert bias <= recorded + 1e-12
        of_truncated = float(np.sum(s * np.maximum(x_hat - y, 0))) + distance
        assert bias <= of_truncated + 1e-12
        assert bias_bound(x, y, verify_with=x_hat) == pytest.approx(distance, abs=1e-12)


def test_truncation_is_due_in_full_even_when_almost_nothing_is_sent():
    """Charging TV_k only for sent tokens would claim 0.0099 here; the bias is 0.099."""
    x = np.array([0.9, 0.1] + [0.0] * 98)
    s = np.array([1.0] + [0.0] * 99)
    x_hat = keep_largest(x, 1)
    y = x_hat
    bias = float(total_variation(output_law(x, y, skip=s, verify_with=x_hat), y))
    truncation = float(total_variation(x, x_hat))
    assert rejection_risk(x, y, s) == 0.0
    assert bias == pytest.approx(truncation, rel=1e-9)
    assert truncation == pytest.approx(0.1 * 98 / 99, rel=1e-9)
    sent = float(np.sum(x * (1 - s)))
    assert bias > 9 * sent * truncation
    assert bias_bound(x, y, skip=s, verify_with=x_hat) == pytest.approx(bias, rel=1e-9)


def test_a_reconstruction_that_denies_the_draft_still_gives_a_law():
    x, y, x_hat = [0.5, 0.25, 0.25], [0.5, 0.0, 0.5], [0.5, 0.0, 0.5]
    np.testing.assert_allclose(output_law(x, y, verify_with=x_hat), [0.625, 0.0, 0.375])


# a server that draws for itself


@given(SEEDS)
def test_the_server_sampling_law_is_what_a_walk_gives(seed):
    _, x, y, s = case(seed)
    q = np.zeros(x.size)
    for d in range(x.size):
        q[d] += x[d] * s[d]
        q += x[d] * (1 - s[d]) * y
    np.testing.assert_allclose(verification.server_sampling_law(x, y, s), q, atol=1e-14)
    np.testing.assert_allclose(verification.server_sampling_law(x, y), y, atol=1e-14)


@given(SEEDS)
def test_a_server_that_draws_for_itself_is_as_good_only_if_skipping_ignores_the_draft(seed):
    """Equal bias when s is constant, never less when s is a rule that looks at the draft."""
    rng, x, y, _ = case(seed)
    constant = float(rng.random())
    blind = total_variation(verification.server_sampling_law(x, y, constant), y)
    assert blind == pytest.approx(float(rejection_risk(x, y, constant)), abs=1e-12)
    rule = rng.integers(0, 2, x.size).astype(float)
    seeing = total_variation(verification.server_sampling_law(x, y, rule), y)
    assert seeing >= rejection_risk(x, y, rule) - 1e-12


@pytest.mark.parametrize("top", [0.6, 0.9])
def test_server_sampling_is_biased_even_between_equal_models(top):
    x, s = np.array([top, 1 - top]), np.array([1.0, 0.0])
    assert rejection_risk(x, x, s) == 0.0
    assert total_variation(output_law(x, x, skip=s), x) == pytest.approx(0.0, abs=1e-15)
    bias = total_variation(verification.server_sampling_law(x, x, s), x)
    assert bias == pytest.approx(top * (1 - top), abs=1e-15)


# sequences


@given(SEEDS)
def test_sequences_differ_by_at_most_the_sum_of_the_biases_along_the_way(seed):
    rng = np.random.default_rng(seed)
    vocab_size, length = 3, 3
    prefixes = [p for n in range(length) for p in itertools.product(range(vocab_size), repeat=n)]
    decoder = {p: random_law(rng, vocab_size) for p in prefixes}
    llm = {p: 0.7 * decoder[p] + 0.3 * random_law(rng, vocab_size) for p in prefixes}

    def chance(model, sequence):
        return math.prod(model[sequence[:n]][token] for n, token in enumerate(sequence))

    sequences = list(itertools.product(range(vocab_size), repeat=length))
    distance = 0.5 * sum(abs(chance(decoder, s) - chance(llm, s)) for s in sequences)
    biases = [
        sum(
            chance(decoder, p) * float(total_variation(decoder[p], llm[p]))
            for p in itertools.product(range(vocab_size), repeat=n)
        )
        for n in range(length)
    ]
    assert distance <= verification.sequence_bias_bound(np.minimum(biases, 1.0)) + 1e-12
    agree_so_far, position = 1.0, 0.0  # the best coupling agrees with chance 1 - TV at each step
    worst = max(float(total_variation(decoder[p], llm[p])) for p in prefixes)
    for _ in range(20_000):
        position += agree_so_far
        agree_so_far *= 1 - worst
    if worst > 1e-2:
        assert verification.first_divergence(worst) == pytest.approx(position, rel=1e-9)


def test_sequence_bounds_at_their_ends():
    np.testing.assert_allclose(verification.sequence_bias_bound([[0.1, 0.2], [0.9, 0.9]]), [0.3, 1.0])
    worst = [0.0, 5e-324, 0.25, 1.0]
    np.testing.assert_array_equal(verification.first_divergence(worst), [math.inf, math.inf, 4.0, 1.0])


# shapes and refusals

TWO_LAWS = {
    "total_variation": ("p", "q"),
    "residual": ("draft_dist", "llm_dist"),
    "output_law": ("draft_law", "llm_law"),
    "server_sampling_law": ("draft_law", "llm_law"),
}


def call(function, first, second, **more):
    names = TWO_LAWS.get(function, ("draft_law", "llm_law"))
    return getattr(verification, function)(**dict(zip(names, (first, second), strict=True)), **more)


def test_contexts_and_models_broadcast():
    rng = np.random.default_rng(0)
    x = np.stack([random_law(rng, 5) for _ in range(6)]).reshape(2, 3, 5)
    y = np.stack([random_law(rng, 5) for _ in range(3)])
    s = rng.random((2, 1, 5))
    x_hat = random_law(rng, 5)
    q = output_law(x, y, skip=s, verify_with=x_hat)
    server = verification.server_sampling_law(x, y, s)
    r = verification.residual(x, y)
    assert q.shape == server.shape == r.shape == (2, 3, 5)
    assert total_variation(x, y).shape == (2, 3)
    for i, j in itertools.product(range(2), range(3)):
        np.testing.assert_allclose(q[i, j], walk(x[i, j], y[j], s[i, 0], x_hat), atol=1e-14)
        np.testing.assert_array_equal(server[i, j], verification.server_sampling_law(x[i, j], y[j], s[i, 0]))
        np.testing.assert_array_equal(r[i, j], verification.residual(x[i, j], y[j]))
        np.testing.assert_allclose(
            bias_bound(x, y, skip=s, verify_with=x_hat)[i, j],
            bias_bound(x[i, j], y[j], skip=s[i, 0], verify_with=x_hat),
        )


def test_float32_softmax_is_renormalised():
    x = np.random.default_rng(1).dirichlet(np.ones(50_000)).astype(np.float32)
    assert output_law(x, x[::-1]).sum() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("function", [*TWO_LAWS, "rejection_risk", "bias_bound"])
@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ([0.5, 0.6], r"must be probabilities that sum to 1 within 0.0001 \(not logits\); got a sum of 1.1"),
        (
            [2.0, -1.0],
            r"must be probabilities that sum to 1 within 0.0001 \(not logits\); got an entry of -1",
        ),
        ([0.5, math.nan], "must be finite; got nan"),
        ([1.0], "must have a last axis of at least 2 tokens; got 1"),
        (1.0, "must have a last axis of at least 2 tokens; got 1"),
        ("law", "must be numbers; got 'law'"),
    ],
)
def test_refuses_what_is_no_distribution(function, bad, text):
    more = {"rejection_risk": {"skip": 0.5}, "bias_bound": {"verify_with": [0.5, 0.5]}}.get(function, {})
    first, second = TWO_LAWS.get(function, ("draft_law", "llm_law"))
    with pytest.raises(ValueError, match=f"^{first} {text}$"):
        call(function, bad, [0.5, 0.5], **more)
    with pytest.raises(ValueError, match=f"^{second} {text}$"):
        call(function, [0.5, 0.5], bad, **more)
    if function in ("output_law", "bias_bound"):
        with pytest.raises(ValueError, match=f"^verify_with {text}$"):
            call(function, [0.5, 0.5], [0.5, 0.5], verify_with=bad)


@pytest.mark.parametrize("function", TWO_LAWS)
def test_refuses_different_vocabularies(function):
    first, second = TWO_LAWS[function]
    with pytest.raises(ValueError, match=f"^{second} must have the vocabulary of {first}, 2 tokens; got 3$"):
        call(function, [0.5, 0.5], [0.5, 0.25, 0.25])


def test_refuses_other_vocabularies_of_the_reconstruction():
    with pytest.raises(
        ValueError, match=r"^llm_law must have the vocabulary of verify_with, 3 tokens; got 2$"
    ):
        output_law([0.5, 0.5], [0.5, 0.5], verify_with=[0.5, 0.25, 0.25])
    with pytest.raises(
        ValueError, match=r"^verify_with must have the vocabulary of draft_law, 2 tokens; got 3$"
    ):
        bias_bound([0.5, 0.5], [0.5, 0.5], verify_with=[0.5, 0.25, 0.25])


@pytest.mark.parametrize("function", ["output_law", "server_sampling_law", "rejection_risk", "bias_bound"])
def test_refuses_skip_rules_that_are_none(function):
    more = {"verify_with": [0.5, 0.5]} if function == "bias_bound" else {}
    for bad, text in (
        ([0.5, 1.5], r"lie in \[0, 1\]; got 1.5"),
        ([-0.5, 0.5], r"lie in \[0, 1\]; got -0.5"),
        ([0.5, math.nan], "be finite; got nan"),
        ([0.5, 0.5, 0.5], "have a last axis of 2 tokens; got 3"),
    ):
        with pytest.raises(ValueError, match=f"^skip must {text}$"):
            call(function, [0.5, 0.5], [0.5, 0.5], skip=bad, **more)
    one = call(function, [0.5, 0.5], [0.25, 0.75], skip=[0.5], **more)
    np.testing.assert_array_equal(one, call(function, [0.5, 0.5], [0.25, 0.75], skip=0.5, **more))


@pytest.mark.parametrize(
    ("function", "name"),
    [("sequence_bias_bound", "bias"), ("first_divergence", "max_bias")],
)
def test_refuses_biases_outside_the_unit_interval(function, name):
    for bad in (-0.1, 1.1):
        with pytest.raises(ValueError, match=rf"^{name} must lie in \[0, 1\]; got {bad}$"):
            getattr(verification, function)([0.5, bad])


@pytest.mark.parametrize("function", ["rejection_probability", "kept_given_token"])
@pytest.mark.parametrize("name", ["draft_prob", "llm_prob"])
def test_refuses_probabilities_of_a_token_outside_the_unit_interval(function, name):
    for bad in (-0.1, 1.1):
        with pytest.raises(ValueError, match=rf"^{name} must lie in \[0, 1\]; got {bad}$"):
            getattr(verification, function)(**({"draft_prob": 0.5, "llm_prob": 0.5} | {name: bad}))
