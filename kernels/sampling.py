"""Random index sets from counter-based streams: the same key gives the same set on every rank."""

import numpy as np

from ._jit import kernel
from .hashing import below, hash64


@kernel
def stratified(index, n, key):
    """One index a stratum; every coordinate is in the set with probability exactly k/n.

    Stratum j is [floor(j n/k), floor((j+1) n/k)). Where k does not divide n the strata are uneven, and a uniform
    cyclic shift makes all coordinates alike; the indices are then ascending but for one wrap.

    Parameters
    ----------
    index : (k,) uint32 or uint64, 1 <= k <= n
        Written; all distinct.
    n : int
    key : uint64
    """
    k = np.uint64(index.size)
    n = np.uint64(n)
    zero, one = np.uint64(0), np.uint64(1)
    if k == zero:
        return
    size, extra = n // k, n % k
    shift = below(hash64(key, k), n) if extra else zero
    start, carry = zero, zero  # start = floor(j n/k), carry = (j n) mod k
    for j in range(index.size):
        carry += extra
        wide = carry >= k
        width = size + one if wide else size
        carry = carry - k if wide else carry
        position = start + below(hash64(key, j), width)
        room = n - shift
        index[j] = position - room if position >= room else position + shift
        start += width


@kernel
def expand(index, blocks, size, n):
    """The coordinates of whole blocks: block b is [b size, min((b + 1) size, n)).

    Parameters
    ----------
    index : uint32 or uint64
        Written from the front, one block after another.
    blocks : (K,) uint32 or uint64
        All distinct.
    size, n : int

    Returns
    -------
    int
        How many coordinates there are.
    """
    count = 0
    for j in range(blocks.size):
        start = np.int64(blocks[j]) * size
        for i in range(start, min(start + size, n)):
            index[count] = i
            count += 1
    return count


@kernel
def uniform_subset(index, marks, n, key):
    """A k-subset of 0..n-1, all subsets equally likely, in no particular order.

    Floyd's algorithm (Bentley and Floyd, 1987): k draws, no rejection.

    Parameters
    ----------
    index : (k,) uint32 or uint64, k <= n
        Written.
    marks : (n,) uint8
        Scratch: all zero on entry and on exit.
    n : int
    key : uint64
    """
    k = index.size
    for j in range(k):
        last = np.uint64(n - k + j)
        i = below(hash64(key, j), last + np.uint64(1))
        if marks[i]:
            i = last
        marks[i] = 1
        index[j] = i
    for j in range(k):
        marks[np.uint64(index[j])] = 0


@kernel
def permutation(perm, key):
    """A uniform permutation of 0..n-1, by the inside-out Fisher-Yates shuffle.

    Parameters
    ----------
    perm : (n,) uint32 or uint64
        Written.
    key : uint64
    """
    for i in range(perm.size):
        j = below(hash64(key, i), np.uint64(i + 1))
        perm[i] = perm[j]
        perm[j] = i
