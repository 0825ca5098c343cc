"""Layer normalisation of rows, h = gain (x - mean x) / sqrt(var x + 1e-5) + offset, and its gradient.

Matrices are (b, w), gain, offset, bias and their gradients (w,), and `inverse` = 1 / sqrt(var x + 1e-5) is (b,); the
arrays of a call are float32 or float64, all alike.  `normal` = (x - mean x) inverse is kept for the gradient.
"""

import math

from .._jit import kernel

EPSILON = 1e-5


@kernel
def normalise(x, gain, offset, normal, inverse, out):
    """normal, inverse and out = gain normal + offset of the rows of x."""
    for i in range(x.shape[0]):
        inverse[i] = _normalise_row(x[i], gain, offset, normal[i], out[i])


@kernel
def add_normalise(x, branch, bias, gain, offset, normal, inverse, out):
    """x += branch + bias, in place, then as `normalise`."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            x[i, j] += branch[i, j] + bias[j]
        inverse[i] = _normalise_row(x[i], gain, offset, normal[i], out[i])


@kernel(reduction=True)
def _normalise_row(x, gain, offset, normal, out):
    real = x.dtype.type
    share = real(1.0 / x.size)
    total = real(0.0)
    for j in range(x.size):
        total += x[j]
    mean = total * share
    total = real(0.0)
    for j in range(x.size):
        total += (x[j] - mean) * (x[j] - mean)
    inverse = real(1.0) / math.sqrt(total * share + real(EPSILON))
    for j in range(x.size):
        normal[j] = (x[j] - mean) * inverse
    for j in range(x.size):  # on its own: fewer arrays whose overlap must be ruled out before it vectorises
        out[j] = normal[j] * gain[j] + offset[j]
    return inverse


@kernel(reduction=True)
def normalise_backward(gradient, normal, inverse, gain, total, into_gain, into_offset):
    """Gradient with respect to x, added to `total`, and those with respect to gain and offset, written.

    With n = normal and g = gain d/dh the first is inverse (g - mean g - n mean(n g)).

    Parameters
    ----------
    gradient : (b, w)
        d/dh.
    normal : (b, w)
    inverse : (b,)
    gain : (w,)
    total : (b, w)
    into_gain, into_offset : (w,), or both None
    """
    rows, width = gradient.shape
    real = gradient.dtype.type
    share = real(1.0 / width)
    if into_gain is not None:
        for j in range(width):
            into_gain[j] = into_offset[j] = 0
    for i in range(rows):
        if into_gain is not None:
            for j in range(width):
                into_gain[j] += gradient[i, j] * normal[i, j]
                into_offset[j] += gradient[i, j]
        first = second = real(0.0)
        for j in range(width):
            a = gradient[i, j] * gain[j]
            first += a
            second += a * normal[i, j]
        first *= share
        second *= share
        for j in range(width):
            total[i, j] += inverse[i] * (gradient[i, j] * gain[j] - first - normal[i, j] * second)
