"""The kit names draws that ignore seed, worker or exchange, or depend on each other otherwise than said."""

import numba
import numpy as np
import pytest
from faulty import ClaimsQ, says

from mpimasha.compressors.randk import RandK
from mpimasha.testing import check_unbiased

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="thousands of exchanges, of the same checks")


class SharedDraw(RandK):
    """All workers draw the same indices while q/M is claimed."""

    def _draw(self, worker, k, index):
        return super()._draw(0, k, index)


class SharedSometimes(RandK):
    """In half of the exchanges."""

    def _draw(self, worker, k, index):
        return super()._draw(worker * (k % 2), k, index)


class TwiceEach(RandK):
    """Every draw is used in two exchanges."""

    def _draw(self, worker, k, index):
        return super()._draw(worker, k // 2, index)


class FixedMask(RandK):
    def _draw(self, worker, k, index):
        return super()._draw(worker, 0, index)


class Remembering(RandK):
    """A generator of its own goes on from call to call."""

    def prepare(self):
        super().prepare()
        self.generator = np.random.default_rng(0)

    def encode(self, x, message, worker, k):
        self.last = self.generator.permutation(self.n)[:self.count]
        message.values[:] = 0
        x.gather(self.last, self.n / self.count, message.values)

    def decode(self, message, worker, k, scale, out):
        out[self.last] += scale * message.values


class FirstAsked(RandK):
    """The draw of an exchange is kept, whoever asked for it first."""

    def _draw(self, worker, k, index):
        self.kept = getattr(self, "kept", {})
        if k not in self.kept:
            self.kept[k] = super()._draw(worker, k, index).copy()
        return self.kept[k]


class Unseeded(RandK):
    """Keyed by worker and exchange, but not by the run's seed."""

    def _draw(self, worker, k, index):
        index[:] = np.random.default_rng([worker, k]).permutation(self.n)[:self.count]
        return index


class ClaimsDependence(RandK):
    def __init__(self, k, dependence):
        super().__init__(k)
        self.dependence = dependence


def test_workers_that_draw_alike_are_named():
    says(check_unbiased, SharedDraw(3), "all 3 workers draw alike", "'independent'")
    common = SharedDraw(3)
    common.dependence = "common"
    check_unbiased(common, draws=300, wires=["float64"])


def test_workers_that_draw_alike_at_times_are_named():
    says(check_unbiased, SharedSometimes(3), r"E\|mean Q_m\(v_m\) - mean v_m\|\^2", r"\(q - 1\)/M mean\|v_m\|\^2")
    says(check_unbiased, type("", (SharedSometimes, ClaimsQ), {"__name__": "Loose"})(3, 23.0), "workers 0 and 1",
         "correlated")


def test_exchanges_that_draw_alike_are_named():
    says(check_unbiased, TwiceEach(3), r"exchanges k and k \+ 1", "correlated")
    says(check_unbiased, FixedMask(3), "coordinate 0 is never sent|not keyed by the exchange")


def test_state_kept_between_calls_is_named():
    says(check_unbiased, Remembering(3), "state is kept between calls", "self.stream")
    says(check_unbiased, FirstAsked(3), "state is kept between calls|depends on the calls before")


def test_draws_that_ignore_the_seed_are_named():
    says(check_unbiased, Unseeded(3), "another seed gives the same draws", "self.stream")


@pytest.mark.parametrize("dependence, words", [
    ("partition", [r"dependence = 'partition'", r"q/M mean\|v_m\|\^2 - \|mean v_m\|\^2 = "]),
    ("common", [r"dependence = 'common'", r"\(q - 1\) \|mean v_m\|\^2"]),
    ("none", ["dependence = 'none' is unknown", "'independent'"])])
def test_a_dependence_that_the_draws_do_not_have_is_named(dependence, words):
    says(check_unbiased, ClaimsDependence(3, dependence), *words)


def test_any_dependence_may_be_declared():
    check_unbiased(ClaimsDependence(3, "any"), draws=300, wires=["float64"])
