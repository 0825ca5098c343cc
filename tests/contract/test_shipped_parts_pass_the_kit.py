"""Every compressor, problem and method of the package passes the checks that a user's own goes through.

What is registered is checked with its defaults, or with the settings below; nothing need be added for a new entry.
"""

import numba
import numpy as np
import pytest

import mpimasha as mm
from mpimasha.compressors import COMPRESSORS, parse
from mpimasha.methods import METHODS
from mpimasha.problems import PROBLEMS
from mpimasha.testing import check_contractive, check_method, check_operator, check_unbiased, check_wire

JIT = not numba.config.DISABLE_JIT  # without it, a taste of everything
DRAWS, SWEEPS, WIRES = (1000, 2, ("float64", "float32")) if JIT else (120, 0, ("float32",))
TEXTS = {
    "randk": ("randk:3", "randk:0.05", "randk:7,sampling=uniform", "randk:3,indices=true", "randk:23",
              "randk:6,sampling=block", "randk:5,sampling=stratified32", "randk:5,mask=shared"),
    "qsgd": ("qsgd:1", "qsgd:4,bucket=5", "qsgd:15", "qsgd:2,bucket=1"),
    "topk": ("topk:3", "topk:0.05", "topk:23"),
    "natural": ("natural", "randk:0.3+natural", "permk+natural"),
    "dither": ("dither:8", "dither:4,bucket=6", "randk:0.3+dither:4"),
    "float": ("float:32", "float:16", "float:16,random", "randk:0.3+float:16,random"),
    "absmax": ("absmax:1", "absmax:3,nearest", "topk:0.2+absmax:3,nearest"),
}
BOUND = [(text, 23, 3) for name in COMPRESSORS for text in TEXTS.get(name, (name,))]
BOUND += [("permk", 24, 3), ("permk", 3, 7), ("permk", 5, 1), ("randk:1", 5, 2)]  # n, workers
FIRST = {parse(text)[0].name: (text, n, workers) for text, n, workers in reversed(BOUND)}.values()  # of each compressor
ATTAINED = ("identity", "randk", "permk")  # whose q is attained by every vector


def first_fast(bounds):
    """The first of each compressor runs always."""
    return [bound if bound in FIRST else pytest.param(bound, marks=pytest.mark.slow) for bound in bounds]


def problem(name):
    if name == "bilinear":
        return mm.Bilinear(dim=7, workers=4, heterogeneity=2.0)
    if name == "robust_regression":
        X = np.random.default_rng(0).standard_normal((23, 3))
        return mm.RobustRegression((X, np.sign(X[:, 0] + 0.1)), standardise=False, workers=4, lam=0.2, beta=3.0)
    return PROBLEMS[name]()


def whole(made):
    """F from all data at once, by the problem's own formula for one worker."""
    if made.name == "robust_regression":
        alone = mm.RobustRegression((made.X, made.y), standardise=False, workers=1, lam=made.lam, beta=made.beta)
        F, out = alone.operator(0), np.zeros(made.n)
        return lambda z: (F(z, out), out.copy())[1]
    return None


def of_its_kind(bound):
    text, n, workers = bound
    return parse(text)[0], {"n": n, "workers": workers, "wires": WIRES, "draws": DRAWS}


@pytest.mark.parametrize("bound", first_fast([b for b in BOUND if parse(b[0])[0].unbiased]), ids=str)
def test_unbiased_compressors_are(bound):
    compressor, options = of_its_kind(bound)
    check_unbiased(compressor, attained=compressor.name in ATTAINED, **options)


@pytest.mark.parametrize("bound", first_fast([
    b for b in BOUND if parse(b[0])[0].contractive or parse(b[0])[0].unbiased]), ids=str)
def test_contractive_compressors_are_and_unbiased_ones_after_scaling(bound):
    compressor, options = of_its_kind(bound)
    check_contractive(compressor, **{**options, "draws": DRAWS // 4, "sweeps": SWEEPS, "wires": WIRES[-1:]})


@pytest.mark.parametrize("bound", first_fast(BOUND), ids=str)
def test_messages_are_what_they_say_and_cost(bound):
    text, n, workers = bound
    check_wire(parse(text)[0], n=n, workers=workers, wires=WIRES, exchanges=4)


@pytest.mark.parametrize("name", [name for name, cls in PROBLEMS.items() if not cls.scored])
def test_operators_constants_and_solutions_fit(name):
    """Networks are not monotone: tests/unit/problems/test_adversarial.py has their operators."""
    made = problem(name)
    check_operator(made, mean=whole(made), radius=0.5)


GAMMA = {"optimistic_masha": 0.2, "three_pillars": 0.2, "diana_eg": 0.2, "diana_sgda": 0.05, "vr_masha2": 0.05,
         "pp_masha2": 0.05}  # of methods without a theorem
STALL = {"ceg": 0.1, "ceg_ef": 0.05, "local_eg": 0.1, "qsgda": 0.02, "ef_sgda": 0.02}  # where workers differ


def ready(name):
    gamma = (GAMMA | STALL).get(name)
    return METHODS[name]() if gamma is None else METHODS[name](gamma=gamma)


@pytest.mark.parametrize("name", METHODS)
def test_methods_give_one_answer_are_billed_and_converge(name):
    made = mm.Bilinear(dim=5, kappa=4.0, workers=5, samples=4)
    check_method(ready(name), made, relative_error=1e-4 if JIT and name not in STALL else 0)


@pytest.mark.parametrize("method", [
    mm.Masha1(mm.PermK()), mm.Masha1(mm.QSGD(4), gamma=0.1, tau=0.7, reference="previous"),
    mm.Masha2(mm.RandK(3), gamma=0.05, tau=0.7, reference="previous"),
    mm.Masha1(mm.QSGD(4), gamma=0.1, tau=0.7, down=mm.QSGD(4), refresh=mm.AbsMax(3, nearest=True)),
    mm.Masha2(mm.TopK(5), gamma=0.05, tau=0.7, down=mm.TopK(9), refresh=mm.QSGD(4)),
    mm.Masha1(mm.RandK(5, mask="shared"), gamma=0.05, tau=0.7),
    mm.Masha1(mm.QSGD(4), gamma="adaptive", refresh=mm.AbsMax(3, nearest=True), participation=3),
    mm.DianaOG(mm.AbsMax(1), down=mm.AbsMax(2)), mm.DianaOG(mm.QSGD(4), gamma="theory", down=mm.QSGD(7)),
    mm.DianaOG(mm.PermK(), gamma="safe", participation=3), mm.MashaDiana(mm.PermK(), gamma="safe", participation=0.5),
    mm.Masha1(mm.QSGD(4), gamma=0.1, batch=0.5, participation=3),
    mm.DianaSGDA(gamma=0.05, participation=3)], ids=lambda m: f"{m.name}-{m.compressors}")
def test_methods_do_so_with_other_settings(method):
    check_method(method, mm.Bilinear(dim=5, kappa=4.0, workers=5, samples=4), relative_error=1e-3 if JIT else 0)


@pytest.mark.slow
@pytest.mark.ranks(2, limit=120)
def test_methods_do_so_over_real_ranks(comm):
    for name in METHODS:
        made = mm.Bilinear(dim=5, kappa=4.0, workers=5, samples=4)
        check_method(ready(name), made, comm=comm, rounds=10, relative_error=0)
