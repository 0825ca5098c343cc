"""What the doctor promises of installation and launch, from invented facts."""

import pytest
from findings import of_installation, ranks, spread

from mpimasha.doctor import installation
from mpimasha.doctor.finding import NOTE, PROBLEM


def test_hosts_with_other_versions_are_named():
    job = spread(ranks(), ranks(versions__numba="0.60"))
    found = of_installation(job, "versions")
    assert found.level == PROBLEM and found.value == "numba is 0.68 on a, 0.60 on b"


def test_no_mpi_is_a_note_for_one_process_and_a_problem_for_ranks():
    without = {"library": None, "error": "No module named 'mpi4py'"}
    assert of_installation(ranks(mpi=without), "MPI").level == NOTE
    found = of_installation(ranks(mpi=without, started=2), "MPI")
    assert found.level == PROBLEM and "No module named 'mpi4py'" in found.value and "mpimasha[mpi]" in found.advice


def test_ranks_with_two_mpi_libraries_are_a_problem():
    found = of_installation(spread(ranks(), ranks(mpi__library="Open MPI v5.0.11, package")), "MPI")
    assert found.level == PROBLEM and "MPICH" in found.value and "Open MPI" in found.value


@pytest.mark.parametrize("library, plugin", [("MPICH Version:      5.0.2", "pmi2"), ("Open MPI v5.0.11, x", "pmix")])
def test_ranks_that_are_each_alone_are_a_problem_with_the_way_to_start_them(library, plugin):
    found = of_installation(ranks(started=4, mpi__library=library), "ranks")
    assert found.level == PROBLEM and found.value == "4 ranks were started, but each is alone"
    assert "-n 4" in found.advice and f"--mpi={plugin}" in found.advice
    assert of_installation(ranks(started=2, mpi__library=library), "ranks").level == PROBLEM


def test_a_stale_announcement_of_ranks_is_a_note():
    assert of_installation(ranks(2, started=8), "ranks").level == NOTE


def test_ranks_that_could_not_be_started_are_a_problem():
    job = ranks(launcher={"path": None, "error": "no mpiexec of MPICH was found: put it on PATH"})
    assert of_installation(job, "launcher").level == NOTE  # nobody asked
    assert of_installation(job, "ranks", wanted=4).level == PROBLEM
    found = of_installation(job, "launcher", wanted=4)
    assert found.level == PROBLEM and found.advice == "put it on PATH"


def test_a_launcher_of_another_mpi_on_path_is_noted():
    job = ranks(on_path={"mpirun": ("/usr/bin/mpirun", False), "mpiexec": ("/opt/mpiexec", True)})
    found = of_installation(job, "PATH")
    assert found.level == NOTE and found.value.startswith("mpirun on PATH is not of MPICH 5.0.2")
    unknown = ranks(on_path={"mpirun": ("/usr/bin/mpirun", None)})
    assert not [f for f in installation.findings(unknown) if f.name == "PATH"]


def test_missing_extras_and_a_disabled_compiler_are_notes():
    found = of_installation(ranks(extras__sklearn=False, extras__matplotlib=False), "extras")
    assert found.level == NOTE and found.value == "without scikit-learn, matplotlib" and "[data,plot]" in found.advice
    assert of_installation(ranks(variables__NUMBA_DISABLE_JIT="1"), "compiler").level == NOTE
    assert of_installation(spread(ranks(), ranks(processor="skylake")), "compiler").level == NOTE


@pytest.mark.parametrize("told, level", [(None, NOTE), ("0", NOTE), ("1", None), ("2", None)])
def test_intel_mpi_that_may_add_up_in_another_order_each_time_is_a_note(told, level):
    intel = {"mpi__library": "Intel(R) MPI Library 2021.18 for Linux* OS", "variables__I_MPI_CBWR": told}
    found = [f for f in installation.findings(ranks(2, **intel)) if f.name == "sums"]
    assert [f.level for f in found] == ([level] if level else [])
    assert all("allreduce" in f.value and "I_MPI_CBWR=1" in f.advice for f in found)
