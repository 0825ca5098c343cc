"""Random index sets from counter-based streams: the same key gives the same set on every rank."""

import numpy as np

from .._jit import kernel
from ..hashing import GOLDEN, LOW, ONE, S32, STEP32, below, hash64, mix32, mix64, short_key
from ..hints import full_vectors, prefetch

ZERO = np.uint64(0)
BLOCK = np.uint64(4096)  # indices that share a key of short words
CHUNK = 1024  # strata side by side
AHEAD = 24  # blocks


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
    k, n = np.uint64(index.size), np.uint64(n)
    if k == ZERO:
        return
    size, extra = n // k, n % k
    shift = below(hash64(key, k), n) if extra else ZERO
    room = n - shift
    chunk, point = _fixed_point(k, size)
    unit = (ONE << point) // k + ONE
    start, carry = ZERO, ZERO  # start = floor(j n/k), carry = (j n) mod k
    for first in range(0, index.size, chunk):
        part = index[first:first + chunk]
        count = np.uint64(part.size)
        total = carry + extra * count
        end = start + size * count + total // k
        if point > ZERO and (end <= room or start >= room):
            moved = start + shift if end <= room else start - room
            counter = np.uint64(key) + (np.uint64(first) + ONE) * GOLDEN
            _side_by_side(part, moved, carry * unit, (size << point) + extra * unit, point, counter)
        else:
            _one_by_one(part, start, carry, n, k, shift, key, first)
        start, carry = end, total % k


@kernel
def _fixed_point(k, size):
    """(C, s): floor(t / k) = floor(t u / 2^s), u = floor(2^s / k) + 1, for the C strata side by side; s = 0 if none.

    t < k (C+1), and the product exceeds t / k by t / 2^s at most: the floor is right if k^2 (C+1) < 2^s.
    """
    chunk = CHUNK
    while chunk >= 8 and size < LOW:
        strata = np.float64(chunk + 1)
        point = 63.0 - np.ceil(np.log2(strata * (np.float64(size) + 2.0)))  # (C+1) (size+2) 2^s is below 2^64
        if 2.0 * np.log2(np.float64(k)) + np.log2(strata) < point - 0.001:
            return chunk, np.uint64(point)
        chunk //= 2
    return CHUNK, ZERO


@kernel
def _side_by_side(index, moved, place, step, point, counter):
    """Strata whose first ones are multiples of `step` from `place`, in units of 2^-point; it vectorises."""
    part = (ONE << point) - ONE
    for i in range(index.size):
        word, width = mix64(counter), ((place & part) + step) >> point
        width &= LOW  # that it has 32 bits makes the product short
        offset = (word >> S32) * width + ((word & LOW) * width >> S32) >> S32  # below(word, width)
        index[i] = moved + (place >> point) + offset
        place += step
        counter += GOLDEN


@kernel
def _one_by_one(index, start, carry, n, k, shift, key, first):
    """Strata of any size, before or after the wrap."""
    size, extra, room = n // k, n % k, n - shift
    for j in range(index.size):
        carry += extra
        wide = carry >= k
        width = size + ONE if wide else size
        carry = carry - k if wide else carry
        position = start + below(hash64(key, first + j), width)
        index[j] = position - room if position >= room else position + shift
        start += width


@kernel
def stratified32(index, n, key):
    """One index a stratum, by draws of 32 bits: in less time than `stratified`; the wide strata come first.

    Stratum j is [j (s+1), (j+1) (s+1)), s = floor(n/k), for j < n mod k, then all have s coordinates; all are shifted
    cyclically as by `stratified`. A coordinate is in the set with probability k/n, relatively within (s+1) 2^-32 of it.

    Parameters
    ----------
    index : (k,) uint32 or uint64, 1 <= k <= n
        Written; all distinct.
    n : int
        Below 2^32.
    key : uint64
    """
    if index.size == 0:
        return
    k, n = np.uint64(index.size), np.uint64(n)
    size, extra = n // k, n % k
    shift = below(hash64(key, LOW), n) if extra else ZERO  # of a counter that no block has
    room, start, first = n - shift, ZERO, ZERO
    while first < k:
        width = size + ONE if first < extra else size
        stop = min((first // BLOCK + ONE) * BLOCK, extra if first < extra else k)
        end = start + (stop - first) * width
        together = end <= room or start >= room
        moved = start
        if together:
            moved = start + shift if end <= room else start - room
        _equal_strata(index, first, stop - first, moved, width, key)
        if not together:
            for j in range(first, stop):
                position = np.uint64(index[j])
                index[j] = position - room if position >= room else position + shift
        first, start = stop, end


@kernel
def _equal_strata(index, first, count, start, width, key):
    full_vectors()
    place, high = short_key(key, first // BLOCK, first % BLOCK)
    width = np.uint64(np.uint32(width))
    for j in range(count):
        index[first + j] = start + (np.uint64(mix32(place, high)) * width >> S32)
        place = np.uint32(place + STEP32)
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
def gather_blocks(out, x, blocks, size, scale):
    """out = scale times the coordinates of whole blocks, those of `expand`, in its order; memory is asked for ahead.

    Parameters
    ----------
    out : float32 or float64
        Written from the front.
    x : (n,) float32 or float64
    blocks : (K,) uint32 or uint64
    size : int
    scale : float

    Returns
    -------
    int
        How many coordinates there are.
    """
    scale, count = np.float64(scale), np.uint64(0)
    size, n = np.uint64(size), np.uint64(x.size)
    for j in range(blocks.size):
        prefetch(x, np.uint64(blocks[min(j + AHEAD, blocks.size - 1)]) * size, size)
        start = np.uint64(blocks[j]) * size
        for i in range(start, min(start + size, n)):
            out[count] = scale * x[i]
            count += ONE
    return np.int64(count)


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
