"""Options of training: what they change, that at rest they change nothing, and what is refused."""

import numpy as np
import pytest

import mpimasha as mm
from mpimasha.errors import UserError
from mpimasha.experiment import config
from mpimasha.methods import METHODS
from mpimasha.methods.practice import Practice

TRAINED = [name for name, method in METHODS.items() if method.trains]
UNTRAINED = [name for name in METHODS if name not in TRAINED]
RESTING = {"extrapolation": 1.0, "metric": "none", "damping": 0.5, "warmup": 1, "decay": 0}


def problem():
    return mm.Bilinear(dim=4, kappa=5.0, heterogeneity=1.0, workers=4, samples=3, seed=2)


def made(name):
    options = {"gamma": 0.05} | ({"tau": 0.6} if METHODS[name].takes("tau") else {})
    return METHODS[name](**options)


def run_of(method, rounds):
    run = mm.Run(problem(), method, seed=3)
    run.start()
    for _ in range(rounds):
        run.step()
    return run


@pytest.mark.parametrize("name", TRAINED)
def test_options_at_rest_change_no_bit(name):
    """A warm-up of one round and the damping of a metric that is not there are not the defaults, but do nothing."""
    method = made(name)
    options = {key: value for key, value in RESTING.items() if key in method.trains}
    plain, resting = (run_of(m, 25) for m in (method, method.practised(**options)))
    assert plain.method.iterate.tobytes() == resting.method.iterate.tobytes() and plain.method.iterate.any()
    assert plain.ledger.uplink_bits == resting.ledger.uplink_bits


@pytest.mark.parametrize("name", TRAINED)
def test_every_option_of_a_method_changes_its_run(name):
    method = made(name)
    plain = run_of(method, 25).method.iterate.tobytes()
    for key, value in {"extrapolation": 0.5, "metric": "rms", "warmup": 5, "decay": 20}.items():
        if key in method.trains:
            assert run_of(method.practised(**{key: value}), 25).method.iterate.tobytes() != plain, key


def test_practised_leaves_the_method_itself_alone_and_adds_up():
    method = mm.Masha1(gamma=0.1)
    both = method.practised(warmup=3).practised(decay=9)
    assert method.practice == Practice() and both.practice == Practice(warmup=3, decay=9)


# -- the step size over the rounds -------------------------------------------------------------------


@pytest.mark.parametrize("warmup, decay, parts", [
    (0, 0, [1, 1, 1, 1]), (4, 0, [0.25, 0.5, 0.75, 1, 1, 1]), (1, 0, [1, 1]),
    (0, 4, [1, 0.75, 0.5, 0.25, 1e-3, 1e-3]), (2, 6, [0.5, 1, 1, 0.75, 0.5, 0.25, 1e-3, 1e-3]),
    (2, 3, [0.5, 1, 1, 1e-3])])
def test_the_step_rises_and_falls_linearly(warmup, decay, parts):
    practice = Practice(warmup=warmup, decay=decay)
    np.testing.assert_allclose([practice.schedule(k) for k in range(len(parts))], parts, rtol=1e-15)


def test_a_run_takes_the_steps_of_the_schedule():
    run, F = run_of(mm.SGDA(gamma=0.1).practised(warmup=2, decay=5), 0), np.empty(8)
    for part in (0.5, 1, 1, 2 / 3, 1 / 3, 1e-3):
        before = run.method.iterate.copy()
        run.operator(before, F)
        run.step()
        np.testing.assert_allclose(run.method.iterate, before - 0.1 * part * F, rtol=0, atol=1e-15)


# -- extrapolation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", (0, 0.5, 2))
@pytest.mark.parametrize("name, tau", [("masha1", 0.6), ("masha2", 0.6), ("eg", 1), ("ceg", 1), ("ceg_ef", 1),
                                       ("diana_og", 1)])
def test_the_point_of_the_round_lies_alpha_times_as_far_ahead(name, tau, alpha):
    """At 0 the operator is evaluated at zbar itself."""
    run = run_of(made(name).practised(extrapolation=alpha), 7)
    if alpha == 0:
        zbar = tau * run.method.iterate + (1 - tau) * (run.method.point("w") if tau < 1 else 0)
        run.step()
        np.testing.assert_allclose(run.method.probe, zbar, rtol=0, atol=1e-15)
        return
    probes = []
    for factor in (alpha, 1):  # the first round alone is the same
        run = run_of(made(name).practised(extrapolation=factor), 1)
        probes.append(run.method.probe - problem().start())
    assert np.abs(probes[1]).max() > 1e-3
    np.testing.assert_allclose(probes[0], alpha * probes[1], rtol=1e-13)


# -- refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options, words", [
    ({"extrapolation": -0.1}, ["method.extrapolation = -0.1", "from 0"]),
    ({"extrapolation": 11.0}, ["method.extrapolation = 11.0"]), ({"extrapolation": float("nan")}, ["nan"]),
    ({"extrapolation": "1"}, ["method.extrapolation = '1'", "a number"]),
    ({"metric": 3}, ["method.metric = 3", "text"]),
    ({"metric": "rsm"}, ["method.metric = 'rsm'", "did you mean 'rms'?"]),
    ({"damping": 0.0}, ["method.damping = 0.0", "above 0"]), ({"damping": float("inf")}, ["method.damping = inf"]),
    ({"warmup": -1}, ["method.warmup = -1", "rounds"]), ({"warmup": 2.5}, ["method.warmup = 2.5", "whole number"]),
    ({"decay": -3}, ["method.decay = -3"]), ({"decay": 2**53}, [f"method.decay = {2**53}"]),
    ({"decay": True}, ["method.decay = True"]),
    ({"decay": 5, "warmup": 5}, ["method.decay = 5", "method.warmup = 5", "later"]),
    ({"decay": 4, "warmup": 5}, ["method.decay = 4", "method.warmup = 5"])])
def test_an_option_out_of_range_is_refused(options, words):
    refused(lambda: Practice(**options), words)
    refused(lambda: mm.Masha1().practised(**options), words)


@pytest.mark.parametrize("name", UNTRAINED)
@pytest.mark.parametrize("option", ("warmup", "metric"))
def test_a_method_without_such_options_says_which_have_them(name, option):
    refused(lambda: made(name).practised(**{option: RESTING[option]}), [f"method.{option}", name, "masha1", "diana_og"])


@pytest.mark.parametrize("name, option", [("sgda", "extrapolation"), ("ef_sgda", "extrapolation"), ("ceg_ef", "metric"),
                                          ("masha1", "momentum")])
def test_an_option_that_a_method_lacks_is_refused(name, option):
    refused(lambda: made(name).practised(**{option: 1.0}), [f"method.{option}", name, *METHODS[name].trains])


@pytest.mark.parametrize("name", [name for name in TRAINED if "metric" in METHODS[name].trains])
def test_adam_is_for_descent(name):
    if issubclass(METHODS[name], mm.SGDA):
        assert made(name).practised(metric="adam").practice.metric == "adam"
    else:
        refused(lambda: made(name).practised(metric="adam"), ["method.metric = 'adam'", name, "rms", "sgda"])


@pytest.mark.parametrize("table, words", [
    ({"name": "og", "warmup": 3}, ["method.warmup", "og", "masha1"]),
    ({"name": "masha1", "metric": "adam"}, ["method.metric = 'adam'", "masha1"]),
    ({"name": "masha1", "metric": "rms", "damping": "x"}, ["method.damping = 'x'"]),
    ({"name": "masha1", "decay": 5, "warmup": 6}, ["method.decay = 5", "method.warmup = 6"]),
    ({"name": "masha1", "warmups": 3}, ["unknown key method.warmups"])])
def test_a_file_is_checked_as_python_is(table, words):
    refused(lambda: config.experiment({"method": table}), words)


def test_a_file_sets_options():
    document = {"method": {"name": "masha2", "gamma": 0.1, "metric": "rms", "warmup": 4}}
    practice = config.experiment(document).method().practice
    assert practice == Practice(metric="rms", warmup=4)


def refused(make, words):
    with pytest.raises(UserError) as caught:
        make()
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


def test_no_factor_is_claimed_outside_the_theorem():
    problem = mm.Bilinear(dim=6, kappa=4.0, workers=3)
    inside, outside = ({}, {"warmup": 3}), ({"extrapolation": 0}, {"metric": "rms"})
    for options, claimed in [*((o, True) for o in inside), *((o, False) for o in outside)]:
        run = mm.Run(problem, mm.Masha1(mm.RandK(4)).practised(**options))
        assert (run.method.theory_factor(run.constants) is not None) == claimed
        assert ("outside" in run.method.basis) != claimed
