"""Dithering: random rounding to 127 or 7 levels of a bucket's largest magnitude, 8 or 4 bits each.

With c = max |x_i|, S levels and r uniform in 0 ... 2^16 - 1, the code is floor((t + r) / 2^16), t = 2^16 (S x_i / c + S)
rounded to an integer: its mean is t / 2^16, within 2^-15 of a level of the exact one.
"""

import numpy as np

from ._jit import kernel
from .hashing import STEP32, mix32, short_key
from .hints import full_vectors, prefetch
from .quantize import _store_rounded_up

CHUNK = 2048  # coordinates
UNIT = 65536
LARGEST = 2.0**126  # factors up to here are numbers of float32


@kernel
def dither_encode(x, scales, codes, draws, scratch, levels, bucket, key):
    """Scales c and codes of x.

    Parameters
    ----------
    x : (n,) float32 or float64
    scales : (ceil(n / bucket),) float32 or float64
        Written: max |x_i| of each bucket, rounded up. Not finite where x is not, or where it overflows.
    codes : (n,) uint8 with 127 levels, (ceil(n / 2),) with 7
        Written: level + S; of 7 levels two a byte, the first in the lower half.
    draws : (CHUNK / 2 + 1,) uint32 for float32 `x`, (CHUNK / 4 + 1,) uint64 for float64
        Scratch.
    scratch : (CHUNK,) uint8
    levels : {127, 7}
        S.
    bucket : int
        Coordinates that share a scale; the last bucket may be shorter.
    key : uint64
        Stream of the draws.
    """
    bits, words, digits, twos = x.view(draws.dtype), draws.view(np.uint32), draws.view(np.uint16), scratch.view(np.uint16)
    largest, number = draws[-1:], draws[-1:].view(x.dtype)
    for first in range(0, x.size, CHUNK):
        end, start = min(first + CHUNK, x.size), first
        _draw(words, first, end - first, key)
        while start < end:
            b = start // bucket
            stop = min((b + 1) * bucket, end)
            prefetch(x, start + CHUNK, stop - start)
            if start == b * bucket:
                largest[0] = _largest(bits, start, min(start + bucket, x.size))
                _store_rounded_up(scales, b, np.float64(number[0]))
            c = np.float64(scales[b])
            factor = levels * UNIT / c if c > 0.0 else 0.0
            if levels == 127:
                target, at = codes, start
            else:
                target, at = scratch, start - first
            if factor < LARGEST:
                _levels(target, at, x, start, stop - start, x.dtype.type(factor), levels, digits, start - first)
            else:
                _levels_of_tiny(target, at, x, start, stop - start, c, levels, digits, start - first)
            start = stop
        if levels == 7:
            _pair(codes, first, scratch, twos, end - first)


@kernel
def dither_decode_add(out, scales, codes, scratch, levels, bucket, scale):
    """out[i] += scale * c * (level_i / S), the inverse of `dither_encode`.

    Parameters
    ----------
    out : (n,) float32 or float64
    scales, codes, levels, bucket
        As `dither_encode` wrote and took them.
    scratch : (CHUNK,) uint8
    scale : float
    """
    scale = np.float64(scale)
    for first in range(0, out.size, CHUNK):
        end, start = min(first + CHUNK, out.size), first
        if levels == 7:
            _unpair(scratch, codes, first, end - first)
        while start < end:
            b = start // bucket
            stop = min((b + 1) * bucket, end)
            if levels == 7:
                _add(out, start, scratch, start - first, stop - start, np.float64(scales[b]), levels, scale)
            else:
                _add(out, start, codes, start, stop - start, np.float64(scales[b]), levels, scale)
            start = stop


@kernel
def _largest(bits, start, stop):
    """The bits of max |x_i|; of NaN if there is one, for they are above those of infinity."""
    full_vectors()
    largest, first = bits.dtype.type(0), np.uint64(start)
    magnitude = ~(bits.dtype.type(1) << bits.dtype.type(8 * bits.itemsize - 1))
    for i in range(np.uint64(stop - start)):
        largest = max(largest, bits.dtype.type(bits[first + i] & magnitude))
    return largest


@kernel
def _draw(words, start, count, key):
    full_vectors()
    place, high = short_key(key, start, 0)
    for j in range(np.uint64((count + 1) // 2)):
        words[j] = mix32(place, high)
        place = np.uint32(place + STEP32)


@kernel
def _levels(codes, at, x, start, count, factor, levels, digits, draw):
    full_vectors()
    at, first, draw = np.uint64(at), np.uint64(start), np.uint64(draw)
    middle, top = x.dtype.type(levels * UNIT + 0.5), np.int32(2 * levels * UNIT)
    for j in range(np.uint64(count)):
        place = np.int32(x[first + j] * factor + middle)  # NaN: any code will do
        codes[at + j] = np.uint8(np.uint32(np.int32(min(place, top) + np.int32(digits[draw + j])) >> np.int32(16)) & np.uint32(255))


@kernel
def _levels_of_tiny(codes, at, x, start, count, c, levels, digits, draw):
    for j in range(count):
        place = np.int64(np.float64(x[start + j]) / c * (levels * UNIT) + (levels * UNIT + 0.5))
        codes[at + j] = np.uint8(min(place, 2 * levels * UNIT) + np.int64(digits[draw + j]) >> 16)


@kernel
def _pair(codes, first, scratch, twos, count):
    if count % 2:
        scratch[count] = 0
    at = np.uint64(first // 2)
    for j in range(np.uint64((count + 1) // 2)):
        two = np.uint32(twos[j])
        codes[at + j] = np.uint8((two | two >> np.uint32(4)) & np.uint32(255))


@kernel
def _unpair(scratch, codes, first, count):
    at = np.uint64(first // 2)
    for j in range(np.uint64((count + 1) // 2)):
        scratch[j + j] = codes[at + j] & np.uint8(15)
        scratch[j + j + np.uint64(1)] = codes[at + j] >> np.uint8(4)


@kernel
def _add(out, start, codes, at, count, c, levels, scale):
    first, at, levels = np.uint64(start), np.uint64(at), np.float64(levels)
    for j in range(np.uint64(count)):
        out[first + j] += scale * (c * ((np.float64(codes[at + j]) - levels) / levels))
