"""Exact selection of the largest magnitudes, in linear time on every input and one pass over most.

A sample tells a threshold that a little more than k magnitudes reach; one pass collects those candidates in the order
of their index, and the exact k-th magnitude is then sought among them alone, as in Floyd and Rivest's SELECT
(Algorithm 489, 1975). Ours: where the candidates fill their room, as with ties or a sample that misled, all but the k
best so far are dropped and the threshold rises, strictly, since what comes later loses every tie. The bits of |x|, read
as an unsigned integer, are ordered like |x|; NaN has the largest.
"""

import numpy as np

from .. import lanes
from .._jit import kernel
from ..hints import full_vectors, prefetch
from .compaction import CHUNK, PADDING, collect_blocks, collect_vectors, keep
from .threshold import DEVIATIONS, SHORT, halve, largest, sample_size, sampled_rank, select, stratum

VECTOR = True if lanes.available() else None  # None: portable
PIECE = 8                                     # neighbours that are sampled together: they share a line of memory
DENSE = 16                                    # k > n / DENSE: most vectors have a candidate
BLOCK, AHEAD = np.uint64(512), np.uint64(4096)  # entries added together; between what is added and what is fetched


def scratch(n, k, dtype):
    """(keys, sums, positions), the scratch of `topk` and `topk_feedback` for k out of n numbers of `dtype`."""
    room = min(n, k + max(k // 4, 4 * CHUNK)) + PADDING
    keys = np.empty(room + 2 * CHUNK + k // 16, f"u{np.dtype(dtype).itemsize}")
    return keys, keys.view(dtype), np.empty(room, np.uint32 if n < 2**32 else np.uint64)


def topk(x, index, keys, sums, positions, warm, vector):
    """Positions of the k largest magnitudes, ascending; ties go to the lowest index.

    Parameters
    ----------
    x : (n,) float32 or float64
    index : (k,) uint32 or uint64, k <= n
        Written.
    keys, sums, positions
        From `scratch`.
    warm : (1,) uint64
        Near the k-th key of the last call, where this one starts to look; 0 at first. No value changes the result.
    vector : True or None
        `VECTOR`, or None for the portable form, which alone serves n >= 2^32.
    """
    _topk(x, x.view(keys.dtype), index, keys, sums, positions, warm, *_forms(vector, positions), 0.0, None, 0.0, None,
          0.0, None)


def topk_feedback(e, a, x, b, y, c, z, index, keys, sums, positions, warm, vector):
    """e += a x + b y + c z, evaluated and rounded as by `updates.update3`, and `topk` of the sum, in one pass.

    Parameters
    ----------
    e : (n,) float32 or float64
        Written.
    a, b, c : float
    x, y, z : (n,) float32 or float64; z may be None, or y and z
    index, keys, sums, positions, warm, vector
        As of `topk`.
    """
    _topk(e, e.view(keys.dtype), index, keys, sums, positions, warm, *_forms(vector, positions),
          np.float64(a), x, np.float64(b), y, np.float64(c), z)


def _forms(vector, positions):
    return (vector, None) if vector and positions.itemsize == 4 else (None, True)


@kernel
def _topk(e, bits, index, keys, sums, positions, warm, vector, portable, a, x, b, y, c, z):
    n, k, room = e.size, index.size, positions.size - PADDING
    if k == 0:
        return
    dense, work = DENSE * k > n, keys[positions.size:]
    attempt = np.int64(0 if _relaxed(warm[0], keys) > 0 else 1)
    reached = added = count = np.int64(0)
    low = least = np.uint64(0)
    while True:
        if reached == 0:
            if attempt == 0:
                least = _relaxed(warm[0], keys)
            else:
                least = _sampled(e, k, keys, sums, attempt, added == 0, a, x, b, y, c, z)
            low = least
            attempt += 1
        while reached < n:
            stop = min(reached + CHUNK, n)
            if count + stop - reached > room:
                break
            if added < stop:
                if x is not None:
                    _add_all(e, reached, stop, a, x, b, y, c, z)
                added = stop
            if vector is not None:
                count = collect_vectors(bits, reached, stop, least, keys, positions, count, work, x is None, dense)
            if portable is not None:
                count = collect_blocks(bits, reached, stop, least, keys, positions, count, work, x is None)
            reached = stop
        if count < k:  # the threshold was too high
            reached = count = np.int64(0)
            continue
        top = largest(keys[:count])
        low, surplus = select(keys[:count], k, low, top, work, vector)
        split = _split(keys[:count], low, surplus)
        if reached == n:
            break
        count, least = _drop(keys[:count], positions, low, split), low + np.uint64(1)
    kept = keep(keys, positions, np.int64(0), split, low, index, np.int64(0), vector)
    keep(keys, positions, split, count, low + np.uint64(1), index, kept, vector)
    warm[0] = low


@kernel(inline=True)
def _infinity(keys):
    return np.uint64(0x7F800000) if keys.itemsize == 4 else np.uint64(0x7FF0000000000000)


@kernel(inline=True)
def _relaxed(key, keys):
    """A key some 2 % to 3 % below, 0 for one that no magnitude has."""
    margin = np.uint64(1) << np.uint64(18 if keys.itemsize == 4 else 47)
    return key - margin if margin < key <= _infinity(keys) else np.uint64(0)


@kernel
def _sampled(e, k, keys, sums, attempt, adding, a, x, b, y, c, z):
    """A key that probably a little more than k magnitudes of the sum reach; 0 where all may be candidates."""
    n = e.size
    if n <= SHORT or 2 * k > n or attempt > 2:
        return np.uint64(0)
    pieces = min(sample_size(k, n), keys.size) // PIECE
    sample = keys[:pieces * PIECE]
    middle, spread = sampled_rank(k, n, sample.size)
    rank = np.int64(middle + DEVIATIONS * (attempt * attempt) * spread) + 1
    if rank >= sample.size:
        return np.uint64(0)
    for j in range(pieces):
        start = PIECE * stratum(j, pieces, n // PIECE)
        first, place = np.uint64(j * PIECE), np.uint64(start)
        for i in range(np.uint64(PIECE)):
            sums[first + i] = e[place + i]
        if x is not None and adding:
            _add(sums, first, PIECE, place, a, x, b, y, c, z)
    for i in range(sample.size):
        sums[i] = abs(sums[i])
    return halve(sample, sample.size, rank, np.uint64(0), largest(sample), np.int64(spread / 4))[0]


@kernel(forceinline=True)
def _add_all(e, start, stop, a, x, b, y, c, z):
    """e[start:stop] += a x + b y + c z; what comes later is fetched meanwhile."""
    first, end = np.uint64(start), np.uint64(stop)
    while first < end:
        count = min(end - first, BLOCK)
        prefetch(e, first + AHEAD, count)
        prefetch(x, first + AHEAD, count)
        if y is not None:
            prefetch(y, first + AHEAD, count)
        if z is not None:
            prefetch(z, first + AHEAD, count)
        _add(e, first, count, first, a, x, b, y, c, z)
        first += count


@kernel(forceinline=True)
def _add(sums, first, count, start, a, x, b, y, c, z):
    """sums[first:first + count] += a x + b y + c z of the coordinates from `start` on."""
    full_vectors()
    if y is None:
        for i in range(np.uint64(count)):
            sums[first + i] = sums[first + i] + a * x[start + i]
    elif z is None:
        for i in range(np.uint64(count)):
            sums[first + i] = sums[first + i] + a * x[start + i] + b * y[start + i]
    else:
        for i in range(np.uint64(count)):
            sums[first + i] = sums[first + i] + a * x[start + i] + b * y[start + i] + c * z[start + i]


@kernel(inline=True)
def _split(keys, least, surplus):
    """Where to cut the candidates so that `surplus` keys equal to `least` lie behind."""
    low, i = keys.dtype.type(least), keys.size
    while surplus > 0:
        i -= 1
        surplus -= keys[np.uint64(i)] == low
    return i


@kernel(inline=True)
def _drop(keys, positions, least, split):
    """Keep, in place, the candidates from `least` on before `split` and those above it behind; gives their number."""
    low, kept = keys.dtype.type(least), np.uint64(0)
    for i in range(keys.size):
        key = keys[i]
        keys[kept] = key
        positions[kept] = positions[i]
        kept += np.uint64(key >= low if i < split else key > low)
    return np.int64(kept)
