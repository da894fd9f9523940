"""Verification's functions are the derived laws, on vocabularies small enough to write out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuhlm_theory import verification
from tests.joins.formula import derived, on_vocabulary, statement, value

few = settings(max_examples=25)


@st.composite
def laws(draw, count: int, size: int | None = None):
    """Distributions without zeros on one vocabulary."""
    size = size or draw(st.integers(2, 5))
    rows = draw(
        st.lists(st.lists(st.integers(1, 1000), min_size=size, max_size=size), min_size=count, max_size=count)
    )
    return [np.array(row) / sum(row) for row in rows]


@few
@given(laws(2))
def test_total_variation_and_rejection(pair):
    x, y = pair
    for claim in statement("verification.total_variation").claims[:2]:
        assert float(verification.total_variation(x, y)) == pytest.approx(
            on_vocabulary(claim.lhs, x=x, y=y), abs=1e-12
        )
    rejected = statement("verification.rejection_probability").claims[1]
    mean = float(x @ verification.rejection_probability(x, y))
    assert mean == pytest.approx(on_vocabulary(rejected.lhs, x=x, y=y), abs=1e-12)
    assert mean == pytest.approx(float(verification.total_variation(x, y)), abs=1e-12)


@few
@given(laws(2))
def test_a_text_of_the_llm_tells_which_drafts_were_kept(pair):
    x, y = pair
    kept = verification.kept_given_token(x, y)
    first, redrawn, follows, coupled = statement("verification.kept_given_token").claims
    for i in range(len(x)):
        numbers = {"x": x[i], "y": y[i]}
        assert y[i] * kept[i] == pytest.approx(value(first.lhs, **numbers), abs=1e-12)
        assert y[i] * (1 - kept[i]) == pytest.approx(value(redrawn.rhs, **numbers), abs=1e-12)
        assert value(coupled.lhs, **numbers) == pytest.approx(x[i], abs=1e-12)
    f = np.cos(np.arange(len(x)))
    assert float(y @ (kept * f)) == pytest.approx(on_vocabulary(follows.rhs, x=x, y=y, f=f), abs=1e-12)
    accepted = 1.0 - verification.rejection_probability(x, y)
    assert float(y @ (kept * f)) == pytest.approx(float(x @ (accepted * f)), abs=1e-12)


@few
@given(laws(2, 3), st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_output_law_with_skips_is_the_one_written_out_for_three_tokens(pair, skip):
    x, y = pair
    if np.allclose(x, y):
        return
    (written,) = [
        step.claim for step in statement("verification.risk_is_bias").steps if "Independent" in step.text
    ]
    numbers = {
        f"{name}_{i + 1}": float(v[i]) for name, v in (("x", x), ("y", y), ("s", skip)) for i in range(3)
    }
    q = verification.output_law(x, y, skip=skip)
    bias = float(verification.total_variation(q, y))
    assert bias == pytest.approx(value(written.lhs, **numbers), abs=1e-9)
    assert bias == pytest.approx(value(written.rhs, **numbers), abs=1e-9)
    assert bias == pytest.approx(float(verification.rejection_risk(x, y, skip)), abs=1e-12)


@few
@given(laws(2))
def test_output_law_without_skips_is_the_llm_and_the_residual_a_law(pair):
    x, y = pair
    assert verification.output_law(x, y) == pytest.approx(y, abs=1e-12)
    rest = verification.residual(x, y)
    assert rest.sum() == pytest.approx(1.0)
    assert rest.min() >= 0.0


@few
@given(laws(3, 4), st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_bias_bound_is_the_derived_sum_and_holds(three, skip):
    x, y, rebuilt = three
    (claim,) = statement("verification.bias_bound").claims
    bound = float(verification.bias_bound(x, y, skip=skip, verify_with=rebuilt))
    assert bound == pytest.approx(
        on_vocabulary(claim.rhs, x=x, y=y, xhat=rebuilt, s=np.array(skip)), abs=1e-9
    )
    q = verification.output_law(x, y, skip=skip, verify_with=rebuilt)
    assert on_vocabulary(claim.lhs, q=q, y=y) <= bound + 1e-12


@few
@given(laws(2, 3), st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_server_sampling_law(pair, skip):
    x, y = pair
    excess = statement("verification.server_sampling_law").claims[0].rhs
    p_skip = float(x @ np.array(skip))
    q = verification.server_sampling_law(x, y, skip)
    for i in range(3):
        expected = value(excess, x=float(x[i]), y=float(y[i]), s=skip[i], P_skip=p_skip)
        assert float(q[i] - y[i]) == pytest.approx(expected, abs=1e-12)


def test_server_sampling_counterexample():
    law = np.array([0.75, 0.25])
    bias = verification.total_variation(verification.server_sampling_law(law, law, [1.0, 0.0]), law)
    assert float(bias) == pytest.approx(3 / 16)
    assert float(verification.rejection_risk(law, law, [1.0, 0.0])) == 0.0


@few
@given(laws(2, 3), laws(6, 3))
def test_sequence_bias_bounds_the_law_of_two_tokens(first, then):
    contexts, p, q = first, np.array(then[:3]), np.array(then[3:])
    joint = np.abs(contexts[0][:, None] * p - contexts[1][:, None] * q).sum() / 2
    second = float(contexts[1] @ (np.abs(p - q).sum(axis=1) / 2))
    opening = float(np.abs(contexts[0] - contexts[1]).sum() / 2)
    assert joint <= float(verification.sequence_bias_bound([opening, second])) + 1e-12


@few
@given(st.floats(1e-6, 1.0))
def test_first_divergence(worst):
    assert float(verification.first_divergence(worst)) == pytest.approx(
        derived("verification.first_divergence", "E_b", b=worst)
    )
    # an independent route: the sum of the chances that n tokens agree
    if worst > 0.01:
        assert sum((1 - worst) ** n for n in range(5000)) == pytest.approx(1 / worst)


@few
@given(st.lists(st.floats(0.02, 1.0), min_size=1, max_size=6))
def test_no_course_of_biases_diverges_earlier_than_the_worst_one_throughout(biases):
    # the biases along a text, the last one for ever after
    agrees = np.cumprod([1.0, *(1.0 - b for b in biases)])
    position = float(agrees[:-1].sum()) + float(agrees[-1]) / biases[-1]
    bound = statement("verification.first_divergence").claims[0].lhs
    assert position >= value(bound, b=max(biases)) - 1e-9
    assert position >= float(verification.first_divergence(max(biases))) - 1e-9


@few
@given(laws(2, 4), st.lists(laws(1, 4), min_size=4, max_size=4))
def test_a_kernel_does_not_increase_total_variation(pair, rows):
    kernel = np.array([row[0] for row in rows])  # row i: where draft i goes
    before, after = pair[0] - pair[1], (pair[0] - pair[1]) @ kernel
    assert np.abs(after).sum() <= np.abs(before).sum() + 1e-12
