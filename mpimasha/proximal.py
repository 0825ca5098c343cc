"""Proximal operators of h, applied in place after a formula was evaluated."""

import numpy as np

from mpimasha.kernels.updates import squared_norm


class Zero:
    """h = 0."""

    is_zero = True

    def __call__(self, formula, gamma):
        return formula

    def apply(self, x, gamma):
        """prox_{gamma h}(x), in place."""


class Proximal:
    """Abstract base of the nontrivial ones: ``prox(formula, gamma)`` is a formula again."""

    is_zero = False

    def __call__(self, formula, gamma):
        return _Applied(self, formula, gamma)

    def apply(self, x, gamma):
        raise NotImplementedError(f"{type(self).__name__} has no prox")


class _Applied:
    __slots__ = ("prox", "formula", "gamma")

    def __init__(self, prox, formula, gamma):
        self.prox, self.formula, self.gamma = prox, formula, gamma

    def write(self, out):
        self.formula.write(out)
        self.prox.apply(out, self.gamma)


class Balls(Proximal):
    """Indicator of a product of Euclidean balls around 0: the prox is the projection.

    Parameters
    ----------
    parts : sequence of (slice, float)
        Which coordinates, and the radius of their ball.
    """

    def __init__(self, parts):
        self.parts = list(parts)

    def apply(self, x, gamma):
        for part, radius in self.parts:
            norm = np.sqrt(squared_norm(x[part]))
            if norm > radius:
                x[part] *= radius / norm
