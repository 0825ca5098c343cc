"""Sparse samples give the operators, norms and rows that the same samples give when written out."""

import numpy as np
import pytest

from mpimasha.data.sparse_rows import SparseRows
from mpimasha.kernels.operators import regression, regression_csr

LAM, BETA, WEIGHT = 0.03, 0.7, 0.125


def sparse(rows, d, dtype=np.float64, seed=0):
    """(the matrix, its CSR arrays); some rows and columns are empty, some stored values zero."""
    rng = np.random.default_rng(seed)
    stored = rng.uniform(size=(rows, d)) < 0.4
    stored[1::4] = False
    X = np.where(stored & (rng.uniform(size=(rows, d)) < 0.9), rng.standard_normal((rows, d)), 0.0).astype(dtype)
    indptr = np.concatenate([[0], np.cumsum(stored.sum(axis=1))]).astype(np.int64)
    return X, (X[stored], np.nonzero(stored)[1].astype(np.uint32), indptr)


@pytest.mark.parametrize("rows, d", [(1, 1), (3, 5), (9, 6), (40, 13)])
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
@pytest.mark.parametrize("loss", ("logistic", "square"))
def test_the_operators_are_those_of_the_dense_rows(loss, dtype, rows, d):
    X, csr = sparse(rows, d, dtype)
    rng = np.random.default_rng(1)
    z, y = rng.standard_normal(2 * d).astype(dtype), np.sign(rng.standard_normal(rows)).astype(dtype)
    out = np.full(2 * d, np.nan, dtype)
    getattr(regression_csr, f"{loss}_operator")(out, *csr, y, WEIGHT, LAM, BETA, z)
    wide = [a.astype(float) for a in (X, y, z)]
    w, r = wide[2][:d], wide[2][d:]
    u = (wide[0] + r) @ w
    c = u - wide[1] if loss == "square" else -wide[1] * (1 - np.tanh(wide[1] * u / 2)) / 2
    expected = np.concatenate([WEIGHT * (wide[0] + r).T @ c + LAM * w, BETA * r - WEIGHT * c.sum() * w])
    tolerance = 30 * np.finfo(dtype).eps * rows * d
    np.testing.assert_allclose(out, expected, rtol=tolerance, atol=tolerance)
    dense = np.empty(2 * d, dtype)
    getattr(regression, f"{loss}_operator")(dense, X, y, WEIGHT, LAM, BETA, z)
    np.testing.assert_allclose(out, dense, rtol=tolerance, atol=tolerance)


def test_norms_sums_of_squares_scales_and_grams_are_those_of_the_dense_rows():
    X, csr = sparse(17, 6)
    matrix = SparseRows(*csr, 6)
    np.testing.assert_allclose(matrix.norms(), np.linalg.norm(X, axis=1), rtol=1e-14)
    np.testing.assert_allclose(matrix.squares(), (X**2).sum(axis=0), rtol=1e-14)
    v, out = np.random.default_rng(2).standard_normal(6), np.empty(6)
    regression_csr.absolute_gram(out, *csr, v)
    np.testing.assert_allclose(out, np.abs(X).T @ (np.abs(X) @ v), rtol=1e-13)
    matrix.scale(np.arange(1.0, 7.0))
    np.testing.assert_array_equal(dense(matrix), X * np.arange(1.0, 7.0))


def dense(matrix):
    X = np.zeros((len(matrix), matrix.d))
    X[np.repeat(np.arange(len(matrix)), matrix.lengths), matrix.indices] = matrix.values
    return X


def test_rows_are_taken_cut_and_joined_as_those_of_an_array():
    X, csr = sparse(17, 6)
    matrix, rows = SparseRows(*csr, 6), np.array([3, 16, 3, 0, 1, 5])
    np.testing.assert_array_equal(dense(matrix.take(rows)), X[rows])
    np.testing.assert_array_equal(dense(matrix.take(rows[:0])), X[:0])
    np.testing.assert_array_equal(dense(matrix.part(4, 9)), X[4:9])
    parts = [matrix.part(0, 4), matrix.part(4, 4), matrix.part(4, 17)]
    np.testing.assert_array_equal(dense(SparseRows.joined(parts, 6)), X)
    assert matrix.width == np.nonzero(X.any(axis=0))[0][-1] + 1 and matrix.part(0, 0).width == 0
