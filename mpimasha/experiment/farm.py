"""Whole runs for each rank: rank 0 hands them out, one after the other, to whoever is free.

A rank that works makes no MPI call for minutes, so rank 0 hands out from a thread of its own; where MPI allows threads
no calls, rank 0 does nothing else.  Nobody waits in a collective: a rank that is free sleeps between two looks.
"""

import threading
import time
import traceback
from contextlib import contextmanager

from mpimasha.mpi import launch
from mpimasha.mpi.line import heard, takes_threads

_ASK, _GIVE, _STOP, _PAUSE = 1, 2, 3, 0.01  # tags; seconds between two looks


def work_off(tasks, work, comm, notice, log):
    """Run ``work(task, notice)`` for every task, each on one rank; collective.

    Parameters
    ----------
    tasks : list
        The same on all ranks, in the order in which they are handed out.
    work : callable
        Returns a word on how the task ended, for `log`, and whether it was stopped.
    comm : Communicator
    notice : Notice
        Notice given to any rank is given to all: tasks in work are stopped, others are not begun.
    log : callable
        ``log(task, word, rank)``, called on rank 0 when a task has ended.

    Returns
    -------
    bool
        Whether all tasks were done, none of them stopped.
    """
    if comm.comm is None:
        return _alone(tasks, work, notice, log)
    with _line(comm) as line:
        office = _Office(tasks, line, notice, log) if comm.rank == 0 else None
        threads = all(comm.gather_objects(takes_threads()))
        if office is None:
            _serve(tasks, work, _Asking(line, notice), notice)
        elif threads:
            office.start()
            _serve(tasks, work, office, notice)
            office.join()
        else:
            office.run()
        return comm.broadcast_object(office and office.complete)


def _alone(tasks, work, notice, log):
    for task in tasks:
        word, stopped = work(task, notice)
        log(task, word, 0)
        if stopped:
            return False
    return True


def _serve(tasks, work, desk, notice):
    """Work on what `desk` gives until there is nothing more."""
    done = None
    while (number := desk.next(done)) is not None:
        done = (number, *work(tasks[number], _Either(notice, desk)))


class _Either:
    """Notice given to this rank, or by rank 0 to all."""

    def __init__(self, own, desk):
        self._own, self._desk = own, desk

    @property
    def asked(self):
        return self._own.asked or self._desk.over()


class _Asking:
    """The desk of rank 0 as another rank has it: it asks over `line`."""

    def __init__(self, line, notice):
        self._line, self._notice, self._over = line, notice, False

    def next(self, done):
        self._line.send((done, self._notice.asked), 0, _ASK)
        while not self._line.iprobe(0, _GIVE):
            if self._notice.asked and not self.over():
                self._over = True
                self._line.send((None, True), 0, _STOP)
            time.sleep(_PAUSE)
        number = self._line.recv(source=0, tag=_GIVE)
        self.over()  # hear that too, before the line is closed
        return number

    def over(self):
        if not self._over and self._line.iprobe(0, _STOP):
            self._line.recv(source=0, tag=_STOP)
            self._over = True
        return self._over


class _Office(threading.Thread):
    """Rank 0's: who works on what.  The others' questions come over `line`, its own by `next`."""

    def __init__(self, tasks, line, notice, log):
        super().__init__(name="farm", daemon=True)
        self._tasks, self._line, self._notice, self._log = tasks, line, notice, log
        self._left, self._stopped = list(range(len(tasks)))[::-1], False
        self._done = self._working = 0
        self._away = set(range(1, line.Get_size()))  # ranks that were not sent home
        self._waiting = []  # those of them that are free
        self._lock = threading.Lock()

    @property
    def complete(self):
        return self._done == len(self._tasks)

    def over(self):
        return self._stopped

    def next(self, done):
        self._note(done, 0)
        while (number := self._take()) is None and not self._settled:
            time.sleep(_PAUSE)
        return number

    def run(self):
        try:
            while self._away:
                self._hear()
                if self._notice.asked:
                    self._stop()
                self._answer()
                time.sleep(_PAUSE)
        except BaseException:  # without us the others would wait for ever
            launch.abort(self._line, f"mpimasha: rank 0 cannot hand out work:\n{traceback.format_exc()}", 1)

    def _hear(self):
        for rank, tag, (done, stop) in heard(self._line):
            self._note(done, rank)
            if stop:
                self._stop()
            if tag == _ASK:
                self._waiting.append(rank)

    def _answer(self):
        """Work for the ranks that are free; home with them when nobody works any more."""
        while self._waiting and ((number := self._take()) is not None or self._settled):
            rank = self._waiting.pop()
            self._line.send(number, rank, _GIVE)
            if number is None:
                self._away.discard(rank)

    def _take(self):
        with self._lock:
            if self._stopped or not self._left:
                return None
            self._working += 1
            return self._left.pop()

    @property
    def _settled(self):
        with self._lock:
            return not self._working and (self._stopped or not self._left)

    def _note(self, done, rank):
        if done is None:
            return
        number, word, stopped = done
        with self._lock:
            self._working -= 1
            self._done += not stopped
        self._log(self._tasks[number], word, rank)
        if stopped:
            self._stop()

    def _stop(self):
        with self._lock:
            before, self._stopped = self._stopped, True
        if not before:
            for rank in self._away:
                self._line.send(None, rank, _STOP)


@contextmanager
def _line(comm):
    """A communicator of the farm's own."""
    line = comm.comm.Dup()
    yield line
    line.Free()
