"""Small codes in 32-bit words: bit fields without gaps, or digits of any base.

Codes are packed and unpacked a chunk at a time, so that the scratch stays in the first cache.
"""

import numpy as np

from ._jit import kernel

CHUNK = 512  # coordinates; any width of bits then fills whole words
WORD = 2**32
WORDS = 32  # filled at once by digits
LOW = np.uint64(WORD - 1)


@kernel
def pack_bits(words, codes, start, count, width):
    """codes[:count] into the bits [i width, (i + 1) width) of the stream, i from `start` on, little endian.

    Parameters
    ----------
    words : (ceil(n * width / 32),) uint32
        Written, from bit `start` * width on to the end of the last word.
    codes : (at least count,) uint16
        Below 2^width.
    start : int
        A multiple of 32.
    count, width : int
    """
    buffer, filled, word = np.uint64(0), 0, start // 32 * width
    for i in range(count):
        buffer |= np.uint64(codes[i]) << np.uint64(filled)
        filled += width
        if filled >= 32:
            words[word] = np.uint32(buffer & LOW)
            buffer >>= np.uint64(32)
            filled -= 32
            word += 1
    if filled > 0:
        words[word] = np.uint32(buffer)


@kernel
def unpack_bits(codes, words, start, count, width):
    """The inverse of `pack_bits`."""
    mask = (np.uint64(1) << np.uint64(width)) - np.uint64(1)
    buffer, filled, word = np.uint64(0), 0, start // 32 * width
    for i in range(count):
        if filled < width:
            buffer |= np.uint64(words[word]) << np.uint64(filled)
            filled += 32
            word += 1
        codes[i] = np.uint16(buffer & mask)
        buffer >>= np.uint64(width)
        filled -= width


def digits_per_word(base):
    """The largest d with base^d <= 2^32."""
    count = 1
    while base ** (count + 1) <= WORD:
        count += 1
    return count


@kernel
def pack_digits(words, digits, first, count, base, per_word):
    """Digits of coordinates first, first + 1, ... of a message into the words from first / per_word on.

    The words of one call, at most `WORDS`, are filled side by side, which is what lets the loop vectorise: of W words,
    word w has digits[w], digits[w + W], digits[w + 2 W], ..., the most significant first.

    Parameters
    ----------
    words : (ceil(n / per_word),) uint32
        Written: ceil(count / per_word) of them.
    digits : (WORDS * per_word,) uint32
        Below `base`; set to zero from `count` on.
    first : int
        A multiple of WORDS * per_word.
    count : int
        At most WORDS * per_word.
    base, per_word : int
        base^per_word is at most 2^32.
    """
    digits[count:] = 0
    at, width, step = first // per_word, (count + per_word - 1) // per_word, np.uint64(base)
    filled = words[at:at + width]
    filled[:] = 0
    for start in range(0, per_word * width, width):
        row = digits[start:start + width]
        for w in range(width):
            filled[w] = np.uint32(np.uint64(filled[w]) * step + np.uint64(row[w]))


@kernel
def unpack_digits(digits, words, rest, first, count, base, per_word):
    """The inverse of `pack_digits`; digits is (WORDS * per_word,) float64, `rest` (WORDS,) float64 scratch."""
    # (w + 1/2) / base^d is a fraction whose products by the base bring one digit each before the point.  The half
    # keeps it from the ends of the intervals by 2^-33; the roundings are of 2^-53, and grow like the intervals.
    power, at, width = 1.0, first // per_word, (count + per_word - 1) // per_word
    for _ in range(per_word):
        power *= base
    for w in range(width):
        rest[w] = (np.float64(words[at + w]) + 0.5) / power
    for start in range(0, per_word * width, width):
        row = digits[start:start + width]
        for w in range(width):
            moved = rest[w] * base
            row[w] = np.floor(moved)
            rest[w] = moved - np.floor(moved)
