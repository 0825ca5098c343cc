"""The bilinear saddle-point problem with quadratic regularisation."""

from functools import cached_property

import numpy as np

from mpimasha.kernels.operators.saddle import bilinear_operator
from mpimasha.names import check_kinds
from mpimasha.problems.base import Problem, check, check_workers
from mpimasha.randomness import generator

_WORKER, _SAMPLE = 1, 2  # keys of the streams; 0 is the common part


class Bilinear(Problem):
    """min_x max_y 1/M sum_m x'A_m y + a_m'x - b_m'y + lam/2 |x|^2 - lam/2 |y|^2.

    F_m(x, y) = (A_m y + lam x + a_m, -A_m'x + lam y + b_m), affine and strongly monotone
    with mu = lam = 1/kappa.  A_m = A + heterogeneity N_m with |A|_2 = 1 (Gaussian),
    N_m = (G_m - G_{m+1 mod M}) / sqrt 2 with Gaussian G_m of norm about 1, so sum N_m = 0
    and any worker's data follow from (seed, worker) alone.  The linear terms are a common
    N(0, 1) plus private ones built like N_m.

    Parameters
    ----------
    dim : int
        Dimension of x and of y: n = 2 dim.
    kappa : float
        1 / lam, about L / mu.
    heterogeneity : float
        Size of the workers' disagreement.
    workers : int
        M.
    seed : int
        Of the data, not of the run.
    samples : int
        r: for stochastic methods A_m is the mean of r matrices A_m + D_{m,i}, with D_{m,i} built like N_m, so that
        sum_i D_{m,i} = 0.  1 for none.

    Examples
    --------
    >>> import mpimasha as mm
    >>> problem = mm.Bilinear(dim=3, kappa=10)
    >>> problem.n, problem.mu, round(problem.L, 3)
    (6, 0.1, 1.005)
    >>> problem.gap(problem.solution()) < 1e-12 < problem.gap(problem.start())
    True
    """

    name = "bilinear"

    def __init__(self, dim: int = 50, kappa: float = 100.0, heterogeneity: float = 0.5, workers: int = 10,
                 seed: int = 0, samples: int = 1):
        dim, seed, samples = check_kinds(Bilinear, "problem.", dim=dim, kappa=kappa, heterogeneity=heterogeneity,
                                         seed=seed, samples=samples)
        self.dim = check("problem.dim", dim, "a whole number of at least 1 (and at most 100000: A_m is dense)", 1,
                         100_000)
        self.kappa = check("problem.kappa", kappa, "a number of at least 1 (and at most 1e100)", 1, 1e100)
        self.heterogeneity = check("problem.heterogeneity", heterogeneity, "a number of at least 0 (and at most 1e100)",
                                   0, 1e100)
        self.workers = check_workers(workers)
        self.seed = check("problem.seed", seed, "a whole number of at least 0", 0, np.inf)
        self.samples = check("problem.samples", samples, "a whole number of at least 1 (and at most 10000)", 1, 10_000)
        self.n, self.saddle, self.finite_sum = 2 * self.dim, self.dim, self.samples > 1
        self.mu = 1 / self.kappa

    @property
    def L(self):
        return float(np.hypot(1.0, self.mu))  # J = [[lam, A], [-A', lam]] is normal

    @cached_property
    def _mean(self):
        """(A, a, b): the common part, which is the mean."""
        rng = generator(self.seed, "problem", 0)
        A = rng.standard_normal((self.dim, self.dim))
        return A / _norm(A), rng.standard_normal(self.dim), rng.standard_normal(self.dim)

    def _private(self, worker):
        """G_m and the worker's private linear terms; a Gaussian matrix has norm about 2 sqrt(dim)."""
        rng = generator(self.seed, "problem", _WORKER, worker % self.workers)
        return self._spread(rng), rng.standard_normal(self.dim), rng.standard_normal(self.dim)

    def _spread(self, rng):
        return rng.standard_normal((self.dim, self.dim)) / (2 * np.sqrt(self.dim))

    def _deviation(self, worker):
        """(N_m, and the deviations of a_m and b_m), which sum to 0 over the workers."""
        if self.workers == 1:
            return np.zeros((self.dim, self.dim)), np.zeros(self.dim), np.zeros(self.dim)
        return tuple((u - v) / np.sqrt(2) for u, v in zip(self._private(worker), self._private(worker + 1)))

    def data(self, worker):
        """A_m (dim, dim), a_m, b_m (dim,)."""
        A, a, b = self._mean
        N, da, db = self._deviation(worker)
        return A + self.heterogeneity * N, a + da, b + db

    def footprint(self, owned):
        # A, every A_m and A_{m,i}, besides what it takes to make and measure one, or to solve for z*.
        samples = self.samples if self.finite_sum else 0
        return 8 * self.dim**2 * (1 + len(owned) * (1 + samples) + samples + (12 if 0 in owned else 6))

    def operator(self, worker):
        A, a, b = self.data(worker)
        lam = self.mu
        return lambda z, out: bilinear_operator(out, A, a, b, lam, z)

    # -- samples -----------------------------------------------------------------------

    def components(self, worker):
        return self.samples

    def _samples(self, worker):
        """The A_{m,i}, shape (r, dim, dim)."""
        G = np.array([self._spread(generator(self.seed, "problem", _SAMPLE, worker, i)) for i in range(self.samples)])
        return self.data(worker)[0] + (G - np.roll(G, -1, axis=0)) / np.sqrt(2)

    def batch_operator(self, worker):
        A_i, (_, a, b), lam, part = self._samples(worker), self.data(worker), self.mu, np.zeros(self.n)

        def F(z, out, chosen):
            out[:] = 0
            for i in chosen:
                bilinear_operator(part, A_i[i], a, b, lam, z)
                out += part
            out /= len(chosen)
        return F

    def component_lipschitz(self, worker):
        """J_{m,i}'J_{m,i} is block diagonal with blocks lam^2 I + A A' and lam^2 I + A'A, A = A_{m,i}."""
        A_i = self._samples(worker)
        squares = [np.mean(A_i @ A_i.transpose(0, 2, 1), axis=0), np.mean(A_i.transpose(0, 2, 1) @ A_i, axis=0)]
        return float(np.sqrt(self.mu**2 + max(np.linalg.eigvalsh(S)[-1] for S in squares)))

    # -- constants and solution ----------------------------------------------------------

    def lipschitz(self, worker):
        return float(np.hypot(_norm(self.data(worker)[0]), self.mu))

    def dissimilarity(self, worker):
        return float(self.heterogeneity * _norm(self._deviation(worker)[0]))

    def solution(self):
        """z* of the mean: (lam I + A A'/lam) x = -a - A (-b)/lam, written as one linear system."""
        A, a, b = self._mean
        lam, eye = self.mu, np.eye(self.dim)
        return np.linalg.solve(np.block([[lam * eye, A], [-A.T, lam * eye]]), -np.concatenate([a, b]))

    def gap(self, z):
        """In closed form: both inner problems are quadratic."""
        A, a, b = self._mean
        lam, x, y = self.mu, z[:self.dim], z[self.dim:]
        best_x, best_y = A @ y + a, A.T @ x - b
        upper = a @ x + lam / 2 * (x @ x) + best_y @ best_y / (2 * lam)
        lower = -b @ y - lam / 2 * (y @ y) - best_x @ best_x / (2 * lam)
        return float(upper - lower)

    def identity(self):
        return f"bilinear dim={self.dim} kappa={self.kappa!r} heterogeneity={self.heterogeneity!r} " \
               f"workers={self.workers} seed={self.seed}"


def _norm(A):
    """The spectral norm, by the eigenvalues of A'A."""
    return np.sqrt(np.linalg.eigvalsh(A.T @ A)[-1])
