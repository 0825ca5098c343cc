"""Dithering to 8 and 4 bits: the codes are the formula, the scale the largest magnitude, what is not finite is seen."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpimasha.kernels.compress import dither
from mpimasha.kernels.hashing import mix32, short_key, stream_key

KEY = stream_key(0, 4, 2, 9)
DTYPES, LEVELS = (np.float32, np.float64), (127, 7)


def encode(x, levels, bucket, wire=None):
    scales = np.full(-(-x.size // bucket), np.nan, wire or x.dtype)
    codes = np.full(x.size if levels == 127 else -(-x.size // 2), 77, np.uint8)
    dither.dither_encode(x, x.view(f"u{x.itemsize}"), scales, codes, levels, bucket, KEY)
    return scales, codes


def decode(scales, codes, n, levels, bucket, scale=1.0, dtype=np.float64, start=0.0):
    out = np.full(n, start, dtype)
    dither.dither_decode_add(out, scales, codes, levels, bucket, scale)
    return out


def pieces(n, bucket):
    start = 0
    while start < n:
        stop = min((start // bucket + 1) * bucket, (start // dither.CHUNK + 1) * dither.CHUNK, n)
        yield start, stop
        start = stop


def levels_of(codes, n, levels, bucket):
    found = []
    for start, stop in pieces(n, bucket):
        if levels == 127:
            found += codes[start:stop].tolist()
        else:
            part = codes[start // 2:(stop + 1) // 2]
            assert (stop - start) % 2 == 0 or part[-1] < 16
            found += [*(part & 15).tolist(), *(part >> 4).tolist()][:stop - start]
    return np.array(found, int) - levels


def draws(n, bucket):
    digits = []
    for start, stop in pieces(n, bucket):
        words = [int(mix32(*short_key(KEY, start, place))) for place in range((stop - start + 1) // 2)]
        digits += [*(word & 0x7FFF for word in words), *(word >> 17 for word in words)][:stop - start]
    return digits


def check(x, levels, bucket, wire=None):
    scales, codes = encode(x, levels, bucket, wire)
    found = levels_of(codes, x.size, levels, bucket)
    assert np.abs(found).max(initial=0) <= levels
    for b, c in enumerate(scales):
        part = x[b * bucket:(b + 1) * bucket]
        largest = np.abs(part).max()
        with np.errstate(over="ignore"):
            near = scales.dtype.type(largest)
        assert c == (near if float(near) >= largest else np.nextafter(near, scales.dtype.type(np.inf)))
    step = 2.0**-15
    for i, (number, level, draw) in enumerate(zip(x.tolist(), found.tolist(), draws(x.size, bucket))):
        c = float(scales[i // bucket])
        if c == 0 or math.isinf(c):
            assert level == 0 or math.isinf(c)
            continue
        exact = Fraction(number) / Fraction(c) * levels + Fraction(draw, 32768)
        assert math.floor(exact - Fraction(step)) <= level <= math.floor(exact + Fraction(step))
    with np.errstate(invalid="ignore", over="ignore"):
        value = np.repeat(scales.astype(float) / levels, bucket)[:x.size] * found
        np.testing.assert_array_equal(decode(scales, codes, x.size, levels, bucket), value)


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n, bucket", [(1, 8), (64, 16), (77, 20), (150, 1000), (5, 2), (2049, 512), (4101, 4101),
                                       (5000, 600), (9000, 4500)])
def test_codes_are_the_formula(n, bucket, dtype, levels):
    check(np.random.default_rng(n).standard_normal(n).astype(dtype), levels, bucket)


@settings(deadline=None, max_examples=60)
@given(data=st.data(), levels=st.sampled_from(LEVELS), bucket=st.sampled_from((2, 4, 8, 20)),
       wire=st.sampled_from(DTYPES))
def test_the_ends_of_the_range_are_rounded_like_all_else(data, levels, bucket, wire):
    dtype = np.dtype(data.draw(st.sampled_from(DTYPES)))
    finite = hnp.from_dtype(dtype, allow_nan=False, allow_infinity=False)
    check(data.draw(hnp.arrays(dtype, st.integers(1, 20), elements=finite)), levels, bucket, wire)


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("bad", (np.nan, np.inf, -np.inf))
@pytest.mark.parametrize("place", (16, 20, 31))
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_finite_spoils_its_bucket_and_no_other(dtype, place, bad, levels):
    x = np.random.default_rng(0).standard_normal(48).astype(dtype)
    x[place] = bad
    finite = np.isfinite(decode(*encode(x, levels, 16), 48, levels, 16))
    assert finite[:16].all() and not finite[16:32].any() and finite[32:].all()


@pytest.mark.parametrize("levels", LEVELS)
def test_decoding_adds_scale_times_the_value_in_double_precision(levels):
    x = np.random.default_rng(0).standard_normal(90).astype(np.float32)
    scales, codes = encode(x, levels, 40)
    value = decode(scales, codes, 90, levels, 40)
    for dtype in DTYPES:
        expected = (0.25 + 0.7 * value).astype(dtype)
        assert decode(scales, codes, 90, levels, 40, 0.7, dtype, 0.25).tolist() == expected.tolist()
