"""A disk that fills up: one sentence, on all ranks, and what was written before is whole."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import mpimasha as mm
from mpimasha import files
from mpimasha.mpi import launch
from mpimasha.solver import observers

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="prlimit and /dev/full are Linux's")


@pytest.mark.slow
@pytest.mark.launches
@needs_linux
def test_a_disk_that_fills_up_during_a_run_ends_it_with_one_sentence(tmp_path):
    import resource

    command = [sys.executable, "-m", "mpimasha", "run", "-n", "3", "bilinear", "--out", str(tmp_path / "run"), "-q",
               "--set", "stop.rounds=1000000000", "--set", "stop.relative_error=0", "--set", "observe.every=1"]
    with subprocess.Popen(command, env=launch.job_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as job:
        rows, patience = tmp_path / "run" / "rows.jsonl", time.monotonic() + 60
        while not (rows.exists() and rows.read_text().count("\n") > 5):
            assert time.monotonic() < patience and job.poll() is None
            time.sleep(0.05)
        rank0 = json.loads((tmp_path / "run" / "manifest.json").read_text())["ranks"][0]["pid"]
        resource.prlimit(rank0, resource.RLIMIT_FSIZE, (rows.stat().st_size + 10,) * 2)  # no file may become longer
        _, said = job.communicate(timeout=30)  # noticed when the next row is due
    assert job.returncode == 2
    assert re.fullmatch(rf"mpimasha: error: '{rows}' cannot be written \(.*\): make room there, .*\n", said)
    assert rows.read_text().endswith("\n")
    assert all(json.loads(line) for line in rows.read_text().splitlines())  # no torn row


class Full(observers.Observer):
    """Writes to a full disk when `moment` comes."""

    def __init__(self, moment):
        self.moment = moment

    def start(self, run):
        self._write("start")

    def observe(self, run, row):
        self._write("observe")

    def finish(self, run, result):
        self._write("finish")

    def _write(self, moment):
        if moment == self.moment:
            with files.writing("/dev/full"), open("/dev/full", "w") as file:
                file.write("a row")


@pytest.mark.slow
@needs_linux
@pytest.mark.ranks(3)
def test_what_rank_0_cannot_write_is_raised_on_all_ranks(comm):
    for moment in ("start", "observe", "finish"):
        watching, sentence = [Full(moment)] if comm.rank == 0 else [], None
        try:
            mm.solve(mm.Bilinear(dim=4, workers=3), mm.Optimistic(), comm=comm, observers=watching,
                     stop=mm.Stop(rounds=3))
        except mm.UserError as error:
            sentence = str(error)
        assert set(comm.allgather(sentence)) == {
            "'/dev/full' cannot be written (No space left on device): make room there, or give another folder with "
            "--out"}, moment


def test_a_row_that_the_disk_takes_half_of_is_taken_back(tmp_path):
    class Filling:
        """A file on a disk with room for `room` more bytes."""

        def __init__(self, file, room):
            self.file, self.room = file, room

        def write(self, data):
            written = self.file.write(data[:self.room])
            self.room -= written
            return written

        def __getattr__(self, name):
            return getattr(self.file, name)

    rows = observers.Rows(Path(tmp_path, "rows.jsonl"))
    rows.start(SimpleNamespace(rows=[]))
    rows._file = Filling(rows._file, room=25)
    rows.observe(None, {"round": 1})
    with pytest.raises(mm.UserError, match="No space left on device"):
        rows.observe(None, {"round": 2})
    rows._file.close()
    assert Path(tmp_path, "rows.jsonl").read_text() == '{"round": 1}\n'
