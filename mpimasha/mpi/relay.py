"""Passing on what a launcher prints while it runs."""

import os
import re
import threading

# What launchers say of a job that died, and what MPI_Abort adds: MPICH line by line (it names any rank),
_NOISE = re.compile(rb"$|={60,}$|=   |YOUR APPLICATION TERMINATED WITH|This typically refers to a problem with your"
                    rb"|Please see the FAQ page for debugging|\[mpiexec@"
                    rb"|Abort\(\d+\) on node .* application called MPI_Abort")
# Open MPI in blocks between two rules, of which the first line says what it is about.
_RULE = b"-" * 74
_BLOCK = re.compile(rb"MPI_ABORT was invoked on rank"
                    rb"|(prte|mpi)run (noticed that process|detected that one or more|has exited due to)")
_FIRST_BYTES, _OF_A_BLOCK = b"=YTP[A-\0", b"Mpm"


class Relay(threading.Thread):
    """Copies file descriptor `source` to `sink` as it comes, less a launcher's noise while `better()` holds.

    `better` says whether this process can tell the story better than the launcher.
    """

    def __init__(self, source, sink, better):
        super().__init__(daemon=True)
        self.source, self.sink, self.better = source, sink, better
        self.broken = False  # nobody reads the sink any more (as in `| head`)
        self._rule, self._dropping = b"", False  # a rule not passed on yet; are we inside a block of noise?
        self.start()

    def run(self):
        held, middle = b"", False  # the part of a line not passed on yet; is an earlier part out already?
        while chunk := os.read(self.source, 65536):
            *lines, held = (held + chunk).split(b"\n")
            for line in lines:
                self._pass(line + b"\n", middle)
                middle = False
            if held and not self._dropping and (middle or not self._may_become_noise(held)):
                self._write(self._rule + held)
                self._rule, held, middle = b"", b"", True
        self._pass(held, middle)
        self._write(self._rule)

    def _pass(self, line, middle):
        """Write a whole line, or the rest of one, unless it is noise or may be the first of a block of it."""
        if not middle and line.startswith(b"\0") and self.better():
            line = line.lstrip(b"\0")
        text = line.rstrip(b"\n")
        if self._dropping:
            self._dropping = text != _RULE
        elif self._rule and _BLOCK.match(text) and self.better():
            self._rule, self._dropping = b"", True
        else:
            rule, self._rule = self._rule, b""
            self._write(rule)
            if text == _RULE and not middle:
                self._rule = line
            elif middle or not self._is_noise(text):
                self._write(line)

    def _is_noise(self, line):
        return _NOISE.match(line) is not None and self.better()

    def _may_become_noise(self, start):
        return start[:1] in _FIRST_BYTES + (_OF_A_BLOCK if self._rule else b"") and b"\r" not in start

    def _write(self, data):
        try:
            while data and not self.broken:
                data = data[os.write(self.sink, data):]
        except BrokenPipeError:
            self.broken = True

