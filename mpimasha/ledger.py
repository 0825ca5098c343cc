"""The ledger: what a run has sent, computed and waited for.

Two accounts that must never be mixed up.  *Model bits* are the paper's: the star
topology, per worker (the mean over workers), uplink and downlink, as many bits as the
messages need whatever the transport.  *Wire bytes* are real: the send buffers this rank
handed to MPI, counted in `mpimasha.mpi.communicator`.
"""

from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter


@dataclass
class Ledger:
    """Running totals of one run on one rank.

    Attributes
    ----------
    uplink_bits, downlink_bits : float
        Model bits per worker, initial exchange and refreshes included.
    exchanges : int
        Synchronisations: means taken over the workers.
    operator_calls : dict
        {worker of this rank: how often its whole operator F_m was evaluated, a batch of s in r counting s/r}.
    seconds : dict
        compute, compress, communicate on this rank; observers apart.
    """

    uplink_bits: float = 0.0
    downlink_bits: float = 0.0
    exchanges: int = 0
    operator_calls: dict = field(default_factory=dict)
    seconds: dict = field(default_factory=lambda: {"compute": 0.0, "compress": 0.0, "communicate": 0.0})
    billing: bool = True

    def exchange(self, up, down):
        """One mean over the workers: `up` bits a worker (mean), `down` bits to each."""
        if self.billing:
            self.exchanges += 1
            self.uplink_bits += up
            self.downlink_bits += down

    def operator(self, worker, part=1.0):
        """The operator of `worker` was evaluated, or a `part` of its components."""
        if self.billing:
            self.operator_calls[worker] = self.operator_calls.get(worker, 0.0) + part

    def spend(self, purpose, started):
        """Add the time since `started` to `purpose`; returns the time now."""
        now = perf_counter()
        if self.billing:
            self.seconds[purpose] += now - started
        return now

    @contextmanager
    def unbilled(self):
        """Inside this block observers work: nothing counts."""
        before, self.billing = self.billing, False
        try:
            yield
        finally:
            self.billing = before
