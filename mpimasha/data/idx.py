"""Reading IDX files, MNIST's format: a magic number and the dimensions, big-endian, then the bytes of the array."""

import gzip
import math
import os
import struct
from pathlib import Path

import numpy as np

from mpimasha.errors import UserError

_SPELLINGS = [spelling + packed for spelling in ("-idx{}-ubyte", ".idx{}-ubyte", ".idx{}") for packed in ("", ".gz")]
_UNSIGNED = 0x0800  # magic numbers of unsigned bytes, without the number of dimensions
_DENSEST = 1032  # bytes that one byte of a .gz file can unpack to
_TRAIN, _TEST = "train", "t10k"


def is_images(path):
    """Whether the file is named as an IDX file of images is."""
    return _spelling(path) is not None


def load(path):
    """The images in an IDX file with the labels beside it, and those of the t10k files beside a train file.

    Parameters
    ----------
    path : str
        Of a file for which `is_images` holds.

    Returns
    -------
    list of (images, labels)
        One pair, or a second one of the test files; images (N, h, w) uint8 and labels (N,) uint8.

    Raises
    ------
    UserError
        A file is missing, torn, or not of unsigned bytes.
    """
    spelling, what = _spelling(path), f"problem.data = {path!r}"
    start = Path(path).name.removesuffix(_named("images", 3, spelling))
    pairs = [(read(path, 3, what), _read_beside(path, f"{start}labels", 1, what))]
    if start.startswith(_TRAIN):
        names = [_TEST + start.removeprefix(_TRAIN) + kind for kind in ("images", "labels")]
        if _beside(path, names[0], 3) or _beside(path, names[1], 1):
            pairs.append((_read_beside(path, names[0], 3, what), _read_beside(path, names[1], 1, what)))
    return pairs


def read(path, dimensions, what):
    """The array of unsigned bytes in an IDX file, plain or, by its name, packed with gzip.

    Parameters
    ----------
    path : str or Path
    dimensions : int
        That the array must have.
    what : str
        How the sentence of a mistake begins.

    Returns
    -------
    uint8 array
        Not writable.
    """
    packed = str(path).endswith(".gz")
    try:
        with (gzip.open if packed else open)(path, "rb") as file:
            most = os.fstat(file.fileno()).st_size * (_DENSEST if packed else 1)
            shape = _header(file, dimensions, what)
            size = math.prod(shape)
            content = file.read(size + 1) if size <= most else b""
            if len(content) != size:
                raise UserError(f"{what} holds {'more' if len(content) > size else 'fewer'} bytes than the {size} of "
                                f"an array of shape {shape}, which its header promises: the file is torn")
            return np.frombuffer(content, np.uint8).reshape(shape)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{what} does not exist: give the path of an IDX file of images") from None
    except Exception as error:  # gzip and zlib raise several kinds at a damaged file
        raise UserError(f"{what} cannot be read ({error}): the file is torn or not "
                        f"{'an IDX file packed with gzip' if packed else 'an IDX file'}") from None


def _header(file, dimensions, what):
    header = file.read(4 + 4 * dimensions)
    right = struct.pack(">I", _UNSIGNED + dimensions)
    if header[:4] != right:
        raise UserError(f"{what} begins with {header[:4].hex(' ') or 'nothing'}: an IDX file of unsigned bytes in "
                        f"{dimensions} dimension{'s' * (dimensions > 1)} begins with {right.hex(' ')}")
    if len(header) < 4 + 4 * dimensions:
        raise UserError(f"{what} ends within its header of {4 + 4 * dimensions} bytes: the file is torn")
    return struct.unpack(f">{dimensions}I", header[4:])


def _read_beside(path, name, dimensions, what):
    found = _beside(path, name, dimensions)
    if found is None:
        expected = _named(name, dimensions, _spelling(path))
        raise UserError(f"{what} is not complete: there is no {expected!r} beside it")
    return read(found, dimensions, f"{what}: the file {found.name!r} beside it")


def _beside(path, name, dimensions):
    """The file in the same folder, preferably spelled in the same way, or None."""
    paths = (Path(path).with_name(_named(name, dimensions, s)) for s in (_spelling(path), *_SPELLINGS))
    return next((p for p in paths if p.exists()), None)


def _spelling(path):
    return next((s for s in _SPELLINGS if Path(path).name.endswith(_named("images", 3, s))), None)


def _named(name, dimensions, spelling):
    return name + spelling.format(dimensions)
