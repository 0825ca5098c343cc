"""Processes that a test has to see the end of."""

import time
from pathlib import Path

SOON = 5.0  # seconds


def wait_until_gone(pids):
    deadline = time.monotonic() + SOON
    while alive := [pid for pid in pids if _runs(pid)]:
        assert time.monotonic() < deadline, f"still running: {alive}"
        time.sleep(0.05)


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
