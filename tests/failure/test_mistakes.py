"""A user's mistake is said once, wherever it is seen."""

import sys

import pytest

from mpimasha import launch
from mpimasha.errors import UserError


def ours(errors):
    """The lines that are not the launcher's comment on an exit code."""
    return [line for line in errors.splitlines() if line.startswith(("mpimasha:", "Traceback"))]


@pytest.mark.ranks(2, 3)
def test_a_mistake_that_all_ranks_see_is_said_by_one(comm, capsys):
    def run():
        raise UserError("no such method")

    assert launch.guard(run, comm) == 2
    assert capsys.readouterr().err == ("mpimasha: error: no such method\n" if comm.rank == 0 else "")


@pytest.mark.launches
def test_a_mistake_on_the_command_line_is_said_before_anything_is_launched(run_cli):
    ended = run_cli(["run", "no-such-problem"], ranks=3)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("mpimasha: error: 'no-such-problem' is neither")
    assert ended.stderr.count("\n") == 1


@pytest.mark.launches
def test_a_mistake_on_the_command_line_of_a_launched_job_is_said_once(run_job, mpiexec):
    ended = run_job([mpiexec, "-n", "3", sys.executable, "-m", "mpimasha", "run", "no-such-problem"])
    assert ended.returncode == 2
    (sentence,) = ours(ended.stderr)
    assert sentence.startswith("mpimasha: error: 'no-such-problem' is neither")


@pytest.mark.launches
def test_a_launched_job_launches_no_other(run_job, mpiexec):
    ended = run_job([mpiexec, "-n", "2", sys.executable, "-m", "mpimasha", "run", "-n", "2", "bilinear"])
    assert ended.returncode == 2
    assert ours(ended.stderr) == ["mpimasha: error: -n 2 was asked of one of 2 ranks that a launcher started: "
                                  "leave -n out"]
