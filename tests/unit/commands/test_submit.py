"""`mpimasha submit`: the script that SLURM is given, and what is said when there is none to give."""

import os
import subprocess
from pathlib import Path

import pytest

from mpimasha.commands import cli, submit
from mpimasha.errors import UserError

ROOT = Path(__file__).parents[3]
FILE = '[problem]\nname = "bilinear"\ndim = 5\n'
BLOCKS = '[[compare]]\nlabel = "a"\n[[compare]]\nlabel = "b"\n'
JOB = ["--nodes", "2", "--tasks-per-node", "3", "--time", "1:00:00"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A working folder with e.toml, and an sbatch before all others that says 17."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "e.toml").write_text(FILE)
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    sbatch(tmp_path, 'echo "17;cluster"')
    return tmp_path / "work"


def sbatch(folder, does):
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / "sbatch").write_text(f'#!/bin/sh\necho "$@" >>{folder}/sent\n{does}\n')
    (folder / "bin" / "sbatch").chmod(0o755)


def run(*argv):
    return cli.execute(cli.parse(["submit", *argv]), None)


def script(*argv, capsys):
    assert run(*argv, "--dry-run") == 0
    text = capsys.readouterr().out
    assert subprocess.run(["bash", "-n"], input=text.encode()).returncode == 0
    return text


def command(text):
    """The words that the script's ``set --`` has for mpimasha."""
    line, = (line for line in text.splitlines() if line.startswith("set -- "))
    done = subprocess.run(["bash", "-c", f'{line}; printf "%s\\n" "$@"'], capture_output=True, text=True)
    return done.stdout.splitlines()


def files(here):
    return sorted(str(path.relative_to(here)) for path in here.rglob("*") if path.is_file())


# -- the script ----------------------------------------------------------------------------------


def test_its_body_is_that_of_the_script_in_jobs():
    assert (ROOT / "jobs" / "slurm" / "requeue.sbatch").read_text().endswith("\n\n" + submit.BODY)


def test_it_asks_for_what_was_asked_for(here, capsys):
    text = script("e.toml", *JOB, "--cpus-per-task", "4", "--mpi", "pmix", "--sbatch", "partition=long", "--sbatch",
                  "exclusive", "--out", "runs/x", capsys=capsys)
    options = [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH")]
    assert options == ["job-name=x", f"chdir={here}", "nodes=2", "ntasks-per-node=3", "cpus-per-task=4",
                       "time=1:00:00", "requeue", "open-mode=append", "signal=B:USR1@120", "output=runs/x.log",
                       "partition=long", "exclusive"]
    assert "\nmpi=pmix\n" in text and "\nout=runs/x\n" in text


def test_a_short_job_is_told_to_stop_a_quarter_before_its_end(capsys):
    text = script("bilinear", "--nodes", "1", "--tasks-per-node", "1", "--time", "0:02:00", capsys=capsys)
    assert "signal=B:USR1@30\n" in text


@pytest.mark.parametrize("blocks, name", [("", "run"), (BLOCKS, "compare")])
def test_blocks_make_it_a_comparison(here, capsys, blocks, name):
    (here / "e.toml").write_text(FILE + blocks)
    text = script("e.toml", *JOB, "--out", "runs/x", capsys=capsys)
    assert command(text) == [name, "runs/x.toml", "--out", "runs/x", "--set=stop.seconds=slurm"]


def test_the_experiments_options_are_passed_on_as_they_were(capsys):
    text = script("bilinear", *JOB, "--out", "a b", "--method", "masha1", "--server-compressor", "qsgd:4", "--seed",
                  "3", "--set", "problem.kappa=10", "--set", "compressor.refresh='absmax:3,nearest'", capsys=capsys)
    assert command(text) == ["run", "bilinear", "--out", "a b", "--method=masha1", "--server-compressor=qsgd:4",
                             "--seed=3", "--set=problem.kappa=10", "--set=compressor.refresh='absmax:3,nearest'",
                             "--set=stop.seconds=slurm"]
    assert "#SBATCH --output='a b.log'" in text and "#SBATCH --job-name='a b'" in text


@pytest.mark.parametrize("content, options", [("[stop]\nseconds = 50\n", []), ("", ["--set", "stop.seconds=0"])])
def test_a_limit_of_ones_own_is_kept(here, capsys, content, options):
    (here / "e.toml").write_text(FILE + content)
    assert "slurm" not in " ".join(command(script("e.toml", *JOB, *options, "--out", "x", capsys=capsys)))


def test_a_dry_run_writes_nothing_and_needs_no_slurm(here, capsys, monkeypatch):
    monkeypatch.setattr(submit.shutil, "which", lambda name: None)
    script("e.toml", *JOB, capsys=capsys)
    assert files(here) == ["e.toml"]


# -- sending it ----------------------------------------------------------------------------------


def test_script_and_copy_are_written_and_sent(here, capsys):
    (here / "e.toml").write_text(f"# a comment\n{FILE}")
    assert run("e.toml", *JOB, "--out", "runs/x") == 0
    assert files(here) == ["e.toml", "runs/x.sbatch", "runs/x.toml"]
    assert (here / "runs" / "x.toml").read_text() == f"# a comment\n{FILE}"
    assert (here.parent / "sent").read_text() == "--parsable runs/x.sbatch\n"
    assert capsys.readouterr().out.splitlines()[0] == "job 17"


def test_without_a_name_the_folder_is_called_after_the_experiment(here):
    run("e.toml", *JOB)
    copy, = (here / "runs").glob("e-*.toml")
    assert copy.with_suffix(".sbatch").exists()


# -- mistakes ------------------------------------------------------------------------------------


def refused(here, *argv):
    before = files(here)
    with pytest.raises(UserError) as caught:
        run(*argv)
    sentence = str(caught.value)
    assert "\n" not in sentence and files(here) == before and not (here.parent / "sent").exists()
    return sentence


@pytest.mark.parametrize("options, words", [
    (["--time", "abc"], ["--time 'abc'", "H:MM:SS"]), (["--time", "0:00:00"], ["--time '0:00:00'"]),
    (["--time", "60"], ["'60'"]), (["--nodes", "0"], ["--nodes 0", "at least 1"]),
    (["--tasks-per-node", "-2"], ["--tasks-per-node -2"]), (["--cpus-per-task", "0"], ["--cpus-per-task 0"]),
    (["--nodes", "two"], ["--nodes", "'two'"]), (["--mpi", "a b"], ["--mpi 'a b'", "pmi2"]),
    (["--sbatch", "a\nb"], ["--sbatch", "partition"]), (["--sbatch", "--"], ["--sbatch"]),
    (["--tasks-per-node", "6"], ["12 ranks for workers = 10"]), (["--method", "masha"], ["method.name = 'masha'"]),
    (["--set", "problem.dim=x"], ["problem.dim"]), (["--out", "a\nb"], ["--out", "'"])])
def test_a_mistake_is_one_sentence_and_leaves_nothing(here, options, words):
    sentence = refused(here, "e.toml", *JOB, *options)
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize("name", ["x.toml", "x.sbatch", "x.log"])
def test_nothing_is_overwritten(here, name):
    (here / name).write_text("")
    assert name in refused(here, "e.toml", *JOB, "--out", "x")


def test_no_sbatch_is_one_sentence(here, monkeypatch):
    monkeypatch.setattr(submit.shutil, "which", lambda name: None)
    assert refused(here, "e.toml", *JOB).startswith("sbatch is not on PATH")


def test_what_sbatch_says_is_quoted_and_nothing_stays(here):
    sbatch(here.parent, 'echo "sbatch: error: invalid partition\nsbatch: error: no" >&2; exit 1')
    with pytest.raises(UserError, match="^sbatch refuses the job: sbatch: error: invalid partition sbatch: error: no$"):
        run("e.toml", *JOB, "--out", "runs/x")
    assert files(here) == ["e.toml"]
