"""What goes wrong on one rank is known to all, and none of them waits for another for ever.

A rank that hangs is killed with its job at the marker's limit, and the test fails.
"""

import numpy as np
import pytest

import mpimasha as mm
from mpimasha.solver.observers import Observer

WORKERS = 5
ILL = 2  # the worker with a fault: of the middle rank of three


class Faulty(mm.Bilinear):
    """A problem whose `fault` (the name of one of its methods) fails for one worker."""

    def __init__(self, fault):
        super().__init__(dim=6, kappa=10.0, workers=WORKERS)
        self.fault = fault

    def operator(self, worker):
        self._perhaps("operator", worker == ILL)
        return super().operator(worker)

    def lipschitz(self, worker):
        self._perhaps("lipschitz", worker == ILL)
        return super().lipschitz(worker)

    def dissimilarity(self, worker):
        self._perhaps("dissimilarity", worker == ILL)
        return super().dissimilarity(worker)

    def solution(self):
        self._perhaps("solution", True)  # which only rank 0 asks for
        return super().solution()

    def _perhaps(self, method, ill):
        if ill and method == self.fault:
            raise mm.UserError(f"the {method} of worker {ILL} is out of order")


class Unknown(mm.Bilinear):
    """One worker does not know its Lipschitz constant, and nothing allows to estimate it."""

    saddle = property(lambda self: None, lambda self, value: None)

    def lipschitz(self, worker):
        return None if worker == ILL else super().lipschitz(worker)


class Poisoned(mm.Bilinear):
    """One worker's operator gives NaN in `entries` once it is ill."""

    def __init__(self, entries):
        super().__init__(dim=6, kappa=10.0, workers=WORKERS)
        self.entries, self.ill = entries, False

    def operator(self, worker):
        healthy = super().operator(worker)

        def F(z, out):
            healthy(z, out)
            if self.ill and worker == ILL:
                out[self.entries] = np.nan

        return F


class Poison(Observer):
    """Makes the problem ill after round 20."""

    def observe(self, run, row):
        run.problem.ill = row["round"] >= 20


def sentence(problem, method, comm, **options):
    """What `solve` says on this rank when it refuses, or None."""
    try:
        mm.solve(problem, method, comm=comm, **{"stop": mm.Stop(rounds=5)} | options)
    except mm.UserError as error:
        return str(error)
    return None


@pytest.mark.ranks(3)
def test_a_fault_of_one_worker_is_raised_on_all_ranks(comm):
    for fault in ("operator", "lipschitz", "dissimilarity", "solution"):
        said = comm.allgather(sentence(Faulty(fault), mm.Masha1(mm.PermK()), comm))
        assert said == [f"the {fault} of worker {ILL} is out of order"] * comm.size


REFUSED = {
    "cannot take the prox": lambda: (regression(radius=0.2), mm.Masha2()),
    "method.gamma needs L_m": lambda: (Unknown(dim=6, workers=WORKERS), mm.Masha1()),
    "keeps more coordinates": lambda: (mm.Bilinear(dim=6), mm.Masha1(mm.RandK(13))),
    "ranks for workers = 1": lambda: (mm.Bilinear(dim=6, workers=1), mm.Extragradient()),
}


def regression(**options):
    X = np.random.default_rng(0).standard_normal((30, 3))
    return mm.RobustRegression(data=(X, np.sign(X[:, 0])), standardise=False, workers=WORKERS, **options)


@pytest.mark.ranks(3)
def test_what_a_method_refuses_is_refused_on_all_ranks(comm):
    for words, make in REFUSED.items():
        said = comm.allgather(sentence(*make(), comm))
        assert len(set(said)) == 1 and words in str(said[0]), (words, said)


REFUSED_BY_SOLVE = {
    "stop.gap cannot be computed": {"stop": mm.Stop(gap=1e-3, relative_error=0, rounds=5)},
    "stop.relative_error needs": {"reference": None, "stop": mm.Stop(relative_error=1e-6, rounds=5)},
    "transport.name = 'pigeon' is unknown": {"transport": "pigeon"},
}


@pytest.mark.ranks(3)
def test_what_solve_refuses_is_refused_on_all_ranks(comm):
    for words, options in REFUSED_BY_SOLVE.items():
        options = {"reference": np.zeros(6), **options}
        said = comm.allgather(sentence(regression(radius=0.2), mm.Optimistic(), comm, **options))
        assert len(set(said)) == 1 and words in str(said[0]), (words, said)


@pytest.mark.ranks(3)
def test_a_number_that_is_none_from_one_worker_ends_the_run_on_all_ranks(comm):
    methods = (mm.Extragradient(), mm.Optimistic(), mm.Masha1(mm.RandK(4), gamma=0.1),
               mm.Masha1(mm.PermK(), gamma=0.1), mm.Masha1(mm.QSGD(4), gamma=0.1), mm.Masha2(mm.TopK(2), gamma=0.05))
    for method in methods:
        for entries, latest in ((slice(None), 21), (3, 300)):  # a sparse message may leave one entry out for a while
            result = mm.solve(Poisoned(entries), method, comm=comm, observers=[Poison()], every=1,
                              stop=mm.Stop(rounds=2000, relative_error=0))
            ended = comm.allgather((result.status, result.rounds, result.z.tobytes()))
            assert len(set(ended)) == 1 and ended[0][0] == "diverged", (method.name, entries, result.status)
            assert 21 <= result.rounds <= latest, (method.name, entries, result.rounds)


@pytest.mark.ranks(3)
def test_a_step_too_long_ends_as_diverged_on_all_ranks(comm):
    problem, method = mm.Bilinear(dim=6, workers=WORKERS), mm.Optimistic(gamma=3.0)
    result = mm.solve(problem, method, comm=comm, stop=mm.Stop(rounds=5000))
    ended = comm.allgather((result.status, result.rounds, result.z.tobytes()))
    assert len(set(ended)) == 1 and ended[0][0] == "diverged"
