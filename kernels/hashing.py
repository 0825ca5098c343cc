"""Counter-based random numbers: the splitmix64 finaliser (Steele, Lea and Flood, 2014) of a key and a counter.

A number depends on its key and counter alone, so every rank can make every worker's numbers, in any order.
"""

import numpy as np

from ._jit import kernel

# Every operand is cast to uint64: Numba makes uint64 + int64 a float64.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, the step of splitmix64
MIX1 = np.uint64(0xBF58476D1CE4E5B9)
MIX2 = np.uint64(0x94D049BB133111EB)
S30, S27, S31, S32, S11, ONE = (np.uint64(s) for s in (30, 27, 31, 32, 11, 1))
LOW = np.uint64(0xFFFFFFFF)
S16, S48, DIGIT = np.uint64(16), np.uint64(48), np.uint64(0xFFFF)
PER_DEVIATION = (3 / (2**32 - 1))**0.5  # one over the deviation of a sum of four 16-bit digits
S20, UNIT_INTERVAL = np.uint64(20), np.uint64(0x3FF << 52 | 1 << 19)
WORD = 0xFFFFFFFFFFFFFFFF
STEP32, SHORT_MIX1, SHORT_MIX2, SHORT16, SHORT15 = (np.uint32(s) for s in (0x9E3779B9, 0x7FEB352D, 0x846CA68B, 16, 15))


@kernel
def mix64(x):
    """A bijection of the 64-bit words, every output bit depending on every input bit."""
    x = np.uint64(x)
    x = (x ^ (x >> S30)) * MIX1
    x = (x ^ (x >> S27)) * MIX2
    return x ^ (x >> S31)


def stream_key(seed, purpose, worker, round_):
    """The key of one stream.

    Parameters
    ----------
    seed, purpose, worker, round_ : int
        Taken modulo 2^64; `worker` -1 stands for what all workers share.

    Returns
    -------
    numpy.uint64
        Of this very type, so that a kernel taking a key is compiled once: Numba types a plain int by its size.
    """
    words = (np.uint64(int(word) & WORD) for word in (seed, purpose, worker, round_))
    return np.uint64(_absorb(*words))


@kernel
def _absorb(seed, purpose, worker, round_):
    # key <- mix((key ^ word) + golden), word by word: neither order nor a sum of arguments can coincide
    key = mix64(seed + GOLDEN)
    key = mix64((key ^ purpose) + GOLDEN)
    key = mix64((key ^ worker) + GOLDEN)
    return mix64((key ^ round_) + GOLDEN)


@kernel
def substream(key, worker, round_):
    """The key of one worker's draw in one round; `worker` and `round_` are not negative."""
    key = mix64((key ^ np.uint64(worker)) + GOLDEN)
    return mix64((key ^ np.uint64(round_)) + GOLDEN)


@kernel
def hash64(key, counter):
    """The `counter`-th 64-bit word of the stream `key`."""
    return mix64(np.uint64(key) + (np.uint64(counter) + ONE) * GOLDEN)


@kernel
def uniform(key, counter):
    """The `counter`-th uniform float64 in [0, 1) of the stream `key`, a multiple of 2^-53."""
    return np.float64(np.int64(hash64(key, counter) >> S11)) * 2.0**-53  # int64: one instruction converts it


@kernel
def below(word, n):
    """A random word as an integer in [0, n): floor(word n / 2^64), of bias at most n / 2^64."""
    word = np.uint64(word)
    n = np.uint64(n)
    # The high half of the 128-bit product, from 32-bit halves.
    middle = (word >> S32) * (n & LOW) + ((word & LOW) * (n & LOW) >> S32)
    carry = ((middle & LOW) + (word & LOW) * (n >> S32)) >> S32
    return (word >> S32) * (n >> S32) + (middle >> S32) + carry


@kernel
def normal(key, counter):
    """The `counter`-th number of the stream `key` that is nearly N(0, 1).

    The sum of four 16-bit digits of the word, centred and scaled: mean 0, variance 1, kurtosis 2.7, magnitude at
    most 3.47.  It takes no logarithm, so every machine has the same bits.
    """
    word = hash64(key, counter)
    total = (word & DIGIT) + ((word >> S16) & DIGIT) + ((word >> S32) & DIGIT) + (word >> S48)
    return (np.float64(np.int64(total)) - 131070.0) * PER_DEVIATION


@kernel
def normals(out, key):
    """out[i] = normal(key, i)."""
    for i in range(out.size):
        out[i] = normal(key, i)


@kernel(forceinline=True)
def dither(draws, start, count, key):
    """draws[:count] = uniform 32-bit words for the coordinates from `start` on, two from each 64-bit word.

    Parameters
    ----------
    draws : (at least count, rounded up to even,) uint32
        Written.
    start, count : int
        Ranges that do not overlap share no word of the stream.
    key : uint64
    """
    half = (count + 1) // 2
    counter = np.uint64(key) + (np.uint64(start) + ONE) * GOLDEN
    for j in range(half):
        word = mix64(counter)  # hash64(key, start + j)
        draws[j] = np.uint32(word & LOW)
        draws[half + j] = np.uint32(word >> S32)
        counter += GOLDEN


@kernel
def mix32(place, high):
    """A random 32-bit word from the `place`, a multiple of `STEP32` from the start of a stream of short words.

    The finaliser of C. Wellons' lowbias32 (2018) with the other half of a 64-bit key in its middle: in vectors of
    32 bits, twice as fast as `mix64`.
    """
    # Cast at every step: Numba makes uint32 * uint32 a uint64.
    x = np.uint32(place ^ np.uint32(place >> SHORT16))
    x = np.uint32(x * SHORT_MIX1)
    x = np.uint32(x ^ np.uint32(x >> SHORT15) ^ high)
    x = np.uint32(x * SHORT_MIX2)
    return np.uint32(x ^ np.uint32(x >> SHORT16))


@kernel
def short_key(key, block, place):
    """(word `place` of the short words of a block, `high`): arguments of `mix32`; every block has a 64-bit key."""
    word = hash64(key, block)
    return np.uint32(word + np.uint64(place) * np.uint64(STEP32) & LOW), np.uint32(word >> S32)


@kernel
def fraction(draw):
    """(draw + 1/2) / 2^32: the middle of the part of [0, 1) that a 32-bit word stands for."""
    return np.uint64(UNIT_INTERVAL | np.uint64(draw) << S20).view(np.float64) - 1.0  # from the bits: it vectorises
