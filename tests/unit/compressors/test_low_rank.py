"""Rank: a projection onto few columns, almost the best one, and nothing kept between rounds."""

import numpy as np
import pytest
from draws import bound, transmitted, vectors
from hypothesis import given, settings
from hypothesis import strategies as st

import mpimasha as mm
from mpimasha.errors import UserError
from mpimasha.randomness import Stream

WIRES = (np.float32, np.float64)


@pytest.mark.parametrize("wire", WIRES)
@settings(deadline=None, max_examples=40)
@given(x=vectors(largest=1e15, smallest=1e-15, most=30), seed=st.integers(0, 99))
def test_rank_never_adds_to_the_vector(wire, x, seed):
    q = bound(mm.RankR(), x.size, wire=wire, seed=seed)
    assert np.sum((transmitted(q, x, k=seed) - x) ** 2) <= (x @ x) * (1 + 1e-14)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("n, rank, rows, shape", [(100, 1, 0, (10, 10)), (99, 2, 0, (10, 10)), (90, 3, 0, (10, 9)),
                                                  (60, 2, 5, (5, 12)), (7, 1, 0, (3, 3)), (1, 1, 0, (1, 1))])
def test_rank_is_a_projection_onto_few_columns_and_almost_the_best(n, rank, rows, shape, wire):
    q, x = bound(mm.RankR(rank, rows), n, wire=wire), np.random.default_rng(n).standard_normal(n)
    a, b = shape
    assert q.bits == rank * (a + b) * 8 * np.dtype(wire).itemsize
    X = np.append(x, np.zeros(a * b - n)).reshape(a, b)
    squares = np.linalg.svd(X, compute_uv=False) ** 2
    best = squares[rank:].sum()
    losses = []
    for k in range(20):
        out = transmitted(q, x, k=k)
        losses.append(np.sum((out - x) ** 2))
        C = np.append(out, np.zeros(a * b - n)).reshape(a, b)
        if n == a * b:  # otherwise the last entries are cut off
            assert np.linalg.matrix_rank(C, 1e-5 * np.linalg.norm(C)) <= rank
            assert abs(np.sum(C * (X - C))) <= 1e-6 * (x @ x)
    if n == a * b:
        assert min(losses) >= best * (1 - 1e-6)
    assert np.mean(losses) <= best + 0.3 * squares[:rank].sum()


def test_a_matrix_of_that_rank_comes_back():
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((6, 2)) @ rng.standard_normal((2, 6))).reshape(-1)
    np.testing.assert_allclose(transmitted(bound(mm.RankR(2), 36), x), x, atol=1e-13)


def test_rank_keeps_no_state_between_messages():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 50))
    q, other = bound(mm.RankR(2), 50), bound(mm.RankR(2), 50)
    transmitted(q, y, 1, 3)
    np.testing.assert_array_equal(transmitted(q, x, 0, 4), transmitted(other, x, 0, 4))


def test_a_rank_that_the_matrix_cannot_have_is_refused():
    with pytest.raises(UserError, match="rank up to 3"):
        mm.RankR(4).bind(7, 2, np.float64, Stream(0, "test"))
