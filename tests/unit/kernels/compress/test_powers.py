"""Rounding to powers of two by short words: the formula, both types, and two planes that lose nothing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpimasha.kernels.compress import powers
from mpimasha.kernels.hashing import hash64, stream_key

KEY = stream_key(0, 4, 2, 9)
SINGLES = st.floats(width=32)
SIZES = (1, 8, 9, 511, 513, 4097)
MASK = 2**32 - 1


def short_word(key, i):
    """The i-th short word, in Python's integers."""
    word = int(hash64(key, i // 4096))
    x = (word + i % 4096 * 0x9E3779B9) & MASK
    x = (x ^ x >> 16) * 0x7FEB352D & MASK
    x = (x ^ x >> 15 ^ word >> 32) * 0x846CA68B & MASK
    return x ^ x >> 16


def rounded(x, fractions, bits):
    """sign(x) 2^e or 2^(e + 1), from `fractions` in [0, 1) that are multiples of 2^-bits."""
    smallest, top = (-126, 127) if x.dtype == np.float32 else (-1022, 1023)
    out = []
    for number, u in zip(x.tolist(), fractions):
        if not math.isfinite(number):
            out.append(math.copysign(math.inf, number))
            continue
        exponent = max(math.frexp(number)[1] - 1, smallest)
        f = math.ldexp(abs(number), -exponent)  # [1, 2), or [0, 1) below the smallest normal number
        base, f = (0.0, f) if f < 1 else (math.ldexp(1.0, exponent), f - 1)
        up = math.ldexp(1.0, min(exponent + (base > 0), top))
        out.append(math.copysign(up if f + u >= 1 else base, number))
    return np.array(out, x.dtype)


def uniforms(n, dtype):
    if dtype == np.float32:
        return [(short_word(KEY, i) >> 9) / 2**23 for i in range(n)]
    return [(int(hash64(KEY, i)) >> 12) / 2**52 for i in range(n)]


def planes(x):
    exponents, signs = np.full(x.size, 77, np.uint8), np.full(-(-x.size // 8), 77, np.uint8)
    powers.encode_powers(exponents, signs, x, np.full(powers.CHUNK, 77, np.uint8), KEY)
    return exponents, signs


def decoded(exponents, signs, dtype, scale=1.0, start=0.0):
    out = np.full(exponents.size, start, dtype)
    powers.decode_powers_add(out, exponents, signs, np.full(powers.CHUNK, 77, np.uint8), scale)
    return out


def check(x):
    out = np.full_like(x, 7)
    powers.round_powers(out, x, KEY)
    expected = rounded(x, uniforms(x.size, x.dtype), 23)
    assert out.tolist() == expected.tolist() and np.signbit(out).tolist() == np.signbit(x).tolist()
    if x.dtype == np.float32:
        exponents, signs = planes(x)
        assert exponents.tolist() == (out.view(np.uint32) >> 23 & 255).tolist()
        assert signs.tolist() == np.packbits(np.signbit(x), bitorder="little").tolist()
        assert decoded(exponents, signs, np.float64).tolist() == out.tolist()


@settings(deadline=None, max_examples=60)
@given(x=st.one_of(hnp.arrays(np.float32, st.integers(0, 20), elements=SINGLES),
                   hnp.arrays(np.float64, st.integers(0, 20), elements=st.floats())))
def test_any_number_becomes_the_power_of_the_formula(x):
    check(x)


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
@pytest.mark.parametrize("n", SIZES)
def test_chunks_and_blocks_follow_each_other(n, dtype):
    check((np.random.default_rng(n).standard_normal(n) * 10.0 ** np.arange(n).clip(0, 30)).astype(dtype))


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_it_works_in_place(dtype):
    x = np.random.default_rng(0).standard_normal(600).astype(dtype)
    expected = np.empty_like(x)
    powers.round_powers(expected, x, KEY)
    powers.round_powers(x, x, KEY)
    assert x.tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_decoding_adds_scale_times_the_power_in_double_precision(dtype):
    x = np.random.default_rng(0).standard_normal(700).astype(np.float32)
    exponents, signs = planes(x)
    value = decoded(exponents, signs, np.float64)
    expected = (0.25 + 0.7 * value).astype(dtype)
    assert decoded(exponents, signs, dtype, 0.7, 0.25).tolist() == expected.tolist()


def test_short_words_are_uniform_and_uncorrelated():
    words = np.array([short_word(KEY, i) for i in range(20000)]) / 2**32
    assert abs(words.mean() - 1 / 2) < 4 * np.sqrt(1 / 12 / words.size)
    assert abs(words.var() - 1 / 12) < 4 * np.sqrt(1 / 180 / words.size)
    for lag in (1, 2, 4096):
        assert abs(np.corrcoef(words[lag:], words[:-lag])[0, 1]) < 4.5 / np.sqrt(words.size)
    digits = (words * 2**32).astype(np.uint64) & np.uint64(0xFFFF)
    assert abs(digits.mean() - 65535 / 2) < 4 * 65536 * np.sqrt(1 / 12 / words.size)
    assert abs(np.corrcoef(words, digits)[0, 1]) < 4 / np.sqrt(words.size)
