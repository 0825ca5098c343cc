"""Data sets: read whole or refused in one sentence, standardised, labelled and ordered as stated."""

import os
import zipfile

import numpy as np
import pytest

from mpimasha.data import samples
from mpimasha.errors import UserError

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((20, 3)), RNG.standard_normal(20)


@pytest.fixture
def npz(tmp_path):
    def write(compressed=False, **arrays):
        path = tmp_path / "set.npz"
        (np.savez_compressed if compressed else np.savez)(path, **arrays)
        return str(path)
    return write


def refused(path, *words):
    with pytest.raises(UserError) as caught:
        samples.load(path)
    sentence = str(caught.value)
    assert "\n" not in sentence and "problem.data" in sentence and os.path.basename(path) in sentence
    for word in words:
        assert word in sentence
    return sentence


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", (False, True))
@pytest.mark.parametrize("dtype", (np.float64, np.float32, np.int64, bool))
def test_arrays_come_back_in_float64_with_their_values(npz, dtype, compressed):
    read_X, read_y = samples.load(npz(compressed, X=X.astype(dtype), y=Y.astype(dtype), other=np.ones(2)))
    assert read_X.dtype == read_y.dtype == np.float64
    np.testing.assert_array_equal(read_X, X.astype(dtype).astype(float))
    np.testing.assert_array_equal(read_y, Y.astype(dtype).astype(float))


@pytest.mark.parametrize("arrays, words", [
    ({"Z": X, "y": Y}, ["holds Z, y", "X and y"]), ({}, ["no arrays", "X and y"]), ({"a\nb": X}, ["X and y"]),
    ({"X": X, "y": Y[:5]}, ["(20, 3)", "(5,)"]), ({"X": X[:, 0], "y": Y}, ["(20,)"]),
    ({"X": X[None], "y": Y}, ["(1, 20, 3)"]),
    ({"X": X, "y": Y[:, None]}, ["(20, 1)"]), ({"X": X, "y": np.array(1.0)}, ["()"]),
    ({"X": X[:0], "y": Y[:0]}, ["at least 1"]), ({"X": X[:, :0], "y": Y}, ["at least 1"]),
    ({"X": np.where(X > 1, np.nan, X), "y": Y}, ["finite"]), ({"X": X, "y": Y * np.inf}, ["finite"]),
    ({"X": np.full((20, 3), "a"), "y": Y}, ["numeric"]), ({"X": np.array([[None, 1]]), "y": Y}, []),
    ({"X": X + 1j, "y": Y}, ["numeric"]), ({"X": np.full((20, 3), np.datetime64("2020-01-01")), "y": Y}, ["numeric"]),
    ({"X": np.zeros((20, 3), [("a", float)]), "y": Y}, ["numeric"])],
    ids=["no X", "empty", "newline", "length", "1d", "3d", "y 2d", "y 0d", "no rows", "no columns", "nan", "inf",
         "words", "objects", "complex", "dates", "records"])
def test_arrays_that_are_no_data_set_are_refused(npz, arrays, words):
    refused(npz(**arrays), *words)


def test_a_file_that_is_missing_or_a_folder_is_refused(tmp_path):
    refused(str(tmp_path / "no.npz"), "does not exist")
    (tmp_path / "folder.npz").mkdir()
    refused(str(tmp_path / "folder.npz"))
    with pytest.raises(UserError, match="bundled set.*breast_cancer.*npz"):
        samples.load("mnist")
    with pytest.raises(UserError, match="'a.csv'"):
        samples.load("a.csv")
    with pytest.raises(UserError):
        samples.load("a\0.npz")


@pytest.mark.parametrize("content", (b"", b"hello world, not an archive" * 20, b"PK\x03\x04", b"\x80\x04K\x01.",
                                     b"\x93NUMPY"))
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "torn.npz"
    path.write_bytes(content)
    refused(str(path), "cannot be read", ".npz")


def test_an_npy_file_named_npz_is_refused(tmp_path):
    with open(tmp_path / "array.npz", "wb") as file:
        np.save(file, X)
    refused(str(tmp_path / "array.npz"))


@pytest.mark.parametrize("compressed", (False, True))
def test_a_torn_or_damaged_file_is_read_whole_or_refused(tmp_path, npz, compressed):
    whole = open(npz(compressed, X=X, y=Y), "rb").read()
    path = str(tmp_path / "torn.npz")
    for place in range(0, len(whole), 7):
        flipped = whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1:]
        for content in (whole[:place], flipped):
            with open(path, "wb") as file:
                file.write(content)
            try:
                torn_X, torn_y = samples.load(path)
            except UserError as error:
                assert "\n" not in str(error) and path in str(error)
            else:  # a byte that does not matter
                np.testing.assert_array_equal(torn_X, X)
                np.testing.assert_array_equal(torn_y, Y)


def test_an_archive_that_claims_an_enormous_array_is_refused(tmp_path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 9999), }"
    header = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + header.ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("X.npy", header)
        archive.writestr("y.npy", header)
    refused(str(tmp_path / "huge.npz"))


# -- bundled sets and arrangement ------------------------------------------------------------------


@pytest.mark.parametrize("name, shape", [("breast_cancer", (569, 30)), ("diabetes", (442, 10)), ("iris", (150, 4)),
                                         ("wine", (178, 13)), ("digits", (1797, 64))])
def test_bundled_sets_are_there(name, shape):
    assert name in samples.BUNDLED
    features, labels = samples.load(name)
    assert features.shape == shape and labels.shape == shape[:1] and features.dtype == labels.dtype == np.float64


def test_standardised_columns_have_mean_0_and_variance_1():
    S = samples.standardised(X * [1.0, 1e6, 1e-6] + [0.0, 1e6, 1e-5])
    np.testing.assert_allclose(S.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(S.std(axis=0), 1, rtol=1e-9)
    s = samples.standardised(Y)
    assert s.mean() == pytest.approx(0, abs=1e-14) and s.std() == pytest.approx(1)


@pytest.mark.parametrize("value", (0.0, 1.0, 0.1, 0.3, 1 / 3, 1e6 + 0.1, -1e-7))
@pytest.mark.parametrize("count", (10, 30, 569))
def test_constant_columns_become_zero(value, count):
    features = np.column_stack([np.full(count, value), np.arange(count)])
    np.testing.assert_array_equal(samples.standardised(features)[:, 0], np.zeros(count))


@pytest.mark.parametrize("labels", ([0, 1, 1], [2, 5, 5], [-1, 1, 1], [-0.5, 7.25, 7.25]))
def test_any_two_classes_become_signs_in_their_order(labels):
    np.testing.assert_array_equal(samples.signs(np.array(labels, float), "a"), [-1, 1, 1])


@pytest.mark.parametrize("labels, count", [(np.ones(5), 1), (np.arange(3.0), 3)])
def test_another_number_of_classes_is_refused(labels, count):
    with pytest.raises(UserError, match=f"problem.data = 'a'.*{count} class.*two.*loss = 'square'"):
        samples.signs(labels, "a")


def test_orders_are_permutations_by_file_label_and_seed():
    labels = np.array([3.0, 1.0, 2.0, 1.0, 3.0] * 5)
    for split in samples.SPLITS:
        assert sorted(samples.order(split, labels, 0)) == list(range(25))
    np.testing.assert_array_equal(samples.order("even", labels, 0), np.arange(25))
    by_label = samples.order("sorted", labels, 0)
    assert [(labels[i], i) for i in by_label] == sorted((label, i) for i, label in enumerate(labels))
    shuffles = [tuple(samples.order("shuffled", labels, seed)) for seed in (0, 0, 1)]
    assert shuffles[0] == shuffles[1] != shuffles[2]
