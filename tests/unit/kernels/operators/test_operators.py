"""Operators of the built-in problems against NumPy in float64."""

import numpy as np
import pytest

from mpimasha.kernels.operators import regression, saddle

DTYPES = (np.float32, np.float64)
LAM, BETA, WEIGHT = 0.03, 0.7, 0.125


def draw(shape, dtype, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def wide(*arrays):
    return [x.astype(np.float64) for x in arrays]


def assert_close(out, expected, magnitude):
    """Within some tens of roundings of the sum of the magnitudes of the terms."""
    assert (np.abs(out - expected) <= 30 * np.finfo(out.dtype).eps * magnitude).all()


@pytest.mark.parametrize("d", (1, 3, 4, 5, 8, 30))
@pytest.mark.parametrize("dtype", DTYPES)
def test_bilinear_operator_is_the_gradient_field(dtype, d):
    A, a, b, z = draw((d, d), dtype, 0), draw(d, dtype, 1), draw(d, dtype, 2), draw(2 * d, dtype, 3)
    out = np.full(2 * d, np.nan, dtype)
    saddle.bilinear_operator(out, A, a, b, LAM, z)
    A, a, b, z = wide(A, a, b, z)
    x, y = z[:d], z[d:]
    expected = np.concatenate([A @ y + LAM * x + a, -A.T @ x + LAM * y + b])
    size = np.abs(np.concatenate([a, b])) + np.abs(z)
    size += np.concatenate([np.abs(A) @ np.abs(y), np.abs(A).T @ np.abs(x)])
    assert_close(out, expected, size)


def test_bilinear_operator_adds_the_rows_in_their_order():
    d = 7
    A, z = draw((d, d), np.float64, 0), draw(2 * d, np.float64, 1)
    zero, out = np.zeros(d), np.empty(2 * d)
    saddle.bilinear_operator(out, A, zero, zero, 0.0, z)
    expected = 0.0 * z[d:]
    for i in range(d):
        expected = expected - z[i] * A[i]
    np.testing.assert_array_equal(out[d:], expected)


def logistic_slope(u, y):
    # -y / (1 + exp(y u)) by way of tanh, which does not overflow
    return -y * (1 - np.tanh(y * u / 2)) / 2


def square_slope(u, y):
    return u - y


def regression_data(rows, d, dtype):
    X, z = draw((rows, d), dtype, 0), draw(2 * d, dtype, 1)
    return X, np.where(draw(rows, dtype, 2) > 0, dtype(1), dtype(-1)), z


@pytest.mark.parametrize("rows, d", [(1, 1), (3, 5), (4, 4), (9, 6), (40, 13)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "operator, slope",
    [(regression.logistic_operator, logistic_slope), (regression.square_operator, square_slope)],
)
def test_regression_operators_are_the_gradient_field(operator, slope, dtype, rows, d):
    X, y, z = regression_data(rows, d, dtype)
    out = np.full(2 * d, np.nan, dtype)
    operator(out, X, y, WEIGHT, LAM, BETA, z)
    X, y, z = wide(X, y, z)
    w, r = z[:d], z[d:]
    c = slope((X + r) @ w, y)
    expected = np.concatenate([WEIGHT * (X + r).T @ c + LAM * w, BETA * r - WEIGHT * c.sum() * w])
    slopes = np.abs(c) + (np.abs(X) + np.abs(r)) @ np.abs(w)
    size = np.concatenate([(np.abs(X) + np.abs(r)).T @ slopes + np.abs(w), np.abs(r) + slopes.sum() * np.abs(w)])
    assert_close(out, expected, size)


@pytest.mark.parametrize(
    "operator, value",
    [
        (regression.logistic_operator, regression.logistic_value),
        (regression.square_operator, regression.square_value),
    ],
)
def test_operators_are_the_derivatives_of_their_values(operator, value, step=1e-5):
    d = 4
    X, y, z = regression_data(9, d, np.float64)

    def g(z):
        w, r = z[:d], z[d:]
        return WEIGHT * value(X, y, w, r) + LAM / 2 * w @ w - BETA / 2 * r @ r

    gradient = [(g(z + step * e) - g(z - step * e)) / (2 * step) for e in np.eye(2 * d)]
    out = np.empty(2 * d)
    operator(out, X, y, WEIGHT, LAM, BETA, z)
    np.testing.assert_allclose(out, np.r_[gradient[:d], np.negative(gradient[d:])], rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_are_sums_of_losses(dtype):
    X, y, z = regression_data(11, 5, dtype)
    w, r = z[:5].copy(), z[5:].copy()
    u = (X.astype(float) + r) @ w.astype(float)
    np.testing.assert_allclose(regression.logistic_value(X, y, w, r), np.logaddexp(0, -y * u).sum(), rtol=1e-12)
    np.testing.assert_allclose(regression.square_value(X, y, w, r), ((u - y) ** 2).sum() / 2, rtol=1e-12)


@pytest.mark.parametrize("margin", (800.0, -800.0, 1e300, -1e300))
def test_large_margins_neither_overflow_nor_lose_the_loss(margin):
    X, y, w, r = np.ones((1, 1)), np.ones(1), np.array([margin]), np.zeros(1)
    assert regression.logistic_value(X, y, w, r) == max(-margin, 0.0)
    out = np.empty(2)
    regression.logistic_operator(out, X, y, 1.0, 0.0, 0.0, np.concatenate([w, r]))
    assert out[0] == (0.0 if margin > 0 else -1.0)


def shifted(x, offset):
    """The same numbers elsewhere in memory."""
    room = np.empty(x.size + offset, x.dtype)
    room[offset:] = x.ravel()
    return room[offset:].reshape(x.shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", (1, 2, 3, 5))
def test_where_the_arrays_lie_in_memory_changes_no_bit(offset, dtype):
    d = 29
    X, y, z = regression_data(d, d, dtype)
    a, b = draw(d, dtype, 4), draw(d, dtype, 5)
    calls = [
        (saddle.bilinear_operator, (X, a, b, LAM, z)),
        (regression.logistic_operator, (X, y, WEIGHT, LAM, BETA, z)),
        (regression.square_operator, (X, y, WEIGHT, LAM, BETA, z)),
    ]
    for operator, arguments in calls:
        here, there = np.empty(2 * d, dtype), shifted(np.empty(2 * d, dtype), offset)
        operator(here, *arguments)
        operator(there, *(shifted(v, offset) if isinstance(v, np.ndarray) else v for v in arguments))
        np.testing.assert_array_equal(here, there)
