"""E|C(x) - x|^2 <= (1 - 1/delta)|x|^2, on vectors that are made worse step by step."""

import math

import numpy as np

from mpimasha.randomness import generator
from mpimasha.solver.run import WIRES
from mpimasha.testing.draws import bound, called, rounding, samples, slack, vectors

_STEPS = (0.0, 0.5, 0.8, 1.25, 2.0, -1.0)  # what the search multiplies a coordinate by


def check_contractive(compressor, n=23, workers=3, draws=1000, wires=WIRES, sweeps=2):
    """A contractive compressor is: E|C(x) - x|^2 <= (1 - 1/delta)|x|^2 with delta = `contraction`, None for unknown.

    An unbiased one that is not contractive itself enters error feedback as C = Q/q with delta = q, and is checked so.
    The vectors are random, sparse, of one magnitude, and the worst of these made worse coordinate by coordinate.

    Parameters
    ----------
    compressor : Compressor
        Not bound.
    n, workers : int
        Dimension and number of workers.
    draws : int
        Exchanges averaged over; 15 delta of them where that is more, so that what is rarely sent is seen.
    wires : sequence of dtype
        Types of a value on the wire.
    sweeps : int
        How often the search goes through the coordinates.

    Raises
    ------
    AssertionError
        One sentence with the vector, the error found and the delta it needs.
    """
    name = called(compressor)
    if not (compressor.contractive or compressor.unbiased):
        raise AssertionError(f"{name} claims to be neither contractive nor unbiased: set contractive = True")
    for wire in wires:
        q = bound(compressor, n, workers, wire)
        scale, delta, said = (1.0, q.contraction, "contraction") if q.contractive else (1 / q.q, q.q, "q")
        delta = np.inf if delta is None else delta
        if not delta >= 1:
            raise AssertionError(f"{name}: {said} = {delta} cannot be delta in 1 - 1/delta, which is at least 1: is it "
                                 f"k/n for n/k?")
        what, given = "C(x)" if q.contractive else "Q(x)/q", vectors(n)
        given |= {f"drawn at random, number {i}": v for i, v in enumerate(generator(1, "test", n)
                                                                         .standard_normal((4, n)))}
        many = max(draws, math.ceil(15 * delta)) if delta < np.inf else draws
        few = 1 if _is_fixed(q, given["of unequal entries"]) else 40
        worst = max(given, key=lambda key: _error(q, given[key], range(few), scale).mean())
        given["found by a search over the coordinates"] = _worse(q, given[worst], range(few), scale, sweeps)
        for where, x in given.items():
            for worker in {0, workers - 1}:
                exchanges = range(few, few + (many if few > 1 else 2))  # not those that the search has seen
                error = _error(q, x, exchanges, scale, worker)
                least = error.mean() - slack(error)
                if not least <= 1 - 1 / delta + rounding(wire):
                    needed = f": delta must be at least {1 / (1 - least):.4g}" if least < 1 else ""
                    raise AssertionError(f"{name}: E|{what} - x|^2 = {error.mean():.4g} |x|^2 on the vector {where} "
                                         f"(n = {n}, worker {worker}), but {said} = {delta:.4g} promises at most 1 - "
                                         f"1/delta = {1 - 1 / delta:.4g}{needed}")


def _error(q, x, exchanges, scale, worker=0):
    """|scale * Q(x) - x|^2 / |x|^2 in each exchange."""
    return np.sum((scale * samples(q, x, worker, exchanges) - x)**2, axis=1) / (x @ x)


def _is_fixed(q, x):
    Q = samples(q, x, 0, range(8))
    return bool((Q == Q[0]).all())


def _worse(q, x, exchanges, scale, sweeps):
    """`x` with those coordinates changed, one after the other, that make the error larger."""
    x, worst = x.copy(), _error(q, x, exchanges, scale).mean()
    for i in list(range(q.n)) * sweeps:
        for factor in _STEPS:
            trial = x.copy()
            trial[i] *= factor
            if trial.any() and (error := _error(q, trial, exchanges, scale).mean()) > worst:
                x, worst = trial, error
    return x
