"""The bits that an independent simulation needed on problem A, within its spread over random matrices.

Problem A: x, y in R^50, 10 workers, kappa 100, heterogeneity 0.5, values of 32 bits; down to a relative error of 1e-10.
"""

import pytest
from lanes import fast

import mpimasha as mm

TARGET = mm.Stop(relative_error=1e-10, rounds=50_000)
SPREAD = 0.06  # of random matrices and draws, and of looking only at every hundredth part of the rounds

MBIT = {  # method at the step size (gamma L) and tau of the simulation: Mbit of one worker's uplink there
    "eg": (mm.Extragradient(gamma="0.924/L"), 7.95),
    "og": (mm.Optimistic(gamma="0.516/L"), 7.11),
    "masha1-randk": (mm.Masha1(mm.RandK(5), gamma="0.256/L", tau=0.939), 3.09),
    "masha1-randk-indices": (mm.Masha1(mm.RandK(5, indices=True), gamma="0.256/L", tau=0.939), 3.38),
    "masha1-permk": (mm.Masha1(mm.PermK(), gamma="0.348/L", tau=0.9), 3.98),
    "masha1-qsgd": (mm.Masha1(mm.QSGD(4), gamma="0.486/L", tau=0.865), 3.77),
    "masha1-absmax": (mm.Masha1(mm.AbsMax(1), gamma="0.8/L", tau=0.5, refresh=mm.AbsMax(3, nearest=True)), 0.80),
    "masha1-absmax-coarser":
        (mm.Masha1(mm.AbsMax(1), gamma="0.8/L", tau=0.5, refresh=mm.AbsMax(1, nearest=True)), 0.65),
    "optimistic_masha-permk": (mm.OptimisticMasha(mm.PermK(), gamma="0.55/L", tau=0.96), 1.9),
    "diana_og": (mm.DianaOG(), 0.40),
    "masha2-topk": (mm.Masha2(mm.TopK(5), gamma="0.129/L", tau=0.939), 6.73),
}


MBIT_BOTH_WAYS = {
    "eg": (MBIT["eg"][0], 15.9),
    "masha1-qsgd": (mm.Masha1(mm.QSGD(4), gamma="0.404/L", tau=0.865, down=mm.QSGD(4)), 9.1),
}


def solved(name, comm=None):
    return mm.solve(mm.Bilinear(), MBIT[name][0], wire="float32", stop=TARGET, comm=comm)


@pytest.mark.parametrize("name", fast(MBIT, "eg", "og", "masha1-absmax", "diana_og"))
def test_problem_a_costs_the_bits_of_the_independent_simulation(name):
    result = solved(name)
    assert result.converged
    assert result.uplink_bits_per_worker / 1e6 == pytest.approx(MBIT[name][1], rel=SPREAD)


@pytest.mark.parametrize("name", fast(MBIT_BOTH_WAYS, "eg"))
def test_problem_a_in_both_directions_costs_the_bits_of_the_independent_simulation(name):
    method, mbit = MBIT_BOTH_WAYS[name]
    result = mm.solve(mm.Bilinear(), method, wire="float32", stop=TARGET)
    assert result.converged
    assert (result.uplink_bits_per_worker + result.downlink_bits_per_worker) / 1e6 == pytest.approx(mbit, rel=SPREAD)


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["float32", "float64"])
def test_a_compressed_refresh_has_no_floor(wire):
    """From 1e-4 to 1e-20 at the rate from 1 to 1e-4."""
    result = mm.solve(mm.Bilinear(), MBIT["masha1-absmax"][0], wire=wire,
                      stop=mm.Stop(relative_error=1e-20, rounds=10_000))
    assert result.converged
    first = next(row["round"] for row in result.rows if row["relative_error"] <= 1e-4)
    assert result.rounds == pytest.approx(5 * first, rel=0.2)


@pytest.mark.ranks(slow=(2, 3), limit=120)
def test_whole_runs_on_ranks_are_bit_identical_to_serial_ones(comm):
    for name in ("og", "masha1-randk"):
        serial, parallel = solved(name), solved(name, comm)
        same = (serial.rounds == parallel.rounds and serial.z.tobytes() == parallel.z.tobytes()
                and (serial.w is None or serial.w.tobytes() == parallel.w.tobytes())
                and serial.uplink_bits_per_worker == parallel.uplink_bits_per_worker)
        assert comm.allgather(same and serial.converged) == [True] * comm.size, name
