"""`compare` over a matrix: farmed out, in shares, interrupted; nothing is run twice, and the result is the same."""

import signal
import subprocess
import sys
import time

import pytest
from rundirs import content

from mpimasha.commands import cli
from mpimasha.experiment import results
from mpimasha.kernels import _jit
from mpimasha.mpi import launch
from mpimasha.show import plotting

STUDY = """
seeds = 2
wire = "float32"
stop = { relative_error = 1e-6, rounds = ROUNDS }
[[problems]]
label = "three"
workers = 3
problem = { dim = 4, kappa = 5 }
[[problems]]
label = "four"
workers = 4
problem = { dim = 4, kappa = 5 }
[[compare]]
label = "og"
method = { name = "og", gamma = "0.5/L" }
[[compare]]
label = "masha1"
method = { name = "masha1" }
each = { compressor.up = ["randk:2", "qsgd:4"] }
[[compare]]
label = "default"
on = "four"
"""
RUNS = 2 * (2 * 3 + 1)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plotting, "available", lambda: False)
    (tmp_path / "study.toml").write_text(STUDY.replace("ROUNDS", "600"))


def command(*argv):
    return launch.guard(lambda: cli.execute(cli.parse(list(argv)), None), None)


def runs(folder):
    """{name of a run: what it found}."""
    return {str(path.parent.relative_to(folder)): content(path.parent) for path in folder.rglob("final.npz")}


def written(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("final.npz")}


@pytest.fixture
def whole(tmp_path):
    """The study, run by one process."""
    assert command("compare", "study.toml", "--out", "whole", "-q") == 0
    found = runs(tmp_path / "whole")
    assert len(found) == RUNS
    return found


@pytest.mark.slow
@pytest.mark.launches
def test_a_farm_finds_what_one_process_finds_and_resuming_it_repeats_nothing(whole, tmp_path, run_cli):
    job = run_cli(["compare", "study.toml", "--farm", "--out", "farmed"], ranks=2)
    assert job.returncode == 0, job.stderr
    assert runs(tmp_path / "farmed") == whole and f"[{RUNS}/{RUNS}] " in job.stderr
    assert "(rank 0)" in job.stderr and "(rank 1)" in job.stderr
    before = written(tmp_path / "farmed")
    again = run_cli(["resume", "farmed", "--farm"], ranks=2)
    assert again.returncode == 0 and f"{RUNS} of {RUNS} runs ended before, kept" in again.stderr
    assert written(tmp_path / "farmed") == before
    # a table has no column of a time that is the same twice; the rest is
    assert [line.split()[0] for line in job.stdout.splitlines() if line] == [
        line.split()[0] for line in again.stdout.splitlines() if line]


@pytest.mark.slow
@pytest.mark.launches
def test_a_farm_that_is_told_to_stop_goes_on_and_repeats_nothing(tmp_path):
    study = STUDY.replace("ROUNDS", "3000").replace("1e-6", "0").replace("seeds = 2", "seeds = [3]")
    (tmp_path / "study.toml").write_text(study)
    env = launch.job_environment() | ({"NUMBA_CACHE_DIR": _jit.cache_folder()} if _jit.cache_folder() else {})
    farm = [sys.executable, "-m", "mpimasha", "compare", "-n", "2", "study.toml", "--farm", "--out", "cut", "-q"]
    with subprocess.Popen(farm, env=env, cwd=tmp_path, stdin=subprocess.DEVNULL) as job:
        deadline = time.monotonic() + 60
        while len(written(tmp_path / "cut")) < 2:
            assert job.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        job.send_signal(signal.SIGTERM)
        assert job.wait(60) == 8
    ended = {path: time for path, time in written(tmp_path / "cut").items()
             if results.read(path.parent).status == "rounds"}
    assert 2 <= len(ended) < RUNS // 2
    assert command("resume", "cut", "--farm", "-q") == 0
    after = written(tmp_path / "cut")
    assert len(after) == RUNS // 2 and all(after[path] == time for path, time in ended.items())
    assert command("compare", "study.toml", "--out", "whole", "-q") == 0
    assert runs(tmp_path / "cut") == runs(tmp_path / "whole")


def test_shares_of_an_array_make_one_study(whole, tmp_path, capsys):
    for share in ("1/3", "2/3", "3/3"):
        assert not (tmp_path / "shared" / "table.txt").exists()
        assert command("compare", "study.toml", "--out", "shared", "--share", share) == 0
        if share == "1/3":
            assert f"{RUNS - 5} of {RUNS} runs are left to other shares" in capsys.readouterr().out
    assert runs(tmp_path / "shared") == whole and (tmp_path / "shared" / "table.txt").exists()
    before = written(tmp_path / "shared")
    assert command("compare", "study.toml", "--out", "shared", "--share", "2/3") == 0  # a task that comes twice
    assert written(tmp_path / "shared") == before


def test_the_tables_are_there_as_text_markdown_and_values(whole, tmp_path):
    text, sheet = ((tmp_path / "whole" / name).read_text() for name in ("table.txt", "table.md"))
    assert [text.count(label) for label in ("three: ", "four: ", "masha1, randk:2")] == [1, 1, 2]
    assert sheet.count("| og | ") == 2 and sheet.count("**") == 4
    assert len((tmp_path / "whole" / "runs.csv").read_text().splitlines()) == RUNS + 1


@pytest.mark.parametrize("argv, words", [
    (["compare", "study.toml", "--share", "4/3"], ["4/3", "K/N"]), (["compare", "study.toml", "--share", "x"], ["'x'"]),
    (["resume", "whole/four/og/seed-1", "--farm"], ["--farm", "one run"]),
    (["compare", "study.toml", "--out", "whole", "--share", "1/2", "--seed", "3"], ["seed"]),
    (["compare", "study.toml", "--out", "whole", "--share", "1/2", "--set", "stop.rounds=5"], ["another comparison"])])
def test_mistakes_are_refused(whole, argv, words, capsys, tmp_path):
    before = written(tmp_path)
    assert launch.guard(lambda: cli.execute(cli.parse(argv), None), None) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words) and written(tmp_path) == before


def test_run_says_what_of_a_study_it_leaves_out(tmp_path, capsys):
    assert command("run", "study.toml", "--set", "stop.rounds=3", "--out", str(tmp_path / "one")) == 0
    assert "study.toml: one run is made, without its compare and problems and seeds" in capsys.readouterr().err
