"""Sparse messages added to dense vectors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpimasha.kernels import sparse

DTYPES = (np.float32, np.float64)


@pytest.mark.parametrize("index_dtype", (np.uint32, np.uint64))
@pytest.mark.parametrize("wire", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_repeated_indices_add_up_in_their_order(dtype, wire, index_dtype):
    generator = np.random.default_rng(0)
    index = generator.integers(0, 20, 100).astype(index_dtype)
    values = generator.standard_normal(100).astype(wire)
    out = generator.standard_normal(20).astype(dtype)
    expected = out.copy()
    for i, value in zip(index, values):
        expected[i] = dtype(float(expected[i]) + 0.3 * float(value))
    sparse.scatter_add(out, index, values, 0.3)
    np.testing.assert_array_equal(out, expected)


def test_coordinates_that_are_not_named_stay_as_they_are():
    out = np.array([1.0, np.nan, -0.0, np.inf, 5.0])
    sparse.scatter_add(out, np.array([0, 4], np.uint32), np.array([2.0, 3.0], np.float32), -1.0)
    np.testing.assert_array_equal(out, [-1.0, np.nan, -0.0, np.inf, 2.0])
    assert np.signbit(out[2])


def test_an_empty_message_changes_nothing():
    out = np.arange(3.0)
    sparse.scatter_add(out, np.empty(0, np.uint32), np.empty(0), 1.0)
    np.testing.assert_array_equal(out, np.arange(3.0))


@settings(deadline=None, max_examples=60)
@given(data=st.data(), dtype=st.sampled_from(DTYPES), wire=st.sampled_from(DTYPES), scale=st.floats(-1e9, 1e9))
def test_any_message_is_added_in_double_precision_and_rounded_entry_by_entry(data, dtype, wire, scale):
    out = data.draw(hnp.arrays(dtype, st.integers(1, 30)))
    index = data.draw(hnp.arrays(np.uint32, st.integers(0, 2 * sparse.AHEAD), elements=st.integers(0, out.size - 1)))
    values, expected = data.draw(hnp.arrays(wire, index.size)), out.copy()
    with np.errstate(all="ignore"):
        for i, value in zip(index, values):
            expected[i] = np.float64(expected[i]) + np.float64(scale) * np.float64(value)
    sparse.scatter_add(out, index, values, scale)
    np.testing.assert_array_equal(out, expected)
