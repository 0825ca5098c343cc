"""Writing files so that a reader never sees half of one."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

from mpimasha.errors import UserError


@contextmanager
def writing(path):
    """Turn what the file system refuses inside this block (no space, no permission) into a `UserError` on `path`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{str(path)!r} cannot be written ({error.strerror or error}): make room there, or give "
                        "another folder with --out") from error


def replace_atomically(path, write):
    """Call ``write(binary file)`` on a temporary neighbour of `path`, fsync, rename; the name outlives a crash too."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync_names(path.parent)


def _sync_names(folder):
    """Make the names in `folder` as lasting as what is in the files; some file systems cannot."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
