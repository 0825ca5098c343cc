"""How messages travel: layout of the buffers, the collective, the mean."""

from types import SimpleNamespace

import numpy as np

from mpimasha.communicator import block


class Transport:
    """Abstract base; planned once for one compressor, executed in every exchange.

    Attributes
    ----------
    outbox : list of message
        The messages of this rank's workers, views into the send buffer: encode into them.
    """

    name = None

    def __init__(self, compressor, comm, ledger, dtype):
        self.compressor, self.comm, self.ledger, self.dtype = compressor, comm, ledger, dtype
        self.workers = compressor.workers
        self.blocks = [block(r, comm.size, self.workers) for r in range(comm.size)]
        self.outbox = []
        self.plan()

    def plan(self):
        """Allocate the buffers and lay out the messages."""
        raise NotImplementedError(f"transport {self.name} has no plan")

    def mean(self, k, scale, out):
        """Send the outbox; out = scale / M * sum of all decoded messages, in worker order."""
        self.collect(k, scale / self.workers, out)
        up = self.compressor.bits
        dense = self.compressor.value_bits * self.compressor.n
        self.ledger.exchange(up, min(dense, self.workers * up))  # the server forwards, or sends the mean

    def collect(self, k, scale, out):
        """out = scale * sum of all decoded messages; the only place of a round that communicates."""
        raise NotImplementedError(f"transport {self.name} cannot collect")


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
