"""Validators: what is good comes back as an array, what is bad is one line with name, bound and value."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuhlm_theory import _checks, errors

SCALARS = [_checks.as_floats, _checks.as_probability, _checks.as_nonnegative, _checks.as_positive]


@pytest.mark.parametrize("check", SCALARS)
def test_good_numbers_come_back_as_float64_of_their_shape(check):
    for good in (1, [1, 0.5], np.ones((2, 3), np.float32)):
        got = check("name", good)
        assert got.dtype == np.float64
        assert got.shape == np.shape(good)
        np.testing.assert_array_equal(got, good)


@pytest.mark.parametrize("check", [*SCALARS, _checks.as_count, _checks.as_distribution])
@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (math.nan, "name must be finite; got nan"),
        ([[1.0, 1.0], [-math.inf, 1.0]], "name must be finite; got -inf"),
        ("x", "name must be numbers; got 'x'"),
        ([1, "x"], r"name must be numbers; got \[1, 'x'\]"),
        ({}, "name must be numbers; got {}"),
        (1j, "name must be numbers; got 1j"),
        (np.array([1j]), r"name must be numbers; got array\(\[0.\+1.j\]\)"),
        ([[1], [1, 2]], r"name must be numbers; got \[\[1\], \[1, 2\]\]"),
    ],
)
def test_refuses_what_is_no_number(check, bad, text):
    with pytest.raises(ValueError, match=f"^{text}$"):
        check("name", bad)


@pytest.mark.parametrize(
    ("check", "ends", "bad", "bound"),
    [
        (_checks.as_probability, [0.0, 1.0], [-1e-9, 1.01], r"lie in \[0, 1\]"),
        (_checks.as_nonnegative, [0.0, 1e150], [-1e-9], "be at least 0"),
        (_checks.as_nonnegative, [5e-324], [1.01e150], r"be at most 1e\+150"),
        (_checks.as_positive, [1e-150, 1e150], [0.0, -2.5], "be positive"),
        (_checks.as_positive, [1.0], [5e-324], "be at least 1e-150"),
        (_checks.as_positive, [1.0], [1.01e150], r"be at most 1e\+150"),
    ],
)
def test_bounds_include_their_ends_and_nothing_beyond(check, ends, bad, bound):
    np.testing.assert_array_equal(check("name", ends), ends)
    for value in bad:
        with pytest.raises(ValueError, match=f"^name must {bound}; got {re.escape(f'{value:g}')}$"):
            check("name", [0.5, value])


# counts


def test_counts_come_back_as_int64():
    got = _checks.as_count("name", [[1.0, 2.0], [3.0, 2.0**53]])
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, [[1, 2], [3, 2**53]])
    assert _checks.as_count("name", 0, at_least=0) == 0
    assert _checks.as_count("name", 5, at_least=5, at_most=5) == 5


@pytest.mark.parametrize(
    ("value", "bounds", "text"),
    [
        (0, {}, "be at least 1; got 0"),
        (-1e300, {}, r"be at least 1; got -1e\+300"),
        (1.5, {}, "be a whole number; got 1.5"),
        ([2, 2.25], {}, "be a whole number; got 2.25"),
        (2.0**53 + 2, {}, r"be at most 9007199254740992; got 9.0072e\+15"),
        (1e300, {}, r"be at most 9007199254740992; got 1e\+300"),
        (4, {"at_least": 5}, "be at least 5; got 4"),
        (4, {"at_least": 5, "at_most": 7}, r"lie in \[5, 7\]; got 4"),
        (8, {"at_least": 5, "at_most": 7}, r"lie in \[5, 7\]; got 8"),
    ],
)
def test_refuses_what_is_no_count(value, bounds, text):
    with pytest.raises(ValueError, match=f"^name must {text}$"):
        _checks.as_count("name", value, **bounds)


# distributions and logits


@given(st.lists(st.floats(1e-3, 1.0), min_size=2, max_size=9), st.floats(-9.9e-5, 9.9e-5))
def test_distributions_are_renormalised_within_float32_rounding(weights, error):
    law = np.array(weights) / sum(weights)
    got = _checks.as_distribution("name", law * (1 + error))
    assert got.sum() == pytest.approx(1.0, abs=1e-15)
    np.testing.assert_allclose(got, law, rtol=1e-14)


def test_distributions_lie_along_the_last_axis():
    laws = [[[0.5, 0.5], [1.0, 0.0]]]
    np.testing.assert_array_equal(_checks.as_distribution("name", laws), laws)
    with pytest.raises(ValueError, match=r"got a sum of 0.75$"):
        _checks.as_distribution("name", [[0.5, 0.5], [0.5, 0.25], [0.95, 0.0]])


@pytest.mark.parametrize(
    ("bad", "got"),
    [
        ([0.5, 0.5002], "a sum of 1.0002"),
        ([0.5, 0.4998], "a sum of 0.9998"),
        ([2.0, 1.5, -2.5], "an entry of -2.5"),
        ([1.0 + 1e-9, -1e-9], "an entry of -1e-09"),
        ([0.0, 0.0], "a sum of 0"),
        ([12.0, 3.0, 7.0], "a sum of 22"),
    ],
)
def test_refuses_logits_where_probabilities_are_meant(bad, got):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        _checks.as_distribution("draft", bad)
    assert (
        str(caught.value)
        == f"draft must be probabilities that sum to 1 within 0.0001 (not logits); got {got}"
    )


@pytest.mark.parametrize("check", [_checks.as_distribution, _checks.as_logits])
@pytest.mark.parametrize(
    ("bad", "size"), [(1.0, 1), ([1.0], 1), ([[1.0], [1.0]], 1), ([], 0), (np.ones((3, 0)), 0)]
)
def test_refuses_a_vocabulary_of_one(check, bad, size):
    with pytest.raises(ValueError, match=f"^name must have a last axis of at least 2 tokens; got {size}$"):
        check("name", bad)


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ([[0.0, math.nan]], "be finite; got nan"),
        ([0.0, math.inf], "be finite; got inf"),
        (
            [[0.0, 1.0], [-math.inf, -math.inf]],
            "leave a token in every row; got one whose logits are all -inf",
        ),
        ("x", "be numbers; got 'x'"),
        (np.array([1j, 2]), r"be numbers; got array\(\[0.\+1.j, 2.\+0.j\]\)"),
    ],
)
def test_refuses_what_is_no_logit(bad, text):
    with pytest.raises(ValueError, match=f"^name must {text}$"):
        _checks.as_logits("name", bad)


def test_logits_may_be_any_finite_numbers_and_minus_infinity():
    logits = [[-1e300, 0.0], [1e300, -math.inf]]
    np.testing.assert_array_equal(_checks.as_logits("name", logits), logits)


# errors


def test_failures_of_a_computation_are_one_family_apart_from_bad_input():
    for error in (errors.DivergentError, errors.InfeasibleError, errors.MissingInputError):
        assert issubclass(error, errors.CuhlmError)
        assert not issubclass(error, ValueError)
