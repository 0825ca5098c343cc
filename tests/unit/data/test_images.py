"""Images: read to [0, 1] with classes from 0, or refused in one sentence; cut into parts and dealt as stated."""

import gzip
import os
import struct
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from mpimasha.data import images
from mpimasha.errors import UserError

RNG = np.random.default_rng(0)
PIXELS, LABELS = RNG.integers(0, 256, (30, 2, 3), np.uint8), RNG.integers(0, 3, 30)
PIXELS[0, 0, :2] = 0, 255
NUMBERED = images.load((np.arange(100).reshape(100, 1, 1).astype(np.uint8), np.arange(100) % 7))


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "set.npz", **arrays)
        return str(tmp_path / "set.npz")
    return write


@pytest.fixture
def idx(tmp_path):
    def write(images, labels, part="train", gz=""):
        for kind, array in (("images", images), ("labels", labels)):
            content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype("B").tobytes()
            name = f"{part}-{kind}-idx{array.ndim}-ubyte{gz}"
            (tmp_path / name).write_bytes(gzip.compress(content) if gz else content)
        return str(tmp_path / f"{part}-images-idx3-ubyte{gz}")
    return write


def refused(source, *words):
    with pytest.raises(UserError) as caught:
        images.load(source)
    for word in ("problem.data = ", *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


# -- sources ---------------------------------------------------------------------------------------


def test_digits_are_there():
    digits = images.load("digits")
    assert digits.X.shape == (1797, 64) and digits.shape == (8, 8) and digits.X_test is digits.y_test is None
    assert digits.X.dtype == np.float64 and digits.y.dtype == np.int64
    assert digits.X.min() == 0 and digits.X.max() == 1 and set(digits.y) == set(range(10))


def test_digits_without_scikit_learn_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    refused("digits", "'digits'", "pip install 'mpimasha[data]'")


def check(read, pixels=PIXELS, shape=(2, 3), labels=LABELS):
    assert read.X.dtype == np.float64 and read.y.dtype == np.int64 and read.X.flags.c_contiguous
    assert read.shape == shape
    np.testing.assert_array_equal(read.X, pixels.reshape(len(pixels), -1) / 255)
    np.testing.assert_array_equal(read.y, labels)


@pytest.mark.parametrize("dtype", (np.uint8, np.int16, np.uint64, np.int64))
def test_whole_numbers_are_divided_by_255(npz, dtype):
    check(images.load(npz(images=PIXELS.astype(dtype), labels=LABELS, other=np.ones(2))))
    check(images.load((PIXELS.astype(dtype), LABELS)))
    check(images.load((np.asfortranarray(PIXELS.astype(dtype)), list(LABELS))))


def test_floats_are_taken_as_they_are():
    check(images.load((PIXELS / 255, LABELS)))
    single = (PIXELS / 255).astype(np.float32)
    np.testing.assert_array_equal(images.load((single, LABELS)).X, single.reshape(30, 6))


def test_black_and_white_is_0_and_1_except_in_bytes():
    black_and_white = PIXELS > 127
    for dtype in (bool, np.int8, np.int64, float):
        check(images.load((black_and_white.astype(dtype), LABELS)), black_and_white * 255)
    check(images.load((black_and_white.astype(np.uint8), LABELS)), black_and_white)


def test_flat_images_must_be_square(npz):
    flat = PIXELS.reshape(45, 4)
    check(images.load(npz(images=flat, labels=np.arange(45))), flat, (2, 2), np.arange(45))
    refused((PIXELS.reshape(30, 6), LABELS), "6 pixels", "no square", "(N, h, w)")


@pytest.mark.parametrize("labels, classes", [
    ([7, -2, 7, 100], [1, 0, 1, 2]), ([2.0, 0.0, -1e300, 2.0], [2, 1, 0, 2]), ([True, False, True, True], [1, 0, 1, 1]),
    ([2**60, 2**60 + 1, 2**60, 0], [1, 2, 1, 0])])
def test_any_whole_numbers_become_classes_in_their_order(labels, classes):
    check(images.load((PIXELS[:4], np.array(labels))), PIXELS[:4], labels=classes)


@pytest.mark.parametrize("gz", ("", ".gz"))
def test_idx_files_with_and_without_a_test_part(idx, gz):
    path = idx(PIXELS, LABELS + 3, gz=gz)
    check(images.load(path))
    idx(PIXELS[:4], LABELS[:4] + 3, "t10k", gz)
    read = images.load(path)
    check(read)
    check(images.Images(read.X_test, read.y_test, read.shape), PIXELS[:4], labels=LABELS[:4])


def test_paths_need_not_be_texts(tmp_path, npz):
    npz(images=PIXELS, labels=LABELS)
    check(images.load(tmp_path / "set.npz"))


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("pixels, labels, words", [
    (PIXELS, LABELS[:5], ["(30, 2, 3)", "(5,)"]), (PIXELS[:0], LABELS[:0], ["at least 1"]),
    (PIXELS[:, :0], LABELS, ["at least 1"]), (PIXELS[None], LABELS, ["(1, 30, 2, 3)"]),
    (PIXELS[:, 0, 0], LABELS, ["(30,)"]), (PIXELS, LABELS[:, None], ["(30, 1)"]), (PIXELS, np.array(1), ["()"]),
    (PIXELS.astype(str), LABELS, ["not numeric"]), (PIXELS, LABELS.astype(str), ["not numeric"]),
    (PIXELS * 1j, LABELS, ["complex128"]), (PIXELS.astype(float), LABELS, ["to 255", "[0, 1]"]),
    (PIXELS / 255 - 0.5, LABELS, ["from -0.5", "[0, 1]"]), (np.where(PIXELS > 9, np.nan, 0), LABELS, ["nan"]),
    (np.where(PIXELS > 9, np.inf, 0), LABELS, ["inf"]), (PIXELS.astype(int) + 1, LABELS, ["256", "0 to 255"]),
    (PIXELS.astype(int) - 1, LABELS, ["-1 to", "0 to 255"]), (PIXELS, LABELS + 0.5, ["labels", "whole"]),
    (PIXELS, LABELS * np.nan, ["whole"]), (PIXELS, LABELS + np.inf, ["whole"]),
    (PIXELS, LABELS * 0 + 4, ["only the label 4", "two classes"])],
    ids=["counts", "no images", "no rows", "4d", "1d", "labels 2d", "labels 0d", "words", "label words", "complex",
         "floats to 255", "negative floats", "nan", "inf", "256", "-1", "halves", "nan labels", "inf labels",
         "one class"])
def test_arrays_that_are_no_images_are_refused(npz, pixels, labels, words):
    refused((pixels, labels), "'arrays'", *words)
    refused(npz(images=pixels, labels=labels), "set.npz", *words)


@pytest.mark.parametrize("source", ((PIXELS,), (PIXELS, LABELS, LABELS), 5, None, ([[1], [2, 3]], [0, 1])))
def test_no_pair_of_arrays_is_refused(source):
    refused(source, "no pair of arrays")


@pytest.mark.parametrize("source", ("mnist", "a.csv", "", "arrays", "train-labels-idx1-ubyte"))
def test_unknown_sources_are_refused(source):
    refused(source, repr(source), "'digits'", ".npz", "idx3")


def test_npz_files_that_hold_something_else_are_refused(tmp_path, npz):
    refused(str(tmp_path / "no.npz"), "no.npz", "does not exist")
    refused(npz(X=PIXELS, labels=LABELS), "holds X, labels", "images and labels")
    refused(npz(), "no arrays")
    refused(npz(images=np.array([[None, 1]]), labels=LABELS), "cannot be read")
    with open(npz(), "wb") as file:
        np.save(file, PIXELS)
    refused(file.name, "single array")
    (tmp_path / "folder.npz").mkdir()
    refused(str(tmp_path / "folder.npz"), "cannot be read")
    refused("a\0.npz", "does not exist")


def test_torn_npz_files_are_refused(npz):
    path = npz(images=PIXELS, labels=LABELS)
    for size in range(0, os.path.getsize(path), 20):
        npz(images=PIXELS, labels=LABELS)
        os.truncate(path, size)
        refused(path, "set.npz", "torn")


def test_idx_files_that_do_not_go_together_are_refused(tmp_path, idx):
    refused(str(tmp_path / "train-images-idx3-ubyte"), "does not exist")
    refused(idx(PIXELS, LABELS[:5]), "(30, 2, 3)", "(5,)")
    path = idx(PIXELS, LABELS)
    idx(PIXELS.reshape(-1, 3, 2), LABELS, "t10k")
    refused(path, repr(path), "(2, 3)", "(3, 2)")
    idx(PIXELS, LABELS + 1, "t10k")
    refused(path, repr(path), "label 3", "test part only")
    idx(PIXELS, LABELS[:5], "t10k")
    refused(path, repr(path), "(5,)")


# -- parts -----------------------------------------------------------------------------------------


def members(parts):
    """Numbers of the images of train, validation and test, whose pixels and classes tell them."""
    numbers = [np.rint(X[:, 0] * 255).astype(int) for X, _ in (parts.train, parts.validation, parts.test)]
    for number, (X, y) in zip(numbers, (parts.train, parts.validation, parts.test)):
        assert X.dtype == np.float64 and y.dtype == np.int64
        np.testing.assert_array_equal(y, number % 7)
    return numbers


@given(test=st.floats(0, 1), validation=st.floats(0, 1), N=st.integers(3, 100), seed=st.integers(0, 2**40))
def test_parts_are_disjoint_and_complete_or_refused(test, validation, N, seed):
    few = images.Images(NUMBERED.X[:N], NUMBERED.y[:N], NUMBERED.shape)
    sizes = N - round(test * N) - round(validation * N), round(validation * N), round(test * N)
    if min(sizes) < 1 or not (0 < test < 1 and 0 < validation < 1):
        with pytest.raises(UserError, match="problem.(test|validation) = "):
            images.split(few, seed, test, validation)
    else:
        numbers = members(images.split(few, seed, test, validation))
        assert tuple(map(len, numbers)) == sizes
        assert sorted(np.concatenate(numbers)) == list(range(N))


def test_parts_are_shuffled_by_the_seed_alone():
    first, again, other = (members(images.split(NUMBERED, seed)) for seed in (0, 0, 1))
    assert [len(part) for part in first] == [60, 20, 20]
    for a, b, c in zip(first, again, other):
        np.testing.assert_array_equal(a, b)
        assert set(a) != set(c) and list(a) != sorted(a)


def test_the_test_part_does_not_depend_on_the_validation_part():
    parts = [images.split(NUMBERED, 0, validation=share) for share in (0.1, 0.5)]
    np.testing.assert_array_equal(members(parts[0])[2], members(parts[1])[2])


def test_a_test_part_of_its_own_is_taken_as_it_is():
    own = replace(NUMBERED, X_test=NUMBERED.X[:5], y_test=NUMBERED.y[:5])
    train, validation, test = members(images.split(own, 0, test=0.9))
    assert list(test) == [0, 1, 2, 3, 4] and len(validation) == 20
    assert sorted([*train, *validation]) == list(range(100))
    for share in (0.001, 0.999):
        with pytest.raises(UserError, match=f"^problem.validation = {share} takes (0|100) of 100 images"):
            images.split(own, 0, validation=share)


@pytest.mark.parametrize("share", (0, 1, -0.1, 1.5, float("nan"), "0.2", None, True))
def test_what_is_no_share_is_refused(share):
    for key in ("test", "validation"):
        with pytest.raises(UserError, match=f"^problem.{key} = .*share.*above 0 and below 1"):
            images.split(NUMBERED, 0, **{key: share})


# -- workers ---------------------------------------------------------------------------------------


def test_orders_are_as_shuffled_or_by_class():
    y = np.array([3, 1, 2, 1, 3, 0])
    np.testing.assert_array_equal(images.arrange(y, "even", 6, 0), np.arange(6))
    np.testing.assert_array_equal(images.arrange(y, "sorted", 2, 0), [5, 1, 3, 2, 0, 4])


def test_orders_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="^problem.split = 'sort' is unknown: did you mean 'sorted'"):
        images.arrange(np.arange(5), "sort", 2, 0)
    with pytest.raises(UserError, match="^workers = 6 exceeds the 5 images"):
        images.arrange(np.arange(5), "even", 6, 0)
