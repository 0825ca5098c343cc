"""Notice by signals: taken inside the block, on the main thread, and said to the launching process."""

import os
import signal
import threading
import time

import pytest

from mpimasha.mpi import environment
from mpimasha.mpi.communicator import Communicator
from mpimasha.mpi.postbox import PostBox
from mpimasha.solver import notice as notices
from mpimasha.solver.notice import SIGNALS, Notice


@pytest.fixture
def box(tmp_path, monkeypatch):
    monkeypatch.setenv(environment.POSTBOX, str(tmp_path))
    return PostBox(tmp_path)


def handlers():
    return [signal.getsignal(number) for number in SIGNALS]


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_is_notice_and_so_are_more_of_them(number):
    with Notice().by_signals() as notice:
        assert not notice.asked
        for _ in range(3):
            os.kill(os.getpid(), number)
            assert notice.asked


def test_the_handlers_before_are_back_afterwards_whatever_happens():
    heard, before = [], handlers()
    signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        with Notice().by_signals() as notice:
            os.kill(os.getpid(), signal.SIGUSR1)
        with pytest.raises(KeyError), Notice().by_signals():
            raise KeyError
        assert heard == [] and notice.asked
        os.kill(os.getpid(), signal.SIGUSR1)
        assert heard == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before[0])
    assert handlers() == before


def test_in_another_thread_nothing_is_installed_and_nothing_raised(box):
    found, before = [], handlers()

    def run():
        with Notice().by_signals() as notice:
            found.append((notice.asked, handlers()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [(False, before)]


def test_the_launching_process_knows_while_notice_is_taken_and_no_longer(box):
    assert not box.takes_notice()
    with Notice().by_signals():
        assert box.takes_notice()
    assert not box.takes_notice() and not list(box.folder.iterdir())
    with pytest.raises(KeyError), Notice().by_signals():
        raise KeyError
    assert not box.takes_notice()


def test_a_box_that_is_gone_is_done_without(box):
    os.rename(box.folder, f"{box.folder}.away")
    with Notice().by_signals() as notice:
        os.kill(os.getpid(), signal.SIGUSR1)
    assert notice.asked


def test_a_box_that_goes_while_notice_is_taken_is_no_fault(box):
    before = handlers()
    with Notice().by_signals():
        os.rename(box.folder, f"{box.folder}.away")
    assert handlers() == before


@pytest.mark.ranks(2)
def test_word_is_left_when_all_ranks_can_hear_and_not_before(comm, tmp_path, monkeypatch):
    folder = comm.bcast(tmp_path)
    monkeypatch.setenv(environment.POSTBOX, str(folder))
    if comm.rank == comm.size - 1:
        time.sleep(0.3)
        assert not PostBox(folder).takes_notice()
    with Notice().by_signals(Communicator(comm)):
        comm.Barrier()
        assert PostBox(folder).takes_notice()
        comm.Barrier()
    comm.Barrier()
    assert not PostBox(folder).takes_notice()


def test_a_signal_that_comes_early_is_remembered(monkeypatch):
    before = signal.getsignal(signal.SIGUSR1)
    monkeypatch.setattr(notices, "_early", [])
    try:
        notices.remember()
        assert not Notice().asked
        os.kill(os.getpid(), signal.SIGUSR1)
        assert Notice().asked
    finally:
        signal.signal(signal.SIGUSR1, before)
