"""Dithering: random rounding to 127 or 7 levels of a bucket's largest magnitude, 8 or 4 bits each.

With c = max |x_i|, S levels and r uniform in 0 ... 2^15 - 1, the code is floor((t + r) / 2^15), where t is
2^15 (S x_i / c + S) rounded to an integer: its mean is t / 2^15, within 2^-15 of a level of the exact one.
A piece, of one bucket and one `CHUNK` of coordinates, is halved; coordinate j of both halves share a short word, and
of 4 bits a byte.

The sum 2^15 S x_i / c + (2^15 S + 2^23) in single precision has no binary place behind the point, and t is its
fraction, to be read from its bits.  Of S = 127, rounding the factor 2^15 S / c costs 1/4 of such a unit at most (at
x_i = c), the product 1/8 and the sum 1/2: less than one in all, and 0 <= t <= 2^16 S without a comparison, since the
product exceeds 2^15 S by no more than 1/4.
"""

import numpy as np

from .._jit import kernel
from ..hashing import LOW, STEP32, mix32, short_key
from ..hints import full_vectors, prefetch
from .quantize import _store_rounded_up

CHUNK = 2048  # coordinates of a piece at most: they stay in the first cache
BLOCK = np.uint64(256)  # coordinates between two looks ahead
AHEAD = np.uint64(2048)  # coordinates between what is read and what is fetched
UNIT = 32768
LARGEST = 2.0**126  # factors up to here are numbers of float32
DIGIT, BYTE, NIBBLE = (np.uint32(s) for s in (0x7FFF, 0xFF, 0xF))
S17, S15, S11, S4 = (np.uint32(s) for s in (17, 15, 11, 4))


@kernel
def dither_encode(x, bits, scales, codes, levels, bucket, key):
    """Scales c and codes of x.

    Parameters
    ----------
    x : (n,) float32 or float64
    bits : (n,) uint32 or uint64
        The memory of `x`.
    scales : (ceil(n / bucket),) float32 or float64
        Written: max |x_i| of each bucket, rounded up. Not finite where x is not, or where it overflows.
    codes : (n,) uint8 with 127 levels, (ceil(n / 2),) with 7
        Written: level + S; of 7 levels two a byte, the coordinate of a piece's first half in the lower bits.
    levels : {127, 7}
        S.
    bucket : int
        Coordinates that share a scale; the last bucket may be shorter. With 7 levels even, or at least n.
    key : uint64
        Stream of the draws.
    """
    rest = False
    for b in range(scales.size):
        start, end = b * bucket, min((b + 1) * bucket, x.size)
        largest = _largest(bits, start, end)
        single = np.float64(np.uint32(largest & LOW).view(np.float32))
        c = _store_rounded_up(scales, b, single if x.itemsize == 4 else np.uint64(largest).view(np.float64))
        factor = levels * UNIT / c if c > 0.0 else 0.0
        while start < end:
            count = min(end, (start // CHUNK + 1) * CHUNK) - start
            if np.uint64(bucket) > AHEAD:
                prefetch(x, np.uint64(start) + AHEAD, count)
            _encode(codes, x, start, count, x.dtype.type(factor), levels, key)
            rest |= factor > LARGEST or count % 2 == 1
            start += count
    if rest:
        _encode_rest(codes, x, scales, levels, bucket, key)


@kernel
def dither_decode_add(out, scales, codes, levels, bucket, scale):
    """out[i] += scale * (c / S) * level_i, the inverse of `dither_encode`.

    Parameters
    ----------
    out : (n,) float32 or float64
    scales, codes, levels, bucket
        As `dither_encode` wrote and took them.
    scale : float
    """
    start = 0
    while start < out.size:
        b = start // bucket
        stop = min((b + 1) * bucket, (start // CHUNK + 1) * CHUNK, out.size)
        step = np.float64(scales[b]) / levels
        if levels == 127:
            _add_bytes(out, codes, start, stop - start, step, np.float64(scale))
        else:
            _add_nibbles(out, codes, start, stop - start, step, np.float64(scale))
        start = stop


@kernel(forceinline=True)
def _largest(bits, start, stop):
    """The bits of max |x_i|; of NaN if there is one, for they are above those of infinity."""
    full_vectors()
    largest, i, stop = bits.dtype.type(0), np.uint64(start), np.uint64(stop)
    magnitude = ~(bits.dtype.type(1) << bits.dtype.type(8 * bits.itemsize - 1))
    while i + BLOCK <= stop:
        prefetch(bits, i + AHEAD, BLOCK)
        for j in range(BLOCK):
            largest = max(largest, bits.dtype.type(bits[i + j] & magnitude))
        i += BLOCK
    for j in range(i, stop):
        largest = max(largest, bits.dtype.type(bits[j] & magnitude))
    return np.uint64(largest)


@kernel(forceinline=True)
def _encode(codes, x, start, count, factor, levels, key):
    """The pairs of a piece. (One coordinate more would cost as much as a hundred, for the loop's last state.)"""
    full_vectors()
    place, high = short_key(key, start, 0)
    first, second, at = np.uint64(start), np.uint64(start + (count + 1) // 2), np.uint64(start // 2)
    if levels == 127:
        for j in range(np.uint64(count // 2)):
            word = mix32(place, high)
            codes[first + j] = np.uint8(_sum(x[first + j] * factor, 127, word & DIGIT) >> S15 & BYTE)
            codes[second + j] = np.uint8(_sum(x[second + j] * factor, 127, word >> S17) >> S15 & BYTE)
            place = np.uint32(place + STEP32)
    else:
        for j in range(np.uint64(count // 2)):
            word = mix32(place, high)
            low = np.uint32(_sum(x[first + j] * factor, 7, word & DIGIT) >> S15)
            upper = np.uint32(_sum(x[second + j] * factor, 7, word >> S17) >> S11)
            codes[at + j] = np.uint8(np.uint32(upper ^ np.uint32(np.uint32(upper ^ low) & NIBBLE)) & BYTE)
            place = np.uint32(place + STEP32)


@kernel(inline=True)
def _sum(scaled, levels, digit):
    """t + r of 2^15 S x_i / c, and bits from 2^23 on that mean nothing."""
    return np.uint32(np.float32(np.float32(scaled) + np.float32(2**23 + levels * UNIT)).view(np.uint32) + digit)


@kernel
def _encode_rest(codes, x, scales, levels, bucket, key):
    """The coordinate in the middle of an odd piece, and all of a bucket whose factor would overflow."""
    start = 0
    while start < x.size:
        c = np.float64(scales[start // bucket])
        stop = min((start // bucket + 1) * bucket, (start // CHUNK + 1) * CHUNK, x.size)
        half = (stop - start + 1) // 2
        first = 0 if c > 0.0 and levels * UNIT / c > LARGEST else (stop - start) // 2
        place, high = short_key(key, start, first)
        for j in range(first, half):
            word = mix32(place, high)
            low, upper = _code(x[start + j], c, levels, word & DIGIT), np.uint8(0)
            if start + half + j < stop:
                upper = _code(x[start + half + j], c, levels, word >> S17)
            if levels == 7:
                codes[start // 2 + j] = low | upper << np.uint8(4)
            else:
                codes[start + j] = low
                if start + half + j < stop:
                    codes[start + half + j] = upper
            place = np.uint32(place + STEP32)
        start = stop


@kernel
def _code(number, c, levels, digit):
    scaled = np.float64(number) / c * (levels * UNIT) if c > 0.0 else 0.0
    return np.uint8(_sum(scaled, levels, digit) >> S15 & BYTE)


@kernel
def _add_bytes(out, codes, start, count, step, scale):
    first = np.uint64(start)
    for j in range(np.uint64(count)):
        out[first + j] += scale * (step * (np.float64(codes[first + j]) - 127.0))


@kernel
def _add_nibbles(out, codes, start, count, step, scale):
    first, half, at = np.uint64(start), np.uint64((count + 1) // 2), np.uint64(start // 2)
    for j in range(half):
        out[first + j] += scale * (step * (np.float64(np.uint32(codes[at + j]) & NIBBLE) - 7.0))
    for j in range(np.uint64(count // 2)):
        out[first + half + j] += scale * (step * (np.float64(np.uint32(codes[at + j]) >> S4) - 7.0))
