"""The loop: a method steps, observers look on, rank 0 decides when it ends.

Two kinds of stations interrupt the steps.  *Checks*, at most 1 % of the rounds apart, measure how far the run has come;
where they are follows from the number of rounds alone, so a run that was interrupted stops where it would have stopped.
*Looks*, about half a second apart, ask the clock, the signals and the checkpoints, and measure nothing.
"""

import math
import sys
import time
from time import perf_counter

import numpy as np

from mpimasha.mpi import batch
from mpimasha.solver.stop import CONVERGED, DIVERGED, ROUNDS, RUNNING, SECONDS, SLURM, STOPPED

_STATES = (RUNNING, CONVERGED, ROUNDS, SECONDS, STOPPED, DIVERGED)
_LOOK = 0.5  # seconds from one look to the next
_RESERVE = 10.0  # seconds to be early at the end of a batch job, besides twice the longest pause yet


class Loop:
    """From the first round of `run`, or from a checkpoint, to its end.

    Parameters
    ----------
    run : Run
    measure : Measure
    stop : Stop
        Resolved.
    observers : sequence of Observer
    every : int or "log"
        Rounds from one row to the next.
    saving : Saving
    notice : Notice or None
        Whether someone asked this rank to stop.
    """

    def __init__(self, run, measure, stop, observers, every, saving, notice=None):
        self.run, self.measure, self.stop, self.observers = run, measure, stop, observers
        self.every, self.saving, self.notice = every, saving, notice
        self.rows = run.rows
        self.next_row = self.next_check = 0  # rounds
        self._limit = stop.rounds or sys.maxsize
        self._again = False  # whether the run goes on from where one ended, which may be the end of this one too
        self.seconds = 0.0  # of stepping
        self._watches_time = bool(saving.timed or notice is not None or stop.seconds)
        asks = stop.seconds == SLURM and run.comm.rank == 0
        self._end = run.comm.together(lambda: batch.end() if asks else math.inf)
        self._watched_elsewhere = any(run.comm.gather_objects(bool(observers))[1:])
        self._pause = 0.0  # the longest time yet between two stretches of rounds

    def to_the_end(self):
        """How the run ended: one of the states of `mpimasha.solver.stop`."""
        self._begin()
        status = RUNNING
        while status == RUNNING:
            paused = perf_counter()
            status, k = self._station()
            self._pause = max(self._pause, perf_counter() - paused)
            if status == RUNNING:
                self._step_to(k)
        return status

    def _begin(self):
        run, notes = self.run, self.saving.begin(self.run)
        if notes is None:
            started = perf_counter()
            run.start()
            self.seconds = perf_counter() - started
        else:
            run.problem.at_round(max(run.k - 1, 0))
            self.rows += notes["rows"]
            self.next_row, self.next_check = notes["next_row"], notes["next_check"]
            self.seconds, self._again = notes["seconds"], notes["over"]
        self._first, self._before = run.k, 0.0 if notes is None else self.seconds  # limits of time are for this job
        run.comm.together(lambda: [observer.start(run) for observer in self.observers])

    def _station(self):
        """Measure where it is time, decide, write; (status, the round of the next station)."""
        run, k, row = self.run, self.run.k, None
        due = k >= self.next_row
        if due or k >= min(self.next_check, self._limit) or self._again:
            row, self._again = self._measured(full=due), False
            self.next_row = _next_row(k, self.every) if due else self.next_row
            if k >= self.next_check:  # a limit does not move them: the run may be given another
                self.next_check = min(self.next_row, k + max(1, k // 100))
        status, next_look, save = self._decide(row)
        if row is not None:
            for observer in self.observers:
                observer.check(run, row)
        last = status != RUNNING and not due and not (self.rows and self.rows[-1]["round"] == k)
        if due or last:
            row = row if due else self._measured(full=True)
            self.rows.append(row)
            run.comm.together(lambda: [observer.observe(run, row) for observer in self.observers])
        if save:
            self.saving.save(run, self._notes(status, last))
        return status, min(next_look, self.next_check, self.saving.next_round, self._limit)

    def _measured(self, full):
        """A row; that of rank 0, which alone knows z* and the gap, wherever another rank has an observer."""
        row = self.measure(self.stop.targets, full=full, seconds=self.seconds)
        if not self._watched_elsewhere:
            return row
        first = self.run.comm.broadcast_object(row)
        return {key: first[key] for key in row}  # not the keys that came with it: they would be kept with every row

    def _notes(self, status, last):
        """What to know when going on: without the row that a run which is not stopped here does not have."""
        return {"rows": self.rows[:-1] if last else self.rows, "next_row": self.next_row,
                "next_check": self.next_check, "over": status in (CONVERGED, ROUNDS, DIVERGED),
                "seconds": self.seconds}

    def _decide(self, row):
        """(status, the round of the next look, whether to save), by rank 0."""
        run = self.run
        if not self._watches_time and row is None:  # at the round of a checkpoint
            return RUNNING, sys.maxsize, self.saving.due(run.k)
        with run.comm.billed_to("observers"):
            told = self._told()
            status = self.stop.judge(run.k, row) if row is not None else RUNNING
            status = self._out_of_time(told) if status == RUNNING else status
            save = self.saving.due(run.k) or status in (SECONDS, STOPPED) \
                or self._end < math.inf and not self._pause  # to know how long it takes
            decision = np.array([_STATES.index(status), self._next_look(), save], np.int64)
            run.comm.broadcast(decision)
        return _STATES[decision[0]], int(decision[1]), bool(decision[2])

    def _told(self):
        """Whether any rank was asked to stop."""
        if self.notice is None:
            return False
        told = np.array([self.notice.asked], np.int64)
        self.run.comm.sum_arrays(told)
        return bool(told[0])

    def _out_of_time(self, told):
        if self.stop.limit and self.seconds - self._before >= self.stop.limit:
            return SECONDS
        late = time.time() + max(_LOOK, self._of_a_round()) + 2 * self._pause + _RESERVE >= self._end
        return STOPPED if told or late else RUNNING

    def _next_look(self):
        """Half a second from now, as far as can be told from the rounds so far."""
        k = self.run.k
        if not self._watches_time:
            return sys.maxsize
        return k + max(1, min(k - self._first, int(_LOOK / max(self._of_a_round(), 1e-9))))

    def _of_a_round(self):
        return (self.seconds - self._before) / max(1, self.run.k - self._first)

    def _step_to(self, k):
        started = perf_counter()
        for _ in range(self.run.k, k):
            self.run.step()
        self.seconds += perf_counter() - started


def _next_row(k, every):
    return k + max(1, math.ceil(k / 20)) if every == "log" else k + every
