"""Counter-based random numbers: the published algorithm, distinct streams, and the moments of a uniform law."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpimasha.kernels import hashing

WORDS = st.integers(0, 2**64 - 1)
MASK = 2**64 - 1


def splitmix(state):
    """The published generator: (next state, output)."""
    state = (state + 0x9E3779B97F4A7C15) & MASK
    z = state
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return state, z ^ (z >> 31)


def test_streams_are_the_published_generator():
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert [int(hashing.hash64(np.uint64(1234567), i)) for i in range(5)] == known


@settings(deadline=None)
@given(WORDS, st.integers(0, 40))
def test_a_word_can_be_had_without_those_before_it(key, counter):
    state, word = key, None
    for _ in range(counter + 1):
        state, word = splitmix(state)
    assert int(hashing.hash64(np.uint64(key), counter)) == word


@settings(deadline=None)
@given(WORDS, WORDS)
def test_uniform_is_the_top_53_bits_of_the_word(key, counter):
    key, counter = np.uint64(key), np.uint64(counter)
    draw = hashing.uniform(key, counter)
    assert 0.0 <= draw < 1.0
    assert draw * 2.0**53 == int(hashing.hash64(key, counter)) >> 11


@settings(deadline=None)
@given(WORDS, st.integers(1, 2**64 - 1))
def test_below_is_the_high_half_of_the_exact_product(word, n):
    assert int(hashing.below(np.uint64(word), np.uint64(n))) == word * n >> 64


def test_uniform_has_the_moments_of_the_uniform_law():
    key, count = hashing.stream_key(0, 1, 2, 3), 20000
    draws = np.array([hashing.uniform(key, i) for i in range(count)])
    assert abs(draws.mean() - 1 / 2) < 4 * np.sqrt(1 / 12 / count)
    assert abs(draws.var() - 1 / 12) < 4 * np.sqrt(1 / 180 / count)
    assert abs(np.corrcoef(draws[1:], draws[:-1])[0, 1]) < 4 / np.sqrt(count)


def test_normal_is_the_scaled_sum_of_the_four_digits_of_the_word():
    key = hashing.stream_key(5, 1, 2, 3)
    for counter in range(200):
        digits = [int(hashing.hash64(key, counter)) >> shift & 0xFFFF for shift in (0, 16, 32, 48)]
        expected = (sum(digits) - 4 * (2**16 - 1) / 2) / np.sqrt(4 * (2**32 - 1) / 12)
        assert hashing.normal(key, counter) == pytest.approx(expected, rel=1e-14)


def test_normals_have_the_stated_moments_and_fill_any_array():
    key, count = hashing.stream_key(0, 1, 2, 4), 20000
    draws = np.empty(count)
    hashing.normals(draws, key)
    assert abs(draws.mean()) < 4 / np.sqrt(count)
    assert abs(draws.var() - 1) < 4 * np.sqrt(1.7 / count)
    assert abs((draws**4).mean() - 2.7) < 0.2
    assert np.abs(draws).max() < 3.47
    assert abs(np.corrcoef(draws[1:], draws[:-1])[0, 1]) < 4 / np.sqrt(count)
    narrow = np.empty(10, np.float32)
    hashing.normals(narrow, key)
    np.testing.assert_array_equal(narrow, draws[:10].astype(np.float32))


def test_flipping_one_bit_of_the_counter_flips_half_of_the_word():
    key = hashing.stream_key(0, 0, 0, 0)
    flips = [
        (int(hashing.hash64(key, np.uint64(c))) ^ int(hashing.hash64(key, np.uint64(c ^ (1 << b))))).bit_count()
        for c in range(40)
        for b in range(64)
    ]
    assert abs(np.mean(flips) - 32) < 4 * 4 / np.sqrt(len(flips))
    assert min(flips) > 8


@pytest.mark.parametrize("argument", range(4))
def test_changing_one_argument_by_one_flips_half_of_the_key(argument):
    base = np.random.default_rng(0).integers(0, 1000, (200, 4))
    near = base + np.eye(4, dtype=int)[argument]
    flips = [(int(hashing.stream_key(*a)) ^ int(hashing.stream_key(*b))).bit_count() for a, b in zip(base, near)]
    assert abs(np.mean(flips) - 32) < 4 * 4 / np.sqrt(len(flips))
    assert min(flips) > 8


def test_all_four_arguments_and_their_order_make_the_key():
    words = itertools.product((-1, 0, 1, 2, 10**12), repeat=4)
    keys = [int(hashing.stream_key(*word)) for word in words]
    assert len(set(keys)) == 5**4


def test_keys_of_many_workers_and_rounds_are_distinct():
    keys = {int(hashing.stream_key(0, 3, worker, k)) for worker in range(-1, 49) for k in range(100)}
    assert len(keys) == 50 * 100


@pytest.mark.parametrize("change", [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)])
def test_neighbouring_streams_are_uncorrelated(change):
    here, there = hashing.stream_key(4, 5, 6, 7), hashing.stream_key(*np.add((4, 5, 6, 7), change))
    count = 5000
    u = [hashing.uniform(here, i) for i in range(count)]
    v = [hashing.uniform(there, i) for i in range(count)]
    assert abs(np.corrcoef(u, v)[0, 1]) < 4 / np.sqrt(count)


def test_keys_have_one_type_whatever_their_size():
    assert {type(hashing.stream_key(seed, 0, 0, 0)) for seed in range(20)} == {np.uint64}
    assert hashing.stream_key(np.int64(-1), 0, 0, 0) == hashing.stream_key(np.uint64(MASK), 0, 0, 0)
