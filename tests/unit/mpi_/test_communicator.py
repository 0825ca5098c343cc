"""The communicator: what it leaves when a program ends."""

import sys

import pytest

SCRIPT = """
from mpi4py import MPI
import mpimasha as mm
kept = mm.Run(mm.Bilinear(dim=6, workers=4), mm.Optimistic(), MPI.COMM_WORLD)
kept.start()
kept.step()
"""


@pytest.mark.launches
def test_a_program_that_keeps_a_run_ends_in_silence(run_job, mpiexec):
    """The exchanges planned in it are given up after the last import that Python allows."""
    job = run_job([mpiexec, "-n", "2", sys.executable, "-c", SCRIPT])
    assert (job.returncode, job.stdout, job.stderr) == (0, "", "")
