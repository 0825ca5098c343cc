"""Attacks on a network: projected gradient ascent on the loss of each sample."""

from dataclasses import dataclass

import numpy as np

from mpimasha.errors import UserError
from mpimasha.kernels.operators.projections import clip_perturbation, clip_rows
from mpimasha.names import fits, nearest, shown
from mpimasha.randomness import generator

CHUNK = 64  # samples at once: results must not depend on the number of ranks


@dataclass(frozen=True)
class Ball:
    """Where perturbations live.

    Parameters
    ----------
    radius : float
    norm : {"linf", "l2"}
        The Euclidean norm of each sample's perturbation, or its largest entry.
    clip : bool
        Perturbed samples stay in [0, 1]; linf only.
    """

    radius: float
    norm: str = "linf"
    clip: bool = False

    def project(self, delta, X):
        """Into the ball, in place; delta (b, d), of the samples X."""
        if self.norm == "l2":
            clip_rows(delta, self.radius)
        elif self.clip:
            clip_perturbation(delta, X, self.radius)
        else:
            np.clip(delta, -self.radius, self.radius, out=delta)

    def uphill(self, gradient):
        """The steepest ascent of length 1 in the norm, in place; gradient (b, d)."""
        if self.norm == "l2":
            norms = np.sqrt(np.einsum("ij,ij->i", gradient, gradient))
            gradient /= np.maximum(norms, np.finfo(gradient.dtype).tiny)[:, None]
        else:
            np.sign(gradient, out=gradient)


@dataclass(frozen=True)
class PGD:
    """Projected gradient ascent (Madry et al. 2018, arXiv 1706.06083).

    Parameters
    ----------
    steps : int
    ball : Ball
    step : float
        Length of a step, in the ball's norm; default 2.5 radius / steps.
    """

    steps: int
    ball: Ball
    step: float = 0.0

    def ascend(self, gradient, delta, X, room):
        """Move delta (b, d) uphill, in place.

        Parameters
        ----------
        gradient : callable
            ``gradient(delta, out)``: out (b, d) = that of each sample's loss.
        room : (b, d) array
        """
        length = self.step or 2.5 * self.ball.radius / self.steps
        for _ in range(self.steps):
            gradient(delta, room)
            self.ball.uphill(room)
            delta += length * room
            self.ball.project(delta, X)

    def start(self, seed, count, size, dtype):
        """Random perturbations in the ball of any X, not clipped: (count, size), the same on every rank."""
        draw = generator(seed, "attack").uniform(-1, 1, (count, size))
        if self.ball.norm == "l2":
            draw /= np.linalg.norm(draw, axis=1, keepdims=True)
        return (self.ball.radius * draw).astype(dtype)


def parse(text, ball):
    """The attack that a user wrote, as in "pgd:20", "pgd:20,eps=0.15,step=0.02", in `ball` but for the radius."""
    name, _, rest = text.partition(":")
    if name != "pgd":
        raise UserError(f"--attack {text} is unknown{nearest(name, ['pgd'])}")
    steps, *options = rest.split(",")
    given = dict(option.partition("=")[::2] for option in options)
    for key in given:
        if key not in ("eps", "step"):
            raise UserError(f"--attack {text}: unknown key {key}{nearest(key, ['eps', 'step'])}")
    numbers = {key: _number(text, key, value) for key, value in given.items()}
    if not steps.isdecimal() or len(steps) > 7 or not 1 <= int(steps) <= 10**6:
        raise UserError(f"--attack {text}: the number of steps = {shown(steps)} is out of range: write pgd:20, say")
    radius = numbers.get("eps", ball.radius)
    return PGD(int(steps), Ball(radius, ball.norm, ball.clip), numbers.get("step", 0.0))


def _number(text, key, value):
    try:
        number = float(value)
    except ValueError:
        number = None
    if number is None or not fits(number, float) or not 0 < number < 1e6:
        raise UserError(f"--attack {text}: {key} = {shown(value)} is out of range: use a number above 0")
    return number
