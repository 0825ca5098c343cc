"""``mpimasha doctor``: whether this installation, machine and launch will work, and what an experiment needs.

`facts` looks at the machine and judges nothing; `installation`, `machine` and `experiment`
judge facts and look at nothing; `probe` times an exchange, `needs` asks a run's own
objects what they would allocate and send; `report` writes it all down.
"""

import json
import os
import shutil
import sys

from mpimasha.doctor import experiment, facts, installation, machine, needs, probe, report
from mpimasha.doctor.finding import PROBLEM
from mpimasha.mpi import environment
from mpimasha.solver.observers import finite

HEALTHY, ILL = 0, 1


def examine(options, prepared, comm):
    """Look at everything, report on rank 0; the exit code, 1 where a problem was found.

    Of several processes that were started together but are each alone, only the first looks; the others leave with
    code 0, or a launcher would end the first for their sake.

    Parameters
    ----------
    options : Namespace
        ranks, launcher, json.
    prepared : list of (Experiment, Problem)
        Empty without an experiment.
    comm : Communicator
    """
    if comm.size == 1 and environment.launched_rank():
        return HEALTHY
    ranks = comm.gather_objects(facts.of_this_rank(comm, options.launcher))
    network = probe.collectives(comm)
    forecasts = [needs.forecast(asked, problem, comm) for asked, problem in prepared]
    found = installation.findings(ranks, options.ranks) + machine.findings(ranks, network)
    if forecasts:
        found += experiment.findings(forecasts, ranks, network)
    if comm.rank == 0:
        width = _width()
        table = experiment.table(forecasts, network, width) if len(forecasts) > 1 else ()
        sys.stdout.write(report.text(found, width, table, experiment.FOOTNOTE))
        if options.json:
            sys.stdout.write(json.dumps(finite(_record(found, ranks, network, forecasts))) + "\n")
    return ILL if any(f.level == PROBLEM for f in found) else HEALTHY


def _record(found, ranks, network, forecasts):
    brief = [{**f, "memory": f["memory"] and max(f["memory"], key=experiment.total),
              "seconds_communicate": experiment.communication(f, network) if f["memory"] else None} for f in forecasts]
    return report.record(found, ranks=len(ranks), hosts=list(machine.by_host(ranks)), exchange=network,
                         experiments=brief)


def _width():
    """Columns of the terminal that the report goes to; None where it goes to a file or a pipe."""
    person = sys.stdout.isatty() or environment.TERMINAL in os.environ
    return shutil.get_terminal_size().columns if person else None
