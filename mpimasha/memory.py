"""What a worker remembers of what it sent."""

from mpimasha import state
from mpimasha.state import PerWorker


class Memory:
    """Abstract base: how a worker's vector becomes a message."""

    name = None

    def bind(self, compressor, owned, dtype):
        """Give the memory its compressor and its state for this rank's workers."""
        self.compressor, self.owned = compressor, owned
        state.allocate(self, len(owned), compressor.n, dtype)
        return self

    @property
    def scale(self):
        """What the server multiplies a decoded message by."""
        return 1.0

    def encode(self, i, x, message, k):
        """Turn `x`, the vector of this rank's i-th worker, into `message` of exchange k."""
        raise NotImplementedError(f"memory {self.name} cannot encode")


class Plain(Memory):
    """No memory: Q(x) travels."""

    name = "plain"

    def encode(self, i, x, message, k):
        self.compressor.encode(x, message, self.owned[i], k)


class ErrorFeedback(Memory):
    """c = C(x + e), e+ = x + e - c: what was not sent is sent later.

    An unbiased compressor enters as C = Q/q, contractive with delta = q.
    """

    name = "error_feedback"
    e = PerWorker()

    @property
    def scale(self):
        return 1.0 if self.compressor.contractive else 1 / self.compressor.q

    def encode(self, i, x, message, k):
        e = self.e.row(i)
        buffer = e.terms[0][1]
        (e + x).write(buffer)                                            # x + e
        self.compressor.encode(e, message, self.owned[i], k)             # c = C(x + e)
        self.compressor.decode(message, self.owned[i], k, -self.scale, buffer)  # e+ = x + e - c
