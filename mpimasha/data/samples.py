"""Reading and arranging the data of a regression: bundled sets, .npz files, splits."""

import hashlib
from pathlib import Path

import numpy as np

from mpimasha.data import npy, svmlight
from mpimasha.errors import UserError
from mpimasha.randomness import generator

BUNDLED = ("breast_cancer", "diabetes", "digits", "iris", "wine")
_LARGEST = 1e100  # can be squared and summed
SPLITS = ("shuffled", "even", "sorted")


def load(name):
    """X (N, d) and y (N,) in float64, from scikit-learn's bundled sets or an .npz file.

    Raises
    ------
    UserError
        Unknown name, missing or torn file, arrays that are not a data set.
    """
    if str(name).endswith(".npz"):
        return checked(load_npz(Path(name), "X", "y"), name)
    if name not in BUNDLED:
        raise UserError(f"problem.data = {name!r} is neither a bundled set ({', '.join(BUNDLED)}) nor a path ending "
                        f"in {', '.join(['.npz', npy.SUFFIX, *svmlight.SUFFIXES])}")
    try:
        from sklearn import datasets
    except ImportError:
        raise UserError(f"problem.data = {name!r} comes with scikit-learn, which is not installed: "
                        f"pip install 'mpimasha[data]'") from None
    bunch = getattr(datasets, f"load_{name}")()
    return checked((bunch.data, bunch.target), name)


def load_npz(path, *names):
    """The arrays of those names in an .npz file, or a sentence that says what is wrong with it."""
    wanted = " and ".join(names)
    if not path.exists():
        raise UserError(f"problem.data = {str(path)!r} does not exist: give the path of an .npz file with arrays "
                        f"{wanted}")
    try:
        arrays = np.load(path)
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise UserError(f"problem.data = {str(path)!r} is a single array: save {wanted} together with np.savez")
        with arrays:
            if any(name not in arrays for name in names):
                raise UserError(f"problem.data = {str(path)!r} holds {', '.join(arrays) or 'no arrays'}: it needs "
                                f"arrays named {wanted}")
            return tuple(arrays[name] for name in names)
    except UserError:
        raise
    except Exception as error:  # NumPy, zipfile and zlib raise a dozen kinds at a damaged file
        raise UserError(f"problem.data = {str(path)!r} cannot be read ({error}): the file is torn or not an .npz "
                        f"file") from None


def checked(pair, name):
    """X (N, d) and y (N,) as finite float64 arrays, or a sentence that says what is wrong with them."""
    try:
        X, y = map(np.asarray, pair)
    except (TypeError, ValueError):
        raise UserError(f"problem.data = {str(name)!r} is no pair of arrays: give X of shape (N, d) and y of shape "
                        f"(N,)") from None
    check_shapes(X, y, name)
    X, y = X.astype(np.float64, order="C"), y.astype(np.float64)  # sums follow the order in memory
    check_values(X, y, name)
    return X, y


def check_shapes(X, y, name):
    """Refuse arrays that are not numbers of shapes (N, d) and (N,), without looking at their values."""
    if X.dtype.kind not in "biuf" or y.dtype.kind not in "biuf":
        raise UserError(f"problem.data = {str(name)!r} is not numeric: X is of type {X.dtype} and y of type {y.dtype}, "
                        f"both must be real numbers")
    if X.ndim != 2 or y.ndim != 1 or len(X) != len(y) or not X.size:
        raise UserError(f"problem.data = {str(name)!r} has X of shape {X.shape} and y of shape {y.shape}: they must be "
                        f"(N, d) and (N,) with N, d at least 1")


def check_values(X, y, name):
    """Refuse values that are not finite or cannot be squared."""
    if not (np.abs(X).max() <= _LARGEST and np.abs(y).max() <= _LARGEST):
        raise UserError(f"problem.data = {str(name)!r} contains values that are not finite, or beyond {_LARGEST:g}: "
                        f"remove those rows first")


def standardised(X):
    """Columns with mean 0 and variance 1; constant columns become 0."""
    constant = X.max(axis=0) == X.min(axis=0)
    return np.where(constant, 0.0, X - X.mean(axis=0)) / np.where(constant, 1.0, X.std(axis=0))


def signs(y, name, classes=None):
    """Labels -1 and 1 from any two classes, in their sorted order; of a part of the data, given all `classes`."""
    classes = np.unique(y) if classes is None else classes
    if len(classes) != 2:
        raise UserError(f"problem.data = {str(name)!r} has {len(classes)} classes: the logistic loss needs two "
                        f"(or use loss = 'square')")
    return np.where(y == classes[1], 1.0, -1.0)


def order(split, y, seed):
    """The order in which samples are dealt out in contiguous blocks, one block a worker."""
    if split == "shuffled":
        return generator(seed, "split").permutation(len(y))
    return np.argsort(y, kind="stable") if split == "sorted" else np.arange(len(y))


def digest(*arrays):
    """What tells data sets apart, without a copy of them."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array))
    return found.hexdigest()
