"""Which tests a plain ``pytest`` runs."""

import subprocess
import sys
from pathlib import Path


def test_tests_in_a_folder_called_mpi_are_not_taken_for_those_that_wait_for_with_mpi():
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
                           "tests/unit/mpi/test_batch.py"],
                          cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and " passed" in done.stdout and "skipped" not in done.stdout
