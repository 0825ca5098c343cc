"""RandK: k random coordinates, scaled to be unbiased."""

import numpy as np

from mpimasha.compressors.base import COMMON_MASK, INDEPENDENT, Compressor, check_kept, kept
from mpimasha.errors import UserError
from mpimasha.kernels import sparse
from mpimasha.kernels.compress import sampling
from mpimasha.names import check_kinds
from mpimasha.randomness import COMMON

LINE = 8  # coordinates of a block: a cache line of float64


class RandK(Compressor):
    """Keep k of n coordinates, times n/k: E Q(x) = x, E|Q(x)|^2 = n/k |x|^2.

    The constant depends on each coordinate's inclusion probability k/n only, so every
    sampling below has the same q.  The indices follow from the shared seed and do not
    travel.

    Parameters
    ----------
    k : float
        A fraction of n below 1, or a count.
    sampling : {"stratified", "stratified32", "uniform", "block"}
        One index in each of k strata (rotated at random when k does not divide n), the same by draws of 32
        bits (in half the time, n < 2^32), a uniformly random k-subset, or whole cache lines of 8 coordinates:
        ceil(k/8) of the ceil(n/8), one a stratum, with the ratio of these two numbers for n/k.
    indices : bool
        Send the indices too, as a cluster without a shared seed would.
    mask : {"own", "shared"}
        Shared: all workers send the same coordinates, so that the mean is one sum of k values; the errors of
        the workers then do not average out, C^2 = q L^2.

    Examples
    --------
    >>> import mpimasha as mm
    >>> from mpimasha.randomness import Stream
    >>> bound = mm.RandK(0.25).bind(n=8, workers=10, wire="float32", stream=Stream(0, "uplink"))
    >>> bound.count, bound.q, bound.bits
    (2, 4.0, 64.0)
    """

    name = "randk"
    unbiased = True
    sparsifier = True

    def __init__(self, k: float = 0.05, sampling: str = "stratified", indices: bool = False, mask: str = "own"):
        check_kinds(RandK, "", k=k, sampling=sampling, indices=indices, mask=mask)
        if sampling not in ("stratified", "stratified32", "uniform", "block"):
            raise UserError(f"sampling = {sampling!r} of randk: use stratified, stratified32, uniform or block")
        if sampling == "block" and indices:
            raise UserError("indices = true of randk cannot be had with sampling = block, whose blocks follow from the "
                            "seed: leave one of them out")
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
        self.q = self.gain = self.n / self.count
        if self.sampling == "stratified32" and self.n >= 2**32:
            raise UserError(f"sampling = stratified32 of randk needs n < 2^32, and n = {self.n}: use stratified")
        if self.sampling == "block":
            self._lines = -(-self.n // LINE)
            self._drawn = np.zeros(-(-self.count // LINE), self.index_dtype)
            self.count = min(self._drawn.size * LINE, self.n)
            self.q = self.gain = self._lines / self._drawn.size
        self._index = np.zeros(self.count, self.index_dtype)
        self._marks = np.zeros(self.n if self.sampling == "uniform" else 0, np.uint8)

    @property
    def counts(self):
        missing = -self.n % LINE if self.sampling == "block" else 0  # of the last line, which may be shorter
        if not missing or self.count == self.n:
            return {self.count: 1}
        return {self.count: self._lines - self._drawn.size, self.count - missing: self._drawn.size}

    @property
    def bits(self):
        return self.mean_count * (self.value_bits + (self.index_bits if self.indices else 0))

    def fields(self):
        return {"values": (self.wire, self.count), **self.index_fields()}

    def index_fields(self):
        return {"index": (self.index_dtype, self.count)} if self.indices else {}

    def _draw(self, worker, k, index):
        key = self._key(worker, k)
        if self.sampling == "stratified":
            sampling.stratified(index, self.n, key)
        elif self.sampling == "stratified32":
            sampling.stratified32(index, self.n, key)
        elif self.sampling == "uniform":
            sampling.uniform_subset(index, self._marks, self.n, key)
        else:
            self._draw_blocks(worker, k)
            index = index[:sampling.expand(index, self._drawn, LINE, self.n)]
        return index

    def _draw_blocks(self, worker, k):
        sampling.stratified(self._drawn, self._lines, self._key(worker, k))

    def _key(self, worker, k):
        return self.stream(COMMON if self.additive else worker, k)

    def choose(self, x, message, worker, k):
        return self._draw(worker, k, message.index if self.indices else self._index)

    def chosen(self, message, worker, k):
        return message.index if self.indices else self._draw(worker, k, self._index)

    def encode(self, x, message, worker, k):
        if self.sampling == "block" and len(x.terms) == 1:
            (factor, vector), = x.terms
            self._draw_blocks(worker, k)
            count = sampling.gather_blocks(message.values, vector, self._drawn, LINE, factor * self.gain)
        else:
            index = self.choose(x, message, worker, k)
            count = len(index)
            x.gather(index, self.gain, message.values[:count])
        message.values[count:] = 0

    def decode(self, message, worker, k, scale, out):
        index = self.chosen(message, worker, k)
        sparse.scatter_add(out, index, message.values[:len(index)], scale)

    def __str__(self):
        options = {"sampling": self.sampling, "indices": str(self.indices).lower(), "mask": self.mask}
        usual = {"sampling": "stratified", "indices": "false", "mask": "own"}
        return f"randk:{self.k}" + "".join(f",{key}={value}" for key, value in options.items() if value != usual[key])
