"""Softmax of rows, and its gradient: what of attention is not a matrix product.

Arrays are (b, r, s), of b samples with r rows of s scores; float32 or float64, in one call all alike.
"""

from .._jit import kernel
from .exponential import exp


@kernel(reduction=True)
def softmax(scores, scale):
    """Softmax of scale > 0 times each row, in place.

    Parameters
    ----------
    scores : (b, r, s)
    scale : float
    """
    samples, rows, columns = scores.shape
    scale = scores.dtype.type(scale)
    zero, one, limit = scores.dtype.type(0.0), scores.dtype.type(1.0), scores.dtype.type(80.0**2)
    for i in range(samples):
        block = scores[i]
        flat = block.reshape(rows * columns)
        squares = zero
        for k in range(flat.size):
            squares += (scale * flat[k]) * (scale * flat[k])
        if not squares <= limit:  # else none exceeds 80, and e^80 and e^-80 are normal float32 numbers
            for r in range(rows):
                largest = block[r, 0]
                for s in range(1, columns):
                    largest = max(largest, block[r, s])
                for s in range(columns):
                    block[r, s] -= largest
        for k in range(flat.size):  # over all rows at once: a few tokens do not fill a vector
            flat[k] = exp(scale * flat[k])
        for r in range(rows):
            total = zero
            for s in range(columns):
                total += block[r, s]
            factor = one / total
            for s in range(columns):
                block[r, s] *= factor


@kernel(reduction=True)
def softmax_backward(gradient, weights, scale):
    """From the gradient with respect to p = softmax(scale z) to that with respect to z, for each row, in place.

    d/dz = scale p (d/dp - sum_s p_s d/dp_s)

    Parameters
    ----------
    gradient : (b, r, s)
    weights : (b, r, s)
        p.
    scale : float
    """
    samples, rows, columns = gradient.shape
    scale = gradient.dtype.type(scale)
    for i in range(samples):
        for r in range(rows):
            total = gradient.dtype.type(0.0)
            for s in range(columns):
                total += weights[i, r, s] * gradient[i, r, s]
            for s in range(columns):
                gradient[i, r, s] = scale * weights[i, r, s] * (gradient[i, r, s] - total)
