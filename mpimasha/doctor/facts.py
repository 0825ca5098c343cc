"""What one rank sees of its installation, its machine and its launch: plain values that travel to rank 0.

Nothing is judged here.  A fact that cannot be had is None.
"""

import importlib.util
import itertools
import os
import platform
import re
import shutil
import socket
import stat
import tempfile
from pathlib import Path

import llvmlite.binding
import numba
import numpy as np

import mpimasha
from mpimasha.doctor import cgroups, mounts
from mpimasha.errors import LaunchError
from mpimasha.kernels import _jit
from mpimasha.mpi import environment, launcher, leftovers, library

EXTRAS = {"sklearn": "data", "matplotlib": "plot", "scipy": "test"}  # module -> the extra that brings it
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "SLURM_CPUS_PER_TASK",
             "NUMBA_CACHE_DIR", "NUMBA_DISABLE_JIT", "TMPDIR", "I_MPI_CBWR", *launcher.LIBRARY_CHOICES)
_COUNTED = 1000  # files of a cache; more are as good


def of_this_rank(comm, named_launcher=None):
    """{name: fact}.

    Parameters
    ----------
    comm : Communicator
    named_launcher : str, optional
        What the user gave as --launcher.
    """
    mounted, mpi = _read("/proc/mounts") or "", library.facts()
    facts = {"rank": comm.rank, "size": comm.size, "started": environment.launched_ranks(),
             "host": socket.gethostname(), "variables": {name: os.environ.get(name) for name in VARIABLES},
             "versions": _versions(mpi.pop("wrapper")),
             "extras": {name: importlib.util.find_spec(name) is not None for name in EXTRAS},
             "processor": llvmlite.binding.get_host_cpu_name(), "mpi": mpi, "cores": _cores(),
             "quota": cgroups.cores(*_groups("cpu", mounted), _read), "cache": _cache(mounted),
             "temporary": _temporary(mounted), "home": _folder(Path.home(), mounted),
             "shared": _free("/dev/shm"), "left_over": leftovers.of_ended_jobs(),
             "memory": _memory(mounted), "resident": _resident()}
    if comm.rank == 0:
        facts |= {"launcher": _launcher(named_launcher), "on_path": _on_path(facts["mpi"]["library"]),
                  "working": _folder(Path.cwd(), mounted)}
    return facts


# -- installation and launch ---------------------------------------------------------------


def _versions(wrapper):
    return {"python": platform.python_version(), "mpimasha": mpimasha.__version__, "numpy": np.__version__,
            "numba": numba.__version__, "mpi4py": wrapper}


def _launcher(named):
    """{"path", "error"} of what -n would start."""
    try:
        return {"path": launcher.find_launcher() if named is None else launcher.launcher_words(named)[0], "error": None}
    except LaunchError as error:
        return {"path": None, "error": str(error)}


def _on_path(library):
    """{name: (path, whether it is of `library`)} of the launchers a user would type."""
    paths = {name: shutil.which(name) for name in ("mpirun", "mpiexec")}
    return {name: (path, launcher.belongs(path, library)) for name, path in paths.items() if path and library}


# -- machine -------------------------------------------------------------------------------


def _cores():
    """The cores this rank may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _groups(controller, mounted):
    return cgroups.folders(controller, _read("/proc/self/cgroup") or "", mounted)


def _memory(mounted):
    """{"available", "limit", "left"}: of the host, and of the tightest control group; bytes."""
    available = _field(_read("/proc/meminfo"), "MemAvailable")
    limit, left = cgroups.memory(*_groups("memory", mounted), _read) or (None, None)
    return {"available": available, "limit": limit, "left": left}


def _resident():
    return _field(_read("/proc/self/status"), "VmRSS")


def _cache(mounted):
    """Where compiled kernels are kept."""
    chosen = numba.config.CACHE_DIR
    folder = chosen or _jit.cache_folder()
    if folder is None:
        return {"folder": None, "chosen": False}
    files = list(itertools.islice(Path(folder).rglob("*.nbi"), _COUNTED))
    return _folder(folder, mounted) | {"chosen": bool(chosen), "files": len(files), "private": _private(folder)}


def _temporary(mounted):
    wished = os.environ.get("TMPDIR")
    try:
        used = tempfile.gettempdir()
    except OSError:  # Python finds none that can be written
        used = "/tmp"
    return _folder(used, mounted) | {"used_tmpdir": wished is not None and os.path.abspath(wished) == used}


def _folder(path, mounted):
    """A folder, or the nearest one above it that exists: its file system, its space, whether it can be written."""
    path = os.path.realpath(path)
    existing = next(str(p) for p in [Path(path), *Path(path).parents] if p.exists())
    mount = mounts.holding(path, mounts.parse(mounted))
    return {"folder": path, "kind": mount and mount.kind, "network": mount is not None and mount.network,
            "free": _free(existing), "writable": _writable(existing)}


def _writable(folder):
    """Whether a block can really be written: permissions do not show a quota that is used up."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
    except OSError:
        return False
    return True


def _private(folder):
    """Whether nobody else can write into `folder`; True where it does not exist yet."""
    try:
        found = os.stat(folder)
    except OSError:
        return True
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _free(folder):
    """Bytes an ordinary user may still write there."""
    try:
        space = os.statvfs(folder)
    except OSError:
        return None
    return space.f_bavail * space.f_frsize


def _field(text, name):
    """Bytes that a line "Name:  123 kB" of /proc speaks of."""
    match = re.search(rf"^{name}:\s+(\d+) kB", text or "", re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def _read(path):
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
