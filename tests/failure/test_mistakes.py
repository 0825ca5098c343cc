"""A user's mistake is said once, wherever it is seen."""

import os
import sys
from pathlib import Path

import pytest
from lanes import fast

from mpimasha.errors import UserError
from mpimasha.mpi import launch, launcher


def ours(errors):
    """The lines that are not the launcher's comment on an exit code."""
    return [line for line in errors.splitlines() if line.startswith(("mpimasha:", "Traceback"))]


@pytest.mark.ranks(slow=(2, 3))
def test_a_mistake_that_all_ranks_see_is_said_by_one(comm, capsys):
    def run():
        raise UserError("no such method")

    assert launch.guard(run, comm) == (2 if comm.rank == 0 else 0)
    assert capsys.readouterr().err == ("mpimasha: error: no such method\n" if comm.rank == 0 else "")


@pytest.mark.launches
def test_a_mistake_on_the_command_line_is_said_before_anything_is_launched(run_cli):
    ended = run_cli(["run", "no-such-problem"], ranks=3)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("mpimasha: error: 'no-such-problem' is neither")
    assert ended.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.launches
def test_a_mistake_on_the_command_line_of_a_launched_job_is_said_once(run_job, mpiexec):
    ended = run_job([mpiexec, "-n", "3", sys.executable, "-m", "mpimasha", "run", "no-such-problem"])
    assert ended.returncode == 2
    (sentence,) = ours(ended.stderr)
    assert sentence.startswith("mpimasha: error: 'no-such-problem' is neither")


@pytest.mark.slow
@pytest.mark.launches
def test_a_launched_job_launches_no_other(run_job, mpiexec):
    ended = run_job([mpiexec, "-n", "2", sys.executable, "-m", "mpimasha", "run", "-n", "2", "bilinear"])
    assert ended.returncode == 2
    assert ours(ended.stderr) == ["mpimasha: error: -n 2 was asked of one of 2 ranks that a launcher started: "
                                  "leave -n out"]


@pytest.mark.launches
def test_a_mistake_that_one_rank_sees_is_raised_on_all(run_job, mpiexec, tmp_path):
    """An experiment file that is missing on one node: the third rank is given another name."""
    (tmp_path / "here.toml").write_text('[problem]\nname = "bilinear"\n')
    command = [sys.executable, "-m", "mpimasha", "run", "--out", "run"]
    ended = run_job([mpiexec, "-n", "2", *command, "here.toml", ":", "-n", "1", *command, "there.toml"])
    assert ended.returncode == 2
    (sentence,) = ours(ended.stderr)
    assert sentence.startswith("mpimasha: error: ") and "there.toml" in sentence
    assert not (tmp_path / "run").exists()


@pytest.mark.launches
@pytest.mark.parametrize("start", fast(["mpimasha", "plain launcher"], "mpimasha"))
def test_more_ranks_than_workers_are_refused(run_job, mpiexec, tmp_path, start):
    ended = run_started(start, run_job, mpiexec, "bilinear", "--workers", "2", "--out", "run")
    assert ended.returncode == 2
    assert ours(ended.stderr) == ["mpimasha: error: 3 ranks for workers = 2: use at most as many ranks as workers"]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.launches
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc is where nobody can make a folder, root included")
@pytest.mark.parametrize("start", ["mpimasha", "plain launcher"])
def test_a_folder_that_cannot_be_made_is_one_sentence(run_job, mpiexec, start):
    ended = run_started(start, run_job, mpiexec, "bilinear", "--out", "/proc/mpimasha-run")
    assert ended.returncode == 2
    (sentence,) = ours(ended.stderr)
    assert sentence.startswith("mpimasha: error: ") and "/proc/mpimasha-run" in sentence


@pytest.mark.launches
@pytest.mark.parametrize("start", ["mpimasha", "plain launcher"])
def test_the_launcher_of_another_mpi_is_refused(run_job, foreign, tmp_path, start):
    named = ["-n", "3", "--launcher", foreign] if start == "mpimasha" else []
    started = [] if named else [foreign, "-n", "3"]
    ended = run_job([*started, sys.executable, "-m", "mpimasha", "run", *named, "bilinear", "--out", "run"])
    assert ended.returncode == 2
    (sentence,) = ours(ended.stderr)
    assert sentence.startswith("mpimasha: error: 3 ranks were started, but each is alone: the launcher is not that of")
    assert not (tmp_path / "run").exists()


def run_started(start, run_job, mpiexec, *arguments):
    """``mpimasha run ARGUMENTS`` on three ranks, started in one of the two ways."""
    command, ranks = [sys.executable, "-m", "mpimasha", "run"], ["-n", "3"]
    return run_job([*command, *ranks, *arguments] if start == "mpimasha" else [mpiexec, *ranks, *command, *arguments])


@pytest.fixture
def foreign(tmp_path):
    """The launcher of another MPI: the one that MPIMASHA_TEST_FOREIGN_LAUNCHER names, or what it amounts to."""
    if "MPIMASHA_TEST_FOREIGN_LAUNCHER" in os.environ:
        return os.environ["MPIMASHA_TEST_FOREIGN_LAUNCHER"]
    size, rank = ("PMI_SIZE", "PMI_RANK") if "Open MPI" in launcher._library() else \
        ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK")
    script = tmp_path / "mpiexec.foreign"  # ranks know launchers by their names
    script.write_text(f"""#!/bin/sh
n=$2; shift 2; code=0; pids=
for rank in $(seq 0 $((n - 1))); do {size}=$n {rank}=$rank "$@" & pids="$pids $!"; done
for pid in $pids; do wait $pid || code=$?; done
exit $code
""")
    script.chmod(0o755)
    return str(script)
