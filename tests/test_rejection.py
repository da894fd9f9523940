"""The rejection line: its values, its two corners and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuhlm_theory.rejection import Line

slopes, intercepts, units = st.floats(0.01, 5.0), st.floats(-2.0, 2.0), st.floats(0.0, 1.0)


def test_published_lines():
    assert Line(0.815, -0.066)([0.0, 0.0810, 0.5, 1.0]) == pytest.approx([0.0, 0.0000150, 0.3415, 0.749])
    assert Line(0.82, -0.06)([0.0, 0.0732, 0.5, 1.0]) == pytest.approx([0.0, 0.0000240, 0.35, 0.76])


@given(units, slopes, intercepts)
def test_line_is_clipped_and_never_falls(u, slope, intercept):
    beta = Line(slope, intercept)(u)
    assert beta == min(1.0, max(0.0, slope * u + intercept))
    assert Line(slope, intercept)(min(1.0, u + 0.1)) >= beta


@given(slopes, intercepts)
def test_corners_are_where_the_clip_begins(slope, intercept):
    assert slope * Line(slope, intercept).zero + intercept == pytest.approx(0.0, abs=1e-12)
    assert slope * Line(slope, intercept).saturation + intercept == pytest.approx(1.0, abs=1e-12)


def test_a_line_takes_any_shape_and_keeps_it():
    assert Line(0.2, 0.0)(np.full((3, 1), 0.5)).tolist() == [[0.1]] * 3
    assert [Line(a, -0.5).zero for a in (1.0, 2.0)] == [0.5, 0.25]
    assert [Line(a, 0.5).zero for a in (1.0, 2.0)] == [-0.5, -0.25]
    assert [Line(a, 0.5).saturation for a in (1.0, 2.0)] == [0.5, 0.25]


def test_a_line_is_an_object():
    fitted = Line(0.8, -0.05)
    assert fitted == Line(slope=0.8, intercept=-0.05, delta=None)
    assert Line(0.8, -0.05, 0.0).delta == 0.0
    assert Line(0.8, -0.05, 1.0).delta == 1.0


def test_a_line_that_falls_has_values_and_no_thresholds():
    falling = Line(-0.5, 0.4, 0.3)
    assert falling([0.0, 0.4, 1.0]) == pytest.approx([0.4, 0.2, 0.0])
    for name in ("zero", "saturation", "risk_averse", "risk_prone"):
        with pytest.raises(ValueError, match=r"^slope must be positive; got -0.5$"):
            getattr(falling, name)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Line(0.8, 0.0)(1.5), r"uncertainty must lie in \[0, 1\]; got 1.5"),
        (lambda: Line(0.8, 0.0)(np.nan), "uncertainty must be finite; got nan"),
        (lambda: Line(np.nan, 0.0), "slope must be finite; got nan"),
        (lambda: Line(0.8, np.inf), "intercept must be finite; got inf"),
        (lambda: Line(0.0, 0.0).zero, "slope must be positive; got 0"),
        (lambda: Line(-1.0, 0.0).saturation, "slope must be positive; got -1"),
        (lambda: Line(0.0, 0.0).cost_optimal(0.1, 1.0), "slope must be positive; got 0"),
        (lambda: Line(0.0, 0.0).bias_price_s(0.1, 1.0), "slope must be positive; got 0"),
        (lambda: Line(1.0, 0.0, 1.2), r"delta must lie in \[0, 1\]; got 1.2"),
    ],
)
def test_refuses_bad_input(call, text):
    with pytest.raises(ValueError, match=text):
        call()
