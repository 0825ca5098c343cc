"""AbsMax: levels of the largest magnitude, random or nearest."""

import functools

import numpy as np

from mpimasha.compressors.base import Compressor
from mpimasha.errors import UserError
from mpimasha.kernels.compress import absmax
from mpimasha.kernels.compress.packing import WORDS, digits_per_word
from mpimasha.names import check_kinds
from mpimasha.randomness import generator


class AbsMax(Compressor):
    """c k_i / S with c = max |x_i| and E k_i = S x_i / c; q = (1 + sqrt(1 + (b-1)/S^2))/2, its worst case.

    One c for each bucket of b coordinates, rounded up to the wire's type; the 2 S + 1 levels
    are digits, as many in 32 bits as go into them.  With `nearest`, k_i is the nearest level, a
    half going up: biased, and contractive with 1 - 1/delta = (b-1)/(4 S^2 + b - 1), its worst
    case.  The constants (ours) are of exact arithmetic; where c is subnormal on the wire,
    rounding it up may exceed them, never the mean.  Where x is not finite, or c overflows, the
    whole bucket is decoded as not finite.

    Parameters
    ----------
    levels : int
        S.
    bucket : int
        b; 0 takes the whole vector as one bucket.
    nearest : bool
        The nearest level instead of a random one of two: contractive, not unbiased.
    """

    name = "absmax"
    unbiased = True

    def __init__(self, levels: int = 1, bucket: int = 512, nearest: bool = False):
        check_kinds(AbsMax, "", levels=levels, bucket=bucket, nearest=nearest)
        if not 1 <= levels < 2**15:
            raise UserError(f"absmax:{levels} has no such number of levels: use a whole number from 1 to 32767")
        if bucket < 0:
            raise UserError(f"bucket = {bucket} of absmax: use a whole number of coordinates, or 0 for one bucket")
        self.levels, self.bucket, self.nearest = int(levels), int(bucket), nearest
        self.unbiased, self.contractive = not nearest, nearest

    def prepare(self):
        self._bucket = min(self.bucket or self.n, self.n)
        self._per_word = digits_per_word(2 * self.levels + 1)
        others, square = self._bucket - 1, self.levels**2
        if self.nearest:
            self.contraction = 1 + others / (4 * square)
        else:
            self.q = float(1 + np.sqrt(1 + others / square)) / 2
        self._dense = np.zeros(self.n)
        at_once = WORDS * self._per_word
        self._draws, self._digits = np.zeros((2, at_once), np.uint32)
        self._levels, self._rest = np.zeros(at_once), np.zeros(WORDS)

    @property
    def typical(self):
        """E|Q(x)|^2 / |x|^2 of a Gaussian bucket: 1 + the mean of (c/S)^2 f (1 - f), f the fraction of S |x_i|/c."""
        return None if self.nearest else gaussian_moment(self.levels, self._bucket)

    @property
    def bits(self):
        (_, scales), (_, words) = self.fields().values()
        return scales * self.value_bits + 32 * words

    def fields(self):
        return {"scales": (self.wire, -(-self.n // self._bucket)),
                "words": (np.dtype(np.uint32), -(-self.n // self._per_word))}

    def encode(self, x, message, worker, k):
        absmax.absmax_encode(x.value(self._dense), message.scales, message.words, self._draws, self._digits,
                             self.levels, self._per_word, self._bucket, self.nearest, self.stream(worker, k))

    def decode(self, message, worker, k, scale, out):
        absmax.absmax_decode_add(out, message.scales, message.words, self._levels, self._rest, self.levels,
                                 self._per_word, self._bucket, scale)

    def __str__(self):
        extra = (f",bucket={self.bucket}" if self.bucket != 512 else "") + (",nearest" if self.nearest else "")
        return f"absmax:{self.levels}{extra}"


@functools.cache
def gaussian_moment(levels, bucket, samples=2**15):
    """E|Q(x)|^2 / |x|^2 over Gaussian vectors of `bucket` entries, from fixed samples: within a percent."""
    x = np.abs(generator(0, "test", bucket).standard_normal((max(1, samples // bucket), bucket)))
    step = x.max(axis=1, keepdims=True) / levels
    fraction = x / step % 1.0
    return float(1 + np.mean((step**2 * fraction * (1 - fraction)).sum(axis=1) / (x**2).sum(axis=1)))
