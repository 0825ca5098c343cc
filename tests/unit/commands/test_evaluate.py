"""`mpimasha evaluate`: the accuracy of what a run left behind, and what it refuses."""

import json
import os

import numpy as np
import pytest

from mpimasha.commands import cli
from mpimasha.errors import UserError
from mpimasha.experiment import config
from mpimasha.mpi import launch
from mpimasha.mpi.communicator import Communicator
from mpimasha.networks.attacks import PGD, Ball
from mpimasha.show.intervals import shown

NETWORK = {"adversarial_mlp": ["--set", "problem.hidden=[8]", "--set", "problem.perturbation='pgd'"],
           "adversarial_transformer": ["--set", "problem.patch=2", "--set", "problem.width=4", "--set",
                                       "problem.heads=2", "--set", "problem.layers=1", "--set", "problem.hidden=4"]}
COMMON = ["--set", "problem.data='images.npz'", "--set", "problem.radius=0.1", "--workers", "3", "--method", "sgda",
          "--set", "method.gamma=0.3", "-q"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng, labels = np.random.default_rng(0), np.arange(120) % 3
    brightness = 0.25 * labels[:, None, None]
    np.savez("images.npz", images=0.5 * rng.random((120, 4, 4)) + brightness, labels=labels)


def run(*argv):
    return cli.execute(cli.parse(list(argv)), None)


def trained(problem, out, rounds=10):
    assert run("run", problem, *NETWORK[problem], *COMMON, "--set", f"stop.rounds={rounds}", "--out", out) == 0


def examined(folder, part, attack, seed=0):
    """(accuracy, robust) by the problem that the manifest describes."""
    manifest = json.loads((folder / "manifest.json").read_text())
    problem = config.experiment(manifest["experiment"]).problem()
    z = np.load(folder / "final.npz")["z"]
    return problem.examine(z.astype(problem.dtype), part, attack, seed, Communicator())


@pytest.mark.parametrize("problem", NETWORK)
def test_what_it_says_is_what_the_problem_counts(problem, tmp_path, capsys):
    trained(problem, "here")
    assert run("evaluate", "here", "--json") == 0
    *lines, last = capsys.readouterr().out.splitlines()
    row, = json.loads(last)["rows"]
    accuracy, robust = examined(tmp_path / "here", "test", PGD(20, Ball(0.1)))
    assert (row["accuracy"], row["robust_accuracy"]) == (accuracy, robust)
    written = json.loads((tmp_path / "here" / "evaluation.json").read_text())
    assert written == row and row["part"] == "test" and row["attack"] == "pgd:20" and row["radius"] == 0.1
    assert lines[0] == "test part, attack pgd:20"
    assert lines[-1].split() == ["sgda", "1", f"{accuracy:.3f}", f"{robust:.3f}"]


def test_part_attack_and_seed_are_those_asked_for(tmp_path, capsys):
    trained("adversarial_mlp", "here", rounds=40)
    found = set()
    for part, text, attack, seed in (("validation", "pgd:20", PGD(20, Ball(0.1)), 0),
                                     ("validation", "pgd:3,eps=0.3", PGD(3, Ball(0.3)), 7),
                                     ("test", "pgd:1,eps=0.2,step=0.5", PGD(1, Ball(0.2), 0.5), 2)):
        run("evaluate", "here", "--part", part, "--attack", text, "--seed", str(seed), "--json")
        row, = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
        wanted = examined(tmp_path / "here", part, attack, seed)
        assert (row["accuracy"], row["robust_accuracy"]) == wanted and row["radius"] == attack.ball.radius
        assert (row["attack"], row["seed"], row["part"]) == (text, seed, part)
        found.add(wanted)
    assert len(found) == 3, "the cases do not tell each other apart"
    summary = json.loads((tmp_path / "here" / "summary.json").read_text())
    assert (summary["accuracy"], summary["robust_accuracy"]) == examined(tmp_path / "here", "validation",
                                                                         PGD(20, Ball(0.1)))


def test_a_folder_of_runs_is_a_table_with_a_row_for_each_label(tmp_path, capsys):
    (tmp_path / "experiment.toml").write_text("""
seeds = 2
workers = 3
problem = {name = "adversarial_mlp", data = "images.npz", hidden = [8], perturbation = "pgd"}
stop = {rounds = 5}
[[compare]]
label = "slow, plain"
method = {name = "sgda", gamma = 0.1}
[[compare]]
label = "fast"
method = {name = "sgda", gamma = 0.5}
""")
    assert run("compare", "experiment.toml", "--out", "runs", "-q") == 0
    assert run("evaluate", "runs", "--json") == 0
    *lines, last = capsys.readouterr().out.splitlines()
    rows = json.loads(last)["rows"]
    assert sorted((row["label"], os.path.basename(row["run"])) for row in rows) == [
        (label, f"seed-{seed}") for label in ("fast", "slow, plain") for seed in (0, 1)]
    for label, line in zip(sorted({row["label"] for row in rows}), sorted(lines[-2:])):
        several = [row for row in rows if row["label"] == label]
        assert line.startswith(label) and shown([row["accuracy"] for row in several]) in line
        assert shown([row["robust_accuracy"] for row in several]) in line
    assert len(list(tmp_path.glob("runs/*/seed-*/evaluation.json"))) == 4


def test_runs_of_several_problems_are_told_apart(tmp_path, capsys):
    (tmp_path / "study.toml").write_text("""workers = 3
[problem]\nname = "adversarial_mlp"\nhidden = [8]\ndata = "images.npz"
[method]\nname = "sgda"\ngamma = 0.3
[stop]\nrounds = 3
[[compare]]\nlabel = "SGDA"
[[problems]]\nlabel = "near"\nproblem = {radius = 0.05}
[[problems]]\nlabel = "far"\nproblem = {radius = 0.2}
""")
    assert run("compare", "study.toml", "-q", "--out", "study") == 0
    capsys.readouterr()
    assert run("evaluate", "study", "--json") == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert {row["label"]: row["radius"] for row in rows} == {"near: SGDA": 0.05, "far: SGDA": 0.2}


def test_judging_again_replaces_the_verdict_and_nothing_else(tmp_path):
    trained("adversarial_mlp", "here")
    before = {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}
    run("evaluate", "here")
    run("evaluate", "here", "--part", "validation")
    after = {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}
    assert json.loads(after.pop("evaluation.json"))["part"] == "validation" and after == before


@pytest.mark.ranks(2)
def test_ranks_share_the_work_and_agree(comm, tmp_path, capsys):
    trained("adversarial_mlp", "here")
    run("evaluate", "here", "--json")
    alone = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"][0]
    (tmp_path / "here" / "evaluation.json").unlink()
    folder = comm.bcast(str(tmp_path / "here"), root=0)
    assert cli.execute(cli.parse(["evaluate", folder, "--json"]), comm) == 0
    printed = capsys.readouterr().out
    assert (comm.rank == 0) == bool(printed)
    if comm.rank == 0:
        row, = json.loads(printed.splitlines()[-1])["rows"]
        assert row | {"run": None} == alone | {"run": None}


# -- mistakes ----------------------------------------------------------------------------------------


def refused(*argv, words=()):
    """One sentence; the command line makes exit code 2 of it."""
    with pytest.raises(UserError) as caught:
        run("evaluate", *argv)
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


@pytest.mark.parametrize("argv, words", [
    (["nowhere"], ["'nowhere'", "manifest.json"]), (["images.npz"], ["'images.npz'", "no run directory"]),
    (["."], ["'.'", "no run directory"]), (["nowhere", "--part", "train"], ["'train'", "'test'"]), ([], ["RUN_DIR"]),
    (["nowhere", "--seed", "x"], ["--seed"]), (["nowhere", "--seed", "-1"], ["seed = -1"])])
def test_a_command_line_that_makes_no_sense(argv, words):
    refused(*argv, words=words)


@pytest.mark.parametrize("attack, words", [("fgsm", ["--attack fgsm"]), ("pgd:x", ["--attack pgd:x"]),
                                           ("pgd:3,eps=-1", ["eps = '-1'"])])
def test_a_bad_attack_leaves_no_verdict(attack, words, tmp_path):
    trained("adversarial_mlp", "here", rounds=1)
    refused("here", "--attack", attack, words=words)
    assert not (tmp_path / "here" / "evaluation.json").exists()


def test_a_run_of_another_problem_is_no_network(tmp_path):
    assert run("run", "bilinear", "--set", "problem.dim=4", "--workers", "3", "--set", "stop.rounds=5", "--out", "here",
               "-q") == 0
    refused("here", words=["'here'", "bilinear", "adversarial_mlp"])
    assert not (tmp_path / "here" / "evaluation.json").exists()


@pytest.mark.parametrize("name, content, words", [
    ("final.npz", None, ["cannot be read"]), ("final.npz", b"torn", ["cannot be read"]),
    ("final.npz", b"", ["cannot be read"]), ("manifest.json", b"{}", ["cannot be read"]),
    ("manifest.json", b"[]", ["cannot be read"]), ("manifest.json", b"{", ["cannot be read"]),
    ("manifest.json", b'{"experiment": 3, "label": "a"}', ["cannot be read"])])
def test_a_run_that_has_not_ended_or_was_damaged(name, content, words, tmp_path):
    trained("adversarial_mlp", "here", rounds=1)
    path = tmp_path / "here" / name
    path.unlink() if content is None else path.write_bytes(content)
    refused("here", words=["'here'", *words])


def test_half_an_archive_is_refused(tmp_path):
    trained("adversarial_mlp", "here", rounds=1)
    path = tmp_path / "here" / "final.npz"
    path.write_bytes(path.read_bytes()[:200])
    refused("here", words=["'here'", "cannot be read"])


def test_an_iterate_of_another_experiment_is_refused(tmp_path):
    trained("adversarial_mlp", "here", rounds=1)
    np.savez(tmp_path / "here" / "final.npz", z=np.zeros(5))
    refused("here", words=["'here'", "(5,)", "another experiment"])


def test_a_mistake_is_exit_code_2(capsys):
    assert launch.guard(lambda: run("evaluate", "nowhere"), None) == 2
    error = capsys.readouterr().err
    assert "nowhere" in error and "Traceback" not in error and error.count("\n") == 1
