"""RandK: k random coordinates, scaled to be unbiased."""

import numpy as np

from mpimasha.compressors.base import COMMON_MASK, INDEPENDENT, Compressor, check_kept, kept
from mpimasha.errors import UserError
from mpimasha.kernels import sampling, sparse
from mpimasha.names import check_kinds
from mpimasha.randomness import COMMON


class RandK(Compressor):
    """Keep k of n coordinates, times n/k: E Q(x) = x, E|Q(x)|^2 = n/k |x|^2.

    The constant depends on each coordinate's inclusion probability k/n only, so every
    sampling below has the same q.  The indices follow from the shared seed and do not
    travel.

    Parameters
    ----------
    k : float
        A fraction of n below 1, or a count.
    sampling : {"stratified", "uniform"}
        One index in each of k strata (rotated at random when k does not divide n), or a
        uniformly random k-subset.
    indices : bool
        Send the indices too, as a cluster without a shared seed would.
    mask : {"own", "shared"}
        Shared: all workers send the same coordinates, so that the mean is one sum of k values; the errors of
        the workers then do not average out, C^2 = q L^2.
    """

    name = "randk"
    unbiased = True

    def __init__(self, k: float = 0.05, sampling: str = "stratified", indices: bool = False, mask: str = "own"):
        check_kinds(RandK, "", k=k, sampling=sampling, indices=indices, mask=mask)
        if sampling not in ("stratified", "uniform"):
            raise UserError(f"sampling = {sampling!r} of randk: use stratified or uniform")
        check_kept(k, self.name)
        if mask not in ("own", "shared"):
            raise UserError(f"mask = {mask!r} of randk: use own or shared")
        if mask == "shared" and indices:
            raise UserError("mask = 'shared' of randk comes from the shared seed and sends no indices: use "
                            "indices = false")
        self.k, self.sampling, self.indices, self.mask = k, sampling, indices, mask
        self.additive = mask == "shared"
        self.dependence = COMMON_MASK if self.additive else INDEPENDENT

    def prepare(self):
        self.count = kept(self.k, self.n, self.name)
        self.q = self.n / self.count
        self._index = np.zeros(self.count, self.index_dtype)
        self._marks = np.zeros(self.n if self.sampling == "uniform" else 0, np.uint8)

    @property
    def bits(self):
        return self.count * (self.value_bits + (self.index_bits if self.indices else 0))

    def fields(self):
        index = {"index": (self.index_dtype, self.count)} if self.indices else {}
        return {"values": (self.wire, self.count), **index}

    def _draw(self, worker, k, index):
        key = self.stream(COMMON if self.additive else worker, k)
        if self.sampling == "stratified":
            sampling.stratified(index, self.n, key)
        else:
            sampling.uniform_subset(index, self._marks, self.n, key)
        return index

    def encode(self, x, message, worker, k):
        index = self._draw(worker, k, message.index if self.indices else self._index)
        x.gather(index, self.n / self.count, message.values)

    def decode(self, message, worker, k, scale, out):
        index = message.index if self.indices else self._draw(worker, k, self._index)
        sparse.scatter_add(out, index, message.values, scale)

    def __str__(self):
        extra = (",sampling=uniform" if self.sampling == "uniform" else "") + (",indices=true" if self.indices else "")
        return f"randk:{self.k}{extra}{',mask=shared' if self.additive else ''}"
