"""RankR: the vector as a matrix of low rank (PowerSGD; Vogels et al. 2019, arXiv 1905.13727)."""

import math

import numpy as np

from mpimasha.compressors.base import Compressor
from mpimasha.errors import UserError
from mpimasha.kernels.compress import lowrank
from mpimasha.names import check_kinds

POWER_STEPS = 2


class RankR(Compressor):
    """The projection of the a x b matrix X onto R orthonormal columns; R (a + b) v bits.

    The columns come from two steps of the power iteration from a Gaussian start, fresh in
    every exchange.  PowerSGD takes one step from the last round's factor instead; ours keeps
    nothing between rounds.  |C(x) - x| <= |x| always, but no delta below infinity is known.

    Parameters
    ----------
    rank : int
        R.
    rows : int
        a; 0 takes ceil(sqrt(n)).  b = ceil(n/a), and zeros fill the matrix up.
    """

    name = "rank"
    contractive = True

    def __init__(self, rank: int = 1, rows: int = 0):
        check_kinds(RankR, "", rank=rank, rows=rows)
        if rank < 1:
            raise UserError(f"rank:{rank} keeps nothing: use a rank of at least 1")
        if rows < 0:
            raise UserError(f"rows = {rows} of rank: use a number of rows, or 0 for the square root of the dimension")
        self.rank, self.rows = int(rank), int(rows)

    def prepare(self):
        a = self.rows or math.isqrt(self.n - 1) + 1
        b = -(-self.n // a)
        if self.rank > min(a, b):
            raise UserError(f"{self} exceeds the {a} x {b} matrix that a vector of dimension {self.n} is written as: "
                            f"use a rank up to {min(a, b)}")
        self._matrix = np.zeros((a, b))
        self._dense = self._matrix.reshape(-1)[:self.n]
        self._start, self._row = np.zeros((self.rank, b)), np.zeros(b)

    @property
    def bits(self):
        return self.rank * sum(self._matrix.shape) * self.value_bits

    def fields(self):
        a, b = self._matrix.shape
        return {"left": (self.wire, self.rank * a), "right": (self.wire, self.rank * b)}

    def encode(self, x, message, worker, k):
        x.write(self._dense)
        lowrank.gaussian(self._start.reshape(-1), self.stream(worker, k))
        X, left, right = self._matrix, self._factor(message.left), self._factor(message.right)
        with np.errstate(all="ignore"):  # what is not finite stays so
            columns = self._start @ X.T                          # X G
            for _ in range(POWER_STEPS):
                columns = _orthonormal(_orthonormal(columns) @ X) @ X.T
            left[:] = _orthonormal(columns)                      # P, as it crosses the wire
            right[:] = left.astype(float) @ X                    # X^T P

    def decode(self, message, worker, k, scale, out):
        lowrank.add_product(out, self._factor(message.left), self._factor(message.right), self._row, scale)

    def _factor(self, flat):
        return flat.reshape(self.rank, -1)

    def __str__(self):
        return f"rank:{self.rank}" + (f",rows={self.rows}" if self.rows else "")


def _orthonormal(rows):
    """An orthonormal basis, in rows, of a space that contains `rows`."""
    return np.linalg.qr(rows.T)[0].T
