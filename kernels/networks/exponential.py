"""e^x of one number, written out so that loops over it become vector instructions (a call of libm's would not).

e^x = 2^n e^r with n the integer nearest to x / ln 2 and |r| <= ln(2) / 2 (1 + tiny): r is found in two steps (Cody and
Waite), so that n times the first part of ln 2 is exact, and e^r is 1 + r + r^2 q(r), q the polynomial of least relative
error.  Adding 1.5 * 2^(mantissa bits) rounds to an integer, which the sum then holds in its low bits: a shift moves
them, with a bias added beforehand, to the exponent of 2^(n - 1), whose exponent is in range also where that of 2^n is
not.  Accurate to 1e-7 and 3e-16; what would be below 2.5e-38 and 4.5e-308 is zero; NaN stays NaN.
"""

import numpy as np

from .._jit import kernel

LOG2E_32, LOG2E_64 = np.float32(1.4426950408889634), 1.4426950408889634
ROUND_32, ROUND_64 = np.float32(1.5 * 2**23 + 126), 1.5 * 2**52 + 1022.0  # the bias less 1
S23, S52 = np.uint32(23), np.uint64(52)
LN2_HIGH_32, LN2_LOW_32 = np.float32(0.693359375), np.float32(-2.12194440054690583e-4)
LN2_HIGH_64, LN2_LOW_64 = 6.93147180369123816490e-01, 1.90821492927058770002e-10
LOW_32, LOW_64 = np.float32(-86.6), -707.7
HIGH_32, HIGH_64 = np.float32(89.0), 710.0  # e^x is infinite already, n - 1 not yet out of range
ZERO_32, ONE_32, TWO_32 = np.float32(0), np.float32(1), np.float32(2)
A2, A3, A4, A5, A6 = (np.float32(c) for c in (
    0.49999993431974378804, 0.16666520399457485776, 0.041668390834391331849, 0.0083687450809168823275,
    0.0013814537082063353061))
B2, B3, B4, B5, B6, B7, B8, B9, B10, B11 = (
    0.50000000000000106686, 0.16666666666666411507, 0.041666666666529729429, 0.0083333333334949796397,
    0.0013888888943759688199, 0.00019841269505765858996, 0.000024801492949875941492, 2.755758681289492458e-6,
    2.7630306178626537006e-7, 2.5000015510719586443e-8)


@kernel
def exp32(x):
    """e^x of a float32, a float32."""
    a = HIGH_32 if x > HIGH_32 else x
    rounded = np.float32(a * LOG2E_32 + ROUND_32)
    n = rounded - ROUND_32
    r = (a - n * LN2_HIGH_32) - n * LN2_LOW_32
    q = (((A6 * r + A5) * r + A4) * r + A3) * r + A2
    half = np.uint32(rounded.view(np.uint32) << S23).view(np.float32)  # 2^(n - 1)
    return ZERO_32 if x < LOW_32 else ((r * r * q + r) + ONE_32) * half * TWO_32


@kernel
def exp64(x):
    """e^x of a float64, a float64."""
    a = HIGH_64 if x > HIGH_64 else x
    rounded = np.float64(a * LOG2E_64 + ROUND_64)
    n = rounded - ROUND_64
    r = (a - n * LN2_HIGH_64) - n * LN2_LOW_64
    q = ((((((((B11 * r + B10) * r + B9) * r + B8) * r + B7) * r + B6) * r + B5) * r + B4) * r + B3) * r + B2
    half = np.uint64(rounded.view(np.uint64) << S52).view(np.float64)  # 2^(n - 1)
    return 0.0 if x < LOW_64 else ((r * r * q + r) + 1.0) * half * 2.0


@kernel
def exp(x):
    """e^x of a float32 or a float64, in its own precision; which one is decided when a caller is compiled."""
    if isinstance(x, np.float32):
        return exp32(x)
    else:  # not a plain return: Numba drops the branch of the other type
        return exp64(x)
