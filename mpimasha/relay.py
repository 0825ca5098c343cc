"""Passing on what a launcher prints while it runs."""

import os
import re
import threading

# What MPICH's launcher says of a job that died (it names any rank), and what MPI_Abort adds.
_NOISE = re.compile(rb"$|={60,}$|=   |YOUR APPLICATION TERMINATED WITH|This typically refers to a problem with your"
                    rb"|Please see the FAQ page for debugging|\[mpiexec@"
                    rb"|Abort\(\d+\) on node .* application called MPI_Abort")
_FIRST_BYTES = b"=YTP[A"


class Relay(threading.Thread):
    """Copies file descriptor `source` to `sink` as it comes, less a launcher's noise while `better()` holds.

    `better` says whether this process can tell the story better than the launcher.
    """

    def __init__(self, source, sink, better):
        super().__init__(daemon=True)
        self.source, self.sink, self.better = source, sink, better
        self.broken = False  # nobody reads the sink any more (as in `| head`)
        self.start()

    def run(self):
        held, middle = b"", False  # the part of a line not passed on yet; is an earlier part out already?
        while chunk := os.read(self.source, 65536):
            *lines, held = (held + chunk).split(b"\n")
            for line in lines:
                if middle or not self._is_noise(line):
                    self._write(line + b"\n")
                middle = False
            if held and (middle or not _may_become_noise(held)):
                self._write(held)
                held, middle = b"", True
        if held and not self._is_noise(held):
            self._write(held)

    def _is_noise(self, line):
        return _NOISE.match(line) is not None and self.better()

    def _write(self, data):
        try:
            while data and not self.broken:
                data = data[os.write(self.sink, data):]
        except BrokenPipeError:
            self.broken = True


def _may_become_noise(start):
    return start[:1] in _FIRST_BYTES and b"\r" not in start
