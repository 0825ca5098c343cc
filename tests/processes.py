"""The processes of a job."""

import subprocess
import time
from pathlib import Path

SOON = 5.0  # seconds


def below(root):
    """Process ids of everything that the process `root` has started, and that these have."""
    lines = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout.splitlines()
    children = {}
    for pid, parent in (map(int, line.split()) for line in lines):
        children.setdefault(parent, []).append(pid)
    found, new = [], [root]
    while new:
        new = [child for pid in new for child in children.get(pid, [])]
        found += new
    return found


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
