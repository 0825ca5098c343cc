"""Policy evaluation with linear features: the mean squared projected Bellman error as a saddle-point problem."""

from functools import cached_property

import numpy as np

from mpimasha.kernels.operators.policy import policy_operator, walk
from mpimasha.names import check_kinds
from mpimasha.problems.base import Problem, check, check_workers
from mpimasha.randomness import generator

_PROCESS, _WORKER = 0, 1  # keys of the streams


class PolicyEvaluation(Problem):
    """min_theta max_u u'(b - A theta) - 1/2 u'C u + ridge/2 |theta|^2 from trajectories of a Markov decision process.

    The saddle form of the projected Bellman error 1/2 |A theta - b|^2 in the norm of C^-1 (Du, Chen, Li, Xiao, Zhou,
    "Stochastic variance reduction methods for policy evaluation", ICML 2017), of the value function phi(s)'theta of
    one policy.  With z = (theta, u), n = 2 dim,

        F_m(theta, u) = (ridge theta - A_m'u, A_m theta + C_m u - b_m),

    which is affine with Jacobian [[ridge I, -A'], [A, C]]: L, L_m and the dissimilarities are its norms, and
    mu = min(ridge, least eigenvalue of C).  For ridge = 0 mu is 0, so the theorems promise no rate; where A is
    regular the solution, theta = A^-1 b and u = 0, and relative errors exist all the same.

    Worker m walks `samples` transitions (s, a, s') from a state of its own by a behaviour of its own, and averages

        A_m = mean r phi(s) (phi(s) - discount phi(s'))',  b_m = mean r phi(s) reward(s, a),  C_m = mean phi(s) phi(s)'

    with the importance ratio r = policy(a|s)/behaviour_m(a|s), so that all evaluate the same policy.  The process, the
    policy and the behaviours are ours: a Garnet process (every action leads to `branching` random states with random
    probabilities, rewards are N(0, 1)), features N(0, 1), a policy whose probabilities are uniform on the simplex, and
    behaviour_m = (1 - heterogeneity) policy + heterogeneity (another such policy), so that
    r <= 1 / (1 - heterogeneity).  A worker's data follow from (seed, worker) alone; L, mu, the dissimilarities and
    the solution need the mean, for which every rank walks for all workers once.

    Parameters
    ----------
    dim : int
        Features of a state, at most `states`.
    states, actions, branching : int
        Of the process.
    discount : float
        From 0 up to but not including 1.
    ridge : float
        At least 0.
    samples : int
        Transitions of one worker.
    heterogeneity : float
        From 0, every worker follows the policy itself, to 0.99.
    workers : int
        M.
    seed : int
        Of the data, not of the run.
    """

    name = "policy_evaluation"

    def __init__(self, dim: int = 20, states: int = 100, actions: int = 4, branching: int = 5, discount: float = 0.95,
                 ridge: float = 0.01, samples: int = 1000, heterogeneity: float = 0.5, workers: int = 10,
                 seed: int = 0):
        dim, states, actions, branching, samples, seed = check_kinds(
            PolicyEvaluation, "problem.", dim=dim, states=states, actions=actions, branching=branching,
            discount=discount, ridge=ridge, samples=samples, heterogeneity=heterogeneity, seed=seed)
        self.states = _whole("problem.states", states, 5000)
        self.actions = _whole("problem.actions", actions, 100)
        self.branching = check("problem.branching", branching, f"a whole number from 1 to {min(self.states, 100)}, at "
                               f"most problem.states and 100", 1, min(self.states, 100))
        self.dim = check("problem.dim", dim, f"a whole number from 1 to problem.states = {self.states}", 1, self.states)
        self.discount = check("problem.discount", discount, "a number from 0 up to but not including 1", 0,
                              np.nextafter(1, 0))
        self.ridge = check("problem.ridge", ridge, "a number of at least 0 (and at most 1e100)", 0, 1e100)
        self.samples = _whole("problem.samples", samples, 10_000_000)
        self.heterogeneity = check("problem.heterogeneity", heterogeneity, "a number from 0 to 0.99", 0, 0.99)
        self.workers = check_workers(workers)
        self.seed = check("problem.seed", seed, "a whole number of at least 0", 0, np.inf)
        self.n, self.saddle = 2 * self.dim, self.dim

    # -- the process and what the workers see of it ----------------------------------------

    @cached_property
    def _process(self):
        """policy (S, A), arrival and successor (S, A, B), reward (S, A), features (S, d)."""
        S, A, B = self.states, self.actions, self.branching
        rng = generator(self.seed, "problem", _PROCESS)
        successor = [rng.choice(S, B, replace=False) for _ in range(S * A)]
        return (rng.dirichlet(np.ones(A), S), rng.dirichlet(np.ones(B), (S, A)),
                np.array(successor, np.int64).reshape(S, A, B), rng.standard_normal((S, A)),
                rng.standard_normal((S, self.dim)))

    def _walk(self, worker):
        """How often the worker met each (s, a, successor), and its importance ratios (S, A)."""
        policy, arrival, successor, _, _ = self._process
        rng = generator(self.seed, "problem", _WORKER, worker)
        other = rng.dirichlet(np.ones(self.actions), self.states)
        behaviour = (1 - self.heterogeneity) * policy + self.heterogeneity * other
        start, luck = int(rng.integers(self.states)), rng.random((self.samples, 2))
        counts = np.zeros(successor.shape, np.int64)
        walk(counts, start, behaviour, arrival, successor, luck)
        return counts, policy / behaviour

    def data(self, worker):
        """A_m, C_m (dim, dim) and b_m (dim,)."""
        (counts, ratio), (_, _, successor, reward, phi) = self._walk(worker), self._process
        taken = ratio * counts.sum(axis=2)                                      # (S, A), sums of r
        arrived = np.zeros((self.states, self.states))
        np.add.at(arrived, (np.arange(self.states)[:, None, None], successor), ratio[:, :, None] * counts)
        A = phi.T @ (taken.sum(axis=1)[:, None] * phi - self.discount * arrived @ phi)
        C = phi.T @ (counts.sum(axis=(1, 2))[:, None] * phi)
        b = phi.T @ (taken * reward).sum(axis=1)
        return A / self.samples, (C + C.T) / (2 * self.samples), b / self.samples

    def operator(self, worker):
        A, C, b = self.data(worker)
        ridge = self.ridge
        return lambda z, out: policy_operator(out, A, C, b, ridge, z)

    # -- of the mean ----------------------------------------------------------------------

    @cached_property
    def _mean(self):
        """A, C, b of F."""
        total = [np.zeros((self.dim, self.dim)), np.zeros((self.dim, self.dim)), np.zeros(self.dim)]
        for worker in range(self.workers):
            for sum_, part in zip(total, self.data(worker)):
                sum_ += part
        return [sum_ / self.workers for sum_ in total]

    def _jacobian(self, A, C):
        return np.block([[self.ridge * np.eye(self.dim), -A.T], [A, C]])

    @cached_property
    def L(self):
        return _norm(self._jacobian(*self._mean[:2]))

    @cached_property
    def mu(self):
        spectrum = np.linalg.eigvalsh(self._mean[1])
        rounding = self.dim * np.finfo(float).eps * spectrum[-1]
        return float(min(self.ridge, spectrum[0])) if spectrum[0] > rounding else 0.0

    def lipschitz(self, worker):
        return _norm(self._jacobian(*self.data(worker)[:2]))

    def dissimilarity(self, worker):
        A, C, _ = (own - mean for own, mean in zip(self.data(worker), self._mean))
        return _norm(np.block([[np.zeros_like(A), -A.T], [A, C]]))

    def solution(self):
        """z* by one linear system; None where its matrix is singular to rounding."""
        A, C, b = self._mean
        jacobian = self._jacobian(A, C)
        if np.linalg.cond(jacobian) * np.finfo(float).eps * self.n >= 1:
            return None
        return np.linalg.solve(jacobian, np.concatenate([np.zeros(self.dim), b]))

    def gap(self, z):
        """|A theta - b|^2/2 in the norm of C^-1 + ridge/2 |theta|^2 - (b'u - u'C u/2 - |A'u|^2/(2 ridge)).

        None for mu = 0, where one of the inner problems may be unbounded.
        """
        if self.mu == 0:
            return None
        A, C, b = self._mean
        theta, u = z[:self.dim], z[self.dim:]
        error, back = b - A @ theta, A.T @ u
        upper = error @ np.linalg.solve(C, error) / 2 + self.ridge / 2 * (theta @ theta)
        lower = b @ u - u @ C @ u / 2 - back @ back / (2 * self.ridge)
        return float(upper - lower)

    def identity(self):
        return f"policy_evaluation dim={self.dim} states={self.states} actions={self.actions} " \
               f"branching={self.branching} discount={self.discount!r} ridge={self.ridge!r} samples={self.samples} " \
               f"heterogeneity={self.heterogeneity!r} workers={self.workers} seed={self.seed}"


def _whole(key, value, most):
    return check(key, value, f"a whole number from 1 to {most}", 1, most)


def _norm(matrix):
    return float(np.linalg.norm(matrix, 2))
