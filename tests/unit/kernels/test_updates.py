"""Fused updates against NumPy in float64, to the last bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpimasha.kernels import updates

DTYPES = (np.float32, np.float64)
SIZES = (0, 1, 7, 8, 9, 50)
COEFFICIENTS = (0.3, -1.7, 2.0 / 3.0, 11.0)


def vectors(count, n, dtype, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(n).astype(dtype) for _ in range(count)]


def combination(coefficients, arrays, dtype):
    """Left to right in float64, rounded once."""
    total = np.float64(coefficients[0]) * arrays[0].astype(np.float64)
    for a, x in zip(coefficients[1:], arrays[1:]):
        total = total + np.float64(a) * x.astype(np.float64)
    return total.astype(dtype)


def interleave(coefficients, arrays):
    return [item for pair in zip(coefficients, arrays) for item in pair]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("wire", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("terms", (1, 2, 3, 4))
def test_combine_is_the_sum_from_left_to_right(terms, dtype, wire, n):
    arrays, a = vectors(terms, n, dtype), COEFFICIENTS[:terms]
    out = np.full(n, np.nan, wire)
    getattr(updates, f"combine{terms}")(out, *interleave(a, arrays))
    np.testing.assert_array_equal(out, combination(a, arrays, wire))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("terms", (1, 2, 3))
def test_update_works_in_place(terms, dtype, n):
    out, *arrays = vectors(terms + 1, n, dtype)
    a = COEFFICIENTS[: terms + 1]
    expected = combination(a, [out, *arrays], dtype)
    getattr(updates, f"update{terms}")(a[0], out, *interleave(a[1:], arrays))
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("index_dtype", (np.uint32, np.uint64))
@pytest.mark.parametrize("wire", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("terms", (1, 2, 3))
def test_gather_combines_the_chosen_entries(terms, dtype, wire, index_dtype):
    arrays, a = vectors(terms, 40, dtype), COEFFICIENTS[:terms]
    index = np.array([39, 0, 3, 3, 17, 38], index_dtype)
    out = np.full(index.size, np.nan, wire)
    getattr(updates, f"gather{terms}")(out, index, *interleave(a, arrays))
    np.testing.assert_array_equal(out, combination(a, [x[index] for x in arrays], wire))


@settings(deadline=None, max_examples=60)
@given(data=st.data(), dtype=st.sampled_from(DTYPES), wire=st.sampled_from(DTYPES), n=st.integers(0, 40))
def test_any_numbers_are_combined_so(data, dtype, wire, n):
    """Infinities, NaN, what overflows and what underflows."""
    arrays = [data.draw(hnp.arrays(dtype, n)) for _ in range(4)]
    a = data.draw(st.lists(st.floats(allow_nan=False), min_size=4, max_size=4))
    index = data.draw(hnp.arrays(np.uint32, st.integers(0, 50) if n else 0, elements=st.integers(0, max(n - 1, 0))))
    for terms in (1, 2, 3, 4):
        with np.errstate(all="ignore"):
            expected = combination(a, arrays[:terms], wire)
            chosen = combination(a, [x[index] for x in arrays[:terms]], wire)
            inside = combination(a, arrays[:terms], dtype)
        out, gathered, changed = np.empty(n, wire), np.empty(index.size, wire), arrays[0].copy()
        getattr(updates, f"combine{terms}")(out, *interleave(a, arrays[:terms]))
        np.testing.assert_array_equal(out, expected)
        if terms < 4:
            getattr(updates, f"gather{terms}")(gathered, index, *interleave(a, arrays[:terms]))
            np.testing.assert_array_equal(gathered, chosen)
        if terms > 1:
            getattr(updates, f"update{terms - 1}")(a[0], changed, *interleave(a[1:], arrays[1:terms]))
            np.testing.assert_array_equal(changed, inside)


def test_the_output_may_be_an_input():
    x, y = vectors(2, 33, np.float64)
    expected = combination((0.25, 4.0), (x, y), np.float64)
    updates.combine2(x, 0.25, x, 4.0, y)
    np.testing.assert_array_equal(x, expected)


def test_plain_ints_and_numpy_floats_are_coefficients_too():
    (x,) = vectors(1, 5, np.float32)
    out = np.empty_like(x)
    updates.combine1(out, 3, x)
    np.testing.assert_array_equal(out, 3 * x)
    updates.combine1(out, np.float64(1 / 3), x)
    np.testing.assert_array_equal(out, (x.astype(np.float64) / 3).astype(np.float32), strict=True)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("count", (0, 1, 3, 10))
@pytest.mark.parametrize("wire", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_summed_in_their_order_in_float64(dtype, wire, count, n):
    generator = np.random.default_rng(1)
    rows = (generator.standard_normal((count, n)) * 10.0 ** generator.integers(-8, 8, (count, n))).astype(wire)
    out = np.full(n, np.nan, dtype)
    updates.sum_rows(out, rows, 0.1)
    for j in range(n):
        total = 0.0
        for m in range(count):
            total += float(rows[m, j])
        assert out[j] == dtype(0.1 * total)


def test_summing_rows_in_float32_would_be_noticed():
    rows = np.array([[1e8], [1.0], [-1e8]], np.float32)
    out = np.empty(1, np.float32)
    updates.sum_rows(out, rows, 1.0)
    assert out[0] == 1.0


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_squared_norm_and_distance_are_summed_in_float64(dtype, n):
    x, y = vectors(2, n, dtype)
    x[:1] += dtype(1e4)
    wide = x.astype(np.float64), y.astype(np.float64)
    assert updates.squared_norm(x) == pytest.approx(np.sum(wide[0]**2), rel=1e-13)
    assert updates.squared_distance(x, y) == pytest.approx(np.sum((wide[0] - wide[1])**2), rel=1e-13)
