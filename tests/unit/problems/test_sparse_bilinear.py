"""The sparse saddle-point problem: what its workers' data are, its operators against SciPy, its solution and gap.

The oracles assemble SciPy matrices from a worker's data and use the problem's definition.
"""

import gc
import time
import tracemalloc

import numba
import numpy as np
import pytest
from scipy.sparse import csr_matrix

import mpimasha as mm
from mpimasha.errors import UserError
from mpimasha.problems import spectrum
from mpimasha.problems.sparse_bilinear import SparseBilinear

compiled_only = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="needs the compiler")
RNG = np.random.default_rng(0)
OPTIONS = [dict(dim=40, workers=4), dict(dim=37, nonzeros=5, workers=3, heterogeneity=2.0, kappa=7.0),
           dict(dim=1, nonzeros=1, workers=2), dict(dim=6, nonzeros=6, workers=2, seed=5),
           dict(dim=25, nonzeros=1, workers=1), dict(dim=30, workers=2, heterogeneity=0.0, kappa=1e4)]


def matrix(columns, values):
    k, d = columns.shape
    return csr_matrix((values.T.ravel().astype(float), columns.T.ravel().astype(np.int64), k * np.arange(d + 1)),
                      shape=(d, d))


def parts(problem, worker):
    """A_m, a_m, b_m."""
    columns, values, terms = problem.data(worker)
    return matrix(columns, values), terms[:problem.dim], terms[problem.dim:]


def mean_parts(problem):
    every = [parts(problem, m) for m in range(problem.workers)]
    return [sum(part) / problem.workers for part in zip(*every)]


def oracle(problem, worker, z):
    A, a, b = parts(problem, worker)
    x, y = np.split(z, 2)
    return np.concatenate([A @ y + x / problem.kappa + a, -A.T @ x + y / problem.kappa + b])


def F_m(problem, worker, z):
    out = np.full(problem.n, np.nan, z.dtype)
    problem.operator(worker)(z, out)
    return out


def F(problem, z):
    return np.mean([F_m(problem, m, z) for m in range(problem.workers)], axis=0)


# -- operators -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", (np.float64, np.float32))
def test_every_operator_is_the_gradient_field_of_its_sparse_objective(options, dtype):
    problem = SparseBilinear(**options)
    z = RNG.standard_normal(problem.n).astype(dtype)
    for m in range(problem.workers):
        expected = oracle(problem, m, z.astype(float))
        np.testing.assert_allclose(F_m(problem, m, z), expected, rtol=0, atol=100 * np.finfo(dtype).eps)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_operator_is_monotone_with_the_stated_constant(options):
    problem = SparseBilinear(**options)
    for u, v in RNG.standard_normal((5, 2, problem.n)):
        for m in range(problem.workers):
            product = (F_m(problem, m, u) - F_m(problem, m, v)) @ (u - v)
            assert product == pytest.approx(problem.mu * (u - v) @ (u - v), rel=1e-9)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_mean_operator_vanishes_to_rounding_at_the_solution_and_the_workers_do_not(options):
    problem = SparseBilinear(**options)
    z = problem.solution()
    np.testing.assert_allclose(F(problem, z), 0, atol=1e-14)
    for m in range(problem.workers if problem.workers > 1 else 0):
        assert np.linalg.norm(F_m(problem, m, z)) > 0.1


# -- data ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_row_has_distinct_columns_and_all_workers_have_the_same(options):
    problem = SparseBilinear(**options)
    columns = problem.data(0)[0]
    assert columns.shape == (problem.nonzeros, problem.dim) and columns.dtype == np.uint32
    assert columns.max() < problem.dim
    assert (np.diff(columns.astype(int), axis=0) > 0).all()
    for m in range(problem.workers):
        np.testing.assert_array_equal(problem.data(m)[0], columns)


def test_columns_are_drawn_evenly_and_rows_independently():
    columns = SparseBilinear(dim=503, nonzeros=7).data(0)[0].astype(int)
    counts = np.bincount(columns.ravel(), minlength=503)
    assert abs(counts.var() / counts.mean() - 1) < 0.3 and counts.max() < 25  # nearly Poisson
    step = np.diff(columns, axis=1)
    assert abs(np.corrcoef(columns[3, 1:], columns[3, :-1])[0, 1]) < 0.2 and len(np.unique(step[3])) > 100


def test_entries_are_numbers_of_float32_whose_deviations_sum_to_nothing_exactly():
    for heterogeneity in (0.5, 3.7, 1000.0):
        means = []
        for workers in (2, 3, 7):  # a mean that did not cancel exactly would differ between these
            problem = SparseBilinear(dim=30, workers=workers, heterogeneity=heterogeneity)
            values = [problem.data(m)[1] for m in range(workers)]
            assert all(v.dtype == np.float32 for v in values)
            means.append(np.sum(values, axis=0, dtype=float) / workers)
        for mean in means[1:]:
            np.testing.assert_array_equal(mean, means[0])
        common = SparseBilinear(dim=30, workers=1, heterogeneity=heterogeneity).data(0)[1]
        np.testing.assert_array_equal(means[0], common)
        alone = SparseBilinear(dim=30, workers=1, heterogeneity=0.0).data(0)[1]
        np.testing.assert_allclose(common, alone, rtol=0, atol=1e-6 * max(1.0, heterogeneity / 10))


def test_the_size_of_the_data_is_as_stated():
    problem = SparseBilinear(dim=200, workers=4, heterogeneity=3.0)
    A, a, b = mean_parts(problem)
    z = problem.solution()
    J = [matrix(*problem.data(m)[:2]) for m in range(4)]
    assert A.data.std() == pytest.approx(1 / (2 * np.sqrt(10)), rel=0.05) and abs(A.data.mean()) < 0.01
    assert np.std(z) == pytest.approx(1, rel=0.1) and abs(np.mean(z)) < 0.1
    x, y = np.split(z, 2)
    private = []
    for m in range(4):
        A_m, a_m, b_m = parts(problem, m)
        assert ((J[m] - A) / 3.0).data.std() == pytest.approx(1 / (2 * np.sqrt(10)), rel=0.05)
        private.append(np.concatenate([A_m @ y + problem.mu * x + a_m, -A_m.T @ x + problem.mu * y + b_m]))
        assert np.std(private[m]) == pytest.approx(1, rel=0.1)
        deviations = (J[m] - A).toarray()[np.arange(200), problem.data(m)[0][:2].astype(int)].ravel()
        assert abs(np.corrcoef(deviations, private[m])[0, 1]) < 0.2  # matrix and linear terms are drawn apart
    np.testing.assert_allclose(np.sum(private, axis=0), 0, atol=1e-13)


def test_the_deviations_scale_with_heterogeneity():
    few = [SparseBilinear(dim=30, workers=3, heterogeneity=h) for h in (0.0, 1.0, 2.0)]
    zero, one, two = ([p.data(m)[1].astype(float) for m in range(3)] for p in few)
    for m in range(3):
        np.testing.assert_array_equal(zero[m], zero[0])
        np.testing.assert_allclose(two[m] - zero[m], 2 * (one[m] - zero[m]), rtol=0, atol=1e-6)
        assert 0.3 < np.linalg.norm(matrix(few[1].data(m)[0], one[m] - zero[m]).toarray(), 2) < 3


def same(data, others):
    return all(np.array_equal(one, other) for one, other in zip(data, others))


def test_a_worker_makes_its_data_without_the_others_and_the_seed_decides_all_of_it():
    options = dict(dim=12, nonzeros=3, seed=3)
    shared = SparseBilinear(**options, workers=6)
    whole = [shared.data(m) for m in range(6)]
    for m in (5, 0, 3, 3):
        assert same(SparseBilinear(**options, workers=6).data(m), whole[m])
        assert same(shared.data(m), whole[m])
    for m in range(3):  # only the last worker knows how many there are
        assert same(SparseBilinear(**options, workers=4).data(m), whole[m])
    for i in (1, 2):
        assert len({data[i].tobytes() for data in whole}) == 6
    other = SparseBilinear(dim=12, nonzeros=3, seed=4, workers=6)
    assert not any(np.array_equal(one, two) for one, two in zip(other.data(0), whole[0]))
    assert not np.array_equal(other.solution(), shared.solution())


@pytest.mark.slow
@pytest.mark.ranks(2)
def test_ranks_do_not_matter_to_a_sparse_problem(comm):
    def solve(comm):
        return mm.solve(SparseBilinear(dim=30, workers=3), mm.Masha1(mm.RandK(6), gamma=0.1), comm=comm,
                        stop=mm.Stop(rounds=20, relative_error=0))
    np.testing.assert_array_equal(solve(comm).z, solve(None).z)


# -- memory ----------------------------------------------------------------------------------------


def test_the_constructor_makes_no_data():
    tracemalloc.start()
    started = time.perf_counter()
    SparseBilinear(dim=10_000_000)
    assert time.perf_counter() - started < 1
    assert tracemalloc.get_traced_memory()[1] < 1e5
    tracemalloc.stop()


@compiled_only
def test_building_an_operator_takes_no_more_than_it_keeps_and_workers_share_the_columns():
    SparseBilinear(dim=10, workers=2).operator(0)
    problem = SparseBilinear(dim=20_000, workers=4)
    row = 20_000
    tracemalloc.start()
    first = problem.operator(0)
    kept, peak = tracemalloc.get_traced_memory()
    assert peak < 1.01 * (80 + 16) * row and kept > 0.99 * (80 + 16) * row
    second = problem.operator(1)
    assert tracemalloc.get_traced_memory()[1] < 1.01 * (80 + 16 + 40 + 16) * row
    z, out = np.ones(problem.n), np.zeros(problem.n)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    first(z, out), second(z, out)
    assert tracemalloc.get_traced_memory()[1] - before < 1e4
    del first, second, z, out
    gc.collect()
    assert tracemalloc.get_traced_memory()[0] < 1e5
    tracemalloc.stop()


# -- solution, gap, constants ----------------------------------------------------------------------


def test_extragradient_finds_the_solution_to_rounding():
    problem = SparseBilinear(dim=20 if numba.config.DISABLE_JIT else 200, workers=2, kappa=5.0)
    L = max(spectrum.lipschitz(problem.operator(m), problem.start(), problem.saddle, np.uint64(1)) for m in range(2))
    result = mm.solve(problem, mm.Extragradient(gamma=0.7 / L), stop=mm.Stop(relative_error=1e-20, rounds=2000))
    assert result.status == "converged"
    assert np.linalg.norm(result.z - problem.solution()) <= 1e-10 * np.linalg.norm(problem.solution())


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_gap_is_the_difference_of_the_two_inner_optima(options):
    problem = SparseBilinear(**options)
    A, a, b = mean_parts(problem)
    lam = 1 / problem.kappa

    def g(x, y):
        return x @ (A @ y) + a @ x - b @ y + lam / 2 * (x @ x) - lam / 2 * (y @ y)

    for z in (np.zeros(problem.n), RNG.standard_normal(problem.n)):
        x, y = np.split(z, 2)
        best_x, best_y = -(A @ y + a) / lam, (A.T @ x - b) / lam
        assert problem.gap(z) == pytest.approx(g(x, best_y) - g(best_x, y), rel=1e-7)
        assert problem.gap(z) > 0
    assert problem.gap(problem.solution()) == 0


def test_the_gap_is_not_computed_where_it_would_cost_a_large_matrix():
    problem = SparseBilinear(dim=2001)
    assert problem.gap(problem.start()) is None


def test_what_is_not_known_in_closed_form_is_none():
    problem = SparseBilinear()
    assert problem.L is None and problem.lipschitz(0) is None and problem.dissimilarity(0) is None
    assert problem.mu == 0.01 and problem.saddle == 1000 and problem.n == 2000


def test_what_identifies_a_sparse_problem_changes_with_all_its_parameters():
    changes = [{}, dict(dim=999), dict(nonzeros=9), dict(kappa=99.0), dict(heterogeneity=0.6), dict(workers=9),
               dict(seed=1)]
    assert len({SparseBilinear(**change).identity() for change in changes}) == len(changes)


@pytest.mark.parametrize("options, words", [
    (dict(dim=0), ["problem.dim = 0", "10000000"]), (dict(dim=10_000_001), ["problem.dim", "10000000"]),
    (dict(dim=2.5), ["problem.dim = 2.5", "whole number"]), (dict(dim=9), ["problem.nonzeros = 10", "problem.dim = 9"]),
    (dict(nonzeros=0), ["problem.nonzeros = 0"]), (dict(kappa=0.5), ["problem.kappa = 0.5"]),
    (dict(heterogeneity=-1), ["problem.heterogeneity = -1"]), (dict(heterogeneity=1001), ["1001", "1000"]),
    (dict(heterogeneity=float("nan")), ["problem.heterogeneity = nan"]), (dict(seed=-1), ["problem.seed = -1"]),
    (dict(workers=0), ["workers = 0"])], ids=str)
def test_a_mistake_is_one_sentence_with_the_key_and_what_would_be_right(options, words):
    with pytest.raises(UserError) as mistake:
        SparseBilinear(**options)
    assert all(word in str(mistake.value) for word in words) and "\n" not in str(mistake.value)
