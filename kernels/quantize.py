"""QSGD (Alistarh et al., 2017): random rounding to levels of a bucket's 2-norm, packed into 32-bit words."""

import numpy as np

from ._jit import kernel
from .hashing import uniform

WORD_BITS = 32
UNIT = 2.0**-53  # rounding error of float64
SAFE_LOW, SAFE_HIGH = 1e-250, 1e300  # sums of squares that neither underflow nor overflow


@kernel
def qsgd_encode(x, norms, words, levels, width, bucket, key):
    """Norms and codes of x: level = floor(|x_i| / norm * levels + U[0, 1)), unbiased.

    Parameters
    ----------
    x : (n,) float32 or float64
    norms : (ceil(n / bucket),) float32 or float64
        Written: 2-norms of the buckets, rounded up. Not finite where x is not, or where the norm overflows.
    words : (ceil(n * width / 32),) uint32
        Written: bits [i width, (i+1) width) of the stream, little endian, hold level | (x_i < 0) << (width - 1);
        all zero where the norm is zero.
    levels : int
        At least 1 and below 2^(width - 1).
    width : int
        At most 32.
    bucket : int
        Coordinates that share a norm; the last bucket may be shorter.
    key : uint64
        Stream of the draws; coordinate i uses counter i.
    """
    buffer, filled, word = np.uint64(0), 0, 0
    for b in range(norms.size):
        start, stop = b * bucket, min((b + 1) * bucket, x.size)
        norm = _store_rounded_up(norms, b, _norm_above(x, start, stop))
        for i in range(start, stop):
            code = np.uint64(0)
            if norm != 0.0:
                code = _level(np.abs(np.float64(x[i])) / norm, levels, uniform(key, i))
                code |= np.uint64(x[i] < 0) << np.uint64(width - 1)
            buffer |= code << np.uint64(filled)
            filled += width
            if filled >= WORD_BITS:
                words[word] = np.uint32(buffer & np.uint64(0xFFFFFFFF))
                buffer >>= np.uint64(WORD_BITS)
                filled -= WORD_BITS
                word += 1
    if filled > 0:
        words[word] = np.uint32(buffer)


@kernel
def qsgd_decode_add(out, norms, words, levels, width, bucket, scale):
    """out[i] += scale * sign_i * norm * (level_i / levels), the inverse of `qsgd_encode`.

    Parameters
    ----------
    out : (n,) float32 or float64
    norms, words, levels, width, bucket
        As `qsgd_encode` wrote and took them.
    scale : float
    """
    scale = np.float64(scale)
    mask = (np.uint64(1) << np.uint64(width - 1)) - np.uint64(1)
    buffer, filled, word = np.uint64(0), 0, 0
    for b in range(norms.size):
        norm = np.float64(norms[b])
        for i in range(b * bucket, min((b + 1) * bucket, out.size)):
            if filled < width:
                buffer |= np.uint64(words[word]) << np.uint64(filled)
                filled += WORD_BITS
                word += 1
            level = np.float64(np.int64(buffer & mask))
            sign = 1.0 - 2.0 * np.float64(np.int64((buffer >> np.uint64(width - 1)) & np.uint64(1)))
            out[i] += scale * (sign * norm * (level / levels))
            buffer >>= np.uint64(width)
            filled -= width


@kernel
def _level(ratio, levels, draw):
    level = ratio * levels + draw
    if level < levels:
        return np.uint64(np.int64(level))
    return np.uint64(levels)  # the sum was rounded up, or is not a number


@kernel
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
