"""Shares to keep: the best against a linear programme, what estimating them costs, what can be promised."""

import numpy as np
import pytest

from calibration import promises

# ---------------------------------------------------------------------------------- bets


@pytest.mark.parametrize("place", [0, 1, 7, 30, 59])
def test_a_bet_knows_only_the_prompts_before_it(place):
    rng = np.random.default_rng(place)
    z, other = rng.random(60), rng.random(60)
    changed = np.where(np.arange(60) < place, z, other)
    before, after = promises.bets(z, 0.3, 0.1), promises.bets(changed, 0.3, 0.1)
    np.testing.assert_array_equal(before[: place + 1], after[: place + 1])
    assert np.all(before[place + 2 :] != after[place + 2 :])  # and it does use those


def test_capital_does_not_grow_on_average_at_the_mean_that_is_bet_against():
    """A peeking bet would: over every outcome of eight prompts, the mean capital is exactly 1."""
    epsilon, delta, mean = 0.5, 0.5, 0.0
    for code in range(256):
        z = np.array([(code >> place) & 1 for place in range(8)], dtype=float)
        chance = np.prod(np.where(z == 1.0, epsilon, 1.0 - epsilon))
        bet = promises.bets(z, epsilon, delta)
        assert bet.max() < 0.99 / (1.0 - epsilon)  # so that it depends on what was seen
        mean += chance * np.prod(1.0 - bet * (z - epsilon))
    assert mean == pytest.approx(1.0, abs=1e-12)
