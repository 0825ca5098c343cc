"""However a rank dies, the job ends soon, says which rank it was, and its exit code is not 0."""

import re
import sys
from pathlib import Path

import pytest
from lanes import fast

from mpimasha.mpi import library

pytestmark = pytest.mark.launches

VICTIM = str(Path(__file__).parent / "victim.py")
SOON = 5.0  # seconds from the failure to the end of the job
RAISED = {"raise": "FloatingPointError: overflow in the operator", "sys.exit": "SystemExit: 3",
          "import": "ModuleNotFoundError: No module named 'a_module_that_only_this_node_lacks'",
          "lone-user-error": "UserError: only this rank has seen it"}
SILENT = {"SIGKILL": ("was killed by signal 9 (SIGKILL)", 137), "SIGSEGV": ("was killed by signal 11 (SIGSEGV)", 139),
          "SIGFPE": ("was killed by signal 8 (SIGFPE)", 136), "_exit5": ("left with exit code 5", 5),
          "_exit4": ("left with exit code 4", 1), "_exit0": ("left with exit code 0", 1)}  # 0, 2, 4, 8: orderly ends
COMMENTS = ("BAD TERMINATION", "MPI_ABORT", "MPI_Abort", "mpiexec@", "prterun", "-" * 74)  # of launchers


def start(run_job, how, ranks=4):
    return run_job([sys.executable, VICTIM, "-n", str(ranks), how])


def skip_if_the_launcher_waits(how):
    """Intel MPI's own launcher minds no rank that dies before MPI_Init, be it by a signal."""
    if how.startswith("early-") and "Intel(R) MPI" in library.facts()["library"]:
        pytest.skip("the launcher of Intel MPI waits for a rank that has died before MPI_Init")


def seconds_to_the_end(job):
    return job.time - float(re.search(r"failing at ([\d.]+)", job.stderr)[1])


def said_by_launcher(job):
    return [comment for comment in COMMENTS if comment in job.stdout + job.stderr]


@pytest.mark.parametrize("how", fast(RAISED, "raise"))
def test_an_exception_on_one_rank_ends_the_job_and_names_the_rank(run_job, how):
    job = start(run_job, how)
    assert job.returncode == 1
    assert seconds_to_the_end(job) < SOON
    assert re.search(r"mpimasha: rank 2 of 4 on \S+ failed:\nTraceback", job.stderr)
    assert RAISED[how] in job.stderr
    assert not said_by_launcher(job)


@pytest.mark.parametrize("how", fast([*SILENT, "early-SIGKILL", "early-_exit5", "early-_exit0"], "SIGKILL"))
def test_a_rank_that_dies_silently_is_named_with_its_cause(run_job, how):
    cause, code = SILENT[how.removeprefix("early-")]
    job = start(run_job, how)
    assert job.returncode == code
    assert seconds_to_the_end(job) < SOON
    assert re.findall(r"mpimasha: rank (\d) of 4 on \S+ (was killed by signal \d+ \(\w+\)|left with exit code \d)",
                      job.stderr) == [("2", cause)]
    assert not said_by_launcher(job)


@pytest.mark.parametrize("start_with", fast(["spawn", "plain launcher"], "spawn"))
def test_a_rank_that_cannot_start_mpi_is_named_and_ends_the_job(run_job, mpiexec, start_with):
    """The others wait for it in MPI_Init, and MPICH's launcher waits with them."""
    if start_with == "plain launcher":
        skip_if_the_launcher_waits("early-raise")
    job = start(run_job, "early-raise") if start_with == "spawn" else \
        run_job([mpiexec, "-n", "4", sys.executable, VICTIM, "early-raise"])
    assert job.returncode == 1 if start_with == "spawn" else job.returncode != 0
    assert seconds_to_the_end(job) < SOON
    assert re.search(r"mpimasha: rank 2 of 4 on \S+ failed:\nTraceback", job.stderr)
    assert RAISED["raise"] in job.stderr


@pytest.mark.slow
def test_a_killed_watcher_takes_its_rank_with_it_and_blames_no_other(run_job):
    job = start(run_job, "kill-watcher")
    assert job.returncode not in (0, 2, 4, 8)
    assert seconds_to_the_end(job) < SOON
    assert not re.search(r"rank [013] of 4", job.stderr)


@pytest.mark.parametrize("how", fast(["raise", "sys.exit", "import", "SIGKILL", "_exit5", "early-SIGKILL"], "sys.exit"))
def test_under_a_plain_launcher_the_job_ends_as_well(run_job, mpiexec, how):
    skip_if_the_launcher_waits(how)
    job = run_job([mpiexec, "-n", "4", sys.executable, VICTIM, how])
    assert job.returncode != 0
    assert seconds_to_the_end(job) < SOON
    if how in RAISED:
        assert re.search(r"mpimasha: rank 2 of 4 on \S+ failed:\nTraceback", job.stderr)
        assert RAISED[how] in job.stderr


@pytest.mark.parametrize("code", fast([0, 4, 8], 1))
def test_an_orderly_end_returns_the_code_the_ranks_agreed_on(run_job, code):
    job = start(run_job, f"code{code}", ranks=3)
    assert (job.returncode, job.stdout) == (code, "the last line\n")
    assert "mpimasha:" not in job.stderr  # nothing to explain
    assert "TERMINATION" not in job.stderr


@pytest.mark.slow
def test_for_a_launcher_rank_0_leaves_last_and_alone_with_the_code(run_job, mpiexec, tmp_path):
    """srun ends the ranks that are still about when the first has left with a code, and its own is then 143."""
    note = 'code=0; "$@" || code=$?; echo "${PMI_RANK:-$OMPI_COMM_WORLD_RANK} $code $(date +%s.%N)" >>order; exit $code'
    job = run_job([mpiexec, "-n", "3", "sh", "-c", note, "sh", sys.executable, VICTIM, "code8"])
    assert (job.returncode, job.stdout) == (8, "the last line\n")
    ends = sorted(line.split() for line in (tmp_path / "order").read_text().splitlines())
    assert [end[:2] for end in ends] == [["0", "8"], ["1", "0"], ["2", "0"]]
    assert float(ends[0][2]) > max(float(end[2]) for end in ends[1:]) + 0.5


def test_a_mistake_seen_by_all_ranks_is_one_sentence_and_code_2(run_job):
    job = start(run_job, "user-error", ranks=3)
    assert (job.returncode, job.stdout, job.stderr) == (2, "", "mpimasha: error: no problem of that name\n")


@pytest.mark.slow
@pytest.mark.parametrize("code", fast([0, 4], 1))
def test_ranks_that_cannot_see_the_box_end_with_the_code_themselves(run_job, mpiexec, tmp_path, code):
    elsewhere = tmp_path / "elsewhere.sh"
    elsewhere.write_text(f'#!/bin/sh\nMPIMASHA_POSTBOX="{tmp_path}/nowhere" exec "{mpiexec}" "$@"\n')
    elsewhere.chmod(0o755)
    start = ("import sys; from mpimasha.mpi import launch; "
             "sys.exit(launch.spawn(2, sys.argv[3:], sys.argv[1], sys.argv[2:3]))")
    job = run_job([sys.executable, "-c", start, str(elsewhere), VICTIM, f"code{code}"])
    assert job.returncode == code
    assert "the last line\n" in job.stdout


@pytest.mark.slow
def test_ranks_run_the_package_of_the_launching_process_not_the_folder_they_start_in(run_job, tmp_path):
    (tmp_path / "mpimasha").mkdir()
    (tmp_path / "mpimasha" / "__init__.py").write_text("raise ImportError('not this one')")
    command = [sys.executable, "-P", "-m", "mpimasha", "run", "-n", "2", "bilinear", "--set", "stop.rounds=2"]
    assert run_job(command).returncode == 0
