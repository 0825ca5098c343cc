"""Ranks that each read their part of a file: together they hold every sample once, and solve the serial problem."""

import os
import re
import sys

import numpy as np
import pytest
from lanes import fast

import mpimasha as mm
from mpimasha.data import shards
from mpimasha.data.sparse_rows import SparseRows
from mpimasha.mpi.communicator import Communicator

WORKERS = 5


@pytest.fixture
def folder(comm, tmp_path):
    """A folder with the same data in two formats, written by rank 0 and known to all."""
    folder = comm.bcast(str(tmp_path))
    if comm.rank == 0:
        rng = np.random.default_rng(0)
        X = np.where(rng.uniform(size=(43, 7)) < 0.5, rng.standard_normal((43, 7)), 0.0)
        X[:, 0], y = 1.0, np.where(rng.uniform(size=43) < 0.5, 1.0, 3.0)
        y[:6] = [3, 1, 3, 3, 1, 1]
        lines = [f"{label:g} " + " ".join(f"{j + 1}:{v!r}" for j, v in enumerate(row.tolist()) if v)
                 for label, row in zip(y, X)]
        lines[20] += " # " + "x" * 900  # one line longer than the bytes of several workers
        with open(f"{folder}/set.svm", "w") as file:
            file.write("\n".join(lines))
        np.save(f"{folder}/X.npy", X)
        np.save(f"{folder}/y.npy", y)
    comm.barrier()
    return folder


def problems(folder):
    sources = {"svm": dict(data=f"{folder}/set.svm"),
               "npy": dict(data=f"{folder}/X.npy", labels=f"{folder}/y.npy")}
    return {f"{kind} {split} {loss} standardise={standardise}":
            lambda o=source | dict(split=split, loss=loss, standardise=standardise):
                mm.RobustRegression(workers=WORKERS, **o)
            for kind, source in sources.items() for split in ("even", "shuffled", "sorted")
            for loss, standardise in (("logistic", True), ("square", True), ("square", False))}


def content(problem, worker):
    X, y = problem.shard(worker)
    return b"".join(np.ascontiguousarray(a).tobytes() for a in (*shards.arrays(X), y))


def constants(problem):
    return problem.L, [problem.lipschitz(m) for m in range(WORKERS)], problem.identity(), problem.n, problem.N


@pytest.mark.ranks(3, slow=(2, 4))
def test_every_rank_holds_its_workers_shards_of_the_serial_problem_and_no_others(comm, folder):
    found = []
    for case, make in problems(folder).items():
        alone, together = make(), make()
        alone.load(Communicator())
        together.load(Communicator(comm))
        owned = range(comm.rank * WORKERS // comm.size, (comm.rank + 1) * WORKERS // comm.size)
        held = together._shards
        if held.owned != owned or len(held.X) != len(held.y) or len(held.y) != len(owned):
            found.append(f"{case}: rank {comm.rank} holds {held.owned}")
        kept = sum({id(base): base.size for base in map(_base, held.X)}.values())
        if kept > sum(X.values.size if isinstance(X, SparseRows) else X.size for X in held.X):
            found.append(f"{case}: rank {comm.rank} keeps {kept} numbers alive")
        found += [f"{case}: shard {m}" for m in owned if content(alone, m) != content(together, m)]
        found += [f"{case}: constants"] if constants(alone) != constants(together) else []
    found = [line for lines in comm.allgather(found) for line in lines]
    assert not found, "\n".join(found)


def _base(X):
    """The numbers that live as long as the matrix does."""
    array = X.values if isinstance(X, SparseRows) else X
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


@pytest.mark.ranks(3, slow=(2,), limit=120)
def test_runs_on_files_are_bit_identical_to_the_serial_ones(comm, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = []
    for case, make in problems(folder).items():
        runs = [mm.solve(make(), mm.Masha1(mm.RandK(3)), comm=c, seed=1, reference=None,
                         stop=mm.Stop(rounds=30, relative_error=0)) for c in (None, comm)]
        if runs[0].z.tobytes() != runs[1].z.tobytes() or not runs[0].z.any():
            found.append(f"{case}: z")
        if runs[0].gamma != runs[1].gamma or runs[0].summary["residual"] != runs[1].summary["residual"]:
            found.append(f"{case}: gamma or residual")
    found = [line for lines in comm.allgather(found) for line in lines]
    assert not found, "\n".join(found)


@pytest.mark.ranks(3)
def test_loading_bytes_are_no_bytes_of_the_rounds(comm, folder):
    world = Communicator(comm)
    mm.RobustRegression(data=f"{folder}/set.svm", workers=WORKERS).load(world)
    assert world.sent["rounds"] == world.sent["observers"] == 0 < world.sent["set-up"]


@pytest.mark.ranks(3, slow=(2,))
def test_a_problem_loaded_by_ranks_is_loaded_again_by_fewer(comm, folder):
    problem = mm.RobustRegression(data=f"{folder}/set.svm", workers=WORKERS)
    problem.load(Communicator(comm))
    kept, n = problem._shards, problem.n
    problem.load(Communicator(comm))
    assert problem._shards is kept
    problem.load(Communicator())
    assert problem.n == n and [len(problem.shard(m)[1]) for m in range(WORKERS)] and problem._shards is not kept


# -- mistakes --------------------------------------------------------------------------------------


def said(problem, comm):
    try:
        mm.solve(problem, mm.Optimistic(), comm=comm, reference=None, stop=mm.Stop(rounds=3, relative_error=0))
    except mm.UserError as error:
        return str(error)
    return None


@pytest.mark.ranks(3, slow=(2,))
def test_what_is_wrong_with_a_file_is_known_to_all_ranks(comm, folder):
    if comm.rank == 0:
        text = open(f"{folder}/set.svm").read().split("\n")
        text[-2] = "1 3:1 2:1"
        open(f"{folder}/torn.svm", "w").write("\n".join(text))
        open(f"{folder}/torn.npy", "wb").write(open(f"{folder}/X.npy", "rb").read()[:-8])
        os.mkdir(f"{folder}/folder.svm")
    comm.barrier()
    cases = {"line 42, column 7: '2:1' has an index not above": dict(data=f"{folder}/torn.svm"),
             "no.svm' does not exist": dict(data=f"{folder}/no.svm"),
             "cannot be read": dict(data=f"{folder}/folder.svm"),
             "the file is torn": dict(data=f"{folder}/torn.npy", labels=f"{folder}/y.npy"),
             "exceeds the 43 samples": dict(data=f"{folder}/set.svm", workers=44),
             "ranks for workers = 1": dict(data=f"{folder}/set.svm", workers=1)}
    for words, options in cases.items():
        sentences = comm.allgather(said(mm.RobustRegression(**{"workers": WORKERS, **options}), comm))
        assert len(set(sentences)) == 1 and words in str(sentences[0]), (words, sentences)


@pytest.mark.ranks(3)
def test_a_file_that_one_rank_cannot_see_is_no_hang(comm, folder):
    name = "set.svm" if comm.rank != 1 else "nowhere.svm"
    sentences = comm.allgather(said(mm.RobustRegression(data=f"{folder}/{name}", workers=WORKERS), comm))
    assert len(set(sentences)) == 1 and "nowhere.svm' does not exist" in sentences[0]


@pytest.mark.launches
@pytest.mark.parametrize("settings, words", fast([
    (["problem.data=no.svm"], "problem.data = 'no.svm' does not exist"),
    (["problem.data=bad.svm"], "problem.data = 'bad.svm', line 2, column 6: 'x' is no number"),
    (["problem.data=good.svm", "stop.gap=0.1"], "stop.gap cannot be computed")], 1))
def test_a_mistake_known_only_after_reading_is_one_sentence_and_exit_code_2(run_job, tmp_path, settings, words):
    (tmp_path / "bad.svm").write_text("1 1:1\n-1 1:x\n1 1:1\n")
    (tmp_path / "good.svm").write_text("1 1:1\n-1 2:1\n1 1:1\n")
    before = set(os.listdir(tmp_path))
    options = [word for setting in settings for word in ("--set", setting)]
    for start in ([], ["-n", "3"]):
        command = ["run", *start, "robust_regression", "--workers", "3", *options]
        ended = run_job([sys.executable, "-m", "mpimasha", *command])
        assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
        assert len(re.findall("mpimasha: error: ", ended.stderr)) == 1 and words in ended.stderr
        assert set(os.listdir(tmp_path)) == before


@pytest.mark.slow
@pytest.mark.launches
def test_a_comparison_on_a_file_checks_every_block_after_reading(run_job, tmp_path):
    (tmp_path / "good.svm").write_text("1 1:1\n-1 2:1\n1 1:1\n")
    text = "workers = 2\n[problem]\nname = 'robust_regression'\ndata = 'good.svm'\n[stop]\nrounds = 3\n" \
           "relative_error = 0\n[[compare]]\nmethod.name = 'og'\n[[compare]]\nmethod.name = 'masha1'\n" \
           "compressor.up = 'randk:{k}'\n"
    for k, code in ((99, 2), (2, 0)):
        (tmp_path / "two.toml").write_text(text.format(k=k))
        ended = run_job([sys.executable, "-m", "mpimasha", "compare", "-n", "2", "two.toml", "--out", "out"])
        assert ended.returncode == code, ended.stderr
        assert (tmp_path / "out").exists() == (code == 0)
