"""`mpimasha tune` finds the step a search by hand finds, refuses what diverges, and writes an experiment that runs."""

import json
import tomllib

import pytest

import mpimasha as mm
from mpimasha.commands import cli, tune
from mpimasha.mpi import launch
from mpimasha.show import tables

EXPERIMENT = """
workers = 3
seeds = 4
stop = { relative_error = 1e-4, rounds = 2000 }
problem = { dim = 4, kappa = 5 }
[[compare]]
label = "og"
method = { name = "og" }
[[compare]]
label = "given"
method = { name = "eg", gamma = "0.3/L" }
[[compare]]
label = "masha1"
method = { name = "masha1" }
compressor = { up = "qsgd:4" }
"""


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "e.toml").write_text(EXPERIMENT)


def command(*argv):
    return launch.guard(lambda: cli.execute(cli.parse(list(argv)), None), None)


def tuned(path, *argv):
    assert command("tune", *argv) == 0
    return tomllib.loads((path / "e-tuned.toml").read_text())


def mbit(method, seed, dim=4, kappa=5):
    problem = mm.Bilinear(workers=3, dim=dim, kappa=kappa)
    result = mm.solve(problem, method, seed=seed, stop=mm.Stop(relative_error=1e-4, rounds=2000))
    return tables.mbit(result.rows, "uplink_bits", 1e-4)


def test_the_step_is_the_best_of_the_grid(tmp_path):
    found = tuned(tmp_path, "e.toml", "-q")
    gamma = found["compare"][0]["method"]["gamma"]
    costs = {f"{g:.4g}/L": mbit(mm.Optimistic(gamma=f"{g:.4g}/L"), 100) for g in (4 / 1.41**i for i in range(16))}
    assert costs["4/L"] is None  # it diverges
    assert gamma == min((g for g in costs if costs[g] is not None), key=costs.get)


@pytest.mark.slow
def test_a_random_method_needs_fewer_bits_than_with_the_steps_of_its_theory(tmp_path):
    larger = {"dim": 12, "kappa": 30}
    found = tuned(tmp_path, "e.toml", "-q", *(f"--set=problem.{key}={value}" for key, value in larger.items()))
    block = found["compare"][2]
    assert block["compressor"] == {"up": "qsgd:4"}
    steps = {key: value for key, value in block["method"].items() if key != "name"}
    here, theory = (sum(mbit(mm.Masha1(mm.QSGD(4), **given), seed, **larger) for seed in range(4))  # not the pilots'
                    for given in (steps, {}))
    assert here < 0.8 * theory


def test_what_is_written_is_the_experiment_and_runs(tmp_path, capsys):
    found = tuned(tmp_path, "e.toml", "--json")
    assert [row["label"] for row in json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]] == ["og", "masha1"]
    before = tomllib.loads(EXPERIMENT)
    assert {k: v for k, v in found.items() if k != "compare"} == {k: v for k, v in before.items() if k != "compare"}
    assert found["compare"][1] == before["compare"][1]  # a step that is given is left alone
    text = (tmp_path / "e-tuned.toml").read_text()
    assert text.startswith("# mpimasha tune e.toml") and "Mbit up" in text
    assert command("compare", "e-tuned.toml", "--out", "run", "-q") == 0


def test_a_plain_run_is_tuned_too(tmp_path):
    assert command("tune", "bilinear", "--method", "og", "--workers", "3", "--set", "problem.dim=4", "--rounds", "500",
                   "--to", "1e-2", "--seeds", "1", "--out", "one.toml", "-q") == 0
    found = tomllib.loads((tmp_path / "one.toml").read_text())
    assert found["problem"] == {"name": "bilinear", "dim": 4} and found["method"]["gamma"].endswith("/L")
    assert "stop" not in found


@pytest.mark.slow
def test_a_choice_that_diverges_for_one_seed_is_refused(monkeypatch, tmp_path):
    real = tune.solve

    def solve(problem, method, **options):
        result = real(problem, method, **options)
        if options["seed"] == 101 and result.summary["gamma_L"] > 0.3:
            result.status = "diverged"
        return result

    monkeypatch.setattr(tune, "solve", solve)
    found = tuned(tmp_path, "e.toml", "-q")
    assert [0.2 < float(found["compare"][i]["method"]["gamma"].removesuffix("/L")) <= 0.3 for i in (0, 2)] == [True] * 2


def test_a_block_may_change_the_problem(monkeypatch, tmp_path):
    (tmp_path / "e.toml").write_text("""
        workers = 3
        stop = { relative_error = 1e-1, rounds = 50 }
        compare = [{ label = "a", method = { name = "og" }, problem = { dim = 3 } },
                   { label = "b", method = { name = "og" }, problem = { dim = 5 } }]
    """)
    real, tried = tune.solve, []

    def solve(problem, method, **options):
        tried.append(problem.n)
        return real(problem, method, **options)

    monkeypatch.setattr(tune, "solve", solve)
    tuned(tmp_path, "e.toml", "-q")
    assert sorted(set(tried)) == [6, 10]


def test_if_all_diverge_nothing_is_written(monkeypatch, tmp_path, capsys):
    real = tune.solve

    def solve(problem, method, **options):
        result = real(problem, method, **options)
        result.status = "diverged"
        return result

    monkeypatch.setattr(tune, "solve", solve)
    assert command("tune", "e.toml", "--set", "stop.rounds=20") == 2
    assert "diverged" in capsys.readouterr().err and not (tmp_path / "e-tuned.toml").exists()


@pytest.mark.parametrize("argv, words", [
    (["--seeds", "0"], ["--seeds 0", "1 to 1000"]), (["--ratio", "1"], ["--ratio 1.0", "1.41"]),
    (["--to", "2"], ["--to 2.0", "below 1"]), (["--rounds", "0"], ["--rounds 0"]),
    (["--out", "e.toml"], ["'e.toml' exists", "nothing is overwritten"]), (["--out", "no/x.toml"], ["no folder"]),
    (["--set", "method.name=og", "--set", "method.gamma=0.1"], ["nothing to tune"])])
def test_mistakes_are_refused(argv, words, capsys, tmp_path):
    if "method.name=og" in argv:
        (tmp_path / "e.toml").write_text("[[compare]]\nlabel = 'a'\n")
    assert command("tune", "e.toml", *argv) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
    assert [path.name for path in tmp_path.iterdir()] == ["e.toml"]
