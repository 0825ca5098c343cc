"""Data of which each rank reads its part: the problem that the same data give when they are held whole."""

import numpy as np
import pytest
from sklearn.datasets import dump_svmlight_file

import mpimasha as mm
from mpimasha.data import samples, shards
from mpimasha.data.sparse_rows import SparseRows
from mpimasha.errors import UserError
from mpimasha.mpi.communicator import Communicator

N, D = 37, 6
RNG = np.random.default_rng(0)
X = np.where(RNG.uniform(size=(N, D)) < 0.4, RNG.standard_normal((N, D)).round(3), 0.0)
X[0, -1] = 1.0  # so that the file tells d
Y = np.where(RNG.uniform(size=N) < 0.5, 2.0, 5.0)
ALONE = Communicator()


@pytest.fixture
def svm(tmp_path):
    def write(X=X, y=Y, name="set.svm"):
        dump_svmlight_file(X, y, str(tmp_path / name), zero_based=False)
        return str(tmp_path / name)
    return write


@pytest.fixture
def npy(tmp_path):
    def write(X=X, y=Y):
        np.save(tmp_path / "X.npy", X)
        np.save(tmp_path / "y.npy", y)
        return dict(data=str(tmp_path / "X.npy"), labels=str(tmp_path / "y.npy"))
    return write


def loaded(**options):
    problem = mm.RobustRegression(**{"workers": 4, "standardise": False, **options})
    problem.load(ALONE)
    return problem


def dense(part):
    if not isinstance(part, SparseRows):
        return part
    rows = np.zeros((len(part), part.d))
    rows[np.repeat(np.arange(len(part)), part.lengths), part.indices] = part.values
    return rows


def rows_of(problem):
    parts = [problem.shard(m) for m in range(problem.workers)]
    return np.concatenate([dense(X) for X, _ in parts]), np.concatenate([y for _, y in parts])


def F(problem, z):
    out, total = np.empty(problem.n), np.zeros(problem.n)
    for m in range(problem.workers):
        problem.operator(m)(z, out)
        total += out / problem.workers
    return total


# -- the same samples, the same operator -----------------------------------------------------------


@pytest.mark.parametrize("split", samples.SPLITS)
@pytest.mark.parametrize("loss", ("logistic", "square"))
def test_samples_stand_in_the_order_and_with_the_operator_of_the_whole_set(svm, npy, split, loss):
    options = dict(split=split, loss=loss, seed=3)
    whole = mm.RobustRegression((X, Y), workers=4, standardise=False, **options)
    z = np.random.default_rng(1).standard_normal(2 * D)
    for problem in (loaded(data=svm(), **options), loaded(**npy(), **options)):
        assert problem.n == 2 * D
        for mine, expected in zip(rows_of(problem), rows_of(whole)):
            np.testing.assert_array_equal(mine, expected)
        np.testing.assert_allclose(F(problem, z), F(whole, z), rtol=1e-12, atol=1e-12)
        sizes = [len(problem.shard(m)[1]) for m in range(4)]
        if problem.labels or split != "even":
            assert sizes == [len(whole.shard(m)[1]) for m in range(4)]


def test_even_shards_of_a_libsvm_file_are_lines_that_start_in_equal_ranges_of_bytes(svm):
    path = svm()
    content = open(path, "rb").read()
    starts = [i for i in range(len(content)) if i == 0 or content[i - 1:i] == b"\n"]
    problem = loaded(data=path, split="even")
    for m in range(4):
        low, high = m * len(content) // 4, (m + 1) * len(content) // 4
        assert len(problem.shard(m)[1]) == sum(low <= s < high for s in starts)


def test_a_worker_without_a_line_has_only_the_regularisers(svm):
    rows = np.zeros((5, 40))
    rows[2], rows[:, 0] = np.arange(1.0, 41.0), 1.0
    problem = loaded(data=svm(rows, np.arange(5.0)), loss="square", split="even", workers=5, lam=0.3, beta=2.0)
    empty = [m for m in range(5) if not len(problem.shard(m)[1])]
    assert empty
    z, out = np.ones(80), np.empty(80)
    problem.operator(empty[0])(z, out)
    np.testing.assert_array_equal(out, np.repeat([0.3, 2.0], 40))
    assert problem.lipschitz(empty[0]) >= 2.0 and np.isfinite(problem.L)
    whole = mm.RobustRegression((rows, np.arange(5.0)), loss="square", standardise=False, workers=5, lam=0.3, beta=2.0)
    np.testing.assert_allclose(F(problem, z), F(whole, z), rtol=1e-12)


# -- standardising ---------------------------------------------------------------------------------


def test_sparse_columns_get_mean_square_1_and_keep_their_zeros(svm):
    wide = np.column_stack([X * [1, 10, 100, 1, 1, 1], np.zeros(N), np.ones(N)])
    problem = loaded(data=svm(wide), split="even", standardise=True)
    rows, y = rows_of(problem)
    used = wide.any(axis=0)
    np.testing.assert_allclose((rows**2).mean(axis=0)[used], 1, rtol=1e-12)
    np.testing.assert_allclose(rows, wide / np.where(used, np.sqrt((wide**2).mean(axis=0)), 1), rtol=1e-12)
    assert set(y) == {-1.0, 1.0}


@pytest.mark.parametrize("split", samples.SPLITS)
@pytest.mark.parametrize("loss", ("logistic", "square"))
def test_dense_columns_are_standardised_as_those_of_the_whole_set(npy, split, loss):
    features = np.column_stack([X * 100 + 7, np.full(N, 0.1)])
    options = dict(split=split, loss=loss, standardise=True, workers=4)
    whole = mm.RobustRegression((features, Y), **options)
    problem = loaded(**npy(features), **options)
    for mine, expected in zip(rows_of(problem), rows_of(whole)):
        np.testing.assert_allclose(mine, expected, rtol=1e-10, atol=1e-12)
    assert not rows_of(problem)[0][:, -1].any()
    assert problem.lipschitz(1) == pytest.approx(whole.lipschitz(1), rel=1e-9)


def test_labels_of_a_sparse_square_loss_are_standardised_too(svm):
    _, y = rows_of(loaded(data=svm(), loss="square", standardise=True))
    assert y.mean() == pytest.approx(0, abs=1e-14) and y.std() == pytest.approx(1)


# -- constants -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", (np.abs, np.asarray))
@pytest.mark.parametrize("loss", ("logistic", "square"))
def test_constants_bound_those_of_the_whole_set(svm, npy, loss, sign):
    rows = sign(X)
    whole = mm.RobustRegression((rows, Y), loss=loss, workers=4, standardise=False, split="sorted")
    for problem in (loaded(data=svm(rows), loss=loss, split="sorted"), loaded(**npy(rows), loss=loss, split="sorted")):
        assert problem.mu == whole.mu
        assert whole.L * (1 - 1e-12) <= problem.L <= 2 * whole.L
        for m in range(4):
            assert whole.lipschitz(m) * (1 - 1e-12) <= problem.lipschitz(m) <= 2 * whole.lipschitz(m)
        assert problem.solution() is None and problem.gap(np.zeros(problem.n)) is None


@pytest.mark.parametrize("rows", (X, np.abs(X), np.diag(np.arange(1.0, 7.0)), np.zeros((3, 2)), np.ones((4, 1))))
def test_the_bound_of_the_largest_eigenvalue_holds_and_is_sharp_without_signs(rows):
    stored = rows != 0
    matrix = SparseRows.of_lengths(rows[stored], np.nonzero(stored)[1].astype(np.uint32), stored.sum(axis=1),
                                   rows.shape[1])
    true = np.linalg.eigvalsh(np.abs(rows).T @ np.abs(rows))[-1]
    assert true * (1 - 1e-12) <= shards._sparse_top(matrix) <= 1.1 * true


def test_identity_names_the_data_and_not_their_file(svm):
    one, same = loaded(data=svm()), loaded(data=svm(name="other.txt"))
    assert one.identity() == same.identity()
    others = [loaded(data=svm(2 * X)), loaded(data=svm(y=np.roll(Y, 1))), loaded(data=svm(), lam=0.7)]
    assert len({p.identity() for p in [one, *others]}) == 4


def test_a_run_on_a_file_is_solved(svm):
    problem = mm.RobustRegression(data=svm(), workers=4, lam=0.5)
    result = mm.solve(problem, mm.Optimistic(), reference=None, stop=mm.Stop(residual=1e-6, relative_error=0))
    assert result.converged
    np.testing.assert_allclose(F(problem, result.z), 0, atol=1e-5)


# -- loading ---------------------------------------------------------------------------------------


def test_n_is_known_after_loading_or_from_features(svm):
    problem = mm.RobustRegression(data=svm(), workers=4, radius=0.1)
    assert problem.n is None and problem.L is None
    with pytest.raises(UserError, match="has not been read"):
        problem.shard(0)
    problem.load(ALONE)
    assert problem.n == 2 * D and not problem.prox.is_zero
    kept = problem._shards
    problem.load(ALONE)
    assert problem._shards is kept
    announced = mm.RobustRegression(data=svm(), workers=4, features=9)
    assert announced.n == 18
    announced.load(ALONE)
    assert announced.n == 18 and announced.shard(0)[0].d == 9


def test_files_with_indices_from_0(tmp_path):
    (tmp_path / "zero.svm").write_text("1 0:3 1:4\n-1 1:5\n")
    problem = loaded(data=str(tmp_path / "zero.svm"), zero_based=True, split="even", workers=1)
    np.testing.assert_array_equal(rows_of(problem)[0], [[3, 4], [0, 5]])


@pytest.mark.parametrize("options, words", [
    (dict(data="a.npy"), "problem.labels = ''.*give the path of an .npy file"),
    (dict(data="iris", labels="y.npy"), "problem.labels = 'y.npy' does not go with problem.data = 'iris'"),
    (dict(data="a.svm", labels="y.npy"), "problem.labels"), (dict(data="wine", features=3), "problem.features.*LIBSVM"),
    (dict(data="a.npy", labels="b.npy", zero_based=True), "problem.zero_based.*LIBSVM"),
    (dict(data="a.svm", features=-1), "problem.features = -1"),
    (dict(data="a.svm", features=2**40), "problem.features"),
    (dict(data="a.svm", features=2.5), "problem.features = 2.5"), (dict(data="a.svm", zero_based=1), "zero_based = 1"),
    (dict(data="a.csv"), "'a.csv'.*npz.*npy.*svm")])
def test_keys_that_do_not_go_with_the_file_are_refused_at_once(options, words):
    with pytest.raises(UserError, match=words):
        mm.RobustRegression(**options)


@pytest.mark.parametrize("content, words", [
    ("", "workers = 4 exceeds the 0 samples"), ("1 1:1\n2 1:1\n", "workers = 4 exceeds the 2 samples"),
    ("1\n2\n" * 4, "no index:value"), ("1 1:1\n" * 5, "1 classes"), ("1 1:1\n2 1:1\n3 1:1\n" * 5, "3 classes"),
    ("1 1:1\n" * 5 + "1 1;1\n", "line 6, column 3")])
def test_files_that_are_no_classification_are_refused(tmp_path, content, words):
    (tmp_path / "set.svm").write_text(content)
    with pytest.raises(UserError, match=words):
        loaded(data=str(tmp_path / "set.svm"))


@pytest.mark.parametrize("arrays, words", [
    ((X, Y[:5]), "shape"), ((X[:, 0], Y), "shape"), ((X[:3], Y[:3]), "exceeds the 3 samples"),
    ((X * np.nan, Y), "finite"), ((X + 1j, Y), "numeric"), ((X, np.arange(N)), "37 classes")])
def test_npy_files_that_are_no_classification_are_refused(npy, arrays, words):
    with pytest.raises(UserError, match=words):
        loaded(**npy(*arrays))


def test_npy_files_that_are_missing_or_torn_are_refused(npy, tmp_path):
    names = npy()
    with pytest.raises(UserError, match="problem.labels = .*no.npy' does not exist"):
        loaded(data=names["data"], labels=str(tmp_path / "no.npy"))
    content = open(names["data"], "rb").read()
    for torn in (b"", b"hello", content[:60], content[:-8]):
        open(names["data"], "wb").write(torn)
        with pytest.raises(UserError, match="problem.data.*cannot be read"):
            loaded(**names)


def test_arrays_of_any_kind_and_layout_are_those_of_their_float64_values(npy):
    rounded = X.astype(np.float32)
    expected = loaded(**npy(rounded.astype(float), Y)).identity()
    for kind in (rounded, np.asfortranarray(rounded), rounded.astype(">f4")):
        assert loaded(**npy(kind, Y.astype(np.int8))).identity() == expected


@pytest.mark.parametrize("options, key", [(dict(beta=1e-4), "problem.beta = 0.0001"),
                                          (dict(radius=1e-3), "problem.radius = 0.001")])
def test_a_region_too_small_to_tell_samples_apart_is_warned_of_at_the_start(options, key):
    problem = mm.RobustRegression((X, Y), workers=4, **options)
    sentence, = problem.warnings(problem.start())
    assert sentence.startswith(key) and f"raise {key.split(' ')[0]}" in sentence
    assert mm.RobustRegression((X, Y), workers=4).warnings(np.zeros(2 * D)) == []
