"""Layer normalisation and its gradient against NumPy."""

import numpy as np
import pytest

from mpimasha.kernels.networks.layernorm import add_normalise, normalise, normalise_backward

SHAPES = ((1, 1), (3, 5), (7, 8), (2, 33))
DTYPES = (np.float32, np.float64)


def draw(dtype, *shapes):
    generator = np.random.default_rng(len(shapes))
    return [(generator.standard_normal(shape) + 0.5).astype(dtype) for shape in shapes]


def tolerance(dtype):
    return {"rtol": 0, "atol": 100 * np.finfo(dtype).eps}


def expected(x, gain, offset):
    x = x.astype(float)
    inverse = 1 / np.sqrt(x.var(1) + 1e-5)
    normal = (x - x.mean(1)[:, None]) * inverse[:, None]
    return normal, inverse, gain * normal + offset


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_normalised(dtype, shape):
    x, gain, offset = draw(dtype, shape, shape[1:], shape[1:])
    normal, inverse, out = np.empty_like(x), np.empty(shape[0], dtype), np.empty_like(x)
    normalise(x, gain, offset, normal, inverse, out)
    for found, wanted in zip((normal, inverse, out), expected(x, gain, offset)):
        scale = max(1, np.abs(wanted).max())
        np.testing.assert_allclose(found / scale, wanted / scale, **tolerance(dtype))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_branch_and_its_bias_are_added_before(dtype, shape):
    x, branch, bias, gain, offset = draw(dtype, shape, shape, shape[1:], shape[1:], shape[1:])
    total = x.astype(float) + branch + bias
    normal, inverse, out = np.empty_like(x), np.empty(shape[0], dtype), np.empty_like(x)
    add_normalise(x, branch, bias, gain, offset, normal, inverse, out)
    np.testing.assert_allclose(x, total, **tolerance(dtype))
    for found, wanted in zip((normal, inverse, out), expected(x, gain, offset)):
        scale = max(1, np.abs(wanted).max())
        np.testing.assert_allclose(found / scale, wanted / scale, **tolerance(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_large_mean_does_not_cancel_the_variance(dtype):
    (x,) = draw(dtype, (4, 16))
    x += dtype(300)
    normal, inverse, out = np.empty_like(x), np.empty(4, dtype), np.empty_like(x)
    normalise(x, np.ones(16, dtype), np.zeros(16, dtype), normal, inverse, out)
    np.testing.assert_allclose(normal, expected(x, 1, 0)[0], rtol=0, atol=1e3 * np.finfo(dtype).eps)


def layer_norm(x, gain, offset):
    centred = x - x.mean(1, keepdims=True)
    return gain * centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5) + offset


def derivative(x, direction, gain, offset, gradient):
    """Of sum(gradient * layer_norm), by a complex step."""
    return (gradient * layer_norm(x + 1e-30j * direction, gain, offset)).sum().imag / 1e-30


@pytest.mark.parametrize("shape", SHAPES[1:])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_is_added_and_those_of_gain_and_offset_are_written(dtype, shape):
    x, gradient, total, gain = draw(dtype, shape, shape, shape, shape[1:])
    normal, inverse, _ = (array.astype(dtype) for array in expected(x, gain, 0))
    wanted = np.array([derivative(x, unit.reshape(shape), gain, 0, gradient) for unit in np.eye(x.size)])
    wanted = wanted.reshape(shape) + total
    alone, (into_gain, into_offset) = total.copy(), np.full((2, shape[1]), np.nan, dtype)
    normalise_backward(gradient, normal, inverse, gain, total, into_gain, into_offset)
    normalise_backward(gradient, normal, inverse, gain, alone, None, None)
    scale = np.abs(wanted).max()
    for found in (total, alone):
        np.testing.assert_allclose(found / scale, wanted / scale, **tolerance(dtype))
    np.testing.assert_allclose(into_gain, (gradient.astype(float) * normal).sum(0), **tolerance(dtype))
    np.testing.assert_allclose(into_offset, gradient.astype(float).sum(0), **tolerance(dtype))
