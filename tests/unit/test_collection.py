"""The tests themselves: those that are collected are run."""

import subprocess
import sys
from pathlib import Path

from mpimasha.mpi import launch

ROOT = Path(__file__).parents[2]


def test_a_test_is_not_skipped_for_the_name_of_its_folder():
    """pytest-mpi asks whether a test has the keyword mpi, and all of tests/unit/mpi have it."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/mpi/test_environment.py",
               "-k", "announces"]
    done = subprocess.run(command, cwd=ROOT, env=launch.job_environment(), capture_output=True, text=True)
    assert done.returncode == 0 and "passed" in done.stdout and "skipped" not in done.stdout, done.stdout
