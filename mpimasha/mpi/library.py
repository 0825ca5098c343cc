"""The MPI library that mpi4py loads: what it is, and how it was started."""

import sys

_LEVELS = {0: "single", 1: "funneled", 2: "serialized", 3: "multiple"}


def load():
    """mpi4py's ``MPI``, loaded and not started.

    Raises
    ------
    ImportError, RuntimeError
        No mpi4py; no MPI library for it.
    """
    import mpi4py
    mpi4py.rc.initialize = False  # who loads it decides whether it is started
    from mpi4py import MPI
    return MPI


def facts():
    """{"wrapper", "library", "standard", "threads", "error"}: what this process has loaded, or why it has not.

    "wrapper" is the version of mpi4py, "threads" the level of threads granted; both None without them.
    """
    try:
        MPI = load()
    except (ImportError, RuntimeError) as error:
        return {"wrapper": _wrapper(), "library": None, "error": first_line(error)}
    threads = _LEVELS.get(MPI.Query_thread()) if MPI.Is_initialized() else None
    return {"wrapper": _wrapper(), "library": MPI.Get_library_version(),
            "standard": ".".join(map(str, MPI.Get_version())), "threads": threads, "error": None}


def _wrapper():
    return getattr(sys.modules.get("mpi4py"), "__version__", None)


def name(comm):
    """Name and version of the library behind a `Communicator`, or "serial"."""
    return "serial" if comm.comm is None else name_of(load().Get_library_version())


def name_of(library):
    """Name and version in what an MPI library says of itself."""
    return first_line(library).split(",")[0]


def first_line(text):
    """The first line of an error, its blanks and NULs tidied."""
    return " ".join(str(text).rstrip("\0").strip().split("\n")[0].split())
