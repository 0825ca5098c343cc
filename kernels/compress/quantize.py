"""QSGD (Alistarh et al., 2017): random rounding to levels of a bucket's 2-norm, packed into 32-bit words."""

import numpy as np

from .._jit import kernel
from ..hashing import uniform
from ..hints import full_vectors
from .packing import CHUNK, pack_bits, unpack_bits

UPPER = np.uint64(2**64 - 2**16)
UNIT = 2.0**-53  # rounding error of float64
SAFE_LOW, SAFE_HIGH = 1e-250, 1e300  # sums of squares that neither underflow nor overflow


@kernel
def qsgd_encode(x, norms, words, codes, quads, levels, width, bucket, key):
    """Norms and codes of x: level = floor(|x_i| / norm * levels + U[0, 1)), unbiased.

    Parameters
    ----------
    x : (n,) float32 or float64
    norms : (ceil(n / bucket),) float32 or float64
        Written: 2-norms of the buckets, rounded up. Not finite where x is not, or where the norm overflows.
    words : (ceil(n * width / 32),) uint32
        Written: bits [i width, (i+1) width) of the stream, little endian, hold level | (x_i < 0) << (width - 1);
        all zero where the norm is zero.
    codes, quads : (CHUNK,) uint16, (CHUNK / 4,) uint64
        Scratch.
    levels : int
        At least 1 and below 2^(width - 1).
    width : int
        At most 16.
    bucket : int
        Coordinates that share a norm; the last bucket may be shorter.
    key : uint64
        Stream of the draws; coordinate i uses counter i.
    """
    fours, stream = codes.view(np.uint64), quads.view(np.uint32)
    for first in range(0, x.size, CHUNK):
        end = min(first + CHUNK, x.size)
        start = first
        while start < end:
            b = start // bucket
            stop = min((b + 1) * bucket, end)
            if start == b * bucket:
                _store_rounded_up(norms, b, _norm_above(x, start, min(start + bucket, x.size)))
            _codes(codes, start - first, x, start, stop - start, np.float64(norms[b]), levels, width, key)
            start = stop
        pack_bits(words, codes, fours, quads, stream, first, end - first, width)


@kernel
def qsgd_decode_add(out, norms, words, codes, quads, levels, width, bucket, scale):
    """out[i] += scale * sign_i * norm * (level_i / levels), the inverse of `qsgd_encode`.

    Parameters
    ----------
    out : (n,) float32 or float64
    norms, words, levels, width, bucket
        As `qsgd_encode` wrote and took them.
    codes, quads : (CHUNK,) uint16, (CHUNK / 4,) uint64
        Scratch.
    scale : float
    """
    fours, stream = codes.view(np.uint64), quads.view(np.uint32)
    for first in range(0, out.size, CHUNK):
        end = min(first + CHUNK, out.size)
        unpack_bits(fours, quads, stream, words, first, end - first, width)
        start = first
        while start < end:
            b = start // bucket
            stop = min((b + 1) * bucket, end)
            _add(out, start, stop - start, codes, start - first, np.float64(norms[b]), levels, width, np.float64(scale))
            start = stop


@kernel(forceinline=True)
def _codes(codes, at, x, start, count, norm, levels, width, key):
    full_vectors()
    at, first, sign, top = np.uint64(at), np.uint64(start), np.int32(1 << (width - 1)), np.float64(levels)
    if norm == 0.0:
        for j in range(np.uint64(count)):
            codes[at + j] = 0
        return
    for j in range(np.uint64(count)):
        number = np.float64(x[first + j])
        level = np.abs(number) / norm * top + uniform(key, first + j)
        code = np.int32(level if level < top else top)  # the sum was rounded up, or is not a number
        codes[at + j] = np.uint16(code | (sign if number < 0.0 else np.int32(0)))


@kernel(forceinline=True)
def _add(out, start, count, codes, at, norm, levels, width, scale):
    full_vectors()
    at, first, half = np.uint64(at), np.uint64(start), np.int32(1 << (width - 1))
    mask, (high, low) = np.int32(half - 1), reciprocal(levels)
    for j in range(np.uint64(count)):
        code = np.int32(codes[at + j])
        level, signed = np.float64(code & mask), -norm if code & half else norm
        out[first + j] += scale * (signed * (level * high + level * low))


@kernel
def reciprocal(levels):
    """(high, low) with k / levels = k high + k low, rounded correctly, for all whole |k| <= levels < 2^15."""
    # high has 37 bits, so k high is exact, and k low is wrong by 2^-36 units in the last place of the quotient at most,
    # which is 2^-16 of such a unit or more away from where the rounding changes.
    high = np.uint64(np.float64(1.0 / levels).view(np.uint64) & UPPER).view(np.float64)
    return high, (1.0 - high * levels) / levels


@kernel(forceinline=True)
def _norm_above(x, start, stop):
    """The 2-norm of x[start:stop], not below the true one."""
    # s is below the true sum by at most n + 2 units, relatively; the root halves that, and a few roundings follow.
    margin = 1.0 + (0.5 * (stop - start) + 8.0) * UNIT
    s = _sum_squares(x, start, stop, 1.0)
    if s != s or SAFE_LOW < s < SAFE_HIGH:
        return np.sqrt(s) * margin
    largest = 0.0
    for i in range(start, stop):
        largest = max(largest, np.abs(np.float64(x[i])))
    if largest == 0.0:
        return 0.0
    return np.nextafter(np.sqrt(_sum_squares(x, start, stop, largest)) * margin * largest, np.inf)


@kernel(reduction=True)
def _sum_squares(x, start, stop, unit):
    total = 0.0
    for i in range(start, stop):
        ratio = np.float64(x[i]) / unit
        total += ratio * ratio
    return total


@kernel
def _store_rounded_up(norms, b, value):
    """norms[b] = value, rounded up to the dtype of `norms`; returned as float64."""
    norms[b] = value
    if np.float64(norms[b]) < value:
        norms[b] = np.nextafter(norms[b], norms.dtype.type(np.inf))
    return np.float64(norms[b])
