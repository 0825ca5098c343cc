"""Bias and GELU in its tanh form, gelu(x) = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), with its derivative.

Since (1 + tanh(v/2)) / 2 = 1 / (1 + e^-v) = s, one exponential gives both: with v = 2 sqrt(2/pi) (x + 0.044715 x^3)
they are gelu(x) = x s and gelu'(x) = s + x s (1 - s) v'.  Matrices are (b, w), a sample (or a token) in each row; the
arrays of a call are float32 or float64, all alike.
"""

import math

from .._jit import kernel
from .exponential import exp

LINEAR = 2 * math.sqrt(2 / math.pi)
CUBIC = 0.044715 * LINEAR
MOST_32, MOST_64 = 40.0, 400.0  # s below e^-40 counts as 0: later products would be subnormal, and ten times slower


@kernel
def gelu(x, bias, slope):
    """slope = gelu'(x + bias) and x = gelu(x + bias), x (b, w) in place, bias (w,), slope (b, w)."""
    real = x.dtype.type  # a float64 among float32 would halve the speed
    zero, one, most = real(0.0), real(1.0), real(MOST_32 if x.itemsize == 4 else MOST_64)
    linear, cubic, slant = real(LINEAR), real(CUBIC), real(3 * CUBIC)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            a = x[i, j] + bias[j]
            square = a * a
            exponent = -a * (linear + cubic * square)
            e = exp(most if exponent > most else exponent)
            s = zero if exponent > most else one / (one + e)
            x[i, j] = a * s
            slope[i, j] = s + a * s * (e * s) * (linear + slant * square)  # e s = 1 - s, without its cancellation


@kernel
def gelu_backward(gradient, slope, total):
    """gradient *= slope, both (b, w), in place; total (w,) = sum of its rows, the gradient of the bias."""
    for j in range(total.size):
        total[j] = 0
    for i in range(gradient.shape[0]):
        for j in range(total.size):
            gradient[i, j] *= slope[i, j]
            total[j] += gradient[i, j]


@kernel
def add_bias(x, bias):
    """x += bias to every row, x (b, w) in place, bias (w,)."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            x[i, j] += bias[j]


@kernel
def sum_rows(total, x):
    """total (w,) = sum of the rows of x (b, w)."""
    for j in range(total.size):
        total[j] = 0
    for i in range(x.shape[0]):
        for j in range(total.size):
            total[j] += x[i, j]
