"""Networks become robust for few bits; batches, refreshes and downlinks compressed together still converge linearly."""

import numpy as np
import pytest
from lanes import fast

import mpimasha as mm
from mpimasha.mpi.communicator import Communicator
from mpimasha.networks.attacks import PGD, Ball
from mpimasha.problems.adversarial_mlp import AdversarialMLP
from mpimasha.problems.adversarial_transformer import AdversarialTransformer

JUDGE = PGD(20, Ball(0.15))
COARSE = mm.AbsMax(7, bucket=128, nearest=True)
TRAINING = {"metric": "rms", "damping": 2e-4, "warmup": 40, "decay": 150}
METHODS = {
    "masha2": mm.Masha2(mm.TopK(0.02), gamma=0.02, tau=0.4, down=mm.TopK(0.02), refresh=COARSE, refresh_down=COARSE),
    "masha1": mm.Masha1(mm.AbsMax(3, bucket=128), gamma=0.01, tau=0.4, down=mm.AbsMax(3, bucket=128), refresh=COARSE,
                        refresh_down=COARSE),
}


def judged(problem, result):
    """(accuracy, accuracy under attack) on the validation part."""
    return problem.examine(result.z, "validation", JUDGE, 1, Communicator())


def trained(method, radius):
    pytest.importorskip("sklearn")
    problem = AdversarialMLP(workers=8, radius=radius)
    result = mm.solve(problem, method.practised(extrapolation=0, **TRAINING), stop=mm.Stop(rounds=150), every=150)
    return result, judged(problem, result)


@pytest.mark.parametrize("name", fast(METHODS, "masha1"))
def test_adversarial_training_defends_and_standard_training_does_not(name):
    result, (clean, robust) = trained(METHODS[name], radius=0.15)
    assert robust >= 0.35 and clean > 0.6
    _, (standard_clean, standard_robust) = trained(METHODS[name], radius=1e-6)
    assert standard_robust < 0.15 and standard_clean > 0.8
    dense = 2 * 32 * result.z.size * 150  # of sgda
    assert result.uplink_bits_per_worker + result.downlink_bits_per_worker < dense / 4


@pytest.mark.slow
def test_a_transformer_learns():
    pytest.importorskip("sklearn")
    problem = AdversarialTransformer(width=16, layers=1, heads=2, hidden=32, workers=4, radius=0.05)
    method = mm.SGDA(gamma=0.02).practised(metric="adam", damping=1e-8)
    result = mm.solve(problem, method, stop=mm.Stop(rounds=60), every=60)
    first, last = result.rows[0], result.rows[-1]
    assert first["accuracy"] < 0.2 and last["accuracy"] > 0.35
    assert last["robust_accuracy"] > first["robust_accuracy"] + 0.2


COMPRESSED = {
    "masha1": mm.Masha1(mm.QSGD(4), gamma="0.1/L", tau=0.7, batch=2, refresh=mm.AbsMax(7, nearest=True),
                        refresh_down=mm.AbsMax(7, nearest=True)),
    "masha2": mm.Masha2(mm.TopK(4), gamma="0.1/L", tau=0.7, batch=2, down=mm.TopK(4),
                        refresh=mm.AbsMax(7, nearest=True), refresh_down=mm.AbsMax(7, nearest=True)),
    "masha2, sparse refresh": mm.Masha2(mm.TopK(4), gamma="0.05/L", tau=0.7, batch=2, down=mm.TopK(4),
                                        refresh=mm.TopK(4), refresh_down=mm.TopK(4)),
}


@pytest.mark.parametrize("name", fast(COMPRESSED, "masha2"))
def test_with_all_four_directions_compressed_and_batches_convergence_is_linear_to_rounding(name):
    """|z - z*|^2: no floor, neither of the batches nor of the compressors, and no slower at the end."""
    problem = mm.Bilinear(dim=8, kappa=4.0, heterogeneity=2.0, workers=5, samples=4)
    result = mm.solve(problem, COMPRESSED[name], stop=mm.Stop(rounds=20_000, relative_error=1e-25), every=20)
    assert result.status == "converged"
    when = {level: next(row["round"] for row in result.rows if row["relative_error"] <= level)
            for level in (1e-5, 1e-15, 1e-25)}
    halves = np.diff(list(when.values()))
    assert 0.5 < halves[0] / halves[1] < 2
