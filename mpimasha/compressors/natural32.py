"""Natural compression of float32 in two planes, of exponents and of signs."""

import numpy as np

from mpimasha.compressors.base import Compressor
from mpimasha.kernels.compress import powers


class Natural32(Compressor):
    """`Natural` at the speed of memory, whatever the wire: q = 9/8, unscaled delta = 8/7.

    A byte and a bit a coordinate, the exponent and the sign.
    x is rounded to float32 first, which alone costs exactness of the mean; above its largest number it
    becomes infinite.  Else the same law with other draws: clamped above 2^127, unbiased below 2^-126, an
    infinity for what is not finite.
    """

    name = "natural32"
    unbiased = True
    contractive = True
    q = 9 / 8
    contraction = 8 / 7

    def prepare(self):
        self._dense, self._marks = np.zeros(self.n, np.float32), np.zeros(powers.CHUNK, np.uint8)

    @property
    def bits(self):
        return 9 * self.n

    def fields(self):
        return {"exponents": (np.dtype(np.uint8), self.n), "signs": (np.dtype(np.uint8), -(-self.n // 8))}

    def encode(self, x, message, worker, k):
        powers.encode_powers(message.exponents, message.signs, x.value(self._dense), self._marks,
                             self.stream(worker, k))

    def decode(self, message, worker, k, scale, out):
        powers.decode_powers_add(out, message.exponents, message.signs, self._marks, scale)
