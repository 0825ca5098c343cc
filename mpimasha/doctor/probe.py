"""What an exchange costs on these ranks, measured."""

import statistics
from time import perf_counter

import numpy as np

SMALL = 64  # bytes a rank: latency and nothing else
LARGE = 1_000_000  # bytes of all ranks together


def collectives(comm, seconds=2.0):
    """Time the collective that carries messages, about `seconds` in all.

    Returns
    -------
    dict or None
        "latency" and "large", each (median, worst): seconds that the median and the slowest
        rank took, as medians over many Allgathers of 64 bytes a rank and of 1 MB in all, and
        "bytes", the bytes of a large one; the same on every rank.  None with one rank.
    """
    if comm.size == 1:
        return None
    each = max(1, LARGE // comm.size)
    return {"latency": _allgather(comm, SMALL, seconds / 2), "large": _allgather(comm, each, seconds / 2),
            "bytes": each * comm.size}


def _allgather(comm, each, seconds):
    """(median, worst) over the ranks of their median time; rank 0 decides how many times, so that all agree."""
    send, receive = np.zeros(each, np.uint8), np.zeros(each * comm.size, np.uint8)
    counts, displacements = [each] * comm.size, [each * rank for rank in range(comm.size)]
    times, repeats, started = [], np.ones(1, np.int64), perf_counter()
    with comm.billed_to("observers"):
        comm.allgather_bytes(send, receive, counts, displacements)  # connections are made at the first
        while repeats[0]:
            for _ in range(repeats[0]):
                before = perf_counter()
                comm.allgather_bytes(send, receive, counts, displacements)
                times.append(perf_counter() - before)
            left = seconds - (perf_counter() - started)
            mean = sum(times) / len(times)
            repeats[0] = min(2 * repeats[0], left / max(mean, 1e-7)) if left > 0 else 0
            comm.broadcast(repeats)
    medians = comm.gather_objects(statistics.median(times))
    return statistics.median(medians), max(medians)
