"""Projections, ascent to the known maximum of a linear loss, and what a user may write for an attack."""

import numpy as np
import pytest

from mpimasha.errors import UserError
from mpimasha.networks.attacks import PGD, Ball, parse

B, D, RADIUS = 7, 12, 0.3
BALLS = {"linf": Ball(RADIUS), "l2": Ball(RADIUS, "l2"), "clip": Ball(RADIUS, "linf", True)}
every_ball = pytest.mark.parametrize("ball", BALLS.values(), ids=BALLS)
both_types = pytest.mark.parametrize("dtype", (np.float32, np.float64))


def samples(dtype=np.float64, seed=0):
    """X in [0, 1] with some pixels at the ends, and large perturbations."""
    rng = np.random.default_rng(seed)
    X = rng.random((B, D))
    X[X < 0.1], X[X > 0.9] = 0, 1
    return X.astype(dtype), rng.standard_normal((B, D)).astype(dtype)


def inside(ball, delta, X, slack=0.0):
    if ball.norm == "l2":
        return np.linalg.norm(delta.astype(float), axis=1).max() <= ball.radius + slack
    held = not ball.clip or ((X + delta).min() >= -slack and (X + delta).max() <= 1 + slack)
    return np.abs(delta).max() <= ball.radius + slack and held


@both_types
@every_ball
def test_a_projection_lies_inside_and_projecting_again_changes_nothing(ball, dtype):
    X, delta = samples(dtype)
    ball.project(delta, X)
    slack = 1e-6 if dtype == np.float32 else 1e-15
    assert inside(ball, delta, X, slack) and not inside(Ball(0.9 * RADIUS, ball.norm, ball.clip), delta, X)
    again = delta.copy()
    ball.project(again, X)
    np.testing.assert_allclose(again, delta, rtol=0, atol=slack)


@every_ball
def test_a_point_inside_stays_where_it_is(ball):
    X, delta = samples()
    delta *= 0.01
    if ball.clip:
        delta[:] = np.where(X > 0.5, -np.abs(delta), np.abs(delta))
    before = delta.copy()
    ball.project(delta, X)
    np.testing.assert_array_equal(delta, before)


@every_ball
def test_a_projection_is_the_nearest_point(ball):
    """<delta - P(delta), u - P(delta)> <= 0 for all u inside, sample by sample."""
    X, delta = samples()
    projected = delta.copy()
    ball.project(projected, X)
    away = delta - projected
    assert np.abs(away).max() > 0.5
    rng = np.random.default_rng(1)
    for _ in range(300):
        u = rng.standard_normal((B, D))
        if ball.norm == "l2":
            u *= RADIUS * rng.random((B, 1)) / np.linalg.norm(u, axis=1, keepdims=True)
        else:
            u = np.clip(u, -RADIUS, RADIUS)
            u = np.clip(u, -X, 1 - X) if ball.clip else u
        assert inside(ball, u, X, 1e-15)
        assert (np.sum(away * (u - projected), axis=1) <= 1e-14).all()


@every_ball
def test_uphill_is_the_unit_vector_with_the_largest_product(ball):
    _, gradient = samples(seed=2)
    up = gradient.copy()
    ball.uphill(up)
    dual = np.linalg.norm(gradient, axis=1) if ball.norm == "l2" else np.abs(gradient).sum(axis=1)
    length = np.linalg.norm(up, axis=1) if ball.norm == "l2" else np.abs(up).max(axis=1)
    np.testing.assert_allclose(length, 1)
    np.testing.assert_allclose(np.sum(up * gradient, axis=1), dual)


@every_ball
def test_a_gradient_of_zero_moves_nothing(ball):
    up = np.zeros((B, D))
    ball.uphill(up)
    assert not up.any()


# -- ascent ------------------------------------------------------------------------------------------


@every_ball
@pytest.mark.parametrize("steps", (1, 3, 20))
def test_the_ascent_of_a_linear_loss_ends_at_its_maximum(ball, steps):
    X, gradient = samples(seed=3)
    delta, room = np.zeros((B, D)), np.empty((B, D))

    def linear(delta, out):
        out[:] = gradient

    PGD(steps, ball).ascend(linear, delta, X, room)  # steps of 2.5 radius in all reach the border
    best = RADIUS * np.sign(gradient)
    if ball.norm == "l2":
        best = RADIUS * gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
    elif ball.clip:
        best = np.clip(best, -X, 1 - X)
    np.testing.assert_allclose(delta, best, rtol=0, atol=1e-14)


@every_ball
def test_a_step_that_was_given_is_taken(ball):
    X, gradient = samples(seed=3)
    delta, X, seen = np.zeros((B, D)), 0 * X + 0.5, []

    def linear(delta, out):
        seen.append(delta.copy())
        out[:] = gradient

    PGD(2, ball, step=0.01).ascend(linear, delta, X, np.empty((B, D)))
    up = gradient.copy()
    ball.uphill(up)
    np.testing.assert_allclose(seen[1], 0.01 * up, rtol=1e-14)
    np.testing.assert_allclose(delta, 0.02 * up, rtol=1e-14)


# -- random start ------------------------------------------------------------------------------------


@both_types
@pytest.mark.parametrize("norm", ("linf", "l2"))
def test_the_random_start_is_reproducible_and_in_the_ball(norm, dtype):
    attack = PGD(5, Ball(RADIUS, norm))
    start = attack.start(4, 50, D, np.dtype(dtype))
    assert start.shape == (50, D) and start.dtype == dtype
    assert inside(attack.ball, start, None, 1e-7)
    assert start.tobytes() == attack.start(4, 50, D, np.dtype(dtype)).tobytes()
    assert start.tobytes() != attack.start(5, 50, D, np.dtype(dtype)).tobytes()
    assert np.abs(start).max() > 0.5 * RADIUS and len(np.unique(start)) > 500


# -- what a user writes ------------------------------------------------------------------------------


@pytest.mark.parametrize("text, steps, radius, step", [
    ("pgd:20", 20, 0.2, 0.0), ("pgd:1,eps=0.15", 1, 0.15, 0.0), ("pgd:7,step=0.02", 7, 0.2, 0.02),
    ("pgd:20,eps=0.15,step=2e-2", 20, 0.15, 0.02), ("pgd:20,step=1,eps=3", 20, 3.0, 1.0)])
@pytest.mark.parametrize("norm, clip", [("linf", True), ("l2", False)])
def test_an_attack_by_its_text(text, steps, radius, step, norm, clip):
    attack = parse(text, Ball(0.2, norm, clip))
    assert (attack.steps, attack.step) == (steps, step) and attack.ball == Ball(radius, norm, clip)


@pytest.mark.parametrize("text, words", [
    ("", ["pgd"]), ("pdg:20", ["did you mean 'pgd'?"]), ("fgsm", ["use pgd"]), ("pgd", ["number of steps"]),
    ("pgd:", ["number of steps"]), ("pgd:0", ["'0'"]), ("pgd:-1", ["'-1'"]), ("pgd:2.5", ["'2.5'"]),
    ("pgd:x", ["'x'"]), ("pgd:1000001", ["1000001"]), ("pgd:20,epsilon=0.1", ["unknown key epsilon", "eps"]),
    ("pgd:20,eps=", ["eps = ''"]), ("pgd:20,eps=0", ["eps = '0'", "above 0"]), ("pgd:20,eps=-1", ["eps = '-1'"]),
    ("pgd:20,eps=nan", ["eps = 'nan'"]), ("pgd:20,step=inf", ["step = 'inf'"]), ("pgd:20,step=x", ["step = 'x'"]),
    ("pgd:²", ["²"]), ("pgd:" + "9" * 5000, ["number of steps"]), ("pgd:20,,", ["unknown key"])])
def test_an_attack_that_makes_no_sense_is_refused(text, words):
    with pytest.raises(UserError) as caught:
        parse(text, BALLS["linf"])
    sentence = str(caught.value)
    assert "--attack" in sentence and "\n" not in sentence
    for word in words:
        assert word in sentence
