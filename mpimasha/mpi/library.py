"""The MPI library that mpi4py loads: what it is, and how it was started."""

from mpimasha.mpi.launcher import first_line, name_of

_LEVELS = {0: "single", 1: "funneled", 2: "serialized", 3: "multiple"}


def facts():
    """{"wrapper", "library", "standard", "threads", "error"}: what this process has loaded, or why it has not.

    "wrapper" is the version of mpi4py, "threads" the level of threads granted; both None without them.
    """
    try:
        import mpi4py
    except ImportError as error:
        return {"wrapper": None, "library": None, "error": first_line(error)}
    wrapper, mpi4py.rc.initialize = mpi4py.__version__, False  # one process need not start MPI to look at it
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # as in launch.world
        return {"wrapper": wrapper, "library": None, "error": first_line(error)}
    threads = _LEVELS.get(MPI.Query_thread()) if MPI.Is_initialized() else None
    return {"wrapper": wrapper, "library": MPI.Get_library_version(),
            "standard": ".".join(map(str, MPI.Get_version())), "threads": threads, "error": None}


def name(comm):
    """Name and version of the library behind a `Communicator`, or "serial"."""
    if comm.comm is None:
        return "serial"
    from mpi4py import MPI
    return name_of(MPI.Get_library_version())
