"""A run that is interrupted and goes on from its checkpoint ends as if nothing had been, on any number of ranks."""

import json

import numpy as np
import pytest
from lanes import fast
from test_local_parts import Affine
from test_ranks_do_not_matter import CASES, bilinear, bytes_of, regression, sampled

import mpimasha as mm
from mpimasha.commands import cli
from mpimasha.methods import METHODS
from mpimasha.problems.adversarial_mlp import AdversarialMLP
from mpimasha.solver.checkpoint import Checkpoints, Saving
from mpimasha.solver.observers import Observer

ROUNDS, EVERY = 24, 5
SUMMARY = ("rounds", "uplink_bits_per_worker", "downlink_bits_per_worker", "operator_calls", "residual", "gap",
           "gap_average", "relative_error", "gamma", "tau")


def mlp(**options):
    rng, labels = np.random.default_rng(0), np.arange(45) % 3
    pictures = np.clip(0.7 * rng.random((45, 4, 4)) + 0.3 * labels[:, None, None] - 0.1, 0, 1), labels
    return AdversarialMLP(**{"data": pictures, "hidden": [5], "workers": 4} | options)


def game(**options):
    return mm.MatrixGame(size=6, lam=0.0, workers=4, **options)


MORE = {
    "eg, average": (game, mm.Extragradient(), "float64"),
    "masha1, average": (game, mm.Masha1(mm.QSGD(4), gamma=0.1, tau=0.8), "float32"),
    "default, average": (game, mm.DianaOG(), "float32"),
    "og, average": (lambda: mm.MatrixGame(size=5, lam=0.0, workers=3), mm.Optimistic(), "float32"),
    "eg, rms, warmup": (bilinear, mm.Extragradient(gamma=0.05).practised(metric="rms", warmup=9), "float32"),
    "masha1, rms, extrapolation, decay":
        (bilinear, mm.Masha1(gamma=0.05, tau=0.7).practised(metric="rms", extrapolation=0.5, decay=20), "float32"),
    "sgda, adam": (sampled, mm.SGDA(gamma=0.02, batch=2).practised(metric="adam"), "float32"),
    "ef_sgda, adam, down": (bilinear, mm.EFSGDA(mm.TopK(3), gamma=0.02, down=mm.TopK(5)).practised(metric="adam"),
                            "float32"),
    "refresh both ways": (bilinear, mm.Masha1(mm.QSGD(4), gamma=0.1, tau=0.6, down=mm.QSGD(3), refresh=mm.TopK(5),
                                              refresh_down=mm.TopK(7)), "float32"),
    "default by allgather": (bilinear, mm.DianaOG(mm.AbsMax(2)), "float32", "allgather"),
    "local parts, masha1": (Affine, mm.Masha1(mm.QSGD(4), gamma=0.1, tau=0.6), "float32"),
    "local parts, previous": (Affine, mm.Masha1(mm.RandK(2), gamma=0.1, tau=0.6, reference="previous"), "float64"),
    "local parts, compressed refresh":
        (Affine, mm.Masha1(mm.QSGD(4), gamma=0.1, tau=0.6, refresh=mm.TopK(2)), "float32"),
    "local parts, masha2": (lambda: Affine(local_step=0.2, box=1.0), mm.Masha2(mm.TopK(2), gamma=0.1, tau=0.6),
                            "float32"),
    "local parts, diana_og in part": (Affine, mm.DianaOG(mm.AbsMax(2), gamma=0.1, participation=2), "float32"),
    "local parts, ef_sgda": (Affine, mm.EFSGDA(mm.TopK(2), gamma=0.1, batch=2), "float32"),
    "mlp, masha1": (lambda: mlp(radius_warmup=15),
                    mm.Masha1(mm.RandK(0.1), gamma=0.02, batch=4).practised(metric="rms"), "float32"),
    "mlp, previous, compressed refresh":
        (mlp, mm.Masha1(mm.QSGD(4), gamma=0.02, tau=0.6, reference="previous", refresh=mm.TopK(9)), "float32"),
    "mlp, masha2 in part": (mlp, mm.PPMasha2(mm.TopK(9), gamma=0.02, tau=0.6, participation=2), "float32"),
    "mlp, diana_og in part": (mlp, mm.DianaOG(mm.AbsMax(2), gamma=0.02, participation=2), "float32"),
    "mlp, sgda, adam": (mlp, mm.SGDA(gamma=0.01, batch=3).practised(metric="adam"), "float32"),
    "mlp, eg, universal": (lambda: mlp(perturbation="universal", radius_warmup=9), mm.Extragradient(gamma=0.05),
                           "float32"),
    "mlp, pgd": (lambda: mlp(perturbation="pgd", steps=2, radius_warmup=9), mm.DianaOG(mm.AbsMax(3), gamma=0.05),
                 "float32"),
}
ALL = CASES | MORE
ONE_EACH = {type(method): case for case, (_, method, *_) in reversed(ALL.items())}
# Resumed on another number of ranks; variables of workers only where all have some, as in "mlp".
SOME = [case for case in [*MORE, *list(CASES)[::4]] if not case.startswith("local parts")]


def cut(case):
    """The round at which the checkpoint is written, not the same for all cases."""
    return int(np.random.default_rng(list(ALL).index(case)).integers(1, ROUNDS))


class Interrupted(Exception):
    pass


class Interrupt(Observer):
    """Ends the run soon after round k."""

    def __init__(self, k):
        self.k = k

    def check(self, run, row):
        if run.k >= min(ROUNDS, self.k + 2):
            raise Interrupted


def solved(make, method, wire, transport="auto", comm=None, saving=None, observers=(), rounds=ROUNDS):
    problem = make()
    reference = None if problem.scored or problem.n is None else np.ones(problem.n)
    return mm.solve(problem, method, comm=comm, seed=4, wire=wire, transport=transport, every=EVERY, on_error="raise",
                    reference=reference, saving=saving, observers=observers,
                    stop=mm.Stop(rounds=rounds, relative_error=0))


def interrupted(case, folder, comm=None):
    """Leave a checkpoint of round `cut` in `folder`."""
    k = cut(case)
    with pytest.raises(Interrupted):
        solved(*ALL[case], comm=comm, saving=Saving(Checkpoints(folder, case), k), observers=[Interrupt(k)])


def resumed(case, folder, comm=None, rounds=ROUNDS):
    return solved(*ALL[case], comm=comm, saving=Saving(Checkpoints(folder, case), resume=True), rounds=rounds)


def differences(case, whole, again, without=("seconds",)):
    """What of a resumed run is not the uninterrupted one's."""
    found = [] if np.isfinite(whole.z).all() and whole.z.any() else ["nothing to compare"]
    found += [name for name in ("z", "w", "average")
              if bytes_of(getattr(whole, name)) != bytes_of(getattr(again, name))]
    found += [key for key in SUMMARY if json.dumps(whole.summary[key]) != json.dumps(again.summary[key])]
    if again.rows:  # rank 0's
        kept = [[{key: value for key, value in row.items() if key not in without} for row in result.rows]
                for result in (whole, again)]
        found += ["rows"] if json.dumps(kept[0]) != json.dumps(kept[1]) else []
    return [f"{case}, cut at {cut(case)}: {what}" for what in found]


def test_every_method_is_among_the_cases():
    assert {type(method) for _, method, *_ in ALL.values()} == set(METHODS.values())


@pytest.mark.parametrize("case", fast(ALL, *ONE_EACH.values()))
def test_a_resumed_run_ends_bit_for_bit_like_the_uninterrupted_one(case, tmp_path):
    whole = solved(*ALL[case])
    interrupted(case, tmp_path)
    assert not differences(case, whole, resumed(case, tmp_path))


@pytest.mark.ranks(3, limit=240)
@pytest.mark.parametrize("every", fast([5, 1], 0))
def test_a_run_saved_on_three_ranks_goes_on_on_one_two_and_three(comm, tmp_path, every):
    three = comm.Split(comm.rank < 3)
    if comm.rank >= 3:  # of a larger world
        three.Free()
        return
    comm, found = three, []
    part = comm.Split(comm.rank < 2)
    for case in SOME[::every]:
        folder = comm.bcast(tmp_path / str(SOME.index(case)))
        whole = solved(*ALL[case])
        interrupted(case, folder, comm)
        runs = [resumed(case, folder, comm), resumed(case, folder, part)]  # on three; on two, and on one
        for again in runs:
            found += differences(case, whole, again, without=("seconds", "wire_bytes"))
    part.Free()
    found = [line for lines in comm.allgather(found) for line in lines]
    assert not found, "\n".join(found)


@pytest.mark.ranks(slow=(4,), limit=240)
def test_a_run_saved_on_four_ranks_goes_on_for_200_rounds_on_one_two_and_three(comm, tmp_path):
    """The same to the last bit, where 1e-9 was asked for.  Every third method: all of them take a minute more."""
    parts, found = {n: comm.Split(comm.rank < n) for n in (1, 2, 3)}, []
    cases = {type(method): case for case, (_, method, *_) in reversed(ALL.items())}
    for i, case in enumerate(list(cases.values())[::3]):
        folder, rounds = comm.bcast(tmp_path / str(i)), cut(case) + 200
        whole = solved(*ALL[case], rounds=rounds) if comm.rank == 0 else None
        interrupted(case, folder, comm)
        for n, part in parts.items():
            if comm.rank < n:
                again = resumed(case, folder, part, rounds)
                found += differences(case, whole, again, without=("seconds", "wire_bytes")) if whole else []
            comm.Barrier()
    for part in parts.values():
        part.Free()
    found = comm.bcast(found)
    assert not found, "\n".join(found)


def test_bytes_on_the_wire_go_on_counting(tmp_path):
    """On one rank: what it would have handed over is counted where it is more than one."""
    case = "default"
    interrupted(case, tmp_path)
    whole, again = solved(*ALL[case]), resumed(case, tmp_path)
    assert again.wire_bytes_per_rank == whole.wire_bytes_per_rank
    assert again.seconds > whole.rows[0]["seconds"]


@pytest.mark.slow
@pytest.mark.ranks(2)
def test_bytes_on_the_wire_go_on_counting_on_as_many_ranks(comm, tmp_path):
    case, folder = "masha1 qsgd", comm.bcast(tmp_path)
    whole = solved(*ALL[case], comm=comm)
    interrupted(case, folder, comm)
    again = resumed(case, folder, comm)
    assert again.wire_bytes_per_rank == whole.wire_bytes_per_rank > 0
    assert not differences(case, whole, again)


class Watch(Observer):
    def start(self, run):
        self.first = run.k


def test_a_second_interruption_and_a_checkpoint_after_it(tmp_path):
    case, checkpoints = "masha1 qsgd", Checkpoints(tmp_path, "id")
    whole = solved(*ALL[case])
    for k, resume in ((3, False), (9, True), (15, True)):
        with pytest.raises(Interrupted):
            solved(*ALL[case], saving=Saving(checkpoints, 3, resume), observers=[Interrupt(k)])
    watch = Watch()
    again = solved(*ALL[case], saving=Saving(checkpoints, 3, True), observers=[watch])
    assert watch.first == 15 and not differences(case, whole, again)


def test_a_method_that_adapts_goes_on_with_its_step_size(tmp_path):
    """So that the equality above is not that of constants."""
    problem = regression()
    gammas = []

    class Note(Observer):
        def check(self, run, row):
            gammas.append(run.method.gamma)

    mm.solve(problem, mm.DianaOG(), stop=mm.Stop(rounds=ROUNDS, relative_error=0), reference=None, observers=[Note()])
    assert len(set(gammas)) > 3


# -- on the command line ---------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return lambda *argv: cli.execute(cli.parse([*argv, "-q"]), None)


def settings(**values):
    return [word for key, value in values.items() for word in ("--set", f"{key.replace('__', '.')}={value}")]


def rows_of(folder):
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


SMALL = ["bilinear", "--workers", "3", "--seed", "2", *settings(problem__dim=4, stop__relative_error=0)]


@pytest.mark.parametrize("every, saved, stopped, end", [
    (10, 7, 33, 60), ("log", 7, 33, 60), (10, 10, 35, 60), (1, 7, 35, 60), (7, 11, 24, 25),
    (10, 20, 60, 60), (10, 30, 60, 60), ("log", 30, 60, 60)])  # resumed at its end
def test_rows_have_neither_gap_nor_duplicate(run, tmp_path, every, saved, stopped, end):
    common = [*SMALL, *settings(observe__every=every, checkpoint__every=saved)]
    assert run("run", *common, "--out", "whole", *settings(stop__rounds=end)) == 0
    assert run("run", *common, "--out", "cut", *settings(stop__rounds=stopped)) == 0
    before = json.loads((tmp_path / "cut" / "manifest.json").read_text())
    assert run("resume", "cut", *settings(stop__rounds=end)) == 0
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "whole")
    finals = [np.load(tmp_path / name / "final.npz")["z"].tobytes() for name in ("whole", "cut")]
    assert finals[0] == finals[1]
    told = json.loads((tmp_path / "cut" / "manifest.json").read_text())
    before["experiment"]["stop"]["rounds"] = end
    assert {key: told[key] for key in before} == before
    assert [again["round"] for again in told["resumed"]] == [stopped // saved * saved]
    assert run("resume", "cut") == 0  # again, when all is done
    assert json.loads((tmp_path / "cut" / "manifest.json").read_text()) == told
    assert run("resume", "cut", *settings(stop__rounds=end)) == 0
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "whole")
    assert len(json.loads((tmp_path / "cut" / "manifest.json").read_text())["resumed"]) == 2


@pytest.mark.parametrize("every", [10, "log"])
def test_a_limit_of_seconds_ends_with_code_8_and_a_checkpoint(run, tmp_path, every):
    common = [*SMALL, *settings(observe__every=every, checkpoint__every=0, stop__rounds=60)]
    assert run("run", *common, "--out", "whole") == 0
    assert run("run", *common, "--out", "cut", *settings(stop__seconds=1e-9)) == 8
    summary = json.loads((tmp_path / "cut" / "summary.json").read_text())
    assert summary["rounds"] < 60 and not summary["converged"]
    codes = []
    while not codes or codes[-1] == 8:  # a round or so a job
        codes.append(run("resume", "cut", *(settings(stop__seconds=0) if len(codes) == 4 else [])))
    assert codes == [8] * 4 + [0]
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "whole")
    told = json.loads((tmp_path / "cut" / "manifest.json").read_text())
    rounds = [again["round"] for again in told["resumed"]]
    assert len(rounds) == 5 and rounds == sorted(set(rounds))


def test_another_experiment_in_the_manifest_is_refused(run, tmp_path):
    run("run", *SMALL, "--out", "cut", *settings(checkpoint__every=5, stop__rounds=12))
    told = json.loads((tmp_path / "cut" / "manifest.json").read_text())
    told["experiment"]["seed"] = 3
    (tmp_path / "cut" / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(mm.UserError, match="no whole checkpoint"):
        run("resume", "cut", *settings(stop__rounds=20))
