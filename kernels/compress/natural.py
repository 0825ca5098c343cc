"""Natural compression: random rounding to a power of two (Horvath et al., 2019); sign and exponent in 9 or 12 bits."""

import numpy as np

from .._jit import kernel
from ..hashing import dither, fraction
from .packing import CHUNK, pack_bits, unpack_bits

MAGNITUDE, INFINITY = np.uint64(2**63 - 1), np.uint64(0x7FF << 52)
S63, S52, S20, HALF, ZERO = (np.uint64(s) for s in (63, 52, 20, 2**19, 0))
S23 = np.uint32(23)
BIAS = 1023  # of float64


@kernel
def natural_encode(x, words, draws, codes, quads, exponents, key):
    """Codes of x: |x_i| = 2^e (1 + f) becomes 2^(e + 1) with probability f, else 2^e.

    Code 0 is zero, `exponents` + 1 is what is not finite, and c in between is 2^(c - bias), as in the exponent field of
    a float. Above the largest power x is clamped to it; below the smallest one p, |x| becomes p with probability |x|/p,
    else 0. The sign is the bit above the exponent.

    Parameters
    ----------
    x : (n,) float32 or float64
    words : (ceil(n * width / 32),) uint32
        Written; width = 1 + the bits of the exponent.
    draws, codes, quads : (CHUNK,) uint32, (CHUNK,) uint16, (CHUNK / 4,) uint64
        Scratch.
    exponents : int
        254 or 2046: the number of powers of two.
    key : uint64
        Stream of the draws.
    """
    width = 9 if exponents == 254 else 12
    fours, stream = codes.view(np.uint64), quads.view(np.uint32)
    for start in range(0, x.size, CHUNK):
        count = min(CHUNK, x.size - start)
        dither(draws, start, count, key)
        _codes(codes, x, start, count, exponents, width, draws)
        pack_bits(words, codes, fours, quads, stream, start, count, width)


@kernel
def natural_decode_add(out, words, codes, quads, exponents, scale):
    """out[i] += scale * (the number that code_i stands for).

    Parameters
    ----------
    out : (n,) float32 or float64
    words, exponents
        As `natural_encode` wrote and took them.
    codes, quads : (CHUNK,) uint16, (CHUNK / 4,) uint64
        Scratch.
    scale : float
    """
    scale = np.float64(scale)
    width = 9 if exponents == 254 else 12
    fours, stream = codes.view(np.uint64), quads.view(np.uint32)
    for start in range(0, out.size, CHUNK):
        count, first = min(CHUNK, out.size - start), np.uint64(start)
        unpack_bits(fours, quads, stream, words, start, count, width)
        if exponents == 254:
            for j in range(np.uint64(count)):
                out[first + j] += scale * np.float64(np.uint32(np.uint32(codes[j]) << S23).view(np.float32))
        else:
            for j in range(np.uint64(count)):
                out[first + j] += scale * np.uint64(np.uint64(codes[j]) << S52).view(np.float64)


@kernel(forceinline=True)
def _codes(codes, x, start, count, exponents, width, draws):
    first = np.uint64(start)
    shift = np.int64(BIAS - exponents // 2)  # from the exponent field of float64 to the code
    smallest = np.uint64(shift + 1) << S52 if shift > 0 else ZERO  # p; subnormal numbers of float64 carry by themselves
    unit = np.uint64(np.uint64(2 * BIAS - shift - 1) << S52).view(np.float64)  # 1 / p
    for j in range(np.uint64(count)):
        bits = np.float64(x[first + j]).view(np.uint64)
        magnitude = bits & MAGNITUDE
        draw = np.uint64(draws[j]) << S20 | HALF  # the middle of what 32 bits stand for
        code = np.int64((magnitude + draw) >> S52) - shift  # a carry out of the fraction: probability f
        if magnitude < smallest:
            up = np.uint64(magnitude).view(np.float64) * unit + fraction(draws[j]) >= 1.0
            code = np.int64(1) if up else np.int64(0)
        top = np.int64(exponents) if magnitude < INFINITY else np.int64(exponents + 1)
        codes[j] = np.uint16(min(code, top) | np.int64(bits >> S63) << np.int64(width - 1))
