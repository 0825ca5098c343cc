"""Descent, extragradient and optimistic methods do, on the same draws, what their pseudo-code says."""

import numpy as np
import oracles
import pytest
from setting import MEMORY, SETTINGS, TAU, Setting, bilinear, cases, coin, lipschitz, regression

import mpimasha as mm
from mpimasha.methods import METHODS

# -- without memory and compression ----------------------------------------------------------------


@pytest.mark.parametrize("make, gamma", [(bilinear, 0.5), (regression, 0.1)])
def test_extragradient_follows_its_pseudocode(make, gamma):
    s = Setting(make(), gamma)
    s.check(mm.Extragradient(gamma=gamma), s.run(oracles.extragradient))


@pytest.mark.parametrize("make, gamma", [(bilinear, 0.4), (regression, 0.1)])
def test_optimistic_follows_its_pseudocode(make, gamma):
    s = Setting(make(), gamma)
    s.check(mm.Optimistic(gamma=gamma), s.run(oracles.optimistic))


@pytest.mark.parametrize("where", ["bilinear", "ball"])
def test_local_extragradient_follows_its_pseudocode(where):
    s = SETTINGS[where]()
    s.check(mm.LocalEG(gamma=s.gamma, steps=3), s.run(oracles.local_extragradient, 3))


# -- descent and extragradient -------------------------------------------------------------------


@pytest.mark.parametrize("name, where, up", [
    *cases(["sgda"], SETTINGS, [mm.Identity()]),
    *cases(["qsgda", "ef_sgda", "diana_sgda"], SETTINGS, [mm.RandK(5)]),
    *cases(["qsgda", "ef_sgda", "diana_sgda"], ["participation"],
           [mm.RandK(9, sampling="uniform"), mm.PermK(), mm.QSGD(4, bucket=7), mm.AbsMax(2), mm.TopK(4)])])
def test_descent_follows_its_pseudocode(name, where, up):
    s = SETTINGS[where]()
    s.check(METHODS[name](up, gamma=s.gamma, **s.lot), s.run(oracles.descent, s.memory(MEMORY[name], up)))


@pytest.mark.parametrize("name, where, up", cases(["ceg", "ceg_ef", "diana_eg"], ["bilinear", "ball"],
                                                  [mm.RandK(5), mm.PermK(), mm.QSGD(4, bucket=7), mm.TopK(4)]))
def test_compressed_extragradient_follows_its_pseudocode(name, where, up):
    s = SETTINGS[where]()
    estimate, own = (s.memory(MEMORY[name], up) for _ in range(2))
    ahead = own if name == "ceg_ef" else estimate
    s.check(METHODS[name](up, gamma=s.gamma), s.run(oracles.extragradient, estimate=estimate, ahead=ahead))


# -- DIANA-OG and MASHA-DIANA ----------------------------------------------------------------------


@pytest.mark.parametrize("up", [mm.RandK(5), mm.RandK(5, sampling="uniform"), mm.PermK(), mm.QSGD(4, bucket=7),
                                mm.AbsMax(2)], ids=str)
@pytest.mark.parametrize("where", ["bilinear", "ball", "participation"])
def test_diana_og_follows_its_pseudocode(where, up):
    s = SETTINGS[where]()
    z, _ = s.run(oracles.diana, s.compress(up), 1 / s.typical(up))
    s.check(mm.DianaOG(up, gamma=s.gamma, **s.lot), z)


@pytest.mark.parametrize("up", [mm.RandK(5), mm.PermK(), mm.AbsMax(2)], ids=str)
@pytest.mark.parametrize("where", ["bilinear", "ball", "participation"])
def test_masha_diana_follows_its_pseudocode(where, up):
    s = SETTINGS[where]()
    s.check(mm.MashaDiana(up, gamma=s.gamma, tau=TAU, **s.lot), *s.run(oracles.diana, s.compress(up), 1 / s.q(up), TAU))


@pytest.mark.parametrize("down", [mm.RandK(7), mm.QSGD(5, bucket=5), mm.AbsMax(3)], ids=str)
@pytest.mark.parametrize("where", ["bilinear", "ball", "participation"])
def test_the_server_of_diana_og_learns_too(where, down):
    s, up = SETTINGS[where](), mm.QSGD(4, bucket=7)
    z, _ = s.run(oracles.diana, s.compress(up), 1 / s.q(up), serve=s.compress(down, "downlink", senders=1),
                 serve_rate=1 / s.typical(down))
    s.check(mm.DianaOG(up, gamma=s.gamma, down=down, **s.lot), z)


def test_the_memories_that_the_theorem_of_diana_og_covers_learn_by_1_over_q():
    s, up = Setting(bilinear()), mm.AbsMax(1)
    q, (L, L_m) = s.q(up), lipschitz(s)
    s.gamma = (11 * L**2 + 139 * (q - 1) / 7 * q**2 * np.mean(L_m**2))**-0.5
    s.check(mm.DianaOG(up, gamma="theory"), s.run(oracles.diana, s.compress(up), 1 / q)[0])
    assert s.typical(up) < 0.9 * q


@pytest.mark.parametrize("lot", [{}, {"participation": 3}], ids=str)
@pytest.mark.parametrize("tau", [1.0, TAU])
def test_memories_begin_with_what_crossed_the_wire(tau, lot):
    """In single precision; H begins with their very mean, not with that rounded."""
    s, up = Setting(bilinear(), 0.03, wire="float32", **lot), mm.RandK(5)
    options = {} if tau == 1 else {"tau": tau}
    method = METHODS["masha_diana" if options else "diana_og"](up, gamma=s.gamma, **options, **lot)
    s.check(method, s.run(oracles.diana, s.compress(up), 1 / s.q(up), tau, wire=s.wire)[0])


# -- a prox --------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss, gamma", [("logistic", 0.1), ("square", 0.05)])
@pytest.mark.parametrize("name, up", [("eg", None), ("og", None), ("masha1", mm.RandK(4)), ("masha1", mm.PermK()),
                                      ("masha1", mm.QSGD(4, bucket=5))], ids=str)
def test_a_prox_is_applied_where_the_pseudocode_says(name, up, loss, gamma):
    """Those of the other methods above have the setting "ball"."""
    s = Setting(regression(loss=loss, radius=0.25), gamma)
    if name == "masha1":
        s.check(mm.Masha1(up, gamma=gamma, tau=TAU), *s.run(oracles.masha, TAU, s.memory("plain", up), coin))
    else:
        s.check(METHODS[name](gamma=gamma), s.run({"eg": oracles.extragradient, "og": oracles.optimistic}[name]))
