"""MASHA and its kin do, on the same draws, what their pseudo-code says."""

import numpy as np
import oracles
import pytest
from setting import MEMORY, ROUNDS, SEED, SETTINGS, TAU, Setting, bilinear, cases, changes, coin, lipschitz, regression

import mpimasha as mm
from mpimasha.fleet.draw import Draw
from mpimasha.methods import METHODS

# -- MASHA ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["new", "previous"])
@pytest.mark.parametrize("up", [
    mm.Identity(), mm.RandK(5), mm.RandK(5, sampling="uniform"), mm.RandK(5, sampling="uniform", indices=True),
    mm.PermK(), mm.QSGD(4, bucket=26), mm.QSGD(3, bucket=7)], ids=str)
def test_masha1_follows_its_pseudocode(up, reference):
    s = Setting(bilinear(), 0.1)
    s.check(mm.Masha1(up, gamma=s.gamma, tau=TAU, reference=reference),
            *s.run(oracles.masha, TAU, s.memory("plain", up), coin, reference))


@pytest.mark.parametrize("reference", ["new", "previous"])
@pytest.mark.parametrize("up", [mm.TopK(4), mm.Identity(), mm.RandK(7), mm.PermK(), mm.QSGD(4, bucket=26)], ids=str)
def test_masha2_follows_its_pseudocode(up, reference):
    s = Setting(bilinear(), 0.05)
    s.check(mm.Masha2(up, gamma=s.gamma, tau=TAU, reference=reference),
            *s.run(oracles.masha, TAU, s.memory("feedback", up), coin, reference))


@pytest.mark.parametrize("name, where, up", cases(["masha1", "masha2"], ["participation", "batch", "both"],
                                                  [mm.RandK(5), mm.PermK(), mm.TopK(4)]))
def test_masha_with_some_workers_and_samples_follows_its_pseudocode(name, where, up):
    s = SETTINGS[where]()
    s.check(METHODS[name](up, gamma=s.gamma, tau=TAU, **s.lot),
            *s.run(oracles.masha, TAU, s.memory(MEMORY[name], up), coin))


@pytest.mark.parametrize("name, lot", [("vr_masha1", {"batch": 0.1}), ("vr_masha2", {"batch": 0.1}),
                                       ("pp_masha1", {"participation": 0.5}), ("pp_masha2", {"participation": 0.5})])
def test_names_for_options_of_masha(name, lot):
    s, up = Setting(regression(), 0.1, **lot), mm.RandK(5)
    s.check(METHODS[name](up, gamma=s.gamma, tau=TAU), *s.run(oracles.masha, TAU, s.memory(MEMORY[name], up), coin))


@pytest.mark.parametrize("make, lot", [(bilinear, {}), (bilinear, {"participation": 3}), (regression, {"batch": 2}),
                                       (regression, {"batch": 2, "participation": 3})])
def test_the_reference_operators_of_masha1_are_what_crossed_the_wire(make, lot):
    """In single precision: F_m(w) rounded, not F_m(w), is what the workers subtract, with batches in the mean."""
    s, up = Setting(make(), 0.1, wire="float32", **lot), mm.RandK(5)
    s.check(mm.Masha1(up, gamma=s.gamma, tau=TAU, **lot),
            *s.run(oracles.masha, TAU, s.memory("plain", up), coin, wire=s.wire))


def test_the_batches_of_masha1_are_unbiased_around_what_crossed_the_wire():
    """Over all batches of one sample, the mean of the vectors that a worker compresses is F_m(z^{k+1/2}) - f_m with
    f_m the rounded F_m(w), which the server has."""
    s = Setting(regression(), 0.1, wire="float32", batch=1)
    run = mm.Run(s.problem, mm.Masha1(mm.Identity(), gamma=s.gamma, tau=TAU, batch=1), seed=SEED, wire="float32")
    run.start()
    for _ in range(20):
        run.step()
    zhalf, w, difference = run.method.probe, run.method.w.terms[0][1], np.empty(s.n)
    for m in s.workers:
        total = np.zeros(s.n)
        for i in range(s.problem.components(m)):
            run.method.difference(Draw(None, 1, lambda _: np.array([i]))).row(m).write(difference)
            total += difference
        Fw = s.F[m](w)
        f_m = oracles.crossing(np.float32)(Fw)
        apart = np.abs(total / s.problem.components(m) - (s.F[m](zhalf) - f_m)).max()
        assert apart < 1e-15 < 1e-9 < np.abs(Fw - f_m).max()


@pytest.mark.parametrize("up, down", [(mm.RandK(5), mm.RandK(9)), (mm.QSGD(4, bucket=26), mm.QSGD(5, bucket=26)),
                                      (mm.PermK(), mm.QSGD(4, bucket=7)), (mm.RandK(5, mask="shared"), mm.RandK(13))],
                         ids=str)
def test_the_server_of_masha1_compresses_the_mean(up, down):
    s = Setting(bilinear(), 0.05)
    s.check(mm.Masha1(up, gamma=s.gamma, tau=TAU, down=down),
            *s.run(oracles.masha, TAU, s.memory("plain", up), coin, down=s.memory("plain", down, "downlink", 1)))


@pytest.mark.parametrize("down", [mm.TopK(7), mm.RandK(13), mm.QSGD(6, bucket=26)], ids=str)
def test_the_server_of_masha2_feeds_its_error_back(down):
    s, up = Setting(bilinear(), 0.03), mm.TopK(5)
    s.check(mm.Masha2(up, gamma=s.gamma, tau=TAU, down=down),
            *s.run(oracles.masha, TAU, s.memory("feedback", up), coin, down=s.memory("feedback", down, "downlink", 1)))


@pytest.mark.parametrize("where", ["bilinear", "participation", "batch", "both"])
@pytest.mark.parametrize("name, up, refresh", [
    ("masha1", mm.QSGD(4, bucket=26), mm.TopK(9)), ("masha1", mm.QSGD(4, bucket=26), mm.RandK(9)),
    ("masha1", mm.RandK(5), mm.QSGD(7, bucket=26)), ("masha2", mm.TopK(4), mm.TopK(9))], ids=str)
def test_a_compressed_refresh_sends_the_change_of_the_reference_operators(name, up, refresh, where):
    s = SETTINGS[where]()
    s.check(METHODS[name](up, gamma=s.gamma, tau=TAU, refresh=refresh, **s.lot),
            *s.run(oracles.masha, TAU, s.memory(MEMORY[name], up), coin, refresh=changes(s, refresh)))


@pytest.mark.parametrize("where", ["bilinear", "batch"])
@pytest.mark.parametrize("name, up, refresh, back", [
    ("masha1", mm.QSGD(4, bucket=26), mm.TopK(9), mm.TopK(5)), ("masha1", mm.RandK(5), mm.RandK(9), mm.TopK(9)),
    ("masha2", mm.TopK(4), mm.TopK(9), mm.TopK(5))], ids=str)
def test_a_compressed_refresh_goes_down_as_what_the_ranks_lack(name, up, refresh, back, where):
    s = SETTINGS[where]()
    send = s.compress(back, "downlink", 1, contracted=True)
    s.check(METHODS[name](up, gamma=s.gamma, tau=TAU, refresh=refresh, refresh_down=back, **s.lot),
            *s.run(oracles.masha, TAU, s.memory(MEMORY[name], up), coin, refresh=changes(s, refresh),
                   back=lambda k, lacking: send(0, k, lacking)))


def test_the_reference_point_moves_in_these_rounds():
    """Otherwise the comparisons above would not have seen a refresh."""
    assert 5 <= sum(coin(k) for k in range(ROUNDS)) <= 15


# -- reference points of other kinds -----------------------------------------------------------------


@pytest.mark.parametrize("wire", ["float64", "float32"])
@pytest.mark.parametrize("up", [mm.RandK(5), mm.PermK()], ids=str)
@pytest.mark.parametrize("make, gamma", [(bilinear, 0.05), (lambda: regression(radius=0.25), 0.1)])
def test_optimistic_masha_follows_its_pseudocode(make, gamma, up, wire):
    s = Setting(make(), gamma, wire)
    s.check(mm.OptimisticMasha(up, gamma=gamma, tau=TAU),
            *s.run(oracles.optimistic_masha, TAU, s.memory("plain", up), coin, wire=wire))


@pytest.mark.parametrize("wire", ["float64", "float32"])
@pytest.mark.parametrize("up, inner", [(mm.RandK(5), 1), (mm.PermK(), 3)], ids=str)
def test_three_pillars_follows_its_pseudocode(up, inner, wire):
    s = Setting(bilinear(), 0.1, wire)
    _, L_m = lipschitz(s)
    s.check(mm.ThreePillars(up, gamma=s.gamma, tau=TAU, inner=inner),
            s.run(oracles.three_pillars, TAU, inner, L_m[0], s.memory("plain", up), coin, wire=wire))
