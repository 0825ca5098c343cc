"""Files in shared memory that MPI jobs which were killed have left: they take memory until someone removes them."""

import os
import time
from pathlib import Path

SHARED = Path("/dev/shm")
_PROC = Path("/proc")
# MPICH, Intel MPI, Open MPI; UCX and PSM, which they use
_PREFIXES = ("mpich_", "Intel_MPI", "impi_", "vader_segment", "sm_segment", "ucx_shm", "psm2_shm", "psm3_shm")
_YOUNG = 10.0  # seconds: a job that starts makes a file before it maps it


def of_ended_jobs(youngest=_YOUNG):
    """{path: bytes} of this user's files of MPI that no process has open or mapped, and nobody wrote just now.

    Parameters
    ----------
    youngest : float
        Seconds since a file was last written.
    """
    found = {path: status.st_size for path, status in _files()
             if status.st_uid == os.getuid() and time.time() - status.st_mtime >= youngest}
    used = set(_in_use()) if found else ()
    return {path: count for path, count in found.items() if path not in used}


def present():
    """Paths of all files of MPI in shared memory."""
    return {path for path, _ in _files()}


def _files():
    for path in SHARED.glob("*"):  # nothing where there is no such folder
        if path.name.startswith(_PREFIXES):
            try:
                yield str(path), path.lstat()
            except OSError:  # it has just gone
                continue


def _in_use():
    """Paths in shared memory that some process has open or mapped."""
    for process in _PROC.glob("[0-9]*"):
        try:
            lines = (process / "maps").read_text(encoding="utf-8", errors="replace").splitlines()
            yield from (line[line.index("/"):] for line in lines if f" {SHARED}/" in line)
            yield from map(os.readlink, (process / "fd").iterdir())
        except OSError:  # ended, or another user's
            continue
