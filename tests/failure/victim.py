"""A job that ends badly, or well, on rank 2: ``victim.py HOW`` on each rank, ``victim.py -n N HOW`` to start N.

Its command line is a stand-in; everything around it, from `main` to the last sentence, is the package's.
"""

import atexit
import os
import signal
import sys
import time
import types
from pathlib import Path

from mpimasha import __main__
from mpimasha.errors import UserError
from mpimasha.mpi import environment, launch

VICTIM, ROUND, ROUNDS = 2, 50, 200
STALL_AFTER = 1.0  # seconds, where the victim keeps the others waiting
PAUSE = 0.3  # launchers may lose what a rank wrote just before its death


def die(how):
    """One of the ways in which a rank can leave the others."""
    if how == "raise":
        raise FloatingPointError("overflow in the operator")
    if how == "sys.exit":
        sys.exit(3)
    if how == "lone-user-error":
        raise UserError("only this rank has seen it")
    if how.startswith("_exit"):
        os._exit(int(how.removeprefix("_exit")))
    if how.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, how))
    if how == "kill-watcher":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(30)
    if how in ("stall-away", "stall-one-thread"):
        time.sleep(60)
    if how == "stall-late":
        time.sleep(0.3 * STALL_AFTER)


def parse(argv):
    """What happens before the ranks have exchanged a word."""
    if argv == ["import"] and environment.launched_rank() == VICTIM:
        fail(lambda: __import__("a_module_that_only_this_node_lacks"))
    return types.SimpleNamespace(ranks=None, launcher=None)


def fail(die):
    """Say when, then do it."""
    sys.stderr.write(f"failing at {time.time() + PAUSE}\n")
    sys.stderr.flush()
    time.sleep(PAUSE)
    die()


def execute(how, comm):
    """Rounds of a small Allreduce, in one of which the victim fails as it was told."""
    import numpy as np

    from mpimasha.mpi.communicator import Communicator
    from mpimasha.mpi.watch import watched

    if how == "user-error":
        raise UserError("no problem of that name")
    first = comm.Get_rank() == 0
    with watched(comm, STALL_AFTER if how.startswith(("stall", "SIGSTOP")) else 0) as comm:
        comm = Communicator(comm)
        for k in range(ROUNDS):
            if how == "sleep":
                time.sleep(0.05)
                sys.stdout.write("running\n" if first else "")  # flushed by `main`, line by line
            elif not how.startswith("code") and k == ROUND and comm.rank == VICTIM:
                fail(lambda: die(how))
            if how == "stall-elsewhere" and k == ROUND and comm.rank == VICTIM:
                comm.broadcast(np.ones(1000))
            comm.sum_arrays(np.ones(1000))
    sys.stdout.write("the last line\n" if first else "")
    return int(how.removeprefix("code")) if how.startswith("code") else 0


def one_thread():
    """`launch.world` of an MPI library that takes calls from one thread only."""
    import mpi4py
    mpi4py.rc.initialize = False
    from mpi4py import MPI
    MPI.Init_thread(MPI.THREAD_FUNNELED)
    atexit.register(MPI.Finalize)
    return MPI.COMM_WORLD


if __name__ == "__main__":
    if sys.argv[1] == "-n":
        environment.prepare()
        sys.exit(launch.spawn(int(sys.argv[2]), sys.argv[3:], program=(str(Path(__file__).resolve()),)))
    if sys.argv[1].startswith("early-") and environment.launched_rank() == VICTIM:  # before MPI_Init
        launch.world = lambda: fail(lambda: die(sys.argv[1].removeprefix("early-")))
    if sys.argv[1] == "stall-one-thread":
        launch.world = one_thread
    sys.modules["mpimasha.commands.cli"] = types.SimpleNamespace(
        parse=parse, execute=lambda options, comm: execute(sys.argv[1], comm))
    sys.exit(__main__.main())
