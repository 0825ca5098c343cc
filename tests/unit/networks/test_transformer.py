"""The transformer against an independent forward pass in plain NumPy, differentiated by complex steps."""

import math

import numpy as np
import pytest

from mpimasha.errors import UserError
from mpimasha.networks.transformer import Transformer

SIDE, PATCH, WIDTH, HEADS, LAYERS, HIDDEN, CLASSES = SIZES = (6, 2, 6, 2, 3, 10, 4)
TOKENS = (SIDE // PATCH) ** 2
STEP = 1e-30


def network(dtype=np.float64, tied=False):
    return Transformer(*SIZES, dtype, tied=tied)


def case(dtype=np.float64, tied=False, samples=3, seed=0):
    """Network, parameters with nothing left at zero, images, classes, shift."""
    net, generator = network(dtype, tied), np.random.default_rng(seed)
    theta = net.start(generator) + (0.1 * generator.standard_normal(net.n)).astype(dtype)
    X = generator.standard_normal((samples, net.inputs)).astype(dtype)
    shift = (0.3 * generator.standard_normal((samples, net.embedding))).astype(dtype)
    return net, theta, X, generator.integers(0, CLASSES, samples), shift


def shapes(tied=False):
    """Name and shape of every array in theta, in its order."""
    d, block = WIDTH, []
    for k in range(1 if tied else LAYERS):
        block += [(f"g1_{k}", (d,)), (f"c1_{k}", (d,)), (f"Wqkv_{k}", (d, 3 * d)), (f"bqkv_{k}", (3 * d,)),
                  (f"Wo_{k}", (d, d)), (f"bo_{k}", (d,)), (f"g2_{k}", (d,)), (f"c2_{k}", (d,)),
                  (f"W1_{k}", (d, HIDDEN)), (f"b1_{k}", (HIDDEN,)), (f"W2_{k}", (HIDDEN, d)), (f"b2_{k}", (d,))]
    return [("We", (PATCH**2, d)), ("be", (d,)), ("pos", (TOKENS, d)), *block,
            ("gf", (d,)), ("cf", (d,)), ("Wh", (d, CLASSES)), ("bh", (CLASSES,))]


def named(theta, tied=False):
    arrays, begin = {}, 0
    for name, shape in shapes(tied):
        end = begin + math.prod(shape)
        arrays[name] = theta[begin:end].reshape(shape)
        begin = end
    assert begin == theta.size
    return arrays


def layer_norm(x, gain, offset):
    centred = x - x.mean(-1, keepdims=True)
    return gain * centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) + offset


def attention(x, Wqkv, bqkv, Wo, bo):
    w = WIDTH // HEADS
    qkv = x @ Wqkv + bqkv
    out = np.empty_like(x)
    for j in range(HEADS):
        q, k, v = (qkv[..., p * WIDTH + j * w: p * WIDTH + (j + 1) * w] for p in range(3))
        weights = np.exp(q @ k.swapaxes(1, 2) / math.sqrt(w))
        out[..., j * w:(j + 1) * w] = weights / weights.sum(-1, keepdims=True) @ v
    return out @ Wo + bo


def expected_logits(theta, X, shift, tied=False):
    p = named(theta, tied)
    images = X.reshape(-1, SIDE, SIDE)
    tokens = np.stack([images[:, r:r + PATCH, c:c + PATCH].reshape(len(X), -1)
                       for r in range(0, SIDE, PATCH) for c in range(0, SIDE, PATCH)], axis=1)
    x = tokens @ p["We"] + p["be"] + p["pos"] + shift.reshape(len(X), TOKENS, WIDTH)
    for layer in range(LAYERS):
        k = 0 if tied else layer
        h = layer_norm(x, p[f"g1_{k}"], p[f"c1_{k}"])
        x = x + attention(h, p[f"Wqkv_{k}"], p[f"bqkv_{k}"], p[f"Wo_{k}"], p[f"bo_{k}"])
        a = layer_norm(x, p[f"g2_{k}"], p[f"c2_{k}"]) @ p[f"W1_{k}"] + p[f"b1_{k}"]
        gelu = a / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3)))
        x = x + gelu @ p[f"W2_{k}"] + p[f"b2_{k}"]
    return layer_norm(x, p["gf"], p["cf"]).mean(1) @ p["Wh"] + p["bh"]


def expected_loss(theta, X, y, shift, tied=False):
    z = expected_logits(theta, X, shift, tied)
    return (np.log(np.exp(z).sum(1)) - z[np.arange(len(y)), y]).sum()


def complex_step(f, x):
    """The gradient of f at x, to rounding: f(x + ih e) = f(x) + ih f'(x) e."""
    out = np.empty_like(x)
    for k in np.ndindex(x.shape):
        moved = x.astype(complex)
        moved[k] += 1j * STEP
        out[k] = f(moved).imag / STEP
    return out


def gradients(net, theta, X, y, shift, scale=1.0):
    weights, inputs, shifts = np.full_like(theta, np.nan), np.full_like(X, np.nan), np.full_like(shift, np.nan)
    loss = net.gradient(theta, X, y, scale, weights, inputs, shift, shifts)
    return loss, weights, inputs, shifts


def error(found, wanted):
    """Relative, in the maximum norm."""
    return np.abs(found - wanted).max() / np.abs(wanted).max()


@pytest.mark.parametrize("tied", (False, True))
def test_logits_and_loss_are_those_of_plain_numpy(tied):
    net, theta, X, y, shift = case(tied=tied)
    assert error(net.logits(theta, X, shift), expected_logits(theta, X, shift, tied)) < 1e-13
    assert error(net.logits(theta, X), expected_logits(theta, X, np.zeros_like(shift), tied)) < 1e-13
    assert net.gradient(theta, X, y, 5.0, shift=shift) == pytest.approx(expected_loss(theta, X, y, shift, tied), 1e-14)


@pytest.mark.parametrize("tied", (False, True))
def test_every_gradient_is_the_complex_step_derivative(tied):
    net, theta, X, y, shift = case(tied=tied)
    _, weights, inputs, shifts = gradients(net, theta, X, y, shift, scale=0.7)
    wanted = 0.7 * complex_step(lambda moved: expected_loss(moved, X, y, shift, tied), theta)
    for (name, found), block in zip(named(weights, tied).items(), named(wanted, tied).values()):
        assert error(found, block) < 1e-12, name
    assert error(inputs, 0.7 * complex_step(lambda moved: expected_loss(theta, moved, y, shift, tied), X)) < 1e-12
    assert error(shifts, 0.7 * complex_step(lambda moved: expected_loss(theta, X, y, moved, tied), shift)) < 1e-12


def test_a_network_whose_sizes_coincide():
    net = Transformer(4, 2, 4, 4, 1, 4, 4, np.float64)  # tokens, width, heads, hidden and classes are all 4
    generator = np.random.default_rng(3)
    theta, X, y = net.start(generator), generator.standard_normal((2, 16)), np.array([3, 1])
    weights, inputs = np.empty_like(theta), np.empty_like(X)
    net.gradient(theta, X, y, 1.0, weights, inputs)
    assert_finite_differences(lambda t: net.gradient(t, X, y), theta, weights, generator)
    assert_finite_differences(lambda x: net.gradient(theta, x, y), X, inputs, generator)


@pytest.mark.parametrize("tied", (False, True))
def test_gradients_are_the_finite_differences_of_its_own_loss(tied):
    net, theta, X, y, shift = case(tied=tied, seed=1)
    generator = np.random.default_rng(2)
    _, weights, inputs, shifts = gradients(net, theta, X, y, shift)
    assert_finite_differences(lambda t: net.gradient(t, X, y, shift=shift), theta, weights, generator)
    assert_finite_differences(lambda x: net.gradient(theta, x, y, shift=shift), X, inputs, generator)
    assert_finite_differences(lambda s: net.gradient(theta, X, y, shift=s), shift, shifts, generator)


def assert_finite_differences(f, x, gradient, generator, step=1e-5):
    for _ in range(10):
        direction = generator.standard_normal(x.shape)
        slope = (f(x + step * direction) - f(x - step * direction)) / (2 * step)
        assert abs(slope - np.vdot(gradient, direction)) < 1e-7 * np.linalg.norm(gradient) * np.linalg.norm(direction)


@pytest.mark.parametrize("tied", (False, True))
def test_float32_gradients_are_close_to_float64_ones(tied):
    net, *arguments = case(np.float32, tied, samples=16)
    loss, *found = gradients(net, *arguments)
    theta, X, y, shift = arguments
    wide, *wanted = gradients(network(tied=tied), theta.astype(float), X.astype(float), y, shift.astype(float))
    assert loss == pytest.approx(wide, rel=1e-5)
    for a, b in zip(found, wanted):
        assert a.dtype == np.float32 and error(a, b) < 1e-5


LARGE = (8, 2, 32, 4, 1, 64, 10)  # products in pieces


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
@pytest.mark.parametrize("sizes, most", ((SIZES, 9), (LARGE, 17)))
def test_numbers_do_not_depend_on_earlier_calls(sizes, most, dtype):
    net, generator = Transformer(*sizes, dtype), np.random.default_rng(5)
    theta, y = net.start(generator), generator.integers(0, net.classes, most)
    X = generator.standard_normal((most, net.inputs)).astype(dtype)
    shift = generator.standard_normal((most, net.embedding)).astype(dtype)
    for samples in (1, 4, most):
        part = X[:samples], y[:samples], shift[:samples]
        fresh = gradients(Transformer(*sizes, dtype), theta, *part)
        gradients(net, theta, X, y, shift)  # a larger batch before
        for _ in range(2):
            for a, b in zip(gradients(net, theta, *part), fresh):
                np.testing.assert_array_equal(a, b)
        expected = Transformer(*sizes, dtype).logits(theta, X[:samples])
        np.testing.assert_array_equal(net.logits(theta, X[:samples]), expected)


def test_products_in_pieces_have_the_same_gradients():
    net, generator = Transformer(*LARGE, np.float64, tied=True), np.random.default_rng(6)
    theta, X, y = net.start(generator), generator.standard_normal((17, 64)), generator.integers(0, 10, 17)
    weights, inputs, total = np.empty_like(theta), np.empty_like(X), np.zeros_like(theta)
    net.gradient(theta, X, y, 1.0, weights, inputs)
    for k in range(17):
        one, own = np.empty_like(theta), np.empty((1, 64))
        net.gradient(theta, X[k:k + 1], y[k:k + 1], 1.0, one, own)
        total += one
        assert error(inputs[k], own[0]) < 1e-12
    assert error(weights, total) < 1e-12


def test_no_samples_give_zero():
    net, theta, X, y, shift = case(samples=3)
    loss, weights, inputs, _ = gradients(net, theta, X[:0], y[:0], shift[:0])
    assert loss == 0 and not weights.any() and inputs.shape == (0, net.inputs)
    assert net.logits(theta, X[:0]).shape == (0, CLASSES)


@pytest.mark.parametrize("tied", (False, True))
def test_each_gradient_alone_is_the_same(tied):
    net, theta, X, y, shift = case(tied=tied)
    _, *wanted = gradients(net, theta, X, y, shift)
    for key, expected in zip(("weights", "inputs", "shifts"), wanted):
        out = np.full_like(expected, np.nan)
        net.gradient(theta, X, y, shift=shift, **{key: out})
        assert error(out, expected) < 1e-14
    zero, none = np.empty_like(shift), np.empty_like(shift)
    net.gradient(theta, X, y, shift=np.zeros_like(shift), shifts=zero)
    net.gradient(theta, X, y, shifts=none)
    np.testing.assert_array_equal(zero, none)


def test_theta_changed_in_place_is_read_again():
    net, theta, X, y, shift = case()
    before = net.gradient(theta, X, y)
    theta *= 1.5
    assert net.gradient(theta, X, y) == network().gradient(theta, X, y) != before


def test_large_scores_do_not_overflow():
    net, theta, X, y, _ = case(np.float32)
    named(theta)["Wqkv_0"][:] *= 1e4
    weights = np.empty_like(theta)
    assert np.isfinite(net.gradient(theta, X, y, 1.0, weights)) and np.isfinite(weights).all()


def test_start_draws_weights_of_the_scale_of_their_layer():
    net = network(np.float32)
    draws = [named(net.start(np.random.default_rng(seed))) for seed in range(100)]
    assert draws[0]["We"].dtype == np.float32
    branches = math.sqrt(2 * LAYERS)
    for name, deviation in (("We", 1 / PATCH), ("pos", 0.02), ("Wqkv_1", WIDTH**-0.5), ("Wo_1", WIDTH**-0.5 / branches),
                            ("W1_0", WIDTH**-0.5), ("W2_2", HIDDEN**-0.5 / branches), ("Wh", WIDTH**-0.5)):
        assert np.std([draw[name] for draw in draws]) == pytest.approx(deviation, rel=0.1), name
    for name in draws[0]:
        if name[0] not in "Wp":
            assert (draws[0][name] == (1 if name[0] == "g" else 0)).all(), name


def test_tied_theta_holds_one_block():
    assert network(tied=True).n == sum(math.prod(shape) for _, shape in shapes(tied=True))
    assert network().n == sum(math.prod(shape) for _, shape in shapes())


@pytest.mark.parametrize("sizes, dtype, message", (
    ((6, 4, 6, 2, 1, 4, 3), np.float64, "patch"),
    ((6, 2, 6, 4, 1, 4, 3), np.float64, "heads"),
    ((6, 2, 6, 2, 0, 4, 3), np.float64, "positive"),
    ((6, 2, 6, 2, 1, 4, 3), np.int32, "int32"),
))
def test_wrong_sizes_are_refused(sizes, dtype, message):
    with pytest.raises(UserError, match=message):
        Transformer(*sizes, dtype)
