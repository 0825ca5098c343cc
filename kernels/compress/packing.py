"""Small codes in 32-bit words: bit fields without gaps, or digits of any base.

Codes are packed and unpacked a chunk at a time, so that the scratch stays in the first cache.
"""

import numpy as np

from .._jit import kernel

CHUNK = 512  # coordinates; any width of bits then fills whole words
GROUP = 16  # quads, four codes each, that fill whole words of 64 bits
WORD = 2**32
WORDS = 32  # filled at once by digits
ONE, S16 = np.uint64(1), np.uint64(16)


@kernel(forceinline=True)
def pack_bits(words, codes, fours, quads, stream, start, count, width):
    """codes[:count] into the bits [i width, (i + 1) width) of the stream, i from `start` on, little endian.

    Parameters
    ----------
    words : (ceil(n * width / 32),) uint32
        Written, from bit `start` * width on to the end of the last word.
    codes : (CHUNK,) uint16
        Below 2^width; set to zero from `count` on.
    fours, quads, stream : (CHUNK / 4,) uint64, (CHUNK / 4,) uint64, (CHUNK / 2,) uint32
        Views: of `codes`; scratch; of the scratch.  To make them here, for every chunk, would take as long as the rest.
    start : int
        A multiple of CHUNK.
    count : int
        At most CHUNK.
    width : int
        At most 16.
    """
    for i in range(count, codes.size):
        codes[i] = 0
    if width == 9:
        _join(quads, fours, 9)  # compiled with this width
    else:
        _join(quads, fours, width)
    first = np.uint64(start // 32 * width)
    for i in range(np.uint64((count * width + 31) // 32)):
        words[first + i] = stream[i]


@kernel(forceinline=True)
def unpack_bits(fours, quads, stream, words, start, count, width):
    """The inverse of `pack_bits`; codes from `count` on are of no meaning."""
    first = np.uint64(start // 32 * width)
    for i in range(np.uint64((count * width + 31) // 32)):
        stream[i] = words[first + i]
    if width == 9:
        _part(fours, quads, 9)
    else:
        _part(fours, quads, width)


@kernel(inline=True)
def _join(quads, fours, width):
    """The stream of the codes, 16 bits each in `fours`, to the front of `quads`."""
    step = np.uint64(width)
    gap, code = S16 - step, (ONE << step) - ONE
    second, third, fourth = code << step, code << step + step, code << step + step + step
    for q in range(quads.size):  # four codes side by side; it vectorises
        four = fours[q]
        quads[q] = four & code | four >> gap & second | four >> gap + gap & third | four >> gap + gap + gap & fourth
    for group in range(quads.size // GROUP):  # as many words as a code has bits, by shifts that are constant
        buffer, filled, word, first = np.uint64(0), 0, np.uint64(group * width), np.uint64(group * GROUP)
        for q in range(GROUP):
            quad = quads[first + np.uint64(q)]
            buffer |= quad << np.uint64(filled)
            filled += 4 * width
            if filled >= 64:
                quads[word] = buffer
                filled -= 64
                word += ONE
                buffer = quad >> np.uint64(4 * width - 1 - filled) >> ONE  # what did not fit


@kernel(inline=True)
def _part(fours, quads, width):
    """The inverse of `_join`."""
    step = np.uint64(width)
    gap, code = S16 - step, (ONE << step) - ONE
    second, third, fourth = code << step, code << step + step, code << step + step + step
    whole, gap2, gap3 = code | second | third | fourth, gap + gap, gap + gap + gap
    for group in range(quads.size // GROUP - 1, -1, -1):  # from behind: the quads take more room than the words
        for q in range(GROUP - 1, -1, -1):
            bit = 4 * width * q
            word, bit = np.uint64(group * width + bit // 64), bit % 64
            quad = quads[word] >> np.uint64(bit)
            if bit + 4 * width > 64:
                quad |= quads[word + ONE] << np.uint64(64 - bit)
            quads[np.uint64(group * GROUP + q)] = quad & whole
    for q in range(quads.size):
        quad = quads[q]
        fours[q] = quad & code | (quad & second) << gap | (quad & third) << gap2 | (quad & fourth) << gap3


def digits_per_word(base):
    """The largest d with base^d <= 2^32."""
    count = 1
    while base ** (count + 1) <= WORD:
        count += 1
    return count


@kernel(forceinline=True)
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
    for i in range(count, digits.size):
        digits[i] = 0
    at, width, step = np.uint64(first // per_word), np.uint64((count + per_word - 1) // per_word), np.uint64(base)
    for w in range(width):
        words[at + w] = digits[w]
    for place in range(1, per_word):
        start = np.uint64(place) * width
        for w in range(width):
            words[at + w] = np.uint32(np.uint64(words[at + w]) * step + np.uint64(digits[start + w]))


@kernel(forceinline=True)
def unpack_digits(digits, words, rest, first, count, base, per_word):
    """The inverse of `pack_digits`; digits is (WORDS * per_word,) float64, `rest` (WORDS,) float64 scratch."""
    # (w + 1/2) / base^d is a fraction whose products by the base bring one digit each before the point.  The half
    # keeps it from the ends of the intervals by 2^-33; the roundings are of 2^-53, and grow like the intervals.
    power, at, width = 1.0, np.uint64(first // per_word), np.uint64((count + per_word - 1) // per_word)
    for _ in range(per_word):
        power *= base
    for w in range(width):
        rest[w] = (np.float64(words[at + w]) + 0.5) / power
    for place in range(per_word):
        start = np.uint64(place) * width
        for w in range(width):
            moved = rest[w] * base
            digits[start + w] = np.floor(moved)
            rest[w] = moved - np.floor(moved)
