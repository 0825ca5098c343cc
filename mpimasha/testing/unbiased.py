"""E Q(x) = x, E|Q(x)|^2 <= q |x|^2, and draws that depend on each other as declared."""

import math

import numpy as np

from mpimasha.compressors.base import ANY, COMMON_MASK, INDEPENDENT, PARTITION
from mpimasha.solver.run import WIRES
from mpimasha.testing.draws import SIGMAS, bound, called, rounding, samples, slack, vectors

_UNSEEN = 15  # events: a Poisson number of this mean is 0 once in 3e6
_JOINT = {  # dependence: (what E|mean Q_m(v_m) - mean v_m|^2 may be, the formula in words); V has shape (M, n)
    INDEPENDENT: (lambda q, V: (q - 1) / len(V) * _squares(V).mean(), "(q - 1)/M mean|v_m|^2"),
    PARTITION: (lambda q, V: q / len(V) * _squares(V).mean() - _squares(V.mean(axis=0)),
                "q/M mean|v_m|^2 - |mean v_m|^2"),
    COMMON_MASK: (lambda q, V: (q - 1) * _squares(V.mean(axis=0)), "(q - 1) |mean v_m|^2"),
    ANY: (lambda q, V: np.inf, "anything"),
}


def check_unbiased(compressor, n=23, workers=3, draws=2000, wires=WIRES, attained=False):
    """An unbiased compressor is: E Q(x) = x, E|Q(x)|^2 <= q |x|^2, and its draws depend as declared.

    Averages over many exchanges are compared with their limits by standard errors, six of them, on vectors of unequal
    entries, of one magnitude, sparse, with one large entry and with falling ones.  The streams are fixed.

    Parameters
    ----------
    compressor : Compressor
        Not bound.
    n, workers : int
        Dimension and number of workers M; the default 3 does not divide the default 23.
    draws : int
        Exchanges averaged over; 50 q of them where that is more, so that every coordinate is met often enough.
    wires : sequence of dtype
        Types of a value on the wire.
    attained : bool
        Also demand that q is the best constant: that one of the vectors attains it.

    Raises
    ------
    AssertionError
        One sentence: what is biased and by how much, a scale that is missing, a coordinate that is never sent,
        coordinates that repeat, a q that is too small, draws that are not keyed by worker and exchange alone.
    """
    name = called(compressor)
    if not compressor.unbiased:
        raise AssertionError(f"{name} does not claim to be unbiased: set unbiased = True, or use check_contractive")
    for wire in wires:
        q = bound(compressor, n, workers, wire)
        _check_claims(name, q)
        _check_repeatable(name, compressor, q)
        ratios = [_check_moments(name, q, V, what, max(draws, math.ceil(50 * q.q))) for what, V in _joint_vectors(q)]
        if attained and max(ratios) < q.q * (1 - rounding(wire)):
            raise AssertionError(f"{name}: q = {q.q:.4g} is not attained: the largest E|Q(x)|^2/|x|^2 found is "
                                 f"{max(ratios):.4g}, less by the factor {q.q / max(ratios):.3g}")


def _check_claims(name, q):
    if q.q is None or not 1 <= q.q < np.inf:
        raise AssertionError(f"{name}: q = {q.q} cannot be the second moment of an unbiased compressor, which is at "
                             f"least 1: is it k/n for n/k?")
    if q.dependence not in _JOINT:
        raise AssertionError(f"{name}: dependence = {q.dependence!r} is unknown: use {', '.join(map(repr, _JOINT))}")


def _joint_vectors(q):
    """(what they are, V of shape (M, n)): a vector for each worker, first the same one for all."""
    given = vectors(q.n)
    for what in ("of unequal entries", "of one magnitude"):
        yield [what] * q.workers, np.tile(given[what], (q.workers, 1))
    others = [what for what in given if what not in ("of unequal entries", "of one magnitude", "of falling entries")]
    for first in range(0, len(others), q.workers):
        whats = [others[(first + m) % len(others)] for m in range(q.workers)]
        yield whats, np.array([given[what] for what in whats])
    signs = (-1.0)**np.arange(q.workers)  # workers that disagree
    yield ["of falling entries"] * q.workers, signs[:, None] * given["of falling entries"]


# -- streams ---------------------------------------------------------------------------------------


def _check_repeatable(name, compressor, q):
    """Draws are a function of (worker, exchange), whatever was asked before."""
    x = vectors(q.n)["of unequal entries"]
    keys = [(m, k) for m in range(q.workers) for k in range(4)]
    table = {(m, k): samples(q, x, m, [k]).tobytes() for m, k in keys}
    other = bound(compressor, q.n, q.workers, q.wire)
    for m, k in reversed(keys):
        if samples(other, x, m, [k]).tobytes() != table[m, k]:
            raise AssertionError(f"{name}: what worker {m} draws in exchange {k} depends on the calls before it: state "
                                 f"is kept between calls; draw from self.stream(worker, k) alone")
    seeded = bound(compressor, q.n, q.workers, q.wire, seed=1)
    if len(set(table.values())) > 1 and all(samples(seeded, x, m, [k]).tobytes() == table[m, k] for m, k in keys):
        raise AssertionError(f"{name}: another seed gives the same draws: draw from self.stream(worker, k), which "
                             f"depends on the run's seed")


def _check_dependence(name, q, V, Q):
    """`Q` of shape (M, draws, n) depend on each other as declared, and not over the exchanges."""
    errors, same = Q - V[:, None], (V == V[0]).all()
    if np.abs(errors).max() <= rounding(q.wire) * np.abs(V).max():  # nothing is drawn
        return
    if same and q.dependence == INDEPENDENT and q.workers > 1 and (Q == Q[0]).all():
        raise AssertionError(f"{name}: all {q.workers} workers draw alike in all {Q.shape[1]} exchanges, but dependence"
                             f" = 'independent' promises an error of the mean that falls like 1/M: key the draw by the "
                             f"worker, or declare 'common'")
    promised, formula = _JOINT[q.dependence]
    joint, limit = _squares(errors.mean(axis=0)), promised(q.q, V)
    if joint.mean() - slack(joint) > limit + rounding(q.wire) * _squares(V).mean():
        raise AssertionError(f"{name}: E|mean Q_m(v_m) - mean v_m|^2 = {joint.mean():.4g}, but dependence = "
                             f"{q.dependence!r} and q = {q.q:.4g} promise at most {formula} = {limit:.4g}")
    pairs = [(f"exchanges k and k + {lag} of worker 0", errors[0, lag:], errors[0, :-lag]) for lag in (1, 2)]
    if q.dependence == INDEPENDENT:
        pairs += [(f"workers {m} and {m + 1}", errors[m], errors[m + 1]) for m in range(q.workers - 1)]
    for what, one, other in pairs:
        covariance, error = np.einsum("ki,ki->k", one, other).mean(), _error_of_covariance(one, other)
        if abs(covariance) > SIGMAS * error + rounding(q.wire) * _squares(V).mean():
            raise AssertionError(f"{name}: the errors of {what} are correlated, E<e, e'> = {covariance:.4g} with a "
                                 f"standard error of {error:.2g}: key the draw by worker and exchange")


def _error_of_covariance(one, other):
    """The standard error of the mean of <e, e'>, sqrt(tr(S S')/draws), if e and e' are independent."""
    S, S_ = (np.einsum("ki,kj->ij", e, e) / len(e) for e in (one, other))  # einsum: BLAS would start threads
    return math.sqrt(np.sum(S * S_) / len(one))


# -- moments ---------------------------------------------------------------------------------------


def _check_moments(name, q, V, what, draws):
    """Both moments of every worker; E|Q(x)|^2/|x|^2 as large as chance allows, 5 % at most."""
    Q, ratios = np.array([samples(q, x, m, range(draws)) for m, x in enumerate(V)]), []
    for m, x in enumerate(V):
        where = f"on the vector {what[m]} (n = {q.n}, worker {m} of {q.workers}, {draws} exchanges)"
        if not np.isfinite(Q[m]).all():
            raise AssertionError(f"{name}: Q(x) is not finite {where}")
        fault = _bias(x, Q[m], q.wire)
        if fault:
            raise AssertionError(f"{name}: {_blocks(V, Q, m) or _reason(x, Q[m]) or fault} {where}")
        squares = _squares(Q[m]) / _squares(x)
        if squares.mean() - slack(squares) > q.q * (1 + 4 * rounding(q.wire)):
            fault = f"E|Q(x)|^2 = {squares.mean():.4g} |x|^2 exceeds q = {q.q:.4g} by the factor " \
                    f"{squares.mean() / q.q:.3g}{_excess(x, Q[m])}"
            raise AssertionError(f"{name}: {_blocks(V, Q, m) or fault} {where}")
        ratios.append(squares.mean() + min(slack(squares), 0.05 * squares.mean()))
    _check_dependence(name, q, V, Q)
    return max(ratios)


def _bias(x, Q, wire):
    """A sentence if the mean of `Q` (draws, n) is not `x`: along x, or in some coordinate."""
    jumps = np.ptp(Q, axis=0)
    if _far((Q @ x)[:, None], np.array([x @ x]), wire, (jumps * np.abs(x)).max())[0] > 1:
        return f"the mean of Q(x) is {_along(x, Q):.4g} of x, a factor of {1 / _along(x, Q):.4g} is missing" \
            if _along(x, Q) else "the mean of Q(x) is orthogonal to x"
    far = _far(Q, x, wire, jumps.max())
    i = int(far.argmax())
    return f"the mean of Q(x)_{i} is {Q[:, i].mean():.6g} and not x_{i} = {x[i]:.6g}, {far[i]:.3g} times what chance " \
           f"({SIGMAS:g} standard errors) and rounding explain" if far[i] > 1 else None


def _far(Q, x, wire, jump):
    """|mean of Q - x| over what chance and rounding explain, for each column.

    Rare values make the variance of a sample too small.  A value that is J or 0, but seldom J, has the variance
    J |x| - x^2, and `_UNSEEN` events by `jump` each may have been expected where none occurred.
    """
    largest, seldom = np.abs(Q).max(axis=0), np.count_nonzero(Q, axis=0) < 100
    largest[largest == 0] = largest.max()
    variance = np.maximum(Q.var(axis=0, ddof=1), np.where(seldom, largest * np.abs(x) - x**2, 0.0))
    explained = SIGMAS * np.sqrt(variance / len(Q)) + _UNSEEN * jump / len(Q) + rounding(wire) * np.abs(x)
    return np.abs(Q.mean(axis=0) - x) / np.maximum(explained, np.finfo(float).tiny)


def _factors(x, Q):
    """(the multiples Q_i/x_i that occur, sorted; the number of coordinates sent, for each draw)."""
    seen = (Q != 0) & (x != 0)
    return np.unique((Q[seen] / np.broadcast_to(x, Q.shape)[seen]).round(5)), np.count_nonzero(seen, axis=1)


def _along(x, Q):
    return float((Q @ x).mean() / (x @ x))


def _blocks(V, Q, m):
    """The reason if every worker has a share of its own, always of the same size."""
    counts = [np.unique(_factors(x, rows)[1]) for x, rows in zip(V, Q)]
    if (V == V[0]).all() and all(len(c) == 1 for c in counts) and len({int(c[0]) for c in counts}) > 1:
        shares, n = [int(c[0]) for c in counts], V.shape[1]
        return f"the mean of Q(x) is {_along(V[m], Q[m]):.4g} of x, because the blocks are fixed per worker and " \
               f"unequal: the workers always send {', '.join(map(str, shares))} of n = {n} coordinates, M = {len(V)} " \
               f"does not divide n; shift the blocks at random"
    return None


def _reason(x, Q):
    """The reason of a bias, if its pattern is a known one."""
    n, (factors, counts) = len(x), _factors(x, Q)
    never, mean = np.flatnonzero((x != 0) & ~Q.any(axis=0)), counts.mean()
    if len(factors) == 1 and np.count_nonzero(x) == n:
        factor, replaced = factors[0], n * (1 - (1 - 1 / n)**(n / factors[0]))
        if counts.std() > 0 and factor > 1 and abs(mean - replaced) <= slack(counts):
            return f"coordinates repeat: {n / factor:.3g} draws hit {mean:.4g} different ones on average, the mean " \
                   f"of Q(x) is {_along(x, Q):.4g} of x; sampling is with replacement, scaled by n/k = {factor:.4g}"
        if not len(never):
            return _misscaled(x, Q, factor, mean)
    if len(never) and len(Q) >= 50:
        return f"coordinate {never[0]} is never sent"
    if (Q == Q[0]).all():
        return "Q(x) is the same in every exchange and not x: it is biased, or its draw is not keyed by the exchange"
    return None


def _misscaled(x, Q, factor, mean):
    """The reason where `mean` of n coordinates are sent, each times `factor`."""
    n, kept = len(x), f"{mean:.4g} of n = {len(x)} coordinates are sent"
    if abs(factor - 1) < 1e-4:
        return f"the mean of Q(x) is {_along(x, Q):.4g} = k/n of x, {kept} as they are: is the factor n/k missing?"
    dropped = ", one zeroed where k should be kept" if mean == n - 1 and factor > 1.5 * n / mean else ""
    return f"the mean of Q(x) is {_along(x, Q):.4g} of x: {kept}{dropped}, times {factor:.4g} and not n/k = " \
           f"{n / mean:.4g}"


def _excess(x, Q):
    """What makes the second moment too large, if its pattern is a known one."""
    factors, counts = _factors(x, Q)
    multiples = factors / factors[0]
    if 1 < len(factors) < 20 and np.allclose(multiples, multiples.round(), atol=1e-3):
        return f" because coordinates repeat, some {multiples[1]:.0f} times: is sampling with replacement?"
    if len(factors) == 1 and counts.std() == 0 and np.count_nonzero(x) == len(x):
        return f" ({counts[0]} of {len(x)} coordinates are sent: q is n/k = {len(x) / counts[0]:.4g})"
    return ""


def _squares(v):
    return np.einsum("...i,...i->...", v, v)
