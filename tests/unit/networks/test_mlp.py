"""The MLP against a forward pass in plain NumPy on complex numbers, whose complex step is exact to rounding."""

import math
import tracemalloc

import numpy as np
import pytest

from mpimasha.networks.mlp import MLP

DTYPES = (np.float32, np.float64)
WIDTHS = ((5, 2), (4, 3, 2), (6, 5, 4, 3), (3, 17, 9, 8, 10))


def forward(widths, theta, X):
    """Logits, (b, classes)."""
    start = 0
    for k, (fan, width) in enumerate(zip(widths, widths[1:])):
        if k:
            X = X / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (X + 0.044715 * X**3)))
        X = X @ theta[start:start + fan * width].reshape(fan, width) + theta[start + fan * width:][:width]
        start += (fan + 1) * width
    assert start == theta.size
    return X


def loss(widths, theta, X, y):
    logits = forward(widths, theta, X)
    shifted = logits - logits.real.max(1, keepdims=True)
    return np.sum(np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(y)), y])


def complex_step(function, x):
    """Gradient of `function` at x, of any shape."""
    gradient, moved = np.empty(x.shape), x.astype(complex)
    for i in np.ndindex(x.shape):
        moved[i] += 1e-30j
        gradient[i] = function(moved).imag / 1e-30
        moved[i] = x[i]
    return gradient


def problem(widths, b, dtype=np.float64, seed=0):
    """(network, theta, X, y), the biases not zero."""
    generator = np.random.default_rng(seed)
    network = MLP(widths, dtype)
    theta = network.start(generator) + (0.1 * generator.standard_normal(network.n)).astype(dtype)
    X = generator.standard_normal((b, widths[0])).astype(dtype)
    return network, theta, X, generator.integers(0, widths[-1], b)


def gradients(network, theta, X, y, scale=1.0):
    """(loss, weights, inputs)."""
    weights, inputs = np.full_like(theta, np.nan), np.full_like(X, np.nan)
    return network.gradient(theta, X, y, scale, weights, inputs), weights, inputs


def distance(a, b):
    """Relative, in the largest entry."""
    return np.max(np.abs(a - b)) / np.max(np.abs(b))


def same(one, other):
    assert one[0] == other[0]
    np.testing.assert_array_equal(one[1], other[1])
    np.testing.assert_array_equal(one[2], other[2])


@pytest.mark.parametrize("b", (1, 2, 7))
@pytest.mark.parametrize("widths", WIDTHS)
def test_logits_loss_and_gradients(widths, b):
    network, theta, X, y = problem(widths, b)
    assert distance(network.logits(theta, X), forward(widths, theta, X)) < 1e-12
    value, weights, inputs = gradients(network, theta, X, y, scale=0.3)
    assert value == pytest.approx(loss(widths, theta, X, y), rel=1e-12)
    assert distance(weights, 0.3 * complex_step(lambda t: loss(widths, t, X, y), theta)) < 1e-12
    assert distance(inputs, 0.3 * complex_step(lambda x: loss(widths, theta, x, y), X)) < 1e-12


@pytest.mark.parametrize("widths", WIDTHS)
def test_float32_agrees_with_float64(widths):
    network, theta, X, y = problem(widths, 9, np.float32)
    got = gradients(network, theta, X, y, 1 / 9)
    exact = gradients(MLP(widths, np.float64), theta.astype(np.float64), X.astype(np.float64), y, 1 / 9)
    assert got[0] == pytest.approx(exact[0], rel=1e-6)
    assert distance(got[1], exact[1]) < 1e-5 and distance(got[2], exact[2]) < 1e-5
    assert got[1].dtype == got[2].dtype == network.logits(theta, X).dtype == np.float32


def test_gradients_are_differences_of_the_networks_own_loss():
    network, theta, X, y = problem((4, 6, 5, 3), 5)
    _, weights, inputs = gradients(network, theta, X, y)
    h = 1e-5
    for vector, gradient in ((theta, weights), (X, inputs)):
        for i in np.ndindex(vector.shape):
            here = vector[i]
            vector[i] = here + h
            above = network.gradient(theta, X, y)
            vector[i] = here - h
            below = network.gradient(theta, X, y)
            vector[i] = here
            assert (above - below) / (2 * h) == pytest.approx(gradient[i], rel=1e-7, abs=1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("widths", WIDTHS)
def test_a_gradient_that_is_not_wanted_changes_nothing_else(widths, dtype):
    network, theta, X, y = problem(widths, 6, dtype)
    value, weights, inputs = gradients(network, theta, X, y)
    only = np.empty_like(theta), np.empty_like(X)
    assert network.gradient(theta, X, y, 1.0, weights=only[0]) == value
    assert network.gradient(theta, X, y, 1.0, inputs=only[1]) == value
    same((value, *only), (value, weights, inputs))
    assert network.gradient(theta, X, y) == value


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("widths", WIDTHS)
def test_results_do_not_depend_on_the_batches_before(widths, dtype):
    network, theta, X, y = problem(widths, 33, dtype)
    for b in (33, 5, 1, 5, 20, 33, 2):
        alone = gradients(MLP(widths, dtype), theta, X[:b].copy(), y[:b].copy())
        same(gradients(network, theta, X[:b], y[:b]), alone)
        same(gradients(network, theta, X[:b], y[:b]), alone)


def test_parameters_and_arrays_may_change_from_call_to_call():
    network, theta, X, y = problem((6, 5, 4, 3), 4)
    other = theta[::-1].copy()
    expected = [gradients(MLP(network.widths, np.float64), t, X, y) for t in (theta, other)]
    for k in (0, 1, 0):
        same(gradients(network, (theta, other)[k], X, y), expected[k])
    theta[:] = other  # the same array, new values
    same(gradients(network, theta, X, y), expected[1])


def test_nothing_is_allocated_after_the_first_call():
    network, theta, X, y = problem((16, 32, 10), 256, np.float32)  # a layer has 32 KiB
    weights, inputs = np.empty_like(theta), np.empty_like(X)
    network.gradient(theta, X, y, 1.0, weights, inputs)
    network.gradient(theta, X[:100], y[:100], 1.0, None, inputs[:100])
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for b in (256, 100, 256):
            network.gradient(theta, X[:b], y[:b], 1.0, weights, inputs[:b])
            network.gradient(theta, X[:b], y[:b], 1.0, None, inputs[:b])
            network.logits(theta, X[:b])
        assert tracemalloc.get_traced_memory()[1] - before < 2**13
    finally:
        tracemalloc.stop()


def test_the_start_is_of_he_with_zero_biases_and_the_same_in_both_precisions():
    widths = (200, 100, 50, 10)
    wide, narrow = (MLP(widths, dtype).start(np.random.default_rng(1)) for dtype in (np.float64, np.float32))
    np.testing.assert_array_equal(wide.astype(np.float32), narrow, strict=True)
    start = 0
    for fan, width in zip(widths, widths[1:]):
        weight, bias = wide[start:][:fan * width], wide[start + fan * width:][:width]
        assert weight.std() * math.sqrt(fan) == pytest.approx(1 if width == 10 else math.sqrt(2), rel=0.1)
        assert not bias.any()
        start += (fan + 1) * width


def test_sizes():
    network = MLP((64, 64, 32, 10), np.float32)
    assert (network.n, network.inputs, network.classes, network.embedding) == (6570, 64, 10, 0)
    assert network.dtype == np.float32


@pytest.mark.parametrize("widths", ((), (3,), (3, 0, 2)))
def test_impossible_widths_are_refused(widths):
    with pytest.raises(ValueError, match="widths"):
        MLP(widths, np.float32)


def test_other_precisions_and_shifts_are_refused():
    with pytest.raises(ValueError, match="float16"):
        MLP((3, 2), np.float16)
    network, theta, X, y = problem((3, 2), 2)
    with pytest.raises(ValueError, match="embedding"):
        network.logits(theta, X, shift=X)
    with pytest.raises(ValueError, match="embedding"):
        network.gradient(theta, X, y, shifts=X)
