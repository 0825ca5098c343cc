"""`mpimasha bench`."""

import json
import platform
import sys

from mpimasha.bench import networks

BENCHMARKS = {"networks": networks}


def execute(options, comm):
    """Measure on rank 0 and print; 0 whatever the machine reached."""
    if comm.rank == 0:
        bench = BENCHMARKS[options.what]
        rows = bench.rows(options.only)
        sys.stdout.write(bench.table(rows) + "\n")
        if options.json:
            sys.stdout.write(json.dumps({"rows": rows, "machine": platform.processor() or platform.machine()}) + "\n")
    return 0
