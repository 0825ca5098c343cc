"""Counter-based random streams, keyed by what is drawn and never by the rank that draws.

Worker m's draw in round k depends on (seed, purpose, m, k) only, so a run is the same
for any number of ranks, and any rank can repeat another worker's draw.
"""

import copy

import numpy as np

from mpimasha.kernels.hashing import stream_key, substream, uniform

COMMON = -1  # the "worker" of draws that all workers share

_PURPOSES = {"uplink": 1, "downlink": 2, "refresh": 3, "coin": 4, "batch": 5, "participation": 6, "split": 7,
             "initial": 8, "test": 9, "problem": 10, "attack": 11}


class Stream:
    """The random keys of one purpose: ``stream(worker, k)`` is a uint64."""

    def __init__(self, seed, purpose):
        self._key = stream_key(seed, _PURPOSES[purpose], 0, 0)

    def branch(self, number):
        """A stream independent of this one, for the second part of a composed draw."""
        branch = copy.copy(self)
        branch._key = stream_key(int(self._key), number + 1, 0, 0)
        return branch

    def __call__(self, worker, k):
        return np.uint64(substream(self._key, worker + 2, k))  # Numba hands back a plain int; COMMON - 1 = -2

    def uniform(self, worker, k):
        """A number in [0, 1) with 53 bits."""
        return uniform(self(worker, k), np.uint64(0))


def generator(seed, purpose, *key):
    """A NumPy generator (Philox) for data that is drawn once, keyed like a stream."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, _PURPOSES[purpose], *key])))
