"""Dithering: random rounding to 127 or 7 levels of a bucket's largest magnitude, 8 or 4 bits each.

With c = max |x_i|, S levels and r uniform in 0 ... 2^16 - 1, the code is floor((t + r) / 2^16), where t is
2^16 (S x_i / c + S) rounded to an integer: its mean is t / 2^16, within 2^-15 of a level of the exact one.  A piece, of one bucket and
one `CHUNK` of coordinates, is halved; coordinate j of both halves share a short word, and of 4 bits a byte.
"""

import numpy as np

from ._jit import kernel
from .hashing import LOW, ONE, STEP32, mix32, short_key
from .hints import full_vectors, prefetch
from .quantize import _store_rounded_up

CHUNK, GROUP = 2048, 4096  # coordinates: of a piece at most; that stay in the first cache
UNIT = 65536
LARGEST = 2.0**126  # factors up to here are numbers of float32
DIGIT, BYTE, NIBBLE, S16, S4 = (np.uint32(s) for s in (0xFFFF, 0xFF, 0xF, 16, 4))


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
    known, end = 0, 0
    for start in range(0, x.size, GROUP):
        while known < scales.size and known * bucket < start + GROUP:  # one bucket's does not wait for the other's
            largest = _largest(bits, known * bucket, min((known + 1) * bucket, x.size))
            single = np.float64(np.uint32(largest & LOW).view(np.float32))
            _store_rounded_up(scales, known, single if x.itemsize == 4 else np.uint64(largest).view(np.float64))
            known += 1
        while end < min(start + GROUP, x.size):
            first, b = end, end // bucket
            end = min((b + 1) * bucket, (first // CHUNK + 1) * CHUNK, x.size)
            prefetch(x, first + GROUP, end - first)
            c = np.float64(scales[b])
            factor = levels * UNIT / c if c > 0.0 else 0.0
            if factor > LARGEST:
                _encode_tiny(codes, x, first, end - first, c, levels, key)
            elif levels == 127:
                _encode_bytes(codes, x, first, end - first, x.dtype.type(factor), key)
            else:
                _encode_nibbles(codes, x, first, end - first, x.dtype.type(factor), key)


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


@kernel
def _largest(bits, start, stop):
    """The bits of max |x_i|; of NaN if there is one, for they are above those of infinity."""
    full_vectors()
    largest, first = bits.dtype.type(0), np.uint64(start)
    magnitude = ~(bits.dtype.type(1) << bits.dtype.type(8 * bits.itemsize - 1))
    for i in range(np.uint64(stop - start)):
        largest = max(largest, bits.dtype.type(bits[first + i] & magnitude))
    return np.uint64(largest)


@kernel
def _code(place, digit, top):
    """The level, from 0 on, of a place in units of 2^-16 levels; of NaN any number."""
    return np.uint32(np.int32(min(np.int32(place), top) + np.int32(digit))) >> S16


@kernel
def _encode_bytes(codes, x, start, count, factor, key):
    full_vectors()
    first, half = np.uint64(start), np.uint64((count + 1) // 2)
    middle, top = x.dtype.type(127 * UNIT + 0.5), np.int32(254 * UNIT)
    place, high = short_key(key, start, 0)
    for j in range(np.uint64(count // 2)):
        word = mix32(place, high)
        codes[first + j] = np.uint8(_code(x[first + j] * factor + middle, word & DIGIT, top) & BYTE)
        codes[first + half + j] = np.uint8(_code(x[first + half + j] * factor + middle, word >> S16, top) & BYTE)
        place = np.uint32(place + STEP32)
    if count % 2:
        last = first + half - ONE
        codes[last] = np.uint8(_code(x[last] * factor + middle, mix32(place, high) & DIGIT, top) & BYTE)


@kernel
def _encode_nibbles(codes, x, start, count, factor, key):
    full_vectors()
    first, half, at = np.uint64(start), np.uint64((count + 1) // 2), np.uint64(start // 2)
    middle, top = x.dtype.type(7 * UNIT + 0.5), np.int32(14 * UNIT)
    place, high = short_key(key, start, 0)
    for j in range(np.uint64(count // 2)):
        word = mix32(place, high)
        low = _code(x[first + j] * factor + middle, word & DIGIT, top) & NIBBLE
        upper = _code(x[first + half + j] * factor + middle, word >> S16, top) & NIBBLE
        codes[at + j] = np.uint8(low | upper << S4)
        place = np.uint32(place + STEP32)
    if count % 2:
        last = half - ONE
        codes[at + last] = np.uint8(_code(x[first + last] * factor + middle, mix32(place, high) & DIGIT, top) & NIBBLE)


@kernel
def _encode_tiny(codes, x, start, count, c, levels, key):
    """As above, where the factor would overflow."""
    half, (place, high) = (count + 1) // 2, short_key(key, start, 0)
    for j in range(half):
        word = mix32(place, high)
        low, upper = _tiny_code(x[start + j], word & DIGIT, c, levels), np.uint8(0)
        if half + j < count:
            upper = _tiny_code(x[start + half + j], word >> S16, c, levels)
        if levels == 7:
            codes[start // 2 + j] = low | upper << np.uint8(4)
        else:
            codes[start + j] = low
            if half + j < count:
                codes[start + half + j] = upper
        place = np.uint32(place + STEP32)


@kernel
def _tiny_code(number, digit, c, levels):
    place = np.int64(np.float64(number) / c * (levels * UNIT) + (levels * UNIT + 0.5))
    return np.uint8(min(place, 2 * levels * UNIT) + np.int64(digit) >> 16)


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
