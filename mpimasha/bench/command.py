"""`mpimasha bench`."""

import json
import sys

from mpimasha.bench import kernels, machine, networks

BENCHMARKS = {"kernels": kernels, "networks": networks}


def execute(options, comm):
    """Measure on rank 0 and print; 0 whatever the machine reached."""
    if comm.rank == 0:
        bench = BENCHMARKS[options.what]
        rows = bench.rows(options.only)
        sys.stdout.write(bench.table(rows) + "\n")
        if options.json:
            sys.stdout.write(json.dumps({"rows": rows, "machine": machine.describe()}) + "\n")
    return 0
