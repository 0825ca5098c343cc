"""Proximal operators of h, applied in place after a formula was evaluated."""

import numpy as np

from mpimasha.errors import UserError
from mpimasha.kernels.operators.projections import project_simplex, shrink
from mpimasha.kernels.updates import squared_norm
from mpimasha.names import fits, shown


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

    def row(self, i):
        return _Applied(self.prox, self.formula.row(i), self.gamma)


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


class Box(Proximal):
    """Indicator of lower <= x <= upper, entry by entry: the prox is the projection.

    Parameters
    ----------
    lower, upper : float or array of shape (n,)
        Infinite where there is no bound.
    """

    def __init__(self, lower, upper):
        if not _ordered(lower, upper):
            raise UserError(f"Box({shown(lower)}, {shown(upper)}) is no box: use numbers or arrays of one shape with "
                            f"lower <= upper")
        self.lower, self.upper = lower, upper

    def apply(self, x, gamma):
        np.clip(x, self.lower, self.upper, out=x)


def _ordered(lower, upper):
    try:
        low, high = np.broadcast_arrays(np.asarray(lower, float), np.asarray(upper, float))
    except (TypeError, ValueError, OverflowError):
        return False
    return bool(np.all((low <= high) & (low < np.inf) & (high > -np.inf)))  # nor NaN


class Simplex(Proximal):
    """Indicator of the probability simplex x >= 0, sum x = 1: the prox is the Euclidean projection."""

    def apply(self, x, gamma):
        project_simplex(x)


class L1(Proximal):
    """weight |x|_1: the prox is soft thresholding at gamma weight.

    Parameters
    ----------
    weight : float
    """

    def __init__(self, weight: float):
        if not fits(weight, float) or not 0 <= weight <= 1e100:
            raise UserError(f"L1({shown(weight)}) is out of range: use a number of at least 0 (and at most 1e100)")
        self.weight = weight

    def apply(self, x, gamma):
        shrink(x, gamma * self.weight)


class Product(Proximal):
    """h(z) = sum_i h_i(z[part_i]): each part of z has a prox of its own, what no part names has none.

    Parameters
    ----------
    parts : sequence of (slice, Proximal)
        Slices that do not overlap.
    """

    def __init__(self, parts):
        self.parts = list(parts)

    def apply(self, x, gamma):
        for part, prox in self.parts:
            prox.apply(x[part], gamma)
