"""Every rank gets every message, in one packed collective, and averages by itself."""

from time import perf_counter

from mpimasha.channels.transports.base import Packed


class Allgather(Packed):
    """One Allgatherv of fixed-size messages; each rank decodes them in worker order.

    The counts are known from the plan and the common draw, so there is no second collective for them, and
    all ranks add the same numbers in the same order: replicas are bit-identical for any
    number of ranks.
    """

    name = "allgather"

    def plan(self):
        self.pack(self.blocks)

    def traffic(self):
        return 1, *self.expected()

    def collect(self, k, scale, out):
        started, inbox = perf_counter(), self._inbox
        self.comm.allgather_bytes(self._send, inbox.buffer, inbox.counts, inbox.displacements)
        started = self.ledger.spend("communicate", started)
        inbox.add_up(self.compressor, k, scale, out)
        self.ledger.spend("compress", started)
