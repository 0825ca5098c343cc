"""Composition: the values that a sparsifier keeps, compressed by a second compressor."""

from types import SimpleNamespace

import numpy as np

from mpimasha.compressors.base import ANY, COMMON_MASK, Compressor
from mpimasha.errors import UserError
from mpimasha.kernels import sparse
from mpimasha.linear import Linear


class Composition(Compressor):
    """Second o first, written "first+second", with draws independent of each other.

    Both unbiased: unbiased, q = q1 q2.  Else contractive, delta = delta1 delta2: the kept values
    are not scaled, and what C2 loses of them is orthogonal to what was not kept,
    E|C(x) - x|^2 = |x|^2 - E|C1(x)|^2 + E|C2(C1(x)) - C1(x)|^2 <= (1 - 1/(delta1 delta2))|x|^2,
    because |C1(x)|^2 >= |x|^2/delta1.  An unbiased second part enters as Q2/q2 with delta2 = q2,
    an unbiased first one unscaled with delta1 = q1.

    Parameters
    ----------
    first : Compressor
        A sparsifier: randk, topk, permk.
    second : Compressor
        Not a sparsifier; bound to the number of values kept.
    """

    name = "composition"

    def __init__(self, first: Compressor, second: Compressor):
        if not first.sparsifier:
            raise UserError(f"{first}+{second} begins with {first.name}, which keeps every coordinate: begin with "
                            f"randk, topk or permk")
        if second.sparsifier or isinstance(second, Composition):
            raise UserError(f"{first}+{second} has {second.name} for its second part: use one that compresses values, "
                            f"such as natural or absmax")
        if not (second.unbiased or second.contractive):
            raise UserError(f"{first}+{second} has a second part that is neither unbiased nor contractive: use natural "
                            f"or absmax")
        self.first, self.second = first, second
        self.unbiased = first.unbiased and second.unbiased
        self.contractive = not self.unbiased

    @property
    def dependence(self):
        return ANY if self.first.dependence == COMMON_MASK else self.first.dependence

    def prepare(self):
        self.first = self.first.bind(self.n, self.workers, self.wire, self.stream)
        self._seconds = {count: self.second.bind(count, self.workers, self.wire, self.stream.branch(1))
                         for count in self.first.counts if count}
        self._layouts = {count: second.fields() for count, second in self._seconds.items()}
        self._kept = np.zeros(max(self._seconds))
        self._gain = self.first.gain if self.unbiased else 1.0
        if self.unbiased:
            self.q = self.first.q * max(second.q for second in self._seconds.values())
        else:
            self.contraction = self._contraction()

    def _contraction(self):
        deltas = [second.q if second.unbiased else second.contraction for second in self._seconds.values()]
        return None if None in deltas else (self.first.contraction or self.first.q) * max(deltas)

    @property
    def bits(self):
        cases = self.first.counts
        values = sum(cases[count] * second.bits for count, second in self._seconds.items()) / sum(cases.values())
        return values + self.index_bits * sum(length for _, length in self.first.index_fields().values())

    def fields(self):
        fields = self.first.index_fields()
        for layout in self._layouts.values():
            for name, (dtype, length) in layout.items():
                fields[name] = dtype, max(length, fields.get(name, (dtype, 0))[1])
        return fields

    def _part(self, message, count):
        """The arrays of the second part's message for `count` values, views of those of `message`."""
        return SimpleNamespace(**{name: getattr(message, name)[:length]
                                  for name, (_, length) in self._layouts.get(count, {}).items()})

    def encode(self, x, message, worker, k):
        index = self.first.choose(x, message, worker, k)
        kept = self._kept[:len(index)]
        x.gather(index, self._gain, kept)
        if len(index) < self._kept.size:
            for name in next(iter(self._layouts.values())):
                getattr(message, name)[:] = 0
        if len(index):
            self._seconds[len(index)].encode(Linear.of(kept), self._part(message, len(index)), worker, k)

    def decode(self, message, worker, k, scale, out):
        index = self.first.chosen(message, worker, k)
        if not len(index):
            return
        kept, second = self._kept[:len(index)], self._seconds[len(index)]
        kept[:] = 0
        factor = 1 / second.q if self.contractive and second.unbiased else 1.0
        second.decode(self._part(message, len(index)), worker, k, factor, kept)
        sparse.scatter_add(out, index, kept, scale)

    def __str__(self):
        return f"{self.first}+{self.second}"
