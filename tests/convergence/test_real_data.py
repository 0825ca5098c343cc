"""On real data the methods find the solution that Newton's method finds, and every measure says so."""

from functools import cache

import numpy as np
import oracles
import pytest

import mpimasha as mm

pytest.importorskip("sklearn")

METHODS = {
    "og": mm.Optimistic(gamma="1/L"),
    "masha1": mm.Masha1(mm.RandK(0.1), gamma="0.5/L"),
    "masha2": mm.Masha2(mm.TopK(0.1), gamma="0.3/L"),
}
TARGET = 1e-11


@cache
def problem(split="shuffled"):
    return mm.RobustRegression("breast_cancer", lam=0.1, beta=1.0, split=split)


@cache
def solved(method, split):
    return mm.solve(problem(split), METHODS[method], stop=mm.Stop(relative_error=TARGET, rounds=20_000))


def operator(z):
    p = problem()
    return oracles.logistic_regression(p.X, p.y, 1 / len(p.y), p.lam, p.beta)(z)


def test_newtons_solution_is_a_zero_of_the_operator():
    assert np.linalg.norm(operator(problem().solution())) < 1e-14 * np.linalg.norm(operator(problem().start()))


def test_the_solution_does_not_depend_on_who_holds_which_sample():
    other = problem("sorted").solution()
    assert np.linalg.norm(other - problem().solution()) < 1e-12 * np.linalg.norm(other)


@pytest.mark.parametrize("method, split", [*((method, "shuffled") for method in METHODS), ("masha1", "sorted")])
def test_the_iterates_reach_newtons_solution(method, split):
    result = solved(method, split)
    z = problem().solution()
    assert result.converged
    assert np.sum((result.z - z)**2) <= 1.001 * TARGET * np.sum(z**2)
    if result.w is not None:
        assert np.sum((result.w - z)**2) <= 100 * TARGET * np.sum(z**2)


@pytest.mark.parametrize("method", METHODS)
def test_residual_and_gap_vanish_with_the_error(method):
    """mu |z - z*| <= |F(z)| <= L |z - z*| and mu/2 |z - z*|^2 <= gap at every row."""
    p, rows = problem(), solved(method, "shuffled").rows
    length2, first = np.sum(p.solution()**2), np.linalg.norm(operator(p.start()))
    for row in rows:
        distance, residual = np.sqrt(row["relative_error"] * length2), row["residual"] * first
        assert p.mu * distance <= residual <= p.L * distance, row["round"]
        assert row["gap"] >= p.mu / 2 * distance**2 - 1e-14, row["round"]
    assert rows[-1]["gap"] <= 1e-10 * rows[0]["gap"]
    assert rows[-1]["residual"] <= 1e-5
