"""Cross-entropy and its gradient against NumPy on complex numbers: a complex step is exact to rounding."""

import numpy as np
import pytest

from mpimasha.kernels.networks.cross_entropy import cross_entropy

DTYPES = (np.float32, np.float64)
ERROR = {np.float32: 3e-7, np.float64: 1e-14}
SHAPES = ((0, 3), (1, 2), (5, 2), (4, 3), (7, 10), (3, 33))


def losses(logits, labels):
    shifted = logits - logits.real.max(1, keepdims=True)
    return np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]


def derivative(logits, labels):
    step = np.zeros(logits.shape, complex)
    gradient = np.empty(logits.shape)
    for c in range(logits.shape[1]):
        step[:] = logits
        step[:, c] += 1e-30j
        gradient[:, c] = losses(step, labels).imag / 1e-30
    return gradient


def samples(shape, dtype, size=2.0):
    generator = np.random.default_rng(3)
    return (size * generator.standard_normal(shape)).astype(dtype), generator.integers(0, shape[1], shape[0])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_and_gradient(dtype, shape):
    logits, labels = samples(shape, dtype)
    wide, gradient = logits.astype(np.float64), np.full(shape, np.nan, dtype)
    loss = cross_entropy(gradient, logits, labels, 0.25)
    assert loss == pytest.approx(losses(wide, labels).sum(), rel=10 * ERROR[dtype], abs=1e-15)
    np.testing.assert_allclose(gradient, 0.25 * derivative(wide, labels), rtol=0, atol=ERROR[dtype])
    np.testing.assert_array_equal(logits, wide.astype(dtype))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_in_place_gives_the_same_bits(dtype, shape):
    logits, labels = samples(shape, dtype)
    gradient = np.empty_like(logits)
    assert cross_entropy(gradient, logits, labels, 1.5) == cross_entropy(logits, logits, labels, 1.5)
    np.testing.assert_array_equal(logits, gradient)


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_logits_neither_overflow_nor_lose_the_loss(dtype):
    logits = np.array([[1e4, 0, -1e4], [1e4, 0, -1e4], [-1e4, -1e4, -1e4]], dtype)
    gradient = np.empty_like(logits)
    assert cross_entropy(gradient, logits, np.array([0, 2, 1]), 1.0) == pytest.approx(2e4 + np.log(3), rel=1e-7)
    np.testing.assert_allclose(gradient, [[0, 0, 0], [1, 0, -1], [1 / 3, -2 / 3, 1 / 3]], rtol=0, atol=1e-7)


@pytest.mark.parametrize("bad", (np.nan, np.inf))
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_finite_shows(dtype, bad):
    logits, labels = samples((4, 5), dtype)
    logits[2, 3] = bad
    gradient = np.empty_like(logits)
    assert np.isnan(cross_entropy(gradient, logits, labels, 1.0))
    assert np.isnan(gradient[2]).all() and np.isfinite(gradient[[0, 1, 3]]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_of_a_sample_sums_to_zero(dtype):
    logits, labels = samples((50, 10), dtype, size=5.0)
    gradient = np.empty_like(logits)
    cross_entropy(gradient, logits, labels, 1 / 50)
    np.testing.assert_allclose(gradient.sum(1, dtype=np.float64), 0, atol=ERROR[dtype])
