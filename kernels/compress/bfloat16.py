"""bfloat16: the upper half of a float32, rounded from float64 once, to nearest even or at random."""

import numpy as np

from .._jit import kernel
from ..hashing import dither, fraction
from ..hints import full_vectors

CHUNK = 512  # coordinates whose draws are made at once
MAGNITUDE, INFINITY = np.uint64(2**63 - 1), np.uint64(0x7FF << 52)
SMALLEST = np.uint64((1023 - 126) << 52)  # 2^-126, the smallest normal number
GRID = 2.0**-81  # numbers from here on are multiples of 2^-133: adding it rounds to the subnormal numbers
GRID_BITS = np.int64((1023 - 81) << 52)
HALF = np.uint64(2**44 - 1)
S63, S45, S16, S15, S13, ONE = (np.uint64(s) for s in (63, 45, 16, 15, 13, 1))
LARGEST = np.uint64((1023 + 127) << 52 | 0x7F << 45)
MIDDLE, PER_SUBNORMAL = np.uint64(2**12), 2.0**133
REBIAS = np.int64((1023 - 127) << 7)
OVERFLOW, NAN = np.int64(0x7F80), np.int64(0x7FC0)


@kernel
def round_bfloat16(codes, x):
    """codes[i] = the bits of x[i] as bfloat16; subnormal results are rounded like all others.

    Parameters
    ----------
    codes : (n,) uint16
        Written.
    x : (n,) float64
    """
    for i in range(x.size):
        bits = np.float64(x[i]).view(np.uint64)
        magnitude = bits & MAGNITUDE
        code = np.int64((magnitude + HALF + (magnitude >> S45 & ONE)) >> S45) - REBIAS
        if magnitude < SMALLEST:
            multiple = np.uint64(magnitude).view(np.float64) + GRID
            code = np.int64(np.float64(multiple).view(np.uint64)) - GRID_BITS
        code = min(code, OVERFLOW)
        if magnitude > INFINITY:
            code = NAN
        codes[i] = np.uint16(np.uint64(code) | bits >> S63 << S15)


@kernel
def round_bfloat16_random(codes, x, draws, key):
    """codes[i] = the bits of one of the two bfloat16 around x[i], the farther the less likely: E is x[i].

    What is a bfloat16 stays as it is; beyond the largest one x becomes infinite.

    Parameters
    ----------
    codes : (n,) uint16
        Written.
    x : (n,) float64
    draws : (CHUNK,) uint32
        Scratch.
    key : uint64
        Stream of the draws, of 32 bits each: the mean is exact to 2^-33 of the distance between the two.
    """
    for start in range(0, x.size, CHUNK):
        count = min(CHUNK, x.size - start)
        dither(draws, start, count, key)
        _random_codes(codes, x, start, count, draws)


@kernel(forceinline=True)
def _random_codes(codes, x, start, count, draws):
    full_vectors()
    first = np.uint64(start)
    for j in range(np.uint64(count)):
        bits = np.float64(x[first + j]).view(np.uint64)
        magnitude = bits & MAGNITUDE
        code = np.int64((magnitude + (np.uint64(draws[j]) << S13 | MIDDLE)) >> S45) - REBIAS
        if magnitude < SMALLEST:
            code = np.int64(np.uint64(magnitude).view(np.float64) * PER_SUBNORMAL + fraction(draws[j]))
        if magnitude > LARGEST:
            code = OVERFLOW
        if magnitude > INFINITY:
            code = NAN
        codes[first + j] = np.uint16(np.uint64(code) | bits >> S63 << S15)


@kernel
def add_bfloat16(out, codes, scale):
    """out[i] += scale * (the number with the bits codes[i]).

    Parameters
    ----------
    out : (n,) float32 or float64
    codes : (n,) uint16
    scale : float
    """
    scale = np.float64(scale)
    for i in range(out.size):
        out[i] += scale * np.float64(np.uint32(np.uint64(codes[i]) << S16).view(np.float32))
