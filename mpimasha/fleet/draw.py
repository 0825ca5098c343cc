"""Who takes part in a round, and which components of its operator each worker looks at."""

import numpy as np

from mpimasha.errors import UserError
from mpimasha.kernels.compress.sampling import uniform_subset
from mpimasha.names import fits, shown
from mpimasha.randomness import COMMON, Stream


class Lots:
    """Draws b of M workers, and for each worker s of its r components, uniformly without replacement.

    Parameters
    ----------
    seed : int
    workers : int
        M.
    owned : sequence of int
        This rank's workers.

    Attributes
    ----------
    components : list of int
        r of each of this rank's workers; empty before `of_components`.
    """

    def __init__(self, seed, workers, owned):
        self._who, self._what = Stream(seed, "participation"), Stream(seed, "batch")
        self.workers, self.owned = workers, owned
        self.of_components([])

    def of_components(self, components):
        """Make batches possible."""
        self.components = components
        self._marks = np.zeros(max([self.workers, *components]), np.uint8)

    def draw(self, k, participation=0, batch=0):
        """The lot of round k.

        Parameters
        ----------
        participation, batch : float
            A part below 1 or a count; 0 for all workers, and for whole operators.
        """
        count, participants = share(participation, self.workers), None
        if count < self.workers:
            participants = self._subset(self.workers, count, self._who(COMMON, k))
        return Draw(participants, batch, lambda i: self._components(i, k, batch))

    def _components(self, i, k, batch):
        """Of this rank's i-th worker."""
        return self._subset(self.components[i], share(batch, self.components[i]), self._what(self.owned[i], k))

    def _subset(self, n, count, key):
        index = np.empty(count, np.uint32)
        uniform_subset(index, self._marks, n, key)
        index.sort()
        return index


class Draw:
    """The lot of one round.

    Attributes
    ----------
    participants : array or None
        The workers who take part, ascending; None for all.
    batch : float
        Part of its components that each worker looks at; 0 for whole operators.
    """

    __slots__ = ("participants", "batch", "_components", "_last")

    def __init__(self, participants=None, batch=0, components=None):
        self.participants, self.batch, self._components, self._last = participants, batch, components, (None, None)

    def components(self, i):
        """Those that this rank's i-th worker looks at: the same at every point of the round."""
        if self._last[0] != i:
            self._last = i, self._components(i)
        return self._last[1]


def share(part, whole):
    """The count that `part`, a fraction of `whole` below 1 or a count, stands for; 0 stands for all."""
    if not part:
        return whole
    return min(whole, max(1, round(part * whole)) if part < 1 else int(part))


def check_share(key, part):
    """Refuse a part that is neither 0, a fraction below 1 nor a count."""
    if not fits(part, float) or not 0 <= part < np.inf or (part >= 1 and part != int(part)):
        raise UserError(f"{key} = {shown(part)} is no part: use 0 for all, a fraction below 1 or a whole number")
    return part
