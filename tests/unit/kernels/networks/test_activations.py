"""Bias and GELU against their formulas in NumPy; the derivative against a complex step."""

import math

import numpy as np
import pytest

from mpimasha.kernels.networks import activations

DTYPES = (np.float32, np.float64)
ERROR = {np.float32: 5e-7, np.float64: 1e-15}
SHAPES = ((0, 3), (1, 1), (2, 7), (3, 8), (5, 17), (16, 33))


def gelu(x):
    return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def slope(x):
    return gelu(x + 1e-30j).imag / 1e-30


def matrices(count, shape, dtype, seed=0):
    generator = np.random.default_rng(seed)
    return [(3 * generator.standard_normal(shape)).astype(dtype) for _ in range(count)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_gelu_adds_the_bias_and_gives_value_and_slope(dtype, shape):
    x, slopes = matrices(2, shape, dtype)
    (bias,) = matrices(1, shape[1], dtype, seed=1)
    shifted = (x + bias).astype(np.float64)
    activations.gelu(x, bias, slopes)
    np.testing.assert_allclose(x, gelu(shifted), rtol=0, atol=20 * ERROR[dtype])
    np.testing.assert_allclose(slopes, slope(shifted), rtol=0, atol=5 * ERROR[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_gelu_over_the_range_in_which_it_bends_and_beyond(dtype):
    x = np.linspace(-12, 12, 4001).astype(dtype)[None]
    value, slopes = x.copy(), np.empty_like(x)
    activations.gelu(value, np.zeros(x.size, dtype), slopes)
    x = x.astype(np.float64)
    assert np.max(np.abs(value - gelu(x)) / np.maximum(np.abs(x), 1)) < ERROR[dtype]
    assert np.max(np.abs(slopes - slope(x))) < 2 * ERROR[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
def test_gelu_far_out_is_close_to_the_positive_part_and_nan_stays(dtype):
    x = np.array([[-1e4, -60, 60, 1e4, np.nan]], dtype)
    slopes = np.empty_like(x)
    activations.gelu(x, np.zeros(5, dtype), slopes)
    np.testing.assert_allclose(x, [[0, 0, 60, 1e4, np.nan]], rtol=ERROR[dtype], atol=1e-20)
    np.testing.assert_allclose(slopes, [[0, 0, 1, 1, np.nan]], rtol=ERROR[dtype], atol=1e-20)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_backward_multiplies_and_sums_columns(dtype, shape):
    gradient, slopes = matrices(2, shape, dtype)
    product, total = gradient * slopes, np.full(shape[1], np.nan, dtype)
    activations.gelu_backward(gradient, slopes, total)
    np.testing.assert_array_equal(gradient, product)
    np.testing.assert_allclose(total, product.sum(0, dtype=np.float64), rtol=0, atol=100 * ERROR[dtype])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_bias_is_added_to_rows_and_its_gradient_is_their_sum(dtype, shape):
    (x,) = matrices(1, shape, dtype)
    (bias,) = matrices(1, shape[1], dtype, seed=1)
    expected, total = x + bias, np.full(shape[1], np.nan, dtype)
    activations.add_bias(x, bias)
    np.testing.assert_array_equal(x, expected)
    activations.sum_rows(total, x)
    np.testing.assert_allclose(total, x.sum(0, dtype=np.float64), rtol=0, atol=100 * ERROR[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_leading_rows_do_not_depend_on_the_others(dtype):
    x, slopes = matrices(2, (9, 19), dtype)
    (bias,) = matrices(1, 19, dtype, seed=1)
    few, few_slopes = x[:4].copy(), slopes[:4].copy()
    activations.gelu(x, bias, slopes)
    activations.gelu(few, bias, few_slopes)
    np.testing.assert_array_equal(few, x[:4])
    np.testing.assert_array_equal(few_slopes, slopes[:4])
