"""The mean of vectors whose entries line up: slices by Alltoall, summed in worker order, Allgather."""

from time import perf_counter

import numpy as np

from mpimasha.channels.transports.base import Transport, lay_out
from mpimasha.kernels.updates import sum_rows


class Aligned(Transport):
    """Abstract base: the values of all messages stand for the same coordinates and are added undecoded."""

    additive_only = True

    def plan(self):
        (name, (wire, length)), = self.compressor.fields().items()
        rows, n = len(self.blocks[self.comm.rank]), self.compressor.n
        down = np.dtype(np.float64) if self.precise else wire
        slices = self.workers * -(-length // self.comm.size)
        largest = max(max(rows * length, slices) * wire.itemsize, length * down.itemsize)
        self.comm.check_size(largest, f"dense vectors of n = {n} numbers and {self.workers} workers need buffers of")
        send = self.comm.scratch("send", rows * length * wire.itemsize)
        self.outbox = lay_out(send, {name: (wire, length)}, rows)
        self._send = send.view(wire).reshape(rows, length)
        self._total, = lay_out(self.comm.scratch("total", length * down.itemsize), {name: (down, length)}, 1)
        self._is_vector = self.compressor.name == "identity"  # needs no decoding
        self._in_place = self._is_vector and down == self.dtype
        self.plan_sum(rows, length, wire)

    def collect(self, k, scale, out):
        """Decode the sum, as if it were the message of one worker."""
        started = perf_counter()
        self.sum_up(scale, out if self._in_place else self._total.values)
        started = self.ledger.spend("communicate", started)
        if self._is_vector and not self._in_place:
            out[:] = self._total.values
        elif not self._is_vector:
            out[:] = 0
            self.compressor.decode(self._total, 0, k, 1.0, out)
        self.ledger.spend("compress", started)


class Dense(Aligned):
    """Rank r receives slice r of every worker's values, averages it, and gives it to all.

    Each value is summed in worker order 0..M-1 by one rank, so the mean is the same
    bit for bit on every rank and for every number of ranks.  A rank sends
    n (m_local + 1/P) values, whatever P is.  Both legs travel in the wire's type, the second in float64 if `precise`.
    """

    name = "dense"

    def plan_sum(self, rows, length, wire):
        ranks, mine = self.comm.size, self.comm.rank
        bounds = np.array([r * length // ranks for r in range(ranks + 1)])
        widths = np.diff(bounds)
        v, width, down = wire.itemsize, int(widths[mine]), self._total.values.dtype
        self._slices = self._send if ranks == 1 else \
            self.comm.scratch("slices", self.workers * width * v).view(wire).reshape(self.workers, width)
        self._mean = self.comm.scratch("slice", width * down.itemsize).view(down)
        self._plan = self.comm.plan_slices(rows, [len(b) for b in self.blocks], bounds, wire)
        self._counts = [int(w) * down.itemsize for w in widths]
        self._displacements = [int(b) * down.itemsize for b in bounds[:-1]]

    def traffic(self):
        return 2, self._send.nbytes + self._mean.nbytes, self._slices.nbytes + self._total.values.nbytes

    def sum_up(self, scale, total):
        """total = scale * sum of the values of all workers."""
        if self._plan is not None:
            self.comm.exchange_slices(self._plan, self._send, self._slices)
        sum_rows(self._mean, self._slices, scale)
        self.comm.allgather_bytes(self._mean.view(np.uint8), total.view(np.uint8), self._counts, self._displacements)


class Allreduce(Aligned):
    """One Allreduce: each rank adds its own workers' values, MPI the ranks', in an order of its choice.

    Faster than `Dense` in latency and, with many workers a rank, in bytes: n values a
    rank.  Runs on different numbers of ranks then differ in the last bits, and over Intel
    MPI without I_MPI_CBWR=1 any two runs may.
    """

    name = "allreduce"

    def plan_sum(self, rows, length, wire):
        pass

    def traffic(self):
        return 1, self._total.values.nbytes, self._total.values.nbytes

    def sum_up(self, scale, total):
        sum_rows(total, self._send, scale)
        self.comm.sum_arrays(total)
