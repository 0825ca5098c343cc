"""Peak memory of MASHA1 on a sparse bilinear problem, summed over the ranks.

    mpiexec -n 4 python jobs/benchmarks/sparse_memory.py [--dim 1000000] [--rounds 20]

One worker a rank; 10 nonzeros a row; RandK of 1 %.  The peak is VmHWM of each process, so Linux only: it counts the
interpreter, compiled code and MPI's shared memory as well.
"""

import argparse
from pathlib import Path

from mpi4py import MPI

import mpimasha as mm


def peak_bytes():
    """The largest resident memory this process has had."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dim", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    options, comm = parser.parse_args(), MPI.COMM_WORLD
    problem = mm.SparseBilinear(dim=options.dim, nonzeros=10, workers=comm.size)
    result = mm.solve(problem, mm.Masha1(mm.RandK(0.01), gamma=0.05), comm=comm,
                      stop=mm.Stop(rounds=options.rounds, relative_error=0))
    peaks = comm.gather(peak_bytes())
    if comm.rank == 0:
        print(f"n = {problem.n}, {comm.size} ranks, {result.rounds} rounds in {result.seconds:.1f} s: "
              f"{sum(peaks) / 1e9:.2f} GB in all, {', '.join(f'{p / 1e6:.0f}' for p in peaks)} MB, relative error "
              f"{result.relative_error:.4f}")


if __name__ == "__main__":
    main()
