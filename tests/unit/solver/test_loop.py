"""The loop's stations: looks measure nothing; a run that is asked stops with all it knows, and goes on from there."""

import math
import shutil
import time

import numpy as np
import pytest

import mpimasha as mm
from mpimasha.solver import loop
from mpimasha.solver.checkpoint import Checkpoints, Saving
from mpimasha.solver.notice import Notice
from mpimasha.solver.observers import Observer

METHOD = mm.Masha1(mm.QSGD(4), gamma=0.05, tau=0.8)
FOR_EVER = {"rounds": 10**9, "relative_error": 0}


class Watch(Observer):
    """The rounds of checks; `then` is called at the check of round k."""

    def __init__(self, k=None, then=None):
        self.checks, self.k, self.then = [], k, then

    def check(self, run, row):
        self.checks.append(run.k)
        if run.k == self.k:
            self.then()


def solved(saving=None, notice=None, watch=None, every="log", comm=None, **stop):
    """(result, rounds of checks)."""
    watch = watch or Watch()
    problem = mm.Bilinear(dim=4, workers=4, kappa=5.0)
    result = mm.solve(problem, METHOD, comm=comm, seed=1, saving=saving, notice=notice, observers=[watch], every=every,
                      stop=mm.Stop(**stop))
    return result, watch.checks


def asked_at(k, **options):
    """A run that is given notice at the check of round k."""
    notice = Notice()
    return solved(notice=notice, watch=Watch(k, lambda: setattr(notice, "asked", True)), **options)


def rows_of(result):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in result.rows]


def same(one, other):
    return (one.status, one.rounds, one.z.tobytes(), one.w.tobytes(), rows_of(one)) == \
        (other.status, other.rounds, other.z.tobytes(), other.w.tobytes(), rows_of(other))


def saved(folder):
    return sorted(int(path.parent.name.removeprefix("round-")) for path in
                  (folder / "checkpoints").glob("round-*/complete.json"))


@pytest.fixture
def saving(tmp_path):
    return lambda every=0, resume=False: Saving(Checkpoints(tmp_path, "id"), every, resume)


@pytest.fixture
def looks(monkeypatch):
    """Looks at every round."""
    monkeypatch.setattr(loop, "_LOOK", 0.0)


# -- looks -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unwatched():
    """To its target, with checks more than a round apart at the end."""
    result, checks = solved(relative_error=1e-6)
    assert result.converged and checks[-1] - checks[-2] > 3
    return result, checks


@pytest.mark.parametrize("watched, often", [("notice", False), ("1h", False), ("seconds", False), ("all", False),
                                            ("all", True)])
def test_looking_at_clock_and_signals_changes_nothing(unwatched, saving, monkeypatch, watched, often):
    if often:
        monkeypatch.setattr(loop, "_LOOK", 0.0)
    seconds = 3600.0 if watched in ("seconds", "all") else 0.0
    result, checks = solved(saving("1h") if watched in ("1h", "all") else None,
                            Notice() if watched in ("notice", "all") else None, relative_error=1e-6, seconds=seconds)
    assert same(result, unwatched[0]) and checks == unwatched[1]


def test_neither_do_checkpoints_by_rounds(unwatched, saving):
    result, checks = solved(saving(317), Notice(), relative_error=1e-6)
    assert same(result, unwatched[0]) and checks == unwatched[1]


def test_looks_do_happen_at_every_round_if_so_wanted(looks, monkeypatch):
    seen = []
    monkeypatch.setattr(loop.Loop, "_told", lambda self: seen.append(self.run.k))
    _, checks = solved(notice=Notice(), every=1000, rounds=1000, relative_error=0)
    assert seen == list(range(1001)) and len(checks) < 600


def test_looks_are_a_while_apart(monkeypatch):
    monkeypatch.setattr(loop.Loop, "_of_a_round", lambda self: loop._LOOK / 7)
    seen = []
    monkeypatch.setattr(loop.Loop, "_told", lambda self: seen.append(self.run.k))
    _, checks = solved(notice=Notice(), every=10**9, rounds=3000, relative_error=0)
    assert set(checks) < set(seen) and set(np.diff(seen)) == set(range(1, 8))


def test_rows_stay_about_fifty_a_decade_however_often_it_looks(looks):
    result, _ = solved(notice=Notice(), rounds=3000, relative_error=0)
    rounds = [row["round"] for row in result.rows]
    assert rounds == sorted(set(rounds)) and rounds[-1] == 3000
    assert [40 <= sum(low <= k < 10 * low for k in rounds) <= 50 for low in (100, 300)] == [True, True]


# -- notice ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("every, k", [("log", 0), ("log", 433), (100, 37), (100, 400)])
def test_a_run_that_is_asked_stops_soon_with_a_checkpoint_and_goes_on_like_one_that_was_not(tmp_path, saving, looks, k,
                                                                                          every):
    common = {"every": every, "rounds": 700, "relative_error": 0}
    whole, checks = solved(**common)
    k = max(c for c in checks if c <= k)
    stopped, _ = asked_at(k, saving=saving(), **common)
    assert (stopped.status, stopped.rounds, saved(tmp_path)) == ("stopped", k + 1, [k + 1])
    with np.load(tmp_path / "checkpoints" / f"round-{k + 1:012d}" / "shared.npz") as state:
        assert state["method.z"].tobytes() == stopped.z.tobytes()
    assert stopped.rows[-1]["round"] == k + 1  # which is no row of the whole, unless it is due
    again, rest = solved(saving(resume=True), **common)
    assert same(again, whole)
    assert rest == [c for c in checks if c > k + 1]


def test_a_run_without_a_folder_just_stops(looks):
    stopped, _ = asked_at(9, **FOR_EVER)
    assert (stopped.status, stopped.rounds, stopped.converged) == ("stopped", 10, False)


def test_a_run_that_is_asked_before_it_begins_leaves_its_start(tmp_path, saving):
    notice = Notice()
    notice.asked = True
    stopped, _ = solved(saving(), notice, **FOR_EVER)
    assert (stopped.status, stopped.rounds, saved(tmp_path)) == ("stopped", 0, [0])
    assert same(solved(saving(resume=True), rounds=40, relative_error=0)[0], solved(rounds=40, relative_error=0)[0])


def test_a_run_that_ends_where_it_is_asked_has_ended(looks):
    result, _ = asked_at(39, rounds=40, relative_error=0)
    assert result.status == "rounds"


@pytest.mark.slow
@pytest.mark.ranks(3)
def test_notice_on_any_one_rank_stops_all_at_the_same_round(comm, tmp_path, monkeypatch):
    folder = comm.bcast(tmp_path)
    whole, _ = solved(comm=comm, rounds=60, relative_error=0)
    for rank in range(comm.size):
        saving = [Saving(Checkpoints(folder / str(rank), "id"), 0, resume) for resume in (False, True)]
        notice = Notice()
        watch = Watch(20, lambda: setattr(notice, "asked", comm.rank == rank))
        stopped, _ = solved(saving[0], notice, watch, comm=comm, **FOR_EVER)
        assert comm.allgather((stopped.status, stopped.rounds)) == comm.size * [("stopped", 21)]
        assert comm.bcast(saved(folder / str(rank))) == [21]
        again, _ = solved(saving[1], Notice(), comm=comm, rounds=60, relative_error=0)
        assert comm.allgather(same(again, whole)) == comm.size * [True]


# -- the end of a batch job, and limits of seconds -------------------------------------------------


def test_a_run_in_a_batch_job_saves_itself_first_and_stops_before_the_end(tmp_path, saving, monkeypatch):
    monkeypatch.setattr(loop, "_LOOK", 0.05)
    end = time.time() + loop._RESERVE + 2
    monkeypatch.setattr("mpimasha.solver.loop.batch.end", lambda: end)
    before = []
    watch = Watch(1, lambda: before.extend(saved(tmp_path)))
    stopped, _ = solved(saving(), Notice(), watch, seconds="slurm", **FOR_EVER)
    assert time.time() < end
    assert before == [0] and stopped.status == "stopped"
    assert saved(tmp_path) == [0, stopped.rounds] and stopped.rounds > 1
    shutil.rmtree(tmp_path / "checkpoints" / f"round-{stopped.rounds:012d}")
    again, _ = solved(saving(resume=True), rounds=50, relative_error=0)
    assert same(again, solved(rounds=50, relative_error=0)[0])


def test_with_too_little_time_left_a_run_does_not_begin(tmp_path, saving, monkeypatch):
    monkeypatch.setattr("mpimasha.solver.loop.batch.end", lambda: time.time() + 5)
    stopped, _ = solved(saving(), seconds="slurm", **FOR_EVER)
    assert (stopped.status, stopped.rounds, saved(tmp_path)) == ("stopped", 0, [0])


@pytest.mark.slow
def test_what_a_checkpoint_takes_is_kept_in_reserve(tmp_path, saving, monkeypatch):
    monkeypatch.setattr(loop, "_LOOK", 0.05)
    end = time.time() + loop._RESERVE + 3
    monkeypatch.setattr("mpimasha.solver.loop.batch.end", lambda: end)
    real = Checkpoints.save

    def slow(self, run, notes):
        time.sleep(1)
        real(self, run, notes)

    monkeypatch.setattr(Checkpoints, "save", slow)
    stopped, _ = solved(saving(), seconds="slurm", **FOR_EVER)
    assert stopped.status == "stopped" and time.time() < end - loop._RESERVE - 0.5


def test_in_a_job_without_an_end_a_run_reaches_its_target(unwatched, tmp_path, saving, monkeypatch):
    monkeypatch.setattr("mpimasha.solver.loop.batch.end", lambda: math.inf)
    result, checks = solved(saving(), seconds="slurm", relative_error=1e-6)
    assert same(result, unwatched[0]) and checks == unwatched[1]
    assert not (tmp_path / "checkpoints").exists()


def test_slurm_is_not_asked_where_nobody_wants_it(monkeypatch):
    monkeypatch.setattr("mpimasha.solver.loop.batch.end", lambda: pytest.fail("asked"))
    assert solved(rounds=3, seconds=60.0, relative_error=0)[0].status == "rounds"


def test_a_limit_of_seconds_ends_as_seconds_with_a_checkpoint(tmp_path, saving):
    result, _ = solved(saving(), rounds=0, seconds=0.2, relative_error=0)
    assert result.status == "seconds" and not result.converged and result.seconds >= 0.2
    assert saved(tmp_path) == [result.rounds]


# -- checkpoints by rounds, and other limits -------------------------------------------------------


@pytest.mark.parametrize("every, at", [(250, [250, 500, 750, 1000]), (237, [237, 474, 711, 948])])
def test_checkpoints_are_at_the_very_rounds_that_were_asked_for(saving, monkeypatch, every, at):
    rounds = []
    monkeypatch.setattr(Checkpoints, "save", lambda self, run, notes: rounds.append(run.k))
    _, checks = solved(saving(every), every=1000, rounds=1000, relative_error=0)
    assert rounds == at
    assert checks == solved(every=1000, rounds=1000, relative_error=0)[1] and set(at) - set(checks)


@pytest.mark.parametrize("first", [888, 1111])
def test_a_run_that_is_given_more_rounds_goes_on_with_the_checks_it_would_have_had(saving, unwatched, first):
    solved(saving(first), rounds=first, relative_error=1e-6)
    again, checks = solved(saving(resume=True), relative_error=1e-6)
    assert same(again, unwatched[0])
    assert [k for k in checks if k > first] == [k for k in unwatched[1] if k > first]
