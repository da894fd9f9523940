"""An estimate is its number, its interval and where that comes from, and prints as much of it as there is."""

import json

import numpy as np
import pytest

from cuhlm_theory.estimate import Estimate


def test_an_estimate_of_replicates_has_their_central_95_percent():
    found = Estimate.of(0.5, np.linspace(0.0, 1.0, 2001), unit="s", how="over texts")
    assert (found.value, found.unit, found.how) == (0.5, "s", "over texts")
    assert found.ci95 == pytest.approx((0.025, 0.975))
    assert (found.low, found.high) == found.ci95
    assert all(type(number) is float for number in (found.value, *found.ci95))
    bare = Estimate.of(0.5, np.linspace(0.0, 1.0, 2001))
    assert (bare.unit, bare.how) == ("", "")


def test_it_leaves_as_plain_data():
    found = Estimate(2.0, 1.0, 3.0, "s")
    assert float(found) == 2.0
    assert json.loads(json.dumps(found.to_dict())) == {"value": 2.0, "ci95": [1.0, 3.0]}


@pytest.mark.parametrize("ends", [(None, None), (1.0, None), (None, 3.0)])
def test_without_both_ends_there_is_no_interval(ends):
    found = Estimate(2.0, *ends)
    assert found.ci95 is None
    assert found.to_dict() == {"value": 2.0, "ci95": None}
    assert repr(found) == "2"


def test_it_prints_three_digits_its_unit_and_its_interval():
    assert repr(Estimate(9.8482, 9.651, 10.07, unit="token/s")) == "9.85 token/s [9.65, 10.1]"
    assert repr(Estimate(9.8482, 9.651, 10.07)) == "9.85 [9.65, 10.1]"
    assert repr(Estimate(9.8482, unit="token/s")) == "9.85 token/s"
    assert repr(Estimate(np.inf, 1.0, 2.0, unit="s")) == "inf s"
    assert repr(Estimate(np.nan, np.nan, np.nan)) == "nan"
