"""Images with the classes they belong to: read, cut into parts to train, validate and test on, dealt to workers."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mpimasha.data import idx, samples
from mpimasha.errors import UserError
from mpimasha.names import fits, nearest, shown
from mpimasha.randomness import generator

SPLITS = ("even", "sorted")


@dataclass(frozen=True)
class Images:
    """N images of h x w pixels.

    Attributes
    ----------
    X : (N, h * w) float64
        Pixels in [0, 1], row by row.
    y : (N,) int64
        Classes 0, ..., C - 1, each of which occurs.
    shape : (int, int)
        (h, w).
    X_test, y_test : (T, h * w) float64 and (T,) int64, or None
        The test part, if the source has one of its own.
    """

    X: np.ndarray
    y: np.ndarray
    shape: tuple
    X_test: np.ndarray | None = None
    y_test: np.ndarray | None = None


@dataclass(frozen=True)
class Parts:
    """Three pairs of X (N_p, h * w) float64 and y (N_p,) int64, which share no image."""

    train: tuple
    validation: tuple
    test: tuple


def load(source):
    """Images from a bundled set, a file, or arrays.

    Parameters
    ----------
    source : str or (images, labels)
        "digits", scikit-learn's; the path of an .npz file with arrays images (N, h, w), or (N, h * h), and labels
        (N,); the path of an IDX file of images, with the file of labels beside it and, for train-, the test files
        t10k-; or two such arrays.  Pixels are whole numbers up to 255 or floats in [0, 1]; labels any whole numbers,
        of which the least becomes class 0.  Whole numbers are divided by 255, but for those of which none exceeds 1
        and which are not of type uint8.

    Returns
    -------
    Images

    Raises
    ------
    UserError
        Unknown source, missing or torn file, arrays that are not images and their labels.
    """
    named = isinstance(source, (str, os.PathLike))
    name = str(source) if named else "arrays"
    (X, labels, shape), *own = [_checked(pair, name) for pair in (_read(name) if named else [source])]
    classes, y = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise UserError(f"problem.data = {name!r} has only the label {classes[0]}: it needs images of at least two "
                        f"classes")
    y = y.astype(np.int64)
    return Images(X, y, shape, *_own_test(*own[0], shape, classes, name)) if own else Images(X, y, shape)


def _read(name):
    """A list of images and labels, and those of the test part if there is one."""
    if name == "digits":
        X, y = samples.load(name)
        return [((X / 16).reshape(-1, 8, 8), y)]
    if name.endswith(".npz"):
        return [samples.load_npz(Path(name), "images", "labels")]
    if idx.is_images(name):
        return idx.load(name)
    raise UserError(f"problem.data = {name!r} is neither 'digits' nor a path ending in .npz, images-idx3-ubyte or "
                    f"images-idx3-ubyte.gz")


def _checked(pair, name):
    """X (N, h * w), the labels as they are (N,) and (h, w), or a sentence that says what is wrong with them."""
    try:
        images, labels = map(np.asarray, pair)
    except (TypeError, ValueError):
        raise UserError(f"problem.data = {name!r} is no pair of arrays: give images of shape (N, h, w) and labels of "
                        f"shape (N,)") from None
    if images.dtype.kind not in "biuf" or labels.dtype.kind not in "biuf":
        raise UserError(f"problem.data = {name!r} is not numeric: images are of type {images.dtype} and labels of type "
                        f"{labels.dtype}, both must be real numbers")
    if images.ndim not in (2, 3) or labels.ndim != 1 or len(images) != len(labels) or not images.size:
        raise UserError(f"problem.data = {name!r} has images of shape {images.shape} and labels of shape "
                        f"{labels.shape}: they must be (N, h, w), or (N, h * h), and (N,) with N, h, w at least 1")
    side = math.isqrt(images.shape[1])
    if images.ndim == 2 and side**2 != images.shape[1]:
        raise UserError(f"problem.data = {name!r} has images of {images.shape[1]} pixels in a row, which is no square: "
                        f"give them in shape (N, h, w)")
    if labels.dtype.kind == "f" and not (np.isfinite(labels) & (labels == np.trunc(labels))).all():
        raise UserError(f"problem.data = {name!r} has labels that are not whole numbers: give the number of its class "
                        f"for each image")
    shape = images.shape[1:] if images.ndim == 3 else (side, side)
    return np.ascontiguousarray(_scaled(images, name)).reshape(len(images), -1), labels, shape


def _scaled(images, name):
    """Pixels in [0, 1], float64."""
    low, high = images.min(), images.max()
    if images.dtype.kind == "f":
        if not (low >= 0 and high <= 1):
            raise UserError(f"problem.data = {name!r} has pixels from {low:g} to {high:g}: floats must be in [0, 1] "
                            f"(divide by the largest possible value)")
        return images.astype(np.float64)
    if not (low >= 0 and high <= 255):
        raise UserError(f"problem.data = {name!r} has pixels from {low} to {high}: whole numbers must be from 0 to 255")
    return np.divide(images, 255 if images.dtype == np.uint8 or high > 1 else 1, dtype=np.float64)


def _own_test(X, labels, test_shape, shape, classes, name):
    """X_test and y_test, if they are of the same kind as the images to train on."""
    if test_shape != shape:
        raise UserError(f"problem.data = {name!r} has images of shape {shape} and test images of shape {test_shape}: "
                        f"they must be the same")
    unknown = np.setdiff1d(labels, classes)
    if len(unknown):
        raise UserError(f"problem.data = {name!r} has the label {unknown[0]} in its test part only: every class must "
                        f"be among the training images")
    return X, np.searchsorted(classes, labels).astype(np.int64)


def split(images, seed, test=0.2, validation=0.2):
    """Shuffle the images and cut them into the test part, the validation part, and the rest to train on.

    Parameters
    ----------
    images : Images
    seed : int
    test, validation : float
        Shares of all N images, rounded to whole images.  A test part of the source's own is taken as it is; then
        `test` means nothing, and N does not count it.

    Returns
    -------
    Parts
        A rare class may be missing in a part.

    Raises
    ------
    UserError
        A part would be empty.
    """
    for key, share in (("test", test), ("validation", validation)):
        if not fits(share, float) or not 0 < share < 1:
            raise UserError(f"problem.{key} = {shown(share)} is no share: use a number above 0 and below 1")
    N, own = len(images.y), images.X_test is not None
    tested, validated = 0 if own else round(test * N), round(validation * N)
    if not (tested or own) or not validated or tested + validated >= N:
        shares = f"problem.validation = {validation} takes {validated}" if own else \
            f"problem.test = {test} and problem.validation = {validation} take {tested} and {validated}"
        raise UserError(f"{shares} of {N} images: each part, and what is left to train on, needs at least one")
    order = generator(seed, "split").permutation(N)
    cut, held, rest = ((images.X[rows], images.y[rows]) for rows in np.split(order, [tested, tested + validated]))
    return Parts(rest, held, (images.X_test, images.y_test) if own else cut)


def arrange(y, split, workers, seed):
    """The order in which the images to train on are dealt out in contiguous blocks, one block a worker.

    Parameters
    ----------
    y : (N,) int64
        Classes of images that are shuffled already.
    split : {"even", "sorted"}
        As they are, or by class, so that most workers see few classes.
    workers : int
        At most N.
    seed : int

    Returns
    -------
    (N,) int64
    """
    if split not in SPLITS:
        raise UserError(f"problem.split = {shown(split)} is unknown{nearest(split, SPLITS)}")
    if len(y) < workers:
        raise UserError(f"workers = {workers} exceeds the {len(y)} images to train on: use at most one worker an image")
    return samples.order(split, y, seed)
