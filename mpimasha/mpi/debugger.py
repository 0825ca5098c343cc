"""Whether somebody may be holding this process still on purpose."""

import re
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def present():
    """Whether a debugger of Python's (pdb, debugpy, an IDE's) or of the system's (gdb, strace) is at work here."""
    monitoring = getattr(sys, "monitoring", None)  # since Python 3.12
    watched = monitoring is not None and monitoring.get_tool(monitoring.DEBUGGER_ID) is not None
    return watched or sys.gettrace() is not None or "pydevd" in sys.modules or _traced(_status())


def _status():
    try:
        return _STATUS.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return ""


def _traced(status):
    tracer = re.search(r"^TracerPid:\s*(\d+)$", status, re.MULTILINE)
    return tracer is not None and int(tracer[1]) != 0
