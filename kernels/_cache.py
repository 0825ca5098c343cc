"""Numba's cache on disk, with the lock it lacks and without trust in what it finds there."""

import contextlib
import fcntl
import logging
import os
import time

_PATIENCE = 10.0  # seconds for a lock: a process that holds it has a millisecond's work to do
_told = []  # a sentence, once a process


class Guarded:
    """The cache of one function, for several processes at once; no fault of it ends a program.

    Two processes that compile other signatures of one function at once write over each other's index, after which the
    code of one signature can be read for the other.  With a lock around each reading and writing they take turns.  What
    cannot be read is compiled, what cannot be written is compiled anew next time.

    Parameters
    ----------
    cache : numba.core.caching.Cache
    """

    def __init__(self, cache):
        self._cache = cache

    def __getattr__(self, name):
        return getattr(self._cache, name)

    def load_overload(self, signature, target):
        try:
            with _locked(self._cache.cache_path):
                return self._cache.load_overload(signature, target)
        except Exception as error:  # whatever a damaged file makes of unpickling
            tell(f"{self._cache.cache_path} cannot be read", error)
            return None

    def save_overload(self, signature, compiled):
        try:
            with _locked(self._cache.cache_path):
                try:
                    self._cache.save_overload(signature, compiled)
                except Exception:  # an index that is damaged: begin another
                    self._cache.flush()
                    self._cache.save_overload(signature, compiled)
        except Exception as error:
            tell(f"{self._cache.cache_path} cannot be written", error)


def tell(what, error):
    """Say once that kernels are compiled without their cache, and why."""
    if not _told:
        _told.append(what)
        why = str(error) or type(error).__name__
        logging.getLogger("mpimasha").warning(f"the cache of compiled kernels {what} ({why}): they are compiled anew")


@contextlib.contextmanager
def _locked(folder):
    """Inside, no other process is; where there can be no lock, or it does not come, without one."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            file = stack.enter_context(open(os.path.join(folder, ".lock"), "ab"))
            deadline = time.monotonic() + _PATIENCE
            while not _taken(file) and time.monotonic() < deadline:
                time.sleep(0.01)
        yield  # closing the file gives it back


def _taken(file):
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
