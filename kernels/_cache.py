"""Numba's on-disk cache, locked and never in the way: where it fails, what was compiled stays in memory."""

import contextlib
import fcntl
import logging
import os
import time
from pathlib import Path

from numba.core import caching

_log = logging.getLogger("mpimasha.kernels")
_PATIENCE = 10.0  # seconds; others hold the lock for milliseconds, unless they were stopped
_said = []  # not empty once it was said that the cache is of no use


class _Impl(caching.CompileResultCacheImpl):
    _locator_classes = [caching.UserProvidedCacheLocator]  # not beside the source: that may be on a network, or shared


class LockedCache(caching.FunctionCache):
    """The cache of one kernel.

    Numba reads the index, writes it and then writes the code, without a lock: of two processes that compile
    different signatures one can leave its code under the other's name.
    """

    _impl_class = _Impl

    def load_overload(self, sig, target_context):
        """What the cache has for `sig`; None, so that it is compiled, also where that cannot be read."""
        try:
            with self._locked(fcntl.LOCK_SH):
                found = super().load_overload(sig, target_context)
            if found is None or found.signature.args == tuple(getattr(sig, "args", sig)):
                return found
            raise ValueError(f"code for {found.signature.args} under the name of {sig}")
        except OSError as error:
            _say(f"compiled kernels cannot be read, they are compiled anew ({_brief(error)})")
        except Exception as error:  # half a file can raise anything
            _say(f"a damaged file in {self.cache_path} is compiled anew ({_brief(error)})")
            with contextlib.suppress(OSError), self._locked(fcntl.LOCK_EX):
                self._forget()
        return None

    def save_overload(self, sig, data):
        """Write it down, if that can be done."""
        try:
            with self._locked(fcntl.LOCK_EX):
                super().save_overload(sig, data)
        except Exception as error:
            _say(f"compiled kernels are not kept, every start compiles them ({_brief(error)})")

    @contextlib.contextmanager
    def _locked(self, how):
        if how == fcntl.LOCK_EX:
            os.makedirs(self.cache_path, exist_ok=True)
        try:
            lock = os.open(os.path.join(self.cache_path, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            if how == fcntl.LOCK_EX:
                raise
            yield  # a folder that cannot be written, or is not there, can still be looked into
            return
        try:
            _wait(lock, how)
            yield
        finally:
            os.close(lock)

    def _forget(self):
        # The code too: a new index without it could be cut off from its own, and name this one.
        for path in Path(self.cache_path).glob(f"{self._impl.filename_base}.*"):
            if path.suffix in (".nbi", ".nbc"):
                path.unlink(missing_ok=True)


class NoCache(caching.NullCache):
    """In place of a cache that cannot be had."""

    def __init__(self, reason):
        self._reason = reason

    def save_overload(self, sig, data):
        """Only say why nothing is kept; at the first compilation, since a command may need none."""
        _say(f"compiled kernels are not kept, every start compiles them ({self._reason})")


def of(function, folder):
    """The cache of `function` below `folder`, which Numba reads from its settings; None means there is none."""
    if folder is None:
        return NoCache("no private folder for temporary files; see `mpimasha doctor`")
    try:
        return LockedCache(function)
    except (RuntimeError, OSError):
        return NoCache(f"{folder} cannot be written")


def _wait(lock, how):
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return fcntl.flock(lock, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError("another process holds the lock") from None
        time.sleep(0.002)


def _say(sentence):
    if not _said:
        _said.append(sentence)
        _log.warning(sentence)


def _brief(error):
    return f"{type(error).__name__}: {error}".split("\n")[0]
