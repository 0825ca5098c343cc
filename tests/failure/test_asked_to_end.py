"""Signals to a real run of three ranks: it saves itself, leaves with code 8, and goes on to the same end."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from lanes import fast
from processes import below
from rundirs import content, ranks_of

from mpimasha.commands import cli
from mpimasha.kernels import _jit
from mpimasha.mpi import launch

pytestmark = pytest.mark.launches

EXPERIMENT = ["bilinear", "--workers", "4", "--method", "masha1", "--set", "problem.dim=4",
              "--set", "stop.relative_error=0", "--set", "observe.every=50"]
RUN = ["run", *EXPERIMENT, "--out", "run", "--set", "stop.rounds=1000000000"]
THREE = [sys.executable, "-m", "mpimasha", *RUN, "-n", "3"]
PATIENCE = 60.0  # for starting and ending


@contextmanager
def started(command, folder):
    env = launch.job_environment() | {"TMPDIR": str(folder)}  # where the ranks leave word
    if _jit.cache_folder():  # kernels need not be compiled again
        env["NUMBA_CACHE_DIR"] = _jit.cache_folder()
    with subprocess.Popen(command, env=env, cwd=folder, text=True, process_group=0, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as job:
        try:
            yield job
        finally:
            if job.poll() is None:
                job.terminate()
                time.sleep(0.5)
                job.kill()


def wait_for(job, condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def under_way(job, folder):
    rows = folder / "run" / "rows.jsonl"
    wait_for(job, lambda: rows.exists() and rows.read_text().count("\n") > 5)


def ended(job):
    """(exit code, standard output, standard error)."""
    out, err = job.communicate(timeout=PATIENCE)
    return job.returncode, out, err


@pytest.fixture
def goes_on(tmp_path, monkeypatch):
    """Assert that the run in `tmp_path` left a whole checkpoint, and ends like one that was never stopped."""
    monkeypatch.chdir(tmp_path)

    def check():
        summary = json.loads((tmp_path / "run" / "summary.json").read_text())
        k = summary["rounds"]
        assert summary["status"] == "stopped"
        assert (tmp_path / "run" / "checkpoints" / f"round-{k:012d}" / "complete.json").exists()
        limit = ["--set", f"stop.rounds={k + 60}", "-q"]
        assert cli.execute(cli.parse(["resume", "run", *limit]), None) == 0
        told = json.loads((tmp_path / "run" / "manifest.json").read_text())
        assert [again["round"] for again in told["resumed"]] == [k]
        assert cli.execute(cli.parse(["run", *EXPERIMENT, "--out", "whole", *limit]), None) == 0
        assert content(tmp_path / "run") == content(tmp_path / "whole")
    return check


@pytest.mark.parametrize("name", fast(["SIGTERM", "SIGHUP", "SIGUSR1"], "SIGTERM"))
def test_a_run_that_is_asked_to_end_saves_itself_first(tmp_path, goes_on, name):
    with started(THREE, tmp_path) as job:
        under_way(job, tmp_path)
        job.send_signal(getattr(signal, name))
        code, out, err = ended(job)
    assert code == 8 and "go on with: mpimasha resume run" in out
    assert "Traceback" not in err
    goes_on()


@pytest.mark.slow
def test_a_run_that_is_asked_before_its_ranks_can_hear_it_hears_of_it_later(tmp_path, goes_on):
    with started(THREE, tmp_path) as job:
        wait_for(job, lambda: list(tmp_path.glob("mpimasha-*/pid.*")))
        job.send_signal(signal.SIGUSR1)
        code, _, err = ended(job)
    assert code == 8, err
    goes_on()


@pytest.mark.slow
def test_asked_twice_it_ends_soon_saved_or_not(tmp_path):
    with started(THREE, tmp_path) as job:
        under_way(job, tmp_path)
        asked = time.monotonic()
        for _ in range(2):
            job.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        code, _, err = ended(job)
        assert time.monotonic() - asked < 20
    assert code in (8, 143)
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_signal_to_one_rank_of_a_plain_launcher_stops_and_saves_all(mpiexec, tmp_path, goes_on):
    with started([mpiexec, "-n", "3", sys.executable, "-m", "mpimasha", *RUN], tmp_path) as job:
        under_way(job, tmp_path)
        os.kill(ranks_of(tmp_path / "run")[1], signal.SIGUSR1)
        code, out, _ = ended(job)
    assert code == 8 and "go on with" in out
    goes_on()


@pytest.mark.slow
def test_a_rank_of_a_plain_launcher_that_is_still_starting_remembers_the_signal(mpiexec, tmp_path, goes_on):
    def ready():
        return [pid for pid in below(job.pid) if handles(pid, signal.SIGUSR1)]

    with started([mpiexec, "-n", "3", sys.executable, "-m", "mpimasha", *RUN], tmp_path) as job:
        wait_for(job, ready)
        os.kill(ready()[0], signal.SIGUSR1)
        code, _, err = ended(job)
    assert code == 8, err
    goes_on()


def handles(pid, number):
    """Whether the Python process `pid` has a handler for signal `number`."""
    try:
        status, name = (Path(f"/proc/{pid}/{entry}").read_text() for entry in ("status", "cmdline"))
    except OSError:
        return False
    return "mpimasha\0run" in name and sys.executable in name.split("\0")[0] \
        and int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16) >> number - 1 & 1
