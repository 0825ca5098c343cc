"""TopK against a sort by (magnitude, index)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpimasha.kernels import topk

KEYS = {np.dtype(np.float32): np.uint32, np.dtype(np.float64): np.uint64}
DTYPES = (np.float32, np.float64)


def select(x, k, dtype=np.uint32):
    index = np.empty(k, dtype)
    topk.topk(x, index, np.empty(x.size, KEYS[x.dtype]))
    return index


def oracle(x, k):
    order = np.lexsort((np.arange(x.size), -np.abs(x.astype(np.float64))))
    return np.sort(order[:k])


def with_count(arrays):
    return arrays.flatmap(lambda x: st.tuples(st.just(x), st.integers(1, x.size)))


def any_floats(dtype):
    return hnp.arrays(dtype, st.integers(1, 80), elements=hnp.from_dtype(np.dtype(dtype), allow_nan=False))


def few_values(dtype):
    values = [0.0, -0.0, 1.0, -1.0, 1.5, np.inf, -np.inf, np.finfo(dtype).smallest_subnormal]
    return hnp.arrays(dtype, st.integers(1, 80), elements=st.sampled_from([dtype(v) for v in values]))


@pytest.mark.parametrize("dtype", DTYPES)
@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_the_largest_magnitudes_are_found_exactly(dtype, data):
    x, k = data.draw(with_count(any_floats(dtype)))
    np.testing.assert_array_equal(select(x, k), oracle(x, k))


@pytest.mark.parametrize("dtype", DTYPES)
@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_ties_go_to_the_lowest_index(dtype, data):
    x, k = data.draw(with_count(few_values(dtype)))
    np.testing.assert_array_equal(select(x, k), oracle(x, k))


def long_inputs(dtype):
    generator = np.random.default_rng(0)
    gaussian = generator.standard_normal(3000).astype(dtype)
    sparse = np.zeros(3000, dtype)
    sparse[[5, 2000]] = (1.0, -2.0)
    tiny = (generator.integers(0, 50, 3000) * np.finfo(dtype).smallest_subnormal).astype(dtype)
    return {
        "gaussian": gaussian,
        "ascending": np.sort(gaussian),
        "descending": np.sort(gaussian)[::-1].copy(),
        "constant": np.full(3000, -3.25, dtype),
        "zero": np.zeros(3000, dtype),
        "mostly zero": sparse,
        "denormal": tiny,
        "cauchy": generator.standard_cauchy(3000).astype(dtype),
        "last bit": np.nextafter(np.ones(3000, dtype), generator.integers(0, 3, 3000).astype(dtype)),
    }


@pytest.mark.parametrize("name", long_inputs(np.float64))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", (1, 30, 2999, 3000))
def test_no_distribution_defeats_it(k, dtype, name):
    x = long_inputs(dtype)[name]
    np.testing.assert_array_equal(select(x, k, np.uint64), oracle(x, k))


@pytest.mark.parametrize("dtype", DTYPES)
def test_not_a_number_is_kept_before_all_else(dtype):
    x = np.array([np.inf, 1.0, np.nan, 5.0, -np.nan, -np.inf], dtype)
    assert select(x, 2).tolist() == [2, 4]
    assert select(x, 4).tolist() == [0, 2, 4, 5]


def test_asking_for_nothing_gives_nothing():
    assert select(np.ones(4), 0).size == 0


def test_the_input_is_left_as_it_was():
    x = np.array([-1.0, 3.0, -0.0])
    select(x, 2)
    np.testing.assert_array_equal(x, [-1.0, 3.0, -0.0])
    assert np.signbit(x[2])
