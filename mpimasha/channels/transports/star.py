"""The paper's picture: all messages to the server, its own message back."""

from time import perf_counter

from mpimasha.channels.memory import Plain
from mpimasha.channels.server import Server
from mpimasha.channels.transports.base import Packed, byte_buffer, lay_out, message_bytes
from mpimasha.compressors.identity import Identity


class Star(Packed):
    """Gatherv to rank 0, which averages, compresses and broadcasts.

    Without a server compressor the mean goes down dense, in the wire's type.  Rank 0
    receives M messages whatever the number of ranks: a picture of the algorithm, and a
    fair one for few ranks; `Allgather` spares the second collective.
    """

    name = "star"

    def plan(self):
        self.pack(self.blocks if self.comm.rank == 0 else [])
        up = self.compressor
        self._sender = self.server or Server(Identity(), Plain(), n=up.n, wire=up.wire, stream=up.stream,
                                             dtype=self.dtype)
        self._broadcast = byte_buffer(message_bytes(self._sender.fields()))
        self._reply, = lay_out(self._broadcast, self._sender.fields(), 1)

    def traffic(self):
        sent, received = self.expected()
        if self.comm.rank == 0:
            return 2, sent + self._broadcast.nbytes, received
        return 2, sent, self._broadcast.nbytes

    def collect(self, k, scale, out):
        started, inbox = perf_counter(), self._inbox
        self.comm.gather_bytes(self._send, inbox.buffer, inbox.counts, inbox.displacements)
        started = self.ledger.spend("communicate", started)
        if self.comm.rank == 0:
            inbox.add_up(self.compressor, k, scale, out)
        self.ledger.spend("compress", started)

    def forward(self, k, memory, out):
        started = perf_counter()
        if self.comm.rank == 0:
            memory.recover(out)
            self._sender.compress(out, self._reply, k)
        started = self.ledger.spend("compress", started)
        self.comm.broadcast(self._broadcast)
        started = self.ledger.spend("communicate", started)
        self._sender.restore(self._reply, k, out)
        self.ledger.spend("compress", started)
