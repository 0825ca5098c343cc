"""The watch over collectives changes nothing but that they are noted."""

import threading

import numpy as np
import pytest

from mpimasha.mpi.communicator import Communicator
from mpimasha.mpi.watch import watched


def watchers():
    return [thread for thread in threading.enumerate() if thread.name == "watch"]


@pytest.mark.ranks(3)
def test_collectives_work_and_are_numbered_alike_on_all_ranks(comm):
    with watched(comm, 60) as noted:
        watch, = watchers()
        world = Communicator(noted)
        assert (world.rank, world.size) == (comm.rank, comm.size) and watch.calls == 0
        total = np.ones(5)
        world.sum_arrays(total)
        assert total[0] == comm.size
        world.one_per_node_first(lambda: None)  # Split_type, two Barriers of the node, Free, and an allgather
        assert comm.allgather(watch.calls) == [6] * comm.size
        assert watch.inside is None
    assert not watchers()


@pytest.mark.ranks(3)
def test_a_collective_that_fails_is_over_too(comm):
    with watched(comm, 60) as noted:
        with pytest.raises(TypeError):
            noted.Allreduce()
        assert watchers()[0].inside is None


@pytest.mark.ranks(3)
def test_one_rank_under_a_debugger_lifts_the_limit_for_all(comm):
    with watched(comm, 0 if comm.rank == 1 else 60) as noted:
        assert noted is comm and not watchers()


@pytest.mark.ranks(3)
def test_a_mistake_of_the_users_ends_the_watch_without_a_collective(comm):
    with pytest.raises(KeyError), watched(comm, 60):
        raise KeyError
    assert not watchers()


def test_one_process_has_nobody_to_wait_for():
    with watched(None, 60) as noted:
        assert noted is None and not watchers()
