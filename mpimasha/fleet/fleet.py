"""The workers this rank owns: their operators, and the coin all ranks share."""

import copy
from time import perf_counter

import numpy as np

from mpimasha.errors import UserError
from mpimasha.fleet.draw import Lots
from mpimasha.fleet.parted import Parted
from mpimasha.fleet.parts import Parts
from mpimasha.ledger import Ledger
from mpimasha.linear import Linear
from mpimasha.mpi.communicator import block
from mpimasha.randomness import COMMON, Stream


class Fleet:
    """This rank's workers.

    Parameters
    ----------
    problem : Problem
    comm : Communicator
    seed : int
    ledger : Ledger
    """

    def __init__(self, problem, comm, seed, ledger):
        if comm.size > problem.workers:
            raise UserError(f"{comm.size} ranks for workers = {problem.workers}: use at most as many ranks as workers")
        self.seed = seed
        self.workers, self.n, self.dtype = problem.workers, problem.n, problem.dtype
        self.owned = block(comm.rank, comm.size, problem.workers)
        self.operators = [problem.operator(m) for m in self.owned]
        some = any(problem.local_size(m) for m in range(problem.workers))
        self.parts = Parts(problem.n, [problem.local_size(m) for m in self.owned], some)
        self.prox = problem.prox
        if self.parts:
            self.prox = Parted(self.parts, problem.prox, [problem.local_prox(m) for m in self.owned],
                               problem.local_step)
        self.ledger = ledger
        self._problem, self.batches = problem, None
        self.lots = Lots(seed, problem.workers, self.owned)
        self._coin = Stream(seed, "coin")
        room = self.parts.n + self.parts.largest
        self._scratch = list(np.zeros((4, room), problem.dtype))  # one for each term a formula may have

    def F(self, z, draw=None):
        """The operators of this rank's workers at `z`, one vector a worker, computed when read.

        Parameters
        ----------
        z : Linear
            A single state, such as ``self.zhalf``: a vector, or one of each worker's own.
        draw : Draw, optional
            Whose batch is taken for the whole operator.
        """
        if len(z.terms) != 1 or z.terms[0][0] != 1.0:
            raise TypeError("an operator is evaluated at a state, not at a formula: assign the formula first")
        return Linear.of(Evaluation(self, z.terms[0][1], draw if draw is not None and draw.batch else None))

    def sample(self):
        """Make the operators of batches, for draws that have some."""
        if self.batches is None:
            self.lots.of_components([self._problem.components(m) for m in self.owned])
            self.batches = [self._problem.batch_operator(m) for m in self.owned]

    def solo(self, workers):
        """A fleet of that many workers that all are our first one, off the record; its coin always says yes."""
        solo = copy.copy(self)
        solo.workers = min(workers, self.workers)
        solo.owned = range(solo.workers)
        solo.operators = self.operators[:1] * solo.workers
        first = self.parts.local[0]
        solo.parts = Parts(self.n, [first.stop - first.start] * solo.workers, bool(self.parts))
        if solo.parts:
            solo.prox = Parted(solo.parts, self.prox.shared, self.prox.local[:1] * solo.workers, self.prox.step)
        solo.batches = self.batches and self.batches[:1] * solo.workers
        solo.lots = Lots(0, solo.workers, solo.owned)
        solo.lots.of_components(self.lots.components[:1] * solo.workers)
        solo.ledger = Ledger()
        solo.coin = lambda k, probability: True
        return solo

    def coin(self, k, probability):
        """The common coin of round k: the same on every rank, drawn in every round."""
        return bool(self._coin.uniform(COMMON, k) < probability)


class Evaluation:
    """F_m(z) for this rank's workers; each row is computed when a compressor asks for it.

    The row lives in a scratch vector until the next one is asked for: the compressor finds
    it in cache, and no (m_local, n) array of operators is ever made.
    """

    __slots__ = ("fleet", "z", "draw")

    def __init__(self, fleet, z, draw=None):
        self.fleet, self.z, self.draw = fleet, z, draw

    def row(self, i, term=0):
        fleet, scratch, part = self.fleet, self.fleet._scratch[term], 1.0
        z = self.z if isinstance(self.z, np.ndarray) else self.z.row(i)
        arguments = (z, scratch) if not fleet.parts else self._parted(z, scratch, i)
        started = perf_counter()
        if self.draw is None:
            fleet.operators[i](*arguments)
        else:
            chosen = self.draw.components(i)
            fleet.batches[i](*arguments, chosen)
            part = len(chosen) / fleet.lots.components[i]
        fleet.ledger.spend("compute", started)
        fleet.ledger.operator(fleet.owned[i], part)
        return scratch

    def _parted(self, z, scratch, i):
        """z, out and the local parts of both, of this rank's i-th worker."""
        parts = self.fleet.parts
        return z[parts.shared], scratch[parts.shared], z[parts.local[i]], self._local(scratch, i)

    def _local(self, scratch, i):
        parts = self.fleet.parts
        return scratch[parts.n:parts.n + parts.local[i].stop - parts.local[i].start]

    def local(self, i, term=0):
        """The local part of the row that was computed last in this place."""
        return self._local(self.fleet._scratch[term], i)
