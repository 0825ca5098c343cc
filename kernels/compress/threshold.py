"""The rank-th largest of unsigned keys, by halving the range of values: exact, and without a bad case.

A step counts the keys at or above the middle, a whole vector at a time, so 31 or 63 steps are enough whatever the keys
are. Long arrays are first narrowed to a band around the rank that a sample tells, as in SELECT (Floyd and Rivest,
Algorithm 489, 1975); a band that misses costs time, never exactness.
"""

import numpy as np

from .._jit import kernel
from .compaction import PADDING, band

SHORT = 4096  # keys that are halved as they are
DEVIATIONS = 4.0
GOLDEN = 0.6180339887498949


@kernel
def select(keys, rank, low, high, work, vector):
    """(least, surplus): the `rank` largest keys are those from `least` on, but for `surplus` equal to `least`.

    Parameters
    ----------
    keys : (m,) uint32 or uint64, rank <= m
        All from `low` to `high`.
    work : of the dtype of keys
        Scratch; the longer the faster, up to m.
    """
    held = keys.size
    if count_from(keys, low + np.uint64(1)) < rank:  # as where most numbers are zero
        return low, held - rank
    if keys.size > SHORT:
        sample = work[:min(sample_size(rank, keys.size), work.size)]
        for j in range(sample.size):
            sample[j] = keys[np.uint64(stratum(j, sample.size, keys.size))]
        middle, spread = sampled_rank(rank, keys.size, sample.size)
        bottom, top = low, high
        for side in range(2):
            aim = np.int64(middle + (1 - 2 * side) * DEVIATIONS * spread)
            if 0 < aim < sample.size:
                found, _ = halve(sample, sample.size, aim, low, high, np.int64(spread / 4))
                bottom, top = (found, top) if side == 0 else (bottom, max(found, bottom))
        above, found = count_from(keys, top + np.uint64(1)), count_from(keys, bottom)
        if above < rank <= found:
            low, high, held = bottom, top, found
            if low < high and found - above + PADDING <= work.size:
                keys, rank, held = work[:band(keys, low, high, work, vector)], rank - above, found - above
    return halve(keys, held, rank, low, high, np.int64(0))


@kernel
def halve(keys, found, rank, low, high, slack):
    """(least, surplus): rank + surplus keys are at least `least`; surplus <= slack, or the rank-th key is `least`.

    Fewer than `rank` keys are above `high`, and `found`, not fewer, are taken to be at least `low`.
    """
    while low < high and found - rank > slack:
        middle = high - (high - low) // np.uint64(2)
        count = count_from(keys, middle)
        if count >= rank:
            low, found = middle, count
        else:
            high = middle - np.uint64(1)
    return low, found - rank


@kernel
def count_from(keys, least):
    """How many keys are at least `least`."""
    least = keys.dtype.type(least)
    total = 0
    for start in range(0, keys.size, 1 << 30):  # 32 bits count twice as many a vector
        part = keys[start:start + (1 << 30)]
        count = np.uint32(0)
        for i in range(part.size):
            count = np.uint32(count + np.uint32(part[i] >= least))
        total += np.int64(count)
    return total


@kernel(inline=True)
def largest(keys):
    """The largest key, as uint64."""
    top = keys[0]
    for i in range(keys.size):
        top = max(top, keys[i])
    return np.uint64(top)


@kernel(inline=True)
def sample_size(rank, n):
    """Samples that cost about what the candidates cost which fewer of them would let in."""
    return min(n, 64 + np.int64(1.6 * (np.float64(rank) * n) ** (1 / 3)))


@kernel(inline=True)
def sampled_rank(rank, n, samples):
    """(mean, deviation) of the number of samples among the `rank` largest of n."""
    share = rank / n
    return share * samples, (share * (1.0 - share) * samples) ** 0.5 + 1.0


@kernel(inline=True)
def stratum(j, samples, n):
    """The place of sample j: one in each of `samples` equal parts of range(n), never twice at the same point of it."""
    place = j * GOLDEN
    return min(n - 1, np.int64((j + (place - np.floor(place))) * (n / samples)))
