"""IDX files: read whole, packed or not, with the files beside them, or refused in one sentence."""

import gzip
import struct
import time

import numpy as np
import pytest

from mpimasha.data import idx
from mpimasha.errors import UserError

RNG = np.random.default_rng(0)
PIXELS, LABELS = RNG.integers(0, 256, (20, 3, 4), np.uint8), RNG.integers(0, 10, 20, np.uint8)


def packed(array, kind=0x08):
    return struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape) + array.tobytes()


def write(folder, name, content):
    content = packed(content) if isinstance(content, np.ndarray) else content
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return str(folder / name)


def refused(call, *words):
    with pytest.raises(UserError) as caught:
        call()
    for word in ("problem.data = ", *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def read(path, dimensions=3):
    return idx.read(path, dimensions, f"problem.data = {path!r}")


# -- one file --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ("a", "a.gz"))
def test_arrays_come_back_as_they_were(tmp_path, name):
    for array in (PIXELS, LABELS, PIXELS[:0], np.zeros((1, 1), np.uint8)):
        back = read(write(tmp_path, name, array), array.ndim)
        assert back.dtype == np.uint8
        np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("name", ("a", "a.gz"))
@pytest.mark.parametrize("content, words", [
    (b"", ["with nothing", "00 00 08 03"]), (b"\0\0", ["00 00:"]), (packed(PIXELS)[:15], ["header of 16", "torn"]),
    (packed(LABELS), ["00 00 08 01", "3 dimensions"]), (packed(PIXELS, 0x0D), ["00 00 0d 03", "unsigned bytes"]),
    (packed(PIXELS)[:-1], ["fewer", "240", "(20, 3, 4)"]), (packed(PIXELS) + b"\0", ["more", "240"]),
    (b"not an IDX file", ["6e 6f 74 20"])],
    ids=["empty", "magic torn", "header torn", "dimensions", "type", "short", "long", "text"])
def test_a_file_that_is_not_what_its_header_says_is_refused(tmp_path, name, content, words):
    path = write(tmp_path, name, content)
    refused(lambda: read(path), repr(path), *words)


@pytest.mark.parametrize("name", ("a", "a.gz"))
def test_a_file_that_promises_too_much_is_refused_before_it_is_allocated(tmp_path, name):
    path = write(tmp_path, name, struct.pack(">4I", 0x0803, 2**32 - 1, 2**32 - 1, 2**32 - 1) + b"pixels")
    started = time.monotonic()
    refused(lambda: read(path), "fewer", "torn")
    assert time.monotonic() - started < 5


def test_a_torn_or_damaged_gzip_file_is_read_whole_or_refused(tmp_path):
    whole, path = gzip.compress(packed(PIXELS)), tmp_path / "a.gz"
    for place in range(0, len(whole), 3):
        for content in (whole[:place], whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1:]):
            path.write_bytes(content)
            try:
                back = read(path)
            except UserError as error:
                assert "\n" not in str(error)
            else:  # a byte that does not matter
                np.testing.assert_array_equal(back, PIXELS)


def test_what_cannot_be_opened_is_refused(tmp_path):
    refused(lambda: read(str(tmp_path / "no")), "does not exist")
    refused(lambda: read(str(tmp_path)), "cannot be read")
    refused(lambda: read("a\0"), "cannot be read")
    (tmp_path / "a.gz").write_bytes(packed(PIXELS))
    refused(lambda: read(str(tmp_path / "a.gz")), "cannot be read", "packed with gzip")


# -- the files beside it ---------------------------------------------------------------------------


@pytest.mark.parametrize("images, labels", [
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"), ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
    ("images-idx3-ubyte.gz", "labels-idx1-ubyte.gz"), ("my-images.idx3", "my-labels.idx1"),
    ("images-idx3-ubyte", "labels-idx1-ubyte.gz"), ("images.idx3-ubyte.gz", "labels-idx1-ubyte")])
def test_labels_are_found_beside_images(tmp_path, images, labels):
    path = write(tmp_path, images, PIXELS)
    write(tmp_path, labels, LABELS)
    write(tmp_path, "other-labels-idx1-ubyte", LABELS[::-1])
    assert idx.is_images(path)
    [(pixels, classes)] = idx.load(path)
    np.testing.assert_array_equal(pixels, PIXELS)
    np.testing.assert_array_equal(classes, LABELS)


def test_labels_spelled_like_the_images_are_preferred(tmp_path):
    path = write(tmp_path, "images.idx3-ubyte.gz", PIXELS)
    for name in ("labels-idx1-ubyte", "labels.idx1-ubyte", "labels-idx1-ubyte.gz"):
        write(tmp_path, name, LABELS * 0)
    write(tmp_path, "labels.idx1-ubyte.gz", LABELS)
    np.testing.assert_array_equal(idx.load(path)[0][1], LABELS)


def test_other_names_are_not_of_images():
    for name in ("digits", "train-labels-idx1-ubyte", "images", "images-idx3-ubyte.zip", "images-idx3-ubyte/a"):
        assert not idx.is_images(name)


@pytest.mark.parametrize("ending", ("-idx{}-ubyte", ".idx{}-ubyte.gz"))
def test_test_files_beside_training_files_are_the_second_pair(tmp_path, ending):
    path = write(tmp_path, "train-images-idx3-ubyte", PIXELS)
    write(tmp_path, "train-labels-idx1-ubyte", LABELS)
    test = write(tmp_path, "t10k-images" + ending.format(3), PIXELS[:5])
    refused(lambda: idx.load(path), repr(path), "t10k-labels-idx1-ubyte")
    write(tmp_path, "t10k-labels" + ending.format(1), LABELS[:5])
    pairs = idx.load(path)
    assert [len(pixels) for pixels, _ in pairs] == [len(labels) for _, labels in pairs] == [20, 5]
    np.testing.assert_array_equal(pairs[1][0], PIXELS[:5])
    np.testing.assert_array_equal(pairs[1][1], LABELS[:5])
    assert len(idx.load(test)) == 1


def test_a_mistake_beside_the_named_file_tells_both(tmp_path):
    path = write(tmp_path, "train-images-idx3-ubyte", PIXELS)
    refused(lambda: idx.load(path), repr(path), "'train-labels-idx1-ubyte'", "no ")
    write(tmp_path, "train-labels-idx1-ubyte", packed(LABELS)[:-1])
    refused(lambda: idx.load(path), repr(path), "'train-labels-idx1-ubyte'", "torn")
    write(tmp_path, "train-labels-idx1-ubyte", LABELS)
    write(tmp_path, "t10k-labels-idx1-ubyte", LABELS)
    refused(lambda: idx.load(path), repr(path), "'t10k-images-idx3-ubyte'", "no ")
