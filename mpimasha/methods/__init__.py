"""Methods by name."""

from mpimasha.methods.extragradient import Extragradient
from mpimasha.methods.masha1 import Masha1
from mpimasha.methods.masha2 import Masha2
from mpimasha.methods.optimistic import Optimistic

METHODS = {m.name: m for m in (Extragradient, Optimistic, Masha1, Masha2)}
