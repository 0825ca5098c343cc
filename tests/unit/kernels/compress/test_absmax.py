"""AbsMax: the levels are the formula, the scale is the largest magnitude, what is not finite is seen."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpimasha.kernels.compress import absmax, packing
from mpimasha.kernels.hashing import dither, fraction, stream_key

WIRES = (np.float32, np.float64)
KEY = stream_key(0, 4, 2, 9)


def encode(x, levels, bucket, nearest=False, wire=np.float64, key=KEY):
    x = np.asarray(x, float)
    d = packing.digits_per_word(2 * levels + 1)
    scales, words = np.full(-(-x.size // bucket), np.nan, wire), np.zeros(-(-x.size // d), np.uint32)
    scratch = np.zeros((2, packing.WORDS * d), np.uint32)
    absmax.absmax_encode(x, scales, words, *scratch, levels, d, bucket, nearest, key)
    return scales, words


def decode(scales, words, n, levels, bucket, scale=1.0, out=None):
    d = packing.digits_per_word(2 * levels + 1)
    out = np.zeros(n) if out is None else out
    absmax.absmax_decode_add(out, scales, words, np.zeros(packing.WORDS * d), np.zeros(packing.WORDS), levels, d,
                             bucket, scale)
    return out


def pieces(n, levels, bucket):
    """Where one call of `dither` begins and how long it is: cut by buckets and by what is packed at once."""
    at_once = packing.WORDS * packing.digits_per_word(2 * levels + 1)
    cuts = sorted({*range(0, n, bucket), *range(0, n, at_once), n})
    return list(zip(cuts, np.diff(cuts).tolist()))


def uniforms(n, levels, bucket):
    out, draws = [], np.zeros(packing.WORDS * 32, np.uint32)
    for start, count in pieces(n, levels, bucket):
        dither(draws, start, count, KEY)
        out += [float(fraction(draw)) for draw in draws[:count]]
    return out


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("levels", (1, 3, 100, 32767))
@pytest.mark.parametrize("n, bucket", [(1, 8), (64, 16), (77, 20), (150, 1000), (5, 1)])
def test_levels_are_the_formula(n, bucket, levels, wire):
    x = np.random.default_rng(n).standard_normal(n)
    x[n // 2] *= min(n, bucket) == 1  # a zero, but no bucket of zeros
    for nearest in (False, True):
        scales, words = encode(x, levels, bucket, nearest, wire)
        out = decode(scales, words, n, levels, bucket)
        shifts = [0.5] * n if nearest else uniforms(n, levels, bucket)
        for i, u in enumerate(shifts):
            c = float(scales[i // bucket])
            level = min(math.floor(float(x[i]) / c * levels + levels + u) - levels, levels)
            assert abs(level) <= levels
            assert out[i] == c * (level / levels)


@pytest.mark.parametrize("wire", WIRES)
@settings(deadline=None, max_examples=100)
@given(x=hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(allow_nan=False, allow_infinity=False)))
def test_the_scale_is_the_largest_magnitude_rounded_up(wire, x):
    scales, _ = encode(x, 2, 7, wire=wire)
    for b, c in enumerate(scales):
        largest = np.abs(x[7 * b:7 * b + 7]).max()
        with np.errstate(over="ignore"):
            rounded = wire(largest)
        expected = rounded if float(rounded) >= largest else np.nextafter(rounded, wire(np.inf))
        assert c == expected and float(c) >= largest


@pytest.mark.parametrize("nearest", (False, True))
@pytest.mark.parametrize("wire", WIRES)
@settings(deadline=None, max_examples=100)
@given(x=hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(-1e38, 1e38)))
def test_no_value_is_further_than_a_level_from_its_own_and_the_largest_is_kept(nearest, wire, x):
    scales, words = encode(x, 3, 32, nearest, wire)
    out, c = decode(scales, words, x.size, 3, 32), float(scales[0])
    assert (np.abs(out - x) <= c / 3 * (0.5 if nearest else 1) * (1 + 1e-9)).all()
    assert (np.abs(out) <= c).all()
    if c == np.abs(x).max():  # not rounded up: in this case the largest entries come back as they are
        largest = np.abs(x) == c
        np.testing.assert_array_equal(out[largest], x[largest])


def test_halves_go_up_to_the_nearest_level():
    x = np.array([1.0, 0.5, -0.5, 0.25, -0.25, -1.0])
    assert decode(*encode(x, 1, 8, nearest=True), 6, 1, 8).tolist() == [1, 1, 0, 0, 0, -1]
    assert decode(*encode(x, 2, 8, nearest=True), 6, 2, 8).tolist() == [1, 0.5, -0.5, 0.5, 0, -1]


@pytest.mark.parametrize("wire", WIRES)
def test_a_bucket_of_zeros_is_nothing(wire):
    x = np.zeros(20)
    x[10:], x[3] = 1.0, -0.0
    scales, words = encode(x, 2, 10, wire=wire)
    assert scales[0] == 0 and decode(scales, words, 20, 2, 10).tolist() == x.tolist()


@pytest.mark.parametrize("bad", (np.nan, np.inf, -np.inf))
@pytest.mark.parametrize("nearest", (False, True))
@pytest.mark.parametrize("place", (16, 20, 31))
def test_what_is_not_finite_spoils_its_bucket_and_no_other(place, nearest, bad):
    x = np.random.default_rng(0).standard_normal(48)
    x[place] = bad
    out = decode(*encode(x, 4, 16, nearest), 48, 4, 16)
    finite = np.isfinite(out)
    assert finite[:16].all() and not finite[16:32].any() and finite[32:].all()


def test_a_scale_too_large_for_the_wire_is_seen_to_be():
    scales, words = encode([1e39, 1.0, -1e39], 4, 3, wire=np.float32)
    assert np.isinf(scales[0]) and not np.isfinite(decode(scales, words, 3, 4, 3)).any()


@pytest.mark.parametrize("magnitude", (5e-324, 1e-310, 1e-45, 1e-40, 1e308, 1.7e308))
@pytest.mark.parametrize("wire", WIRES)
def test_the_ends_of_the_range_are_rounded_like_all_else(wire, magnitude):
    x = magnitude * np.array([1.0, -1.0, 0.0])
    scales, words = encode(x, 3, 3, wire=wire)
    out = decode(scales, words, 3, 3, 3)
    if magnitude <= float(np.finfo(wire).max):
        assert out[2] == 0 and (np.abs(out - x) <= float(scales[0]) / 3 + 5e-324).all()
    else:
        assert not np.isfinite(out).any()


def test_decoding_adds_scale_times_the_value_in_double_precision():
    x, rng = np.random.default_rng(0).standard_normal(90), np.random.default_rng(1)
    scales, words = encode(x, 3, 40, wire=np.float32)
    for dtype, scale in itertools.product(WIRES, (0.7, -1.0, np.float32(0.1))):
        start, value = rng.standard_normal(90).astype(dtype), decode(scales, words, 90, 3, 40)
        out = decode(scales, words, 90, 3, 40, scale, start.copy())
        np.testing.assert_array_equal(out, (start.astype(float) + float(scale) * value).astype(dtype))
