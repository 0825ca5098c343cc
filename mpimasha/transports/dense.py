"""The mean of dense vectors: slices by Alltoall, summed in worker order, Allgather."""

from time import perf_counter

import numpy as np

from mpimasha.kernels.updates import sum_rows
from mpimasha.transports.base import Transport, byte_buffer, lay_out


class Dense(Transport):
    """Rank r receives slice r of every worker's vector, averages it, and gives it to all.

    Each coordinate is summed in worker order 0..M-1 by one rank, so the mean is the same
    bit for bit on every rank and for every number of ranks.  A rank sends
    n (m_local + 1/P) values, whatever P is.  Both legs travel in the wire's type.
    """

    name = "dense"

    def plan(self):
        n, ranks, wire = self.compressor.n, self.comm.size, self.compressor.wire
        mine = self.comm.rank
        bounds = np.array([r * n // ranks for r in range(ranks + 1)])
        widths = np.diff(bounds)
        rows = len(self.blocks[mine])
        send = byte_buffer(rows * n * wire.itemsize)
        self.outbox = lay_out(send, {"values": (wire, n)}, rows)
        self._send = send.view(wire).reshape(rows, n)
        self._slices = np.zeros((self.workers, int(widths[mine])), wire)
        self._mean = np.zeros(int(widths[mine]), wire)
        self._means = np.zeros(n, wire)
        self._plan = self.comm.plan_slices(rows, [len(b) for b in self.blocks], bounds, wire)
        self._counts = [int(w) * wire.itemsize for w in widths]
        self._displacements = [int(b) * wire.itemsize for b in bounds[:-1]]

    def collect(self, k, scale, out):
        started = perf_counter()
        self.comm.exchange_slices(self._plan, self._send, self._slices)
        sum_rows(self._mean, self._slices, scale)
        self.comm.allgather_bytes(self._mean.view(np.uint8), self._means.view(np.uint8), self._counts,
                                  self._displacements)
        out[:] = self._means
        self.ledger.spend("communicate", started)
