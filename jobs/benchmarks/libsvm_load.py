"""How fast ranks load a LIBSVM file.

    mpiexec -n 4 python jobs/benchmarks/libsvm_load.py --megabytes 200 --compare

Rank 0 writes a file into a temporary folder, all ranks load it twice (the first time compiles), and the second time
counts: bytes of the file over the seconds of the slowest rank.  The file was just written, so it comes from the page
cache, not from a disk.  With --compare, rank 0 gathers the parts and reads the file with scikit-learn as well.
"""

import argparse
import os
import shutil
import sys
import tempfile
from time import perf_counter

import numpy as np

from mpimasha import RobustRegression
from mpimasha.data.shards import Shards
from mpimasha.data.sparse_rows import SparseRows
from mpimasha.mpi import launch
from mpimasha.mpi.communicator import Communicator

BATCH = 2000  # rows written at a time


def main():
    options = _options()
    world = launch.world()
    comm = Communicator(world)
    workers = options.workers or comm.size
    folder = tempfile.mkdtemp() if comm.rank == 0 else None
    path = comm.gather_objects(folder and os.path.join(folder, "generated.svm"))[0]
    try:
        if comm.rank == 0:
            generate(path, options.megabytes * 10**6, options.digits)
        comm.gather_objects(None)
        _report(comm, path, workers, options.compare)
    finally:
        if comm.rank == 0:
            shutil.rmtree(folder)


def _options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--digits", type=int, default=6, help="significant digits of a value (17: all of a float64)")
    parser.add_argument("--workers", type=int, default=0, help="default: one a rank")
    parser.add_argument("--compare", action="store_true", help="with what scikit-learn reads")
    return parser.parse_args()


def generate(path, size, digits, features=100_000, nonzeros=40):
    """Write about `size` bytes: about `nonzeros` Gaussian values a row, in columns of which the first are frequent."""
    rng = np.random.default_rng(0)
    with open(path, "w") as file:
        while file.tell() < size:
            lines = []
            for count in rng.poisson(nonzeros, BATCH):
                columns = np.unique((features * rng.uniform(size=count)**3).astype(np.int64)) + 1
                values = rng.standard_normal(len(columns))
                pairs = " ".join(f"{j}:{v:.{digits}g}" for j, v in zip(columns.tolist(), values.tolist()))
                lines.append(f"{'+1' if rng.uniform() < 0.5 else '-1'} {pairs}\n")
            file.writelines(lines)


def _report(comm, path, workers, compare):
    megabytes = os.path.getsize(path) / 1e6
    Shards.of_svmlight(comm, path, workers)
    shards, seconds = _timed(comm, lambda: Shards.of_svmlight(comm, path, workers))
    if comm.rank == 0:
        sys.stdout.write(f"{megabytes:.0f} MB on {comm.size} ranks, {workers} workers, N = {shards.N}, d = {shards.d}\n"
                         f"reading and parsing: {seconds:.2f} s, {megabytes / seconds:.0f} MB/s\n")
    if compare:
        _compare(comm, path, shards)
    RobustRegression(data=path, workers=workers).load(comm)
    for split in ("even", "shuffled"):
        problem = RobustRegression(data=path, split=split, workers=workers)
        _, seconds = _timed(comm, lambda: problem.load(comm))
        if comm.rank == 0:
            sys.stdout.write(f"load() with split = {split}, scales, constants and digest: {seconds:.2f} s, "
                             f"{megabytes / seconds:.0f} MB/s\n")


def _timed(comm, function):
    """(result, seconds of the slowest rank)."""
    comm.gather_objects(None)
    started = perf_counter()
    result = function()
    return result, max(comm.gather_objects(perf_counter() - started))


def _compare(comm, path, shards):
    parts = comm.gather_objects((SparseRows.joined(shards.X, shards.d), np.concatenate(shards.y)))
    if comm.rank == 0:
        from sklearn.datasets import load_svmlight_file
        started = perf_counter()
        X, y = load_svmlight_file(path)
        seconds = perf_counter() - started
        mine = SparseRows.joined([X for X, _ in parts], shards.d)
        equal = {"data": np.array_equal(mine.values, X.data), "indices": np.array_equal(mine.indices, X.indices),
                 "indptr": np.array_equal(mine.indptr, X.indptr), "y": np.array_equal(np.concatenate(
                     [y for _, y in parts]), y)}
        sys.stdout.write(f"scikit-learn, one process: {seconds:.2f} s; arrays equal: {equal}\n")
    comm.gather_objects(None)


if __name__ == "__main__":
    main()
