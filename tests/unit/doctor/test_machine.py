"""What the doctor promises of cores, memory and folders, from invented facts."""

import pytest
from findings import GB, of_machine, ranks, spread

from mpimasha.doctor import installation, machine, mounts
from mpimasha.doctor.finding import NOTE, OK, PROBLEM


def test_nothing_is_wrong_with_a_sound_job():
    for job in (ranks(), ranks(4), spread(ranks(2), ranks(2))):
        found = installation.findings(job) + machine.findings(job)
        assert {f.level for f in found} == {OK}


# -- cores and threads ---------------------------------------------------------------------------------


def test_more_ranks_than_cores_are_a_problem_on_their_own_host_only():
    assert of_machine(ranks(4), "cores").level == OK
    found = of_machine(ranks(5), "cores")
    assert found.level == PROBLEM and found.value.startswith("5 ranks take turns on 4 cores of a")
    assert of_machine(spread(ranks(4), ranks(4)), "cores").level == OK
    assert " of b" in of_machine(spread(ranks(4), ranks(5)), "cores").value


def test_a_containers_share_of_cores_counts():
    assert of_machine(ranks(2, quota=2.0), "cores").level == OK
    found = of_machine(ranks(3, quota=2.0), "cores")
    assert found.level == PROBLEM and "2 cores of a (the container's limit of 2)" in found.value


def test_ranks_bound_to_one_core_are_a_problem_though_others_are_free():
    job = ranks(4)
    for one, cores in zip(job, ([0], [1], [1], [2, 3])):
        one["cores"] = cores
    found = of_machine(job, "cores")
    assert found.level == PROBLEM and found.value.startswith("ranks 1, 2 of a are bound to core 1")
    job[2]["cores"] = [0, 1]  # three ranks inside {0, 1}
    assert of_machine(job, "cores").value.startswith("ranks 0, 1, 2 of a are bound to cores 0, 1")
    job[2]["cores"] = [2, 3]
    assert of_machine(job, "cores").level == OK


@pytest.mark.parametrize("variables, level", [
    ({"OMP_NUM_THREADS": "1"}, OK), ({"OMP_NUM_THREADS": "2"}, OK), ({"MKL_NUM_THREADS": "3"}, NOTE),
    ({"OMP_NUM_THREADS": "4,2"}, NOTE), ({"OMP_NUM_THREADS": "many"}, OK)])
def test_threads_that_ranks_have_no_cores_for_are_noted(variables, level):
    found = of_machine(ranks(2, **{f"variables__{name}": value for name, value in variables.items()}), "threads")
    assert found.level == level
    assert level == OK or "OMP_NUM_THREADS=2" in found.advice


def test_cores_promised_by_slurm_but_not_given_to_the_step_are_noted():
    found = of_machine(ranks(variables__SLURM_CPUS_PER_TASK="8"), "threads")
    assert found.level == NOTE and "srun --cpus-per-task=8" in found.advice
    assert of_machine(ranks(variables__SLURM_CPUS_PER_TASK="4"), "threads").level == OK


# -- memory and folders ----------------------------------------------------------------------------------


def test_free_memory_is_the_least_of_hosts_and_limits():
    limited = ranks(2, memory={"available": 30 * GB, "limit": 8 * GB, "left": 5 * GB})
    assert machine.available(limited) == 5 * GB
    found = of_machine(spread(ranks(2), limited), "memory")
    assert found.value.startswith("5.00 GB free on b, under a limit of 8.00 GB")
    assert "limit" not in of_machine(ranks(), "memory").value


@pytest.mark.parametrize("count, free, level", [
    (1, 2**20, OK), (2, 128 * 2**20, OK), (2, 128 * 2**20 - 1, PROBLEM), (3, 128 * 2**20, PROBLEM), (2, None, PROBLEM)])
def test_shared_memory_of_less_than_64_mb_a_rank_is_a_problem_for_several_ranks(count, free, level):
    assert of_machine(ranks(count, shared=free), "/dev/shm").level == level


@pytest.mark.parametrize("changes, hosts, level, word", [
    ({"cache": {"folder": None, "chosen": False}}, 1, PROBLEM, "TMPDIR"),
    ({"cache__writable": False}, 1, PROBLEM, "TMPDIR"), ({"cache__private": False}, 1, PROBLEM, "TMPDIR"),
    ({"cache__writable": False, "cache__chosen": True}, 1, PROBLEM, "unset NUMBA_CACHE_DIR"),
    ({"cache__network": True, "cache__kind": "nfs4"}, 1, NOTE, "local to each host"),
    ({"cache__network": True, "cache__kind": "nfs4"}, 2, PROBLEM, "local to each host"),
    ({"cache__files": 0}, 2, OK, "")])
def test_a_cache_that_is_shared_or_not_there_is_found(changes, hosts, level, word):
    found = of_machine(spread(*([ranks()] * (hosts - 1)), ranks(**changes)), "cache")
    assert found.level == level and word in found.advice
    assert hosts == 1 or level == OK or "(on b)" in found.value
    assert ("cold" in found.value) == (changes == {"cache__files": 0})


@pytest.mark.parametrize("changes, level", [
    ({"temporary__free": 2 * GB}, OK), ({"temporary__free": GB - 1}, NOTE), ({"temporary__free": GB // 20}, PROBLEM),
    ({"temporary__writable": False}, PROBLEM), ({"variables__TMPDIR": "/gone"}, NOTE),
    ({"variables__TMPDIR": "/scratch", "temporary__used_tmpdir": True}, OK)])
def test_a_scarce_or_missing_folder_of_temporary_files_is_found(changes, level):
    assert of_machine(ranks(**changes), "temporary").level == level


def test_where_results_cannot_be_written_is_a_problem():
    assert of_machine(ranks(working__writable=False), "results").level == PROBLEM
    assert of_machine(ranks(working__free=GB // 20), "results").level == PROBLEM


def test_a_home_on_the_network_is_told_without_alarm():
    assert of_machine(ranks(home__network=True, home__kind="nfs4"), "home").level == OK


MOUNTS = r"""/dev/sda / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
/dev/sdb /tmp xfs rw 0 0
/dev/sdc /my\040disk btrfs rw 0 0
files /gather fuse.sshfs rw 0 0
overlay /box fuse.fuse-overlayfs rw 0 0
"""


@pytest.mark.parametrize("path, kind, network", [
    ("/home/me/x", "nfs4", True), ("/home2/x", "ext4", False), ("/tmp", "xfs", False), ("/my disk/x", "btrfs", False),
    ("/gather/x", "fuse.sshfs", True), ("/box/x", "fuse.fuse-overlayfs", False), ("/", "ext4", False)])
def test_a_path_lies_on_the_innermost_and_latest_mount(path, kind, network):
    mount = mounts.holding(path, mounts.parse(MOUNTS))
    assert (mount.kind, mount.network) == (kind, network)


def test_a_machine_without_a_list_of_mounts_has_none():
    assert mounts.holding("/x", mounts.parse("")) is None


def test_what_ended_jobs_left_in_shared_memory_is_counted_and_named():
    files = {f"/dev/shm/mpich_shm_{number}_0": 10**6 for number in range(5)}
    found = of_machine(spread(ranks(), ranks(left_over=files)), "left over")
    assert found.level == NOTE and found.value == (
        "5 files of ended MPI jobs of yours take 5.00 MB of memory on b: /dev/shm/mpich_shm_0_0, "
        "/dev/shm/mpich_shm_1_0, /dev/shm/mpich_shm_2_0 and 2 more")
    assert "more" not in of_machine(ranks(left_over=dict([*files.items()][:3])), "left over").value
