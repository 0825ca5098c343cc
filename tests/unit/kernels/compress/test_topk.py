"""TopK against a sort by (magnitude, index), in its portable form and with vector instructions."""

import json
import os
import subprocess
import sys

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpimasha.kernels import lanes, updates
from mpimasha.kernels.compress import compaction, threshold, topk

DTYPES = (np.float32, np.float64)
FORMS = [None] if topk.VECTOR is None else [None, topk.VECTOR]
WORDS = {np.float32: np.uint32, np.float64: np.uint64}
EXAMPLES = settings(deadline=None, max_examples=30 if numba.config.DISABLE_JIT else 100)
LARGE = 20000  # more than the room of the candidates
compiled_only = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="needs the compiler")
both_forms = pytest.mark.parametrize("form", FORMS, ids=lambda form: "vectors" if form else "portable")
both_dtypes = pytest.mark.parametrize("dtype", DTYPES)


def scratch(n, k, dtype, warm=0):
    return *topk.scratch(n, k, dtype), np.array([warm], np.uint64)


def select(x, k, form, warm=0):
    index = np.empty(k, WORDS[x.dtype.type])
    topk.topk(x, index, *scratch(x.size, k, x.dtype, warm), form)
    return index


def oracle(x, k):
    keys = np.abs(x).view(WORDS[x.dtype.type])
    order = np.lexsort((np.arange(x.size), np.iinfo(keys.dtype).max - keys))
    return np.sort(order[:k])


def with_count(arrays):
    return arrays.flatmap(lambda x: st.tuples(st.just(x), st.integers(1, x.size)))


def any_floats(dtype):
    return hnp.arrays(dtype, st.integers(1, 80), elements=hnp.from_dtype(np.dtype(dtype)))


def few_values(dtype):
    values = [0.0, -0.0, 1.0, -1.0, 1.5, np.inf, -np.inf, np.finfo(dtype).smallest_subnormal]
    return hnp.arrays(dtype, st.integers(1, 80), elements=st.sampled_from([dtype(v) for v in values]))


@both_forms
@both_dtypes
@EXAMPLES
@given(data=st.data())
def test_the_largest_magnitudes_are_found_exactly(dtype, form, data):
    x, k = data.draw(with_count(any_floats(dtype)))
    np.testing.assert_array_equal(select(x, k, form), oracle(x, k))


@both_forms
@both_dtypes
@EXAMPLES
@given(data=st.data())
def test_ties_go_to_the_lowest_index(dtype, form, data):
    x, k = data.draw(with_count(few_values(dtype)))
    np.testing.assert_array_equal(select(x, k, form), oracle(x, k))


def inputs(n, dtype):
    generator = np.random.default_rng(n)
    gaussian = generator.standard_normal(n).astype(dtype)
    sparse = np.zeros(n, dtype)
    sparse[generator.integers(0, n, 1 + n // 2000)] = -1.0
    tiny = (generator.integers(0, 50, n) * np.finfo(dtype).smallest_subnormal).astype(dtype)
    return {
        "gaussian": gaussian,
        "ascending": np.sort(np.abs(gaussian)),
        "descending": np.sort(np.abs(gaussian))[::-1].copy(),
        "signed ascending": np.sort(gaussian),
        "constant": np.full(n, -3.25, dtype),
        "zero": np.zeros(n, dtype),
        "mostly zero": sparse,
        "denormal": tiny,
        "few values": generator.integers(-3, 4, n).astype(dtype),
        "cauchy": generator.standard_cauchy(n).astype(dtype),
        "last bit": np.nextafter(np.ones(n, dtype), generator.integers(0, 3, n).astype(dtype)),
        "infinite": np.where(generator.random(n) < 0.3, dtype(-np.inf), gaussian),
        "not a number": np.where(generator.random(n) < 0.02, dtype(np.nan), gaussian),
    }


@pytest.mark.parametrize("name", inputs(1, np.float64))
@both_forms
@both_dtypes
def test_no_distribution_defeats_it(dtype, form, name):
    for n in (3000, LARGE) if not numba.config.DISABLE_JIT else (3000,):
        x = inputs(n, dtype)[name]
        for k in (1, n // 100, n // 10, n - 1, n):
            np.testing.assert_array_equal(select(x, k, form), oracle(x, k))


@pytest.mark.parametrize("name", ("constant", "mostly zero", "gaussian"))
@both_dtypes
def test_the_portable_form_fills_its_room_without_compilation_too(dtype, name):
    x = inputs(LARGE, dtype)[name]
    np.testing.assert_array_equal(select(x, 20, None), oracle(x, 20))


@both_forms
@both_dtypes
def test_sizes_around_those_of_vectors_blocks_and_chunks(dtype, form):
    sizes = [*range(1, 34), 63, 64, 65]
    if not numba.config.DISABLE_JIT:
        sizes += [n + d for n in (threshold.SHORT, 2 * compaction.CHUNK, 5 * compaction.CHUNK) for d in (-1, 0, 1, 17)]
    for n in sizes:
        x = np.random.default_rng(n).standard_normal(n).astype(dtype)
        for k in {1, (n + 1) // 2, max(1, n // 20), n}:
            np.testing.assert_array_equal(select(x, k, form), oracle(x, k))


@both_forms
@both_dtypes
def test_a_threshold_from_before_changes_nothing(dtype, form):
    word, n, k = WORDS[dtype], 6000, 70
    x = np.random.default_rng(1).standard_normal(n).astype(dtype)
    largest = np.sort(np.abs(x))
    warm = [dtype(v).view(word) for v in (largest[-k], largest[-k] * 1.01, largest[0], 1e-30, 1e30, np.inf, np.nan)]
    for key in (*warm, 1, 2**18, 2**63, 2**64 - 1):
        np.testing.assert_array_equal(select(x, k, form, warm=np.uint64(key)), oracle(x, k))


@both_forms
@both_dtypes
def test_one_scratch_serves_inputs_that_change_abruptly(dtype, form):
    n, k = 5000, 40
    room, index = scratch(n, k, dtype), np.empty(k, WORDS[dtype])
    for scale in (1.0, 1e-3, 1e3, 0.0, 1.0):
        for x in inputs(n, dtype).values():
            with np.errstate(invalid="ignore"):
                x = x * dtype(scale)
            topk.topk(x, index, *room, form)
            np.testing.assert_array_equal(index, oracle(x, k))
        if numba.config.DISABLE_JIT:
            break


def misleading(n, k, dtype):
    """Large where the sample looks, and nowhere else."""
    x = np.random.default_rng(2).standard_normal(n).astype(dtype)
    pieces = threshold.sample_size(k, n) // topk.PIECE
    for j in range(pieces):
        start = topk.PIECE * threshold.stratum(j, pieces, n // topk.PIECE)
        x[start:start + topk.PIECE] += 1000
    assert pieces * topk.PIECE < k  # more than k of them would be what is sought
    return x


@both_forms
@both_dtypes
def test_a_sample_that_misleads_costs_time_only(dtype, form):
    x = misleading(LARGE, 500, dtype)
    np.testing.assert_array_equal(select(x, 500, form), oracle(x, 500))


@both_forms
@both_dtypes
def test_not_a_number_is_kept_before_all_else(dtype, form):
    x = np.array([np.inf, 1.0, np.nan, 5.0, -np.nan, -np.inf], dtype)
    assert select(x, 2, form).tolist() == [2, 4]
    assert select(x, 4, form).tolist() == [0, 2, 4, 5]


@both_forms
def test_asking_for_nothing_gives_nothing(form):
    assert select(np.ones(4), 0, form).size == 0
    assert select(np.ones(0), 0, form).size == 0


def test_the_input_is_left_as_it_was():
    x = np.array([-1.0, 3.0, -0.0])
    select(x, 2, None)
    np.testing.assert_array_equal(x, [-1.0, 3.0, -0.0])
    assert np.signbit(x[2])


@pytest.mark.slow
@pytest.mark.parametrize("dtype, other, number", ((np.float32, np.float64, 2), (np.float64, np.float32, 3)))
@both_forms
def test_feedback_is_the_sum_and_then_the_selection_bit_for_bit(dtype, other, number, form):
    update = (updates.update1, updates.update2, updates.update3)[number - 1]
    for n, k in ((37, 5), (5000, 50)) + (() if numba.config.DISABLE_JIT else ((LARGE + 3, 200), (50001, 100))):
        generator = np.random.default_rng(n)
        e, *vectors = (generator.standard_normal(n).astype(t) for t in (dtype, other, other, dtype))
        terms = [part for term in zip((0.7, -1.0, 0.3), vectors) for part in term][:2 * number]
        rest = (0.0, None) * (3 - number)
        room, index = scratch(n, k, dtype), np.empty(k, WORDS[dtype])
        for _ in range(3):  # the first without a threshold from before
            expected = e.copy()
            update(1.0, expected, *terms)
            topk.topk_feedback(e, *terms, *rest, index, *room, form)
            np.testing.assert_array_equal(e.view(WORDS[dtype]), expected.view(WORDS[dtype]))
            np.testing.assert_array_equal(index, oracle(expected, k))
            e[index] = 0


@both_forms
def test_feedback_of_one_vector_is_added_once_though_the_sample_misleads(form):
    x = misleading(LARGE, 500, np.float64)
    e, index = np.zeros_like(x), np.empty(500, np.uint32)
    topk.topk_feedback(e, 2.0, x, 0.0, None, 0.0, None, index, *scratch(x.size, 500, x.dtype), form)
    np.testing.assert_array_equal(e, 2 * x)
    np.testing.assert_array_equal(index, oracle(e, 500))


@pytest.mark.slow
@both_forms
def test_an_index_of_64_bits_serves_numbers_of_32(form):
    n, k = 5000, 300
    x, index = inputs(n, np.float32)["few values"], np.empty(k, np.uint64)
    topk.topk(x, index, *scratch(n, k, x.dtype), form)
    np.testing.assert_array_equal(index, oracle(x, k))


@pytest.mark.slow
def test_positions_of_64_bits_serve_vectors_that_need_them():
    n, k = 5000, 300
    keys, sums, positions, warm = scratch(n, k, np.float32)
    x, index = inputs(n, np.float32)["few values"], np.empty(k, np.uint64)
    topk.topk(x, index, keys, sums, positions.astype(np.uint64), warm, topk.VECTOR)
    np.testing.assert_array_equal(index, oracle(x, k))


@pytest.mark.parametrize("rank", (1, 7, 4999, 5000))
@both_forms
@both_dtypes
def test_the_threshold_says_which_keys_are_the_largest(dtype, form, rank):
    for keys in (np.abs(x).view(WORDS[dtype]) for x in inputs(5000, dtype).values()):
        work = np.empty(2048, keys.dtype)
        least, surplus = threshold.select(keys, rank, np.uint64(0), np.uint64(keys.max()), work, form)
        assert np.count_nonzero(keys >= least) == rank + surplus
        assert surplus == 0 or surplus < np.count_nonzero(keys == least)
        if numba.config.DISABLE_JIT:
            break


SECOND = """
import json
import numpy as np
from mpimasha.kernels.compress import topk
index = np.empty(3, np.uint32)
topk.topk(np.arange(100.0), index, *topk.scratch(100, 3, np.float64), np.zeros(1, np.uint64), topk.VECTOR)
stats = topk._topk.stats
print(json.dumps([index.tolist(), topk.VECTOR, sum(stats.cache_hits.values()), sum(stats.cache_misses.values())]))
"""


def python(source, **variables):
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    done = subprocess.run([sys.executable, "-c", source], env=os.environ | {"PYTHONPATH": path} | variables,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(topk.VECTOR is None, reason="needs the vector form")
def test_vectors_refuse_an_array_with_gaps():
    x, index = np.ones(2000), np.empty(5, np.uint32)
    with pytest.raises(numba.errors.NumbaError, match="not contiguous"):
        topk.topk(x[::2], index, *scratch(1000, 5, x.dtype), topk.VECTOR)


@pytest.mark.slow
@compiled_only
def test_a_second_process_compiles_nothing(tmp_path):
    first, second = (python(SECOND, NUMBA_CACHE_DIR=str(tmp_path), NUMBA_DISABLE_JIT="0") for _ in range(2))
    assert first == [[97, 98, 99], topk.VECTOR, 0, 1]
    assert second == [[97, 98, 99], topk.VECTOR, 1, 0]


@pytest.mark.parametrize("features, portable", (({"avx512f": True}, "0"), ({}, ""), ({"avx512f": True}, "1")))
def test_the_portable_form_is_chosen_where_vectors_cannot_be_packed_or_are_not_wanted(monkeypatch, features, portable):
    available = {"avx512f": False, "avx512vl": portable == "1"} | features
    monkeypatch.setattr(lanes.llvmlite.binding, "get_host_cpu_features", lambda: available)
    monkeypatch.setenv("MPIMASHA_PORTABLE", portable)
    assert not lanes.available()
