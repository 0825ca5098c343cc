"""Zero-sum matrix games in mixed strategies."""

from functools import cached_property

import numpy as np

from mpimasha.errors import UserError
from mpimasha.kernels.operators.projections import project_simplex
from mpimasha.kernels.operators.saddle import bilinear_operator
from mpimasha.names import check_kinds, nearest
from mpimasha.problems.base import Problem, check, check_workers
from mpimasha.problems.proximal import Product, Simplex
from mpimasha.randomness import generator

_LARGEST_SVD = 1500  # beyond it a spectral norm takes seconds, and every worker needs two


class MatrixGame(Problem):
    """min_x max_y x'A y + lam/2 |x|^2 - lam/2 |y|^2 over mixed strategies x, y, with A = 1/M sum_m A_m.

    x and y lie in the probability simplex of R^size; F_m(x, y) = (A_m y + lam x, -A_m'x + lam y), mu = lam.  The
    entries of A are the game's own, so that its value is, and L is the computed norm sqrt(|A|_2^2 + lam^2).
    A_m = A + heterogeneity N_m with N_m = a (G_m - G_{m+1 mod M}) / sqrt 2, G_m of entries N(0, 1) and a the root mean
    square of the entries of A: heterogeneity 1 is a disagreement as large as the entries themselves.

    Parameters
    ----------
    game : {"policeman_burglar", "nemirovski", "hide_and_seek"}
        policeman_burglar: x is where the policeman waits, y the house that is burgled,
        A_ij = w_j (1 - exp(-0.8 |i - j|)) with wealths w_j = |N(0, 1)|: the transpose of what Juditsky and Nemirovski
        (First-order methods for nonsmooth convex large-scale optimization, 2011) write, their rows being the burglar's.
        nemirovski: A_ij = (|i - j| + 1) / (2 size - 1), the family E_2(alpha) of Nemirovski, Juditsky, Lan and Shapiro
        (SIAM J. Optim. 19, 2009) with alpha = 1; its value is (size + 1) / (4 size - 2).
        hide_and_seek: x hides in a box, y opens one, A = diag(v): the diagonal game of the textbooks, of value
        1 / sum(1/v_i); v uniform on [1/2, 3/2] is ours.
        The formulas of the first two were read in public code that cites these papers, not in the papers.
    size : int
        Pure strategies of each player: n = 2 size.
    lam : float
        Weight of the regularisation; 0 for the game itself.
    heterogeneity : float
        Size of the workers' disagreement.
    centred : bool
        Let the workers hold A_m less its row and column means, r_m and c_m, which become linear terms: on the
        simplices x'A y = x'(A - r 1' - 1 c' + g) y + r'x + c'y - g, g the mean of all entries, so that the game, its
        value and its solutions are the same, and F changes by multiples of (1, ..., 1) only, to which the projection
        is blind.  L falls to that of the centred matrix.  Ours.
    workers : int
        M.
    seed : int
        Of the data, not of the run.
    """

    name = "matrix_game"

    def __init__(self, game: str = "policeman_burglar", size: int = 100, lam: float = 0.0, heterogeneity: float = 0.5,
                 centred: bool = True, workers: int = 10, seed: int = 0):
        size, seed = check_kinds(MatrixGame, "problem.", game=game, size=size, lam=lam, heterogeneity=heterogeneity,
                                 centred=centred, seed=seed)
        if game not in _GAMES:
            raise UserError(f"problem.game = {game!r} is unknown{nearest(game, _GAMES)}")
        self.game, self.centred = game, centred
        self.size = check("problem.size", size, "a whole number of at least 2 (and at most 100000: A_m is dense)", 2,
                          100_000)
        self.lam = check("problem.lam", lam, "0, or a number from 1e-100 to 1e100", 0 if lam == 0 else 1e-100, 1e100)
        self.heterogeneity = check("problem.heterogeneity", heterogeneity, "a number of at least 0 (and at most 1e100)",
                                   0, 1e100)
        self.workers = check_workers(workers)
        self.seed = check("problem.seed", seed, "a whole number of at least 0", 0, np.inf)
        self.n, self.saddle, self.mu = 2 * self.size, self.size, self.lam
        self.prox = Product([(slice(0, self.size), Simplex()), (slice(self.size, self.n), Simplex())])

    # -- data and operators ------------------------------------------------------------

    @cached_property
    def matrix(self):
        """A (size, size): what x pays y."""
        return _GAMES[self.game](self.size, generator(self.seed, "problem", 0))

    def _private(self, worker):
        return generator(self.seed, "problem", 1, worker % self.workers).standard_normal((self.size, self.size))

    def _deviation(self, worker):
        """N_m, which sum to 0 over the workers."""
        if self.workers == 1:
            return np.zeros((self.size, self.size))
        scale = np.sqrt(np.mean(self.matrix**2) / 2)
        return scale * (self._private(worker) - self._private(worker + 1))

    def data(self, worker):
        """A_m (size, size)."""
        return self.matrix + self.heterogeneity * self._deviation(worker)

    def operator(self, worker):
        A, a, b = self._parts(self.data(worker))
        lam = self.lam
        return lambda z, out: bilinear_operator(out, A, a, b, lam, z)

    def _parts(self, A):
        """The matrix and the linear terms a'x - b'y that stand for A."""
        if not self.centred:
            return A, np.zeros(self.size), np.zeros(self.size)
        rows, columns = A.mean(axis=1), A.mean(axis=0)
        return A - rows[:, None] - columns + A.mean(), rows, -columns

    # -- constants ---------------------------------------------------------------------

    @cached_property
    def L(self):
        return self._norm(lambda: self.matrix, self.lam)

    def lipschitz(self, worker):
        return self._norm(lambda: self.data(worker), self.lam)

    def dissimilarity(self, worker):
        return self._norm(lambda: self.heterogeneity * self._deviation(worker), 0.0)

    def _norm(self, make, lam):
        """|[[lam, A], [-A', lam]]|_2 = hypot(|A|_2, lam) of A = make(), or None where that takes too long."""
        if self.size > _LARGEST_SVD:
            return None
        A, _, _ = self._parts(make())
        return float(np.hypot(np.sqrt(np.linalg.eigvalsh(A.T @ A)[-1]), lam))

    # -- solution and gap --------------------------------------------------------------

    def start(self):
        """The uniform strategies."""
        return np.full(self.n, 1 / self.size)

    def solution(self):
        """z* of hide and seek, x = y = value / v; the other games have no closed form."""
        if self.game != "hide_and_seek" or self.lam:
            return None
        share = 1 / np.diag(self.matrix)
        return np.tile(share / share.sum(), 2)

    def gap(self, z):
        """max_y g(x, y) - min_x g(x, y) over the simplices, for z in them: exact for every lam."""
        x, y, lam = z[:self.size], z[self.size:], self.lam
        pays, earns = self.matrix @ y, self.matrix.T @ x  # of the pure strategies of x and of y
        if not lam:
            return float(earns.max() - pays.min())
        upper = _largest(earns, lam) + lam / 2 * (x @ x)
        lower = -_largest(-pays, lam) - lam / 2 * (y @ y)
        return float(upper - lower)

    def value(self):
        """min_x max_y x'A y, without the regularisation, by linear programming; None where SciPy is missing."""
        try:
            from scipy.optimize import linprog
        except ImportError:
            return None
        ones, zeros = np.ones(self.size), np.zeros(self.size)
        found = linprog(np.append(zeros, 1), A_ub=np.column_stack([self.matrix.T, -ones]), b_ub=zeros,
                        A_eq=np.append(ones, 0)[None], b_eq=[1], bounds=[(0, None)] * self.size + [(None, None)])
        return float(found.fun) if found.success else None

    def identity(self):
        return f"matrix_game {self.game} size={self.size} lam={self.lam!r} heterogeneity={self.heterogeneity!r} " \
               f"workers={self.workers} seed={self.seed}"


def _largest(c, lam):
    """max c'p - lam/2 |p|^2 over the simplex: at the projection of c / lam."""
    p = c / lam
    project_simplex(p)
    return c @ p - lam / 2 * (p @ p)


def _distances(size):
    places = np.arange(size)
    return np.abs(places[:, None] - places)


def _policeman_burglar(size, rng):
    return -np.expm1(-0.8 * _distances(size)) * np.abs(rng.standard_normal(size))


def _nemirovski(size, rng):
    return (_distances(size) + 1) / (2 * size - 1)


def _hide_and_seek(size, rng):
    return np.diag(rng.uniform(0.5, 1.5, size))


_GAMES = {"policeman_burglar": _policeman_burglar, "nemirovski": _nemirovski, "hide_and_seek": _hide_and_seek}
