"""Natural compression: random rounding to a power of two (Horvath et al. 2019, arXiv 1905.10988)."""

import numpy as np

from mpimasha.compressors.base import Compressor
from mpimasha.kernels.compress import natural
from mpimasha.kernels.compress.packing import CHUNK


class Natural(Compressor):
    """|x_i| = 2^e (1 + f) becomes 2^(e+1) with probability f, else 2^e; q = 9/8, unscaled delta = 8/7.

    A sign and an exponent of 8 bits a coordinate, 11 on a float64 wire, packed without gaps.
    A number above the largest power (2^127, 2^1023) is clamped to it, which is biased; below
    the smallest normal one, p = 2^-126 or 2^-1022, it becomes p with probability |x_i|/p, else
    0: unbiased, but E Q(x_i)^2 = p |x_i| there, so that q and delta hold only above p.  What is
    not finite is decoded as an infinity.  A draw has 32 bits: the mean is exact to 2^-33.
    """

    name = "natural"
    unbiased = True
    contractive = True
    q = 9 / 8
    contraction = 8 / 7

    def prepare(self):
        self._width, self._exponents = (9, 254) if self.wire.itemsize == 4 else (12, 2046)
        self._dense = np.zeros(self.n)
        self._draws, self._codes = np.zeros(CHUNK, np.uint32), np.zeros(CHUNK, np.uint16)
        self._quads = np.zeros(CHUNK // 4, np.uint64)

    @property
    def bits(self):
        return self.n * self._width

    def fields(self):
        return {"words": (np.dtype(np.uint32), -(-self.n * self._width // 32))}

    def encode(self, x, message, worker, k):
        natural.natural_encode(x.value(self._dense), message.words, self._draws, self._codes, self._quads,
                               self._exponents, self.stream(worker, k))

    def decode(self, message, worker, k, scale, out):
        natural.natural_decode_add(out, message.words, self._codes, self._quads, self._exponents, scale)
