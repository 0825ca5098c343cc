"""Estimates of constants against the eigenvalues and singular values NumPy finds in whole matrices."""

import tracemalloc

import numba
import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds

from mpimasha.errors import UserError
from mpimasha.kernels.hashing import stream_key
from mpimasha.problems import spectrum
from mpimasha.problems.bilinear import Bilinear
from mpimasha.problems.robust_regression import RobustRegression
from mpimasha.problems.sparse_bilinear import SparseBilinear

compiled_only = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="needs the compiler")
KEY = stream_key(0, 9, 0, 0)


class Counted:
    """A function that knows how often it was called."""

    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self, *arguments):
        self.calls += 1
        return self.function(*arguments)


def mean_operator(problem):
    operators = [problem.operator(m) for m in range(problem.workers)]
    part = np.empty(problem.n)

    def F(z, out):
        out[:] = 0
        for operator in operators:
            operator(z, part)
            out += part / len(operators)
    return F


def jacobian(F, z, step=1e-5):
    """By central differences."""
    columns, above, below = [], np.empty_like(z), np.empty_like(z)
    for e in np.eye(len(z)):
        F(z + step * e, above)
        F(z - step * e, below)
        columns.append((above - below) / (2 * step))
    return np.array(columns).T


def norm(matrix):
    return np.linalg.norm(matrix, 2)


def game(seed, n=12, saddle=5, dtype=float):
    """(J, F) of a quadratic game: S J symmetric, F affine."""
    rng = np.random.default_rng(seed)
    H = rng.standard_normal((n, n))
    H = (H + H.T) / 2
    J = np.concatenate([H[:saddle], -H[saddle:]]).astype(dtype)
    b = rng.standard_normal(n).astype(dtype)

    def F(z, out):
        out[:] = J @ z + b
    return J, F


# -- differences -------------------------------------------------------------------------------------


@pytest.mark.parametrize("saddle", (0, 1, 5, 12))
@pytest.mark.parametrize("dtype", (np.float64, np.float32))
def test_differences_apply_the_jacobian_and_its_transpose(saddle, dtype):
    J, F = game(1, saddle=saddle, dtype=dtype)
    z, S = np.arange(12.0).astype(dtype), np.diag([1.0] * saddle + [-1.0] * (12 - saddle))
    at, tolerance = spectrum.Difference(F, z, saddle), {np.float64: 1e-7, np.float32: 3e-2}[dtype]
    for v in np.random.default_rng(2).standard_normal((3, 12)):
        for scale in (1e-6, 1.0, 1e6):  # only the direction decides how far F is probed
            expected = {at.jacobian: J @ v, at.transposed: J.T @ v, at.symmetrised: S @ J @ v,
                        at.normal: J.T @ (J @ v), at.symmetric_part: (J + J.T) @ v / 2}
            for method, image in expected.items():
                np.testing.assert_allclose(method(scale * v) / scale, image, rtol=0, atol=tolerance * 12)
    assert at.calls == 1 + 9 * (1 + 1 + 1 + 2 + 2)


def test_differences_leave_the_vector_alone_and_send_nothing_to_nothing():
    _, F = game(3)
    at, v = spectrum.Difference(F, np.zeros(12), 5), np.ones(12)
    for method in (at.jacobian, at.transposed, at.symmetrised, at.normal, at.symmetric_part):
        method(v)
        np.testing.assert_array_equal(v, 1)
        np.testing.assert_array_equal(method(np.zeros(12)), 0)


# -- constants of operators ----------------------------------------------------------------------------


def random_problem(i):
    rng = np.random.default_rng(i)
    options = dict(dim=int(rng.integers(10, 40)), kappa=float(10**rng.uniform(0, 4)), workers=3, seed=i,
                   heterogeneity=float(rng.choice([0.0, 0.5, 10.0])))
    if i % 2:
        return Bilinear(**options)
    return SparseBilinear(**options, nonzeros=int(rng.integers(1, 10)))


def dense(problem, worker):
    """J_m of a bilinear problem, dense or sparse."""
    if isinstance(problem, Bilinear):
        A = problem.data(worker)[0]
    else:
        columns, values, _ = problem.data(worker)
        A = np.zeros((problem.dim, problem.dim))
        np.add.at(A, (np.arange(problem.dim), columns), values)
    eye = np.eye(problem.dim) / problem.kappa
    return np.block([[eye, A], [-A.T, eye]])


@pytest.mark.parametrize("i", range(50))
def test_L_of_a_random_problem_is_at_least_the_norm_and_at_most_a_tenth_above(i):
    problem = random_problem(i)
    operator = Counted(problem.operator(1))
    z = np.random.default_rng(i).standard_normal(problem.n)
    L, true = spectrum.lipschitz(operator, z, problem.dim, stream_key(i, 9, 0, 0)), norm(dense(problem, 1))
    assert true <= L <= 1.1 * true
    assert operator.calls <= 100
    mu = spectrum.monotonicity(problem.operator(1), z, problem.dim, KEY)
    assert mu == pytest.approx(1 / problem.kappa, rel=1e-4, abs=1e-7)


def test_L_of_the_mean_operator_and_rms_of_the_workers():
    problem = SparseBilinear(dim=20, workers=3, heterogeneity=10.0)
    J, z = [dense(problem, m) for m in range(3)], problem.start()
    assert 1 <= spectrum.lipschitz(mean_operator(problem), z, problem.dim, KEY) / norm(sum(J) / 3) <= 1.1
    workers = [spectrum.Difference(problem.operator(m), z, problem.dim) for m in range(3)]
    apply = Counted(lambda v: sum(worker.normal(v) for worker in workers) / 3)
    true = np.sqrt(norm(sum(J_m.T @ J_m for J_m in J) / 3))
    assert 1 <= spectrum.rms(apply, problem.n, KEY) / true <= 1.1
    assert all(worker.calls == 1 + 2 * apply.calls for worker in workers)


@compiled_only
def test_L_of_a_large_sparse_problem_is_what_scipy_finds():
    problem = SparseBilinear(dim=5000, workers=2, kappa=1e3)
    columns, values, _ = problem.data(0)
    A = csr_matrix((values.T.ravel().astype(float), columns.T.ravel(), np.arange(0, 50001, 10)), shape=(5000, 5000))
    true = np.hypot(svds(A, 1, return_singular_vectors=False)[0], 1e-3)
    operator = Counted(problem.operator(0))
    assert 1 <= spectrum.lipschitz(operator, problem.start(), problem.saddle, KEY) / true <= 1.1
    assert operator.calls <= 80


@pytest.mark.parametrize("loss", ("logistic", "square"))
def test_local_constants_of_a_regression_are_those_of_its_jacobian(loss):
    rng = np.random.default_rng(4)
    X = rng.standard_normal((23, 4)) * [1.0, 5.0, 0.5, 2.0]
    y = np.sign(X.sum(1)) if loss == "logistic" else X.sum(1)
    problem = RobustRegression((X, y), loss=loss, standardise=False, lam=0.2, beta=3.0, workers=4)
    for z in (np.zeros(8), 0.3 * rng.standard_normal(8)):
        for F in (problem.operator(2), mean_operator(problem)):
            J = jacobian(F, z)
            assert 1 <= spectrum.lipschitz(F, z, 4, KEY) / norm(J) <= 1.1
            lowest = np.linalg.eigvalsh((J + J.T) / 2)[0]
            assert spectrum.monotonicity(F, z, 4, KEY) == pytest.approx(lowest, rel=1e-3, abs=1e-5)


def test_a_gradient_is_its_own_transpose_and_an_unknown_structure_has_no_estimate():
    J, F = game(5, saddle=12)
    z = np.ones(12)
    assert 1 <= spectrum.lipschitz(F, z, 12, KEY) / norm(J) <= 1.1
    assert spectrum.monotonicity(F, z, 12, KEY) == pytest.approx(np.linalg.eigvalsh(J)[0], rel=1e-6)
    assert spectrum.lipschitz(F, z, None, KEY) is None and spectrum.monotonicity(F, z, None, KEY) is None


def test_a_problem_in_float32_has_the_same_constants():
    J, F = game(6, dtype=np.float32)
    L = spectrum.lipschitz(F, np.ones(12, np.float32), 5, KEY)
    assert 1 <= L / norm(J.astype(float)) <= 1.1


# -- Lanczos -------------------------------------------------------------------------------------------


def semicircle(n):
    return 2 * np.random.default_rng(0).beta(1.5, 1.5, n) - 1


SPECTRA = {
    "all equal": np.full(400, 3.0), "zero": np.zeros(50), "one": np.array([2.0]), "one, negative": np.array([-2.0]),
    "two": np.array([2.0, -2.0]), "three": np.array([1.0, 1e-9, -0.5]),
    "an outlier on the identity": np.r_[10.0, np.ones(999)], "half of them largest": np.r_[np.ones(200), np.zeros(200)],
    "the largest twice": np.r_[1.0, 1.0, np.linspace(0, 0.97, 500)],
    "crowded at the top": 1 - np.linspace(0, 1, 800)**3,
    "even": np.linspace(0, 1, 1000), "symmetric": np.linspace(-1, 1, 1000), "thin edges": semicircle(2000),
    "the negative end": np.r_[-1.1, np.linspace(-1, 1, 600)], "geometric": 0.8**np.arange(60),
    "a slow tail": (1.0 + np.arange(1000))**-0.3, "huge": 1e150 * np.linspace(0, 1, 100),
    "tiny": 1e-150 * np.linspace(0, 1, 100),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("seed", range(3))
def test_the_largest_magnitude_is_met_within_the_margin_on_hard_spectra(name, seed):
    values = SPECTRA[name]
    apply = Counted(lambda v: values * v)
    found, true = spectrum.largest(apply, len(values), stream_key(seed, 9, 0, 0)), np.abs(values).max()
    assert true <= spectrum.SAFETY * found and found <= 1.011 * true
    assert apply.calls <= 60


@pytest.mark.parametrize("name", [n for n, values in SPECTRA.items() if len(values) <= 500])
def test_the_smallest_eigenvalue_is_met_from_above(name):
    values = SPECTRA[name]
    found, size = spectrum.smallest(lambda v: values * v, len(values), KEY), np.abs(values).max()
    assert values.min() - 1e-13 * size <= found <= values.min() + 0.01 * size


def test_the_residual_is_added_to_a_ritz_value_that_has_not_converged():
    values = np.linspace(0, 1, 1000)
    few = spectrum.largest(lambda v: values * v, 1000, KEY, steps=4)
    ritz, residual = spectrum._lanczos(lambda v: values * v, 1000, KEY, np.argmax, 0.01, 4, bool)
    assert few == ritz + residual and residual > 0.01 and ritz < 1 and few > 1


def test_the_same_key_gives_the_same_bits_and_another_key_another_start():
    values = np.linspace(0, 1, 100)
    starts = []

    def apply(v):
        starts.append(v.copy())
        return values * v
    first, again, other = (spectrum.largest(apply, 100, key) for key in (KEY, KEY, stream_key(1, 9, 0, 0)))
    assert first == again != other
    assert all(np.linalg.norm(v) == pytest.approx(1) for v in starts)


def test_the_tolerance_and_the_number_of_steps_are_obeyed():
    values = np.linspace(-1, 1, 4000)**3

    def calls(**options):
        apply = Counted(lambda v: values * v)
        spectrum.largest(apply, 4000, KEY, **options)
        return apply.calls
    assert 30 == calls(tol=0.1) < calls() < calls(tol=1e-3) <= 200
    assert calls() == calls(tol=0.01) and calls(steps=12) == 12


def test_every_decision_to_stop_passes_through_agree():
    asked = []

    def agree(wish):
        asked.append(bool(wish))
        return len(asked) == 40
    apply = Counted(lambda v: np.linspace(0, 1, 60) * v)
    spectrum.largest(apply, 60, KEY, agree=agree)
    assert apply.calls == len(asked) == 40 and asked[-1]


@pytest.mark.parametrize("bad", (np.inf, np.nan))
def test_an_operator_that_is_not_finite_is_refused_in_one_sentence(bad):
    with pytest.raises(UserError, match="not finite"):
        spectrum.largest(lambda v: bad * v, 10, KEY)


@compiled_only
def test_no_more_than_five_vectors_are_held():
    n, J = 40_000, np.linspace(1, 2, 40_000)

    def F(z, out):
        np.multiply(J, z, out=out)
    z = np.zeros(n)
    tracemalloc.start()
    assert 2 <= spectrum.lipschitz(F, z, n, KEY) <= 2.2
    assert tracemalloc.get_traced_memory()[1] < 5.3 * 8 * n + 1.1e6  # and the tridiagonal matrices
    tracemalloc.stop()
