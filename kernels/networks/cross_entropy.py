"""Cross-entropy of a softmax, and its gradient, in one call."""

import math

import numpy as np

from .._jit import kernel
from .exponential import exp

LEAST_32, LEAST_64 = -46.0, -460.0  # smaller probabilities count as 0: later products would be subnormal, and slow


@kernel
def cross_entropy(gradient, logits, labels, scale):
    """Sum over the samples of l = log sum_c e^(z_c) - z_label, and the gradient of scale * that.

    Parameters
    ----------
    gradient : (b, c) float32 or float64
        Written: scale (softmax(z) - the unit vector of the label). May be `logits` itself.
    logits : (b, c), alike
    labels : (b,) int64
        From 0 to c - 1.
    scale : float

    Returns
    -------
    float
        Added in float64; NaN where a logit is not finite.
    """
    rows, classes = logits.shape
    total = 0.0
    for i in range(rows):
        largest = logits[i, 0]
        for c in range(1, classes):
            largest = max(largest, logits[i, c])
        for c in range(classes):
            gradient[i, c] = logits[i, c] - largest
        total -= np.float64(gradient[i, labels[i]])
    flat = gradient.reshape(gradient.size)
    zero, least = logits.dtype.type(0.0), logits.dtype.type(LEAST_32 if logits.itemsize == 4 else LEAST_64)
    for k in range(flat.size):  # over all samples at once: a few classes do not fill a vector
        flat[k] = zero if flat[k] < least else exp(flat[k])
    for i in range(rows):
        partition = 0.0
        for c in range(classes):
            partition += np.float64(gradient[i, c])
        total += math.log(partition)
        factor = logits.dtype.type(scale / partition)
        for c in range(classes):
            gradient[i, c] *= factor
        gradient[i, labels[i]] -= logits.dtype.type(scale)
    return total
