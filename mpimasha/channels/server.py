"""The server's own compressor: what happens to a mean before it is sent down."""

from mpimasha.compressors.base import PARTITION, message
from mpimasha.errors import UserError
from mpimasha.linear import Linear


class Server:
    """Q_serv or C_serv with its memory, for the mean over the workers.

    The server may be one rank (transport ``star``) or replicated: every rank draws the
    same random numbers, so every rank can compress the same mean to the same message.

    Parameters
    ----------
    compressor : Compressor
        Bound to one "worker", the server.
    memory : Memory
        Bound to it.
    """

    def __init__(self, compressor, memory, *, n, wire, stream, dtype):
        check_server(compressor)
        self.compressor = compressor.bind(n, 1, wire, stream)
        self.memory = memory.bind(self.compressor, 1, dtype)

    def fields(self):
        return self.compressor.fields()

    @property
    def bits(self):
        return self.compressor.bits

    def message(self):
        """A message of its own, where no transport provides one."""
        return message(self.fields())

    def begin(self, mean):
        """Let the memory start from `mean`, a Linear that all ranks have."""
        if self.memory.known is not None:
            mean.write(self.memory.known.row(0).terms[0][1])
        self.memory.begin(mean)

    def compress(self, mean, message, k):
        """Turn `mean`, an array of shape (n,), into the `message` of exchange k."""
        self.memory.encode(0, Linear.of(mean), message, 0, k)

    def restore(self, message, k, out):
        """out = what the message of exchange k stands for."""
        out[:] = 0
        self.compressor.decode(message, 0, k, self.memory.scale, out)
        self.memory.recover(out)


def check_server(compressor):
    """Refuse a compressor that makes no sense at the one server."""
    if compressor.dependence == PARTITION:
        raise UserError(f"compressor.down = '{compressor}' shares the coordinates out among the workers, and there is "
                        f"one server: use another compressor")
