"""The kit names a delta that a compressor does not keep."""

import numba
import numpy as np
import pytest
from faulty import ClaimsQ, Dense, says

from mpimasha.compressors.randk import RandK
from mpimasha.compressors.topk import TopK
from mpimasha.testing import check_contractive

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="thousands of exchanges, of the same checks")


class ClaimsDelta(TopK):
    def __init__(self, k, delta):
        super().__init__(k)
        self.claimed = delta

    def prepare(self):
        super().prepare()
        self.contraction = self.claimed


class Smallest(TopK):
    """Keeps the k smallest."""

    def encode(self, x, message, worker, k):
        dense = np.zeros(self.n)
        x.write(dense)
        message.index[:] = np.argsort(np.abs(dense))[:self.count]
        message.values[:] = dense[message.index]


class Overshooting(ClaimsDelta):
    """The k largest, times 3: further from x than 0 is."""

    def __init__(self, delta):
        super().__init__(20, delta)

    def decode(self, message, worker, k, scale, out):
        super().decode(message, worker, k, 3 * scale, out)


class Rounding(Dense):
    """To multiples of max|x|/3: (n-1)/(n+35) of |x|^2 may be lost, at max and half steps; Gaussians lose far less."""

    contractive, unbiased = True, False

    def __init__(self, delta):
        super().__init__(3)
        self.contraction = delta

    def make(self, values, worker, k):
        step = np.abs(values).max() / 3 or 1.0
        values[:] = step * np.round(values / step)


def test_a_delta_that_is_too_small_is_named_with_the_one_needed():
    says(check_contractive, ClaimsDelta(3, 4.0), "contraction = 4", "of one magnitude", r"at least 7\.667")
    check_contractive(ClaimsDelta(3, 23 / 3), wires=["float64"])


@pytest.mark.parametrize("delta", (3 / 23, np.nan))
def test_a_delta_that_cannot_be_is_named(delta):
    says(check_contractive, ClaimsDelta(3, delta), f"contraction = {delta}", "at least 1")


def test_an_unknown_delta_is_one_without_bound():
    check_contractive(ClaimsDelta(3, None), wires=["float64"])
    says(check_contractive, Overshooting(None), "delta = inf|contraction = inf promises at most 1 - 1/delta = 1$")


def test_keeping_the_smallest_is_caught():
    says(check_contractive, Smallest(3), "E.C.x. - x.*contraction = 7.667 promises at most", "delta must be at least")


def test_an_error_that_only_an_adversarial_vector_shows_is_found():
    worst = (23 - 1) / (23 + 35)
    check_contractive(Rounding(1 / (1 - worst)), wires=["float64"])
    says(check_contractive, Rounding(1 / (1 - 0.8 * worst)), "found by a search", "at least 1.[3-6]")


def test_an_unbiased_compressor_is_checked_as_it_enters_error_feedback():
    says(check_contractive, ClaimsQ(3, 4.0), r"Q\(x\)/q", "q = 4")
    check_contractive(RandK(3), draws=200, wires=["float64"])
