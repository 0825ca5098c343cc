"""An operator in Numba: mpimasha run noisy_logistic --plugin jobs/plugins/operator_numba.py --workers 4"""

import numba
import numpy as np

import mpimasha as mm


@numba.njit(nogil=True)
def logistic_operator(out, A, b, w, r, lam, beta):
    """out = (grad_w g, -grad_r g) in one pass over the rows of A, without a temporary."""
    d = len(w)
    for j in range(d):
        out[j], out[d + j] = lam * w[j], beta * r[j]
    for i in range(len(A)):
        margin = 0.0
        for j in range(d):
            margin += A[i, j] * (w[j] + r[j])
        slope = -b[i] / (1 + np.exp(b[i] * margin)) / len(A)
        for j in range(d):
            out[j] += slope * A[i, j]
            out[d + j] -= slope * A[i, j]


class NoisyLogistic(mm.Problem):
    """min_w max_r 1/N sum_i log(1 + exp(-b_i a_i'(w + r))) + lam/2 |w|^2 - beta/2 |r|^2 with |a_i| = 1."""

    name = "noisy_logistic"
    sharp = False  # L bounds the whole space

    def __init__(self, dim: int = 10, rows: int = 50, lam: float = 0.1, beta: float = 1.0, workers: int = 5,
                 seed: int = 0):
        if min(dim, rows) < 1 or lam <= 0 or beta <= 0.25:
            raise mm.UserError("problem.dim and problem.rows start at 1, lam is above 0, beta above 1/4")
        self.dim, self.rows, self.lam, self.beta, self.workers, self.seed = dim, rows, lam, beta, workers, seed
        self.n, self.saddle = 2 * dim, dim
        self.mu, self.L = min(lam, beta - 0.25), 0.5 + max(lam, beta)  # log(1 + exp) has curvature 1/4

    def operator(self, worker):
        rng, d, lam, beta = np.random.default_rng([self.seed, worker]), self.dim, self.lam, self.beta
        A = rng.standard_normal((self.rows, d))
        A /= np.linalg.norm(A, axis=1, keepdims=True)
        b = np.where(A[:, 0] + 0.3 * rng.standard_normal(self.rows) > 0, 1.0, -1.0)
        return lambda z, out: logistic_operator(out, A, b, z[:d], z[d:], lam, beta)

    def lipschitz(self, worker):
        return self.L

    def identity(self):
        return f"{self.name} {self.dim} {self.rows} {self.lam!r} {self.beta!r} {self.workers} {self.seed}"
