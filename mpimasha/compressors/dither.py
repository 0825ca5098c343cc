"""Dither: 127 or 7 random levels of the largest magnitude, in 8 or 4 bits."""

import numpy as np

from mpimasha.compressors.absmax import gaussian_moment
from mpimasha.compressors.base import Compressor
from mpimasha.errors import UserError
from mpimasha.kernels.compress import dither
from mpimasha.names import check_kinds


class Dither(Compressor):
    """`AbsMax` with S = 127 or 7 at the speed of memory: q = (1 + sqrt(1 + (b-1)/S^2))/2.

    The same law with other draws: c = max |x_i| of each bucket of b coordinates, rounded up to the wire's
    type, and levels of 8 or 4 bits.  Draws have 15 bits: the mean is within c/S 2^-15 of the exact one.
    Where x is not finite, or c overflows, the whole bucket is decoded as not finite.

    Parameters
    ----------
    width : {8, 4}
        Bits of a level.
    bucket : int
        b; 0 takes the whole vector as one bucket. With 4 bits even.
    """

    name = "dither"
    unbiased = True

    def __init__(self, width: int = 8, bucket: int = 512):
        check_kinds(Dither, "", width=width, bucket=bucket)
        if width not in (8, 4):
            raise UserError(f"dither:{width} is no width: use dither:8 or dither:4")
        if bucket < 0:
            raise UserError(f"bucket = {bucket} of dither: use a whole number of coordinates, or 0 for one bucket")
        self.width, self.bucket = int(width), int(bucket)

    def prepare(self):
        self._levels, self._bucket = 2 ** (self.width - 1) - 1, min(self.bucket or self.n, self.n)
        self.q = float(1 + np.sqrt(1 + (self._bucket - 1) / self._levels**2)) / 2
        if self.width == 4 and self._bucket % 2 and self._bucket < self.n:
            raise UserError(f"bucket = {self.bucket} of dither:4, of whose levels two make a byte: use an even number")
        self._dense = np.zeros(self.n, self.wire)

    @property
    def typical(self):
        return gaussian_moment(self._levels, self._bucket)

    @property
    def bits(self):
        return -(-self.n // self._bucket) * self.value_bits + self.width * self.n

    def fields(self):
        return {"scales": (self.wire, -(-self.n // self._bucket)),
                "codes": (np.dtype(np.uint8), -(-self.n * self.width // 8))}

    def encode(self, x, message, worker, k):
        vector = x.value(self._dense)
        dither.dither_encode(vector, vector.view(f"u{vector.itemsize}"), message.scales, message.codes, self._levels,
                             self._bucket, self.stream(worker, k))

    def decode(self, message, worker, k, scale, out):
        dither.dither_decode_add(out, message.scales, message.codes, self._levels, self._bucket, scale)

    def __str__(self):
        return f"dither:{self.width}" + (f",bucket={self.bucket}" if self.bucket != 512 else "")
