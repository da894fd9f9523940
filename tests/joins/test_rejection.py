"""The rejection line is the derived one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuhlm_theory.rejection import Line
from tests.joins.formula import derived

few = settings(max_examples=25)

slopes, intercepts = st.floats(0.05, 5.0), st.floats(-1.0, 1.0)


@few
@given(slopes, intercepts)
def test_zero_and_saturation(slope, intercept):
    assert float(Line(slope, intercept).zero) == pytest.approx(
        derived("rejection.line", "u", a=slope, b=intercept)
    )
    full = derived("rejection.line", "u_1", a=slope, b=intercept)
    assert float(Line(slope, intercept).saturation) == pytest.approx(full)


@few
@given(slopes, intercepts)
def test_the_line_rises_from_0_to_1_between_them(slope, intercept):
    u = np.linspace(0, 1, 101)
    line = Line(slope, intercept)(u)
    assert np.all(np.diff(line) >= 0)
    inside = (u > Line(slope, intercept).zero) & (u < Line(slope, intercept).saturation)
    assert line[inside] == pytest.approx(slope * u[inside] + intercept, abs=1e-12)
    assert set(line[u < Line(slope, intercept).zero]) <= {0.0}
    assert set(line[u > Line(slope, intercept).saturation]) <= {1.0}


def test_least_squares_is_covariance_over_variance():
    rng = np.random.default_rng(0)
    u, beta = rng.random(50), rng.random(50)
    slope, intercept = np.polyfit(u, beta, 1)
    moments = {"m_u": u.mean(), "m_beta": beta.mean(), "m_uu": (u**2).mean(), "m_ubeta": (u * beta).mean()}
    assert slope == pytest.approx(derived("rejection.least_squares", "a", **moments))
    line = derived("rejection.least_squares", "b", a=slope, m_u=u.mean(), m_beta=beta.mean())
    assert intercept == pytest.approx(line)
