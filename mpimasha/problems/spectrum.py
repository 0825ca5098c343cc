"""Constants of operators, estimated by Lanczos from differences of their values.

Nothing here communicates: an operator is a function ``F(z, out)``, of one worker or the mean over all.  If it is a
collective of several ranks, give each the same point and key, and ``agree``: a function through which every decision
to stop passes, such as a broadcast of rank 0's.
"""

import math

import numpy as np

from mpimasha.errors import UserError
from mpimasha.kernels.hashing import normals
from mpimasha.kernels.updates import combine1, combine2, dot, squared_norm, update2

SAFETY = 1.05  # estimates lie inside the spectrum
_FEWEST = 30  # steps before a small residual is believed: a start nearly orthogonal to the wanted vector has one too


# -- constants -------------------------------------------------------------------------


def lipschitz(F, z, saddle, key, **options):
    """L = |J|_2 at `z`, with a margin of 5 %; for an affine F it holds everywhere, else near z.

    S J is symmetric (`Difference`), so |J|_2 is its largest eigenvalue in magnitude: one
    operator call a step, where J'J would take two.

    Parameters
    ----------
    F : callable
        ``F(z, out)``.
    z : array of shape (n,)
    saddle : int or None
        Where y begins in z = (x, y); n for a gradient.
    key : uint64
        Of the start vector.
    **options
        ``tol``, ``steps``, ``agree`` of `largest`.

    Returns
    -------
    float or None
        None without saddle structure: J' cannot be had from differences then.
    """
    if saddle is None:
        return None
    return SAFETY * largest(Difference(F, z, saddle).symmetrised, len(z), key, **options)


def monotonicity(F, z, saddle, key, **options):
    """The smallest eigenvalue of (J + J')/2 at `z`, from above: for reports; parameters as in `lipschitz`."""
    if saddle is None:
        return None
    return smallest(Difference(F, z, saddle).symmetric_part, len(z), key, **options)


def rms(apply, n, key, **options):
    """sqrt(|1/M sum_m J_m'J_m|_2), with a margin of 5 %.

    Parameters
    ----------
    apply : callable
        v -> 1/M sum_m J_m'J_m v, a mean of `Difference.normal` over the workers; contract as in `largest`.
    """
    return SAFETY * math.sqrt(largest(apply, n, key, **options))


# -- differences -----------------------------------------------------------------------


class Difference:
    """The Jacobian J of F at z, applied as (F(z + h v) - F(z)) / h.

    For a saddle-point operator F = (grad_x g, -grad_y g) with S = diag(I, -I), S J is the
    Hessian of g, hence symmetric, and J' = S J S.

    |h v| = eps^(3/8) (1 + |z|): for an affine F only rounding is left, of about
    1e-10 |F(z)| / (1 + |z|); for a smooth one the curvature adds about 1e-6.

    Every method returns an array of this object, valid until the next call; the caller may
    overwrite it and may pass it on to the next method as `v`.  Three vectors of n are kept.

    Parameters
    ----------
    F : callable
    z : array of shape (n,)
        Not copied.
    saddle : int
        Where y begins.

    Attributes
    ----------
    calls : int
        Evaluations of F so far.
    """

    def __init__(self, F, z, saddle):
        self._F, self._z, self.saddle, self.calls = F, z, saddle, 0
        self._at_z, self._trial, self._value, self._half = np.empty_like(z), np.empty_like(z), np.empty_like(z), None
        self._reach = np.finfo(z.dtype).eps**0.375 * (1 + math.sqrt(squared_norm(z)))
        self._evaluate(z, self._at_z)

    def _evaluate(self, z, out):
        self._F(z, out)
        self.calls += 1

    def jacobian(self, v):
        """J v."""
        return self._signed(v, 1.0, 1.0)

    def transposed(self, v):
        """J'v = S J S v."""
        return self._signed(v, -1.0, -1.0)

    def symmetrised(self, v):
        """S J v."""
        return self._signed(v, 1.0, -1.0)

    def normal(self, v):
        """J'J v = (S J)^2 v."""
        return self.symmetrised(self.symmetrised(v))

    def symmetric_part(self, v):
        """(J v + J'v) / 2."""
        if self._half is None:
            self._half = np.empty_like(self._z)
        combine1(self._half, 0.5, self.jacobian(v))
        w = self.transposed(v)
        combine2(w, 0.5, w, 1.0, self._half)
        return w

    def _signed(self, v, before, after):
        """D_after J D_before v, with D_s = diag(I, s I)."""
        norm = math.sqrt(squared_norm(v))
        h = self._reach / norm if norm else 1.0
        x, y = slice(0, self.saddle), slice(self.saddle, None)
        for part, sign in ((x, 1.0), (y, before)):
            combine2(self._trial[part], 1.0, self._z[part], sign * h, v[part])
        self._evaluate(self._trial, self._value)
        for part, sign in ((x, 1.0), (y, after)):
            combine2(self._value[part], sign / h, self._value[part], -sign / h, self._at_z[part])
        return self._value


# -- Lanczos ---------------------------------------------------------------------------


def largest(apply, n, key, tol=0.01, steps=200, agree=bool):
    """The largest magnitude of an eigenvalue of a symmetric map, from above: |Ritz value| + residual norm.

    Lanczos from a random start, without reorthogonalisation: lost orthogonality repeats
    Ritz values but moves none out of the spectrum, and two vectors of n suffice.  Some
    eigenvalue lies within the residual of the Ritz value; that it is the largest is likely
    but not certain, hence `SAFETY`.

    Parameters
    ----------
    apply : callable
        ``apply(v)`` returns the image of v, shape (n,), in an array that may be overwritten here.
    n : int
    key : uint64
        Of the start vector.
    tol : float
        Stop when the residual is at most `tol` times the Ritz value, not before step 30 (or n).
    steps : int
        Stop at the latest after so many calls of `apply`.
    agree : callable
        bool -> bool; see the module.

    Raises
    ------
    UserError
        An image is not finite.
    """
    value, residual = _lanczos(apply, n, key, _largest, tol, steps, agree)
    return abs(value) + residual


def smallest(apply, n, key, tol=0.01, steps=200, agree=bool):
    """The smallest eigenvalue of a symmetric map, from above: a Ritz value; parameters as in `largest`."""
    return _lanczos(apply, n, key, np.argmin, tol, steps, agree)[0]


def _largest(values):
    return np.argmax(np.abs(values))


def _lanczos(apply, n, key, choose, tol, steps, agree):
    """(Ritz value that `choose` picks, norm of its residual)."""
    v, previous = np.empty(n), np.zeros(n)
    normals(v, key)
    combine1(v, 1 / math.sqrt(squared_norm(v)), v)
    T, length = np.zeros((steps + 1, steps + 1)), 0.0
    for k in range(steps):
        w = apply(v)  # length v_{k+1} = A v_k - T_kk v_k - T_{k,k-1} v_{k-1}
        T[k, k] = dot(w, v)
        update2(1.0, w, -T[k, k], v, -length, previous)
        length = math.sqrt(squared_norm(w))
        if not math.isfinite(length):
            raise UserError("the operator is not finite where its constants are estimated: rescale the problem or "
                            "give the step size as a number")
        values, vectors = np.linalg.eigh(T[:k + 1, :k + 1])
        i = choose(values)
        value, residual = float(values[i]), length * abs(float(vectors[k, i]))
        spent = length <= np.finfo(float).eps * np.abs(values).max()  # the space is invariant
        if agree(spent or (k + 1 >= min(n, _FEWEST) and residual <= tol * abs(value))):
            break
        T[k, k + 1] = T[k + 1, k] = length
        v, previous = previous, v
        combine1(v, 1 / length, w)
    return value, residual
