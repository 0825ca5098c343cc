"""Index sets: distinct, in range, every coordinate as likely as promised. Keys are fixed, so nothing here is flaky."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpimasha.kernels.compress import sampling
from mpimasha.kernels.hashing import hash64, mix32, short_key, stream_key

SIZES = st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))
DTYPES = (np.uint32, np.uint64)


def stratified(n, k, key, dtype=np.uint32):
    index = np.empty(k, dtype)
    sampling.stratified(index, n, key)
    return index


def stratified32(n, k, key, dtype=np.uint32):
    index = np.empty(k, dtype)
    sampling.stratified32(index, n, key)
    return index


def uniform_subset(n, k, key, dtype=np.uint32):
    index, marks = np.empty(k, dtype), np.zeros(n, np.uint8)
    sampling.uniform_subset(index, marks, n, key)
    assert not marks.any()
    return index


def keys(count):
    return (stream_key(0, 9, -1, trial) for trial in range(count))


def chi_square_bound(cells):
    """Six standard deviations above the mean of the chi-square law with cells - 1 degrees of freedom."""
    return cells - 1 + 6 * math.sqrt(2 * (cells - 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("draw", (stratified, stratified32, uniform_subset))
@settings(deadline=None)
@given(size=SIZES, seed=st.integers(0, 2**32))
def test_indices_are_distinct_and_in_range(draw, dtype, size, seed):
    n, k = size
    index = draw(n, k, stream_key(seed, 0, 0, 0), dtype)
    assert len(set(index.tolist())) == k
    assert max(index.tolist()) < n


@settings(deadline=None)
@given(size=SIZES, seed=st.integers(0, 2**32))
def test_strata_hold_one_index_each_up_to_a_common_shift(size, seed):
    n, k = size
    index = stratified(n, k, stream_key(seed, 0, 0, 0)).tolist()
    bounds = [j * n // k for j in range(k + 1)]
    shifts = range(n) if n % k else [0]
    assert any(
        all(low <= (i - shift) % n < high for i, low, high in zip(index, bounds, bounds[1:])) for shift in shifts
    )


@pytest.mark.parametrize("draw", (stratified, stratified32, uniform_subset))
@pytest.mark.parametrize("n, k", [(10, 3), (11, 4), (12, 4), (9, 8), (7, 1)])
def test_every_coordinate_is_kept_with_probability_k_over_n(draw, n, k):
    trials = 4000
    kept = np.zeros(n)
    for key in keys(trials):
        kept[draw(n, k, key)] += 1
    deviation = np.sqrt(trials * k / n * (1 - k / n))
    assert np.abs(kept - trials * k / n).max() < 4.5 * deviation


def test_all_subsets_are_equally_likely():
    trials, cells = 5000, [frozenset(c) for c in itertools.combinations(range(5), 2)]
    counts = dict.fromkeys(cells, 0)
    for key in keys(trials):
        counts[frozenset(uniform_subset(5, 2, key).tolist())] += 1
    expected = trials / len(cells)
    assert sum((c - expected) ** 2 / expected for c in counts.values()) < chi_square_bound(len(cells))


def test_all_permutations_are_equally_likely():
    trials, cells = 6000, list(itertools.permutations(range(4)))
    counts, perm = dict.fromkeys(cells, 0), np.empty(4, np.uint32)
    for key in keys(trials):
        sampling.permutation(perm, key)
        counts[tuple(perm.tolist())] += 1
    expected = trials / len(cells)
    assert sum((c - expected) ** 2 / expected for c in counts.values()) < chi_square_bound(len(cells))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", (0, 1, 2, 100))
def test_a_permutation_holds_every_number_once(n, dtype):
    perm = np.empty(n, dtype)
    sampling.permutation(perm, stream_key(3, 0, 0, 0))
    np.testing.assert_array_equal(np.sort(perm), np.arange(n))


@pytest.mark.parametrize("draw", (stratified, stratified32, uniform_subset))
def test_all_coordinates_can_be_asked_for(draw):
    np.testing.assert_array_equal(np.sort(draw(13, 13, stream_key(1, 0, 0, 0))), np.arange(13))


def test_dimensions_beyond_32_bits_are_covered():
    n, k = 2**40 + 7, 64
    index = np.sort(stratified(n, k, stream_key(5, 0, 0, 0), np.uint64)).tolist()
    assert index[-1] < n and index[-1] > n - 2 * (n // k + 1)
    gaps = np.diff(index)
    assert gaps.min() > 0 and gaps.max() <= 2 * (n // k + 1)


def test_the_key_and_nothing_else_decides():
    first, second = stream_key(1, 0, 0, 0), stream_key(1, 0, 0, 1)
    for draw in (stratified, stratified32, uniform_subset):
        np.testing.assert_array_equal(draw(1000, 10, first), draw(1000, 10, first, np.uint64))
        assert draw(1000, 10, first).tolist() != draw(1000, 10, second).tolist()


def one_by_one(n, k, key):
    """`stratified` in Python's integers."""
    shift = int(hash64(key, k)) * n >> 64 if n % k else 0
    bounds = [j * n // k for j in range(k + 1)]
    return [(low + (int(hash64(key, j)) * (high - low) >> 64) + shift) % n
            for j, (low, high) in enumerate(zip(bounds, bounds[1:]))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n, k", [(50, 50), (2000, 7), (2500, 1200), (5000, 2049), (2**32 - 1, 1100), (2**32, 1)])
def test_strata_side_by_side_are_those_taken_one_by_one(n, k, dtype):
    key = stream_key(n, k, 0, 0)
    assert stratified(n, k, key, dtype).tolist() == one_by_one(n, k, key)


def test_strata_too_many_for_a_fixed_point_are_those_taken_one_by_one():
    key, n, k = stream_key(0, 0, 0, 5), 2**60 + 9, 40
    assert stratified(n, k, key, np.uint64).tolist() == one_by_one(n, k, key)


@settings(deadline=None)
@given(k=st.integers(1, 2**40), size=st.integers(1, 2**31), t=st.integers(0, 2**60))
def test_the_fixed_point_divides_exactly(k, size, t):
    chunk, point = (int(number) for number in sampling._fixed_point(np.uint64(k), np.uint64(size)))
    t %= k * (chunk + 1)
    if point:
        assert t * (2**point // k + 1) >> point == t // k
        assert (chunk + 1) * (size + 2) * 2**point <= 2**64


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n, k", [(50, 50), (9000, 4500), (9001, 4500), (2**32 - 1, 1100), (20, 3)])
def test_equal_strata_hold_one_index_each_up_to_a_common_shift(n, k, dtype):
    key = stream_key(n, k, 0, 1)
    shift = int(hash64(key, 2**32 - 1)) * n >> 64 if n % k else 0
    start = 0
    for j, i in enumerate(stratified32(n, k, key, dtype).tolist()):
        width = n // k + (j < n % k)
        draw = mix32(*short_key(key, np.uint64(j // 4096), np.uint64(j % 4096)))
        assert i == (start + (int(draw) * width >> 32) + shift) % n
        start += width


@pytest.mark.parametrize("wire", (np.float32, np.float64))
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
@pytest.mark.parametrize("n, blocks", [(80, [9, 0, 4]), (77, [9, 3]), (77, [0]), (5, [0]), (400, list(range(50)))])
def test_whole_blocks_are_gathered_as_their_expanded_indices_say(n, blocks, dtype, wire):
    x, blocks = np.random.default_rng(n).standard_normal(n).astype(dtype), np.array(blocks, np.uint32)
    index, out = np.zeros(8 * blocks.size, np.uint32), np.full(8 * blocks.size, 7, wire)
    count = sampling.expand(index, blocks, 8, n)
    assert sampling.gather_blocks(out, x, blocks, 8, 0.3) == count
    np.testing.assert_array_equal(out[:count], (0.3 * x[index[:count]].astype(float)).astype(wire))
    assert (out[count:] == 7).all()
