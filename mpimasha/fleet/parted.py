"""The prox of a rank's vector, put together from those of its parts."""

from mpimasha.problems.proximal import Proximal


class Parted(Proximal):
    """h of a rank's vector: one part that all workers share, and one of each worker's own.

    Parameters
    ----------
    parts : Parts
    shared : Proximal
    local : list of Proximal
        One for each of the rank's workers.
    """

    def __init__(self, parts, shared, local, step=None):
        self.parts, self.shared, self.local, self.step = parts, shared, local, step

    def apply(self, x, gamma):
        self.shared.apply(x[self.parts.shared], gamma)
        for part, prox in zip(self.parts.local, self.local):
            prox.apply(x[part], self.step or gamma)
