"""The constants of F and of its parts: given, known by the problem, or estimated."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mpimasha.linear import Linear
from mpimasha.problems import spectrum
from mpimasha.randomness import COMMON, Stream


class _Means:
    @property
    def L_rms(self):
        return None if self.L_m is None else float(np.sqrt(np.mean(self.L_m**2)))

    @property
    def similarity_rms(self):
        return None if self.similarity_m is None else float(np.sqrt(np.mean(self.similarity_m**2)))


@dataclass(frozen=True)
class Constants(_Means):
    """What step sizes are made of.

    Attributes
    ----------
    L, mu : float
        Of F = 1/M sum_m F_m.
    L_m : array of shape (M,), or None
        Of the workers' operators.
    similarity_m : array of shape (M,), or None
        Lipschitz constants of F_m - F.
    workers : int
    Lhat_m : array of shape (M,), or None
        Of the workers' components, in mean square.
    components : sequence of int
        How many each worker has.
    """

    L: float
    mu: float
    L_m: np.ndarray | None
    similarity_m: np.ndarray | None
    workers: int
    Lhat_m: np.ndarray | None = None
    components: tuple = ()

    @property
    def near(self):
        return self

    def known(self, name):
        return getattr(self, name)


class Collected(_Means):
    """The constants of a problem, worked out when they are first asked for.

    Asking is collective: each rank works out those of its own workers.  What the problem
    does not know is estimated at z^0 by Lanczos' method on differences of the operator
    (exact for affine F, local otherwise); `estimated` names what was.

    Parameters
    ----------
    run : Run
    locally : bool
        Estimate L and L_m at z^0 even where the problem has bounds.
    """

    def __init__(self, run, locally=False):
        self._run, self._problem, self._key = run, run.problem, Stream(0, "test")
        self.workers, self.estimated, self._locally = run.problem.workers, [], locally

    @cached_property
    def near(self):
        """The constants near z^0, estimated where the problem's are bounds for a whole region."""
        if self._problem.sharp or self._problem.saddle is None:
            return self
        near = Collected(self._run, locally=True)
        near.estimated = self.estimated
        return near

    def known(self, name):
        """A constant if it is at hand without any exchange, else None."""
        worked_out = {"L_rms": "L_m", "similarity_rms": "similarity_m"}.get(name, name) in vars(self)
        return getattr(self if worked_out else self._problem, name, None)

    @cached_property
    def mu(self):
        if self._problem.mu is not None:
            return self._problem.mu
        self._note("mu")
        problem = self._problem
        found = spectrum.monotonicity(self._run.operator, problem.start(), problem.saddle, self._key(COMMON, 2),
                                      agree=self._agree)
        return max(0.0, found or 0.0)  # from above, and for reports only

    @cached_property
    def L(self):
        known = None if self._locally else self._problem.L
        return known if known is not None else self._lipschitz("L", self._run.operator, COMMON)

    @cached_property
    def L_m(self):
        problem, fleet = self._problem, self._run.fleet
        def own():
            known = [None if self._locally else problem.lipschitz(m) for m in fleet.owned]
            return [self._lipschitz("L_m", F, m) if L is None else L
                    for m, F, L in zip(fleet.owned, fleet.operators, known)]
        return self._column(own)

    @cached_property
    def Lhat_m(self):
        return self._column(lambda: [self._problem.component_lipschitz(m) for m in self._run.fleet.owned])

    @cached_property
    def components(self):
        """How many components the operator of each worker has."""
        return self._column(lambda: list(self._run.fleet.lots.components))

    @cached_property
    def similarity_m(self):
        return self._column(lambda: [self._problem.dissimilarity(m) for m in self._run.fleet.owned])

    @cached_property
    def similarity_rms(self):
        """As the mean of squares of `similarity_m`, or sharper: |1/M sum_m J_m'J_m - J'J|^(1/2)."""
        known = super().similarity_rms
        return known if known is not None or self._problem.saddle is None else self._deviation()

    def _column(self, own):
        """An array of one number a worker, from what each rank knows of its `own`; None if any is unknown."""
        column = [value for rows in self._run.comm.gather_objects(self._run.comm.together(own)) for value in rows]
        return None if None in column else np.array(column)

    def _lipschitz(self, name, F, worker):
        if self._problem.scored:  # a network: no constant holds
            return None
        self._note(name)
        problem, agree = self._problem, self._agree if worker == COMMON else bool
        return spectrum.lipschitz(F, problem.start(), problem.saddle, self._key(worker, 0), agree=agree)

    def _deviation(self):
        self._note("similarity")
        run, z, saddle = self._run, self._problem.start(), self._problem.saddle
        whole = spectrum.Difference(run.operator, z, saddle)
        parts = [spectrum.Difference(F, z, saddle) for F in run.fleet.operators]
        mean = np.zeros_like(z)

        def apply(v):                                                     # (1/M sum_m J_m'J_m - J'J) v
            mean[:] = run.exact_mean(Linear.of(_EachWorker(lambda i: parts[i].normal(v))))
            w = whole.normal(v)
            np.subtract(mean, w, out=w)
            return w
        return spectrum.rms(apply, len(z), self._key(COMMON, 1), agree=self._agree)

    def _note(self, name):
        if name not in self.estimated:
            self.estimated.append(name)

    def _agree(self, decision):
        """Rank 0's decision."""
        agreed = np.array([decision], np.int64)
        with self._run.comm.billed_to("observers"):
            return bool(self._run.comm.broadcast(agreed)[0])


class _EachWorker:
    """One vector a worker, computed by ``row(i)`` when it is asked for."""

    __slots__ = ("_row",)

    def __init__(self, row):
        self._row = row

    def row(self, i, term=0):
        return self._row(i)
