"""The comparisons with pseudo-code see the mistakes that one makes in a method."""

import pytest
import test_gradient_methods_follow_their_pseudocode as gradient
import test_masha_follows_its_pseudocode as masha
import test_steps_follow_the_run as steps
from setting import regression

import mpimasha as mm
from mpimasha.channels.memory import ErrorFeedback, Shift
from mpimasha.methods import adaptive


def bind_as_if_all_sent(self, compressor, count, dtype, share=1.0, bind=Shift.bind):
    return bind(self, compressor, count, dtype)


def one_memory_for_both_exchanges(self, channel):
    mm.Extragradient.open_channels(self, channel)
    self.ahead = self.up


MISTAKES = {
    "H moves as if all had sent": (
        Shift, "bind", bind_as_if_all_sent,
        lambda: gradient.test_diana_og_follows_its_pseudocode("participation", mm.RandK(5))),
    "memories learn by 1/q": (
        Shift, "rate", property(lambda self: 1 / self.compressor.q),
        lambda: gradient.test_diana_og_follows_its_pseudocode("bilinear", mm.AbsMax(2))),
    "what was not sent is forgotten": (
        ErrorFeedback, "encode", lambda self, i, x, *draw: self.compressor.encode(x, *draw),
        lambda: gradient.test_descent_follows_its_pseudocode("ef_sgda", "participation", mm.TopK(4))),
    "two exchanges share an error memory": (
        mm.CEGFeedback, "open_channels", one_memory_for_both_exchanges,
        lambda: gradient.test_compressed_extragradient_follows_its_pseudocode("ceg_ef", "bilinear", mm.TopK(4))),
    "the batch is for one point only": (
        mm.Masha1, "difference", lambda self, draw: self.fleet.F(self.zhalf, draw) - self.fleet.F(self.w),
        lambda: masha.test_masha_with_some_workers_and_samples_follows_its_pseudocode("masha1", "batch", mm.RandK(5))),
    "what the wire rounded off is forgotten": (
        mm.Masha1, "difference", lambda self, draw: self.fleet.F(self.zhalf, draw) - self.fleet.F(self.w, draw),
        lambda: masha.test_the_reference_operators_of_masha1_are_what_crossed_the_wire(regression, {"batch": 2})),
    "averages forget 10 %": (
        adaptive, "_MEMORY", 0.9,
        lambda: steps.test_the_step_of_diana_og_follows_the_run(mm.RandK(13), None, {}, 1e-13)),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_seen(mistake, monkeypatch):
    *change, comparison = MISTAKES[mistake]
    monkeypatch.setattr(*change)
    with pytest.raises(AssertionError, match="part by"):
        comparison()
