"""Noticing that ranks wait for others that do not come, naming those, and ending the job.

Each rank notes which collective it is in.  A thread of its own looks at that about once a second; when the rank
has been in the same one for too long, the thread asks the threads of all other ranks, over a communicator of
their own, where theirs are.  Time counts only while the thread looks: a job that a batch system suspends and
continues as a whole has not stalled.
"""

import socket
import sys
import threading
import traceback
from contextlib import contextmanager

from mpimasha.mpi import launch, stall
from mpimasha.mpi.line import heard, takes_threads

_PAUSE = 1.0  # seconds between two looks, or a tenth of the limit
_SHORTEST_PAUSE = 0.02
_GRACE = 3.0  # seconds that the others have to answer
_LOCAL = ("Get_rank", "Get_size")  # methods of a communicator that wait for nobody
_QUESTION, _ANSWER = 1, 2


@contextmanager
def watched(comm, limit):
    """`comm` for a block whose collectives may make a rank wait for `limit` seconds; `comm` itself where 0.

    Collective: the limit is the smallest that any rank gives, so that a debugger on one of them lifts it for all.
    """
    if comm is None or comm.Get_size() == 1:
        yield comm
        return
    told = comm.allgather((limit, takes_threads(), socket.gethostname()))
    limits, threads, hosts = zip(*told)
    if min(limits) == 0:
        yield comm
        return
    watch = _Watch(comm, min(limits), hosts, comm.Dup() if all(threads) else None)
    try:
        noted = _Noted(comm, watch)
        yield noted
        noted.Barrier()  # now that all are here, nobody asks any more
    finally:
        watch.stop()  # before MPI_Finalize
    if watch.line is not None:
        watch.line.Free()


class _Noted:
    """An mpi4py communicator whose collectives are noted in `watch`."""

    def __init__(self, comm, watch):
        self._comm, self._watch = comm, watch

    def __getattr__(self, name):
        method = getattr(self._comm, name)
        if name not in _LOCAL:
            method = self._watch.noting(name, method)
        setattr(self, name, method)  # found at once from now on
        return method

    def Split_type(self, *arguments):
        return _Noted(self._watch.noting("Split_type", self._comm.Split_type)(*arguments), self._watch)


class _Watch(threading.Thread):
    """The thread that looks, asks and answers over `line`, or that only looks where it is None.

    One rank that waits asks.  Others that wait as long find its question when they look next, and leave the matter
    to it; of two that ask in the same moment, the lower one goes on.
    """

    def __init__(self, comm, limit, hosts, line):
        super().__init__(name="watch", daemon=True)
        self.comm, self.limit, self.hosts, self.line = comm, limit, hosts, line
        self.rank = comm.Get_rank()
        self.calls, self.inside = 0, None  # collectives begun; (number, name) of the one the main thread is in
        self._seen, self._seconds = None, 0.0  # the one it was in when we looked last, and for how long
        self._pause = max(_SHORTEST_PAUSE, min(_PAUSE, limit / 10))
        self._questions, self._words = 0, None  # questions asked; the answers to the one that is open, by rank
        self._patience = 0.0  # seconds until an open question is closed, or another may be asked
        self._sending = []
        self._over = threading.Event()
        self._main = threading.current_thread()
        self.start()

    def noting(self, name, collective):
        """`collective`, noted while it is running; called by the main thread alone."""
        def noted(*arguments, **options):
            self.calls += 1
            self.inside = (self.calls, name)  # in one piece for the thread that reads it
            try:
                return collective(*arguments, **options)
            finally:
                self.inside = None
        return noted

    def stop(self):
        self._over.set()
        self.join()

    def run(self):
        while not self._over.wait(self._pause):
            self._look()

    def _look(self):
        inside = self.inside
        self._seconds = self._seconds + self._pause if inside is not None and inside is self._seen else 0.0
        self._seen = inside
        self._patience -= self._pause
        if self.line is not None:
            self._read()
        if self._seconds < self.limit:
            self._words = None  # the missing have come
        elif self.line is None:
            self._end(stall.lone_words(self.rank, self._word(), self.hosts, self.limit))
        elif self._words is None and self._patience <= 0:
            self._ask()
        elif self._words is not None and (len(self._words) == len(self.hosts) or self._patience <= 0):
            self._judge()

    def _ask(self):
        self._questions += 1
        self._words, self._patience = {self.rank: self._word()}, _GRACE
        for rank in range(len(self.hosts)):
            if rank != self.rank:
                self._send(self._questions, rank, _QUESTION)

    def _judge(self):
        words = [self._words.get(rank) for rank in range(len(self.hosts))]
        text = stall.last_words(words, self.hosts, self.limit)
        if text is not None:
            self._end(text)
        else:  # the last rank that came gets its time too
            self._words, self._patience = None, self.limit - min(word.seconds for word in words)

    def _read(self):
        for rank, tag, message in heard(self.line):
            if tag == _QUESTION:
                self._send((message, self._word()), rank, _ANSWER)
                if self._words is None or rank < self.rank:
                    self._words, self._patience = None, 2 * _GRACE  # the matter is that rank's
            elif self._words is not None and message[0] == self._questions:
                self._words[rank] = message[1]

    def _send(self, message, rank, tag):
        """Send without waiting: `rank` may have been stopped."""
        self._sending = [request for request in self._sending if not request.Test()]
        self._sending.append(self.line.isend(message, rank, tag))

    def _word(self):
        calls, name = self._seen or (self.calls, None)
        return stall.Word(calls, name, self._seconds, self._stack())

    def _stack(self):
        frame = sys._current_frames()[self._main.ident]
        while frame.f_code.co_filename == __file__:
            frame = frame.f_back
        return "".join(traceback.format_stack(frame))

    def _end(self, text):
        launch.abort(self.comm, text, 1)
