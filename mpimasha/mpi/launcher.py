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
from mpimasha.mpi.library import first_line, load, name_of

# What a library calls itself, and what `mpiexec --version` says where the launcher is its own.
_FAMILIES = (("Intel(R) MPI", r"Intel\(R\) MPI"), ("Open MPI", "Open MPI|OpenRTE|PRRTE"),
             ("MPICH Version", "HYDRA"), ("MVAPICH", "HYDRA"))
LIBRARY_CHOICES = ("MPI4PY_MPIABI", "MPI4PY_LIBMPI")  # variables that tell mpi4py which library to load
_LAUNCHER_CHOICES = ("HYDRA_LAUNCHER", "HYDRA_BOOTSTRAP", "I_MPI_HYDRA_BOOTSTRAP")  # and Hydra how to start ranks
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
        return load().Get_library_version()
    except (ImportError, RuntimeError) as error:
        remedy = misled(os.environ) or "pip install 'mpimasha[mpi]'"
        raise LaunchError(f"-n needs MPI, which cannot be loaded ({first_line(error)}): {remedy}, or leave -n out to "
                          "simulate the workers in one process") from error


def misled(variables):
    """What to do where one of `variables` chooses the library that mpi4py cannot load; None where none does."""
    names = [name for name in LIBRARY_CHOICES if variables.get(name)]
    return f"unset {' and '.join(names)}, or name a library that is here" if names else None


def words_for_slurm(path):
    """What to say to the launcher at `path` inside a job of SLURM's where its srun would not start anything.

    Hydra starts its ranks by ``srun``, and waits for ever where there is none, as in a container, or where
    a shell that ``srun --pty`` started has all that the job was given.  On one host it needs none.

    Raises
    ------
    LaunchError
        If there is no srun in a job of several nodes.
    """
    if "SLURM_JOB_ID" not in os.environ or any(os.environ.get(name) for name in _LAUNCHER_CHOICES):
        return []
    missing, nodes = shutil.which("srun") is None, os.environ.get("SLURM_JOB_NUM_NODES", "1")
    if not missing and not environment.in_shell_of_srun() or not re.search(r"HYDRA|Intel\(R\) MPI", version(path)):
        return []
    if nodes == "1":
        return ["-launcher", "fork"]
    if missing:
        raise LaunchError(f"-n needs srun to start ranks on the {nodes} nodes of this job of SLURM's, and none is on "
                          "PATH: put it there, ask for one node, or start this with `srun --mpi=pmi2` and without -n")
    return []


def is_foreign(library):
    """Did Open MPI's launcher start us, and another MPI is loaded?  MPICH 5 would die of it inside MPI_Init."""
    return environment.launched_by_open_mpi() and any(name in library for name, _ in _FAMILIES if name != "Open MPI")


def _candidates():
    folders = [Path(sys.exec_prefix, "bin")]
    maps = Path("/proc/self/maps")
    text = maps.read_text(encoding="utf-8", errors="surrogateescape") if maps.exists() else ""
    loaded = re.search(r"/\S*/libmpi\w*\.so\S*$", text, re.MULTILINE)
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
