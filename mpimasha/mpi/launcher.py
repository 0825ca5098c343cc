"""The ``mpiexec`` that belongs to the MPI library in use: another one would start N jobs of one rank."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from mpimasha.errors import LaunchError
from mpimasha.mpi import environment

# What a library calls itself, and what `mpiexec --version` says where the launcher is its own.
_FAMILIES = (("Intel(R) MPI", r"Intel\(R\) MPI"), ("Open MPI", "Open MPI|OpenRTE|PRRTE"),
             ("MPICH Version", "HYDRA"), ("MVAPICH", "HYDRA"))
_NAMES = ("mpiexec", "mpirun", "mpiexec.hydra", "mpiexec.mpich", "mpiexec.openmpi")


def find_launcher():
    """Path of the ``mpiexec`` that belongs to the MPI library mpi4py loads.

    Looked for in this Python's bin, then near the library, then on PATH.

    Raises
    ------
    LaunchError
        If there is no MPI, or none of the launchers found is its own.
    """
    library = _library()
    if _mark(library) is None:
        raise LaunchError(f"-n does not know the launcher of {name_of(library)}: name it with --launcher")
    for path in _candidates():
        if belongs(path, library):
            return path
    raise LaunchError(f"no mpiexec of {name_of(library)} was found: put it on PATH or name it with --launcher")


def belongs(path, library):
    """Whether the launcher at `path` is that of `library`; None for a library of no family we know."""
    mark = _mark(library)
    return mark and re.search(mark, version(path)) is not None


def _mark(library):
    return next((mark for name, mark in _FAMILIES if name in library), None)


def _library():
    """What the MPI library says of itself, without starting it."""
    try:
        import mpi4py
        mpi4py.rc.initialize = False
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise LaunchError(f"-n needs MPI, which cannot be loaded ({first_line(error)}): pip install 'mpimasha[mpi]', "
                          "or leave -n out to simulate the workers in one process") from error
    return MPI.Get_library_version()


def is_foreign(library):
    """Did Open MPI's launcher start us, and another MPI is loaded?  MPICH 5 would die of it inside MPI_Init."""
    return "OMPI_COMM_WORLD_SIZE" in os.environ and any(name in library for name, _ in _FAMILIES if name != "Open MPI")


def _candidates():
    folders = [Path(sys.exec_prefix, "bin")]
    maps = Path("/proc/self/maps")
    loaded = re.search(r"/\S*/libmpi\w*\.so\S*$", maps.read_text(), re.MULTILINE) if maps.exists() else None
    if loaded is not None:  # .../lib/x86_64-linux-gnu/libmpi.so.40 -> .../bin
        folders += [parent / "bin" for parent in list(Path(os.path.realpath(loaded[0])).parents)[1:4]]
    found = [os.path.join(folder, name) for folder in [*folders, *os.get_exec_path()] for name in _NAMES]
    return [path for path in dict.fromkeys(found) if os.access(path, os.X_OK)]


def version(path):
    """What ``path --version`` prints; empty if it cannot be run."""
    try:
        done = subprocess.run([path, "--version"], env=environment.clean_environment(), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def launcher_words(launcher):
    """The command line of `launcher`, its program looked for beside this Python first."""
    try:
        words = shlex.split(launcher)
    except ValueError as error:
        raise LaunchError(f"--launcher {launcher!r} cannot be read as a command line: {error}") from None
    path = os.pathsep.join([os.path.join(sys.exec_prefix, "bin"), os.environ.get("PATH", os.defpath)])
    found = shutil.which(words[0], path=path) if words else None
    if found is None:
        raise LaunchError(f"--launcher {launcher!r} names no program that can be run")
    return [found, *words[1:]]


def name_of(library):
    """Name and version in what an MPI library says of itself."""
    return first_line(library).split(",")[0]


def first_line(text):
    """The first line of an error, its blanks and NULs tidied."""
    return " ".join(str(text).rstrip("\0").strip().split("\n")[0].split())
