"""Declared state: what a method or a memory keeps from round to round.

A class declares ``z = Shared()`` or ``Fw_m = PerWorker()``; `allocate` gives each
declaration its buffer, reading it gives a `Linear` for use in formulas, and
assigning a formula evaluates it into the buffer: ``self.z = self.z - gamma * self.F``.
Assignment copies values, never references.  Because state is declared, a checkpoint
needs to know nothing of the method it saves.
"""

import numpy as np

from mpimasha.linear import Linear


class Rows:
    """One vector a worker: the rows of an (m_local, n) array, and the local parts if they have some."""

    __slots__ = ("array", "parts", "_rows", "_local")

    def __init__(self, array, parts=None, local=None):
        self.array, self.parts = array, parts
        self._rows = list(array)  # the views are made once, not in every round
        self._local = parts and [local[p.start - parts.n:p.stop - parts.n] for p in parts.local]

    def row(self, i, term=0):
        return self._rows[i]

    def local(self, i, term=0):
        return self._local and self._local[i]


class _State:
    def __init__(self, dtype=None):
        self.dtype = dtype  # of the buffer; None for the problem's

    def __set_name__(self, owner, name):
        if hasattr(self, "name"):
            raise TypeError(f"{self.name} and {name} share one declaration: each state needs its own")
        self.name = name

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        return self.of(instance, "_linear")

    def of(self, instance, kind):
        """What `instance` keeps under this name; AttributeError before `allocate`, as for any attribute not set."""
        try:
            return instance.__dict__[kind][self.name]
        except KeyError:
            raise AttributeError(f"{type(instance).__name__}.{self.name} exists after allocate") from None


class Shared(_State):
    """A vector of shape (n,) that is the same, bit for bit, on every rank; the workers' local parts follow."""

    def buffers(self, workers, n, dtype, parts):
        return {self.name: np.zeros(parts.size if parts else n, self.dtype or dtype)}

    def vector(self, buffers, parts):
        return buffers[self.name]

    def __set__(self, instance, value):
        buffer = instance.__dict__["_buffers"][self.name]
        if isinstance(value, np.ndarray):
            buffer[:len(value)] = value  # a point of the shared space: local parts are 0
            buffer[len(value):] = 0
        else:
            value.write(buffer)


class Scalar(Shared):
    """A number that is the same on every rank, such as a step size that adapts; it reads as a float."""

    def buffers(self, workers, n, dtype, parts):
        return {self.name: np.zeros(1)}

    def __get__(self, instance, owner=None):
        return self if instance is None else float(self.of(instance, "_buffers")[0])

    def __set__(self, instance, value):
        instance.__dict__["_buffers"][self.name][0] = value


class PerWorker(_State):
    """An array of shape (m_local, n): one row for each worker this rank owns, and their local parts in another."""

    def buffers(self, workers, n, dtype, parts):
        dtype = self.dtype or dtype
        found = {self.name: np.zeros((workers, n), dtype)}
        return found | {self._locals: np.zeros(parts.size - n, dtype)} if parts else found

    def vector(self, buffers, parts):
        return Rows(buffers[self.name], parts or None, buffers.get(self._locals))

    @property
    def _locals(self):
        return f"{self.name}.local"

    def __set__(self, instance, value):
        (_, rows), = instance.__dict__["_linear"][self.name].terms
        for i in range(len(rows.array)):
            row = value.row(i)
            if rows.parts:
                value.local(i, rows.parts).write(rows.local(i))
                row = row.part(rows.parts.shared)
            row.write(rows.row(i))


def declared(cls):
    """{name: declaration} of a class, base classes first."""
    return {k: v for base in reversed(cls.__mro__) for k, v in vars(base).items() if isinstance(v, _State)}


def allocate(instance, workers, n, dtype, parts=None, unused=()):
    """Give every declared state of `instance` but the `unused` a buffer of zeros.

    m_local = `workers`; with local `parts`, if there are any.
    """
    declarations, buffers = {k: s for k, s in declared(type(instance)).items() if k not in unused}, {}
    for declaration in declarations.values():
        buffers |= declaration.buffers(workers, n, dtype, parts)
    instance.__dict__["_buffers"] = buffers
    instance.__dict__["_linear"] = {k: Linear.of(s.vector(buffers, parts)) for k, s in declarations.items()}


def used(instance):
    """{name: declaration} of the state that `instance` has buffers for."""
    return {k: s for k, s in declared(type(instance)).items() if k in buffers(instance)}


def buffers(instance):
    """{name: array} of the declared state: the arrays themselves, not copies."""
    return instance.__dict__["_buffers"]
