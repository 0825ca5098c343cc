"""The bilinear saddle-point problem with a sparse matrix, for dimensions up to ten millions."""

import math
import weakref
from functools import cached_property

import numpy as np

from mpimasha.kernels.hashing import normals
from mpimasha.kernels.operators.ellpack import draw_columns, draw_terms, draw_values, ellpack_operator
from mpimasha.kernels.updates import squared_norm
from mpimasha.names import check_kinds
from mpimasha.problems.base import Problem, check, check_workers
from mpimasha.randomness import COMMON, Stream

_LARGEST = 3.47  # magnitude of a draw of `normal`
_COLUMNS, _ENTRIES, _SOLUTION = 0, 1, 2  # draws all workers share
_DEVIATION, _TERMS = 0, 1  # draws of one worker
_GAP_DIM = 2000  # up to here the gap may cost one more matrix


class SparseBilinear(Problem):
    """min_x max_y 1/M sum_m x'A_m y + a_m'x - b_m'y + lam/2 |x|^2 - lam/2 |y|^2 with sparse A_m.

    F_m(x, y) = (A_m y + lam x + a_m, -A_m'x + lam y + b_m), affine and strongly monotone
    with mu = lam = 1/kappa; L is not known and has to be estimated.

    A_m = A + heterogeneity N_m, all with the same `nonzeros` columns in a row.
    A has entries of variance 1 / (4 nonzeros), the sum of four uniform numbers;
    N_m = (G_m - G_{m+1 mod M}) / sqrt 2 with G_m distributed like A.  All entries are whole
    multiples of one power of two that float32 holds, so sum N_m = 0 exactly.  (A matrix
    with many entries a row has |A|_2 near 1; a few heavy columns raise it, measured at dim
    1e3, 1e4, 1e5: with 2 nonzeros 1.45, 1.65, 1.75; with 10 1.08, 1.14, 1.26; with 50 1.01,
    1.02, 1.02.)

    z* is drawn, nearly N(0, 1), and the linear terms follow from it:
    F_m(z) = J_m (z - z*) + c_m with c_m = (g_m - g_{m+1 mod M}) / sqrt 2, whatever the
    heterogeneity.  Any worker's data follow from (seed, worker) alone.

    Parameters
    ----------
    dim : int
        Dimension of x and of y: n = 2 dim.
    nonzeros : int
        Entries in a row of A_m.  A worker's data take 8 nonzeros + 16 bytes a row, of which
        the workers of one rank share 4 nonzeros.
    kappa : float
        1 / lam, about L / mu.
    heterogeneity : float
        Size of the disagreement of the A_m.
    workers : int
        M.
    seed : int
        Of the data, not of the run.
    """

    name = "sparse_bilinear"
    _columns = None

    def __init__(self, dim: int = 1000, nonzeros: int = 10, kappa: float = 100.0, heterogeneity: float = 0.5,
                 workers: int = 10, seed: int = 0):
        dim, nonzeros, seed = check_kinds(SparseBilinear, "problem.", dim=dim, nonzeros=nonzeros, kappa=kappa,
                                          heterogeneity=heterogeneity, seed=seed)
        self.dim = check("problem.dim", dim, "a whole number of at least 1 (and at most 10000000)", 1, 10_000_000)
        self.nonzeros = check("problem.nonzeros", nonzeros, f"a whole number of at least 1 and at most problem.dim = "
                              f"{self.dim}", 1, self.dim)
        self.kappa = check("problem.kappa", kappa, "a number of at least 1 (and at most 1e100)", 1, 1e100)
        self.heterogeneity = check("problem.heterogeneity", heterogeneity, "a number of at least 0 (and at most 1000: "
                                   "float32 holds A_m)", 0, 1000)
        self.workers = check_workers(workers)
        self.seed = check("problem.seed", seed, "a whole number of at least 0", 0, np.inf)
        self.n = 2 * self.dim
        self.saddle = self.dim
        self.mu = 1 / self.kappa
        self._key = Stream(self.seed, "problem")

    def _pattern(self):
        """The columns, (nonzeros, dim) uint32: one array for all operators that are alive."""
        columns = self._columns and self._columns()
        if columns is None:
            columns = np.empty((self.nonzeros, self.dim), np.uint32)
            draw_columns(columns, self._key(COMMON, _COLUMNS))
            self._columns = weakref.ref(columns)
        return columns

    def _values(self, worker, heterogeneity):
        """The entries of A_m, (nonzeros, dim) float32."""
        size = 1 / (2 * math.sqrt(self.nonzeros))
        private = heterogeneity * size / math.sqrt(2)
        # no entry exceeds 2^23 units, and one more for the roundings; the unit is the same for all workers
        unit = 2.0**(math.frexp(_LARGEST * (size + 2 * self.heterogeneity * size / math.sqrt(2)))[1] - 23)
        values = np.empty((self.nonzeros, self.dim), np.float32)
        draw_values(values, unit, size / unit, private / unit, self._key(COMMON, _ENTRIES),
                    *self._neighbours(worker, _DEVIATION))
        return values

    def _neighbours(self, worker, what):
        """The keys of worker m and of worker m+1 mod M."""
        return [self._key(m % self.workers, what) for m in (worker, worker + 1)]

    def data(self, worker):
        """Columns and values of the rows of A_m, each (nonzeros, dim), and (a_m, b_m), shape (n,)."""
        columns, values, terms = self._pattern(), self._values(worker, self.heterogeneity), np.empty(self.n)
        draw_terms(terms, columns, values, self.mu, self._key(COMMON, _SOLUTION), *self._neighbours(worker, _TERMS))
        return columns, values, terms

    def operator(self, worker):
        columns, values, terms = self.data(worker)
        lam = self.mu
        return lambda z, out: ellpack_operator(out, columns, values, terms, lam, z)

    def solution(self):
        z = np.empty(self.n)
        normals(z, self._key(COMMON, _SOLUTION))
        return z

    @cached_property
    def _mean(self):
        """(columns, values) of A, the mean of the A_m."""
        return self._pattern(), self._values(0, 0.0)

    def gap(self, z):
        """lam/2 |z - z*|^2 + (|A q|^2 + |A'p|^2) / (2 lam) with (p, q) = z - z*; None above dim 2000."""
        if self.dim > _GAP_DIM:
            return None
        away, product = z - self.solution(), np.empty(self.n)
        ellpack_operator(product, *self._mean, np.zeros(self.n), 0.0, away)
        return float(self.mu / 2 * squared_norm(away) + squared_norm(product) / (2 * self.mu))

    def identity(self):
        return f"sparse_bilinear dim={self.dim} nonzeros={self.nonzeros} kappa={self.kappa!r} " \
               f"heterogeneity={self.heterogeneity!r} workers={self.workers} seed={self.seed}"
