"""A compressor: mpimasha run bilinear --plugin jobs/plugins/half.py --compressor half:0.5"""

import numpy as np

import mpimasha as mm


class Half(mm.Compressor):
    """The even coordinates over p, or with probability 1 - p the odd ones over 1 - p."""

    name, unbiased = "half", True
    q = property(lambda self: 1 / min(self.p, 1 - self.p))  # E Q(x) = x and E|Q(x)|^2 <= q |x|^2
    bits = property(lambda self: self.value_bits * ((self.n + 1) // 2))

    def __init__(self, p: float = 0.5):
        if not 0 < p < 1:
            raise mm.UserError(f"half:{p} is no probability: use a number above 0 and below 1")
        self.p = p

    def fields(self):
        return {"values": (self.wire, (self.n + 1) // 2)}  # no index travels: every rank knows the draw

    def kept(self, worker, k):
        odd = self.stream.uniform(worker, k) >= self.p
        return np.arange(odd, self.n, 2), 1 / (1 - self.p if odd else self.p)

    def encode(self, x, message, worker, k):
        index, factor = self.kept(worker, k)
        x.gather(index, factor, message.values[:len(index)])

    def decode(self, message, worker, k, scale, out):
        index, _ = self.kept(worker, k)
        out[index] += scale * message.values[:len(index)].astype(out.dtype)
