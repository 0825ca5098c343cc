"""Affine problems for tests, from the workers' matrices."""

import numpy as np

import mpimasha as mm


class Affine(mm.Problem):
    """F_m(z) = J_m z + b_m; J_m (M, n, n), b_m (M, n)."""

    name = "affine"

    def __init__(self, J_m, b_m):
        self.J_m, self.b_m, (self.workers, self.n) = J_m, b_m, b_m.shape
        self.J = J_m.mean(axis=0)
        self.L = float(np.linalg.norm(self.J, 2))
        self.mu = float(np.linalg.eigvalsh((self.J + self.J.T) / 2)[0])

    def operator(self, worker):
        J, b = self.J_m[worker], self.b_m[worker]

        def F(z, out):
            out[:] = J @ z + b

        return F

    def lipschitz(self, worker):
        return float(np.linalg.norm(self.J_m[worker], 2))

    def solution(self):
        return -np.linalg.solve(self.J, self.b_m.mean(axis=0))
