"""Notice to leave: a signal that asks a run to save itself and stop."""

import signal
import threading
from contextlib import contextmanager

from mpimasha.mpi.postbox import PostBox

SIGNALS = (signal.SIGUSR1, signal.SIGTERM)
_early = []  # signals that came before there was a `Notice`


def remember():
    """From now on SIGUSR1 does not kill this process, but waits for its `Notice`: a rank takes seconds to start."""
    signal.signal(signal.SIGUSR1, lambda number, frame: _early.append(number))


class Notice:
    """Whether this process was given notice.

    Attributes
    ----------
    asked : bool
    """

    def __init__(self):
        self.asked = bool(_early)

    @contextmanager
    def by_signals(self, comm=None):
        """Take SIGUSR1 and SIGTERM inside this block for notice, however often they come; collective over `comm`."""
        def take(number, frame):
            self.asked = True

        heard = SIGNALS if threading.current_thread() is threading.main_thread() else ()  # Python's rule
        before, box = {number: signal.signal(number, take) for number in heard}, PostBox.of_this_rank()
        if comm is not None:
            comm.gather_objects(None)  # SIGUSR1 kills a rank that cannot hear it yet
        if box is not None:
            box.take_notice(True)
        try:
            yield self
        finally:
            if box is not None:
                box.take_notice(False)
            for number, handler in before.items():
                signal.signal(number, handler)
