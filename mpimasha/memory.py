"""What a worker, or the server, remembers of what it sent."""

import numpy as np

from mpimasha import state
from mpimasha.linear import Linear
from mpimasha.state import PerWorker, Shared


class Memory:
    """Abstract base: how a worker's vector becomes a message, and a mean of messages an estimate."""

    name = None
    contracting = False  # whether an unbiased compressor enters as C = Q/q, contractive with delta = q

    def bind(self, compressor, owned, dtype):
        """Give the memory its compressor and its state for this rank's workers."""
        self.compressor, self.owned = compressor, owned
        state.allocate(self, len(owned), compressor.n, dtype)
        return self

    @property
    def scale(self):
        """What the receiver multiplies a decoded message by."""
        return 1 / self.compressor.q if self.contracting and not self.compressor.contractive else 1.0

    def encode(self, i, x, message, k):
        """Turn `x`, the vector of this rank's i-th worker, into `message` of exchange k."""
        raise NotImplementedError(f"memory {self.name} cannot encode")

    def recover(self, mean):
        """From the mean of what the messages stand for, (n,), to an estimate of the mean of x, in place."""


class Plain(Memory):
    """No memory: Q(x) travels."""

    name = "plain"

    def encode(self, i, x, message, k):
        self.compressor.encode(x, message, self.owned[i], k)


class Contracted(Plain):
    """No memory, and an unbiased compressor is scaled down to be contractive: C(x) travels."""

    name = "contracted"
    contracting = True


class ErrorFeedback(Memory):
    """c = C(x + e), e+ = x + e - c: what was not sent is sent later."""

    name = "error_feedback"
    contracting = True
    e = PerWorker()

    def encode(self, i, x, message, k):
        e = self.e.row(i)
        buffer = e.terms[0][1]
        (e + x).write(buffer)                                            # x + e
        self.compressor.encode(e, message, self.owned[i], k)             # c = C(x + e)
        self.compressor.decode(message, self.owned[i], k, -self.scale, buffer)  # e+ = x + e - c


class Shift(Memory):
    """d = Q(x - h), h+ = h + a d; the mean of x is estimated by H + mean d, H+ = H + a mean d.

    As in DIANA (Mishchenko et al. 2019, arXiv 1901.09269): h learns x, so what is
    compressed vanishes as x settles.  a = 1/q for an unbiased compressor, which keeps
    the estimate unbiased; 1 for a contractive one.  h and H are kept in float64: in
    float32 H drifts away from the mean of the h.
    """

    name = "shift"
    h, H = PerWorker(np.float64), Shared(np.float64)

    @property
    def rate(self):
        return 1 / self.compressor.q if self.compressor.unbiased else 1.0

    def encode(self, i, x, message, k):
        h = self.h.row(i)
        self.compressor.encode(x - h, message, self.owned[i], k)
        self.compressor.decode(message, self.owned[i], k, self.rate, h.terms[0][1])

    def recover(self, mean):
        a, d = self.rate, Linear.of(mean)
        self.H = self.H + a * d
        (self.H + (1 - a) * d).write(mean)                               # H + d, with the H of before
