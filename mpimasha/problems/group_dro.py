"""Group distributionally robust optimisation: one model against the worst mixture of groups of samples."""

from functools import cached_property

import numpy as np

from mpimasha.data import samples
from mpimasha.data.batches import Batches
from mpimasha.errors import UserError
from mpimasha.kernels.operators import groups as kernels
from mpimasha.mpi.communicator import block
from mpimasha.names import check_kinds
from mpimasha.problems.base import Problem, check, check_positive, check_workers
from mpimasha.problems.proximal import Balls, Product, Simplex, Zero

_LOSSES = {"logistic": (kernels.logistic_group_operator, 0.25), "square": (kernels.square_group_operator, 1.0)}
_SPLITS = (*samples.SPLITS, "grouped")
_MOST = 100  # groups that are made from labels


class GroupDRO(Problem):
    """min_w max_{p in simplex} sum_g p_g l_g(w) + lam/2 |w|^2 - beta/2 |p - 1/G|^2, l_g the mean loss of group g.

    z = (w, p) with n = d + G, the prox projects p onto the probability simplex, and

        F(w, p) = (sum_g p_g grad l_g(w) + lam w,  beta (p - 1/G) - (l_g(w))_g).

    Worker m holds a block of samples.  A sample of group g has the weight 1/N_g, N_g counted over all workers, and
    F_m = M (the sum over the block) + the regularisers in full, so that 1/M sum F_m = F for any blocks.

    Where p >= 0, so at all points a method visits, F is monotone with mu = min(lam, beta).  For beta = 0, the usual
    group DRO, it is so without a strong constant: w* is still unique, p* need not be, and no reference solution is
    sought: set stop.relative_error = 0 and use stop.residual.

    L and L_m are bounds for p in the simplex.  Those of the logistic loss hold for every w.  The square loss has
    none for every w: its hold on |w| <= R_w, which is `radius` or, without one, sqrt(2 max_g l_g(0) / lam), a ball
    that contains w* but not surely the iterates: a run that ends outside says so.

    Parameters
    ----------
    data : str, (X, y) or (X, y, groups)
        A bundled set, the path of an .npz file with arrays X (N, d), y (N,) and perhaps groups (N,) of whole numbers,
        or such arrays.  Without groups, each value of y is a group, and the label of the logistic loss is 1 for the
        upper half of the values, as in "digit >= 5".
    loss : {"logistic", "square"}
        logistic: log(1 + exp(-y u)) with the two classes as y = -1, 1; square: (u - y)^2 / 2; u = w'x.
    standardise : bool
        Columns of X (and y under the square loss) to mean 0 and variance 1.
    lam, beta : float
        Weights of the two regularisers; beta may be 0.
    split : {"shuffled", "even", "sorted", "grouped"}
        Samples in random order, in the file's order, sorted by label or by group; then one contiguous block a worker.
    radius : float
        Project w onto the ball of this radius; 0 for no ball.
    workers : int
    seed : int
        Of the shuffle.
    """

    name = "group_dro"
    finite_sum, sharp = True, False

    def __init__(self, data: str | tuple = "digits", loss: str = "logistic", standardise: bool = True,
                 lam: float = 0.1, beta: float = 1.0, split: str = "shuffled", radius: float = 0.0,
                 workers: int = 10, seed: int = 0):
        seed, = check_kinds(GroupDRO, "problem.", data=data, loss=loss, standardise=standardise, lam=lam, beta=beta,
                            split=split, radius=radius, seed=seed)
        if loss not in _LOSSES:
            raise UserError(f"problem.loss = {loss!r} is unknown: use {' or '.join(_LOSSES)}")
        if split not in _SPLITS:
            raise UserError(f"problem.split = {split!r} is unknown: use {', '.join(_SPLITS)}")
        self.loss, self.split = loss, split
        self.lam = check_positive("problem.lam", lam)
        self.beta = check("problem.beta", beta, "a number of at least 0 (and at most 1e100)", 0, 1e100)
        self.radius = check("problem.radius", radius, "a number of at least 0, which is no ball (and at most 1e100)",
                            0, 1e100)
        self.workers = check_workers(workers)
        self.seed = check("problem.seed", seed, "a whole number of at least 0", 0, np.inf)
        self._F, self.curvature = _LOSSES[loss]
        self._arrange(data, standardise)
        d, G = self.X.shape[1], len(self.sizes)
        self.n, self.saddle, self.mu = d + G, d, min(self.lam, self.beta)
        ball = Balls([(slice(None), self.radius)]) if self.radius else Zero()
        self.prox = Product([(slice(0, d), ball), (slice(d, self.n), Simplex())])

    def _arrange(self, source, standardise):
        self.source = source if isinstance(source, str) else "arrays"
        X, y, group = _read(source, self.source)
        if len(y) < self.workers:
            raise UserError(f"workers = {self.workers} exceeds the {len(y)} samples of problem.data = {self.source!r}: "
                            f"use at most one worker a sample")
        if group is None:
            y, group = self._classes(y)
        names, group, self.sizes = np.unique(group, return_inverse=True, return_counts=True)
        if len(names) < 2:
            raise UserError(f"problem.data = {self.source!r} has only one group: group_dro needs at least two")
        if standardise:
            X = samples.standardised(X)
        if self.loss == "logistic":
            y = samples.signs(y, self.source)
        elif standardise:
            y = samples.standardised(y)
        grouped = self.split == "grouped"
        order = samples.order("sorted", group, 0) if grouped else samples.order(self.split, y, self.seed)
        self.X, self.y, self.group = np.ascontiguousarray(X[order]), y[order], group[order].astype(np.int64)

    def _classes(self, y):
        """Labels and groups made from the values of y."""
        values = np.unique(y)
        if len(values) > _MOST:
            raise UserError(f"problem.data = {self.source!r} has {len(values)} different labels, too many to be groups "
                            f"(at most {_MOST}): give an array named groups with X and y")
        return (y >= values[len(values) // 2]).astype(float) if self.loss == "logistic" else y, y

    def shard(self, worker):
        """X (N_m, d), y (N_m,) and group (N_m,) of one worker."""
        rows = block(worker, self.workers, len(self.y))
        return tuple(array[rows.start:rows.stop] for array in (self.X, self.y, self.group))

    def operator(self, worker):
        X, y, group = self.shard(worker)
        kernel, omega, lam, beta = self._F, self.workers / self.sizes, self.lam, self.beta
        return lambda z, out: kernel(out, X, y, group, omega, lam, beta, z)

    def components(self, worker):
        """Of F_m: those of its samples."""
        return len(self.shard(worker)[1])

    def batch_operator(self, worker):
        X, y, group = self.shard(worker)
        batches, omega = Batches(X, y, group), len(y) * self.workers / self.sizes
        kernel, lam, beta = self._F, self.lam, self.beta
        return lambda z, out, chosen: kernel(out, *batches.take(chosen), omega / len(chosen), lam, beta, z)

    def component_lipschitz(self, worker):
        X, y, group = self.shard(worker)
        omega = len(y) * self.workers / self.sizes
        bounds = [self._bound(X[i:i + 1], y[i:i + 1], group[i:i + 1], omega) for i in range(len(y))]
        return float(np.sqrt(np.mean(np.square(bounds))))

    def start(self):
        """w = 0 and the uniform mixture."""
        G = len(self.sizes)
        return np.concatenate([np.zeros(self.n - G), np.full(G, 1 / G)])

    # -- constants for p in the simplex (and |w| <= R_w) -----------------------------------

    @cached_property
    def R_w(self):
        """Where L and L_m hold: everywhere for the logistic loss."""
        if self.loss == "logistic":
            return np.inf
        # lam/2 |w*|^2 <= max_p g(w*, p) <= max_p g(0, p) <= max_g l_g(0)
        return self.radius or float(np.sqrt(2 * self.group_losses(self.start()).max() / self.lam))

    @cached_property
    def L(self):
        return self._bound(self.X, self.y, self.group, 1 / self.sizes)

    def lipschitz(self, worker):
        return self._bound(*self.shard(worker), self.workers / self.sizes)

    def _bound(self, X, y, group, omega):
        """|[[H, B'], [-B, beta I]]|_2 by the norms of the blocks.

        H = sum_g p_g omega_g sum_i l'' x_i x_i' + lam I, at most the largest of its groups, and row g of B is
        omega_g sum_i c_i x_i' with c_i = l', so |B|^2 <= |sum_g omega_g^2 (sum_i c_i^2) X_g' X_g|.
        """
        ww, scaled = 0.0, X.copy()
        for g in range(len(omega)):
            mine = group == g
            if not mine.any():
                continue
            size = _norm(X[mine])
            ww = max(ww, omega[g] * self.curvature * size**2)
            # |c|: each at most 1, or that of X_g w - y_g
            slopes = np.sqrt(mine.sum()) if self.loss == "logistic" else size * self.R_w + np.linalg.norm(y[mine])
            scaled[mine] *= omega[g] * slopes
        wp = _norm(scaled)
        return float(np.linalg.norm([[ww + self.lam, wp], [wp, self.beta]], 2))

    def warnings(self, z):
        norm = np.linalg.norm(z[:self.saddle])
        if norm <= self.R_w * (1 + 1e-9):
            return []
        return [f"|w| = {norm:.3g} has left the ball of radius {self.R_w:.3g} on which L holds: gamma may be too long "
                f"there (give a smaller method.gamma or set problem.radius)"]

    # -- for reports -----------------------------------------------------------------------

    def group_losses(self, z):
        """l_g(w), shape (G,)."""
        u = self.X @ z[:self.saddle]
        losses = np.logaddexp(0, -self.y * u) if self.loss == "logistic" else (u - self.y)**2 / 2
        return np.bincount(self.group, losses) / self.sizes

    def worst_group_loss(self, z):
        """max_g l_g(w)."""
        return float(self.group_losses(z).max())

    def identity(self):
        digest = samples.digest(self.X, self.y, self.group)
        return f"group_dro {self.loss} lam={self.lam!r} beta={self.beta!r} radius={self.radius!r} " \
               f"workers={self.workers} data={digest}"


def _read(source, name):
    """X, y and the groups or None, checked."""
    if isinstance(source, str):
        X, y = samples.load(source)
        group = _saved_groups(source) if source.endswith(".npz") else None
    else:
        X, y = samples.checked(source[:2] if len(source) == 3 else source, name)
        group = source[2] if len(source) == 3 else None
    if group is None:
        return X, y, None
    group = np.asarray(group)
    if group.dtype.kind not in "biu" or group.shape != y.shape:
        raise UserError(f"problem.data = {name!r} has groups of shape {group.shape} and type {group.dtype}: they must "
                        f"be whole numbers of shape {y.shape}")
    return X, y, group


def _saved_groups(path):
    try:
        with np.load(path) as arrays:
            return arrays["groups"] if "groups" in arrays else None
    except Exception as error:  # as in data: a dozen kinds
        raise UserError(f"problem.data = {path!r} holds groups that cannot be read ({error}): save whole numbers with "
                        f"np.savez") from None


def _norm(X):
    """The spectral norm, by the eigenvalues of the smaller of X'X and XX'."""
    scale = np.abs(X).max() or 1.0  # squares must not overflow
    X = X / scale
    return scale * np.sqrt(np.linalg.eigvalsh(X.T @ X if len(X) >= X.shape[1] else X @ X.T)[-1])
