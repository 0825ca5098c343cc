"""How messages travel: layout of the buffers, the collective, the mean."""

from time import perf_counter
from types import SimpleNamespace

import numpy as np

from mpimasha.mpi.communicator import block


class Transport:
    """Abstract base; planned once for one compressor, executed in every exchange.

    Attributes
    ----------
    senders : list of (int, int)
        Who sends in this exchange: a worker's place on this rank, and as which worker it draws, its place among all
        who send.
    outbox : list of message
        Theirs, views into the send buffer: encode into them.
    server : Server or None
        Compresses the mean on its way down.
    precise : bool
        The mean of a dense exchange travels in float64, whatever the wire's type: who adds to it later needs the
        very mean of what was sent.
    """

    name = None
    additive_only = False  # whether it adds the messages' values before they are decoded

    def __init__(self, compressor, server, comm, ledger, dtype, precise=False, workers=None):
        self.compressor, self.server, self.comm, self.ledger, self.dtype = compressor, server, comm, ledger, dtype
        self.precise = precise
        self.workers = workers or compressor.workers
        self.blocks = [block(r, comm.size, self.workers) for r in range(comm.size)]
        self.senders, self.outbox = list(enumerate(self.blocks[comm.rank])), []
        self.plan()
        self._down = server.message() if server is not None else None

    def plan(self):
        """Allocate the buffers and lay out the messages."""
        raise NotImplementedError(f"transport {self.name} has no plan")

    def convene(self, participants):
        """Say who sends in the next exchange: these workers, ascending, as many as the compressor was bound for."""
        if participants is not None and len(participants) < self.workers:
            raise TypeError(f"transport {self.name} takes a message from every worker")

    def traffic(self):
        """(collectives, bytes this rank sends, bytes it receives) of one exchange; None where it is not known."""
        return None

    def mean(self, k, memory, out):
        """Send the outbox; out = the mean over the workers as the server, with their `memory`, sends it down."""
        self.collect(k, memory.scale / self.compressor.workers, out)
        self.forward(k, memory, out)
        self.ledger.exchange(self.uplink_bits(), self.downlink_bits())

    def uplink_bits(self):
        """Of a worker: the mean over all of them, also over those who do not send."""
        return self.compressor.bits * self.compressor.workers / self.workers

    def downlink_bits(self):
        """What the server sends to each worker: its own message, else the mean or the messages, the shorter."""
        if self.server is not None:
            return self.server.bits
        up, dense = self.compressor.bits, self.compressor.value_bits * self.compressor.n
        return up if self.compressor.additive else min(dense, self.compressor.workers * up)

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


class Packed(Transport):
    """Abstract base: messages travel whole, all of a rank's in one buffer."""

    def pack(self, blocks):
        """Buffers for what this rank's workers send, and for what the workers of all `blocks` do."""
        fields, most = self.compressor.fields(), self.compressor.workers
        numbers = [min(len(b), most) for b in self.blocks]
        self.comm.check_size(sum(numbers) * message_bytes(fields), f"the messages of {self.workers} workers have")
        self._inbox = Inbox(fields, [min(len(b), most) for b in blocks], self.comm)
        self._outgoing = Post(fields, numbers[self.comm.rank])
        self._starts = [b.start for b in self.blocks] + [self.workers]
        self._announce(numbers)

    def expected(self):
        """Bytes of the messages of this rank's workers, and of all, in one exchange; the mean over who takes part."""
        size = message_bytes(self.compressor.fields()) * self.compressor.workers
        return size * len(self.blocks[self.comm.rank]) / self.workers, size

    def _announce(self, numbers):
        """How many messages come from each rank."""
        self._send, self.outbox = self._outgoing.of(numbers[self.comm.rank])
        self._inbox.expect(numbers)

    def convene(self, participants):
        if participants is None:
            return
        bounds = np.searchsorted(participants, self._starts)
        mine = slice(bounds[self.comm.rank], bounds[self.comm.rank + 1])
        first = self._starts[self.comm.rank]
        self.senders = [(int(m) - first, slot) for slot, m in zip(range(mine.start, mine.stop), participants[mine])]
        self._announce(np.diff(bounds).tolist())


class Post:
    """A buffer that holds up to `most` messages of one layout."""

    def __init__(self, fields, most, buffer=None):
        self._fields, self._size, self._ways = fields, message_bytes(fields), {}
        self._buffer = byte_buffer(most * self._size) if buffer is None else buffer

    def of(self, count):
        """(bytes, messages) of `count` messages; laid out once, remembered."""
        if count not in self._ways:
            part = self._buffer[:count * self._size]
            self._ways[count] = part, lay_out(part, self._fields, count)
        return self._ways[count]


class Inbox:
    """One receive buffer for the messages of all ranks.

    Attributes
    ----------
    counts, displacements : list of int
        Bytes of each rank and where they begin, cache lines apart.
    messages : list of message
        In the order of the workers.
    """

    def __init__(self, fields, most, comm):
        self._size = message_bytes(fields)
        room = [count * self._size for count in most]
        self.displacements = [int(d) for d in np.cumsum([0, *map(aligned, room)])]
        comm.check_size(self.displacements[-1], f"the messages of {sum(most)} workers have")
        self.buffer = byte_buffer(self.displacements.pop())
        self._posts = [Post(fields, count, self.buffer[start:start + size])
                       for count, start, size in zip(most, self.displacements, room)]
        self.expect(most)

    def expect(self, numbers):
        """How many messages come from each rank in the next exchange."""
        self.counts = [count * self._size for count in numbers]
        self.messages = [message for post, count in zip(self._posts, numbers) for message in post.of(count)[1]]

    def add_up(self, compressor, k, scale, out):
        """out = scale * sum of the decoded messages, in worker order."""
        out[:] = 0
        compressor.decode_all(self.messages, k, scale, out)


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
