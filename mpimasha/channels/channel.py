"""A channel: how the mean of one vector a worker is obtained."""

from time import perf_counter

import numpy as np

from mpimasha.channels.server import Server
from mpimasha.channels.transports import choose
from mpimasha.linear import Linear
from mpimasha.randomness import Stream


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
        self.server = None
        if down is not None:
            draws = Stream(seed, "downlink")
            draws = draws if purpose == "uplink" else draws.branch(1)  # exchange k of both must not share draws
            self.server = Server(*down, n=fleet.n, wire=wire, stream=draws, dtype=fleet.dtype)
        kind = choose(transport, self.compressor, senders < fleet.workers)
        self.transport = kind(self.compressor, self.server, comm, ledger, fleet.dtype, precise, fleet.workers)
        self._ledger = ledger
        self._parts = fleet.parts
        whole = np.zeros(fleet.parts.size, fleet.dtype)
        self._mean, self._local = whole[:fleet.n], [whole[part] for part in fleet.parts.local]
        self._result = Linear.of(whole)

    def mean(self, x, k, draw=None, *, sent=None, added=None, lost=None):
        """1/M sum_m (what the message of worker m stands for), as the server sends it, on every rank.

        A worker's local part comes back as it is, and is neither sent nor billed.

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
        if draw and draw.participants is not None:
            self._result.terms[0][1][self._parts.n:] = 0
        for (i, worker), message in zip(self.transport.senders, self.transport.outbox):
            row = x.row(i)
            started = perf_counter()
            if self._parts:
                self._keep(i, x.local(i, self._parts), sent, added, lost)
                row = row.part(self._parts.shared)
            self.memory.encode(i, row, message, worker, k)
            for state, sign in ((lost, -1.0), (sent, 1.0), (added, 1.0)):  # x may contain `added`
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

    def _keep(self, i, x, sent, added, lost):
        """The local part of the exchange: what it stands for is x itself, whatever the compressor and its memory."""
        x.write(self._local[i])
        for state, formula in ((sent, lambda h: x), (added, lambda h: h + x), (lost, lambda h: 0.0 * x)):
            known = state and state.local(i, self._parts)
            if known:
                formula(known).write(known.terms[0][1])

    def begin(self, x, first):
        """Let the memories of workers and server start from `x`, at the price of an exchange over the channel `first`.

        The mean is returned as `first` has it; with `first` precise, H is the very mean of the h_m.
        """
        mean = first.mean(x, 0, sent=self.memory.known)
        self.memory.begin(mean)
        if self.server is not None:
            self.server.begin(mean)
        return mean
