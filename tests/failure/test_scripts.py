"""A script of the user's that calls `solve` on several ranks, which no command line guards."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from lanes import fast

import mpimasha as mm

SCRIPT = str(Path(__file__).parent / "script.py")
SOON = 8.0  # seconds from the failure to the end of the job: a `UserError` waits 3 for the others
SAID = {"error": "failed:\nTraceback", "interrupt": "was interrupted", "exit": "failed:\nTraceback",
        "user-error": "failed:\nTraceback", "observer-error": "failed:\nTraceback",
        "observer-user-error": "failed:\nTraceback"}


@pytest.mark.launches
@pytest.mark.parametrize("how", fast(SAID, "error"))
def test_an_error_on_one_rank_inside_solve_ends_the_job_and_names_the_rank(run_job, mpiexec, how):
    job = run_job([mpiexec, "-n", "3", sys.executable, SCRIPT, how])
    assert not job.timed_out and job.returncode != 0
    assert job.time - float(re.search(r"failing at ([\d.]+)", job.stderr)[1]) < SOON
    assert re.findall(r"mpimasha: rank (\d) of 3 on \S+ (failed:\nTraceback|was interrupted)", job.stderr) == \
        [("1", SAID[how])]


Z = np.zeros(12)
DIFFERENT = {  # argument named: what rank 1 asks for
    "seed": {"seed": 1},
    "wire": {"wire": "float32"},
    "transport": {"transport": "star"},
    "stop": {"stop": mm.Stop(rounds=5, relative_error=0, residual=1e-3)},
    "every": {"every": 2},
    "reference": {"reference": Z + 1e-16},
    "saving": {"saving": mm.Saving()},
    "whether there is a notice": {"notice": mm.Notice()},
    "problem.n": {"problem": mm.Bilinear(dim=5, workers=5)},
    "problem.workers": {"problem": mm.Bilinear(dim=6, workers=6)},
    "problem.name": {"problem": mm.MatrixGame(size=6, workers=5)},
    "problem": {"problem": mm.Bilinear(dim=6, workers=5, seed=1)},
    "method": {"method": mm.Optimistic(gamma=0.01)},
    "a parameter of method masha1": {"method": mm.Masha1(mm.RandK(3), gamma=0.01, tau=0.5)},
}
COMPRESSORS = (mm.RandK(4), mm.QSGD(4))  # another number, another kind


def refused(comm, **different):
    """What `solve` says where rank 1 asks for something different; None where it does not mind."""
    asked = {"problem": mm.Bilinear(dim=6, workers=5), "method": mm.Masha1(mm.RandK(3), gamma=0.01), "seed": 0,
             "stop": mm.Stop(rounds=5, relative_error=0), "reference": Z}
    try:
        mm.solve(**asked | (different if comm.rank == 1 else {}), comm=comm)
    except mm.UserError as error:
        return str(error)
    return None


@pytest.mark.ranks(3)
def test_an_argument_that_differs_on_one_rank_is_named_on_all(comm):
    for name, different in DIFFERENT.items():
        said = set(comm.allgather(refused(comm, **different)))
        assert len(said) == 1, (name, said)
        assert re.match(rf"{name} is (.* on rank 1 and .* on rank 0|not the same on ranks 0 and 1): call solve with "
                        "the same on all ranks$", *said), said
    for other in COMPRESSORS:
        said = comm.allgather(refused(comm, method=mm.Masha1(other, gamma=0.01)))
        assert said == ["a parameter of method masha1 is not the same on ranks 0 and 1: call solve with the same on "
                        "all ranks"] * comm.size


@pytest.mark.ranks(3)
def test_equal_arguments_need_not_be_the_same_objects(comm):
    odd = comm.rank == 1
    numbers = {"seed": np.int64(0), "wire": np.dtype("float64"),
               "method": mm.Masha1(mm.RandK(3), gamma=np.float64(0.01))}
    assert comm.allgather(refused(comm, **numbers if odd else {})) == [None] * comm.size


@pytest.mark.ranks(3)
def test_an_error_that_all_ranks_raise_is_left_to_a_caller_who_asks_for_it(comm):
    class Ill(mm.Observer):
        def observe(self, run, row):
            raise RuntimeError("on all ranks")

    with pytest.raises(RuntimeError, match="on all ranks"):
        mm.solve(mm.Bilinear(dim=6), mm.Optimistic(), comm=comm, observers=[Ill()], on_error="raise")


def test_a_single_process_raises_what_was_raised():
    class Ill(mm.Observer):
        def observe(self, run, row):
            raise RuntimeError("here")

    with pytest.raises(RuntimeError, match="here"):
        mm.solve(mm.Bilinear(dim=6), mm.Optimistic(), observers=[Ill()])


def test_a_word_for_on_error_that_is_unknown_is_one_sentence():
    with pytest.raises(mm.UserError, match="^on_error = 'ignore' is unknown: use 'abort' or 'raise'$"):
        mm.solve(mm.Bilinear(dim=6), mm.Optimistic(), on_error="ignore")


@pytest.mark.ranks(3)
def test_observers_see_the_same_rows_on_every_rank(comm):
    class Watch(mm.Observer):
        seen = ()

        def check(self, run, row):
            self.seen += (tuple(row.items()),)

        def observe(self, run, row):
            self.check(run, row)
            self.near = row["relative_error"] < 1e-3

    problem, stop = mm.Bilinear(dim=6, kappa=10.0), mm.Stop(relative_error=1e-4)
    for watching in (True, comm.rank > 0):
        watch = Watch()
        result = mm.solve(problem, mm.Optimistic(), comm=comm, observers=[watch] if watching else [], stop=stop)
        seen = comm.allgather(watch.seen)
        assert seen[1] == seen[2] and seen[1] and (seen[0] in (seen[1], ()))
        assert not watching or watch.near
        assert comm.allgather(result.status) == ["converged"] * comm.size
