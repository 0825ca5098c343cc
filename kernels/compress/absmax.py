"""Random or nearest rounding to levels of a bucket's largest magnitude, packed as digits of base 2 S + 1."""

import numpy as np

from .._jit import kernel
from ..hashing import dither, fraction
from ..hints import full_vectors
from .packing import pack_digits, unpack_digits
from .quantize import _store_rounded_up, reciprocal

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
                _store_rounded_up(scales, b, _largest(x, start, min(start + bucket, x.size)))
            if nearest:
                _nearest_digits(digits, start - first, x, start, stop - start, np.float64(scales[b]), levels)
            else:
                dither(draws, start, stop - start, key)
                _random_digits(digits, start - first, x, start, stop - start, np.float64(scales[b]), levels, draws)
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
            _add(out, start, stop - start, digits, start - first, np.float64(scales[b]), levels, np.float64(scale))
            start = stop


@kernel(forceinline=True)
def _largest(x, start, stop):
    """max |x_i|; NaN if there is one, for its bits are above those of infinity."""
    full_vectors()
    largest, first = np.uint64(0), np.uint64(start)
    for i in range(np.uint64(stop - start)):
        largest = max(largest, np.float64(x[first + i]).view(np.uint64) & MAGNITUDE)
    return np.uint64(largest).view(np.float64)


@kernel(forceinline=True)
def _random_digits(digits, at, x, start, count, largest, levels, draws):
    full_vectors()
    at, first, levels, top = np.uint64(at), np.uint64(start), np.float64(levels), 2.0 * levels
    for j in range(np.uint64(count)):
        level = x[first + j] / largest * levels + levels + fraction(draws[j])
        digits[at + j] = np.uint32(np.int32(level if level < top else top))  # 0/0 and NaN: any digit will do


@kernel(forceinline=True)
def _nearest_digits(digits, at, x, start, count, largest, levels):
    full_vectors()
    at, first, levels, top = np.uint64(at), np.uint64(start), np.float64(levels), 2.0 * levels
    for j in range(np.uint64(count)):
        level = x[first + j] / largest * levels + levels + 0.5
        digits[at + j] = np.uint32(np.int32(level if level < top else top))


@kernel(forceinline=True)
def _add(out, start, count, digits, at, largest, levels, scale):
    full_vectors()
    at, first = np.uint64(at), np.uint64(start)
    high, low = reciprocal(levels)
    for j in range(np.uint64(count)):
        level = digits[at + j] - levels
        out[first + j] += scale * (largest * (level * high + level * low))
