"""Ranks that others wait for in vain are named with what they do, and the job ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import SOON, wait_until_gone

from mpimasha.mpi import launch

pytestmark = pytest.mark.launches

VICTIM = str(Path(__file__).parent / "victim.py")
AWAY = (r"mpimasha: rank 2 of 3 is missing: the others have waited up to 1 s for it in Allreduce, their collective "
        r"51; rank 2 on \S+ works outside of MPI \(its stack is above\); a rank that really works that long needs a "
        r"larger --stall-after\n")


def start(run_job, how):
    return run_job([sys.executable, VICTIM, "-n", "3", how])


def stack_under(header, said):
    """The lines under the first line that matches `header`."""
    return re.search(rf"^mpimasha: {header}:\n((?:  .*\n)+)", said, re.MULTILINE)[1]


def test_a_rank_that_works_elsewhere_is_named_and_every_stack_is_shown(run_job):
    job = start(run_job, "stall-away")
    assert job.returncode == 1
    assert job.time - float(re.search(r"failing at ([\d.]+)", job.stderr)[1]) < SOON
    assert len(re.findall(AWAY, job.stderr)) == 1
    waiting = stack_under(r"ranks 0 and 1 of 3 on \S+ wait in Allreduce, their collective 51", job.stderr)
    assert re.search(r'communicator\.py", line \d+, in sum_arrays\n.*\n$', waiting)
    assert "in die\n    time.sleep(60)\n" in stack_under(r"rank 2 of 3 on \S+ works outside of MPI", job.stderr)


@pytest.mark.slow
def test_a_rank_in_another_collective_is_a_mistake_in_the_program(run_job):
    job = start(run_job, "stall-elsewhere")
    assert job.returncode == 1
    assert "mpimasha: all 3 ranks have waited 1 s, but not for the same: " in job.stderr
    assert "ranks 0 and 1 in Allreduce, their collective 51" in job.stderr
    assert "rank 2 in Bcast, its collective 51" in job.stderr


def test_a_rank_that_comes_in_time_is_left_alone(run_job):
    job = start(run_job, "stall-late")
    assert (job.returncode, job.stdout) == (0, "the last line\n")
    assert re.fullmatch(r"failing at [\d.]+\n", job.stderr)


@pytest.mark.slow
def test_where_mpi_takes_calls_from_one_thread_only_a_rank_that_waits_ends_the_job_by_itself(run_job):
    job = start(run_job, "stall-one-thread")
    assert job.returncode == 1
    assert re.search(r"mpimasha: rank (0|1) of 3 has waited 1 s in Allreduce, its collective 51, and this MPI library "
                     r"gives it no way to ask who is missing", job.stderr)
    assert "in sum_arrays" in stack_under(r"rank [01] of 3 on \S+ waits in Allreduce, its collective 51", job.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["spawn", "plain launcher"])
def test_a_stopped_rank_of_a_run_is_named_and_ended_but_a_suspended_job_goes_on(tmp_path, mpiexec, start):
    program, ranks = [sys.executable, "-m", "mpimasha", "run"], ["-n", "3"]
    command = [*program, *ranks] if start == "spawn" else [mpiexec, *ranks, *program]
    command += ["bilinear", "--method", "og", "--out", "run", "--stall-after", "1.5",
                "--set", "stop.rounds=1000000000", "--set", "stop.relative_error=0"]
    env = launch.job_environment() | {"NUMBA_DISABLE_JIT": "1"}  # nobody waits for a compiler
    with subprocess.Popen(command, env=env, cwd=tmp_path, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as job:
        rows = wait_for_rows(2, tmp_path / "run", job)
        pids = [rank["pid"] for rank in json.loads((tmp_path / "run" / "manifest.json").read_text())["ranks"]]
        if start == "spawn":
            send(signal.SIGSTOP, pids)
            time.sleep(2)
            send(signal.SIGCONT, pids)
            wait_for_rows(rows + 3, tmp_path / "run", job)
        send(signal.SIGSTOP, pids[1:2])
        _, said = job.communicate(timeout=30)
    assert job.returncode == 1 if start == "spawn" else job.returncode != 0
    assert re.search(r"mpimasha: rank 1 of 3 is missing: the others have waited up to 1.5 s for it.* in \w+, "
                     r".* collective \d+; rank 1 on \S+ does not answer; ", said)  # a Bcast lets its root go on
    assert "communicator.py" in stack_under(r"ranks? 0 .*of 3 on \S+ waits? in \w+, \w+ collective \d+", said)
    wait_until_gone(pids)


def wait_for_rows(number, folder, job):
    """Wait until `folder` has that many rows; return how many there are."""
    rows, patience = folder / "rows.jsonl", time.monotonic() + 30
    while not (rows.exists() and len(rows.read_text().splitlines()) >= number):
        assert time.monotonic() < patience and job.poll() is None
        time.sleep(0.05)
    return len(rows.read_text().splitlines())


def send(number, pids):
    for pid in pids:
        os.kill(pid, number)
