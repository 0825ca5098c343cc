"""Sparse messages added to dense vectors."""

import numpy as np
import pytest

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
