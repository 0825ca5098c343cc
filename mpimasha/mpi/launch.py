"""Starting ranks, noticing that they were started wrongly, and ending them together."""

import atexit
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

from mpimasha.errors import LaunchError, UserError
from mpimasha.mpi import environment
from mpimasha.mpi.launcher import find_launcher, is_foreign, launcher_words, misled, version, words_for_slurm
from mpimasha.mpi.library import first_line, load, name_of
from mpimasha.mpi.postbox import PostBox
from mpimasha.mpi.supervisor import supervise

_LAST_WORDS = 0.3  # seconds to pass on what was written: MPICH's launcher may lose it when MPI_Abort follows at once
_GATHERING = 3.0  # seconds within which a user's mistake must have reached every rank
_PRECEDENCE = 1.0  # seconds by which rank 0 speaks before the others where MPI cannot
_LINGERING = 2.0  # seconds by which rank 0 outlives the others, whose interpreters take their time to end
_leaving_last = []  # not empty on the rank that does


class _Alone(LaunchError):
    """MPI works, but is not that of the launcher; every rank sees this."""


def world():
    """MPI's communicator of all ranks; None where no launcher started several, or MPI is not installed.

    One process needs no MPI: starting it takes shared memory, descriptors and a library that works.

    Raises
    ------
    LaunchError
        If a launcher started several ranks which cannot see each other.  Each of them
        would otherwise do the whole work alone, and end with exit code 0.
    """
    started = environment.launched_ranks() or 1
    if not environment.perhaps_launched() and not _is_up():
        return None
    try:
        MPI = load()  # and not started before we know whose launcher this is
    except (ImportError, RuntimeError) as error:
        if started > 1:
            remedy = misled(os.environ) or "install mpi4py and an MPI library"
            raise LaunchError(f"{started} ranks were started, but MPI cannot be loaded ({first_line(error)}): "
                              f"{remedy}, or start one process") from error
        return None
    library = MPI.Get_library_version()
    foreign = started > 1 and is_foreign(library)
    if not foreign and not MPI.Is_initialized():
        MPI.Init_thread()
        atexit.register(_finalize, MPI)
    if foreign or started > 1 and MPI.COMM_WORLD.Get_size() == 1:
        raise _Alone(f"{started} ranks were started, but each is alone: the launcher is not that of "
                     f"{name_of(library)}; use `mpimasha ... -n {started}` by itself, which finds the right one, or "
                     "under SLURM `srun --mpi=pmi2 mpimasha ...` without -n")
    return MPI.COMM_WORLD


def _is_up():
    """Whether the caller's own program has started MPI."""
    MPI = sys.modules.get("mpi4py.MPI")
    return MPI is not None and MPI.Is_initialized() and not MPI.Is_finalized()


def join():
    """`world()` on one of several ranks; a rank that cannot start MPI says so and ends the job.

    The others may be waiting for it in MPI_Init already, where no Abort reaches them, and MPICH's launcher
    minds no exit code of a rank that has not started MPI.  It does mind a signal.
    """
    try:
        return world()
    except _Alone:
        raise
    except BaseException as error:
        rank, size = environment.launched_rank(), environment.launched_ranks()
        if rank:
            time.sleep(_PRECEDENCE)  # if rank 0 cannot either, its word ends the job before ours doubles it
        _say_failed(error, f"rank {rank} of {size} on {socket.gethostname()}",
                    130 if isinstance(error, KeyboardInterrupt) else 1)
        time.sleep(_LAST_WORDS)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        raise


# -- ending together -----------------------------------------------------------------------


def guard(function, comm):
    """Run ``function() -> exit code`` so that no rank can leave the others waiting.

    A `UserError`, raised by all ranks together, is one sentence and code 2.  Any other
    exception (SystemExit too) prints rank, host and traceback and aborts the job.

    Returns
    -------
    int
        The exit code of this process: that of the job on rank 0, 0 on the others and where `spawn` passes it on.
    """
    rank, size = _place(comm)
    try:
        try:
            code = function()
        except UserError as error:
            if size > 1 and not _everyone_comes(comm):
                raise
            if rank == 0:
                sys.stderr.write(f"mpimasha: error: {error}\n")
            code = 2
        sys.stdout.flush()
    except BaseException as error:
        if isinstance(error, BrokenPipeError) and size == 1:
            raise
        return _give_up(error, comm)
    return leave(code, comm)


@contextmanager
def one_fate(comm):
    """A block that all ranks of an mpi4py communicator run: an error that the others cannot see ends the job.

    A `UserError` that all ranks raise leaves the block, and so does any error where there is one rank (or None).
    """
    try:
        yield
    except BaseException as error:
        if _place(comm)[1] > 1 and not (isinstance(error, UserError) and _everyone_comes(comm)):
            _give_up(error, comm)
        raise


def _give_up(error, comm):
    """Say on which rank which error was raised, and end the job; the exit code."""
    rank, size = _place(comm)
    code = 130 if isinstance(error, KeyboardInterrupt) else 1
    try:
        _say_failed(error, f"rank {rank} of {size} on {socket.gethostname()}", code)
        time.sleep(_LAST_WORDS if size > 1 else 0)
    finally:
        if size > 1:
            comm.Abort(code)
    return code


def _place(comm):
    """(rank, size) of an mpi4py communicator or None."""
    return (comm.Get_rank(), comm.Get_size()) if comm is not None else (0, 1)


def abort(comm, text, code):
    """End the job of `comm` with exit code `code`; `text` is its last words."""
    try:
        _say(text, code)
        time.sleep(_LAST_WORDS)
    finally:
        comm.Abort(code)


def _everyone_comes(comm):
    """A barrier that gives up, for a mistake that only one rank has seen."""
    arrival, deadline = comm.Ibarrier(), time.monotonic() + _GATHERING
    while not arrival.Test():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _say_failed(error, who, code):
    if isinstance(error, KeyboardInterrupt):
        text = f"mpimasha: {who} was interrupted\n"
    elif isinstance(error, LaunchError):
        text = f"mpimasha: {who}: {error}\n"
    else:
        text = f"mpimasha: {who} failed:\n{traceback.format_exc()}"
    _say(text, code)


def _say(text, code):
    box = PostBox.of_this_rank()
    if box is None or not box.report(text=text, code=code):
        sys.stderr.write(text)  # in one piece: other ranks are writing too
        sys.stderr.flush()


def leave(code, comm=None):
    """The exit code of this rank: the agreed one is handed to `spawn` if it waits for it, else left to rank 0.

    Launchers call any code but 0 a crash: `srun --kill-on-bad-exit` ends the ranks that are still about when the first
    leaves with one, and its own is then 143.  So the others leave with 0, and rank 0 last.
    """
    left = False
    if environment.POSTBOX in os.environ:
        box = PostBox.of_this_rank()
        left = box is not None and box.leave(code)
        if comm is not None:
            left = any(comm.allgather(left))  # some hosts may not see the box
    if left or comm is not None and comm.Get_rank() > 0:
        return 0
    _leaving_last[:] = [True] if code and comm is not None and comm.Get_size() > 1 else []
    return code


def _finalize(MPI):
    MPI.Finalize()  # all ranks meet here
    if _leaving_last:
        time.sleep(_LINGERING)


# -- starting ranks ------------------------------------------------------------------------


def spawn(ranks, argv, launcher=None, program=("-m", "mpimasha")):
    """Start `ranks` ranks of ``python PROGRAM ARGV``, wait for them, and say which one died if one did.

    Parameters
    ----------
    ranks : int
    argv : list of str
        Arguments of each rank.
    launcher : str, optional
        Words to start with instead of the launcher of the loaded MPI; must take ``-n``.
    program : tuple of str
        What Python runs on each rank; it ends with `guard`.

    Returns
    -------
    int
        The code the ranks agreed on, where they got that far; else never one of those: 1 after an exception, 128
        and its number after a signal, the rank's own after a silent exit; 130 after Ctrl-C.

    Raises
    ------
    LaunchError
        Inside a launched job, or if there is no launcher or no temporary folder.
    """
    refuse_in_job(ranks)
    words = [path := find_launcher(), *words_for_slurm(path)] if launcher is None else launcher_words(launcher)
    with _temporary_folder() as folder:
        env = job_environment() | {environment.POSTBOX: folder}
        if sys.stdout.isatty():  # the ranks see a pipe, but there is a person behind it
            env |= {environment.TERMINAL: "1", "COLUMNS": str(shutil.get_terminal_size().columns)}
        if "Open MPI" in version(words[0]):  # does not show the environment to other hosts by itself
            words += [word for name in (environment.POSTBOX, "PYTHONPATH") if name in env for word in ("-x", name)]
        # -P: the ranks import the package that runs here, whatever folder this is
        command = [*words, "-n", str(ranks), sys.executable, "-P", *program, *argv]
        return supervise(command, env, PostBox(folder), ranks)


def _temporary_folder():
    try:
        return tempfile.TemporaryDirectory(prefix="mpimasha-", ignore_cleanup_errors=True)
    except OSError as error:
        raise LaunchError(f"-n needs a temporary folder, and none can be made ({error.strerror}): point TMPDIR to a "
                          "folder that you can write and that is not full") from error


def refuse_in_job(ranks):
    """Raise `LaunchError` if a launcher started this process as one of several ranks, and it was not `spawn`."""
    started = environment.launched_ranks() or 1
    if started > 1 and environment.POSTBOX not in os.environ:
        raise LaunchError(f"-n {ranks} was asked of one of {started} ranks that a launcher started: leave -n out")


def job_environment():
    """The environment to start a fresh job in: this one's, and what lets it run on any number of cores."""
    env = environment.clean_environment()
    # Open MPI counts cores, and ranks of a small experiment may outnumber them.
    env.setdefault("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe")
    env.setdefault("OMPI_MCA_rmaps_base_oversubscribe", "1")
    env.setdefault("I_MPI_CBWR", "1")  # Intel MPI's Allreduce else adds up in another order from call to call
    if os.geteuid() == 0:
        env |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    root = Path(__file__).parents[2]
    if (root / "setup.py").exists():
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), env.get("PYTHONPATH")]))
    return env
