"""Softmax and its gradient against NumPy."""

import numpy as np
import pytest

from mpimasha.kernels.networks.attention import softmax, softmax_backward

DTYPES = (np.float32, np.float64)
SHAPES = ((1, 1, 1), (2, 3, 5), (3, 4, 16), (1, 2, 9))


def draw(dtype, *shapes):
    generator = np.random.default_rng(len(shapes))
    return [generator.standard_normal(shape).astype(dtype) for shape in shapes]


def expected_softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("scale", (0.3, 70.0))  # the second with the largest score subtracted
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_of_rows(dtype, shape, scale):
    (scores,) = draw(dtype, shape)
    wanted = expected_softmax(scale * scores.astype(float))
    softmax(scores, scale)
    np.testing.assert_allclose(scores, wanted, rtol=100 * max(1, scale) * np.finfo(dtype).eps, atol=1e-30)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_of_scores_far_apart(dtype):
    large = np.finfo(dtype).max / 4
    scores = np.array([[[large, 0, -large], [-large, -large, -large], [-1e3, -2e3, -1e3], [1e3, 1e3, 1e3]]], dtype)
    softmax(scores, 1.0)
    wanted = [[[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0, 0.5], [1 / 3, 1 / 3, 1 / 3]]]
    np.testing.assert_allclose(scores, wanted, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_with_nan_is_nan_and_no_other(dtype):
    (scores,) = draw(dtype, (1, 3, 4))
    for column in range(4):
        broken = scores.copy()
        broken[0, 1, column] = np.nan
        softmax(broken, 1.0)
        assert np.isnan(broken[0, 1]).all() and np.isfinite(broken[0, ::2]).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_of_softmax(dtype, shape):
    scores, gradient = draw(dtype, shape, shape)
    p = expected_softmax(0.3 * scores.astype(float))
    wanted = np.empty(shape)
    for k in np.ndindex(shape):  # complex steps
        moved = 0.3 * scores.astype(complex)
        moved[k] += 0.3e-30j
        e = np.exp(moved)
        wanted[k] = (gradient * e / e.sum(-1, keepdims=True)).sum().imag / 1e-30
    softmax_backward(gradient, p.astype(dtype), 0.3)
    np.testing.assert_allclose(gradient, wanted, rtol=0, atol=20 * np.finfo(dtype).eps)
