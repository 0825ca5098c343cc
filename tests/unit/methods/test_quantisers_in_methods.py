"""MASHA1 and MASHA2 with each quantiser: they converge where it is accepted, and say so where it is not."""

import pytest

import mpimasha as mm
from mpimasha.compressors import parse
from mpimasha.errors import UserError


@pytest.mark.parametrize("text", ("natural", "absmax:1", "absmax:3,bucket=5", "randk:0.4,sampling=block",
                                  "permk+natural", "randk:0.3+natural", "randk:0.3+absmax:3"))
def test_masha1_converges_with_every_unbiased_one(text):
    problem = mm.Bilinear(dim=10, kappa=2.0, workers=4)
    result = mm.solve(problem, mm.Masha1(parse(text)[0]), wire="float32",
                      stop=mm.Stop(relative_error=1e-4, rounds=1500))
    assert result.relative_error <= 1e-4


@pytest.mark.parametrize("text, gamma", [
    ("natural", "theory"), ("absmax:2", "theory"), ("absmax:3,nearest", "theory"), ("float:16", "theory"),
    ("sign", "0.2/L"), ("rank:1", "0.2/L"), ("topk:0.3+natural", "theory"), ("topk:0.3+absmax:3,nearest", "theory"),
    ("randk:0.3+sign", "0.1/L"), ("permk+float:16", "theory"), ("randk:0.4+natural", "theory")])
def test_masha2_converges_with_every_contractive_one(text, gamma):
    problem = mm.Bilinear(dim=10, kappa=2.0, workers=4)
    result = mm.solve(problem, mm.Masha2(parse(text)[0], gamma=gamma), wire="float32",
                      stop=mm.Stop(relative_error=1e-4, rounds=1500))
    assert result.relative_error <= 1e-4


@pytest.mark.parametrize("text", ("rank:1", "topk:0.5+rank:1"))
def test_theory_refuses_to_guess_the_step_for_a_rank(text):
    with pytest.raises(UserError, match="give a number"):
        mm.solve(mm.Bilinear(dim=10, workers=2), mm.Masha2(parse(text)[0]), stop=mm.Stop(rounds=2))


@pytest.mark.parametrize("text", ("sign", "absmax:1,nearest", "rank:1", "float:16", "topk:0.5+natural",
                                  "randk:0.5+sign"))
def test_masha1_refuses_what_is_biased(text):
    with pytest.raises(UserError, match="biased"):
        mm.solve(mm.Bilinear(dim=10, workers=2), mm.Masha1(parse(text)[0]), stop=mm.Stop(rounds=2))
