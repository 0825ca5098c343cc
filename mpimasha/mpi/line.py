"""Small messages between two ranks at any time, over a communicator of their own."""


def heard(line):
    """(rank, tag, message) of all that has come over the communicator `line`."""
    from mpi4py import MPI
    status = MPI.Status()
    while line.iprobe(status=status):
        rank, tag = status.Get_source(), status.Get_tag()
        yield rank, tag, line.recv(source=rank, tag=tag)


def takes_threads():
    """Whether any thread of this process may call MPI at any time."""
    from mpi4py import MPI
    return MPI.Query_thread() == MPI.THREAD_MULTIPLE
