"""What looks on while a method steps: rows on disk, progress on the screen."""

import errno
import json
import logging
import math
import os
import shutil
import sys
from time import monotonic

from mpimasha.files import replace_atomically, writing
from mpimasha.mpi import environment

_LINE_SECONDS = 5.0
_BAR_SECONDS = 0.2
_log = logging.getLogger("mpimasha")


class Observer:
    """Called before round 1, at every check (1 % of the rounds apart), at every row, at the end.

    A check's row holds only what stopping needs, a row proper all that `mpimasha.solver.measure`
    knows.  An observer may read everything and must change nothing.
    """

    def start(self, run):
        pass

    def check(self, run, row):
        pass

    def observe(self, run, row):
        pass

    def finish(self, run, result):
        pass


class Rows(Observer):
    """Append each row to a JSON-lines file, at once and whole; it begins with the rows that the run has already."""

    def __init__(self, path):
        self.path = path

    def start(self, run):
        with writing(self.path):
            text = "".join(json.dumps(finite(row)) + "\n" for row in run.rows)
            replace_atomically(self.path, lambda file: file.write(text.encode()))
            self._file = open(self.path, "ab", buffering=0)

    def observe(self, run, row):
        line = (json.dumps(finite(row)) + "\n").encode()
        with writing(self.path):
            written = self._file.write(line)
            if written < len(line):  # the disk filled up half-way: a torn row is worth nothing
                self._file.truncate(self._file.tell() - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def finish(self, run, result):
        self._file.close()


class Progress(Observer):
    """A line in the log now and then; a bar that redraws itself on a terminal."""

    def __init__(self, stop, label):
        self.stop, self.label = stop, label
        launched = environment.launched_ranks() is not None  # Open MPI gives its ranks terminals, whatever it has
        self._bar = environment.TERMINAL in os.environ or sys.stdout.isatty() and not launched
        self._next = monotonic() + (_BAR_SECONDS if self._bar else _LINE_SECONDS)

    def start(self, run):
        self.stop = run.stop
        for sentence in run.problem.warnings(run.method.iterate):
            _log.warning(sentence)

    def check(self, run, row):
        if monotonic() < self._next:
            return
        if self._bar:
            self._draw(row)
            self._next = monotonic() + _BAR_SECONDS
        else:
            _log.info("%s: %s", self.label, describe(row))
            self._next = monotonic() + _LINE_SECONDS

    def finish(self, run, result):
        if self._bar:
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()
        for sentence in run.problem.warnings(run.method.iterate) if result.status != "diverged" else []:
            _log.warning(sentence)

    def _draw(self, row):
        width = shutil.get_terminal_size().columns
        done = self.fraction(row)
        filled = round(20 * done)
        text = f"{self.label} [{'#' * filled}{'.' * (20 - filled)}] {describe(row)}"
        sys.stdout.write("\r" + text[:width - 1] + "\x1b[K")
        sys.stdout.flush()

    def fraction(self, row):
        """How much of the way to the nearest end of the run lies behind us."""
        stop, parts = self.stop, [0.0]
        for name in stop.targets:
            if row[name] is not None and 0 < row[name] < 1:
                parts.append(math.log(row[name]) / math.log(min(getattr(stop, name), 0.5)))
        if stop.rounds:
            parts.append(row["round"] / stop.rounds)
        if stop.limit:
            parts.append(row["seconds"] / stop.limit)
        return min(1.0, max(parts))


def describe(row):
    """One line for a human: the round, how far, at what cost."""
    measured = [f"{label} {row[key]:.2e}" for key, label in
                (("relative_error", "relative error"), ("residual", "residual")) if row[key] is not None]
    measured += [f"{label} {row[key]:.3f}" for key, label in
                 (("accuracy", "accuracy"), ("robust_accuracy", "robust")) if key in row]
    return (f"round {row['round']}, {', '.join([*measured, ''])}{row['uplink_bits'] / 1e6:.4g} Mbit up, "
            f"{row['seconds']:.1f} s")


def finite(value):
    """`value` with None in place of the numbers that JSON cannot hold, however deep."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
