"""Jobs that tests start: run to their end or ended, with nothing left behind."""

import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from mpimasha.mpi import launch, leftovers

LIMIT = 60  # seconds for one launch, unless something else is said


@dataclass(frozen=True)
class Ended:
    """How a job ended, and when (``time.time()``)."""

    returncode: int
    stdout: str
    stderr: str
    time: float
    timed_out: bool


def start_job(command, limit=LIMIT, env=None, cwd=None):
    """Run `command` to its end, or end it after `limit` seconds; nothing it started outlives it."""
    env = launch.job_environment() | (env or {})
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                   process_group=0)
        try:
            process.wait(limit)
            timed_out = False
        except BaseException as error:
            end(process)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            timed_out = True
        ended = time.time()
        return Ended(process.returncode, _text(out), _text(err), ended, timed_out)


def _text(file):
    file.seek(0)
    return file.read().decode(errors="replace")


def end(process):
    process.terminate()  # launchers pass it on to the ranks, which are in process groups of their own
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def remove_leftovers(before, pause=1.0):
    """Remove files of MPI that are not among `before` and that no process has, now and after `pause` seconds."""
    candidates = leftovers.of_ended_jobs(youngest=0.0).keys() - before
    if candidates:  # one may be of a job that starts, and is about to map it
        time.sleep(pause)
    for path in candidates & leftovers.of_ended_jobs(youngest=0.0).keys():
        Path(path).unlink(missing_ok=True)
