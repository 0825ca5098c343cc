"""A channel: how the mean of one vector a worker is obtained."""

from time import perf_counter

import numpy as np

from mpimasha.linear import Linear
from mpimasha.randomness import Stream
from mpimasha.server import Server
from mpimasha.transports import choose


class Channel:
    """Compressor, memory, server and transport of one exchange of the method.

    Parameters
    ----------
    compressor : Compressor
        Not bound; the channel binds its own copy.
    memory : Memory
    purpose : {"uplink", "refresh"}
        Which random stream the compressor draws from.
    down : (Compressor, Memory), optional
        Of the server; without them the mean goes down as it is.
    fleet : Fleet
    comm : Communicator
    ledger : Ledger
    wire : numpy.dtype
    seed : int
    transport : str
    precise : bool
        Of `Transport`.
    senders : int, optional
        How many workers send in one exchange; default all.

    Attributes
    ----------
    compressor, memory : Compressor, Memory
        Bound to the workers of this rank.
    server : Server or None
    """

    def __init__(self, compressor, memory, purpose, *, down=None, fleet, comm, ledger, wire, seed, transport="auto",
                 precise=False, senders=None):
        senders = senders or fleet.workers
        self.compressor = compressor.bind(fleet.n, senders, wire, Stream(seed, purpose))
        self.memory = memory.bind(self.compressor, len(fleet.owned), fleet.dtype, senders / fleet.workers)
        self.server = Server(*down, n=fleet.n, wire=wire, stream=Stream(seed, "downlink"), dtype=fleet.dtype) \
            if down is not None else None
        kind = choose(transport, self.compressor, senders < fleet.workers)
        self.transport = kind(self.compressor, self.server, comm, ledger, fleet.dtype, precise, fleet.workers)
        self._ledger = ledger
        self._mean = np.zeros(fleet.n, fleet.dtype)
        self._result = Linear.of(self._mean)

    def mean(self, x, k, draw=None, *, sent=None, added=None, lost=None):
        """1/M sum_m (what the message of worker m stands for), as the server sends it, on every rank.

        Parameters
        ----------
        x : Linear
            One vector a worker.
        k : int
            Number of the exchange: it keys the random draws and must not repeat.
        draw : Draw, optional
            Who takes part; the mean is over them.
        sent : Linear, optional
            A `PerWorker` state that keeps what crossed the wire for each worker, as the
            reference point of later differences.
        added : Linear, optional
            A `PerWorker` state to which that is added instead.
        lost : Linear, optional
            A `PerWorker` state that keeps what did not cross: x less what did.

        Returns
        -------
        Linear
            The channel's own buffer, valid until its next exchange.
        """
        self.transport.convene(draw and draw.participants)
        for (i, worker), message in zip(self.transport.senders, self.transport.outbox):
            row = x.row(i)
            started = perf_counter()
            self.memory.encode(i, row, message, worker, k)
            for state, sign in ((sent, 1.0), (added, 1.0), (lost, -1.0)):
                if state is not None:
                    known = state.row(i).terms[0][1]
                    if state is lost:
                        row.write(known)
                    elif state is sent:
                        known[:] = 0
                    self.compressor.decode(message, worker, k, sign * self.memory.scale, known)
            self._ledger.spend("compress", started)
        self.transport.mean(k, self.memory, self._mean)
        return self._result

    def begin(self, x, first):
        """Let the memories of workers and server start from `x`, at the price of an exchange over the channel `first`.

        The mean is returned as `first` has it; with `first` precise, H is the very mean of the h_m.
        """
        mean = first.mean(x, 0, sent=self.memory.known)
        self.memory.begin(mean)
        if self.server is not None:
            self.server.begin(mean)
        return mean
