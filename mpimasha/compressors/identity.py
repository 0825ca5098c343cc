"""The identity: every value travels."""

from mpimasha.compressors.base import Compressor
from mpimasha.kernels import updates


class Identity(Compressor):
    """Q(x) = x, rounded to the wire's type; q = 1, delta = 1, v n bits."""

    name = "identity"
    unbiased = True
    contractive = True
    additive = True
    q = 1.0
    contraction = 1.0

    @property
    def bits(self):
        return self.value_bits * self.n

    def fields(self):
        return {"values": (self.wire, self.n)}

    def encode(self, x, message, worker, k):
        x.write(message.values)

    def decode(self, message, worker, k, scale, out):
        updates.update1(1.0, out, scale, message.values)  # in float64, whatever the wire's type
