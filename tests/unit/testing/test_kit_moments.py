"""The kit names a wrong mean, second moment or q: mistakes of public code, and those of a first attempt."""

import numba
import numpy as np
import pytest
from faulty import ClaimsQ, Dense, says

from mpimasha.compressors.base import Compressor
from mpimasha.compressors.permk import PermK
from mpimasha.compressors.randk import RandK
from mpimasha.compressors.topk import TopK
from mpimasha.testing import check_contractive, check_unbiased

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="thousands of exchanges, of the same checks")


class Replaced(RandK):
    """Sampling with replacement, scaled by n/k; a repeated index overwrites."""

    def _draw(self, worker, k, index):
        index[:] = np.random.default_rng([int(self.stream(worker, k))]).integers(0, self.n, self.count)
        return index

    def decode(self, message, worker, k, scale, out):
        out[self._draw(worker, k, self._index)] = scale * message.values


class ReplacedAdding(Replaced):
    """With replacement, repeated indices add up: unbiased, but q is n/k + (k-1)/k."""

    decode = RandK.decode


class Unscaled(RandK):
    def encode(self, x, message, worker, k):
        x.gather(self._draw(worker, k, self._index), 1.0, message.values)


class WrongScale(RandK):
    def encode(self, x, message, worker, k):
        x.gather(self._draw(worker, k, self._index), self.n / (self.count + 1), message.values)


class Zeroing(Dense):
    """Zeroes one coordinate instead of keeping k, with the scale of keeping k."""

    def make(self, values, worker, k):
        values *= self.n / self.count
        values[int(self.stream.uniform(worker, k) * self.n)] = 0


class Skipping(RandK):
    """The last coordinate is never drawn: an index range that is one too short."""

    def _draw(self, worker, k, index):
        index[:] = np.random.default_rng([int(self.stream(worker, k))]).permutation(self.n - 1)[:self.count]
        return index


class FixedBlocks(PermK):
    """The permutation is fresh, but worker m always has the m-th block of it."""

    def _owned(self, worker, k):
        super()._owned(worker, k)
        return self._perm[worker::self.workers]


class Tilted(Dense):
    """Noise, and two coordinates mixed, at right angles to x."""

    def make(self, values, worker, k):
        values += np.random.default_rng([int(self.stream(worker, k))]).uniform(-1, 1, self.n)
        values[5], values[6] = values[5] + 0.5 * values[6], values[6] - 0.5 * values[5]


class HugeValues(Dense):
    def make(self, values, worker, k):
        values *= np.inf


def test_sampling_with_replacement_scaled_by_n_over_k_is_named():
    says(check_unbiased, Replaced(6), "coordinates repeat", "with replacement", r"n/k = 3\.833")


def test_sampling_with_replacement_is_named_where_it_is_unbiased():
    says(check_unbiased, ReplacedAdding(4), r"E\|Q\(x\)\|\^2 = 6\.\d+ \|x\|\^2 exceeds q = 5.75", "with replacement")


def test_a_missing_scale_is_named():
    says(check_unbiased, Unscaled(3), r"0\.13\d* = k/n of x", "3 of n = 23", "is the factor n/k missing")
    says(check_unbiased, Unscaled(7, "uniform"), "7 of n = 23", "is the factor n/k missing", wires=["float32"])


def test_a_wrong_scale_is_named():
    says(check_unbiased, WrongScale(3), r"0\.7[45]\d* of x", r"times 5\.75 and not n/k = 7\.667")


def test_zeroing_one_coordinate_instead_of_keeping_k_is_named():
    says(check_unbiased, Zeroing(3), "22 of n = 23", "one zeroed where k should be kept", "n/k = 1.045")


def test_a_coordinate_that_is_never_sent_is_named():
    says(check_unbiased, Skipping(5), "coordinate 22 is never sent")


def test_blocks_fixed_per_worker_are_named_where_the_workers_do_not_divide_the_dimension():
    says(check_unbiased, FixedBlocks(), "fixed per worker", "8, 8, 7 of n = 23", "M = 3 does not divide n")
    check_unbiased(FixedBlocks(), n=24, draws=300, wires=["float64"])


def test_a_bias_of_another_kind_is_named_with_its_numbers():
    says(check_unbiased, Tilted(3), r"the mean of Q\(x\)_([56]) is \S+ and not x_\1 = \S+, \d\.\d+ times what chance")


def test_what_is_not_finite_is_named():
    says(check_unbiased, HugeValues(3), "not finite")


@pytest.mark.parametrize("q, words", [
    (1.0, ["exceeds q = 1 by the factor 7.[67]", "n/k = 7.667"]), (7.0, ["exceeds q = 7 by the factor 1.1"]),
    (3 / 23, ["at least 1", "k/n for n/k"]), (None, ["q = None"]), (np.inf, ["q = inf"])])
def test_a_q_that_is_too_small_or_none_is_named(q, words):
    says(check_unbiased, ClaimsQ(3, q), *words)


def test_a_q_that_is_not_the_best_is_accepted_unless_asked_for():
    check_unbiased(ClaimsQ(3, 23.0), draws=300, wires=["float64"])
    says(check_unbiased, ClaimsQ(3, 23.0), "not attained", r"factor 2\.\d", attained=True)
    check_unbiased(RandK(3), draws=300, wires=["float64"], attained=True)


def test_what_claims_nothing_is_refused():
    says(check_unbiased, TopK(3), "does not claim to be unbiased")
    class Nothing(Compressor):
        pass
    says(check_contractive, Nothing(), "neither contractive nor unbiased")
