"""Diagonal metrics: z+ = prox(z - gamma D(F)) in place of z - gamma F."""

import numpy as np

from mpimasha import state
from mpimasha.kernels.preconditioning import divide_by_root, second_moment
from mpimasha.linear import Linear
from mpimasha.state import Scalar, Shared


class Metric:
    """D = 1 on what is communicated; on local parts a step of their own, if the problem has one.

    Parameters
    ----------
    parts : Parts
    dtype : numpy.dtype
    damping : float
    local_step : float or None
        Step size of the local parts, whatever gamma is; None for gamma.
    """

    name = "none"
    learns = False

    def bind(self, parts, dtype, damping=1.0, local_step=None):
        self.parts, self.damping, self._local_step = parts, damping, local_step
        self.ratio = 1.0
        state.allocate(self, 0, parts.n if self.learns else 0, dtype)
        self.scratch = np.zeros(parts.n if self.learns else 0, dtype)
        return self

    def at(self, gamma):
        """The step size of the round is gamma."""
        if self._local_step is not None:
            self.ratio = self._local_step / gamma                         # local step over gamma
        return gamma

    def learn(self, F):
        """Note an operator (Linear) that all ranks know."""

    def __call__(self, direction, ahead=1.0):
        """D times a Linear, as a part of a formula; `ahead`: a factor of what is communicated alone."""
        if not self.learns and (not self.parts or (ahead == 1.0 and self.ratio == 1.0)):
            return direction if ahead == 1.0 else ahead * direction
        return Scaled(self, direction, ahead)

    def shared(self, direction):
        """D times a Linear of shared parts, another Linear."""
        return direction


class RMS(Metric):
    """D = 1/(sqrt v + damping), v <- 0.9 v + 0.1 F^2; the first F^2 as it is."""

    name = "rms"
    learns = True
    v, count = Shared(), Scalar()

    def learn(self, F):
        F.part(self.parts.shared).write(self.scratch)
        second_moment(state.buffers(self)["v"], 0.9 if self.count else 0.0, self.scratch)
        self.count += 1

    def shared(self, direction):
        direction.write(self.scratch)
        return Linear.of(self._scaled(1.0))

    def _scaled(self, correction):
        """scratch / (sqrt(correction v) + damping)."""
        divide_by_root(self.scratch, state.buffers(self)["v"], correction, self.damping)
        return self.scratch


class Adam(RMS):
    """Adam (Kingma and Ba 2015, arXiv 1412.6980): D F = mhat/(sqrt vhat + damping), b1 = 0.9, b2 = 0.999."""

    name = "adam"
    m = Shared()

    def learn(self, F):
        F.part(self.parts.shared).write(self.scratch)
        self.m = 0.9 * self.m + 0.1 * Linear.of(self.scratch)
        second_moment(state.buffers(self)["v"], 0.999, self.scratch)
        self.count += 1

    def shared(self, direction):
        """The direction that was learnt last, with the factor of `direction`, whose vector is taken to be the same."""
        (factor, _), = direction.terms
        k = self.count
        (factor / (1 - 0.9**k) * self.m).write(self.scratch)
        return Linear.of(self._scaled(1 / (1 - 0.999**k)))


METRICS = {metric.name: metric for metric in (Metric, RMS, Adam)}


class Scaled:
    """factor D F: what is subtracted from a formula."""

    __slots__ = ("metric", "direction", "ahead", "factor")
    __array_ufunc__ = None

    def __init__(self, metric, direction, ahead, factor=1.0):
        self.metric, self.direction, self.ahead, self.factor = metric, direction, ahead, factor

    def __rmul__(self, factor):
        return Scaled(self.metric, self.direction, self.ahead, factor * self.factor)

    def __rsub__(self, point):
        return Step(point, self)


class Step:
    """A point less a scaled direction, not evaluated yet."""

    __slots__ = ("point", "scaled")

    def __init__(self, point, scaled):
        self.point, self.scaled = point, scaled

    def write(self, out):
        point, direction, metric, factor = self.point, self.scaled.direction, self.scaled.metric, self.scaled.factor
        shared, local = metric.parts.shared, slice(metric.parts.n, metric.parts.size)
        moved = metric.shared(direction.part(shared))
        (point.part(shared) - (self.scaled.ahead * factor) * moved).write(out[shared])
        if metric.parts:
            (point.part(local) - (factor * metric.ratio) * direction.part(local)).write(out[local])
