"""Linear combinations of vectors, written as formulas and evaluated in one pass.

``tau * z + (1 - tau) * w`` makes no array: it makes a `Linear`, a short tuple of
(coefficient, vector) terms.  It is evaluated once, by one fused kernel, into the
buffer of the state it is assigned to (see `mpimasha.state`), or read entry by entry by
a compressor that needs only some of them.
"""

import numpy as np

from mpimasha.kernels import updates

_COMBINE = {1: updates.combine1, 2: updates.combine2, 3: updates.combine3, 4: updates.combine4}
_UPDATE = {1: updates.update1, 2: updates.update2, 3: updates.update3}
_GATHER = {1: updates.gather1, 2: updates.gather2, 3: updates.gather3, 4: updates.gather4}


class Linear:
    """sum_i c_i v_i, not evaluated yet.

    Parameters
    ----------
    terms : tuple of (float, vector)
        A vector is an array of shape (n,), or one vector a worker: an object whose
        ``row(i, term)`` gives the array of this rank's i-th worker (`mpimasha.state.Rows`,
        `mpimasha.fleet.fleet.Evaluation`), `term` being its place in the formula.  At most four terms.
    """

    __slots__ = ("terms",)
    __array_ufunc__ = None  # NumPy scalars on the left leave the product to __rmul__

    def __init__(self, terms):
        if len(terms) > 4:
            raise TypeError("a formula has at most four terms: assign a part of it to a state first")
        self.terms = terms

    @classmethod
    def of(cls, vector):
        return cls(((1.0, vector),))

    def __add__(self, other):
        return Linear(self.terms + other.terms)

    def __sub__(self, other):
        return self + (-1.0) * other if isinstance(other, Linear) else NotImplemented

    def __rmul__(self, scale):
        return Linear(tuple((scale * c, v) for c, v in self.terms))

    def __neg__(self):
        return (-1.0) * self

    def row(self, i):
        """The same combination for this rank's i-th worker; a vector that all share stands for itself."""
        return Linear(tuple((c, v if isinstance(v, np.ndarray) else v.row(i, term))
                            for term, (c, v) in enumerate(self.terms)))

    def local(self, i, parts):
        """The local part of `row`, to be asked for after it; None for vectors without one."""
        terms = tuple((c, v[parts.local[i]] if isinstance(v, np.ndarray) else v.local(i, term))
                      for term, (c, v) in enumerate(self.terms))
        return None if any(v is None for _, v in terms) else Linear(terms)

    def part(self, part):
        """The same combination of a slice of each vector."""
        return Linear(tuple((c, v[part]) for c, v in self.terms))

    def write(self, out):
        """Evaluate into `out`, in one pass; `out` may be one of the terms or of another dtype."""
        terms = self.terms
        own = [c for c, v in terms if v is out]
        if not own:
            _COMBINE[len(terms)](out, *(part for term in terms for part in term))
            return
        rest = [part for term in terms if term[1] is not out for part in term]
        if rest:
            _UPDATE[len(rest) // 2](sum(own), out, *rest)
        elif sum(own) != 1.0:
            out *= sum(own)

    def value(self, scratch):
        """The vector itself where this is 1 v and v is of the dtype of `scratch`, else its value, in `scratch`."""
        (c, v), *rest = self.terms
        if c == 1.0 and not rest and v.dtype == scratch.dtype:
            return v
        self.write(scratch)
        return scratch

    def gather(self, index, scale, out):
        """out[j] = scale * (sum_i c_i v_i)[index[j]], reading only those entries."""
        parts = [part for c, v in self.terms for part in (scale * c, v)]
        _GATHER[len(self.terms)](out, index, *parts)
