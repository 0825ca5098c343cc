"""The one file of the numerical path that calls MPI, and counts what it hands over.

A `Communicator` wraps an mpi4py communicator, or nothing at all: with one rank no MPI
library is needed.  Every buffer given to a collective is counted where it is given
(`sent`), so the ledger's wire bytes are what a profiling shim between program and MPI
would see.  Only buffers travel, nothing is pickled in a round.
"""

import pickle
import sys
from contextlib import contextmanager
from itertools import accumulate

import numpy as np

from mpimasha.errors import UserError


class Communicator:
    """Collectives on buffers over `comm` (mpi4py), or on one process when it is None."""

    def __init__(self, comm=None):
        self.comm = comm if comm is not None and comm.Get_size() > 1 else None
        self.rank = self.comm.Get_rank() if self.comm else 0
        self.size = self.comm.Get_size() if self.comm else 1
        self.largest = _largest_buffer() if self.comm else sys.maxsize  # bytes that one collective can take
        self.sent = {"rounds": 0, "observers": 0, "set-up": 0}  # bytes of the send buffers of this rank
        self._account = "rounds"
        self._scratch = {}

    @contextmanager
    def billed_to(self, account):
        """Count what is sent inside this block in `account` ("rounds" or "observers")."""
        before, self._account = self._account, account
        try:
            yield
        finally:
            self._account = before

    def scratch(self, role, size):
        """`size` bytes for use inside one exchange; exchanges take turns, so all of a role share them."""
        if role not in self._scratch or self._scratch[role].size < size:
            self._scratch[role] = np.zeros(size, np.uint8)
        return self._scratch[role][:size]

    def check_size(self, size, what):
        """Refuse a buffer of `size` bytes that the MPI library cannot count; `what` is its subject in the sentence."""
        if size > self.largest:
            raise UserError(f"{what} {size / 1e9:.3g} GB on rank {self.rank}, but this MPI library takes at most "
                            f"{self.largest} bytes at once: use MPICH 4.0 or later, or a smaller problem")

    # -- collectives of a round ------------------------------------------------------

    def allgather_bytes(self, send, receive, counts, displacements):
        """One packed collective: rank r's `counts[r]` bytes arrive at `displacements[r]`."""
        if self.comm is None:
            receive[displacements[0]:displacements[0] + counts[0]] = send
            return
        from mpi4py import MPI
        self.sent[self._account] += send.nbytes
        self.comm.Allgatherv([send, MPI.BYTE], [receive, counts, displacements, MPI.BYTE])

    def plan_slices(self, rows, owners, bounds, dtype):
        """Plan the exchange of column slices that `exchange_slices` executes.

        Rank s gives rank r columns bounds[r]:bounds[r+1] of its rows; `owners[s]` is how
        many rows rank s has.  Derived datatypes spare a packing pass of our own.
        """
        if self.comm is None:
            return None
        from mpi4py import MPI
        base, v = MPI.Datatype.fromcode(np.dtype(dtype).char), np.dtype(dtype).itemsize
        widths = np.diff(bounds)
        types = [base.Create_vector(rows, int(width), int(bounds[-1])).Commit() for width in widths]
        mine = int(widths[self.rank])
        first = np.concatenate([[0], np.cumsum(owners)[:-1]])
        send = ([1] * self.size, [int(b) * v for b in bounds[:-1]], types)
        receive = ([int(o) * mine for o in owners], [int(f) * mine * v for f in first], [base] * self.size)
        return _Slices(send, receive)

    def exchange_slices(self, plan, send, receive):
        """Alltoallw of the planned slices: `receive` (M, width) gets every worker's row of our slice."""
        if plan is None:
            receive[:] = send
            return
        self.sent[self._account] += send.nbytes
        self.comm.Alltoallw([send, *plan.send], [receive, *plan.receive])

    def gather_bytes(self, send, receive, counts, displacements):
        """Rank r's `counts[r]` bytes arrive at `displacements[r]` of rank 0's `receive`, the others' is None."""
        if self.comm is None:
            receive[displacements[0]:displacements[0] + counts[0]] = send
            return
        from mpi4py import MPI
        self.sent[self._account] += send.nbytes
        self.comm.Gatherv([send, MPI.BYTE], [receive, counts, displacements, MPI.BYTE] if self.rank == 0 else None,
                          root=0)

    def sum_arrays(self, array):
        """The sum over the ranks, in place, in an order of MPI's choice."""
        if self.comm is not None:
            from mpi4py import MPI
            self.sent[self._account] += array.nbytes
            self.comm.Allreduce(MPI.IN_PLACE, array)

    # -- decisions and set-up ----------------------------------------------------------

    def broadcast(self, array):
        """Rank 0's array, in place, on every rank."""
        if self.comm is not None:
            self.check_size(array.nbytes, "an array to broadcast has")
            self.sent[self._account] += array.nbytes if self.rank == 0 else 0
            self.comm.Bcast(array, root=0)
        return array

    def broadcast_object(self, value):
        """Rank 0's value on every rank, pickled; for set-up, observers and summaries, and billed to observers."""
        if self.comm is None:
            return value
        with self.billed_to("observers"):
            text = np.frombuffer(pickle.dumps(value) if self.rank == 0 else b"", np.uint8).copy()
            size = self.broadcast(np.array([text.size], np.int64))[0]
            text = self.broadcast(text if self.rank == 0 else np.empty(size, np.uint8))
        return value if self.rank == 0 else pickle.loads(text)

    def gather_objects(self, value):
        """[value of rank 0, value of rank 1, ...] on every rank; set-up and summaries only."""
        return [value] if self.comm is None else self.comm.allgather(value)

    def exchange(self, array, counts):
        """The pieces that all ranks have for this one, in the order of the ranks; set-up only.

        Parameters
        ----------
        array : (sum(counts),)
            The pieces for rank 0, rank 1, ..., one after the other.
        counts : sequence of int
            Their lengths.
        """
        if self.comm is None:
            return array
        from mpi4py import MPI
        counts = [int(c) for c in counts]
        arriving = self.comm.alltoall(counts)
        received = np.empty(sum(arriving), array.dtype)
        kind = MPI.Datatype.fromcode(array.dtype.char)
        self.sent["set-up"] += array.nbytes
        self.comm.Alltoallv([array, counts, _starts(counts), kind], [received, arriving, _starts(arriving), kind])
        return received

    def together(self, function):
        """Run `function` on every rank; a user's mistake on any of them is raised on all.

        Without this, the ranks that found no fault would wait for ever for the one that did.
        """
        result, sentence = None, None
        try:
            result = function()
        except UserError as error:
            sentence = str(error)
        except MemoryError as error:
            sentence = f"not enough memory for this problem on rank {self.rank}: {error}"
        sentences = [s for s in self.gather_objects(sentence) if s is not None]
        if sentences:
            raise UserError(sentences[0])
        return result

    def one_per_node_first(self, function):
        """Run `function` on one rank of each node, then on the others (cold caches)."""
        if self.comm is None:
            function()
            return
        from mpi4py import MPI
        node, fault = self.comm.Split_type(MPI.COMM_TYPE_SHARED), None
        for first in (True, False):
            if (node.Get_rank() == 0) == first:
                try:
                    function()
                except UserError as error:  # raised below, when nobody waits for us
                    fault = error
            node.Barrier()
        node.Free()
        self.together(lambda: _raise(fault))


class _Slices:
    """Counts, displacements and types of one planned exchange; the types are freed with it."""

    def __init__(self, send, receive):
        from mpi4py import MPI
        self.send, self.receive = send, receive
        self._finalized = MPI.Is_finalized  # nothing can be imported at the end of the interpreter

    def __del__(self):
        if not self._finalized():
            for datatype in self.send[2]:
                datatype.Free()


def _largest_buffer():
    """Bytes that MPI can count: below version 4 of the standard a count is a C int."""
    from mpi4py import MPI
    return 2**31 - 1 if min(MPI.VERSION, MPI.Get_version()[0]) < 4 else sys.maxsize


def _starts(counts):
    return [0, *accumulate(counts)][:-1]


def _raise(error):
    if error is not None:
        raise error


def block(rank, ranks, workers):
    """The contiguous block of workers that `rank` owns: sizes differ by at most one."""
    return range(rank * workers // ranks, (rank + 1) * workers // ranks)
