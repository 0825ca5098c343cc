"""Codes in words: the declared layout, nothing lost, nothing written beyond the last word."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpimasha.kernels.compress import packing
from mpimasha.kernels.hashing import dither, fraction, hash64, stream_key

SENTINEL = 0xDEADBEEF
BASES = (3, 5, 7, 9, 15, 31, 255, 256, 65535)


def pack_bits(codes, width):
    words = np.full(-(-len(codes) * width // 32) + 1, SENTINEL, np.uint32)
    for start in range(0, len(codes), packing.CHUNK):
        chunk, quads = np.full(packing.CHUNK, 2**16 - 1, np.uint16), np.zeros(packing.CHUNK // 4, np.uint64)
        count = min(packing.CHUNK, len(codes) - start)
        chunk[:count] = codes[start:start + count]
        packing.pack_bits(words[:-1], chunk, chunk.view(np.uint64), quads, quads.view(np.uint32), start, count, width)
    assert words[-1] == SENTINEL
    return words[:-1]


def unpack_bits(words, n, width):
    codes, quads, out = np.zeros(packing.CHUNK, np.uint16), np.zeros(packing.CHUNK // 4, np.uint64), []
    for start in range(0, n, packing.CHUNK):
        count = min(packing.CHUNK, n - start)
        packing.unpack_bits(codes.view(np.uint64), quads, quads.view(np.uint32), words, start, count, width)
        out += codes[:count].tolist()
    return out


@pytest.mark.parametrize("width", (1, 9, 12, 16))
@pytest.mark.parametrize("n", (1, 7, 31, 32, 33, 512, 513, 700))
def test_bit_fields_follow_each_other_without_gaps(n, width):
    codes = np.random.default_rng([n, width]).integers(0, 2**width, n).tolist()
    words = pack_bits(codes, width)
    stream = int.from_bytes(words.astype("<u4").tobytes(), "little")
    assert stream == sum(code << i * width for i, code in enumerate(codes))
    assert unpack_bits(words, n, width) == codes


@pytest.mark.parametrize("base", range(2, 300))
def test_a_word_holds_as_many_digits_as_go_into_it(base):
    d = packing.digits_per_word(base)
    assert base**d <= 2**32 < base ** (d + 1)


def pack_digits(digits, base):
    d = packing.digits_per_word(base)
    words, at_once = np.full(-(-len(digits) // d) + 1, SENTINEL, np.uint32), packing.WORDS * d
    scratch = np.full(at_once, base - 1, np.uint32)
    for first in range(0, len(digits), at_once):
        chunk = digits[first:first + at_once]
        scratch[:len(chunk)] = chunk
        packing.pack_digits(words[:-1], scratch, first, len(chunk), base, d)
    assert words[-1] == SENTINEL
    return words[:-1]


def unpack_digits(words, n, base):
    d = packing.digits_per_word(base)
    digits, rest, out = np.zeros(packing.WORDS * d), np.zeros(packing.WORDS), []
    for first in range(0, n, digits.size):
        count = min(digits.size, n - first)
        packing.unpack_digits(digits, words, rest, first, count, base, d)
        out += [int(digit) for digit in digits[:count]]
    return out


def numbers_of(digits, base):
    """The words, chunk by chunk, in Python's integers."""
    d = packing.digits_per_word(base)
    for first in range(0, len(digits), packing.WORDS * d):
        chunk = digits[first:first + packing.WORDS * d]
        count = -(-len(chunk) // d)
        for w in range(count):
            word = chunk[w::count]
            yield sum(digit * base ** (d - 1 - t) for t, digit in enumerate(word))


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("fill", ("random", "largest", "zero", "one", "first", "last"))
def test_digits_are_the_declared_ones_and_come_back(base, fill):
    d = packing.digits_per_word(base)
    for n in (1, d - 1, d, d + 1, 32 * d - 1, 32 * d, 32 * d + 1, 70 * d + 3):
        digits = {"random": np.random.default_rng([n, base]).integers(0, base, n).tolist(), "largest": [base - 1] * n,
                  "zero": [0] * n, "one": [1] * n, "first": [base - 1] + [0] * (n - 1),
                  "last": [0] * (n - 1) + [base - 1]}[fill] if n else []
        words = pack_digits(digits, base)
        assert words.tolist() == list(numbers_of(digits, base))
        assert unpack_digits(words, n, base) == digits


@settings(deadline=None, max_examples=300)
@given(base=st.integers(2, 2**16), data=st.data())
def test_any_word_that_digits_can_make_is_taken_apart_exactly(base, data):
    d = packing.digits_per_word(base)
    near = st.integers(0, d).flatmap(lambda e: st.integers(-2, 2).map(lambda off: base**e + off))
    word = data.draw(st.one_of(st.integers(0, base**d - 1), near).filter(lambda w: 0 <= w < base**d))
    digits, rest = [], word
    for _ in range(d):
        rest, digit = divmod(rest, base)
        digits.append(digit)
    assert unpack_digits(np.array([word], np.uint32), d, base) == digits[::-1]


@pytest.mark.parametrize("count", (1, 2, 7, 8))
def test_two_draws_come_from_one_word_of_the_stream(count):
    key, draws = stream_key(0, 1, 2, 3), np.zeros(8, np.uint32)
    dither(draws, 5, count, key)
    half = (count + 1) // 2
    words = [int(hash64(key, 5 + j)) for j in range(half)]
    assert draws[:count].tolist() == ([w % 2**32 for w in words] + [w >> 32 for w in words])[:count]


@pytest.mark.parametrize("draw", (0, 1, 2**31, 2**32 - 1))
def test_a_draw_is_the_middle_of_its_part_of_the_unit_interval(draw):
    assert fraction(np.uint32(draw)) == (draw + 0.5) / 2**32
