"""Linear and logistic regression against one adversarial shift of the data."""

import hashlib
from functools import cached_property

import numpy as np

from mpimasha import data
from mpimasha.communicator import block
from mpimasha.errors import UserError
from mpimasha.kernels import regression
from mpimasha.names import check_kinds
from mpimasha.problems.base import Problem, check, check_positive, check_workers
from mpimasha.proximal import Balls

_LOSSES = {"logistic": (regression.logistic_operator, regression.logistic_value, 0.25),
           "square": (regression.square_operator, regression.square_value, 1.0)}  # the last: sup l''
_SPLITS = data.SPLITS


class RobustRegression(Problem):
    """min_w max_r 1/N sum_i l(w'(x_i + r), y_i) + lam/2 |w|^2 - beta/2 |r|^2.

    One perturbation r for all samples is part of z = (w, r), so n = 2 d.  With
    c_i = l'(w'(x_i + r), y_i) and S = mean c_i,

        F(w, r) = (X'c/N + S r + lam w,  beta r - S w).

    Worker m holds a block of samples and F_m = (M/N) sum over that block (not the
    block's mean), regularisers in full, so that 1/M sum F_m = F for unequal blocks.

    The problem is strongly monotone where sup l'' |w|^2 < beta.  L, L_m and mu below hold
    on |w| <= R_w = sqrt(beta / (2 sup l'')); without `radius` nothing keeps w there, and a
    run that leaves it says so.

    Parameters
    ----------
    data : str or (X, y)
        A bundled set, the path of an .npz file with arrays X (N, d) and y (N,), or arrays.
    loss : {"logistic", "square"}
        logistic: log(1 + exp(-y u)) with the two classes as y = -1, 1; square: (u - y)^2 / 2.
    standardise : bool
        Columns of X (and y under the square loss) to mean 0 and variance 1.
    lam, beta : float
        Weights of the two regularisers.
    split : {"shuffled", "even", "sorted"}
        Samples in random order, in the file's order, or sorted by label; then one
        contiguous block a worker.
    radius : float, optional
        Project w onto the ball of this radius, at most R_w; 0 for no ball.
    workers : int
    seed : int
        Of the shuffle.
    """

    name = "robust_regression"

    def __init__(self, data: str | tuple = "breast_cancer", loss: str = "logistic", standardise: bool = True,
                 lam: float = 0.1, beta: float = 1.0, split: str = "shuffled", radius: float = 0.0,
                 workers: int = 10, seed: int = 0):
        check_kinds(RobustRegression, "problem.", data=data, loss=loss, standardise=standardise, lam=lam, beta=beta,
                    split=split, radius=radius, seed=seed)
        if loss not in _LOSSES:
            raise UserError(f"problem.loss = {loss!r} is unknown: use {' or '.join(_LOSSES)}")
        if split not in _SPLITS:
            raise UserError(f"problem.split = {split!r} is unknown: use {', '.join(_SPLITS)}")
        self.loss, self.split = loss, split
        self.lam = check_positive("problem.lam", lam)
        self.beta = check_positive("problem.beta", beta)
        self.workers = check_workers(workers)
        self.seed = check("problem.seed", seed, "a whole number of at least 0", 0, np.inf)
        self._F, self._value, self.curvature = _LOSSES[loss]
        self.R_w = float(np.sqrt(self.beta / (2 * self.curvature)))
        self.radius = check("problem.radius", radius, f"a number from 0 (no ball) to sqrt(beta/(2 sup l'')) = "
                            f"{self.R_w:.4g}", 0, self.R_w)
        self._arrange(data, standardise)
        self.n, self.saddle = 2 * self.X.shape[1], self.X.shape[1]
        if self.radius:
            self.prox = Balls([(slice(0, self.n // 2), self.radius)])

    def _arrange(self, source, standardise):
        named = isinstance(source, str)
        X, y = data.load(source) if named else data.checked(source, "arrays")
        self.source = source if named else "arrays"
        if len(y) < self.workers:
            raise UserError(f"workers = {self.workers} exceeds the {len(y)} samples of problem.data = {self.source!r}: "
                            f"use at most one worker a sample")
        if standardise:
            X = data.standardised(X)
        if self.loss == "logistic":
            y = data.signs(y, self.source)
        elif standardise:
            y = data.standardised(y)
        order = data.order(self.split, y, self.seed)
        self.X, self.y = np.ascontiguousarray(X[order]), y[order]

    def shard(self, worker):
        """X (N_m, d) and y (N_m,) of one worker."""
        rows = block(worker, self.workers, len(self.y))
        return self.X[rows.start:rows.stop], self.y[rows.start:rows.stop]

    def footprint(self, owned):
        return self.X.nbytes + self.y.nbytes  # every rank reads all

    def operator(self, worker):
        X, y = self.shard(worker)
        return self._operator(X, y, self.workers / len(self.y))

    def _operator(self, X, y, weight):
        lam, beta, kernel = self.lam, self.beta, self._F
        return lambda z, out: kernel(out, X, y, weight, lam, beta, z)

    # -- constants on |w| <= R_w, |r| <= R_r -----------------------------------------

    @property
    def mu(self):
        return min(self.lam, self.beta - self.curvature * self.R_w**2)

    @cached_property
    def L(self):
        return self._bound(self.X, self.y, 1 / len(self.y))

    def lipschitz(self, worker):
        return self._bound(*self.shard(worker), self.workers / len(self.y))

    @cached_property
    def _R_r(self):
        """Where the best r lies: beta r = S w, with |S| <= sup|mean l'| on the region."""
        if self.loss == "logistic":
            return self.R_w / self.beta
        # |S| <= R_w (mean|x| + R_r) + mean|y| and R_w^2 = beta/2 give R_r = mean|x| + 2 R_w mean|y| / beta
        return float(_norms(self.X).mean() + 2 * self.R_w * np.abs(self.y).mean() / self.beta)

    def _bound(self, X, y, weight):
        """|[[Lww, Lwr], [Lwr, Lrr]]|_2 >= L of weight * sum over (X, y) plus the regularisers."""
        share, spread = weight * len(y), _norms(X).mean()
        slope = 1.0 if self.loss == "logistic" else self.R_w * (spread + self._R_r) + np.abs(y).mean()
        top = np.sqrt(np.linalg.eigvalsh(X.T @ X if len(X) >= X.shape[1] else X @ X.T)[-1] / len(y))
        ww = share * self.curvature * (top + self._R_r)**2 + self.lam
        wr = share * (slope + self.curvature * self.R_w * (spread + self._R_r))
        rr = max(self.beta, share * self.curvature * self.R_w**2 - self.beta)
        return float(np.linalg.norm([[ww, wr], [wr, rr]], 2))

    def warnings(self, z):
        norm = np.linalg.norm(z[:self.n // 2])
        if norm <= self.R_w:
            return []
        return [f"|w| = {norm:.3g} has left the ball of radius {self.R_w:.3g} on which L and mu hold: the problem may "
                f"not be monotone there (raise problem.beta or set problem.radius)"]

    # -- solution and gap, by Newton's method on the whole data ------------------------

    def solution(self):
        """z* by a damped Newton method on F, to rounding; None when a ball is projected on."""
        if self.radius:
            return None
        F, z = self._operator(self.X, self.y, 1 / len(self.y)), self.start()
        return _newton(lambda z: _evaluate(F, z), self._jacobian, z)

    def _links(self, w, r):
        """l'(u_i) and l''(u_i)."""
        u = self.X @ w + r @ w
        if self.loss == "square":
            return u - self.y, np.ones_like(u)
        p = 0.5 * (1 - np.tanh(0.5 * self.y * u))  # 1 / (1 + exp(y u))
        return -self.y * p, p * (1 - p)

    def _jacobian(self, z):
        d = self.n // 2
        w, r = z[:d], z[d:]
        c, h = self._links(w, r)
        shifted, eye = self.X + r, np.eye(d)
        ww = (shifted.T * h) @ shifted / len(c) + self.lam * eye
        wr = np.outer(shifted.T @ h / len(c), w) + c.mean() * eye
        return np.block([[ww, wr], [-wr.T, self.beta * eye - h.mean() * np.outer(w, w)]])

    def gap(self, z):
        """max_r f(w, r) - min_w' f(w', r); None where f(w, .) is not concave or a ball is set."""
        d = self.n // 2
        w, r = z[:d], z[d:]
        if self.radius or self.curvature * (w @ w) > self.beta:
            return None
        return self._value_at(w, self._best_r(w)) - self._value_at(self._best_w(w, r), r)

    def _value_at(self, w, r):
        return self._value(self.X, self.y, w, r) / len(self.y) + self.lam / 2 * (w @ w) - self.beta / 2 * (r @ r)

    def _best_r(self, w):
        """r = t w solves beta t = S(t): a scalar equation, its left side less its right increasing."""
        def equation(t):
            c, _ = self._links(w, t[0] * w)
            return np.array([self.beta * t[0] - c.mean()])

        def slope(t):
            _, h = self._links(w, t[0] * w)
            return np.array([[self.beta - h.mean() * (w @ w)]])
        return _newton(equation, slope, np.zeros(1))[0] * w

    def _best_w(self, w, r):
        d = self.n // 2
        F = self._operator(self.X, self.y, 1 / len(self.y))
        return _newton(lambda v: _evaluate(F, np.concatenate([v, r]))[:d],
                       lambda v: self._jacobian(np.concatenate([v, r]))[:d, :d], w.copy())

    def identity(self):
        digest = hashlib.sha256(self.X.tobytes() + self.y.tobytes()).hexdigest()
        return f"robust_regression {self.loss} lam={self.lam!r} beta={self.beta!r} radius={self.radius!r} " \
               f"workers={self.workers} data={digest}"


def _norms(X):
    return np.sqrt(np.einsum("ij,ij->i", X, X))


def _evaluate(F, z):
    out = np.empty_like(z)
    F(z, out)
    return out


def _newton(F, jacobian, z, steps=100):
    """Damped Newton for a smooth strongly monotone F, until |F| falls no more (rounding)."""
    value = F(z)
    near = 1e-16 * (value @ value)  # where Newton converges quadratically, a failing full step is rounding
    for _ in range(steps):
        direction, step = np.linalg.solve(jacobian(z), value), 1.0
        shortest = 1.0 if value @ value <= near else 1e-8
        while step >= shortest:
            trial = z - step * direction
            new = F(trial)
            if new @ new < value @ value:
                break
            step /= 2
        else:
            return z
        z, value = trial, new
    return z
