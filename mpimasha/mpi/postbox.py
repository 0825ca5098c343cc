"""The folder in which the ranks of a job leave word for the process that launched them.

A launcher's exit code cannot tell "diverged" (4) from "killed by signal 4", and MPICH's
message often names another rank than the one that died.  So each rank is forked once,
before it loads anything: the child is the rank, the parent does nothing but wait for it,
and writes down how it ended before the launcher can learn of it and kill the others.
The folder is only visible on the launching host (or everywhere, if temporary files are
shared): a rank that cannot see it does without.
"""

import ctypes
import json
import os
import resource
import signal
import socket
import sys
from pathlib import Path

from mpimasha.mpi import environment

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


class PostBox:
    """Word from the ranks: who they are, the first death, the exit code they agreed on."""

    def __init__(self, folder):
        self.folder = Path(folder)

    @classmethod
    def of_this_rank(cls):
        """The box this rank was given, or None if it was given none or cannot see it."""
        folder = os.environ.get(environment.POSTBOX)
        return cls(folder) if folder and os.path.isdir(folder) else None

    # -- the ranks' side -----------------------------------------------------------------

    def register(self):
        """Leave this rank's process id."""
        self._put(f"pid.{socket.gethostname()}.{os.getpid()}", os.getpid())

    def take_notice(self, ready):
        """Leave word whether SIGUSR1 now means to save what there is, and end."""
        if ready:
            self._put("notice", True)
        else:
            (self.folder / "notice").unlink(missing_ok=True)

    def leave(self, code):
        """Leave the exit code that all ranks agreed on; False if the box is gone."""
        return self._put("code", code)

    def report(self, **ending):
        """Leave how this rank ended; only the first report counts, later ends are its consequences.

        Returns False if the box is gone.
        """
        word = {"rank": environment.launched_rank(), "host": socket.gethostname(), **ending}
        try:
            draft = self._draft("first", word)
            os.link(draft, self.folder / "first")  # atomic, and fails if another rank was first
        except FileExistsError:
            pass
        except OSError:
            return False
        draft.unlink(missing_ok=True)
        return True

    def _put(self, name, word):
        try:
            os.replace(self._draft(name, word), self.folder / name)
        except OSError:
            return False
        return True

    def _draft(self, name, word):
        draft = self.folder / f".{name}.{socket.gethostname()}.{os.getpid()}"
        draft.write_text(json.dumps(word), encoding="utf-8")
        return draft

    # -- the launching process's side ------------------------------------------------------

    def code(self):
        """The agreed exit code, or None if the ranks never got that far."""
        return self._get("code")

    def first(self):
        """{rank, host, and code or text} of the first rank that ended badly, or None."""
        return self._get("first")

    def takes_notice(self):
        """Whether the ranks, given SIGUSR1, save themselves and end."""
        return self._get("notice") is not None

    def seen(self):
        """How many ranks have seen this box."""
        return len(list(self.folder.glob("pid.*")))

    def pids(self):
        """Process ids of the ranks on this host."""
        found = self.folder.glob(f"pid.{socket.gethostname()}.*")
        return [json.loads(path.read_text(encoding="utf-8")) for path in found]

    def _get(self, name):
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None


def die_with(parent, number):
    """Ask Linux to send this process signal `number` when `parent`, who forked it, is gone; elsewhere do without."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os.kill(os.getpid(), number)


def watch(box):
    """Fork: the child returns and is the rank; the parent reports its end to `box` and ends the same way.

    Called before anything is loaded, so that the waiting process stays small and MPI has
    no state that a fork could spoil.
    """
    watcher = os.getpid()
    child = os.fork()
    if child == 0:
        die_with(watcher, signal.SIGKILL)
        box.register()
        return
    told = set()
    for number in _PASSED_ON:  # launchers signal the whole process group: these are for the rank
        signal.signal(number, lambda number, frame: told.add(number))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == 0 and box.code() is not None:
        os._exit(0)
    if -code not in told:  # else the launcher ends the job, for a reason that this rank does not know
        box.report(code=code)
    _end_like(code or 1)  # not every launcher minds a rank that leaves the others with code 0


def _end_like(code):
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the rank's own core file is the one of interest
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
