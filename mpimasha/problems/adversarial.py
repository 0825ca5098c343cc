"""Adversarial training of a network: what the problems with different networks share."""


import numpy as np

from mpimasha.data import images, samples
from mpimasha.errors import UserError
from mpimasha.mpi.communicator import block
from mpimasha.names import check_kinds, nearest, shown
from mpimasha.networks.attacks import CHUNK, PGD, Ball
from mpimasha.problems.base import Problem, check, check_positive, check_workers
from mpimasha.problems.proximal import Box, Product, Proximal
from mpimasha.randomness import generator

_PERTURBATIONS = ("each", "universal", "pgd")
_NORMS = ("linf", "l2")
_ROWS = 256  # samples that a network looks at at once
_JUDGE = 20  # steps of the attack that measures robust accuracy


class Adversarial(Problem):
    """Abstract base: min_theta 1/N sum_i max_{delta_i} loss(theta, x_i + delta_i), |delta_i| <= radius.

    Neither monotone nor with known constants: no theorem holds, step sizes must be numbers.  Worker m holds a block
    of the images to train on.  In the three forms, F_m is

    each        (1/N_m sum_i grad_theta l_i, (-grad_delta l_i)_i); delta_i belongs to the worker that holds x_i, has
                the step size `ascent` and is never sent.  1/N_m is left out of its gradient: a diagonal metric.
    universal   (1/N_m sum_i grad_theta l_i, -1/N_m sum_i grad_delta l_i) with one delta for all images, a part of z.
    pgd         1/N_m sum_i grad_theta l_i at the delta_i that `steps` of ascent from delta_i = 0 find (Danskin).

    A subclass makes the network.

    Parameters
    ----------
    network : Network
    pictures : Images
    on : {"pixels", "embeddings"}
        What is perturbed.
    others
        As for `AdversarialMLP`.
    """

    finite_sum, sharp, mu, scored, rounds = True, False, None, True, 1000
    where = ("pixels",)

    def __init__(self, network, pictures, *, data, split, test, validation, perturbation, norm, radius, radius_warmup,
                 clip, ascent, steps, lam, workers, seed, on="pixels"):
        radius_warmup, steps, seed = check_kinds(
            type(self), "problem.", data=data, split=split, test=test, validation=validation,
            perturbation=perturbation, norm=norm, radius=radius, radius_warmup=radius_warmup, clip=clip,
            ascent=ascent, steps=steps, lam=lam, seed=seed)
        self.network, self.dtype = network, network.dtype
        self.source = data if isinstance(data, str) else "arrays"
        self.perturbation = one_of("problem.perturbation", perturbation, _PERTURBATIONS)
        self.on = one_of("problem.on", on, self.where)
        norm = one_of("problem.norm", norm, _NORMS)
        if clip and (norm, on) != ("linf", "pixels"):
            raise UserError("problem.clip = True is for problem.norm = 'linf' on pixels: leave one of them out")
        if perturbation == "universal" and norm == "l2":
            raise UserError("problem.norm = 'l2' is a ball for each image: use 'linf' with a universal perturbation")
        self.ball = Ball(check_positive("problem.radius", radius), norm, clip)
        self.radius_warmup = check("problem.radius_warmup", radius_warmup, "a number of rounds of at least 0", 0, 2**53)
        self.local_step = check_positive("problem.ascent", ascent) if perturbation == "each" else None
        self.steps = check("problem.steps", steps, "a whole number of at least 1", 1, 10**6)
        self.lam = check("problem.lam", lam, "a number of at least 0", 0, 1e100)
        self.workers = check_workers(workers)
        self.seed = check("problem.seed", seed, "a whole number of at least 0", 0, np.inf)
        self.split = split
        self._share_out(images.split(pictures, self.seed, test, validation))
        width = network.inputs if on == "pixels" else network.embedding
        self.width = width
        self.n = network.n + (width if perturbation == "universal" else 0)
        self._room = np.empty((2, max(_ROWS, CHUNK) * width), self.dtype)
        self._sum = np.empty(network.n, self.dtype)
        self.at_round(None)

    def _share_out(self, parts):
        X, y = parts.train
        order = images.arrange(y, self.split, self.workers, self.seed)
        self.X, self.y = np.ascontiguousarray(X[order], self.dtype), y[order]
        self.parts = {name: (np.ascontiguousarray(X, self.dtype), y)
                      for name, (X, y) in (("validation", parts.validation), ("test", parts.test))}

    def footprint(self, owned):
        """Every rank reads all images."""
        held = [(self.X, self.y), *self.parts.values()]
        return sum(X.nbytes + y.nbytes for X, y in held) + self._room.nbytes

    def shard(self, worker):
        """X (N_m, inputs) and y (N_m,) of one worker."""
        rows = block(worker, self.workers, len(self.y))
        return self.X[rows.start:rows.stop], self.y[rows.start:rows.stop]

    def identity(self):
        digest = samples.digest(self.X, self.y, *(array for pair in self.parts.values() for array in pair))
        return f"{self.name} on={self.on} perturbation={self.perturbation} ball={self.ball} n={self.n} " \
               f"lam={self.lam!r} workers={self.workers} data={digest}"

    def start_of(self, seed):
        """Random weights, no perturbation."""
        z = np.zeros(self.n, self.dtype)
        z[:self.network.n] = self.network.start(generator(seed, "initial"))
        return z

    def start(self):
        return self.start_of(self.seed)

    def at_round(self, k):
        """The radius grows linearly over the first `radius_warmup` rounds; after the last (k = None) it is whole."""
        part = min(1.0, (k + 1) / self.radius_warmup) if self.radius_warmup and k is not None else 1.0
        self.now = Ball(part * self.ball.radius, self.ball.norm, self.ball.clip)

    @property
    def prox(self):
        if self.perturbation != "universal":
            return Problem.prox
        return Product([(slice(self.network.n, self.n), _Moving(self))])

    def local_size(self, worker):
        return self.width * len(self.shard(worker)[1]) if self.perturbation == "each" else 0

    def local_prox(self, worker):
        return _Perturbations(self, self.shard(worker)[0])

    def components(self, worker):
        """Of F_m: those of its images."""
        return len(self.shard(worker)[1])

    # -- the operator ------------------------------------------------------------------------

    def operator(self, worker):
        X, y = self.shard(worker)
        return lambda z, out, local=None, into=None: self._operator(X, y, None, z, out, local, into)

    def batch_operator(self, worker):
        X, y = self.shard(worker)

        def F(z, out, *rest):
            *local, chosen = rest
            self._operator(X, y, chosen, z, out, *(local or (None, None)))
        return F

    def _operator(self, X, y, chosen, z, out, local, into):
        """out = F_m(z) of the `chosen` of a worker's images, and `into` their part of its own variables."""
        theta, weights, r = z[:self.network.n], out[:self.network.n], len(y)
        count = r if chosen is None else len(chosen)
        delta, down = (None if part is None else part.reshape(r, self.width) for part in (local, into))
        if chosen is not None and into is not None:
            into[:] = 0
        if self.perturbation == "universal":
            out[self.network.n:] = 0
        for start in range(0, count, _ROWS):
            some = slice(start, min(start + _ROWS, count)) if chosen is None else chosen[start:start + _ROWS]
            x, label = X[some], y[some]
            shift = self._shift(theta, x, label, z, None if delta is None else delta[some])
            gradient = self._gradient(theta, x, label, shift, 1 / count, self._sum if start else weights)
            if start:
                weights += self._sum
            if self.perturbation == "universal":
                out[self.network.n:] -= gradient.sum(axis=0)
            elif down is not None:                                        # r/s of the batch: no 1/N in front of it
                gradient *= -r
                down[some] = gradient
        if self.lam:
            weights += self.lam * theta

    def _shift(self, theta, x, label, z, own):
        """Perturbations (b, width) of the images x, of which `own` belong to the worker."""
        if self.perturbation == "each":
            return own
        if self.perturbation == "universal":
            return np.broadcast_to(z[self.network.n:], (len(x), self.width))
        found = np.zeros((len(x), self.width), self.dtype)
        self._ascend(PGD(self.steps, self.now), theta, x, label, found)
        return found

    def _gradient(self, theta, x, label, delta, scale, weights):
        """Weights' gradient into `weights` if there is such; returns that of the perturbation, (b, width)."""
        room, gradient = (part[:len(x) * self.width].reshape(len(x), self.width) for part in self._room)
        if self.on == "pixels":
            np.add(x, delta, out=room)
            self.network.gradient(theta, room, label, scale, weights, inputs=gradient)
        else:
            room[:] = delta
            self.network.gradient(theta, x, label, scale, weights, shift=room, shifts=gradient)
        return gradient

    # -- how good the network is -------------------------------------------------------------

    def scores(self, z, comm):
        """{"accuracy", "robust_accuracy"} on the validation part, the latter under 20 steps of PGD; collective."""
        clean, robust = self.examine(z, "validation", PGD(_JUDGE, self.ball), 0, comm)
        return {"accuracy": clean, "robust_accuracy": robust}

    def examine(self, z, part, attack, seed, comm):
        """(accuracy, accuracy under attack) on the "validation" or "test" part; collective.

        Parameters
        ----------
        z : (n,) array
        attack : PGD
        seed : int
            Of the random perturbations that the attack starts from.
        """
        X, y = self.parts[part]
        theta, start, right = z[:self.network.n], attack.start(seed, len(y), self.width, self.dtype), np.zeros(2, int)
        for first in range(CHUNK * comm.rank, len(y), CHUNK * comm.size):
            rows = slice(first, first + CHUNK)
            x, label, delta = X[rows], y[rows], start[rows]
            right[0] += np.sum(self._logits(theta, x, np.zeros_like(delta)).argmax(axis=1) == label)
            attack.ball.project(delta, x)
            self._ascend(attack, theta, x, label, delta)
            right[1] += np.sum(self._logits(theta, x, delta).argmax(axis=1) == label)
        total = np.sum(comm.gather_objects(right), axis=0)
        return tuple(float(count) / len(y) for count in total)

    def _ascend(self, attack, theta, x, label, delta):
        room = np.empty_like(delta)

        def gradient(delta, out):
            out[:] = self._gradient(theta, x, label, delta, 1.0, None)
        attack.ascend(gradient, delta, x, room)

    def _logits(self, theta, x, delta):
        return self.network.logits(theta, x + delta) if self.on == "pixels" else \
            self.network.logits(theta, x, np.ascontiguousarray(delta))


class _Perturbations(Proximal):
    """Onto the ball as it is in this round, for each of a worker's images."""

    def __init__(self, problem, X):
        self.problem, self.X = problem, X

    def apply(self, x, gamma):
        self.problem.now.project(x.reshape(len(self.X), -1), self.X)


class _Moving(Proximal):
    """Onto the box as it is in this round."""

    def __init__(self, problem):
        self.problem = problem

    def apply(self, x, gamma):
        Box(-self.problem.now.radius, self.problem.now.radius).apply(x, gamma)


def one_of(key, value, known):
    if value not in known:
        raise UserError(f"{key} = {shown(value)} is unknown{nearest(value, known)}")
    return value


def check_precision(precision):
    return np.dtype(one_of("problem.precision", precision, ("float32", "float64")))
