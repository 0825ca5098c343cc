"""Sign: one bit a coordinate and the mean magnitude (Karimireddy et al. 2019, arXiv 1901.09847)."""

import numpy as np

from mpimasha.compressors.base import Compressor
from mpimasha.kernels.compress import signs


class Sign(Compressor):
    """|x|_1/n sign(x) with sign(0) = 1; delta = n in the worst case, v + n bits.

    For a given x, delta is n |x|_2^2/|x|_1^2, about pi/2 for Gaussian entries.  Rounding the
    scale to the wire's type with relative error u takes only the factor 1 - u^2 from 1/delta.
    Where x is not finite, or the scale overflows on the wire, nothing that is decoded is finite.
    """

    name = "sign"
    contractive = True

    def prepare(self):
        self.contraction = float(self.n)
        self._dense = np.zeros(self.n)

    @property
    def bits(self):
        return self.value_bits + self.n

    def fields(self):
        return {"scale": (self.wire, 1), "words": (np.dtype(np.uint32), -(-self.n // 32))}

    def encode(self, x, message, worker, k):
        dense = x.value(self._dense)
        with np.errstate(over="ignore"):  # infinity says it
            message.scale[0] = signs.mean_magnitude(dense)
        signs.pack_signs(message.words, dense)

    def decode(self, message, worker, k, scale, out):
        signs.add_signs(out, message.words, scale * float(message.scale[0]))
