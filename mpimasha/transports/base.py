"""How messages travel: layout of the buffers, the collective, the mean."""

from time import perf_counter
from types import SimpleNamespace

import numpy as np

from mpimasha.communicator import block


class Transport:
    """Abstract base; planned once for one compressor, executed in every exchange.

    Attributes
    ----------
    outbox : list of message
        The messages of this rank's workers, views into the send buffer: encode into them.
    server : Server or None
        Compresses the mean on its way down.
    precise : bool
        The mean of a dense exchange travels in float64, whatever the wire's type: who adds to it later needs the
        very mean of what was sent.
    """

    name = None
    additive_only = False  # whether it adds the messages' values before they are decoded

    def __init__(self, compressor, server, comm, ledger, dtype, precise=False):
        self.compressor, self.server, self.comm, self.ledger, self.dtype = compressor, server, comm, ledger, dtype
        self.precise = precise
        self.workers = compressor.workers
        self.blocks = [block(r, comm.size, self.workers) for r in range(comm.size)]
        self.outbox = []
        self.plan()
        self._down = server.message() if server is not None else None

    def plan(self):
        """Allocate the buffers and lay out the messages."""
        raise NotImplementedError(f"transport {self.name} has no plan")

    def traffic(self):
        """(collectives, bytes this rank sends, bytes it receives) of one exchange; None where it is not known."""
        return None

    def mean(self, k, memory, out):
        """Send the outbox; out = the mean over the workers as the server, with their `memory`, sends it down."""
        self.collect(k, memory.scale / self.workers, out)
        self.forward(k, memory, out)
        self.ledger.exchange(self.compressor.bits, self.downlink_bits())

    def downlink_bits(self):
        """What the server sends to each worker: its own message, else the mean or the messages, the shorter."""
        if self.server is not None:
            return self.server.bits
        up, dense = self.compressor.bits, self.compressor.value_bits * self.compressor.n
        return up if self.compressor.additive else min(dense, self.workers * up)

    def collect(self, k, scale, out):
        """out = scale * sum of all decoded messages; with `forward` the only place of a round that communicates."""
        raise NotImplementedError(f"transport {self.name} cannot collect")

    def forward(self, k, memory, out):
        """What the server does to the mean; every rank plays the server, with the same draws."""
        memory.recover(out)
        if self.server is not None:
            started = perf_counter()
            self.server.compress(out, self._down, k)
            self.server.restore(self._down, k, out)
            self.ledger.spend("compress", started)


class Inbox:
    """One receive buffer for the messages of all ranks.

    Attributes
    ----------
    counts, displacements : list of int
        Bytes of each rank and where they begin, cache lines apart.
    messages : list of message
        Of all workers, in their order.
    """

    def __init__(self, fields, blocks, comm):
        size = message_bytes(fields)
        self.counts = [len(b) * size for b in blocks]
        self.displacements = [int(d) for d in np.cumsum([0, *map(aligned, self.counts)])]
        comm.check_size(self.displacements[-1], f"the messages of {sum(map(len, blocks))} workers have")
        self.buffer = byte_buffer(self.displacements.pop())
        self.messages = [message for b, count, start in zip(blocks, self.counts, self.displacements)
                         for message in lay_out(self.buffer[start:start + count], fields, len(b))]

    def add_up(self, compressor, k, scale, out):
        """out = scale * sum of the decoded messages, in worker order."""
        out[:] = 0
        for worker, message in enumerate(self.messages):
            compressor.decode(message, worker, k, scale, out)


def lay_out(buffer, fields, count):
    """`count` messages inside a byte buffer, field by field, widest type first.

    All messages' values come before all messages' indices, so every array is aligned
    without a byte of padding.
    """
    messages, start = [SimpleNamespace() for _ in range(count)], 0
    for name, (dtype, length) in sorted(fields.items(), key=lambda item: -item[1][0].itemsize):
        stop = start + count * length * dtype.itemsize
        for message, row in zip(messages, buffer[start:stop].view(dtype).reshape(count, length)):
            setattr(message, name, row)
        start = stop
    return messages


def message_bytes(fields):
    return sum(dtype.itemsize * length for dtype, length in fields.values())


def aligned(size, to=64):
    """`size` rounded up to whole cache lines."""
    return -(-size // to) * to


def byte_buffer(size):
    return np.zeros(size, np.uint8)
