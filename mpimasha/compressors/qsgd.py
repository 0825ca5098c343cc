"""QSGD: stochastic levels of the 2-norm (Alistarh et al. 2017, arXiv 1610.02132)."""

import numpy as np

from mpimasha.compressors.base import Compressor
from mpimasha.errors import UserError
from mpimasha.kernels.compress import quantize
from mpimasha.kernels.compress.packing import CHUNK
from mpimasha.names import check_kinds


class QSGD(Compressor):
    """|x|_2 sign(x_i) l_i / s with E l_i = s |x_i| / |x|_2; q = 1 + min(b/s^2, sqrt(b)/s).

    One norm for each bucket of b coordinates, rounded up to the wire's type; a sign and
    ceil(log2(s+1)) bits a coordinate, fixed width, without gaps.

    Parameters
    ----------
    levels : int
        s.
    bucket : int
        b; 0 takes the whole vector as one bucket.
    """

    name = "qsgd"
    unbiased = True

    def __init__(self, levels: int = 4, bucket: int = 512):
        check_kinds(QSGD, "", levels=levels, bucket=bucket)
        if not 1 <= levels < 2**15:
            raise UserError(f"qsgd:{levels} has no such number of levels: use a whole number from 1 to 32767")
        if bucket < 0:
            raise UserError(f"bucket = {bucket} of qsgd: use a whole number of coordinates, or 0 for one bucket")
        self.levels, self.bucket = int(levels), int(bucket)

    def prepare(self):
        self._bucket = min(self.bucket or self.n, self.n)
        self._width = 1 + self.levels.bit_length()
        self.q = 1 + min(self._bucket / self.levels**2, np.sqrt(self._bucket) / self.levels)
        self._dense = np.zeros(self.n)
        self._codes, self._quads = np.zeros(CHUNK, np.uint16), np.zeros(CHUNK // 4, np.uint64)

    @property
    def bits(self):
        return -(-self.n // self._bucket) * self.value_bits + self.n * self._width

    def fields(self):
        return {"norms": (self.wire, -(-self.n // self._bucket)),
                "words": (np.dtype(np.uint32), -(-self.n * self._width // 32))}

    def encode(self, x, message, worker, k):
        quantize.qsgd_encode(x.value(self._dense), message.norms, message.words, self._codes, self._quads, self.levels,
                             self._width, self._bucket, self.stream(worker, k))

    def decode(self, message, worker, k, scale, out):
        quantize.qsgd_decode_add(out, message.norms, message.words, self._codes, self._quads, self.levels, self._width,
                                 self._bucket, scale)

    def __str__(self):
        return f"qsgd:{self.levels}" + (f",bucket={self.bucket}" if self.bucket != 512 else "")
