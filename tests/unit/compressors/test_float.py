"""Float: rounded once, to nearest even, with the declared error."""

import math
from fractions import Fraction

import numpy as np
import pytest
from draws import bound, check_mean, draws, transmitted, vectors
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


def neighbours(x):
    """The bfloat16 around x >= 0, equal where x is one of them."""
    unit = 2.0 ** (max(math.frexp(x)[1] - 1, -126) - 7)
    return math.floor(x / unit) * unit, math.ceil(x / unit) * unit


NUMBERS = (1.0, 1.0 + 2.0**-10, 255 / 256, 1.7, 3e-39, 2.0**-126 - 2.0**-140, 2.0**-134, 3e38, 1e-320, 0.0)


@pytest.mark.parametrize("wire", WIRES)
def test_at_random_a_number_becomes_a_neighbour_and_its_mean_is_the_number(wire):
    x = np.array([s * v for v in NUMBERS for s in (1, -1)])
    got = draws(bound(mm.Float(16, random=True), x.size, wire=wire), x)
    for column, v in zip(np.abs(got).T, np.abs(x)):
        assert set(column.tolist()) <= set(neighbours(v)), v
    check_mean(got, x)
    for v in (1.7, 3e-39, 2.0**-134, 3e38):  # not always the same neighbour
        assert np.unique(got[:, x == v]).size == 2, v


def test_the_q_of_rounding_at_random_is_attained_between_a_power_of_two_and_its_neighbour():
    a, b = 1.0, 1.0 + 2.0**-7
    q, x = bound(mm.Float(16, random=True), 2000), np.full(2000, 2 * a * b / (a + b))
    expected = 1 + (x[0] - a) * (b - x[0]) / x[0] ** 2
    assert q.q == pytest.approx(expected, abs=1e-15) and q.q - 1 == pytest.approx(2.0**-16, rel=0.01)
    variance = np.mean((draws(q, x, rounds=20) - x[0]) ** 2)
    assert variance / x[0] ** 2 == pytest.approx(q.q - 1, rel=1e-3)


def test_beyond_the_largest_bfloat16_rounding_at_random_is_infinite_and_not_a_number_stays():
    top = (2 - 2.0**-7) * 2.0**127
    x = [top, np.nextafter(top, np.inf), -2.0**128, 1e300, np.inf, -np.inf, np.nan]
    for k in range(20):
        out = transmitted(bound(mm.Float(16, random=True), 7), x, k=k)
        np.testing.assert_array_equal(out, [top, np.inf, -np.inf, np.inf, np.inf, -np.inf, np.nan])


def test_float32_is_not_rounded_at_random():
    with pytest.raises(mm.UserError, match="float:32: use float:16,random"):
        mm.Float(32, random=True)
