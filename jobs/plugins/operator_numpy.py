"""An operator in NumPy: mpimasha run quadratic_game --plugin jobs/plugins/operator_numpy.py --workers 4"""

import numpy as np

import mpimasha as mm


class QuadraticGame(mm.Problem):
    """min_x max_y 1/M sum_m x'A_m y + a_m'(x + y) + lam/2 |x|^2 - lam/2 |y|^2, with Gaussian A_m and a_m."""

    name = "quadratic_game"

    def __init__(self, dim: int = 10, lam: float = 0.5, workers: int = 5, seed: int = 0):
        if dim < 1 or lam <= 0:
            raise mm.UserError(f"problem.dim = {dim}, problem.lam = {lam}: use dim >= 1 and lam > 0")
        self.dim, self.lam, self.workers, self.seed = dim, lam, workers, seed
        self.n, self.saddle, self.mu = 2 * dim, dim, lam  # y begins at dim; F is strongly monotone with mu

    def operator(self, worker):
        """The data of one worker, which only its own rank makes, and F_m = (grad_x, -grad_y)."""
        rng, d, lam = np.random.default_rng([self.seed, worker]), self.dim, self.lam
        A, a = rng.standard_normal((d, d)) / np.sqrt(d), rng.standard_normal(d)

        def F(z, out):
            x, y = z[:d], z[d:]
            out[:d] = A @ y + a + lam * x
            out[d:] = -A.T @ x - a + lam * y
        return F

    def identity(self):
        """What the solution depends on: it is found once and kept."""
        return f"{self.name} {self.dim} {self.lam!r} {self.workers} {self.seed}"
