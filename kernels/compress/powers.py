"""Natural compression (Horvath et al., 2019) at the speed of memory: random rounding to powers of two by short words.

|x_i| = 2^e (1 + f) becomes 2^(e + 1) with probability f, else 2^e, by a carry out of the fraction to which the draw is
added; below the smallest normal power p too, where |x_i| becomes p with probability |x_i|/p, else 0.  Above the largest
power x_i is clamped to it; what is not finite becomes an infinity.  Draws have the bits of a fraction, 23 or 52: the
mean is exact.
"""

import numpy as np

from .._jit import kernel
from ..hashing import STEP32, hash64, mix32, short_key
from ..hints import full_vectors, prefetch

CHUNK = 512  # coordinates; multiples of eight
BLOCK = 4096  # coordinates that share a key of short words
MAGNITUDE, INFINITY = np.uint32(2**31 - 1), np.uint32(0xFF << 23)
TOP, SIGN = np.uint32(254 << 23), np.uint32(2**31)
WHOLE = np.uint32(2**32 - 2**23)  # without the fraction; of NaN the carry may go to the highest bit
S9, S23, S31 = np.uint32(9), np.uint32(23), np.uint32(31)
WIDE_MAGNITUDE, WIDE_INFINITY = np.uint64(2**63 - 1), np.uint64(0x7FF << 52)
WIDE_TOP, WIDE_SIGN, S12 = np.uint64(2046 << 52), np.uint64(2**63), np.uint64(12)
WIDE_WHOLE = np.uint64(2**64 - 2**52)
GATHER = np.uint64(0x0102040810204080)  # the lowest bits of eight bytes into the highest byte of the product
SPREAD, EACH = np.uint64(0x0002040810204081), np.uint64(0x0101010101010101)
SEVEN, EIGHTH, S56, S49 = (np.uint64(s) for s in (0x7F, 0x80, 56, 49))


@kernel
def round_powers(out, x, key):
    """out_i = x_i rounded to a power of two at random.

    Parameters
    ----------
    out, x : (n,) float32, or both float64
        `out` is written; it may be `x`.
    key : uint64
        Stream of the draws.
    """
    if x.itemsize == 4:
        bits, powers = x.view(np.uint32), out.view(np.uint32)
        for start in range(0, x.size, CHUNK):
            prefetch(x, start + 2 * CHUNK, CHUNK)
            _round(powers, bits, start, min(CHUNK, x.size - start), key)
    else:
        _round_wide(out.view(np.uint64), x.view(np.uint64), key)


@kernel
def encode_powers(exponents, signs, x, marks, key):
    """The exponent fields and the signs of what `round_powers` makes of float32.

    Parameters
    ----------
    exponents : (n,) uint8
        Written.
    signs : (ceil(n / 8),) uint8
        Written: bit i mod 8 of byte i // 8 is 1 where the sign of x_i is.
    x : (n,) float32
    marks : (CHUNK,) uint8
        Scratch.
    key : uint64
        Stream of the draws.
    """
    bits, eights = x.view(np.uint32), marks.view(np.uint64)
    for start in range(0, x.size, CHUNK):
        count, first = min(CHUNK, x.size - start), np.uint64(start // 8)
        prefetch(x, start + 2 * CHUNK, CHUNK)
        for i in range(count, CHUNK):
            marks[i] = 0
        _split(exponents, marks, bits, start, count, key)
        for i in range(np.uint64((count + 7) // 8)):
            signs[first + i] = np.uint8(eights[i] * GATHER >> S56)


@kernel
def decode_powers_add(out, exponents, signs, marks, scale):
    """out[i] += scale * (the power of two that `encode_powers` wrote).

    Parameters
    ----------
    out : (n,) float32 or float64
    exponents, signs
        As `encode_powers` wrote them.
    marks : (CHUNK,) uint8
        Scratch.
    scale : float
    """
    eights, scale = marks.view(np.uint64), np.float64(scale)
    for start in range(0, out.size, CHUNK):
        count, first = min(CHUNK, out.size - start), np.uint64(start // 8)
        for i in range(np.uint64((count + 7) // 8)):
            byte = np.uint64(signs[first + i])
            eights[i] = (byte & SEVEN) * SPREAD & EACH | (byte & EIGHTH) << S49
        first = np.uint64(start)
        for j in range(np.uint64(count)):
            bits = np.uint32(np.uint32(np.uint32(exponents[first + j]) << S23) | np.uint32(np.uint32(marks[j]) << S31))
            out[first + j] += scale * np.float64(bits.view(np.float32))


@kernel(forceinline=True)
def _round(powers, bits, start, count, key):
    full_vectors()
    place, high = short_key(key, start // BLOCK, start % BLOCK)
    first = np.uint64(start)
    for j in range(np.uint64(count)):
        powers[first + j] = _power(bits[first + j], mix32(place, high))
        place = np.uint32(place + STEP32)


@kernel(forceinline=True)
def _split(exponents, marks, bits, start, count, key):
    full_vectors()
    place, high = short_key(key, start // BLOCK, start % BLOCK)
    first = np.uint64(start)
    for j in range(np.uint64(count)):
        power = _power(bits[first + j], mix32(place, high))
        exponents[first + j] = np.uint8(np.uint32(power >> S23) & np.uint32(255))
        marks[j] = np.uint8(power >> S31)
        place = np.uint32(place + STEP32)


@kernel
def _power(bits, draw):
    magnitude = np.uint32(bits & MAGNITUDE)  # cast at every step: lanes of 32 bits
    rounded = np.uint32(np.uint32(magnitude + np.uint32(draw >> S9)) & WHOLE)
    top = TOP if magnitude < INFINITY else INFINITY
    return np.uint32(min(rounded, top) | np.uint32(bits & SIGN))


@kernel
def _round_wide(powers, bits, key):
    for i in range(bits.size):
        magnitude = bits[i] & WIDE_MAGNITUDE
        rounded = magnitude + (hash64(key, i) >> S12) & WIDE_WHOLE
        top = WIDE_TOP if magnitude < WIDE_INFINITY else WIDE_INFINITY
        powers[i] = min(rounded, top) | bits[i] & WIDE_SIGN
