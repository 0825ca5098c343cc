"""The kit's check names the fault of a wrong method."""

import re

import numpy as np
import pytest

import mpimasha as mm
from mpimasha import state
from mpimasha.testing import check_method


class Plain(mm.Method):
    """z+ = z - gamma F(z), which converges for a strongly monotone problem and a small step; one message a round."""

    name = "plain"
    z = mm.Shared()

    def step(self, k):
        self.z = self.z - self.gamma * self.up.mean(self.fleet.F(self.z), k)


class Momentum(Plain):
    """Heavy ball with declared state."""

    z_prev = mm.Shared()

    def start(self):
        self.z = self.z_prev = self.z0

    def step(self, k):
        F, moved = self.up.mean(self.fleet.F(self.z), k), self.z - self.z_prev
        self.z_prev, self.z = self.z, self.z + 0.1 * moved - self.gamma * F


def says(method, *words, **options):
    with pytest.raises(AssertionError) as caught:
        check_method(method, **options)
    sentence = str(caught.value)
    assert sentence.startswith(f"{type(method).__name__} (") and "\n" not in sentence
    missing = [word for word in words if not re.search(word, sentence)]
    assert not missing, f"{missing} not in: {sentence}"


@pytest.mark.parametrize("method", (Plain(gamma=0.2), Plain(mm.QSGD(4), gamma=0.1)), ids=("identity", "qsgd"))
def test_a_sound_method_passes(method):
    check_method(method, relative_error=1e-2 if method.compressor.name == "identity" else 0)
    check_method(method, mm.Bilinear(dim=3, kappa=2.0, workers=1), relative_error=0, wire="float32")


# -- one answer ------------------------------------------------------------------------------------


class Unseeded(Plain):
    generator = np.random.default_rng(0)

    def step(self, k):
        self.z = self.z - self.generator.uniform(0, 0.1) * self.up.mean(self.fleet.F(self.z), k)


class Stubborn(mm.RandK):
    """Draws from a stream of its own, whatever the run's seed is."""

    def _draw(self, worker, k, index):
        index[:] = np.random.default_rng([worker, k]).permutation(self.n)[:self.count]
        return index


class OwnRow(Plain):
    """z follows the first worker of the rank, not the mean."""

    F_m = mm.PerWorker()

    def step(self, k):
        self.up.mean(self.fleet.F(self.z), k, sent=self.F_m)
        self.z = self.z - self.gamma * self.F_m.row(0)


class Counting(Plain):
    """An exchange more on ranks with several workers."""

    def step(self, k):
        for i in range(1 + (len(self.fleet.owned) > 1)):
            self.z = self.z - self.gamma * self.up.mean(self.fleet.F(self.z), 2 * k + i)


class HiddenRow(Plain):
    """A shared state that is the rank's own, but never sent."""

    local = mm.Shared()
    F_m = mm.PerWorker()

    def step(self, k):
        self.z = self.z - self.gamma * self.up.mean(self.fleet.F(self.z), k, sent=self.F_m)
        self.local = 1.0 * self.F_m.row(0)


class BilledByRanks(Plain):
    """Ranks that own a part of the workers count an exchange more."""

    def start(self):
        super().start()
        self.fleet.ledger.exchanges += len(self.fleet.owned) < self.fleet.workers


def test_draws_without_the_seed_are_named():
    says(Unseeded(gamma=0.1), "two runs with seed 0 differ in self.z", "without the seed")


def test_draws_that_the_seed_does_not_change_are_named():
    says(Plain(Stubborn(3), gamma=0.01), "a run with seed 1 is that with seed 0", "the seed is not used")


@pytest.mark.parametrize("wrong, words", [
    (OwnRow(gamma=0.1), ["on rank 1 of 2 worker 2 sends another message in exchange 1 of self.up"]),
    (Counting(gamma=0.1), ["exchange .* of self.up takes the place of exchange"]),
    (BilledByRanks(gamma=0.1), ["on rank 0 of 2 the ledger's exchanges are others"]),
    (HiddenRow(gamma=0.1), ["on rank 1 of 2 self.local ends at other numbers"])], ids=lambda v: type(v).__name__)
def test_a_method_that_depends_on_the_ranks_is_named(wrong, words):
    says(wrong, *words, "how the workers are spread", relative_error=0)


# -- the ledger ------------------------------------------------------------------------------------


class Free(Plain):
    def step(self, k):
        with self.fleet.ledger.unbilled():
            super().step(k)


class ByHand(Plain):
    """Calls an operator past the fleet."""

    def step(self, k):
        super().step(k)
        self.fleet.operators[0](state.buffers(self)["z"], np.zeros(self.fleet.n))


class Overbilled(Plain):
    def step(self, k):
        super().step(k)
        self.fleet.ledger.uplink_bits += 1


class Repeating(Plain):
    def step(self, k):
        super().step(k)
        super().step(k)


@pytest.mark.parametrize("wrong, words", [
    (Free(gamma=0.1), ["the ledger counts 0 uplink bits, but the method made 12800"]),
    (Overbilled(gamma=0.1), ["the ledger counts 12820 uplink bits, but the method made 12800"]),
    (ByHand(gamma=0.1), ["the ledger counts 100 operator calls, but the method made 120"]),
    (Repeating(gamma=0.1), ["exchange number 0 is used twice on channel self.up", "2k and 2k . 1"]),
], ids=lambda v: type(v).__name__)
def test_what_the_ledger_misses_is_named(wrong, words):
    says(wrong, *words)


# -- state -----------------------------------------------------------------------------------------


class HiddenArray(Plain):
    """Momentum in an array of its own."""

    def start(self):
        super().start()
        self.v = np.zeros(self.fleet.n)

    def step(self, k):
        F = self.up.mean(self.fleet.F(self.z), k).terms[0][1]
        self.v = 0.3 * self.v + F
        self.z = self.z - self.gamma * mm.linear.Linear.of(self.v)


class HiddenNumber(Plain):
    """A step size that falls."""

    def step(self, k):
        self.gamma *= 0.9
        super().step(k)


class HiddenFormula(Plain):
    """The channel's own buffer is kept for the next round."""

    def step(self, k):
        if k:
            self.z = self.z - self.gamma * self.kept
        self.kept = self.up.mean(self.fleet.F(self.z), k)


def test_a_method_with_declared_state_and_memories_can_be_continued():
    check_method(Momentum(gamma=0.2), relative_error=1e-2)
    check_method(mm.Masha2(mm.TopK(3), gamma=0.05), relative_error=0)


@pytest.mark.parametrize("wrong, name", [(HiddenArray(gamma=0.1), "self.v"), (HiddenNumber(gamma=0.1), "self.gamma"),
                                         (HiddenFormula(gamma=0.1), "self.kept")], ids=lambda v: type(v).__name__)
def test_state_that_is_not_declared_is_named(wrong, name):
    says(wrong, "a checkpoint would lose state", f"{name} change", r"not declared as Shared\(\) or PerWorker\(\)",
         relative_error=0)


# -- convergence -----------------------------------------------------------------------------------


def test_a_method_that_does_not_converge_is_named():
    says(Plain(gamma=5.0), "diverged after", "gamma = 5")
    says(Plain(gamma=1e-6), "rounds after 300 rounds on Bilinear", "relative error = 0.99", "not 0.0001", limit=300)


# -- ranks -----------------------------------------------------------------------------------------


@pytest.mark.ranks(2, limit=120)
def test_over_real_ranks_the_same_sentence_is_raised_on_all(comm):
    check_method(Momentum(gamma=0.2), comm=comm, relative_error=1e-2)
    with pytest.raises(AssertionError, match="how the workers are spread") as caught:
        check_method(OwnRow(gamma=0.1), comm=comm, relative_error=0)
    assert len(set(comm.allgather(str(caught.value)))) == 1


class OwnRowOnRealRanks(Plain):
    """Not seen by the simulation: the rank of the process, asked of MPI."""

    def step(self, k):
        from mpi4py import MPI
        super().step(k)
        self.z = (1 + 0.01 * MPI.COMM_WORLD.rank) * self.z


@pytest.mark.ranks(2, limit=120)
def test_what_only_real_ranks_show_is_named_on_all(comm):
    with pytest.raises(AssertionError) as caught:
        check_method(OwnRowOnRealRanks(gamma=0.1), comm=comm, relative_error=0)
    assert re.search("self.z on rank . of 2 is not that of one process", str(caught.value))
    assert len(set(comm.allgather(str(caught.value)))) == 1
