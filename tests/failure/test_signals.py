"""Signals to the process that launched a job end the whole job."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from lanes import fast
from processes import SOON, below, wait_until_gone

from mpimasha.mpi import launch

pytestmark = pytest.mark.launches

VICTIM = str(Path(__file__).parent / "victim.py")


def mind_ctrl_c():
    """A shell that runs the tests in the background has told them to ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def working(command, tmp_path):
    """A job in the middle of ten seconds of work."""
    env = launch.job_environment() | {"TMPDIR": str(tmp_path)}  # a killed process leaves its temporary files
    with subprocess.Popen(command, env=env, text=True, process_group=0, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=mind_ctrl_c) as process:
        assert process.stdout.readline() == "running\n"  # passed on while the job runs
        yield process
        if process.poll() is None:
            process.terminate()


@pytest.fixture
def job(request, tmp_path):
    """A job of three ranks; the parameter is what to start it with."""
    with working([*getattr(request, "param", []), sys.executable, VICTIM, "-n", "3", "sleep"], tmp_path) as process:
        yield process


@pytest.fixture
def plain_job(mpiexec, tmp_path):
    """The same, started by the launcher of the loaded MPI alone."""
    with working([mpiexec, "-n", "3", sys.executable, VICTIM, "sleep"], tmp_path) as process:
        yield process


@pytest.mark.parametrize("name, code", fast([("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)], 0))
def test_a_signal_that_asks_to_end_ends_every_rank(job, name, code):
    pids = below(job.pid)
    assert len(pids) >= 4  # the launcher and three ranks
    os.kill(job.pid, getattr(signal, name))
    _, errors = job.communicate(timeout=SOON)
    assert job.returncode == code
    assert "Traceback" not in errors
    wait_until_gone(pids)


@pytest.mark.parametrize("name", fast(["SIGINT", "SIGTERM"], "SIGTERM"))
def test_a_signal_to_a_plain_launcher_ends_every_rank(plain_job, name):
    pids = below(plain_job.pid)
    assert len(pids) >= 3
    os.kill(plain_job.pid, getattr(signal, name))
    plain_job.communicate(timeout=SOON)
    assert plain_job.returncode != 0
    wait_until_gone(pids)


@pytest.mark.parametrize("job", [["nohup"]], indirect=True)
def test_a_job_under_nohup_does_not_mind_a_hangup(job):
    os.kill(job.pid, signal.SIGHUP)
    time.sleep(0.5)
    assert job.poll() is None
    assert job.stdout.readline() == "running\n"


def test_a_reader_that_leaves_ends_the_job_without_a_traceback(job):
    pids = below(job.pid)
    job.stdout.close()
    errors = job.stderr.read()
    assert job.wait(SOON) == 141
    assert "Traceback" not in errors
    wait_until_gone(pids)


def test_a_reader_that_leaves_a_plain_launcher_ends_the_job(plain_job):
    pids = below(plain_job.pid)
    plain_job.stdout.close()
    plain_job.stderr.read()
    assert plain_job.wait(SOON) != 0
    wait_until_gone(pids)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_no_rank_outlives_a_launching_process_that_was_killed(job):
    pids = below(job.pid)
    job.kill()
    job.wait(SOON)
    wait_until_gone(pids)
