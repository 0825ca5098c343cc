"""Buffers that an MPI library cannot count are refused in a sentence, before they are allocated."""

import mmap
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import mpimasha as mm
from mpimasha.channels.transports import TRANSPORTS
from mpimasha.mpi.communicator import Communicator

INT = 2**31 - 1


class Two:
    """Stands for a communicator of two ranks, of which this is the second."""

    def Get_size(self):
        return 2

    def Get_rank(self):
        return 1


@pytest.mark.parametrize("header, library, largest", [(4, (4, 1), sys.maxsize), (4, (3, 1), INT), (3, (5, 0), INT)])
def test_counts_beyond_an_int_need_version_4_of_library_and_bindings(comm, monkeypatch, header, library, largest):
    from mpi4py import MPI

    monkeypatch.setattr(MPI, "VERSION", header)
    monkeypatch.setattr(MPI, "Get_version", lambda: library)
    assert Communicator(Two()).largest == largest


def test_the_library_takes_what_we_think_it_takes(comm):
    """A broadcast to oneself touches no byte of its two gigabytes."""
    from mpi4py import MPI

    with mmap.mmap(-1, INT + 1) as memory:
        if Communicator(Two()).largest == INT:
            with pytest.raises(MPI.Exception):
                MPI.COMM_SELF.Bcast([memory, INT + 1, MPI.BYTE])
        else:
            MPI.COMM_SELF.Bcast([memory, INT + 1, MPI.BYTE])


def test_one_process_counts_as_far_as_it_likes():
    assert Communicator().largest == sys.maxsize


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_buffer_too_large_is_refused_before_it_is_allocated(comm, transport):
    """Eight terabytes: to allocate them would be a MemoryError."""
    n, wire = 2**40, np.dtype("float64")
    compressor = SimpleNamespace(n=n, workers=4, wire=wire, fields=lambda: {"values": (wire, n)})
    two = Communicator(Two())
    two.largest = INT
    with pytest.raises(mm.UserError, match=r"on rank 1, but this MPI library takes at most 2147483647 bytes"):
        TRANSPORTS[transport](compressor, None, two, None, wire)


def test_a_vector_too_large_to_broadcast_is_refused(comm):
    two = Communicator(Two())
    two.largest = 100
    with pytest.raises(mm.UserError, match="an array to broadcast has"):
        two.broadcast(np.zeros(13))


@pytest.mark.slow
@pytest.mark.ranks(3)
def test_all_ranks_refuse_what_one_cannot_count(comm):
    """The last rank owns two workers, the others one: only its buffer of dense vectors is too large."""
    problem = mm.Bilinear(dim=50, workers=comm.size + 1)
    for method, largest in ((mm.Optimistic(), 1500), (mm.Masha1(mm.RandK(90)), 2500)):
        counted = Communicator(comm)
        counted.largest = largest
        try:
            mm.solve(problem, method, comm=counted, stop=mm.Stop(rounds=2))
            said = None
        except mm.UserError as error:
            said = str(error)
        said = comm.allgather(said)
        assert len(set(said)) == 1 and f"at most {largest} bytes" in str(said[0]), (method.name, said)
