"""Linear and logistic regression against one adversarial shift of the data."""

from functools import cached_property

import numpy as np

from mpimasha.data import samples
from mpimasha.data.batches import Batches
from mpimasha.data.shards import Facts, Shards, arrays, check_enough, check_file_keys, is_sharded, norms
from mpimasha.data.sparse_rows import SparseRows
from mpimasha.data.svmlight import MOST_FEATURES
from mpimasha.errors import UserError
from mpimasha.kernels.operators import regression, regression_csr
from mpimasha.mpi.communicator import block
from mpimasha.names import check_kinds
from mpimasha.problems.base import Problem, check, check_positive, check_workers
from mpimasha.problems.newton import solve
from mpimasha.problems.proximal import Balls

# operators of dense and of sparse samples, value, sup l''
_LOSSES = {
    "logistic": (regression.logistic_operator, regression_csr.logistic_operator, regression.logistic_value, 0.25),
    "square": (regression.square_operator, regression_csr.square_operator, regression.square_value, 1.0),
}
_SPLITS = samples.SPLITS


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
        A bundled set, the path of an .npz file with arrays X (N, d) and y (N,), or arrays: whole on every rank.
        Or a file of which every rank reads its own part when the run begins: the path of a LIBSVM file (.svm,
        .libsvm, .svmlight, .txt), or of an .npy file with X and, as `labels`, another with y.  Solution and gap in
        closed form are then not known, nor is n before (but for `features`).
    loss : {"logistic", "square"}
        logistic: log(1 + exp(-y u)) with the two classes as y = -1, 1; square: (u - y)^2 / 2.
    standardise : bool
        Columns of X (and y under the square loss) to mean 0 and variance 1; those of a LIBSVM file to mean square
        1, not centred, which would fill in the zeros.
    lam, beta : float
        Weights of the two regularisers.
    split : {"shuffled", "even", "sorted"}
        Samples in random order, in the file's order, or sorted by label; then one
        contiguous block a worker, of equal numbers of samples ("even" in a LIBSVM file: of equal numbers of bytes).
    radius : float, optional
        Project w onto the ball of this radius, at most R_w; 0 for no ball.
    workers : int
    seed : int
        Of the shuffle.
    labels : str
        The path of y for an .npy file.
    features : int
        Columns of a LIBSVM file; 0 for as many as its largest index says.
    zero_based : bool
        Whether the indices of a LIBSVM file begin with 0.
    """

    name = "robust_regression"
    finite_sum, sharp = True, False

    def __init__(self, data: str | tuple = "breast_cancer", loss: str = "logistic", standardise: bool = True,
                 lam: float = 0.1, beta: float = 1.0, split: str = "shuffled", radius: float = 0.0,
                 workers: int = 10, seed: int = 0, labels: str = "", features: int = 0, zero_based: bool = False):
        seed, features = check_kinds(
            RobustRegression, "problem.", data=data, loss=loss, standardise=standardise, lam=lam, beta=beta,
            split=split, radius=radius, seed=seed, labels=labels, features=features, zero_based=zero_based)
        if loss not in _LOSSES:
            raise UserError(f"problem.loss = {loss!r} is unknown: use {' or '.join(_LOSSES)}")
        if split not in _SPLITS:
            raise UserError(f"problem.split = {split!r} is unknown: use {', '.join(_SPLITS)}")
        self.loss, self.split = loss, split
        self.lam = check_positive("problem.lam", lam)
        self.beta = check_positive("problem.beta", beta)
        self.workers = check_workers(workers)
        self.seed = check("problem.seed", seed, "a whole number of at least 0", 0, np.inf)
        self._F, self._F_sparse, self._value, self.curvature = _LOSSES[loss]
        self.R_w = float(np.sqrt(self.beta / (2 * self.curvature)))
        self.radius = check("problem.radius", radius, f"a number from 0 (no ball) to sqrt(beta/(2 sup l'')) = "
                            f"{self.R_w:.4g}", 0, self.R_w)
        self.source = data if isinstance(data, str) else "arrays"
        self.standardise, self.labels, self.zero_based = standardise, labels, zero_based
        self.features = check("problem.features", features, "0 (as many as the file has) or a whole number up to "
                              f"{MOST_FEATURES}", 0, MOST_FEATURES)
        check_file_keys(self.source, labels, features, zero_based)
        self.n = self.N = self._shards = None
        if is_sharded(data):
            self._set_width(features)
        else:
            self._arrange(data, standardise)

    def _set_width(self, d):
        """n = 2 d, once d is known."""
        self.n = 2 * d or None
        self.saddle = d or None
        if self.radius and d:
            self.prox = Balls([(slice(0, d), self.radius)])

    def _arrange(self, source, standardise):
        X, y = samples.load(source) if isinstance(source, str) else samples.checked(source, "arrays")
        check_enough(len(y), self.workers, self.source)
        if standardise:
            X = samples.standardised(X)
        if self.loss == "logistic":
            y = samples.signs(y, self.source)
        elif standardise:
            y = samples.standardised(y)
        order = samples.order(self.split, y, self.seed)
        self.X, self.y = np.ascontiguousarray(X[order]), y[order]
        self.N = len(y)
        self._set_width(self.X.shape[1])

    def load(self, comm):
        if not is_sharded(self.source) or comm.size > self.workers:  # the latter is refused with the fleet
            return
        if any(comm.gather_objects(self._lacks(block(comm.rank, comm.size, self.workers)))):
            self._shards = self._read(comm)
            self.N = self._shards.N
            self._set_width(self._shards.d)

    def _lacks(self, owned):
        return self._shards is None or not set(owned) <= set(self._shards.owned)

    def _read(self, comm):
        if self.labels:
            shards = Shards.of_npy(comm, self.source, self.labels, self.workers, self.split, self.seed)
        else:
            shards = Shards.of_svmlight(comm, self.source, self.workers, self.features, self.zero_based)
            shards.deal(comm, self.split, self.seed)
        if self.loss == "logistic":
            shards.sign_labels(comm)
        if self.standardise:
            shards.standardise(comm, labels=self.loss == "square")
        shards.settle(comm)
        return shards

    def shard(self, worker):
        """X (N_m, d), an array or SparseRows, and y (N_m,) of one worker; of one this rank owns, if it read a file."""
        if self._shards is not None:
            return self._shards.of(worker)
        if self.N is None:
            raise UserError(f"problem.data = {self.source!r} has not been read: call load(comm) first, as Run does")
        rows = block(worker, self.workers, self.N)
        return self.X[rows.start:rows.stop], self.y[rows.start:rows.stop]

    def footprint(self, owned):
        if self._shards is None:
            return self.X.nbytes + self.y.nbytes  # every rank reads all
        return sum(array.nbytes for m in owned for array in (*arrays(self.shard(m)[0]), self.shard(m)[1]))

    def operator(self, worker):
        X, y = self.shard(worker)
        return self._operator(X, y, self.workers / self.N)

    def _operator(self, X, y, weight):
        lam, beta, kernel = self.lam, self.beta, self._F_sparse if isinstance(X, SparseRows) else self._F
        matrix = arrays(X)
        return lambda z, out: kernel(out, *matrix, y, weight, lam, beta, z)

    # -- batches: the components of F_m are those of its samples -----------------------

    def components(self, worker):
        return len(self.shard(worker)[1])

    def batch_operator(self, worker):
        X, y = self.shard(worker)
        batches, weight = Batches(X, y), len(y) * self.workers / self.N
        lam, beta, kernel = self.lam, self.beta, self._F_sparse if isinstance(X, SparseRows) else self._F

        def F(z, out, chosen):
            *matrix, labels = batches.take(chosen)
            kernel(out, *matrix, labels, weight / len(chosen), lam, beta, z)
        return F

    def component_lipschitz(self, worker):
        X, y = self.shard(worker)
        weight = len(y) * self.workers / self.N
        bounds = [self._bound(Facts(1, size**2, size, abs(label)), weight) for size, label in zip(norms(X), y)]
        return float(np.sqrt(np.mean(np.square(bounds))))

    # -- constants on |w| <= R_w, |r| <= R_r -----------------------------------------

    @property
    def mu(self):
        return min(self.lam, self.beta - self.curvature * self.R_w**2)

    @cached_property
    def _facts(self):
        """Of all samples."""
        return Facts.of(self.X, self.y) if self._shards is None else Facts.joined(self._shards.facts)

    @property
    def L(self):
        return None if self.N is None else self._bound(self._facts, 1 / self.N)

    def lipschitz(self, worker):
        facts = Facts.of(*self.shard(worker)) if self._shards is None else self._shards.facts[worker]
        return self._bound(facts, self.workers / self.N)

    @property
    def _R_r(self):
        """Where the best r lies: beta r = S w, with |S| <= sup|mean l'| on the region."""
        if self.loss == "logistic":
            return self.R_w / self.beta
        # |S| <= R_w (mean|x| + R_r) + mean|y| and R_w^2 = beta/2 give R_r = mean|x| + 2 R_w mean|y| / beta
        return float(self._facts.norm + 2 * self.R_w * self._facts.label / self.beta)

    def _bound(self, facts, weight):
        """|[[Lww, Lwr], [Lwr, Lrr]]|_2 >= L of weight * the sum over those samples plus the regularisers."""
        share, spread = weight * facts.count, facts.norm
        slope = 1.0 if self.loss == "logistic" else self.R_w * (spread + self._R_r) + facts.label
        top = np.sqrt(facts.top / max(facts.count, 1))
        ww = share * self.curvature * (top + self._R_r)**2 + self.lam
        wr = share * (slope + self.curvature * self.R_w * (spread + self._R_r))
        rr = max(self.beta, share * self.curvature * self.R_w**2 - self.beta)
        return float(np.linalg.norm([[ww, wr], [wr, rr]], 2))

    def warnings(self, z):
        norm = np.linalg.norm(z[:self.n // 2])
        if norm == 0:
            return self._warnings_of_the_region()
        if norm <= self.R_w:
            return []
        return [f"|w| = {norm:.3g} has left the ball of radius {self.R_w:.3g} on which L and mu hold: the problem may "
                f"not be monotone there (raise problem.beta or set problem.radius)"]

    def _warnings_of_the_region(self):
        """That the w allowed can hardly tell the samples apart: |w'x| at most a twentieth of what the loss looks at."""
        radius, key = (self.radius, "radius") if self.radius else (self.R_w, "beta")
        reach, scale = radius * self._facts.norm, 1.0 if self.loss == "logistic" else self._facts.label
        if reach >= 0.05 * scale:
            return []
        return [f"problem.{key} = {getattr(self, key):.3g} leaves w only a ball of radius {radius:.3g}, on which |w'x| "
                f"of a mean sample stays below {reach:.2g} (labels: {scale:.2g}): raise problem.{key}"]

    # -- solution and gap, by Newton's method on the whole data ------------------------

    def solution(self):
        """z* by a damped Newton method on F, to rounding; None with a ball to project on or with shards."""
        if self.radius or is_sharded(self.source):
            return None
        F, z = self._operator(self.X, self.y, 1 / len(self.y)), self.start()
        return solve(lambda z: _evaluate(F, z), self._jacobian, z)

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
        """max_r f(w, r) - min_w' f(w', r); None where f(w, .) is not concave, with a ball or with shards."""
        if is_sharded(self.source):
            return None
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
        return solve(equation, slope, np.zeros(1))[0] * w

    def _best_w(self, w, r):
        d = self.n // 2
        F = self._operator(self.X, self.y, 1 / len(self.y))
        return solve(lambda v: _evaluate(F, np.concatenate([v, r]))[:d],
                       lambda v: self._jacobian(np.concatenate([v, r]))[:d, :d], w.copy())

    def identity(self):
        if self._shards is None:
            digest = samples.digest(self.X, self.y)
        else:
            digest = self._shards.digest
        return f"robust_regression {self.loss} lam={self.lam!r} beta={self.beta!r} radius={self.radius!r} " \
               f"workers={self.workers} data={digest}"


def _evaluate(F, z):
    out = np.empty_like(z)
    F(z, out)
    return out
