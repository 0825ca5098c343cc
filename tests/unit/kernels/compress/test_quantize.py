"""QSGD: the bit stream, the rounding of the norms, unbiasedness, and input that is not finite."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpimasha.kernels.compress import quantize
from mpimasha.kernels.compress.packing import CHUNK
from mpimasha.kernels.hashing import stream_key, uniform

DTYPES = (np.float32, np.float64)
SENTINEL = 0xDEADBEEF
KEY = stream_key(0, 4, 2, 9)


def scratch():
    return np.full(CHUNK, 0xFFFF, np.uint16), np.full(CHUNK // 4, 2**64 - 1, np.uint64)


def encode(x, levels, width, bucket, wire=np.float32, key=KEY):
    """Norms and words; a guard word behind the last must survive."""
    norms = np.full(-(-x.size // bucket), np.nan, wire)
    words = np.full(-(-x.size * width // 32) + 1, SENTINEL, np.uint32)
    quantize.qsgd_encode(x, norms, words[:-1], *scratch(), levels, width, bucket, key)
    assert words[-1] == SENTINEL
    return norms, words[:-1]


def codes_of(words, n, width):
    """The codes, read from one large integer."""
    stream = int.from_bytes(words.astype("<u4").tobytes(), "little")
    codes = [(stream >> (i * width)) & (2**width - 1) for i in range(n)]
    assert stream >> (n * width) == 0
    return codes


def decode(norms, words, n, levels, width, bucket, dtype=np.float64, scale=1.0):
    out = np.zeros(n, dtype)
    quantize.qsgd_decode_add(out, norms, words, *scratch(), levels, width, bucket, scale)
    return out


def gaussian(n, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(n).astype(dtype)


@pytest.mark.parametrize("wire", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("levels, width", [(1, 2), (3, 3), (4, 4), (15, 5), (63, 7), (1000, 11), (2**15 - 1, 16)])
@pytest.mark.parametrize("n, bucket", [(1, 8), (64, 16), (77, 20), (1100, 100), (1025, 1025)])
def test_codes_are_the_formula_packed_without_gaps(n, bucket, levels, width, dtype, wire):
    x = gaussian(n, dtype)
    norms, words = encode(x, levels, width, bucket, wire)
    for i, code in enumerate(codes_of(words, n, width)):
        level = math.floor(abs(float(x[i])) / float(norms[i // bucket]) * levels + uniform(KEY, i))
        assert level <= levels
        assert code == level | (int(x[i] < 0) << (width - 1))


@pytest.mark.parametrize("wire", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("levels, width", [(1, 2), (4, 4), (5, 4), (31, 6), (2**15 - 1, 16)])
def test_every_code_comes_back_exactly(levels, width, dtype, wire):
    n, bucket = 1100, 100  # more than is packed at once, whose end no bucket has
    norms, words = encode(gaussian(n, np.float64), levels, width, bucket, wire)
    start = gaussian(n, dtype, seed=1)
    out = start.copy()
    quantize.qsgd_decode_add(out, norms, words, *scratch(), levels, width, bucket, 0.7)
    for i, code in enumerate(codes_of(words, n, width)):
        level, sign = code & (2 ** (width - 1) - 1), -1 if code >> (width - 1) else 1
        value = sign * (float(norms[i // bucket]) * (level / levels))
        assert out[i] == dtype(float(start[i]) + 0.7 * value)


def test_a_level_over_the_number_of_levels_is_the_quotient_of_float64():
    for levels in (*range(1, 60), 127, 1000, 12345, 2**14, 2**15 - 3, 2**15 - 1):
        high, low = quantize.reciprocal(levels)
        k = np.arange(-levels, levels + 1.0)
        np.testing.assert_array_equal(k * high + k * low, k / levels)


def test_the_only_entry_of_a_bucket_goes_to_the_highest_level():
    x = np.array([0.0, 0.0, -3.0, 0.0, 5.0])
    norms, words = encode(x, 4, 4, 4)
    # The norm is rounded up, so the ratio is a little below 1; a draw that small is not among these.
    assert codes_of(words, 5, 4) == [0, 0, 4 | 8, 0, 4]
    np.testing.assert_allclose(decode(norms, words, 5, 4, 4, 4), x, rtol=2.0**-22)


def check_norm(norm, x, slack):
    """In exact arithmetic: not below the true norm, and above it by `slack`, relatively, at most."""
    limits = np.finfo(type(norm))
    true_square = sum(Fraction(float(v)) ** 2 for v in x)
    if true_square == 0:
        assert norm == 0
    elif math.isinf(norm):
        assert true_square * (1 + 2 * Fraction(slack)) > Fraction(float(limits.max)) ** 2
    else:
        norm, tiny = Fraction(float(norm)), Fraction(float(limits.smallest_subnormal))
        assert norm**2 >= true_square
        assert max(norm * (1 - Fraction(slack)) - 2 * tiny, 0) ** 2 <= true_square


@pytest.mark.parametrize("wire, slack", [(np.float32, 2.0**-22), (np.float64, 2.0**-47)])
@pytest.mark.parametrize("dtype", DTYPES)
@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_the_norm_is_never_below_the_true_one_and_hardly_above(dtype, wire, slack, data):
    finite = hnp.from_dtype(np.dtype(dtype), allow_nan=False, allow_infinity=False)
    x = data.draw(hnp.arrays(dtype, st.integers(1, 20), elements=finite))
    norms, _ = encode(x, 4, 4, 32, wire)
    check_norm(norms[0], x, slack)


@pytest.mark.parametrize("wire, slack", [(np.float32, 2.0**-22), (np.float64, 2.0**-44)])
@pytest.mark.parametrize("magnitude", (1.0, 1e-160, 1e-310, 1e160))
def test_rounding_errors_of_long_sums_are_covered(magnitude, wire, slack):
    for seed in range(5):
        x = gaussian(512, np.float64, seed) * magnitude
        norms, _ = encode(x, 4, 4, 512, wire)
        check_norm(norms[0], x, slack)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_mean_over_many_draws_is_the_vector(dtype):
    trials, levels = 800, 2
    x = np.array([0.3, -1.0, 0.02, 0.0, 2.0, -0.7], dtype)
    total = np.zeros(x.size)
    for trial in range(trials):
        norms, words = encode(x, levels, 3, 4, np.float32, stream_key(0, 0, 0, trial))
        total += decode(norms, words, x.size, levels, 3, 4)
    step = np.repeat(norms.astype(float), 4)[: x.size] / levels
    ratio = np.abs(x) / step - np.floor(np.abs(x) / step)
    deviation = step * np.sqrt(ratio * (1 - ratio) / trials)
    assert (np.abs(total / trials - x) <= 4 * deviation + 1e-12).all()


def test_a_zero_bucket_is_all_zero_codes():
    x = np.zeros(40)
    x[:8] = -0.0
    norms, words = encode(x, 4, 4, 16)
    assert not norms.any() and not words.any()
    assert not decode(norms, words, 40, 4, 4, 16).any()


@pytest.mark.parametrize("bad", (np.nan, np.inf, -np.inf))
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_finite_spoils_its_bucket_and_no_other(dtype, bad):
    x = gaussian(48, dtype)
    x[20] = bad
    norms, words = encode(x, 4, 4, 16)
    assert max(code & 7 for code in codes_of(words, 48, 4)) <= 4
    out = decode(norms, words, 48, 4, 4, 16)
    finite = np.isfinite(out)
    assert finite[:16].all() and not finite[16:32].any() and finite[32:].all()


def test_a_norm_too_large_for_the_wire_is_seen_to_be():
    norms, words = encode(np.array([1e39, 1.0]), 4, 4, 2, np.float32)
    assert np.isinf(norms[0])
    assert not np.isfinite(decode(norms, words, 2, 4, 4, 2)).any()


def test_an_empty_vector_is_an_empty_message():
    norms, words = encode(np.empty(0), 4, 4, 16)
    assert norms.size == words.size == decode(norms, words, 0, 4, 4, 16).size == 0
