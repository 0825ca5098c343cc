"""TopK: the k largest coordinates."""

from collections import defaultdict
from functools import partial

import numpy as np

from mpimasha.compressors.base import Compressor, check_kept, kept
from mpimasha.kernels import sparse
from mpimasha.kernels.compress.topk import VECTOR, scratch, topk, topk_feedback
from mpimasha.linear import Linear
from mpimasha.names import check_kinds

BLOCK, LONG = 2**17, 16  # coordinates that the second cache holds; of which so many are more than the caches hold
SPARSE = 4               # below an entry in so many coordinates blocks are not worth their calls


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
        self._dense, self._buffers = {}, {}
        self._warm = defaultdict(partial(np.zeros, 1, np.uint64))  # a worker's next threshold is near its last

    @property
    def bits(self):
        return self.count * (self.value_bits + self.index_bits)

    def fields(self):
        return {"values": (self.wire, self.count), **self.index_fields()}

    def index_fields(self):
        return {"index": (self.index_dtype, self.count)}

    def choose(self, x, message, worker, k):
        self._select(x, message, worker)
        return message.index

    def chosen(self, message, worker, k):
        return message.index

    def encode(self, x, message, worker, k):
        self._select(x, message, worker).gather(message.index, 1.0, message.values)

    def encode_sum(self, e, x, message, worker, k):
        if len(x.terms) > 3:
            super().encode_sum(e, x, message, worker, k)
            return
        terms = (part for term in (*x.terms, (0.0, None), (0.0, None))[:3] for part in term)
        topk_feedback(e, *terms, message.index, *self._scratch(e.dtype, worker), VECTOR)
        Linear.of(e).gather(message.index, 1.0, message.values)

    def decode(self, message, worker, k, scale, out):
        sparse.scatter_add(out, message.index, message.values, scale)

    def decode_all(self, messages, k, scale, out):
        blocks = self.n >= LONG * BLOCK and len(messages) * self.count * SPARSE >= self.n
        if not blocks or type(self) is not TopK:  # a subclass may decode otherwise, or not sort
            super().decode_all(messages, k, scale, out)
            return
        bounds = np.arange(BLOCK, self.n, BLOCK, self.index_dtype)
        cuts = [(0, *np.searchsorted(message.index, bounds).tolist(), self.count) for message in messages]
        for block in range(bounds.size + 1):  # stays in the cache; a coordinate has its terms in the workers' order
            for message, cut in zip(messages, cuts):
                part = slice(cut[block], cut[block + 1])
                sparse.scatter_add(out, message.index[part], message.values[part], scale)

    def _select(self, x, message, worker):
        dense = self._evaluated(x)
        topk(dense, message.index, *self._scratch(dense.dtype, worker), VECTOR)
        return Linear.of(dense)

    def _evaluated(self, x):
        if len(x.terms) == 1 and x.terms[0][0] == 1.0:
            return x.terms[0][1]
        dtype = x.terms[0][1].dtype
        if dtype not in self._dense:
            self._dense[dtype] = np.zeros(self.n, dtype)
        x.write(self._dense[dtype])
        return self._dense[dtype]

    def _scratch(self, dtype, worker):
        if dtype not in self._buffers:
            self._buffers[dtype] = scratch(self.n, self.count, dtype)
        return *self._buffers[dtype], self._warm[dtype, worker]

    def __str__(self):
        return f"topk:{self.k}"
