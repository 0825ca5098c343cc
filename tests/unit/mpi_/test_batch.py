"""When a job of SLURM's ends: its own variable, or what squeue prints."""

import math
import os

import pytest

from mpimasha.commands import cli
from mpimasha.errors import UserError
from mpimasha.mpi import batch, launch


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """A job, and a function that makes a squeue of a shell script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)

    def made(script):
        (folder / "squeue").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "squeue").chmod(0o755)
    return made


def test_the_variable_of_the_job_wins(squeue, monkeypatch):
    squeue("echo 5")
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1234567890")
    assert batch.end() == 1234567890.0


@pytest.mark.parametrize("variable", ["", "soon", "-1"])
def test_a_variable_that_is_no_time_is_passed_over(squeue, monkeypatch, variable):
    squeue("echo 5")
    monkeypatch.setenv("SLURM_JOB_END_TIME", variable)
    assert batch.end() == 5.0


def test_squeue_is_asked_for_this_job_in_seconds_since_the_epoch(squeue):
    squeue('[ "$*" = "--noheader --jobs 7 --format %e" ] && [ "$SLURM_TIME_FORMAT" = %s ] && echo "  1800000000  "')
    assert batch.end() == 1800000000.0


@pytest.mark.parametrize("told", ["NONE", "N/A", "UNLIMITED"])
def test_a_job_without_a_limit_never_ends(squeue, told):
    squeue(f"echo {told}")
    assert batch.end() == math.inf


@pytest.mark.parametrize("script", ["echo 2026-11-27T10:00:00", "true", "echo", "echo 5; exit 1",
                                    "echo 'slurm_load_jobs error: Invalid job id' >&2; exit 1", "kill -9 $$",
                                    "echo nan"])
def test_an_answer_that_is_none_is_a_sentence(squeue, script):
    squeue(script)
    with pytest.raises(UserError, match="squeue does not tell when job 7 ends .*: use a number of seconds$"):
        batch.end()


def test_so_is_a_squeue_that_is_not_there(squeue, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(UserError, match="squeue does not tell when job 7 ends"):
        batch.end()


@pytest.mark.parametrize("number", [None, ""])
def test_outside_a_job_there_is_no_end(squeue, monkeypatch, number):
    monkeypatch.delenv("SLURM_JOB_ID") if number is None else monkeypatch.setenv("SLURM_JOB_ID", number)
    with pytest.raises(UserError, match="stop.seconds = 'slurm' has no meaning outside a job of SLURM's"):
        batch.end()


@pytest.mark.parametrize("inside", [False, True], ids=["outside a job", "without squeue"])
def test_a_run_that_cannot_know_its_end_is_one_sentence_and_nothing_is_written(squeue, tmp_path, monkeypatch, capsys,
                                                                              inside):
    monkeypatch.chdir(tmp_path)
    if inside:
        squeue("exit 1")
    else:
        monkeypatch.delenv("SLURM_JOB_ID")
    options = cli.parse(["run", "bilinear", "-q", "--set", "stop.seconds=slurm"])
    assert launch.guard(lambda: cli.execute(options, None), None) == 2
    said = capsys.readouterr()
    assert said.err.startswith("mpimasha: error: stop.seconds = 'slurm'") and said.err.count("\n") == 1
    assert said.out == "" and os.listdir(tmp_path) == ["bin"]
