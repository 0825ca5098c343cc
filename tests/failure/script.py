"""A user's script that knows nothing of command lines: ``script.py HOW``; inside `solve` rank 1 fails like that."""

import sys
import time

from mpi4py import MPI

import mpimasha as mm

comm, how = MPI.COMM_WORLD, sys.argv[1]
ERRORS = {"error": RuntimeError("an overflow of the user's own"), "interrupt": KeyboardInterrupt(),
          "exit": SystemExit(3), "user-error": mm.UserError("only this rank has seen it")}


def fail():
    sys.stderr.write(f"failing at {time.time()}\n")
    raise ERRORS[how.removeprefix("observer-")]


class Ill(mm.Bilinear):
    def operator(self, worker):
        healthy, calls = super().operator(worker), []

        def F(z, out):
            healthy(z, out)
            calls.append(1)
            if worker == 2 and comm.rank == 1 and len(calls) == 50 and how in ERRORS:
                fail()

        return F


class Watch(mm.Observer):
    def check(self, run, row):
        if comm.rank == 1 and row["round"] > 50 and how.startswith("observer-"):
            fail()


mm.solve(Ill(dim=6, kappa=10.0, workers=5), mm.Extragradient(), comm=comm, observers=[Watch()],
         stop=mm.Stop(rounds=10**6, relative_error=0))
