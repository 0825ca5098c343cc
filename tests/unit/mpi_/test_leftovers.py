"""What MPI jobs that were killed have left in shared memory."""

import mmap
import os

import pytest
from jobs import remove_leftovers

from mpimasha.mpi import leftovers


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """``shared(*names)``: old files of these names, in what stands for /dev/shm."""
    monkeypatch.setattr(leftovers, "SHARED", tmp_path)

    def made(*names):
        for name in names:
            (tmp_path / name).write_bytes(bytes(4096))
            os.utime(tmp_path / name, (0, 0))
        return [str(tmp_path / name) for name in names]
    return made


def test_files_of_mpi_that_nobody_has_open_are_left_over(shared, tmp_path):
    first, second, _, opened, mapped = shared("mpich_shm_1", "vader_segment.host", "of another program", "mpich_shm_2",
                                              "mpich_shm_3")
    (tmp_path / "mpich_shm_young").touch()
    with open(mapped, "r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    with memory, open(opened):
        assert leftovers.of_ended_jobs() == {first: 4096, second: 4096}
    assert leftovers.of_ended_jobs().keys() == {first, second, opened, mapped}
    assert len(leftovers.present()) == 5


def test_files_of_other_users_are_not_ours(shared, monkeypatch):
    shared("mpich_shm_1")
    monkeypatch.setattr(os, "getuid", lambda: 2**30)
    assert leftovers.of_ended_jobs() == {}


def test_a_machine_without_shared_memory_has_no_leftovers(tmp_path, monkeypatch):
    monkeypatch.setattr(leftovers, "SHARED", tmp_path / "missing")
    assert leftovers.of_ended_jobs() == {} and leftovers.present() == set()


def test_the_tests_remove_what_came_during_their_session_alone(shared, tmp_path):
    shared("mpich_shm_before")
    before = leftovers.present()
    _, opened = shared("mpich_shm_after", "mpich_shm_open")
    with open(opened):
        remove_leftovers(before, pause=0)
    assert sorted(os.listdir(tmp_path)) == ["mpich_shm_before", "mpich_shm_open"]
