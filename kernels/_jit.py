"""The one decorator that compiles, and the place of its on-disk cache."""

import functools
import hashlib
import os
import pathlib
import stat
import sys
import tempfile

import llvmlite.binding
import numba
import numpy as np

from . import _cache

REDUCTION = {"reassoc", "nsz"}  # lets a sum vectorise; NaN and infinity keep their meaning


def kernel(function=None, *, reduction=False, inline=False, forceinline=False):
    """Compile `function` with Numba on its first call, without the GIL and with a disk cache.

    Parameters
    ----------
    function : callable
        A module-level function; one made in a factory would miss the disk cache.
    reduction : bool
        Allow the terms of a floating-point sum to be reordered. The order then depends on the CPU's vector
        width and on the length, never on alignment. For sums only.
    inline : bool
        Put the body where it is called, before types are known: for the smallest steps of loops.
    forceinline : bool
        Put the machine code where it is called, loops vectorised on their own: a call that remains counts the
        references to its arrays by atomic instructions.

    Notes
    -----
    With ``NUMBA_DISABLE_JIT=1`` the plain function runs; like compiled code it gives no floating-point warnings.
    """
    if function is None:
        return functools.partial(kernel, reduction=reduction, inline=inline, forceinline=forceinline)
    if numba.config.DISABLE_JIT:
        return _plain(function)
    options = {"nogil": True, "error_model": "numpy", "fastmath": REDUCTION if reduction else False}
    if reduction or forceinline:
        # A sum that another kernel calls is compiled twice, alone and with its caller, with two orders of the sum;
        # which code runs would depend on whether it was compiled here or read from the cache.
        options["forceinline"] = True
    if inline:
        options["inline"] = "always"
    return _compiled(function, options)


def _plain(function):
    @functools.wraps(function)
    def call(*arguments):
        with np.errstate(all="ignore"):  # hashing wraps around in uint64
            return function(*arguments)

    return call


def _compiled(function, options):
    chosen = numba.config.CACHE_DIR  # NUMBA_CACHE_DIR, or empty
    folder = chosen or cache_folder()
    dispatcher = numba.njit(**options)(function)
    # Numba decides at decoration where a function's cache lives, so the setting need not outlive it.
    numba.config.CACHE_DIR = folder or ""
    try:
        dispatcher._cache = _cache.of(function, folder)
    finally:
        numba.config.CACHE_DIR = chosen
    return dispatcher


@functools.cache
def cache_folder():
    """The node-local cache folder of this user, Numba, CPU and Python; None where no private one can be had.

    Cached code is unpickled and run, so the folder must be ours alone: a link, a foreign owner or a folder that
    others can write is refused.
    """
    if not hasattr(os, "getuid"):
        return None
    version = f"py{sys.version_info.major}.{sys.version_info.minor}"
    cpu = llvmlite.binding.get_host_cpu_name()
    try:
        private = os.path.join(tempfile.gettempdir(), f"mpimasha-{os.getuid()}")  # raises where none can be written
        folder = os.path.join(private, f"numba-{numba.__version__}-{cpu}-{version}", _source_digest())
        if not _is_private(private):
            return None
        os.makedirs(folder, exist_ok=True)
    except OSError:
        return None
    return folder


def _is_private(folder):
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    found = os.lstat(folder)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


def _source_digest():
    # Numba looks only at a function's own file, but a kernel has the helpers of other files compiled into it.
    digest = hashlib.sha256()
    for source in sorted(pathlib.Path(__file__).parent.rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
