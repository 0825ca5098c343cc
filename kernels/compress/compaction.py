"""Candidates in the order of their index: those of a chunk of x, of a band of keys, and those kept at last.

Each step has a portable form, without intrinsics, and one with `lanes`; both give the same. Numba drops what an
argument of None rules out before it compiles. Arrays are sliced, or indices unsigned, so that none can be negative.
"""

import numpy as np

from .. import lanes
from .._jit import kernel
from ..hints import fetch, full_vectors, prefetch

BLOCK = np.uint64(8)  # entries that the portable form tests together
CHUNK = 4096  # entries between two looks at the room left: they stay in the first cache
AHEAD = 64    # vectors between what is compared and what is fetched
PADDING = 64  # entries that a whole vector may write beyond the last one


@kernel
def collect_blocks(x, start, stop, least, keys, positions, count, work, fetching):
    """Append the keys of x[start:stop] that are at least `least`, and their positions; gives the new count.

    Parameters
    ----------
    x : (n,) uint32 or uint64
        The bits of the numbers, with their signs.
    least : uint64
    keys : (at least count + stop - start + PADDING,) of the dtype of x
    positions : (same,) uint32 or uint64
        Both written from `count` on.
    work : (at least CHUNK,) of the dtype of keys
        Scratch.
    fetching : bool
        Whether to ask for what comes later meanwhile.
    """
    if fetching:
        prefetch(x, np.uint64(stop), stop - start)
    begin, end = np.uint64(start), np.uint64(count)
    whole = begin + np.uint64(stop - start) // BLOCK * BLOCK
    for j in range(_list_blocks(x, begin, whole, BLOCK, least, work)):
        end = _append(x, begin + np.uint64(work[j]), BLOCK, least, keys, positions, end)
    return np.int64(_append(x, whole, stop - np.int64(whole), least, keys, positions, end))


@kernel(forceinline=True)
def _list_blocks(x, start, stop, size, least, work):
    """Write the distances from `start` of the blocks with a candidate to `work`; gives their number."""
    full_vectors()
    low, magnitude, listed = work.dtype.type(least), magnitude_mask(work), np.uint64(0)
    for first in range(start, stop, size):
        top = work.dtype.type(0)
        for i in range(size):
            top = max(top, work.dtype.type(x[first + i] & magnitude))
        work[listed] = first - start
        listed += np.uint64(top >= low)
    return listed


@kernel
def collect_vectors(x, start, stop, least, keys, positions, count, work, fetching, dense):
    """`collect_blocks` with vectors.

    Parameters
    ----------
    dense : bool
        Whether so many are expected that it does not pay to look for them first.
    """
    step = lanes.width(x)
    whole = start + (stop - start) // step * step
    if dense:
        for i in range(start, whole, step):
            if fetching:
                fetch(x, i + AHEAD * step)
            mask = lanes.between(x, i, least, lanes.ALL)
            lanes.pack_magnitudes(x, i, mask, keys, count)
            count = lanes.pack_range(i, mask, positions, count)
    else:
        listed = np.uint64(0)
        for i in range(start, whole, step):
            if fetching:
                fetch(x, i + AHEAD * step)
            work[listed] = i - start
            listed += np.uint64(lanes.between(x, i, least, lanes.ALL) != 0)
        for place in work[:listed]:
            i = start + np.int64(place)
            mask = lanes.between(x, i, least, lanes.ALL)
            lanes.pack_magnitudes(x, i, mask, keys, count)
            count = lanes.pack_range(i, mask, positions, count)
    return np.int64(_append(x, np.uint64(whole), stop - whole, least, keys, positions, np.uint64(count)))


@kernel(forceinline=True)
def _append(x, first, count, least, keys, positions, end):
    low, magnitude = keys.dtype.type(least), magnitude_mask(keys)
    for i in range(np.uint64(count)):  # without a branch
        key = keys.dtype.type(x[first + i] & magnitude)
        positions[end] = first + i
        keys[end] = key
        end += np.uint64(key >= low)
    return end


@kernel(inline=True)
def magnitude_mask(keys):
    """All bits of a key but the sign."""
    return keys.dtype.type((np.uint64(1) << np.uint64(8 * keys.itemsize - 1)) - np.uint64(1))


@kernel
def band(keys, low, high, out, vector):
    """out[:m] = the m keys from `low` to `high`, in their order; gives m, at most out.size - PADDING."""
    count, start = 0, 0
    if vector is not None:
        step = lanes.width(keys)
        while start + step <= keys.size:
            count = lanes.pack(keys, start, lanes.between(keys, start, low, high), out, count)
            start += step
    low, high = keys.dtype.type(low), keys.dtype.type(high)
    end = np.uint64(count)
    for key in keys[start:]:
        out[end] = key
        end += np.uint64((key >= low) & (key <= high))
    return np.int64(end)


@kernel
def keep(keys, positions, start, stop, least, index, count, vector):
    """Append the positions in [start, stop) whose key is at least `least` to `index`; gives the new count.

    `index` has room for these and no more.
    """
    if vector is not None:
        step = lanes.width(keys)
        while start + step <= stop and count + step <= index.size:
            count = lanes.pack(positions, start, lanes.between(keys, start, least, lanes.ALL), index, count)
            start += step
    low, end = keys.dtype.type(least), np.uint64(count)
    keys, positions = keys[start:stop], positions[start:stop]
    for i in range(keys.size):
        if end == index.size:
            break
        index[end] = positions[i]
        end += np.uint64(keys[i] >= low)
    return np.int64(end)
