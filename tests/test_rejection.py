"""The rejection line: its values, its two corners and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuhlm_theory.rejection import Line, line, saturation, zero

slopes, intercepts, units = st.floats(0.01, 5.0), st.floats(-2.0, 2.0), st.floats(0.0, 1.0)


def test_published_lines():
    assert line([0.0, 0.0810, 0.5, 1.0], 0.815, -0.066) == pytest.approx([0.0, 0.0000150, 0.3415, 0.749])
    assert line([0.0, 0.0732, 0.5, 1.0], 0.82, -0.06) == pytest.approx([0.0, 0.0000240, 0.35, 0.76])


@given(units, slopes, intercepts)
def test_line_is_clipped_and_never_falls(u, slope, intercept):
    beta = line(u, slope, intercept)
    assert beta == min(1.0, max(0.0, slope * u + intercept))
    assert line(min(1.0, u + 0.1), slope, intercept) >= beta


@given(slopes, intercepts)
def test_corners_are_where_the_clip_begins(slope, intercept):
    assert slope * zero(slope, intercept) + intercept == pytest.approx(0.0, abs=1e-12)
    assert slope * saturation(slope, intercept) + intercept == pytest.approx(1.0, abs=1e-12)


def test_shapes_broadcast():
    assert line(np.full((3, 1), 0.5), [0.1, 0.2], 0.0).tolist() == [[0.05, 0.1]] * 3
    assert zero([1.0, 2.0], [[-0.5], [0.5]]).tolist() == [[0.5, 0.25], [-0.5, -0.25]]
    assert saturation([1.0, 2.0], 0.5).tolist() == [0.5, 0.25]


def test_a_line_is_an_object():
    fitted = Line(slope=0.8, intercept=-0.05)
    assert (fitted.slope, fitted.intercept, fitted.delta) == (0.8, -0.05, None)
    assert Line(slope=0.8, intercept=-0.05, delta=0.0).delta == 0.0
    assert Line(slope=0.8, intercept=-0.05, delta=1.0).delta == 1.0


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: line(1.5, 0.8, 0.0), r"uncertainty must lie in \[0, 1\]; got 1.5"),
        (lambda: line(np.nan, 0.8, 0.0), "uncertainty must be finite; got nan"),
        (lambda: line(0.5, 0.0, 0.0), "slope must be positive; got 0"),
        (lambda: line(0.5, 0.8, np.inf), "intercept must be finite; got inf"),
        (lambda: zero(-1.0, 0.0), "slope must be positive; got -1"),
        (lambda: zero(1.0, np.nan), "intercept must be finite; got nan"),
        (lambda: saturation(-1.0, 0.0), "slope must be positive; got -1"),
        (lambda: saturation(1.0, np.nan), "intercept must be finite; got nan"),
        (lambda: Line(slope=0.0, intercept=0.0), "slope must be positive; got 0"),
        (lambda: Line(slope=1.0, intercept=np.nan), "intercept must be finite; got nan"),
        (lambda: Line(slope=1.0, intercept=0.0, delta=1.2), r"delta must lie in \[0, 1\]; got 1.2"),
    ],
)
def test_refuses_bad_input(call, text):
    with pytest.raises(ValueError, match=text):
        call()
