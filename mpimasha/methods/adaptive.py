"""Step sizes that follow the run."""

import numpy as np

from mpimasha.kernels.updates import squared_norm
from mpimasha.methods.base import Method
from mpimasha.state import Scalar

_MEMORY = 0.95  # of the averages
_GROWTH = 1.5   # of the step size from round to round, at most


class Adaptive(Method):
    """Abstract base of methods whose gamma may follow sqrt(mean|x - x'|^2 / mean|G - G'|^2) (ours, observed).

    x and x' are points, G and G' the estimates of F that belong to them; the means forget by 5 % a round.  All ranks
    know x and G bit for bit, so nothing is sent.
    """

    gamma, moved, changed = Scalar(), Scalar(), Scalar()

    @property
    def adapts(self):
        return self.rule == "adaptive"

    def follow(self, moved, changed, factor, cap=np.inf):
        """gamma = min(1.5 gamma, cap, factor sqrt(mean of `moved` / mean of `changed`)), both squared lengths."""
        self.moved = _MEMORY * self.moved + (1 - _MEMORY) * moved
        self.changed = _MEMORY * self.changed + (1 - _MEMORY) * changed
        if self.moved > 0 and self.changed > 0:
            self.gamma = min(_GROWTH * self.gamma, cap, factor * np.sqrt(self.moved / self.changed))

    def start_step(self, F):
        """Where no constant gave a first step: one that moves z by a thousandth, `F` the operator at z^0.

        Of `F` the part that all ranks know: behind it are variables of this rank's workers alone.
        """
        if not self.gamma:
            (_, known), = F.part(self.fleet.parts.shared).terms
            size = np.sqrt(squared_norm(known))
            self.gamma = 1e-3 / size if size > 0 else 1e-3
