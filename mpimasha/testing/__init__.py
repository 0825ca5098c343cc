"""Checks for a compressor, an operator or a method of one's own, to be called in its tests.

Each check takes seconds, draws from fixed streams, so that it passes always or never, and raises AssertionError with
one sentence that names the fault and the numbers.  ``docs/testing.rst`` shows how to use them.
"""

from mpimasha.testing.contractive import check_contractive
from mpimasha.testing.methods import check_method
from mpimasha.testing.operators import check_operator
from mpimasha.testing.unbiased import check_unbiased
from mpimasha.testing.wire import check_wire

__all__ = ["check_contractive", "check_method", "check_operator", "check_unbiased", "check_wire"]
