"""Every task is done once, by one rank; notice given to one rank reaches all."""

import time
from types import SimpleNamespace

import pytest

from mpimasha.experiment import farm
from mpimasha.mpi.communicator import Communicator

TASKS = [f"task {i}" for i in range(12)]


def silence(task, word, rank):
    pass


def test_one_process_does_all_in_order():
    done, told = [], []

    def work(task, notice):
        done.append(task)
        return len(done), False

    assert farm.work_off(TASKS, work, Communicator(), SimpleNamespace(asked=False), lambda *word: told.append(word))
    assert done == TASKS and told == [(task, i, 0) for i, task in enumerate(TASKS, 1)]


def test_one_process_stops_at_the_first_task_that_was_stopped():
    assert not farm.work_off(TASKS, lambda task, notice: ("", task == TASKS[1]), Communicator(),
                             SimpleNamespace(asked=False), silence)


@pytest.mark.ranks(3, slow=(2,))
@pytest.mark.parametrize("threads", [True, False])
def test_each_task_is_done_once_and_told_to_rank_0(comm, monkeypatch, threads):
    monkeypatch.setattr(farm, "takes_threads", lambda: threads)
    done, told = [], []

    def work(task, notice):
        assert not notice.asked
        time.sleep(0.03)
        done.append(task)
        return comm.Get_rank(), False

    assert farm.work_off(TASKS, work, Communicator(comm), SimpleNamespace(asked=False), lambda *word: told.append(word))
    shares = comm.allgather(done)
    assert sorted(task for share in shares for task in share) == sorted(TASKS)
    assert all(shares[not threads:])  # without threads rank 0 hands out and does nothing else
    if comm.Get_rank() == 0:
        assert {(task, word) for task, word, _ in told} == {
        (task, r) for r, share in enumerate(shares) for task in share}
        assert all(word == rank for _, word, rank in told) and len(told) == len(TASKS)
    else:
        assert not told


@pytest.mark.ranks(3)
@pytest.mark.parametrize("who", [0, 2])
@pytest.mark.parametrize("threads", [True, False])
def test_notice_given_to_one_rank_stops_the_work_of_all(comm, monkeypatch, who, threads):
    monkeypatch.setattr(farm, "takes_threads", lambda: threads)
    begun, started = [], time.monotonic()

    class Own:
        @property
        def asked(self):
            return comm.Get_rank() == who and time.monotonic() > started + 0.3

    def work(task, notice):
        begun.append(task)
        while not notice.asked:
            assert time.monotonic() < started + 20
            time.sleep(0.01)
        return "stopped", True

    assert not farm.work_off(TASKS, work, Communicator(comm), Own(), silence)
    begun = comm.allgather(begun)
    assert all(len(share) == 1 for share in begun[not threads:])


@pytest.mark.ranks(3)
def test_fewer_tasks_than_ranks_and_none_at_all(comm):
    for tasks in (TASKS[:1], []):
        assert farm.work_off(tasks, lambda task, notice: ("", False), Communicator(comm), SimpleNamespace(asked=False),
                             silence)
