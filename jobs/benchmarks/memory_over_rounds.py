"""Whether memory stays flat over the rounds of a small problem, and rows few.

    python jobs/benchmarks/memory_over_rounds.py [masha1 qsgd:4] [--rounds 1000000]
    mpiexec -n 2 python jobs/benchmarks/memory_over_rounds.py diana_og

Everything that the command line gives a run is there: rows and progress, checkpoints, notice of signals, the watch over
stalls.  The resident set is read from /proc, so Linux only, by the first check after 1 %, 10 %, 50 % and 100 % of the
rounds.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from mpimasha.experiment import config
from mpimasha.mpi import environment, launch

environment.prepare()


def resident_bytes():
    """What this process has in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main():
    options, world = _options(), launch.world()
    document = {"problem": {"name": "bilinear", "dim": 10}, "workers": 4, "method": {"name": options.method},
                "stop": {"rounds": options.rounds, "relative_error": 0}, "checkpoint": {"every": options.every}}
    if options.compressor:
        document["compressor"] = {"up": options.compressor}
    from mpimasha.mpi.watch import watched
    with watched(world, 600.0) as comm:
        solved(config.experiment(document), comm)


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method", nargs="?", default="masha1")
    parser.add_argument("compressor", nargs="?")
    parser.add_argument("--rounds", type=int, default=1_000_000)
    parser.add_argument("--every", type=config.scalar, default="2s", help="checkpoint.every: rounds or a time")
    return parser.parse_args()


def solved(experiment, world):
    """Run `experiment` as `mpimasha run` does, and report."""
    from mpimasha.experiment import results
    from mpimasha.mpi.communicator import Communicator
    from mpimasha.solver import observers
    from mpimasha.solver.checkpoint import Checkpoints, Saving, identity
    from mpimasha.solver.notice import Notice
    from mpimasha.solver.run import solve

    class Gauge(observers.Observer):
        """Reads the resident set where parts of the rounds are done."""

        def start(self, run):
            self.read, self.due = [], [experiment.stop.rounds * percent // 100 for percent in (1, 10, 50, 100)]

        def check(self, run, row):
            if self.due and run.k >= self.due[0]:
                self.due.pop(0)
                self.read.append((run.k, resident_bytes()))

    comm, gauge = Communicator(world), Gauge()
    folder = tempfile.TemporaryDirectory() if comm.rank == 0 else None
    where, hosts = Path(comm.gather_objects(folder and folder.name)[0], "run"), comm.gather_objects(results.where())
    watching = [results.RunDirectory(where, experiment, hosts), observers.Rows(where / "rows.jsonl"),
                observers.Progress(experiment.stop, experiment.label)] if comm.rank == 0 else []
    started = perf_counter()
    with Notice().by_signals(comm) as notice:
        result = solve(experiment.problem(), experiment.method(), comm=comm, observers=[*watching, gauge],
                       stop=experiment.stop, every=experiment.every, notice=notice,
                       saving=Saving(Checkpoints(where, identity(experiment.document)), experiment.checkpoint))
    seconds, read = perf_counter() - started, comm.gather_objects(gauge.read)
    if comm.rank == 0:
        size = (where / "rows.jsonl").stat().st_size
        folder.cleanup()
        sys.stdout.write(f"{result.method} {result.compressor}: {result.rounds} rounds in {seconds:.0f} s, "
                         f"{len(result.rows)} rows ({size / 1e3:.0f} kB), relative error {result.relative_error:.1e}\n")
        for rank, gauged in enumerate(read):
            told = ", ".join(f"{value / 1e6:.2f} at {k}" for k, value in gauged)
            growth = gauged[-1][1] / gauged[1][1] - 1
            sys.stdout.write(f"  rank {rank} of {comm.size}: MB resident {told}; {growth:+.2%} since 10 %\n")


if __name__ == "__main__":
    main()
