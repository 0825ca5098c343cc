"""Float: every value in a shorter type."""

import numpy as np

from mpimasha.compressors.base import Compressor
from mpimasha.errors import UserError
from mpimasha.kernels import bfloat16, updates
from mpimasha.names import check_kinds


class Float(Compressor):
    """x rounded to nearest, ties to even, as bfloat16 or float32, whatever the wire; 1 - 1/delta = u^2.

    u = 2^-8 or 2^-24 is the unit roundoff.  Below the smallest normal number, 2^-126, rounding is
    to the nearest multiple of 2^-133 or 2^-149: the error, never above |x_i|, may exceed u |x_i|.
    Above the largest number x becomes infinite.

    Parameters
    ----------
    width : {16, 32}
        Bits of a value.
    """

    name = "float"
    contractive = True

    def __init__(self, width: int = 32):
        check_kinds(Float, "", width=width)
        if width not in (16, 32):
            raise UserError(f"float:{width} is no type: use float:16 (bfloat16) or float:32")
        self.width = int(width)

    def prepare(self):
        self.contraction = 1 / (1 - 2.0 ** (-16 if self.width == 16 else -48))
        self._dense = np.zeros(self.n if self.width == 16 else 0)

    @property
    def bits(self):
        return self.width * self.n

    def fields(self):
        return {"codes": (np.dtype(np.uint16 if self.width == 16 else np.float32), self.n)}

    def encode(self, x, message, worker, k):
        if self.width == 16:
            bfloat16.round_bfloat16(message.codes, x.value(self._dense))
        else:
            x.write(message.codes)

    def decode(self, message, worker, k, scale, out):
        if self.width == 16:
            bfloat16.add_bfloat16(out, message.codes, scale)
        else:
            updates.update1(1.0, out, scale, message.codes)

    def __str__(self):
        return f"float:{self.width}"
