"""Every rank gets every message, in one packed collective, and averages by itself."""

from time import perf_counter

from mpimasha.transports.base import Inbox, Transport, byte_buffer, lay_out


class Allgather(Transport):
    """One Allgatherv of fixed-size messages; each rank decodes them in worker order.

    The counts are known from the plan, so there is no second collective for them, and
    all ranks add the same numbers in the same order: replicas are bit-identical for any
    number of ranks.
    """

    name = "allgather"

    def plan(self):
        fields, mine = self.compressor.fields(), self.comm.rank
        self._inbox = Inbox(fields, self.blocks, self.comm)
        self._send = byte_buffer(self._inbox.counts[mine])
        self.outbox = lay_out(self._send, fields, len(self.blocks[mine]))

    def traffic(self):
        return 1, self._send.nbytes, sum(self._inbox.counts)

    def collect(self, k, scale, out):
        started, inbox = perf_counter(), self._inbox
        self.comm.allgather_bytes(self._send, inbox.buffer, inbox.counts, inbox.displacements)
        started = self.ledger.spend("communicate", started)
        inbox.add_up(self.compressor, k, scale, out)
        self.ledger.spend("compress", started)
