"""A real run, one of whose ranks is killed from outside."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mpimasha.mpi import environment

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.launches
@pytest.mark.parametrize("victim", [0, 2])
def test_a_killed_rank_of_a_run_ends_it_within_five_seconds_and_is_named(tmp_path, victim):
    command = [sys.executable, "-m", "mpimasha", "run", "-n", "4", "bilinear", "--out", str(tmp_path / "run"),
               "--set", "stop.rounds=1000000000", "--set", "stop.relative_error=0"]
    job = subprocess.Popen(command, env=environment.clean_environment() | {"PYTHONPATH": str(ROOT)},
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        rows = tmp_path / "run" / "rows.jsonl"
        patience = time.monotonic() + 60
        while not (rows.exists() and len(rows.read_text().splitlines()) > 20):  # well under way
            assert time.monotonic() < patience and job.poll() is None
            time.sleep(0.05)
        ranks = json.loads((tmp_path / "run" / "manifest.json").read_text())["ranks"]
        killed = time.monotonic()
        os.kill(ranks[victim]["pid"], signal.SIGKILL)
        _, said = job.communicate(timeout=30)
        assert time.monotonic() - killed < 5
    finally:
        job.kill()
    assert job.returncode not in (0, 2, 4, 8)
    assert f"rank {victim} of 4 on {ranks[victim]['host']} was killed by signal 9" in said
    assert all(json.loads(line) for line in rows.read_text().splitlines())  # no torn row
