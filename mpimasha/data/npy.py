"""Arrays in .npy files, of which a rank reads the rows it needs."""

import numpy as np

from mpimasha.errors import UserError

SUFFIX = ".npy"


def mapped(key, path):
    """The array in the file that the user named under `key`, mapped into memory."""
    try:
        return np.load(path, mmap_mode="r")
    except FileNotFoundError:
        raise UserError(f"{key} = {path!r} does not exist: give the path of an .npy file") from None
    except Exception as error:  # NumPy raises many kinds at a damaged file
        raise UserError(f"{key} = {path!r} cannot be read ({error}): the file is torn or not an .npy file") from None
