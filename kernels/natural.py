"""Natural compression: random rounding to a power of two, sign and exponent packed into bits."""

import numpy as np

from ._jit import kernel
from .hashing import dither, fraction
from .packing import CHUNK, pack_bits, unpack_bits

MAGNITUDE, INFINITY = np.uint64(2**63 - 1), np.uint64(0x7FF << 52)
S63, S52, S20, HALF, ZERO = (np.uint64(s) for s in (63, 52, 20, 2**19, 0))
BIAS = 1023  # of float64


@kernel
def natural_encode(x, words, draws, codes, exponents, key):
    """Codes of x: |x_i| = 2^e (1 + f) becomes 2^(e + 1) with probability f, else 2^e.

    Code 0 is zero, `exponents` + 1 is what is not finite, and c in between is 2^(c - bias), as in the exponent field of
    a float. Above the largest power x is clamped to it; below the smallest one p, |x| becomes p with probability |x|/p,
    else 0. The sign is the bit above the exponent.

    Parameters
    ----------
    x : (n,) float64
    words : (ceil(n * width / 32),) uint32
        Written; width = 1 + the bits of the exponent.
    draws, codes : (CHUNK,) uint32, (CHUNK,) uint16
        Scratch.
    exponents : int
        254 or 2046: the number of powers of two.
    key : uint64
        Stream of the draws.
    """
    width = 9 if exponents == 254 else 12
    for start in range(0, x.size, CHUNK):
        count = min(CHUNK, x.size - start)
        dither(draws, start, count, key)
        _codes(codes, x[start:start + count], exponents, width, draws)
        pack_bits(words, codes, start, count, width)


@kernel
def natural_decode_add(out, words, codes, exponents, values, scale):
    """out[i] += scale * values[code_i].

    Parameters
    ----------
    out : (n,) float32 or float64
    words, exponents
        As `natural_encode` wrote and took them.
    codes : (CHUNK,) uint16
        Scratch.
    values : (2^width,) float64
        `natural_values`.
    scale : float
    """
    scale = np.float64(scale)
    width = 9 if exponents == 254 else 12
    for start in range(0, out.size, CHUNK):
        count = min(CHUNK, out.size - start)
        unpack_bits(codes, words, start, count, width)
        for j in range(count):
            out[start + j] += scale * values[codes[j]]


def natural_values(exponents):
    """The number that each code stands for: an array of 2 (exponents + 2) float64."""
    powers = 2.0 ** np.arange(-(exponents // 2 - 1), exponents // 2 + 1)
    positive = np.concatenate([[0.0], powers, [np.inf]])
    return np.concatenate([positive, -positive])


@kernel
def _codes(codes, x, exponents, width, draws):
    shift = np.int64(BIAS - exponents // 2)  # from the exponent field of float64 to the code
    smallest = np.uint64(shift + 1) << S52 if shift > 0 else ZERO  # p; subnormal numbers of float64 carry by themselves
    unit = np.uint64(np.uint64(2 * BIAS - shift - 1) << S52).view(np.float64)  # 1 / p
    for j in range(x.size):
        bits = np.float64(x[j]).view(np.uint64)
        magnitude = bits & MAGNITUDE
        draw = np.uint64(draws[j]) << S20 | HALF  # the middle of what 32 bits stand for
        code = np.int64((magnitude + draw) >> S52) - shift  # a carry out of the fraction: probability f
        if magnitude < smallest:
            up = np.uint64(magnitude).view(np.float64) * unit + fraction(draws[j]) >= 1.0
            code = np.int64(1) if up else np.int64(0)
        top = np.int64(exponents) if magnitude < INFINITY else np.int64(exponents + 1)
        codes[j] = np.uint16(min(code, top) | np.int64(bits >> S63) << np.int64(width - 1))
