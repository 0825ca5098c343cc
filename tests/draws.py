"""What a compressor sends, drawn often enough to judge its moments; all streams are fixed."""

import math

import numba
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpimasha.compressors.base import message
from mpimasha.linear import Linear
from mpimasha.randomness import Stream

ROUNDS = 400 if numba.config.DISABLE_JIT else 2000
SIGMAS = 5.5


def vectors(largest=1e30, smallest=1e-30, most=20):
    elements = st.one_of(st.just(0.0), st.floats(smallest, largest), st.floats(-largest, -smallest))
    return hnp.arrays(np.float64, st.integers(1, most), elements=elements)


def bound(compressor, n, workers=3, wire=np.float64, seed=0):
    return compressor.bind(n, workers, wire, Stream(seed, "test"))


def transmitted(q, x, worker=0, k=0, scale=1.0):
    """What the message of `x` stands for, from the bytes of that message alone."""
    sent, out = message(q.fields()), np.zeros(q.n)
    for array in vars(sent).values():  # what an earlier round left behind
        array.view(np.uint8)[:] = 0xA5
    q.encode(Linear.of(np.asarray(x, float)), sent, worker, k)
    arrived = message(q.fields())
    for name, array in vars(sent).items():
        getattr(arrived, name)[:] = np.frombuffer(array.tobytes(), array.dtype)
    q.decode(arrived, worker, k, scale, out)
    return out


def draws(q, x, worker=0, rounds=ROUNDS):
    return np.array([transmitted(q, x, worker, k) for k in range(rounds)])


def buffer_bits(q):
    return sum(8 * dtype.itemsize * count for dtype, count in q.fields().values())


def check_mean(samples, expected, rounding=0.0):
    """The mean of independent samples is `expected` within 5.5 standard errors and relative `rounding`."""
    error = samples.std(axis=0, ddof=1) / math.sqrt(len(samples))
    assert (np.abs(samples.mean(axis=0) - expected) <= SIGMAS * error + rounding * np.abs(expected) + 1e-300).all()


def check_below(samples, bound_):
    """The mean of the samples does not exceed `bound_`, within 5.5 standard errors."""
    assert samples.mean() - SIGMAS * samples.std(ddof=1) / math.sqrt(len(samples)) <= bound_
