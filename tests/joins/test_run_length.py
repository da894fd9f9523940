"""The tail of a packet's latency and its growth with the run are the derived ones."""

import numpy as np
import pytest

from cuhlm_theory import run_length
from tests.joins.formula import statement, value

LINK = {"bits": 512_000.0, "bandwidth_hz": 1e6, "mean_snr": 10**-0.892}
SYMBOLS = {"B": 512_000.0, "W": 1e6, "gammabar": 10**-0.892}


@pytest.mark.parametrize("time", [0.5, 3.0, 20.0, 1e3])
def test_the_tail_is_that_of_the_derivation(time):
    chance, limit = statement("run_length.tail").claims
    assert float(run_length.tail_probability(time, **LINK)) == pytest.approx(
        value(chance.rhs, **SYMBOLS, s=1 / time), rel=1e-9
    )
    assert float(run_length.tail_scale_s(**LINK)) == pytest.approx(value(limit.rhs, **SYMBOLS))


def test_the_quantiles_grow_by_the_derived_step_a_decade():
    decade = value(statement("run_length.growth").claims[2].rhs, **SYMBOLS)
    found = run_length.mean_latency_quantile_s([10**4, 10**5, 10**6], 0.5, **LINK)
    assert np.diff(found) == pytest.approx([decade, decade], rel=1e-3)
