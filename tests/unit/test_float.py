"""Float: rounded once, to nearest even, with the declared error."""

import math
from fractions import Fraction

import numpy as np
import pytest
from draws import bound, transmitted, vectors
from hypothesis import given, settings
from hypothesis import strategies as st

import mpimasha as mm

WIRES = (np.float32, np.float64)


def nearest_bfloat16(x):
    """To nearest, ties to even, in exact arithmetic."""
    if x == 0:
        return 0.0
    unit = Fraction(2) ** (max(math.frexp(abs(x))[1] - 1, -126) - 7)
    value = round(Fraction(x) / unit) * unit  # Python's round is to even
    return float(value) if abs(value) <= (2 - 2.0**-7) * 2.0**127 else math.copysign(math.inf, x)


@settings(deadline=None, max_examples=200)
@given(x=st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.floats(-4, 4), st.floats(-1e-37, 1e-37),
                   st.integers(0, 2**8 - 1).map(lambda m: (1 + m / 2**8) * 2.0**-3),  # half of them ties
                   st.integers(0, 600).map(lambda m: m * 2.0**-134)))
def test_bfloat16_is_rounded_once_to_nearest_even(x):
    q = bound(mm.Float(16), 2, wire=np.float64)
    assert transmitted(q, [x, -x]).tolist() == [nearest_bfloat16(x), -nearest_bfloat16(x)]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("width, u", [(16, 2.0**-8), (32, 2.0**-24)])
@settings(deadline=None, max_examples=50)
@given(x=vectors())
def test_float_contracts_by_the_square_of_the_unit_roundoff(wire, width, u, x):
    q = bound(mm.Float(width), x.size, wire=wire)
    assert 1 - 1 / q.contraction == pytest.approx(u**2, rel=0.04)  # 1 - u^2 is rounded to 2^-53
    out = transmitted(q, x)
    assert np.sum((out - x) ** 2) <= u**2 * (x @ x)
    if width == 32:
        np.testing.assert_array_equal(out, x.astype(np.float32).astype(float))
