"""Exact selection of the largest magnitudes, by radix, in linear time on every input."""

import numpy as np

from ._jit import kernel

DIGIT = 11  # bits a level: 2048 counters stay in the first cache


@kernel
def topk(x, index, keys):
    """Positions of the k largest magnitudes, ascending; ties go to the lowest index.

    The bits of |x|, read as an unsigned integer, are ordered like |x|. NaN has the largest bits: it is kept.

    Parameters
    ----------
    x : (n,) float32 or float64
    index : (k,) uint32 or uint64, k <= n
        Written.
    keys : (n,) uint32 for float32 `x`, uint64 for float64
        Scratch.
    """
    if index.size == 0:
        return
    threshold, ties = _threshold(x, index.size, keys)
    bits = x.view(keys.dtype)
    magnitude = _magnitude_mask(keys)
    kept = 0
    for i in range(x.size):
        key = np.uint64(bits[i]) & magnitude
        if key >= threshold:
            if key == threshold:
                if ties == 0:
                    continue
                ties -= 1
            index[kept] = i
            kept += 1


@kernel
def _magnitude_mask(keys):
    return (np.uint64(1) << np.uint64(8 * keys.itemsize - 1)) - np.uint64(1)


@kernel
def _threshold(x, k, keys):
    """(T, t): the k largest magnitudes have the bits above T, and the first t of those with bits T."""
    bits = x.view(keys.dtype)
    magnitude = _magnitude_mask(keys)
    for i in range(x.size):
        keys[i] = np.uint64(bits[i]) & magnitude
    counts = np.empty(1 << DIGIT, np.int64)
    candidates, rank = x.size, k  # the rank-th largest of the first `candidates` keys is sought
    threshold = np.uint64(0)
    low = 8 * keys.itemsize - 1
    while low > 0:
        low = max(low - DIGIT, 0)
        _count_digits(counts, keys, candidates, low)
        digit = counts.size - 1
        while counts[digit] < rank:
            rank -= counts[digit]
            digit -= 1
        threshold |= np.uint64(digit) << np.uint64(low)
        if counts[digit] == rank:  # all of them are kept: the lower bits do not matter
            break
        candidates = _keep_digit(keys, candidates, low, digit)
    return threshold, rank


@kernel
def _count_digits(counts, keys, candidates, low):
    counts[:] = 0
    shift, mask = np.uint64(low), np.uint64(counts.size - 1)
    for i in range(candidates):
        counts[(np.uint64(keys[i]) >> shift) & mask] += 1


@kernel
def _keep_digit(keys, candidates, low, digit):
    shift, mask, digit = np.uint64(low), np.uint64((1 << DIGIT) - 1), np.uint64(digit)
    kept = 0
    for i in range(candidates):
        key = keys[i]
        keys[kept] = key  # without a branch; kept <= i
        kept += ((np.uint64(key) >> shift) & mask) == digit
    return kept
