"""`mpimasha resume` in one process: of runs and comparisons that were stopped or killed; what it refuses."""

import json
import os
import signal

import numpy as np
import pytest

from mpimasha.commands import cli, evaluate
from mpimasha.mpi import launch
from mpimasha.problems.adversarial_mlp import AdversarialMLP
from mpimasha.show import plotting
from mpimasha.solver.run import Run

SMALL = ["bilinear", "--workers", "3", "--seed", "2", "--method", "masha1", "--set", "problem.dim=4",
         "--set", "stop.relative_error=0", "--set", "observe.every=10"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(plotting, "available", lambda: False)


def command(*argv, **settings):
    more = [word for key, value in settings.items() for word in ("--set", f"{key.replace('__', '.')}={value}")]
    return launch.guard(lambda: cli.execute(cli.parse([*argv, *more]), None), None)


def files(folder):
    """{path: (when it was written, its bytes)}."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def rows_of(folder):
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def found(folder):
    """What a run found: rows, arrays, and the summary but for times and names."""
    with np.load(folder / "final.npz") as arrays:
        arrays = {name: array.tobytes() for name, array in arrays.items()}
    told = json.loads((folder / "summary.json").read_text())
    return rows_of(folder), arrays, {k: v for k, v in told.items() if k != "out" and not k.startswith("seconds")}


class Killed(BaseException):
    """Nothing more is written."""


@pytest.fixture
def during(monkeypatch):
    """``during(k, do, method)``: call `do` before round k + 1 of a run of that method, once; `spent` tells whether."""
    real, plans = Run.step, []

    def step(run):
        for plan in [plan for plan in plans if plan[0] == run.k and plan[2] in (None, run.method.name)
                     and plan[3] in (None, run.seed)]:
            plans.remove(plan)
            plan[1]()
        real(run)

    monkeypatch.setattr(Run, "step", step)
    return lambda k, do, method=None, seed=None: plans.append((k, do, method, seed))


def notice():
    os.kill(os.getpid(), signal.SIGUSR1)


def kill():
    raise Killed


# -- other settings --------------------------------------------------------------------------------


@pytest.fixture
def stopped(during, tmp_path, capsys):
    """The folder of a run of 60 rounds that was stopped after 26."""
    during(25, notice)
    assert command("run", *SMALL, "--out", "cut", stop__rounds=60, checkpoint__every=0) == 8
    assert "go on with: mpimasha resume cut" in capsys.readouterr().out
    return tmp_path / "cut"


@pytest.mark.parametrize("setting, words", [
    ("problem.dim=5", ["problem.dim", "another run"]), ("seed=3", ["seed", "another run"]),
    ("method.gamma=0.1", ["method.gamma", "another run"]), ("workers=2", ["workers", "another run"]),
    ("compressor.up=sign", ["compressor.up", "another run"]), ("wire=float32", ["wire", "another run"]),
    ("compare=[]", ["compare", "another run"]), ("seeds=2", ["seeds", "another run"]), ("label=x", ["label"]),
    ("stop.round=70", ["unknown key stop.round"]), ("stops.rounds=70", ["stops.rounds"]),
    ("stop=70", ["stop", "not a table"]), ("observe.often=1", ["observe.often"]),
    ("stop.rounds", ["stop.rounds has no value"]), ("=70", ["no value"]), ("stop.rounds=-1", ["stop.rounds = -1"]),
    ("stop.rounds=many", ["stop.rounds = 'many'"]), ("checkpoint.every=soon", ["checkpoint.every"]),
    ("stop.seconds=slurm", ["slurm", "outside a job"])])
def test_a_setting_that_makes_no_sense_is_a_sentence_and_changes_nothing(stopped, capsys, monkeypatch, setting, words):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    before = files(stopped)
    capsys.readouterr()
    assert command("resume", "cut", "--set", setting) == 2
    said = capsys.readouterr().err
    assert said.startswith("mpimasha: error: ") and said.count("\n") == 1
    assert all(word in said for word in words)
    assert files(stopped) == before


def test_a_run_that_was_stopped_goes_on(stopped, tmp_path):
    assert json.loads((stopped / "summary.json").read_text())["status"] == "stopped"
    assert command("resume", "cut") == 0
    assert command("run", *SMALL, "--out", "whole", stop__rounds=60) == 0
    assert found(stopped) == found(tmp_path / "whole")


def test_another_limit_goes_on_and_stands_in_the_manifest(stopped, tmp_path):
    assert command("resume", "cut", stop__rounds=75, observe__every=10) == 0
    told = json.loads((stopped / "manifest.json").read_text())
    assert told["experiment"]["stop"] == {"rounds": 75, "relative_error": 0}
    assert [again["round"] for again in told["resumed"]] == [26]
    assert command("run", *SMALL, "--out", "whole", stop__rounds=75) == 0
    assert found(stopped) == found(tmp_path / "whole")
    before = files(stopped)
    assert command("resume", "cut") == 0  # its new limit is reached, too
    assert files(stopped) == before


def test_a_limit_that_lies_behind_ends_where_the_run_is(stopped):
    assert command("resume", "cut", stop__rounds=20) == 0
    summary = json.loads((stopped / "summary.json").read_text())
    assert (summary["status"], summary["rounds"]) == ("rounds", 26)
    assert command("resume", "cut", stop__rounds=60) == 0


# -- runs that were killed -------------------------------------------------------------------------


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew(during, tmp_path, capsys):
    during(35, kill)
    assert command("run", *SMALL, "--out", "cut", stop__rounds=60) == 1
    assert sorted(os.listdir("cut")) == ["manifest.json", "rows.jsonl"] and len(rows_of(tmp_path / "cut")) == 4
    assert command("resume", "cut") == 0
    assert "there is no checkpoint yet: the run begins anew" in capsys.readouterr().err
    assert command("run", *SMALL, "--out", "whole", stop__rounds=60) == 0
    assert found(tmp_path / "cut") == found(tmp_path / "whole")


def test_a_run_that_was_killed_goes_on_from_its_checkpoint_without_rows_of_later_rounds(during, tmp_path):
    during(45, kill)
    assert command("run", *SMALL, "--out", "cut", stop__rounds=60, checkpoint__every=23) == 1
    assert [row["round"] for row in rows_of(tmp_path / "cut")] == [0, 10, 20, 30, 40]
    during(30, kill)
    assert command("resume", "cut") == 1
    assert command("resume", "cut") == 0
    assert command("run", *SMALL, "--out", "whole", stop__rounds=60) == 0
    assert found(tmp_path / "cut") == found(tmp_path / "whole")


def test_a_run_that_had_ended_and_was_killed_on_its_way_to_another_limit_has_not_ended(during, tmp_path):
    assert command("run", *SMALL, "--out", "cut", stop__rounds=30, checkpoint__every=20) == 0
    during(35, kill)
    assert command("resume", "cut", stop__rounds=60) == 1
    assert command("resume", "cut") == 0
    assert command("run", *SMALL, "--out", "whole", stop__rounds=60) == 0
    assert found(tmp_path / "cut") == found(tmp_path / "whole")


@pytest.mark.parametrize("file", ["summary.json", "rows.jsonl", "final.npz"])
def test_an_ended_run_with_a_damaged_file_is_a_sentence(tmp_path, capsys, file):
    assert command("run", *SMALL, "--out", "cut", stop__rounds=5) == 0
    path = tmp_path / "cut" / file
    path.write_bytes(path.read_bytes()[:-20])
    capsys.readouterr()
    assert command("resume", "cut") == 2
    said = capsys.readouterr().err
    assert said.startswith("mpimasha: error: run directory 'cut' cannot be read") and said.count("\n") == 1


# -- data that changed under their name ------------------------------------------------------------


def write_npz(X, y):
    np.savez("set.npz", X=X, y=y)


def write_libsvm(X, y):
    lines = [f"{label:.17g} " + " ".join(f"{j}:{value:.17g}" for j, value in enumerate(row, 1))
             for row, label in zip(X, y)]
    with open("set.libsvm", "w") as file:
        file.write("\n".join(lines) + "\n")


def write_npy(X, y):
    np.save("X.npy", X)
    np.save("y.npy", y)


@pytest.mark.parametrize("write, name, more", [
    (write_npz, "set.npz", {}), (write_libsvm, "set.libsvm", {}), (write_npy, "X.npy", {"problem__labels": "y.npy"})],
    ids=["npz", "libsvm", "npy"])
def test_data_that_changed_under_their_name_are_recognised(tmp_path, capsys, write, name, more):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((12, 3)), rng.standard_normal(12)
    write(X, y)
    assert command("run", "robust_regression", "--workers", "3", "--out", "cut", problem__data=name, **more,
                   problem__loss="square", stop__rounds=12, stop__relative_error=0, checkpoint__every=5) == 0
    before = files(tmp_path / "cut")
    for other in ((np.where(X == X[4, 1], 7.0, X), y), (X, np.where(y == y[3], 7.0, y))):
        write(*other)
        capsys.readouterr()
        assert command("resume", "cut", stop__rounds=20) == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 4 and all("the data of the problem have changed since" in line for line in said[1:3])
        assert said[3].startswith("mpimasha: error: ") and "no whole checkpoint" in said[3]
        assert files(tmp_path / "cut") == before
    write(X, y)  # written again, but the same
    assert command("resume", "cut", stop__rounds=20) == 0


def test_images_identify_an_adversarial_problem():
    rng, labels = np.random.default_rng(0), np.arange(45) % 3
    pixels = rng.random((45, 4, 4))

    def identity(pixels, labels, **options):
        return AdversarialMLP(**{"data": (pixels, labels), "hidden": [5], "workers": 3} | options).identity()

    other, relabelled = pixels.copy(), labels.copy()
    other[7, 1, 2] = 1 - other[7, 1, 2]
    relabelled[[7, 8]] = relabelled[[8, 7]]
    known = [identity(pixels, labels), identity(other, labels), identity(pixels, relabelled),
             identity(pixels, labels, seed=1), identity(pixels, labels, radius=0.2),
             identity(pixels, labels, perturbation="pgd"), identity(pixels, labels, lam=0.5)]
    assert len(set(known)) == len(known)
    assert identity(pixels.copy(), labels.copy()) == known[0]
    assert " at 0x" not in known[0]  # nothing of this process


# -- comparisons -----------------------------------------------------------------------------------


COMPARISON = """
    workers = 3
    {seeds}
    problem = {{name = "bilinear", dim = 4}}
    stop = {{rounds = 40, relative_error = 0}}
    observe = {{every = 10}}
    checkpoint = {{every = 0}}
    [[compare]]
    label = "first"
    method = {{name = "masha1"}}
    [[compare]]
    label = "second"
    method = {{name = "diana_og"}}
    stop = {{rounds = 30}}
    [[compare]]
    label = "third"
    method = {{name = "og"}}
"""


def blocks(folder):
    """The folders of the runs of a comparison."""
    return sorted(path.parent for path in folder.rglob("summary.json"))


def compared(folder):
    return (folder / "table.txt").read_text(), {str(run.relative_to(folder)): found(run) for run in blocks(folder)}


@pytest.fixture
def compare(tmp_path):
    def run(out, seeds="", text=COMPARISON):
        (tmp_path / "three.toml").write_text(text.format(seeds=seeds))
        return command("compare", "three.toml", "--out", out)
    return run


@pytest.fixture
def timeless(monkeypatch):
    """Tables have a column of seconds."""
    monkeypatch.setattr("mpimasha.solver.loop.perf_counter", lambda: 0.0)


@pytest.mark.parametrize("seeds, seed, finished", [("", None, 1), ("seeds = [4, 2]", 2, 3)], ids=["", "seeds"])
@pytest.mark.parametrize("how, code", [(notice, 8), (kill, 1)], ids=["stopped", "killed"])
def test_a_comparison_that_was_interrupted_goes_on_to_the_same_table(compare, during, timeless, tmp_path, capsys, seeds,
                                                                     seed, finished, how, code):
    during(17, how, "diana_og", seed)
    assert compare("cut", seeds) == code
    if code == 8:
        told = f"stopped early, when {finished} of {6 if seeds else 3} runs had ended; go on with: mpimasha resume cut"
        assert told in capsys.readouterr().out
    done = [run for run in blocks(tmp_path / "cut")
            if json.loads((run / "summary.json").read_text())["status"] == "rounds"]
    assert len(done) == finished
    assert not (tmp_path / "cut" / "table.txt").exists()
    before = {run: files(run) for run in done}
    assert command("resume", "cut") == 0
    assert {run: files(run) for run in done} == before
    assert compare("whole", seeds) == 0
    table, runs = compared(tmp_path / "cut")
    assert (table, runs) == compared(tmp_path / "whole") and len(runs) == (6 if seeds else 3)
    assert table in capsys.readouterr().out


def test_resuming_a_comparison_that_has_ended_prints_its_table_again(compare, tmp_path, capsys):
    assert compare("here") == 0
    before = files(tmp_path / "here")
    table = (tmp_path / "here" / "table.txt").read_text()
    capsys.readouterr()
    assert command("resume", "here", "--json") == 0
    said = capsys.readouterr().out
    assert table in said and len(json.loads(said.splitlines()[-1])["rows"]) == 3
    assert (tmp_path / "here" / "table.txt").read_text() == table
    after = files(tmp_path / "here")
    tables = {tmp_path / "here" / name for name in ("table.txt", "table.md", "runs.csv")}
    assert {path: told if path not in tables else told[1] for path, told in after.items()} == {
        path: told if path not in tables else told[1] for path, told in before.items()}


def test_a_run_with_a_limit_of_seconds_is_final_in_its_comparison(compare, tmp_path):
    text = COMPARISON.replace("stop = {{rounds = 30}}", "stop = {{rounds = 0, seconds = 1e-9}}")
    assert compare("here", text=text) == 0
    second = tmp_path / "here" / "second"
    assert json.loads((second / "summary.json").read_text())["status"] == "seconds"
    before = files(second)
    assert command("resume", "here") == 0
    assert files(second) == before


def limits(folder):
    return [json.loads((run / "summary.json").read_text())["rounds"] for run in blocks(folder)]


def test_another_limit_reaches_every_block_and_is_not_forgotten(compare, during, timeless, tmp_path):
    assert compare("here") == 0
    assert limits(tmp_path / "here") == [40, 30, 40]
    during(45, notice, "diana_og")
    assert command("resume", "here", stop__rounds=50) == 8
    assert limits(tmp_path / "here") == [50, 46, 40]
    assert command("resume", "here") == 0
    assert limits(tmp_path / "here") == [50, 50, 50]
    assert command("resume", "here") == 0
    assert limits(tmp_path / "here") == [50, 50, 50]
    text = COMPARISON.replace("rounds = 40", "rounds = 50").replace("stop = {{rounds = 30}}", "")
    assert compare("whole", text=text) == 0
    assert compared(tmp_path / "here") == compared(tmp_path / "whole")


@pytest.mark.parametrize("setting", ["method.gamma=0.1", "seeds=3", "compare=[]", "stop.round=5", "stop=5",
                                     "stop.rounds"])
def test_a_setting_that_does_not_fit_a_comparison_is_a_sentence_and_changes_nothing(compare, tmp_path, capsys, setting):
    assert compare("here") == 0
    before = files(tmp_path / "here")
    capsys.readouterr()
    assert command("resume", "here", "--set", setting) == 2
    said = capsys.readouterr().err
    assert said.startswith("mpimasha: error: ") and said.count("\n") == 1
    assert files(tmp_path / "here") == before


def test_one_run_of_a_comparison_can_be_taken_up_alone(compare, during, timeless, tmp_path):
    during(17, notice, "diana_og")
    assert compare("cut") == 8
    assert command("resume", "cut/second") == 0
    second = files(tmp_path / "cut" / "second")
    assert command("resume", "cut") == 0
    assert files(tmp_path / "cut" / "second") == second
    assert compare("whole") == 0
    assert compared(tmp_path / "cut") == compared(tmp_path / "whole")


@pytest.mark.parametrize("manifest", [3, {}, {"compare": 5}, {"compare": [3]}, {"compare": [{"stop": 3}]}])
def test_a_damaged_manifest_of_a_comparison_is_a_sentence(tmp_path, capsys, manifest):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "manifest.json").write_text(json.dumps({"comparison": manifest}))
    for more in ([], ["--set", "stop.rounds=5"]):
        assert command("resume", "here", *more) == 2
        said = capsys.readouterr().err
        assert said.startswith("mpimasha: error: ") and said.count("\n") == 1


def test_the_judge_of_networks_passes_over_the_manifest_of_the_comparison_itself(compare, tmp_path):
    assert compare("here") == 0
    assert evaluate._runs(tmp_path / "here") == [tmp_path / "here" / name for name in ("first", "second", "third")]
