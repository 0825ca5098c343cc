"""Random or nearest rounding to levels of a bucket's largest magnitude, packed as digits of base 2 S + 1."""

import numpy as np

from ._jit import kernel
from .hashing import dither, fraction
from .packing import pack_digits, unpack_digits
from .quantize import _store_rounded_up

MAGNITUDE = np.uint64(2**63 - 1)


@kernel
def absmax_encode(x, scales, words, draws, digits, levels, per_word, bucket, nearest, key):
    """Scales c and digits k + S of x: k = floor(x_i / c * S + U[0, 1)), unbiased, or with 1/2 for U.

    Parameters
    ----------
    x : (n,) float64
    scales : (ceil(n / bucket),) float32 or float64
        Written: max |x_i| of each bucket, rounded up. Not finite where x is not, or where it overflows.
    words : (ceil(n / per_word),) uint32
        Written, see `packing.pack_digits`.
    draws, digits : (packing.WORDS * per_word,) uint32
        Scratch.
    levels : int
        S, from 1 to 2^15 - 1.
    per_word : int
    bucket : int
        Coordinates that share a scale; the last bucket may be shorter.
    nearest : bool
    key : uint64
        Stream of the draws.
    """
    for first in range(0, x.size, digits.size):
        count = min(digits.size, x.size - first)
        start = first
        while start < first + count:
            b = start // bucket
            stop = min((b + 1) * bucket, first + count)
            if start == b * bucket:
                _store_rounded_up(scales, b, _largest(x[start:start + bucket]))
            if nearest:
                _nearest_digits(digits[start - first:], x[start:stop], np.float64(scales[b]), levels)
            else:
                dither(draws, start, stop - start, key)
                _random_digits(digits[start - first:], x[start:stop], np.float64(scales[b]), levels, draws)
            start = stop
        pack_digits(words, digits, first, count, 2 * levels + 1, per_word)


@kernel
def absmax_decode_add(out, scales, words, digits, rest, levels, per_word, bucket, scale):
    """out[i] += scale * c * (k_i / S), the inverse of `absmax_encode`.

    Parameters
    ----------
    out : (n,) float32 or float64
    scales, words, levels, per_word, bucket
        As `absmax_encode` wrote and took them.
    digits, rest : (packing.WORDS * per_word,), (packing.WORDS,) float64
        Scratch.
    scale : float
    """
    for first in range(0, out.size, digits.size):
        count = min(digits.size, out.size - first)
        unpack_digits(digits, words, rest, first, count, 2 * levels + 1, per_word)
        start = first
        while start < first + count:
            b = start // bucket
            stop = min((b + 1) * bucket, first + count)
            _add(out[start:stop], digits[start - first:], np.float64(scales[b]), np.float64(levels), np.float64(scale))
            start = stop


@kernel
def _largest(x):
    """max |x_i|; NaN if there is one, for its bits are above those of infinity."""
    largest = np.int64(0)
    for i in range(x.size):
        magnitude = np.int64(np.float64(x[i]).view(np.uint64) & MAGNITUDE)
        if magnitude > largest:
            largest = magnitude
    return np.uint64(largest).view(np.float64)


@kernel
def _random_digits(digits, x, largest, levels, draws):
    levels, top = np.float64(levels), 2.0 * levels
    for j in range(x.size):
        level = x[j] / largest * levels + levels + fraction(draws[j])
        digits[j] = np.uint32(np.int32(level if level < top else top))  # 0/0 and NaN: any digit will do


@kernel
def _nearest_digits(digits, x, largest, levels):
    levels, top = np.float64(levels), 2.0 * levels
    for j in range(x.size):
        level = x[j] / largest * levels + levels + 0.5
        digits[j] = np.uint32(np.int32(level if level < top else top))


@kernel
def _add(out, digits, largest, levels, scale):
    for j in range(out.size):
        out[j] += scale * (largest * ((digits[j] - levels) / levels))
