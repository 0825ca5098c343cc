"""The written-out exponential against NumPy's, as an array loop and as a scalar."""

import numpy as np
import pytest

from mpimasha.kernels._jit import kernel
from mpimasha.kernels.networks.exponential import exp, exp32, exp64

LONG = np.longdouble
DTYPES = (np.float32, np.float64)
ERROR = {np.float32: 1e-7, np.float64: 3e-16}
NORMAL = {np.float32: (-86.5, 88.7), np.float64: (-707.5, 709.7)}  # where e^x is neither flushed to 0 nor infinite


@kernel
def each(out, x):
    for i in range(x.size):
        out[i] = exp(x[i])


def exponentials(x):
    out = np.empty_like(x)
    each(out, x)
    return out


def grid(dtype):
    low, high = NORMAL[dtype]
    dense = np.concatenate([np.linspace(low, high, 3001), np.linspace(-3, 3, 2001), np.linspace(-1e-4, 1e-4, 501)])
    ties = (np.arange(low / np.log(2) + 1, high / np.log(2) - 1).astype(int) + 0.5) * np.log(2)
    x = np.concatenate([dense, ties]).astype(dtype)  # half way between two n: where |r| is largest
    return np.concatenate([x, np.nextafter(x[-ties.size:], dtype(0)), np.array([low, high, 0, -0.0], dtype)])


@pytest.mark.parametrize("dtype", DTYPES)
def test_relative_error_on_a_grid(dtype):
    x = grid(dtype)
    exact = np.exp(x.astype(LONG)) if np.finfo(LONG).eps < np.finfo(np.float64).eps else np.exp(x.astype(np.float64))
    assert np.max(np.abs(exponentials(x).astype(LONG) / exact - 1)) < ERROR[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_ends_of_the_range(dtype):
    with np.errstate(over="ignore"):
        largest = np.log(np.finfo(dtype).max)
        x = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 1.001 * largest, 2 * largest, np.finfo(dtype).max], dtype)
    np.testing.assert_array_equal(exponentials(x), np.array([np.nan, np.inf, 0, 1, 1, np.inf, np.inf, np.inf], dtype))
    x = -np.array([1.2 * largest, 2 * largest, 100 * largest, np.finfo(dtype).max], dtype)
    np.testing.assert_array_equal(exponentials(x), np.zeros(x.size, dtype))
    assert np.isfinite(exponentials(np.array([0.9999 * largest], dtype)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_between_the_smallest_normal_number_and_zero_the_error_is_below_it(dtype):
    low = NORMAL[dtype][0]
    x = np.linspace(1.2 * low, 0.98 * low, 3001).astype(dtype)
    error = np.abs(exponentials(x) - np.exp(x.astype(LONG)))
    assert np.all((error < 2.7 * np.finfo(dtype).tiny) | (error < ERROR[dtype] * np.exp(x.astype(LONG))))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_lone_number_is_treated_as_one_in_an_array(dtype):
    x = grid(dtype)[::97]
    one = exp32 if dtype == np.float32 else exp64
    lone = np.array([one(number) for number in x])
    np.testing.assert_array_equal(lone, exponentials(x))
    np.testing.assert_array_equal([exp(number) for number in x], lone)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", (1, 3, 4, 7, 8, 15, 16, 31, 33, 100))
def test_vectors_and_remainders_give_the_same_bits(n, dtype):
    x = np.linspace(-20, 20, 100).astype(dtype)
    np.testing.assert_array_equal(exponentials(x[:n].copy()), exponentials(x)[:n])
