"""Float: every value in a shorter type, to nearest or at random."""

import numpy as np

from mpimasha.compressors.base import Compressor
from mpimasha.errors import UserError
from mpimasha.kernels import updates
from mpimasha.kernels.compress import bfloat16
from mpimasha.names import check_kinds

UNIT = 2.0**-8  # unit roundoff of bfloat16


class Float(Compressor):
    """x rounded to nearest, ties to even, as bfloat16 or float32, whatever the wire; 1 - 1/delta = u^2.

    u = 2^-8 or 2^-24 is the unit roundoff.  Below the smallest normal number, 2^-126, rounding is
    to the nearest multiple of 2^-133 or 2^-149: the error, never above |x_i|, may exceed u |x_i|.
    Above the largest number x becomes infinite.

    With `random`, for bfloat16 only, x between two neighbours a < b becomes b with probability
    (x - a)/(b - a), else a: unbiased, q = 1 + u^2/(1 + 2u) (ours).  E Q(x)^2 = x^2 + (x - a)(b - x) is at
    most 1 + (b - a)^2/(4 a b) times x^2, at x = 2 a b/(a + b), and this is largest at a = 2^e,
    b = 2^e (1 + 2u).  Below 2^-126 Q is unbiased too, but with b - a = 2^-133 q may be exceeded: E Q(x)^2
    is 2^-133 |x| where |x| < 2^-133.  A draw has 32 bits: the mean is exact to 2^-33 (b - a).
    The float16 of IEEE 754 is not offered: no finite q holds below 2^-14, where gradients still
    are, and beyond 65504 it is infinite.

    Parameters
    ----------
    width : {16, 32}
        Bits of a value.
    random : bool
        Rounding to either neighbour at random, unbiased, in place of the nearest.
    """

    name = "float"
    contractive = True

    def __init__(self, width: int = 32, random: bool = False):
        check_kinds(Float, "", width=width, random=random)
        if width not in (16, 32):
            raise UserError(f"float:{width} is no type: use float:16 (bfloat16) or float:32")
        if random and width != 16:
            raise UserError(f"random = true cannot be used with float:{width}: use float:16,random")
        self.width, self.random = int(width), random
        self.unbiased, self.contractive = random, not random

    def prepare(self):
        if self.random:
            self.q = 1 + UNIT**2 / (1 + 2 * UNIT)
        else:
            self.contraction = 1 / (1 - (UNIT**2 if self.width == 16 else 2.0**-48))
        self._dense = np.zeros(self.n if self.width == 16 else 0)
        self._draws = np.zeros(bfloat16.CHUNK, np.uint32)

    @property
    def bits(self):
        return self.width * self.n

    def fields(self):
        return {"codes": (np.dtype(np.uint16 if self.width == 16 else np.float32), self.n)}

    def encode(self, x, message, worker, k):
        if self.random:
            bfloat16.round_bfloat16_random(message.codes, x.value(self._dense), self._draws, self.stream(worker, k))
        elif self.width == 16:
            bfloat16.round_bfloat16(message.codes, x.value(self._dense))
        else:
            x.write(message.codes)

    def decode(self, message, worker, k, scale, out):
        if self.width == 16:
            bfloat16.add_bfloat16(out, message.codes, scale)
        else:
            updates.update1(1.0, out, scale, message.codes)

    def __str__(self):
        return f"float:{self.width}" + (",random" if self.random else "")
