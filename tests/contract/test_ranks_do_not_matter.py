"""The same run, bit for bit, on any number of ranks."""

import numpy as np
import pytest
from lanes import fast

import mpimasha as mm
from mpimasha.solver.observers import Observer

ROUNDS = 40
COUNTED = ("round", "uplink_bits", "downlink_bits", "exchanges", "operator_calls")
MEASURED = ("relative_error", "residual", "gap")  # on rank 0
SUMMARY = ("rounds", "converged", "relative_error", "residual", "gap", "uplink_bits_per_worker",
           "downlink_bits_per_worker", "operator_calls", "gamma", "tau")


def bilinear(workers=7):
    """n = 22: neither n nor M = 7 is a multiple of 2, 3 and 4 alike."""
    return mm.Bilinear(dim=11, kappa=10.0, heterogeneity=1.0, workers=workers, seed=1)


def regression(**options):
    rng = np.random.default_rng(2)
    X = rng.standard_normal((41, 5))
    y = np.where(X[:, 0] + 0.5 * rng.standard_normal(41) > 0, 1.0, -1.0)
    return mm.RobustRegression(data=(X, y), standardise=False, workers=5, **options)


def regression_without_constants():
    problem = regression()
    problem.lipschitz, problem.saddle = lambda worker: None, None
    return problem


class Single(mm.Bilinear):
    """A problem in single precision."""

    dtype = np.dtype(np.float32)

    def start(self):
        return np.zeros(self.n, np.float32)


def sampled(workers=7):
    return mm.Bilinear(dim=11, kappa=10.0, workers=workers, samples=5)


CASES = {
    "eg": (bilinear, mm.Extragradient(), "float64"),
    "eg, prox, float32": (lambda: regression(radius=0.2), mm.Extragradient(gamma=0.1), "float32"),
    "eg, as many workers as ranks may be": (lambda: bilinear(workers=4), mm.Extragradient(), "float32"),
    "eg, fewer coordinates than ranks": (lambda: mm.Bilinear(dim=1, workers=5), mm.Extragradient(), "float64"),
    "og": (regression, mm.Optimistic(gamma=0.1), "float64"),
    "og, float32": (bilinear, mm.Optimistic(), "float32"),
    "eg by allgather": (bilinear, mm.Extragradient(), "float32", "allgather"),
    "masha1 identity": (bilinear, mm.Masha1(mm.Identity(), gamma=0.3, tau=0.5), "float32"),
    "masha1 identity by allgather": (bilinear, mm.Masha1(mm.Identity(), gamma=0.3, tau=0.5), "float64", "allgather"),
    "masha1 randk": (bilinear, mm.Masha1(mm.RandK(3), gamma=0.1), "float32"),
    "masha1 randk of one": (bilinear, mm.Masha1(mm.RandK(1), gamma=0.1), "float64"),
    "masha1 randk of all": (bilinear, mm.Masha1(mm.RandK(22), gamma=0.1), "float32"),
    "masha1 randk uniform, indices travel":
        (bilinear, mm.Masha1(mm.RandK(4, sampling="uniform", indices=True), gamma=0.1, tau=0.8), "float64"),
    "masha1 permk": (bilinear, mm.Masha1(mm.PermK(), gamma=0.1, tau=0.8), "float64"),
    "masha1 permk, more workers than coordinates":
        (lambda: mm.Bilinear(dim=2, workers=7), mm.Masha1(mm.PermK(), gamma=0.1), "float32"),
    "masha1 permk, previous, prox":
        (lambda: regression(radius=0.2), mm.Masha1(mm.PermK(), gamma=0.1, tau=0.8, reference="previous"), "float32"),
    "masha1 qsgd": (bilinear, mm.Masha1(mm.QSGD(4), gamma=0.1, tau=0.8), "float32"),
    "masha1 qsgd, simplices":
        (lambda: mm.MatrixGame(size=11, lam=0.1, workers=7), mm.Masha1(mm.QSGD(4)), "float32"),
    "masha1 qsgd in buckets, square loss":
        (lambda: regression(loss="square"), mm.Masha1(mm.QSGD(3, bucket=3), gamma=0.05, tau=0.7), "float64"),
    "masha1 qsgd, problem in float32":
        (lambda: Single(dim=5, kappa=4.0, workers=6), mm.Masha1(mm.QSGD(4)), None),
    "masha2 topk, problem in float32": (lambda: Single(dim=5, kappa=4.0, workers=6), mm.Masha2(mm.TopK(2)), "float64"),
    "masha2 topk": (bilinear, mm.Masha2(mm.TopK(2), gamma=0.05, tau=0.8), "float32"),
    "masha2 topk, previous": (regression, mm.Masha2(mm.TopK(3), gamma=0.05, tau=0.8, reference="previous"), "float64"),
    "masha2 randk": (bilinear, mm.Masha2(mm.RandK(5), gamma=0.05, tau=0.8), "float64"),
    "masha2 permk": (bilinear, mm.Masha2(mm.PermK(), gamma=0.05, tau=0.8), "float32"),
    "masha1 randk of blocks": (bilinear, mm.Masha1(mm.RandK(9, "block"), gamma=0.1), "float32"),
    "masha1 absmax in buckets": (bilinear, mm.Masha1(mm.AbsMax(2, bucket=5), gamma=0.1, tau=0.8), "float32"),
    "masha1 permk and natural":
        (bilinear, mm.Masha1(mm.Composition(mm.PermK(), mm.Natural()), gamma=0.1, tau=0.8), "float32"),
    "masha2 natural, problem in float32":
        (lambda: Single(dim=5, kappa=4.0, workers=6), mm.Masha2(mm.Natural()), "float64"),
    "masha2 rank": (bilinear, mm.Masha2(mm.RankR(2), gamma=0.05, tau=0.8), "float32"),
    "masha2 topk and absmax":
        (bilinear, mm.Masha2(mm.Composition(mm.TopK(5), mm.AbsMax(3, nearest=True)), gamma=0.05, tau=0.8), "float32"),
    "masha2 sign": (bilinear, mm.Masha2(mm.Sign(), gamma=0.05, tau=0.8), "float64"),
    "masha2 float": (lambda: Single(dim=5, kappa=4.0, workers=5), mm.Masha2(mm.Float(16)), "float32"),
    "masha2 qsgd": (bilinear, mm.Masha2(mm.QSGD(2), gamma=0.05, tau=0.8), "float32"),
    "masha1 both ways": (bilinear, mm.Masha1(mm.QSGD(4), gamma=0.1, tau=0.8, down=mm.QSGD(3)), "float32"),
    "masha1 both ways by star":
        (bilinear, mm.Masha1(mm.QSGD(4), gamma=0.1, tau=0.8, down=mm.RandK(9)), "float32", "star"),
    "masha1 randk by star": (bilinear, mm.Masha1(mm.RandK(3), gamma=0.1, tau=0.8), "float32", "star"),
    "masha1 identity by star": (bilinear, mm.Masha1(mm.Identity(), gamma=0.3, tau=0.5), "float64", "star"),
    "masha2 both ways": (bilinear, mm.Masha2(mm.TopK(4), gamma=0.05, tau=0.8, down=mm.TopK(6)), "float32"),
    "masha2 both ways by star":
        (bilinear, mm.Masha2(mm.TopK(4), gamma=0.05, tau=0.8, down=mm.QSGD(2)), "float64", "star"),
    "masha1 shared mask": (bilinear, mm.Masha1(mm.RandK(5, mask="shared"), gamma=0.05, tau=0.8), "float32"),
    "masha1 shared mask, both ways":
        (bilinear, mm.Masha1(mm.RandK(5, mask="shared"), gamma=0.05, tau=0.8, down=mm.QSGD(4)), "float32"),
    "masha1 shared mask by star":
        (bilinear, mm.Masha1(mm.RandK(1, mask="shared"), gamma=0.02, tau=0.8), "float32", "star"),
    "default": (bilinear, mm.DianaOG(), "float32"),
    "default, nothing known": (regression_without_constants, mm.DianaOG(), "float32"),
    "diana_og by theory, both ways, prox":
        (lambda: regression(radius=0.2), mm.DianaOG(mm.QSGD(4), gamma="theory", down=mm.AbsMax(3)), "float64"),
    "diana_og adapting, both ways": (bilinear, mm.DianaOG(mm.AbsMax(1), down=mm.AbsMax(2)), "float32"),
    "diana_og adapting, both ways by star":
        (bilinear, mm.DianaOG(mm.AbsMax(1), down=mm.AbsMax(2)), "float64", "star"),
    "diana_og adapting, in part": (bilinear, mm.DianaOG(mm.PermK(), participation=3), "float32"),
    "diana_og, problem in float32": (lambda: Single(dim=5, kappa=4.0, workers=6), mm.DianaOG(), None),
    "diana_og, one mask for all, of some":
        (bilinear, mm.DianaOG(mm.RandK(5, mask="shared"), gamma="safe", participation=0.5), "float32"),
    "masha_diana": (bilinear, mm.MashaDiana(mm.RandK(3), gamma="safe", participation=4), "float32"),
    "masha_diana, prox, problem in float64":
        (lambda: regression(radius=0.2), mm.MashaDiana(mm.QSGD(2)), "float64"),
    "optimistic_masha": (bilinear, mm.OptimisticMasha(gamma=0.1, tau=0.7), "float32"),
    "optimistic_masha, problem in float32":
        (lambda: Single(dim=5, kappa=4.0, workers=6), mm.OptimisticMasha(mm.QSGD(4), gamma=0.1), None),
    "three_pillars": (bilinear, mm.ThreePillars(gamma=0.1, tau=0.7, inner=3), "float32"),
    "three_pillars, problem in float32":
        (lambda: Single(dim=5, kappa=4.0, workers=6), mm.ThreePillars(mm.RandK(3), gamma=0.1), "float64"),
    "local_eg, prox": (lambda: regression(radius=0.2), mm.LocalEG(gamma=0.1), "float32"),
    "sgda": (bilinear, mm.SGDA(), "float32"),
    "sgda, batches": (regression, mm.SGDA(gamma=0.1, batch=3), "float64"),
    "qsgda, batches, in part": (sampled, mm.QSGDA(gamma=0.02, batch=2, participation=3), "float32"),
    "ef_sgda in part": (bilinear, mm.EFSGDA(mm.TopK(3), gamma=0.02, participation=0.4), "float32"),
    "diana_sgda, batches, in part": (regression, mm.DianaSGDA(gamma=0.02, batch=0.5, participation=2), "float32"),
    "ceg": (bilinear, mm.CEG(mm.Natural(), gamma=0.1), "float32"),
    "ceg_ef": (bilinear, mm.CEGFeedback(mm.TopK(5), gamma=0.02), "float32"),
    "diana_eg": (bilinear, mm.DianaEG(gamma=0.1), "float32"),
    "vr_masha1": (sampled, mm.VRMasha1(mm.RandK(3), batch=2), "float32"),
    "vr_masha1, prox": (lambda: regression(radius=0.2), mm.VRMasha1(mm.PermK(), tau=0.7), "float64"),
    "vr_masha2, in part": (sampled, mm.VRMasha2(mm.TopK(3), gamma=0.03, batch=2, participation=3), "float32"),
    "pp_masha1": (bilinear, mm.PPMasha1(mm.PermK()), "float32"),
    "pp_masha1 by star": (bilinear, mm.PPMasha1(mm.QSGD(4), down=mm.QSGD(4)), "float64", "star"),
    "pp_masha1 of one": (bilinear, mm.PPMasha1(mm.RandK(3), participation=1), "float32"),
    "pp_masha1, previous, compressed refresh":
        (bilinear, mm.PPMasha1(mm.QSGD(4), gamma=0.05, tau=0.6, reference="previous", refresh=mm.TopK(5)), "float32"),
    "pp_masha2": (bilinear, mm.PPMasha2(mm.TopK(3), gamma=0.03, down=mm.TopK(6)), "float32"),
    "masha1 adapting": (bilinear, mm.Masha1(mm.AbsMax(1), gamma="adaptive", refresh=mm.AbsMax(3, nearest=True)),
                        "float32"),
    "masha1 quantised refresh":
        (bilinear, mm.Masha1(mm.QSGD(4), gamma=0.1, tau=0.6, refresh=mm.QSGD(7)), "float32"),
    "masha1 sparse refresh, previous, prox":
        (lambda: regression(radius=0.2),
         mm.Masha1(mm.PermK(), gamma=0.1, tau=0.6, refresh=mm.TopK(3), reference="previous"), "float32"),
    "masha2 sparse refresh, problem in float32":
        (lambda: Single(dim=5, kappa=4.0, workers=6),
         mm.Masha2(mm.TopK(2), gamma=0.05, tau=0.6, refresh=mm.TopK(4)), None),
}


class Watcher(Observer):
    """Keeps this rank's rows."""

    def start(self, run):
        self.rows = []

    def observe(self, run, row):
        self.rows.append(row)


@pytest.fixture
def no_cache(tmp_path, monkeypatch):
    """Every run looks for its own z*: a cache that cannot be written."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))


def solved(make, method, wire, transport="auto", comm=None):
    """(result, this rank's rows)."""
    watcher = Watcher()
    result = mm.solve(make(), method, comm=comm, seed=4, wire=wire, every=5, transport=transport,
                      observers=[watcher], stop=mm.Stop(rounds=ROUNDS, relative_error=0))
    return result, watcher.rows


def differences(case, serial, parallel, rank):
    """What of the run on ranks is not the serial run's."""
    (alone, alone_rows), (together, rows) = serial, parallel
    keys = COUNTED + MEASURED if rank == 0 else COUNTED
    found = [] if alone.z.any() and np.isfinite(alone.z).all() else ["nothing to compare"]
    found += [] if alone.z.tobytes() == together.z.tobytes() else ["z"]
    found += [] if bytes_of(alone.w) == bytes_of(together.w) else ["w"]
    found += [f"round {mine['round']}, {key}: {mine[key]!r} and {other[key]!r}"
              for mine, other in zip(alone_rows, rows, strict=True) for key in keys if mine[key] != other[key]]
    found += [key for key in SUMMARY if alone.summary[key] != together.summary[key]]
    return [f"{case}, rank {rank}: {what}" for what in found]


def bytes_of(array):
    return b"" if array is None else array.tobytes()


@pytest.mark.ranks(3, slow=(4,), limit=240)
@pytest.mark.parametrize("every", fast([4, 1], 0))
def test_a_run_is_bit_identical_to_the_serial_one(comm, no_cache, every):
    found = []
    for case, arguments in list(CASES.items())[::every]:
        serial, parallel = solved(*arguments), solved(*arguments, comm=comm)
        found += differences(case, serial, parallel, comm.rank)
        replicas = set(comm.allgather((bytes_of(parallel[0].z), bytes_of(parallel[0].w))))
        found += [f"{case}: replicas differ"] if len(replicas) > 1 else []
    part = comm.Split(comm.rank % 2)  # two runs at once, neither of them on the world
    runs = [solved(*CASES["masha1 qsgd"], comm=world) for world in (None, part)]
    found += differences(f"half of the world, of {part.size}", *runs, part.rank)
    part.Free()
    found = [line for lines in comm.allgather(found) for line in lines]
    assert not found, "\n".join(found)


BY_ANY_TRANSPORT = {  # on a float64 wire what the star sends down is not rounded
    "dense mean": mm.Masha1(mm.RandK(3), gamma=0.1, tau=0.8),
    "compressed mean": mm.Masha1(mm.QSGD(4), gamma=0.1, tau=0.8, down=mm.QSGD(3)),
    "with error feedback": mm.Masha2(mm.TopK(4), gamma=0.05, tau=0.8, down=mm.TopK(6)),
}


@pytest.mark.ranks(3)
def test_the_star_and_the_replicated_server_compute_the_same(comm, no_cache):
    for case, method in BY_ANY_TRANSPORT.items():
        gathered, star = (solved(bilinear, method, "float64", transport, comm)[0] for transport in ("auto", "star"))
        assert gathered.z.tobytes() == star.z.tobytes(), case
        assert gathered.downlink_bits_per_worker == star.downlink_bits_per_worker


@pytest.mark.ranks(3, slow=(2,))
def test_an_unordered_sum_differs_in_the_last_bits_only_and_keeps_replicas_alike(comm, no_cache):
    for compressor in (mm.Identity(), mm.RandK(5, mask="shared")):
        method = mm.Masha1(compressor, gamma=0.05, tau=0.8)
        ordered, summed = (solved(bilinear, method, "float64", name, comm)[0] for name in ("dense", "allreduce"))
        np.testing.assert_allclose(summed.z, ordered.z, rtol=1e-10)
        assert len(set(comm.allgather(summed.z.tobytes()))) == 1
        assert summed.uplink_bits_per_worker == ordered.uplink_bits_per_worker
        assert summed.wire_bytes_per_rank < ordered.wire_bytes_per_rank  # several workers a rank, one message


def test_the_seed_decides_the_draws():
    """So that equality above is not that of runs that draw nothing."""
    problem, method = bilinear(), mm.Masha1(mm.RandK(3), gamma=0.1)
    runs = [mm.solve(problem, method, seed=seed, stop=mm.Stop(rounds=5)) for seed in (0, 1)]
    assert runs[0].z.tobytes() != runs[1].z.tobytes()
