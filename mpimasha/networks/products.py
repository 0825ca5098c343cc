"""Products of tall matrices with small ones, in pieces that BLAS multiplies without rearranging them first.

Up to 10^6 multiplications OpenBLAS takes, on CPUs with AVX-512, kernels that read the matrices where they are.  In
pieces of that size a product with a (32, 96) matrix takes 2/3 of the time; with large ones whole rows are best.  The
pieces depend on the shapes alone.
"""

import numpy as np

LIMIT = 10**6
FEWEST = 64  # rows of a piece: with fewer there is nothing to gain


class Scratch:
    """Memory that grows to the largest array taken from it."""

    def __init__(self, dtype):
        self._memory = np.empty(0, dtype)

    def take(self, *shape):
        """An array of that shape, valid until the next is taken."""
        size = int(np.prod(shape))
        if size > self._memory.size:
            self._memory = np.empty(size, self._memory.dtype)
        return self._memory[:size].reshape(shape)


def product(x, W, out):
    """out = x W.

    Parameters
    ----------
    x : (rows, i) array
    W : (i, o) array
    out : (rows, o) array
    """
    piece = _rows_of_a_piece(W)
    if not FEWEST <= piece < len(x):
        np.dot(x, W, out)
        return
    whole = len(x) - len(x) % piece
    np.matmul(_pieces(x[:whole], piece), W, _pieces(out[:whole], piece))
    if whole < len(x):
        np.dot(x[whole:], W, out[whole:])


def product_transposed(x, W, out, scratch):
    """out = x W'.

    Parameters
    ----------
    x : (rows, o) array
    W : (i, o) array
    out : (rows, i) array
    scratch : Scratch
    """
    if FEWEST <= _rows_of_a_piece(W) < len(x):
        turned = scratch.take(*W.T.shape)
        turned[:] = W.T  # those kernels are slow in products of rows with rows
        product(x, turned, out)
    else:
        np.dot(x, W.T, out)


def product_over_rows(x, y, out, scratch):
    """out = x' y.

    Parameters
    ----------
    x : (rows, i) array
    y : (rows, o) array
    out : (i, o) array
    scratch : Scratch
    """
    piece = _rows_of_a_piece(out)
    if not FEWEST <= piece < len(x):
        np.dot(x.T, y, out)
        return
    count, rest = divmod(len(x), piece)
    whole = len(x) - rest
    terms = scratch.take(count + (rest > 0), *out.shape)
    np.matmul(_pieces(x[:whole], piece).swapaxes(1, 2), _pieces(y[:whole], piece), terms[:count])
    if rest:
        np.dot(x[whole:].T, y[whole:], terms[count])
    np.add.reduce(terms, 0, out=out)


def _rows_of_a_piece(W):
    """The largest power of two with which a product with W is within the limit."""
    return 1 << (LIMIT // W.size).bit_length() >> 1


def _pieces(x, rows):
    return x.reshape(-1, rows, x.shape[1])
