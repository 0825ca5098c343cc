"""Batches: the mean over all of them is the whole operator, and their constant bounds how they differ."""

from itertools import combinations

import numpy as np
import pytest

import mpimasha as mm
from mpimasha.mpi.communicator import Communicator

RNG = np.random.default_rng(0)
X, LABELS = RNG.standard_normal((17, 4)), np.where(RNG.standard_normal(17) > 0, 1.0, -1.0)


def svmlight(tmp_path):
    path = tmp_path / "data.svm"
    rows = [" ".join([f"{y:g}", *(f"{j + 1}:{v:.6f}" for j, v in enumerate(x) if v > 0)]) for x, y in zip(X, LABELS)]
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def problems(tmp_path):
    options = {"workers": 3, "standardise": False}
    yield mm.Bilinear(dim=4, workers=3, samples=5)
    yield mm.RobustRegression((X, LABELS), **options)
    yield mm.RobustRegression((X, X[:, 0] + 0.1), loss="square", radius=0.3, **options)
    yield mm.RobustRegression(svmlight(tmp_path), **options)
    for loss in ("logistic", "square"):
        yield mm.GroupDRO((X, LABELS, np.arange(17) % 3), loss=loss, radius=0.5, **options)


def loaded(tmp_path):
    for problem in problems(tmp_path):
        problem.load(Communicator())
        yield problem


def point(problem):
    """Near the start, and where the constants hold."""
    z = problem.start() + 0.1 * RNG.standard_normal(problem.n)
    problem.prox.apply(z, 1.0)
    return z


def value(F, z, *chosen):
    out = np.full(len(z), np.nan)
    F(z, out, *chosen)
    return out


@pytest.mark.parametrize("size", (1, 2, "all"))
def test_the_mean_over_all_batches_is_the_whole_operator(tmp_path, size):
    for problem in loaded(tmp_path):
        for m in range(problem.workers):
            z, r, F = point(problem), problem.components(m), problem.batch_operator(m)
            batches = combinations(range(r), r if size == "all" else size)
            mean = np.mean([value(F, z, np.array(batch)) for batch in batches], axis=0)
            np.testing.assert_allclose(mean, value(problem.operator(m), z), rtol=1e-10, atol=1e-12)


def test_their_constant_bounds_the_mean_square_of_their_differences(tmp_path):
    for problem in loaded(tmp_path):
        for m in range(problem.workers):
            F, r, bound = problem.batch_operator(m), problem.components(m), problem.component_lipschitz(m)
            for _ in range(20):
                u, v = point(problem), point(problem)
                squares = [np.sum((value(F, u, np.array([i])) - value(F, v, np.array([i])))**2) for i in range(r)]
                assert np.mean(squares) <= bound**2 * np.sum((u - v)**2) * (1 + 1e-12), problem.name
            assert bound >= problem.lipschitz(m) * (1 - 1e-9) or not problem.sharp


def test_a_batch_may_change_its_size(tmp_path):
    for problem in loaded(tmp_path):
        F, z = problem.batch_operator(0), point(problem)
        expected = {i: value(F, z, np.array([i])) for i in range(3)}
        two = value(F, z, np.array([0, 2]))
        np.testing.assert_allclose(two, (expected[0] + expected[2]) / 2, rtol=1e-12)
        np.testing.assert_array_equal(value(F, z, np.array([1])), expected[1])
