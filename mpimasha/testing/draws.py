"""Many exchanges of a compressor on fixed vectors, and how exact their averages are."""

import numpy as np

from mpimasha.compressors.base import Compressor, message
from mpimasha.linear import Linear
from mpimasha.randomness import Stream, generator

SIGMAS = 6.0  # standard errors: a check makes a few hundred comparisons, and a sound compressor must not fail


def called(thing):
    """What a sentence calls a compressor, problem or method."""
    kind, name = type(thing).__name__, str(thing) if isinstance(thing, Compressor) and thing.name else thing.name
    return f"{kind} ({name})" if name else kind


def bound(compressor, n, workers, wire, seed=0):
    """`compressor` bound as a channel binds it."""
    return compressor.bind(n, workers, wire, Stream(seed, "test"))


def decoded(q, sent, worker, k):
    """The vector that the message `sent` stands for."""
    out = np.zeros(q.n)
    q.decode(sent, worker, k, 1.0, out)
    return out


def samples(q, x, worker, exchanges):
    """Q(x) of `worker` in each of `exchanges`, shape (len(exchanges), n)."""
    sent, out, formula = message(q.fields()), np.zeros((len(exchanges), q.n)), Linear.of(x)
    for row, k in zip(out, exchanges):
        q.encode(formula, sent, worker, k)
        q.decode(sent, worker, k, 1.0, row)
    return out


def transmitted(q, x, worker, k):
    """What reaches the server for `x` in exchange k."""
    return samples(q, x, worker, [k])[0]


def vectors(n):
    """{what it is: vector of shape (n,)}: shapes on which constants are attained or mistakes show."""
    rng = generator(0, "test", n)
    signs = rng.choice([-1.0, 1.0], n)
    unequal = signs * rng.uniform(0.5, 2.0, n)
    return {"of unequal entries": unequal, "of one magnitude": signs, "of zeros but one": np.eye(n)[n // 2],
            "with one large entry": np.where(np.arange(n) == n // 3, 10.0, signs),
            "with zeros": np.where(np.arange(n) % 2, 0.0, unequal), "of falling entries": 0.5**np.arange(n) * signs}


def slack(values):
    """`SIGMAS` standard errors of the mean of independent `values`."""
    return SIGMAS * values.std(axis=0, ddof=1) / np.sqrt(len(values))


def rounding(wire):
    """Relative size of what a few roundings to the wire's type may do, and the sums of a check in float64."""
    return 4 * float(np.finfo(wire).eps) + 1e-12
