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

    Attributes
    ----------
    compressor, memory : Compressor, Memory
        Bound to the workers of this rank.
    server : Server or None
    """

    def __init__(self, compressor, memory, purpose, *, down=None, fleet, comm, ledger, wire, seed, transport="auto",
                 precise=False):
        self.compressor = compressor.bind(fleet.n, fleet.workers, wire, Stream(seed, purpose))
        self.memory = memory.bind(self.compressor, fleet.owned, fleet.dtype)
        self.server = Server(*down, n=fleet.n, wire=wire, stream=Stream(seed, "downlink"), dtype=fleet.dtype) \
            if down is not None else None
        self.transport = choose(transport, self.compressor)(self.compressor, self.server, comm, ledger, fleet.dtype,
                                                            precise)
        self._ledger = ledger
        self._mean = np.zeros(fleet.n, fleet.dtype)
        self._result = Linear.of(self._mean)

    def mean(self, x, k, sent=None, added=None):
        """1/M sum_m (what the message of worker m stands for), as the server sends it, on every rank.

        Parameters
        ----------
        x : Linear
            One vector a worker.
        k : int
            Number of the exchange: it keys the random draws and must not repeat.
        sent : Linear, optional
            A `PerWorker` state that keeps what crossed the wire for each worker, as the
            reference point of later differences.
        added : Linear, optional
            A `PerWorker` state to which that is added instead.

        Returns
        -------
        Linear
            The channel's own buffer, valid until its next exchange.
        """
        kept = sent if sent is not None else added
        for i, message in enumerate(self.transport.outbox):
            row = x.row(i)
            started = perf_counter()
            self.memory.encode(i, row, message, k)
            if kept is not None:
                known = kept.row(i).terms[0][1]
                if sent is not None:
                    known[:] = 0
                self.compressor.decode(message, self.memory.owned[i], k, self.memory.scale, known)
            self._ledger.spend("compress", started)
        self.transport.mean(k, self.memory, self._mean)
        return self._result
