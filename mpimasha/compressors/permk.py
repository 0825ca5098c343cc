"""PermK: the workers share out the coordinates."""

import numpy as np

from mpimasha.compressors.base import PARTITION, Compressor
from mpimasha.kernels import sparse
from mpimasha.kernels.compress import sampling
from mpimasha.randomness import COMMON


class PermK(Compressor):
    """Coordinate perm[j] belongs to worker (j + s) mod M, times M; q = M for each worker.

    The permutation and the shift s are common to all workers and fresh in every
    exchange; with the shift every worker owns every coordinate with probability exactly
    1/M even if M does not divide n.  Jointly, E|mean Q_m(v_m) - mean v|^2 =
    mean|v_m|^2 - |mean v|^2: nothing is lost where the workers agree.
    """

    name = "permk"
    unbiased = True
    dependence = PARTITION
    sparsifier = True

    def prepare(self):
        self.q = self.gain = float(self.workers)
        self._perm = np.zeros(self.n, self.index_dtype)
        self._drawn = None

    @property
    def bits(self):
        return self.value_bits * self.n / self.workers

    def fields(self):
        return {"values": (self.wire, -(-self.n // self.workers))}

    @property
    def counts(self):
        fewer, rest = divmod(self.n, self.workers)
        return {fewer + 1: rest, fewer: self.workers - rest} if rest else {fewer: self.workers}

    def choose(self, x, message, worker, k):
        return self._owned(worker, k)

    def chosen(self, message, worker, k):
        return self._owned(worker, k)

    def _owned(self, worker, k):
        """The coordinates of `worker`: perm[j] for j = worker - s mod M."""
        if self._drawn != k:
            self._shift = int(self.stream.uniform(COMMON, k) * self.workers)
            sampling.permutation(self._perm, self.stream(COMMON - 1, k))  # a key apart from the shift's
            self._drawn = k
        return self._perm[(worker - self._shift) % self.workers::self.workers]

    def encode(self, x, message, worker, k):
        index = self._owned(worker, k)
        x.gather(index, float(self.workers), message.values[:len(index)])
        message.values[len(index):] = 0

    def decode(self, message, worker, k, scale, out):
        index = self._owned(worker, k)
        sparse.scatter_add(out, index, message.values[:len(index)], scale)
