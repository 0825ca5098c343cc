"""Patience: an end for a launch that hangs, where no rank can say so any more."""

import faulthandler
import os
import signal
import sys
import threading
from contextlib import contextmanager

RANKS = 120  # seconds from the start of a rank to the end of its examination
LAUNCHER = 150  # and until the launcher, who learns of it last, has to be back


@contextmanager
def of_a_rank(seconds=RANKS):
    """End this process inside, with a traceback of where it hangs, even when it is MPI that hangs."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def with_a_launcher(seconds=LAUNCHER):
    """Interrupt `launch.spawn` inside, as Ctrl-C would, and say why."""
    def give_up():
        sys.stderr.write(f"mpimasha: the ranks have not come back within {seconds} s: the launcher hangs, or MPI does "
                         f"in them\n")
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    deaf = signal.getsignal(signal.SIGINT) == signal.SIG_IGN  # as in a script's background job
    if deaf:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if deaf:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
