"""Every rank gets every message, in one packed collective, and averages by itself."""

from time import perf_counter

import numpy as np

from mpimasha.transports.base import Transport, aligned, byte_buffer, lay_out, message_bytes


class Allgather(Transport):
    """One Allgatherv of fixed-size messages; each rank decodes them in worker order.

    The counts are known from the plan, so there is no second collective for them, and
    all ranks add the same numbers in the same order: replicas are bit-identical for any
    number of ranks.
    """

    name = "allgather"

    def plan(self):
        fields = self.compressor.fields()
        size = message_bytes(fields)
        self._counts = [len(b) * size for b in self.blocks]
        self._displacements = [int(d) for d in np.cumsum([0, *map(aligned, self._counts)])]
        self._receive = byte_buffer(self._displacements.pop())
        mine = self.comm.rank
        self._send = byte_buffer(self._counts[mine])
        self.outbox = lay_out(self._send, fields, len(self.blocks[mine]))
        self._inbox = [message for b, count, start in zip(self.blocks, self._counts, self._displacements)
                       for message in lay_out(self._receive[start:start + count], fields, len(b))]

    def collect(self, k, scale, out):
        started = perf_counter()
        self.comm.allgather_bytes(self._send, self._receive, self._counts, self._displacements)
        started = self.ledger.spend("communicate", started)
        out[:] = 0
        for worker, message in enumerate(self._inbox):
            self.compressor.decode(message, worker, k, scale, out)
        self.ledger.spend("compress", started)
