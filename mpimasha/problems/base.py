"""What a problem is: find z* with <F(z*), z - z*> + h(z) - h(z*) >= 0 for all z."""

import numpy as np

from mpimasha.errors import UserError
from mpimasha.names import fits, plain, shown
from mpimasha.problems.proximal import Zero


class Problem:
    """Abstract base of all problems: F = 1/M sum_m F_m, and what is known about it.

    Attributes
    ----------
    name : str
    workers : int
        M.
    n : int
        Dimension of z.
    dtype : numpy.dtype
        Of z and of the operators.
    prox : Proximal
        Of h.
    L, mu : float
        Lipschitz constant and strong monotonicity of F (None: not known, to be estimated); no step size needs mu.
    saddle : int, optional
        Where y begins in z = (x, y), for F = (grad_x g, -grad_y g): the Jacobian's transpose is then S J S with
        S = diag(I, -I).
    local_step : float, optional
        Step size of the variables that belong to one worker; None for that of the method.
    sharp : bool
        Whether L and `lipschitz` are the least constants; if not, bounds for a region, and F may be flatter near z^0.
    rounds : int
        How many a run has at most, if nothing else is said.
    scored : bool
        Whether `scores` say how good z is, in place of a solution, a gap or a residual.
    origin : str
        SHA-256 of the file of ``--plugin`` that defines the class; empty for others.
    finite_sum : bool
        Whether every F_m is a mean of `components`, of which `batch_operator` can evaluate some.
    """

    name = None
    origin = ""
    dtype = np.dtype(np.float64)
    prox = Zero()
    L = None
    mu = 0.0
    saddle = None
    local_step = None
    scored = finite_sum = False
    rounds = 100_000
    sharp = True

    def load(self, comm):
        """Read this rank's part of the data; every rank calls it once, before anything else but the constructor.

        Parameters
        ----------
        comm : Communicator
            The rank owns the workers ``block(comm.rank, comm.size, self.workers)``.  A mistake found here is
            raised by `Communicator.together`, on all ranks.
        """

    def footprint(self, owned):
        """The most bytes of data that the rank with the workers `owned` holds at once; None where it is not known."""
        return None

    @property
    def strongly_monotone(self):
        """Whether mu is known to be positive: z* is then unique."""
        return self.mu is not None and self.mu > 0

    def operator(self, worker):
        """F_m as a function ``F_m(z, out)`` of arrays of shape (n,), out = F_m(z)."""
        raise NotImplementedError(f"problem {self.name} has no operator")

    def local_size(self, worker):
        """How many variables the worker has of its own, which nobody else needs; 0 for none.

        With some, its operator is ``F_m(z, out, local, out_local)``, and ``chosen`` follows in that of a batch.
        """
        return 0

    def local_prox(self, worker):
        """The `Proximal` of a worker's own variables."""
        return Zero()

    def components(self, worker):
        """r, of a finite sum F_m = 1/r sum_i F_{m,i}."""
        raise NotImplementedError(f"problem {self.name} has no components")

    def batch_operator(self, worker):
        """A function ``F(z, out, chosen)``: out = the mean of F_{m,i}(z) over the indices i in `chosen`."""
        raise NotImplementedError(f"problem {self.name} has no components")

    def lipschitz(self, worker):
        """L_m, the Lipschitz constant of F_m, or None."""
        return None

    def component_lipschitz(self, worker):
        """Lhat_m with 1/r sum_i |F_{m,i}(u) - F_{m,i}(v)|^2 <= Lhat_m^2 |u - v|^2, or None."""
        return None

    def dissimilarity(self, worker):
        """The Lipschitz constant of F_m - F, or None."""
        return None

    def start(self):
        """z^0, shape (n,)."""
        return np.zeros(self.n, self.dtype)

    def start_of(self, seed):
        """z^0 of the run with that seed; `start` for all of them, unless they begin at random."""
        return self.start()

    def at_round(self, k):
        """What changes from round to round, such as a radius that grows, is to be as in round k."""

    def solution(self):
        """z* in closed form, shape (n,), or None."""
        return None

    def gap(self, z):
        """max_y g(x, y) - min_x g(x, y), or None where it is not computed."""
        return None

    def scores(self, z, comm):
        """{name: number} for the rows of a run, where `scored`; collective."""
        raise NotImplementedError(f"problem {self.name} has no scores")

    @property
    def solvable(self):
        """Whether z* is known or can be found."""
        return self.strongly_monotone or self.solution() is not None

    def identity(self):
        """A short text that names the problem up to everything its solution depends on."""
        raise NotImplementedError(f"problem {self.name} does not say what identifies it")

    def warnings(self, z):
        """Sentences about what the user should know of the point z."""
        return []


def check(key, value, what, low, high):
    """`value` as a plain number, or one sentence with the key, the value and `what` would be right."""
    number = plain(value)
    if not low <= number <= high:
        raise UserError(f"{key} = {shown(value)} is out of range: use {what}")
    return float(number) if isinstance(number, int) and number >= 2**63 else number  # kernels take int64


def check_workers(workers):
    if not fits(workers, int) or not 1 <= workers <= 2**20:
        raise UserError(f"workers = {shown(workers)} is out of range: use a whole number of at least 1 (and at most "
                        f"1048576)")
    return int(workers)


def check_positive(key, value):
    """A positive number that can be squared and divided by."""
    return check(key, value, "a number above 0 (from 1e-100 to 1e100)", 1e-100, 1e100)
