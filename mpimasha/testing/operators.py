"""F_m writes what it says, F = 1/M sum F_m is monotone, and the constants and the solution hold."""

import copy

import numpy as np

from mpimasha.mpi.communicator import Communicator
from mpimasha.randomness import generator
from mpimasha.testing.draws import called
from mpimasha.testing.saddles import check_gradient, check_saddle


def check_operator(problem, mean=None, gradient_of=None, points=None, count=12, radius=1.0):
    """The operators, constants and solution of a problem fit together.

    Every F_m is a function of z alone that fills `out`; F = 1/M sum F_m is monotone with `mu`; L, L_m and the
    dissimilarities are exceeded by no pair of points; `solution` solves, `gap` is at least 0, and 0 there.  With
    `problem.saddle`, the Jacobian's off-diagonal blocks must be skew, which finds a slipped sign.  Pairs of points are
    drawn at random and along directions in which differences grow; no finite number of pairs proves a constant.

    Parameters
    ----------
    problem : Problem
    mean : callable, optional
        F as a function of z, from the whole data: 1/M sum F_m must be this.
    gradient_of : callable, optional
        ``g(x, y)`` with F = (grad_x g, -grad_y g), x = z[:problem.saddle]; without `problem.saddle`, y is empty.
    points : callable, optional
        ``points(rng)`` gives a point at which the constants are claimed; default: within `radius` of the start, after
        the problem's prox.
    count : int
        Number of points.
    radius : float

    Raises
    ------
    AssertionError
        One sentence with the worker, the block or the constant, and the numbers.
    """
    name, problem = called(problem), copy.deepcopy(problem)
    problem.load(Communicator())
    field, rng = Field(problem), generator(7, "test", problem.n)
    _check_start(name, problem)
    where = [np.asarray(points(rng) if points else _near(problem, radius, rng), problem.dtype) for _ in range(count)]
    _check_functions(name, problem, field, where)
    if mean is not None:
        _check_mean(name, problem, field, mean, where)
    if problem.saddle is not None:
        check_saddle(name, problem.saddle, field, where)
    if gradient_of is not None:
        check_gradient(name, problem.saddle, field, gradient_of, where)
    _check_constants(name, problem, field, list(_pairs(problem, field, where, rng)))
    _check_solution(name, problem, field)
    _check_gap(name, problem, where)


class Field:
    """The operators of all workers: ``field(z)`` is F(z), ``field.of(m, z)`` is F_m(z)."""

    def __init__(self, problem):
        self.n, self.dtype, self.workers = problem.n, problem.dtype, problem.workers
        self._operators = [problem.operator(m) for m in range(problem.workers)]

    def of(self, m, z, fill=np.nan):
        out = np.full(self.n, fill, self.dtype)
        self._operators[m](z, out)
        return out

    def each(self, z):
        return np.array([self.of(m, z) for m in range(self.workers)], float)

    def __call__(self, z):
        return self.each(z).mean(axis=0)


def _near(problem, radius, rng):
    """A point within `radius` of the start, inside the domain of h."""
    step = rng.standard_normal(problem.n)
    z = np.asarray(problem.start() + radius * rng.uniform() * step / np.linalg.norm(step), problem.dtype)
    problem.prox.apply(z, 1.0)
    return z


def _check_start(name, problem):
    z = problem.start()
    if z.shape != (problem.n,) or z.dtype != problem.dtype or not np.isfinite(z).all():
        raise AssertionError(f"{name}: start() has shape {z.shape} and type {z.dtype}: use a finite array of shape "
                             f"({problem.n},) and type {problem.dtype}")


def _check_functions(name, problem, field, where):
    for m in range(problem.workers):
        for z in where[:3]:
            before = z.copy()
            empty, full = field.of(m, z), field.of(m, z, fill=1e3)
            if z.tobytes() != before.tobytes():
                raise AssertionError(f"{name}: F_{m} changes z in place at coordinate "
                                     f"{np.flatnonzero(z != before)[0]}")
            if np.isnan(empty).any() and np.isfinite(full).all():
                i = np.flatnonzero(np.isnan(empty))[0]
                verb = "does not write" if full[i] == 1e3 else "adds to"
                raise AssertionError(f"{name}: F_{m} {verb} out[{i}]: it must fill out whatever it held before")
            if not np.isfinite(empty).all():
                raise AssertionError(f"{name}: F_{m} is not finite at a point of size {np.abs(z).max():.3g}")
            field.of((m + 1) % problem.workers, where[-1])
            if field.of(m, z).tobytes() != empty.tobytes() or full.tobytes() != empty.tobytes():
                raise AssertionError(f"{name}: F_{m} gives another value at the same z: it keeps state between calls")


def _check_mean(name, problem, field, mean, where):
    """1/M sum F_m = F; a difference that is c z block by block is a regulariser's."""
    blocks = {"z": slice(0, None)} if problem.saddle is None else \
        {"x": slice(0, problem.saddle), "y": slice(problem.saddle, None)}
    expected, found = np.array([mean(z) for z in where], float), np.array([field(z) for z in where])
    near = 100 * np.finfo(problem.dtype).eps * (1 + np.abs(expected).max() + np.abs(field.each(where[0])).max())
    for block, part in blocks.items():
        wrong, Z = (found - expected)[:, part], np.array(where, float)[:, part]
        if np.abs(wrong).max() <= near:
            continue
        c = float(np.sum(wrong * Z) / np.sum(Z * Z))
        hint = f", namely by {c:.4g} {block}: every F_m must hold the regulariser in full" \
            if np.abs(wrong - c * Z).max() <= near + 1e-6 * np.abs(wrong).max() else \
            f": is each F_m M/N times the sum over its block of samples, regularisers in full (M = {problem.workers})?"
        raise AssertionError(f"{name}: 1/M sum F_m is not F, they differ by up to {np.abs(wrong).max():.4g} in the "
                             f"{block} block{hint}")


# -- constants -------------------------------------------------------------------------------------


def _pairs(problem, field, where, rng):
    """(u, v): points of `where`, and points close together along directions in which F changes most and least."""
    yield from zip(where, where[1:])
    n, split = problem.n, problem.saddle
    for z in where[:4]:
        size, Fz = 1e-3 * (1 + np.linalg.norm(z)), field(z)
        for least in (False, True):  # power method on the Jacobian J, then on |J| - J: the most, and the least
            d = rng.standard_normal(n)
            for _ in range(15):
                u = _step(problem, z, size * d / np.linalg.norm(d))
                yield u, z
                moved, change = np.asarray(u, float) - z, field(u) - Fz
                d = np.linalg.norm(change) / (np.linalg.norm(moved) or 1.0) * moved - change if least else change
                d = d if d.any() else rng.standard_normal(n)
        starts = [rng.standard_normal(n)] + [np.eye(n)[i] for i in rng.choice(n, min(n, 8), replace=False)]
        starts += [] if split is None else [np.where(np.arange(n) < split, *pair) for pair in
                                            ((starts[0], 0.0), (0.0, starts[0]))]
        for d in starts:
            yield _step(problem, z, size * d / np.linalg.norm(d)), z


def _step(problem, z, d):
    u = np.asarray(z + d, problem.dtype)
    problem.prox.apply(u, 1.0)
    return u


def _check_constants(name, problem, field, pairs):
    workers = range(problem.workers)
    L_m, apart = [problem.lipschitz(m) for m in workers], [problem.dissimilarity(m) for m in workers]
    eps, slowest = np.finfo(problem.dtype).eps, (np.inf, 0.0, None, None)
    exceeded = None
    for u, v in pairs:
        d = np.asarray(u, float) - v
        length, Fu, Fv = np.linalg.norm(d), field.each(u), field.each(v)
        if not length:
            continue
        change_m = Fu - Fv
        change = change_m.mean(axis=0)
        noise = 20 * eps * (np.abs(Fu).max() + np.abs(Fv).max()) * np.sqrt(problem.n) / length + 1e-9
        slowest = min(slowest, (change @ d / length**2, noise, change, d), key=lambda found: found[0] + found[1])
        claims = [("L", problem.L, change, "F")]
        claims += [(f"lipschitz({m})", L_m[m], change_m[m], f"F_{m}") for m in workers]
        claims += [(f"dissimilarity({m})", apart[m], change_m[m] - change, f"(F_{m} - F)") for m in workers]
        for key, claimed, difference, G in claims:
            ratio = np.linalg.norm(difference) / length
            if exceeded is None and claimed is not None and not ratio <= claimed * (1 + 1e-6) + noise:
                exceeded = f"{name}: {key} = {claimed:.6g} is exceeded: |{G}(u) - {G}(v)| = {ratio:.6g} |u - v| at " \
                           f"points {length:.2g} apart"
    _check_monotone(name, problem, *slowest)
    if exceeded:
        raise AssertionError(exceeded)


def _check_monotone(name, problem, ratio, noise, change, d):
    """`ratio` is the smallest <F(u) - F(v), u - v>/|u - v|^2 found, between `change` and `d`."""
    if ratio >= problem.mu * (1 - 1e-6) - noise:
        return
    held = f"<F(u) - F(v), u - v> = {ratio:.4g} |u - v|^2"
    if problem.saddle is not None:
        s = problem.saddle
        held += f" ({change[:s] @ d[:s] / (d @ d):.4g} of it from the x block, {change[s:] @ d[s:] / (d @ d):.4g} " \
                f"from the y block)"
    if ratio < -noise:
        raise AssertionError(f"{name}: F is not monotone: {held}; has a block the wrong sign?")
    raise AssertionError(f"{name}: mu = {problem.mu:.6g} is too large: {held}")


# -- solution --------------------------------------------------------------------------------------


def _check_solution(name, problem, field):
    """z* = prox(z* - F(z*)): F(z*) = 0 where h = 0."""
    z = problem.solution()
    if z is None:
        return
    if z.shape != (problem.n,):
        raise AssertionError(f"{name}: solution() has shape {z.shape}, not ({problem.n},)")
    z = np.asarray(z, problem.dtype)
    gamma = 1 / (problem.L or 1.0)
    residual, before = _residual(problem, field, z, gamma), _residual(problem, field, problem.start(), gamma)
    near = 1e-6 * before + 1e3 * np.finfo(problem.dtype).eps * np.sqrt(problem.n) * (
        np.abs(field.each(z)).max() + np.linalg.norm(z) / gamma)
    if not residual <= near:
        what = "|F(z*)|" if problem.prox.is_zero else "|z* - prox(z* - gamma F(z*))|/gamma"
        raise AssertionError(f"{name}: solution() does not solve: {what} = {residual:.4g}, at the start it is "
                             f"{before:.4g}")


def _residual(problem, field, z, gamma):
    moved = np.asarray(z - gamma * field(z), problem.dtype)
    problem.prox.apply(moved, gamma)
    return float(np.linalg.norm(z - moved) / gamma)


def _check_gap(name, problem, where):
    gaps = [gap for gap in (problem.gap(z) for z in [problem.start(), *where]) if gap is not None]
    if not gaps:
        return
    near = 1e-6 * max(map(abs, gaps))
    if min(gaps) < -near:
        raise AssertionError(f"{name}: gap = {min(gaps):.4g} at a feasible point: max_y g - min_x g is never below 0")
    z = problem.solution()
    if z is not None and problem.gap(z) is not None and abs(problem.gap(z)) > near:
        raise AssertionError(f"{name}: gap = {problem.gap(z):.4g} at the solution, where it is 0")
