"""Jobs that are really submitted, to a SLURM of two virtual nodes: they end as without SLURM, bit for bit."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from mpimasha.mpi import launch
from tests.rundirs import content, ranks_of, whole

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(200)]

ROOT = Path(__file__).parents[2]
JOBS = ROOT / "jobs" / "slurm"
SHORT, LONG = 200, 1_500  # rounds; the checkpoints make them take seconds on any machine
EXPERIMENT = """\
seed = 3
[problem]
name = "bilinear"
dim = 20
[method]
name = "masha1"
gamma = 0.05
tau = 0.9
[compressor]
up = "qsgd:4"
[stop]
relative_error = 0
rounds = {rounds}
[checkpoint]
every = 5
"""
COMPARISON = EXPERIMENT + """\
[[compare]]
label = "one"
[[compare]]
label = "two"
method = {{ gamma = 0.04 }}
"""
MPIMASHA = [sys.executable, "-m", "mpimasha"]


@pytest.fixture(scope="session")
def alone(tmp_path_factory):
    """``alone(rounds)``: the content of the folder of a run of one process, without SLURM."""
    known = {}

    def of(rounds):
        if rounds not in known:
            folder = tmp_path_factory.mktemp("alone")
            (folder / "e.toml").write_text(EXPERIMENT.format(rounds=rounds))
            subprocess.run([*MPIMASHA, "run", "e.toml", "-q", "--out", "run", "--set", "checkpoint.every=0"],
                           cwd=folder, check=True, env=launch.job_environment())
            known[rounds] = content(folder / "run")
        return known[rounds]

    return of


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with short.toml, long.toml and compare.toml."""
    for name, text in (("short", EXPERIMENT), ("long", EXPERIMENT), ("compare", COMPARISON)):
        (tmp_path / f"{name}.toml").write_text(text.format(rounds=LONG if name == "long" else SHORT))
    monkeypatch.setenv("MPIMASHA_VENV", sys.prefix)
    monkeypatch.setenv("PATH", f"{sys.prefix}/bin:{os.environ['PATH']}")
    return tmp_path


def log_of(here):
    return "\n".join(path.read_text() for path in here.glob("**/*.log"))


def status_of(folder):
    return json.loads((folder / "summary.json").read_text())["status"]


def wait_for_checkpoint(cluster, number, folder, known=frozenset()):
    cluster.wait_until(number, lambda job: whole(folder) - known or job["JobState"] not in ("PENDING", "RUNNING"))
    assert whole(folder) - known


# -- launching -----------------------------------------------------------------------------------


@pytest.mark.parametrize("launcher", ["srun --mpi=pmi2", "mpirun"])
def test_two_nodes_with_two_ranks_each_end_like_one_process(cluster, here, alone, launcher):
    job = f"{launcher} {shlex.join(MPIMASHA)} run short.toml --out run"
    number = cluster.submit("--nodes=2", "--ntasks-per-node=2", "--output=job.log", f"--wrap={job}", cwd=here)
    assert cluster.wait(number) == "COMPLETED", log_of(here)
    assert content(here / "run") == alone(SHORT)
    assert len(ranks_of(here / "run")) == 4


def test_the_wrong_plugin_is_refused(cluster, here):
    job = f"srun --mpi=none {shlex.join(MPIMASHA)} run short.toml --out run"
    number = cluster.submit("--nodes=2", "--ntasks-per-node=2", "--output=job.log", f"--wrap={job}", cwd=here)
    assert cluster.wait(number) == "FAILED"
    assert "4 ranks were started, but each is alone" in log_of(here) and not (here / "run").exists()


# -- the scripts in jobs/slurm -------------------------------------------------------------------


@pytest.mark.parametrize("script", ["one_rank_per_core", "one_rank_per_socket"])
def test_a_comparison_by_a_script_as_it_is(cluster, here, script):
    number = cluster.submit("--nodes=1", JOBS / f"{script}.sbatch", "compare.toml", "-q", cwd=here)
    assert cluster.wait(number) == "COMPLETED", log_of(here)
    folder = here / "runs" / f"slurm-{number}"
    assert (folder / "table.txt").exists()
    assert len(ranks_of(folder / "one")) == {"one_rank_per_core": 4, "one_rank_per_socket": 2}[script]


def test_an_array_over_seeds(cluster, here, alone):
    number = cluster.submit("--array=2-3", "--ntasks-per-node=2", JOBS / "seeds.sbatch", "short.toml", cwd=here)
    for seed in (2, 3):
        assert cluster.wait(f"{number}_{seed}") == "COMPLETED", log_of(here)
    folder = here / "runs" / f"slurm-{number}"
    assert content(folder / "seed-3") == alone(SHORT) != content(folder / "seed-2")


def test_an_array_of_shares_is_one_study(cluster, here):
    (here / "study.toml").write_text(COMPARISON.format(rounds=SHORT).replace("seed = 3", "seeds = 3"))
    number = cluster.submit("--array=1-3%2", "--ntasks-per-node=2", JOBS / "study.sbatch", "study.toml", cwd=here)
    states = {cluster.wait(f"{number}_{share}") for share in (1, 2, 3)}
    assert states == {"COMPLETED"}, log_of(here)
    folder = here / "runs" / f"slurm-{number}"
    assert len(list(folder.glob("*/seed-*/final.npz"))) == 6 and (folder / "table.txt").exists()


# -- ends before the end -------------------------------------------------------------------------


def test_a_killed_rank_ends_the_job_which_goes_on_with_other_ranks(cluster, here, alone):
    number = cluster.submit("--nodes=2", "--ntasks-per-node=1", JOBS / "one_rank_per_core.sbatch", "run", "long.toml",
                            cwd=here)
    folder = here / "runs" / f"slurm-{number}"
    wait_for_checkpoint(cluster, number, folder)
    os.kill(ranks_of(folder)[1], signal.SIGKILL)
    assert cluster.wait(number, 30) == "FAILED", log_of(here)
    assert not (folder / "final.npz").exists()
    cluster.call("srun", "--mpi=pmi2", "--nodes=2", "--ntasks=3", *MPIMASHA, "resume", folder, "-q", cwd=here, limit=90)
    assert len(ranks_of(folder)) == 3
    assert content(folder) == alone(LONG)


def test_a_job_that_is_told_to_stop_comes_back_and_ends_like_one_that_was_not(cluster, here, alone):
    number = cluster.submit("--nodes=2", "--ntasks-per-node=1", JOBS / "requeue.sbatch", "long.toml", "run", cwd=here)
    for restarts in range(2):
        wait_for_checkpoint(cluster, number, here / "run", whole(here / "run"))
        cluster.call("scancel", "--batch", "--signal=USR1", number)
        cluster.wait_until(number, lambda job: int(job["Restarts"]) > restarts)
        cluster.wait_until(number, lambda job: job["JobState"] == "RUNNING")
    assert cluster.wait(number) == "COMPLETED", log_of(here)
    assert content(here / "run") == alone(LONG)
    again = json.loads((here / "run" / "manifest.json").read_text())["resumed"]
    assert len(again) == 2 and {one["slurm_job"] for one in again} == {number}


def test_a_comparison_that_is_told_to_stop_comes_back_and_is_finished(cluster, here):
    (here / "compare.toml").write_text(COMPARISON.format(rounds=LONG))
    number = cluster.submit("--ntasks-per-node=2", JOBS / "requeue.sbatch", "compare.toml", "run", cwd=here)
    wait_for_checkpoint(cluster, number, here / "run" / "one")
    cluster.call("scancel", "--batch", "--signal=USR1", number)
    cluster.wait_until(number, lambda job: int(job["Restarts"]) == 1)
    assert cluster.wait(number) == "COMPLETED", log_of(here)
    assert (here / "run" / "table.txt").exists() and (here / "run" / "two" / "final.npz").exists()


def test_a_cancelled_job_does_not_come_back(cluster, here):
    number = cluster.submit("--ntasks-per-node=2", JOBS / "requeue.sbatch", "long.toml", "run", cwd=here)
    wait_for_checkpoint(cluster, number, here / "run")
    cluster.call("scancel", number)
    assert cluster.wait(number) == "CANCELLED"
    time.sleep(cluster.kill_wait + 1)
    job = cluster.job(number)
    assert (job["JobState"], job["Restarts"]) == ("CANCELLED", "0")
    assert status_of(here / "run") == "stopped"  # the ranks had the time to save


# -- mpimasha submit -----------------------------------------------------------------------------


def submit(cluster, here, *words):
    """The number of the job that ``mpimasha submit WORDS`` sends."""
    told = cluster.call(*MPIMASHA, "submit", *words, cwd=here)
    return told.split()[1]


def test_a_submitted_experiment_is_run_as_it_was_then(cluster, here, alone):
    folder = here / "a folder, 100%"
    number = submit(cluster, here, "short.toml", "--nodes", "2", "--tasks-per-node", "1", "--time", "0:05:00", "--out",
                    folder.name)
    (here / "short.toml").write_text("an edit after that")
    assert cluster.wait(number) == "COMPLETED", log_of(here)
    assert content(folder) == alone(SHORT)
    assert "reached its limit of rounds" in (here / "a folder, 100%.log").read_text()


def test_a_submitted_run_stops_in_time_and_comes_back(cluster, here):
    """SLURM's limits are whole minutes: the script is told to shorten its own, once."""
    script = cluster.call(*MPIMASHA, "submit", "bilinear", "--nodes", "2", "--tasks-per-node", "1", "--time", "0:02:00",
                          "--out", "run", "--set", "stop.relative_error=0", "--set", "stop.rounds=1000000000",
                          "--dry-run", cwd=here)
    sooner = 'if [ -z "${SLURM_RESTART_COUNT:-}" ]; then date -d "+40 seconds" +%FT%T >end; ' \
             'scontrol update JobId="$SLURM_JOB_ID" EndTime="$(cat end)"; fi'
    (here / "run.sbatch").write_text(script.replace("set -euo pipefail\n", f"set -euo pipefail\n{sooner}\n", 1))
    number = cluster.submit("--signal=B:USR1@1", "run.sbatch", cwd=here)
    cluster.wait_until(number, lambda job: int(job["Restarts"]) > 0 or job["JobState"] == "FAILED")
    assert time.time() < datetime.fromisoformat((here / "end").read_text().strip()).timestamp(), log_of(here)
    assert status_of(here / "run") == "stopped" and max(whole(here / "run")) > 0
    cluster.call("scancel", number)
    assert "was stopped early" in log_of(here)
