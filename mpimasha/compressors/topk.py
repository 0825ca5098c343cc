"""TopK: the k largest coordinates."""

import numpy as np

from mpimasha.compressors.base import Compressor, check_kept, kept
from mpimasha.kernels import sparse
from mpimasha.kernels.topk import topk
from mpimasha.linear import Linear
from mpimasha.names import check_kinds


class TopK(Compressor):
    """Keep the k largest magnitudes, ties to the lowest index; biased, delta = n/k.

    Parameters
    ----------
    k : float
        A fraction of n below 1, or a count.
    """

    name = "topk"
    contractive = True
    sparsifier = True

    def __init__(self, k: float = 0.05):
        check_kinds(TopK, "", k=k)
        check_kept(k, self.name)
        self.k = k

    def prepare(self):
        self.count = kept(self.k, self.n, self.name)
        self.contraction = self.n / self.count
        self._dense, self._keys = {}, {}

    @property
    def bits(self):
        return self.count * (self.value_bits + self.index_bits)

    def fields(self):
        return {"values": (self.wire, self.count), **self.index_fields()}

    def index_fields(self):
        return {"index": (self.index_dtype, self.count)}

    def choose(self, x, message, worker, k):
        self._select(x, message)
        return message.index

    def chosen(self, message, worker, k):
        return message.index

    def encode(self, x, message, worker, k):
        self._select(x, message).gather(message.index, 1.0, message.values)

    def decode(self, message, worker, k, scale, out):
        sparse.scatter_add(out, message.index, message.values, scale)

    def _select(self, x, message):
        dense = self._evaluated(x)
        topk(dense, message.index, self._scratch(self._keys, np.dtype(f"u{dense.itemsize}")))
        return Linear.of(dense)

    def _evaluated(self, x):
        if len(x.terms) == 1 and x.terms[0][0] == 1.0:
            return x.terms[0][1]
        dense = self._scratch(self._dense, x.terms[0][1].dtype)
        x.write(dense)
        return dense

    def _scratch(self, pool, dtype):
        if dtype not in pool:
            pool[dtype] = np.zeros(self.n, dtype)
        return pool[dtype]

    def __str__(self):
        return f"topk:{self.k}"
