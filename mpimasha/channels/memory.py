"""What a worker, or the server, remembers of what it sent."""

import numpy as np

from mpimasha import state
from mpimasha.linear import Linear
from mpimasha.state import PerWorker, Shared


class Memory:
    """Abstract base: how a worker's vector becomes a message, and a mean of messages an estimate."""

    name = None
    contracting = False  # whether an unbiased compressor enters as C = Q/q, contractive with delta = q

    def bind(self, compressor, count, dtype, share=1.0):
        """Give the memory its compressor and its state.

        Parameters
        ----------
        count : int
            Workers of this rank.
        share : float
            Part of all workers whose messages travel in one exchange.
        """
        self.compressor, self.share = compressor, share
        state.allocate(self, count, compressor.n, dtype)
        return self

    @property
    def scale(self):
        """What the receiver multiplies a decoded message by."""
        return 1 / self.compressor.q if self.contracting and not self.compressor.contractive else 1.0

    def encode(self, i, x, message, worker, k):
        """Turn `x`, the vector of this rank's i-th worker, into `message`, which `worker` draws in exchange k."""
        raise NotImplementedError(f"memory {self.name} cannot encode")

    def recover(self, mean):
        """From the mean of what the messages stand for, (n,), to an estimate of the mean of x, in place."""

    @property
    def known(self):
        """The `PerWorker` state that holds what is known of each x, if the memory has one: see `Channel.begin`."""
        return None

    def begin(self, mean):
        """Start from what `known` holds, whose mean over the workers is the Linear `mean`."""


class Plain(Memory):
    """No memory: Q(x) travels."""

    name = "plain"

    def encode(self, i, x, message, worker, k):
        self.compressor.encode(x, message, worker, k)


class Contracted(Plain):
    """No memory, and an unbiased compressor is scaled down to be contractive: C(x) travels."""

    name = "contracted"
    contracting = True


class ErrorFeedback(Memory):
    """c = C(x + e), e+ = x + e - c: what was not sent is sent later."""

    name = "error_feedback"
    contracting = True
    e = PerWorker()

    def encode(self, i, x, message, worker, k):
        e = self.e.row(i).terms[0][1]
        self.compressor.encode_sum(e, x, message, worker, k)        # c = C(x + e)
        self.compressor.decode(message, worker, k, -self.scale, e)  # e+ = x + e - c


class Shift(Memory):
    """d = Q(x - h), h+ = h + a d; the mean of x is estimated by H + mean d, H+ = H + a mean d.

    As in DIANA (Mishchenko et al. 2019, arXiv 1901.09269): h learns x, so what is
    compressed vanishes as x settles.  Where only b of M workers send, the others keep h and
    H+ = H + b/M a mean d.  h and H are kept in float64: in float32 H drifts away from the
    mean of the h.

    Parameters
    ----------
    typical : bool
        a = 1/q with q as it is on Gaussian vectors.  Otherwise a = 1/q with the q of the worst
        vector, the largest a for which every h is sure to learn.  a = 1 for a contractive
        compressor.
    """

    name = "shift"
    h, H = PerWorker(np.float64), Shared(np.float64)

    def __init__(self, typical=False):
        self.typical = typical

    @property
    def rate(self):
        if not self.compressor.unbiased:
            return 1.0
        return 1 / (self.compressor.typical if self.typical else self.compressor.q)

    @property
    def known(self):
        return self.h

    def begin(self, mean):
        self.H = mean

    def encode(self, i, x, message, worker, k):
        h = self.h.row(i)
        self.compressor.encode(x - h, message, worker, k)
        self.compressor.decode(message, worker, k, self.rate, h.terms[0][1])

    def recover(self, mean):
        a, d = self.share * self.rate, Linear.of(mean)
        self.H = self.H + a * d
        (self.H + (1 - a) * d).write(mean)                               # H + d, with the H of before
