"""Variables that belong to one worker: solved for with the shared ones, exactly, at no bits, on any number of ranks."""

import numpy as np
import pytest

import mpimasha as mm
from mpimasha import state
from mpimasha.fleet.draw import Lots
from mpimasha.problems.adversarial_mlp import AdversarialMLP
from mpimasha.problems.proximal import Zero
from mpimasha.solver.observers import Observer

N, SIZES, SAMPLES, SEED = 6, (3, 1, 0, 2), 3, 7
WORKERS, SIZE = len(SIZES), N + sum(SIZES)
OWN = [slice(N + sum(SIZES[:m]), N + sum(SIZES[:m + 1])) for m in range(WORKERS)]  # in the whole vector


class Affine(mm.Problem):
    """F_m(theta, l_m) = J_m (theta, l_m) + b_m, a mean of three components; the whole operator is
    (1/M sum_m F_m's first rows, each F_m's last rows)."""

    name, workers, n, finite_sum = "affine with local variables", WORKERS, N, True

    def __init__(self, local_step=None, box=None):
        rng = np.random.default_rng(3)
        self.local_step, self.box, self.J, self.b = local_step, box, [], []
        for size in SIZES:
            both = N + size
            skew, spread = 0.2 * rng.standard_normal((2, both, both))
            spread[N:, :N], spread[N:, N:] = -spread[:N, N:].T, 0
            self.J.append(np.eye(both) + skew - skew.T + spread)
            self.b.append(rng.standard_normal(both))
        away = 0.3 * rng.standard_normal((WORKERS, SAMPLES, N + max(SIZES), N + max(SIZES)))
        self.away = away - away.mean(axis=1, keepdims=True)
        self.matrix, self.vector = np.zeros((SIZE, SIZE)), np.zeros(SIZE)
        for own, J, b in zip(OWN, self.J, self.b):
            at = np.r_[:N, own]
            weight = np.r_[np.full(N, 1 / WORKERS), np.ones(len(b) - N)]
            self.matrix[np.ix_(at, at)] += weight[:, None] * J
            self.vector[at] += weight * b
        self.mu = float(np.linalg.eigvalsh((self.matrix + self.matrix.T) / 2)[0])
        assert self.mu > 0.2
        self.L = float(np.linalg.norm(self.matrix, 2))

    def local_size(self, worker):
        return SIZES[worker]

    def local_prox(self, worker):
        return Zero() if self.box is None else mm.Box(-self.box, self.box)

    def components(self, worker):
        return SAMPLES

    def rows(self, m, x, chosen):
        both, J = N + SIZES[m], self.J[m]
        if chosen is not None:
            J = J + sum(self.away[m][i][:both, :both] for i in chosen) / len(chosen)
        return J @ x + self.b[m]

    def operator(self, worker):
        F = self.batch_operator(worker)
        return lambda z, out, *local: F(z, out, *local, None)

    def batch_operator(self, worker):
        def F(z, out, local, into, chosen):
            rows = self.rows(worker, np.r_[z, local], chosen)
            out[:], into[:] = rows[:N], rows[N:]

        return F

    def start(self):
        return np.linspace(-1, 1, N)

    def whole_solution(self):
        return -np.linalg.solve(self.matrix, self.vector)

    def solution(self):
        return self.whole_solution()[:N]


class Alone(Affine):
    """The shared variables of the same problem, with no others."""

    def local_size(self, worker):
        return 0

    def batch_operator(self, worker):
        def F(z, out, chosen):
            out[:] = self.rows(worker, np.r_[z, np.zeros(SIZES[worker])], chosen)[:N]

        return F


class Flat(Affine):
    """The same problem with all variables shared: F_m holds M times its own rows, so that the mean is the same."""

    n = SIZE

    def local_size(self, worker):
        return 0

    @property
    def prox(self):
        return Zero() if self.box is None else mm.Product([(slice(N, SIZE), mm.Box(-self.box, self.box))])

    def batch_operator(self, worker):
        def F(z, out, chosen):
            rows = self.rows(worker, z[np.r_[:N, OWN[worker]]], chosen)
            out[:] = 0
            out[:N], out[OWN[worker]] = rows[:N], WORKERS * rows[N:]

        return F

    def start(self):
        return np.r_[super().start(), np.zeros(sum(SIZES))]


def whole(run, name="z"):
    return state.buffers(run.method)[name]


def run_of(problem, method, rounds, **options):
    run = mm.Run(problem, method, seed=SEED, **options)
    run.start()
    for _ in range(rounds):
        run.step()
    return run


# -- it is solved ----------------------------------------------------------------------------------

NEAREST = mm.AbsMax(7, nearest=True)
SOLVERS = {
    "masha1 randk": mm.Masha1(mm.RandK(3), gamma=0.1, tau=0.6),
    "masha1 permk, previous": mm.Masha1(mm.PermK(), gamma=0.1, tau=0.6, reference="previous"),
    "masha1 both ways": mm.Masha1(mm.QSGD(4), gamma=0.1, tau=0.6, down=mm.QSGD(4)),
    "masha1 compressed refresh": mm.Masha1(mm.QSGD(4), gamma=0.1, tau=0.6, refresh=mm.TopK(3)),
    "masha1 compressed refresh both ways":
        mm.Masha1(mm.QSGD(4), gamma=0.1, tau=0.6, refresh=NEAREST, refresh_down=mm.TopK(3)),
    "masha1 batches": mm.Masha1(mm.RandK(3), gamma=0.1, tau=0.6, batch=2),
    "masha1 batches, compressed refresh both ways":
        mm.Masha1(mm.QSGD(4), gamma=0.1, tau=0.6, batch=2, refresh=NEAREST, refresh_down=NEAREST),
    "masha2 topk": mm.Masha2(mm.TopK(2), gamma=0.06, tau=0.6),
    "masha2 topk both ways, compressed refresh both ways":
        mm.Masha2(mm.TopK(3), gamma=0.06, tau=0.6, down=mm.TopK(3), refresh=NEAREST, refresh_down=NEAREST, batch=2),
    "diana_og": mm.DianaOG(mm.AbsMax(1), gamma=0.05, down=mm.AbsMax(2)),
    "sgda": mm.SGDA(gamma=0.2),
    "eg": mm.Extragradient(gamma=0.2),
    "diana_sgda both ways": mm.DianaSGDA(mm.QSGD(4), gamma=0.1, down=mm.QSGD(4)),
    "diana_eg": mm.DianaEG(mm.QSGD(4), gamma=0.1),
}


@pytest.mark.parametrize("local_step", (None, 0.15))
@pytest.mark.parametrize("method", SOLVERS.values(), ids=SOLVERS)
def test_shared_and_local_variables_are_found_for_the_bits_of_the_shared_ones(method, local_step):
    problem = Affine(local_step)
    run, bare = (run_of(kind, method, 30) for kind in (problem, Alone()))
    for count in ("uplink_bits", "downlink_bits", "exchanges"):
        assert getattr(run.ledger, count) == getattr(bare.ledger, count) > 0
    assert run.ledger.operator_calls == bare.ledger.operator_calls
    for _ in range(670):
        run.step()
    wanted = problem.whole_solution()
    assert np.abs(whole(run) - wanted).max() < 1e-10 < 0.1 < np.abs(wanted[N:]).max()


def test_a_box_around_local_variables_holds_at_the_solution():
    """Active there: its normal cone takes what is left of F."""
    problem, box = Affine(local_step=0.15, box=0.3), 0.3
    run = run_of(problem, mm.Masha1(mm.RandK(3), gamma=0.1, tau=0.6), 800)
    z = whole(run)
    F = problem.matrix @ z + problem.vector
    assert np.abs(F[:N]).max() < 1e-10
    np.testing.assert_allclose(z[N:], np.clip(z[N:] - F[N:], -box, box), rtol=0, atol=1e-10)
    assert (np.abs(z[N:]) == box).any() and (np.abs(z[N:]) < box).any()


def test_solve_measures_the_error_of_the_shared_variables():
    stop = mm.Stop(rounds=2000, relative_error=1e-12)
    result = mm.solve(Affine(), mm.Masha1(mm.RandK(3), gamma=0.1, tau=0.6), stop=stop)
    assert result.status == "converged" and result.z.shape == result.w.shape == (N,)
    np.testing.assert_allclose(result.z, Affine().solution(), rtol=0, atol=1e-5)


# -- the same as with shared variables -----------------------------------------------------------------

TWINS = {
    "masha1": mm.Masha1(mm.Identity(), gamma=0.1, tau=0.6),
    "masha1, previous": mm.Masha1(mm.Identity(), gamma=0.1, tau=0.6, reference="previous"),
    "masha1 in batches": mm.Masha1(mm.Identity(), gamma=0.1, tau=0.6, batch=2),
    "masha1 in batches, exact refresh by channel":
        mm.Masha1(mm.Identity(), gamma=0.1, tau=0.6, batch=2, refresh=mm.TopK(SIZE)),
    "masha1, warm-up and decay": mm.Masha1(mm.Identity(), gamma=0.1, tau=0.6).practised(warmup=5, decay=30),
    "masha2": mm.Masha2(mm.Identity(), gamma=0.1, tau=0.6),
    "diana_og": mm.DianaOG(mm.Identity(), gamma=0.1),
    "eg": mm.Extragradient(gamma=0.1),
    "sgda in batches": mm.SGDA(gamma=0.1, batch=1),
}


@pytest.mark.parametrize("box", (None, 0.2))
@pytest.mark.parametrize("name", TWINS)
def test_without_compression_local_variables_are_as_good_as_shared_ones(name, box):
    if box and not TWINS[name].takes_prox:
        pytest.skip("h = 0 only")
    local, flat = (mm.Run(kind(box=box), clipped(TWINS[name], kind), seed=SEED) for kind in (Affine, Flat))
    for run in (local, flat):
        run.start()
    for _ in range(40):
        for run in (local, flat):
            run.step()
        np.testing.assert_allclose(whole(local), whole(flat), rtol=0, atol=1e-12)
    assert np.abs(whole(local)[N:]).max() > 0.1 and local.ledger.uplink_bits < flat.ledger.uplink_bits


def clipped(method, kind):
    """TopK of all coordinates there are."""
    return mm.Masha1(mm.Identity(), gamma=0.1, tau=0.6, batch=2, refresh=mm.TopK(kind.n)) \
        if method.refresh_compressor else method


# -- what a local variable's step is -----------------------------------------------------------------


def test_a_step_of_their_own_does_not_follow_gamma():
    problem = Affine(local_step=0.3)
    run = run_of(problem, mm.SGDA(gamma=0.2).practised(warmup=10), 0)
    for k in range(3):
        before = whole(run).copy()
        run.step()
        F = problem.matrix @ before + problem.vector
        step = np.r_[np.full(N, 0.2 * (k + 1) / 10), np.full(sum(SIZES), 0.3)]
        np.testing.assert_allclose(whole(run), before - step * F, rtol=0, atol=1e-14)


@pytest.mark.parametrize("metric", ("none", "rms"))
@pytest.mark.parametrize("local_step", (None, 0.3))
def test_extrapolation_and_metric_are_of_the_shared_variables_alone(local_step, metric):
    problem, gamma = Affine(local_step), 0.2
    run = run_of(problem, mm.Extragradient(gamma=gamma).practised(extrapolation=0, metric=metric), 5)
    before = whole(run).copy()
    run.step()
    own = (local_step or gamma)
    F = problem.matrix @ before + problem.vector
    half = whole(run, "zhalf")
    np.testing.assert_array_equal(half[:N], before[:N])
    np.testing.assert_allclose(half[N:], before[N:] - own * F[N:], rtol=0, atol=1e-14)
    F_half = problem.matrix @ half + problem.vector
    np.testing.assert_allclose(whole(run)[N:], before[N:] - own * F_half[N:], rtol=0, atol=1e-14)
    moved = np.allclose(whole(run)[:N], before[:N] - gamma * F_half[:N], rtol=0, atol=1e-14)
    assert moved == (metric == "none")


def test_the_prox_of_local_variables_is_taken_at_their_own_step():
    """h = 0.5 |l|_1: l+ = prox_{s h}(l - s F), s the local step, whatever gamma is."""

    class Sparse(Affine):
        def local_prox(self, worker):
            return mm.L1(0.5)

    problem = Sparse(local_step=0.3)
    run = run_of(problem, mm.SGDA(gamma=0.01), 0)
    before = whole(run).copy()
    run.step()
    moved = before[N:] - 0.3 * (problem.matrix @ before + problem.vector)[N:]
    np.testing.assert_allclose(whole(run)[N:], np.sign(moved) * np.maximum(np.abs(moved) - 0.3 * 0.5, 0), atol=1e-14)


@pytest.mark.parametrize("method", (mm.SGDA(gamma=0.1, participation=1), mm.EFSGDA(gamma=0.1, participation=2)),
                         ids=lambda method: method.name)
def test_who_takes_no_part_in_a_round_of_descent_keeps_its_variables(method):
    run, lots = run_of(Affine(), method, 0), Lots(SEED, WORKERS, range(WORKERS))
    for k in range(12):
        before = whole(run).copy()
        run.step()
        there = set(lots.draw(k, method.participation).participants.tolist())
        moved = {m for m, own in enumerate(OWN) if (whole(run)[own] != before[own]).any()}
        assert moved == {m for m in there if SIZES[m]}, f"round {k}"


# -- on any number of ranks --------------------------------------------------------------------------


class Watcher(Observer):
    """Keeps this rank's rows, and its workers' variables at the end."""

    def start(self, run):
        self.rows, self.run = [], run

    def observe(self, run, row):
        self.rows.append(row)

    def finish(self, run, result):
        self.local = state.buffers(run.method)["z"][run.problem.n:].tobytes()


def trained(comm=None):
    rng = np.random.default_rng(1)
    labels = np.arange(90) % 3
    images = np.clip(0.3 * rng.random((90, 4, 4)) + 0.25 * labels[:, None, None], 0, 1)
    problem = AdversarialMLP((images, labels), hidden=(8,), workers=7, radius=0.1, radius_warmup=5, ascent=5.0,
                             split="sorted")
    refresh = mm.AbsMax(7, bucket=32, nearest=True)
    method = mm.Masha2(mm.TopK(9), gamma=0.02, tau=0.6, down=mm.TopK(12), refresh=refresh, refresh_down=refresh,
                       batch=3).practised(metric="rms", warmup=8, damping=1e-3, extrapolation=0)
    watcher = Watcher()
    result = mm.solve(problem, method, comm=comm, seed=SEED, stop=mm.Stop(rounds=25), every=5, observers=[watcher])
    return result, watcher


@pytest.mark.ranks(slow=(2, 3))
def test_adversarial_training_is_bit_identical_on_any_number_of_ranks(comm):
    (alone, watched), (together, mine) = trained(), trained(comm)
    assert alone.status == "rounds" and np.isfinite(alone.z).all()
    assert alone.z.tobytes() == together.z.tobytes() and alone.w.tobytes() == together.w.tobytes()
    assert len(set(comm.allgather(together.z.tobytes()))) == 1
    assert b"".join(comm.allgather(mine.local)) == watched.local and any(watched.local)
    for key in ("round", "accuracy", "robust_accuracy", "uplink_bits", "downlink_bits"):
        assert [row[key] for row in mine.rows] == [row[key] for row in watched.rows], key
    assert len({row["robust_accuracy"] for row in watched.rows}) > 1, "training changed nothing"
    assert alone.summary["operator_calls"] == together.summary["operator_calls"]
