"""What the doctor promises of each finding, from invented facts; and that it looks, launches and ends as it says."""

import copy
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from mpimasha import __main__
from mpimasha.doctor import cgroups, experiment, facts, finding, installation, machine, mounts, probe, report
from mpimasha.doctor.finding import NOTE, OK, PROBLEM, Finding
from mpimasha.mpi import environment, patience
from mpimasha.mpi.communicator import Communicator

GB = 10**9
FOLDER = {"folder": "/scratch", "kind": "xfs", "network": False, "free": 50 * GB, "writable": True}
RANK = {
    "rank": 0, "size": 1, "started": None, "host": "a", "variables": dict.fromkeys(facts.VARIABLES),
    "versions": {"python": "3.11.7", "mpimasha": "0.1.0", "numpy": "2.4", "numba": "0.68", "mpi4py": "4.1"},
    "extras": dict.fromkeys(facts.EXTRAS, True), "processor": "znver3", "cores": [0, 1, 2, 3], "quota": None,
    "mpi": {"library": "MPICH Version:      5.0.2\n", "standard": "5.0", "threads": "multiple", "error": None},
    "cache": FOLDER | {"chosen": False, "files": 7, "private": True}, "temporary": FOLDER | {"used_tmpdir": False},
    "home": FOLDER, "shared": 8 * GB, "left_over": {}, "memory": {"available": 32 * GB, "limit": None, "left": None},
    "resident": GB // 5, "launcher": {"path": "/opt/mpiexec", "error": None}, "on_path": {}, "working": FOLDER,
}


def ranks(count=1, **changes):
    """Facts of `count` ranks on one host; ``cache__network=True`` changes one fact inside another."""
    made = []
    for rank in range(count):
        one = copy.deepcopy(RANK) | {"rank": rank, "size": count, "started": count if count > 1 else None}
        for path, value in changes.items():
            *outer, name = path.split("__")
            place = one[outer[0]] if outer else one
            place[name] = value
        made.append(one)
    return made


def spread(*groups):
    """Groups of ranks on hosts a, b, ... as one job."""
    job = [one | {"host": host} for host, group in zip("abc", groups) for one in group]
    return [one | {"rank": rank, "size": len(job), "started": len(job)} for rank, one in enumerate(job)]


def named(findings, name):
    """The finding of that name; what is a problem says what to do."""
    assert all(f.advice for f in findings if f.level == PROBLEM)
    found, = (f for f in findings if f.name == name)
    return found


def of_machine(job, name, network=None):
    return named(machine.findings(job, network), name)


def of_installation(job, name, wanted=None):
    return named(installation.findings(job, wanted), name)


def test_nothing_is_wrong_with_a_sound_job():
    for job in (ranks(), ranks(4), spread(ranks(2), ranks(2))):
        found = installation.findings(job) + machine.findings(job)
        assert {f.level for f in found} == {OK}


# -- installation and launch -----------------------------------------------------------------------


def test_hosts_with_other_versions_are_named():
    job = spread(ranks(), ranks(versions__numba="0.60"))
    found = of_installation(job, "versions")
    assert found.level == PROBLEM and found.value == "numba is 0.68 on a, 0.60 on b"


def test_no_mpi_is_a_note_for_one_process_and_a_problem_for_ranks():
    without = {"library": None, "error": "No module named 'mpi4py'"}
    assert of_installation(ranks(mpi=without), "MPI").level == NOTE
    found = of_installation(ranks(mpi=without, started=2), "MPI")
    assert found.level == PROBLEM and "No module named 'mpi4py'" in found.value and "mpimasha[mpi]" in found.advice


@pytest.mark.parametrize("told, level", [(None, NOTE), ("0", NOTE), ("1", None), ("2", None)])
def test_intel_mpi_that_may_add_up_in_another_order_each_time_is_a_note(told, level):
    intel = {"mpi__library": "Intel(R) MPI Library 2021.18 for Linux* OS", "variables__I_MPI_CBWR": told}
    found = [f for f in installation.findings(ranks(2, **intel)) if f.name == "sums"]
    assert [f.level for f in found] == ([level] if level else [])
    assert all("allreduce" in f.value and "I_MPI_CBWR=1" in f.advice for f in found)


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


def test_what_ended_jobs_left_in_shared_memory_is_counted_and_named():
    files = {f"/dev/shm/mpich_shm_{number}_0": 10**6 for number in range(5)}
    found = of_machine(spread(ranks(), ranks(left_over=files)), "left over")
    assert found.level == NOTE and found.value == (
        "5 files of ended MPI jobs of yours take 5.00 MB of memory on b: /dev/shm/mpich_shm_0_0, "
        "/dev/shm/mpich_shm_1_0, /dev/shm/mpich_shm_2_0 and 2 more")
    assert "more" not in of_machine(ranks(left_over=dict([*files.items()][:3])), "left over").value


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


# -- control groups ------------------------------------------------------------------------------------------

V2 = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"
V1 = "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu,cpuacct 0 0\n"


def test_the_tightest_group_of_version_2_limits_memory():
    files = {"/sys/fs/cgroup/job/step/memory.max": "max\n", "/sys/fs/cgroup/job/step/memory.current": "100\n",
             "/sys/fs/cgroup/job/memory.max": "1000\n", "/sys/fs/cgroup/job/memory.current": "700\n",
             "/sys/fs/cgroup/job/memory.stat": "anon 400\ninactive_file 200\n",
             "/sys/fs/cgroup/memory.max": "2000\n", "/sys/fs/cgroup/memory.current": "1000\n"}
    version, folders = cgroups.folders("memory", "0::/job/step\n", V2)
    assert cgroups.memory(version, folders, files.get) == (1000, 500)  # 1000 - 700 + 200 that can be dropped


def test_limits_of_version_1_and_its_way_of_saying_none():
    root = "/sys/fs/cgroup/memory"
    files = {f"{root}/slurm/memory.limit_in_bytes": "5000", f"{root}/slurm/memory.usage_in_bytes": "1000",
             f"{root}/memory.limit_in_bytes": str(2**63 - 4096), f"{root}/memory.usage_in_bytes": "9000"}
    groups = "5:cpu,cpuacct:/\n4:memory:/slurm/job_7\n0::/\n"
    version, folders = cgroups.folders("memory", groups, V1 + V2)
    assert version == 1 and folders == [f"{root}/slurm/job_7", f"{root}/slurm", root]
    assert cgroups.memory(version, folders, files.get) == (5000, 4000)
    assert cgroups.memory(version, [root], files.get) is None
    assert cgroups.memory(version, folders, {}.get) is None


def test_no_control_groups_no_limit():
    assert cgroups.folders("memory", "", "") == (2, [])
    assert cgroups.memory(2, [], {}.get) is None and cgroups.cores(2, [], {}.get) is None


def test_a_quota_of_cores_is_read_in_both_versions():
    assert cgroups.cores(2, ["/c/a", "/c"], {"/c/a/cpu.max": "max 100000", "/c/cpu.max": "250000 100000"}.get) == 2.5
    assert cgroups.cores(1, ["/c"], {"/c/cpu.cfs_quota_us": "100000", "/c/cpu.cfs_period_us": "50000"}.get) == 2
    assert cgroups.cores(1, ["/c"], {"/c/cpu.cfs_quota_us": "-1", "/c/cpu.cfs_period_us": "50000"}.get) is None


# -- an experiment ---------------------------------------------------------------------------------------------

NETWORK = {"latency": (5e-6, 1e-5), "large": (4e-4, 1.01e-3), "bytes": 1_000_000}


def forecast(**changes):
    memory = {"workers": 2 * GB, "method": GB, "exchange": GB, "measuring": 0, "data": None}
    return {"label": "masha1", "problem": "bilinear", "n": 100, "workers": 8, "ranks": 4, "method": "masha1",
            "compressor": "randk:0.05", "rule": "theory", "judged": True, "refusal": None, "gamma": 0.1, "gamma_L": 0.1,
            "tau": 0.75, "refresh": 0.25, "wire": "float64", "memory": [memory] * 4, "uplink_bits": 640.0,
            "downlink_bits": 3520.0, "messages": 1.5, "sent": 400.0, "received": 1000.0, "uplink": 500.0,
            "dense": 900.0} | changes


def of_experiment(name, job=None, network=NETWORK, **changes):
    return named(experiment.findings([forecast(**changes)], job or ranks(4), network), name)


def test_a_sound_experiment_is_described():
    found = experiment.findings([forecast()], ranks(4), NETWORK)
    assert {f.level for f in found} == {OK}
    assert "640 bit up and 3.52 kbit down" in named(found, "model bits").value
    assert "every 4 rounds" in named(found, "model bits").value
    assert "2 workers a rank" in named(found, "problem").value


def test_communication_is_latency_of_each_collective_and_the_bytes_received():
    assert experiment.communication(forecast(), NETWORK) == pytest.approx(1.5 * 1e-5 + 1000 * 1e-9)  # the slowest rank
    assert "16.0 us" in of_experiment("time").value
    assert experiment.communication(forecast(ranks=1), None) == 0
    assert experiment.communication(forecast(messages=None), NETWORK) is None


def test_idle_ranks_are_noted_with_a_number_that_fits():
    found = of_experiment("problem", workers=10)
    assert found.level == NOTE and "2 or 3 workers a rank" in found.value and "17%" in found.value  # 1 - 10/12
    assert found.advice.startswith("use 2 ranks")


def test_memory_beyond_what_a_host_has_is_a_problem():
    assert of_experiment("memory", ranks(4, memory__available=21 * GB)).level == OK
    assert of_experiment("memory", ranks(4, memory__available=17 * GB)).level == NOTE
    found = of_experiment("memory", ranks(4, memory__available=15 * GB))
    assert found.level == PROBLEM and "16.0 GB of 15.0 GB free on a" in found.value and "data not known" in found.value
    halves = spread(ranks(2, memory__available=15 * GB), ranks(2, memory__available=15 * GB))
    assert of_experiment("memory", halves).level == OK


def test_messages_that_outweigh_dense_vectors_are_noted():
    assert of_experiment("wire", uplink=900.0).level == OK
    found = of_experiment("wire", uplink=901.0)
    assert found.level == NOTE and "permk" in found.advice


def test_a_run_that_would_refuse_is_a_problem_with_its_sentence():
    found = of_experiment("start", refusal="method.gamma needs L: give a number", memory=None)
    assert found.level == PROBLEM and "method.gamma needs L" in found.value


def test_a_comparison_is_a_table_and_its_faults():
    blocks = [forecast(label="og"), forecast(label="mine", uplink=901.0)]
    found = experiment.findings(blocks, ranks(4), NETWORK)
    assert [(f.name, f.level) for f in found] == [("problem", OK), ("wire", NOTE)]
    assert found[1].value.startswith("mine: ")
    lines = experiment.table(blocks, NETWORK)
    assert [line.split()[0] for line in lines[2:]] == ["og", "mine"] and "randk:0.05" in lines[2]
    assert "randk:0.05" not in experiment.table(blocks, NETWORK, width=len(lines[0]) - 1)[2]


# -- the report ----------------------------------------------------------------------------------------------------

FINDINGS = [Finding("launch", "ranks", OK, "4 were started"),
            Finding("machine", "cores", PROBLEM, "one two three four " * 6, "five six seven eight " * 6),
            Finding("machine", "cache", NOTE, "cold")]


@pytest.mark.parametrize("width", [40, 80, 120, 300])
def test_a_terminal_gets_lines_that_fit(width):
    lines = report.text(FINDINGS, width).splitlines()
    assert max(map(len, lines)) <= min(width, 120)
    assert lines[-1] == "1 note, 1 problem." and any(line.strip().startswith("-> five") for line in lines)
    assert " ".join(" ".join(lines).split()).count("seven") == 6  # nothing is lost


def test_a_pipe_gets_one_line_a_finding():
    lines = report.text(FINDINGS, None).splitlines()
    problem, = (line for line in lines if " problem " in line)
    assert "four  -> five" in problem and problem.rstrip().endswith("eight")


@pytest.mark.parametrize("count, words", [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (2.5e9, "2.50 GB")])
def test_sizes_have_three_digits(count, words):
    assert finding.size(count) == words


@pytest.mark.parametrize("seconds, words", [(7.13e-6, "7.13 us"), (2e-3, "2.00 ms"), (1.5, "1.50 s"), (0.0, "0 us")])
def test_times_have_three_digits(seconds, words):
    assert finding.time(seconds) == words


# -- on this machine --------------------------------------------------------------------------------------------------

alone = pytest.mark.skipif(bool(environment.launched_ranks()), reason="pretends to be, or not to be, launched")


@pytest.fixture
def doctor(tmp_path, monkeypatch, capsys):
    """``doctor(*argv)``: exit code, text and record, run in this process in an empty folder that stays empty."""
    monkeypatch.chdir(tmp_path)

    def run(*argv):
        code = __main__.main(["doctor", *argv, "--json"])
        said = capsys.readouterr()
        assert os.listdir(tmp_path) == []
        assert said.err == ""
        return code, said.out, json.loads(said.out.splitlines()[-1]) if said.out else None
    return run


@alone
def test_facts_are_plain_and_those_of_this_process():
    found = facts.of_this_rank(Communicator())
    json.dumps(found)
    assert found["cores"] == sorted(os.sched_getaffinity(0))
    space = os.statvfs(found["temporary"]["folder"])
    assert found["temporary"]["free"] == pytest.approx(space.f_bavail * space.f_frsize, rel=0.1)
    assert 10e6 < found["resident"] < 10e9 and found["memory"]["available"] > 0


@alone
def test_a_folder_is_judged_by_writing_and_left_as_it_was(tmp_path):
    assert facts._folder(tmp_path, "")["writable"] and os.listdir(tmp_path) == []
    assert facts._folder(tmp_path / "not" / "yet", "")["writable"] and os.listdir(tmp_path) == []
    assert not facts._folder("/proc", "")["writable"]
    for mode, private in ((0o770, False), (0o702, False), (0o755, True), (0o700, True)):
        tmp_path.chmod(mode)
        assert facts._private(tmp_path) == private


@alone
def test_the_exit_code_says_whether_a_problem_was_found(doctor):
    code, text, record = doctor()
    assert code == (1 if record["problems"] else 0)
    assert record["ranks"] == 1 and record["exchange"] is None and record["experiments"] == []
    for row in record["findings"]:
        assert row["value"] in text and row["level"] in (OK, NOTE, PROBLEM)


@alone
def test_without_mpi_the_doctor_still_examines(doctor, monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    _, _, record = doctor("bilinear")
    levels = {row["name"]: row["level"] for row in record["findings"]}
    assert levels["MPI"] == NOTE and levels["ranks"] == OK and levels["model bits"] == OK
    code, _, record = doctor("-n", "2")
    assert code == 1 and [r["level"] for r in record["findings"] if r["name"] in ("ranks", "launcher")] == [PROBLEM] * 2


@alone
def test_ranks_that_are_each_alone_are_told_so_once(doctor, comm, pretend_rank):
    pretend_rank(4)
    code, _, record = doctor()
    assert code == 1 and {"ranks": PROBLEM}.items() <= {r["name"]: r["level"] for r in record["findings"]}.items()
    pretend_rank(4, 2)
    assert doctor() == (0, "", None)  # a launcher may end all ranks for one that fails


@pytest.mark.parametrize("argv, word", [
    (["nonsense"], "'nonsense'"), (["-n", "0"], "-n 0"), (["-n", "3", "bilinear", "--workers", "2"], "workers = 2"),
    (["bilinear", "--method", "masha9"], "masha9"), (["--workers", "3"], "experiment"), (["--out", "x"], "--out"),
    (["bilinear", "--method", "og", "--compressor", "randk:0.1"], "randk")])
@alone
def test_a_mistake_is_one_sentence_and_nothing_is_examined(argv, word, capsys):
    assert __main__.main(["doctor", *argv]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and word in said.err


@pytest.mark.launches
def test_two_ranks_are_examined_together(run_cli, tmp_path):
    job = run_cli(["doctor", "bilinear", "--json"], ranks=2)
    record = json.loads(job.stdout.splitlines()[-1])
    levels = {row["name"]: row["level"] for row in record["findings"]}
    assert job.returncode == (1 if record["problems"] else 0) and job.stderr == ""
    assert record["ranks"] == 2 and levels["ranks"] == levels["launcher"] == levels["wire"] == OK
    assert 0 < record["exchange"]["latency"][0] <= record["exchange"]["latency"][1]
    assert job.stdout.count("\nmachine\n") == 1 and list(tmp_path.iterdir()) == []


# -- it ends -----------------------------------------------------------------------------------------------------------


class Slow:
    """A communicator of two ranks, of whom each exchange takes `seconds`."""

    def __init__(self, seconds):
        self.size, self.rank, self.seconds, self.count = 2, 0, seconds, 0
        self.billed_to = Communicator().billed_to

    def allgather_bytes(self, send, receive, counts, displacements):
        time.sleep(self.seconds)
        self.count += 1

    def broadcast(self, array):
        return array

    def gather_objects(self, value):
        return [value, 2 * value]


@pytest.mark.parametrize("seconds, given, fewest, most", [(0.001, 0.3, 20, 310), (0.05, 1.0, 8, 26), (0.2, 0.2, 4, 4)])
def test_probes_take_the_time_they_are_given(seconds, given, fewest, most):
    comm = Slow(seconds)
    found = probe.collectives(comm, given)
    assert fewest <= comm.count <= most  # at least the first and one more, of each kind
    assert seconds <= found["latency"][0] < found["latency"][1]  # the median of x and 2x, and 2x


def hanging(script):
    started = time.monotonic()
    script = f"import time\nfrom mpimasha.mpi import patience\n{script}"
    done = subprocess.run([sys.executable, "-c", script], timeout=60, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert time.monotonic() - started < 20
    return done


def test_a_rank_that_hangs_ends_and_shows_where():
    done = hanging("def deep():\n    time.sleep(60)\nwith patience.of_a_rank(1):\n    deep()")
    assert done.returncode == 1 and "in deep" in done.stderr


def test_a_launcher_that_hangs_is_interrupted_with_a_sentence():
    done = hanging("with patience.with_a_launcher(1):\n    time.sleep(60)")
    assert done.returncode == -signal.SIGINT and "have not come back within 1 s" in done.stderr


def test_patience_is_over_with_the_examination():
    with patience.of_a_rank(1), patience.with_a_launcher(1):
        pass
    time.sleep(1.2)  # still here


def test_no_temporary_folder_at_all_is_a_finding_and_not_a_failure(monkeypatch):
    def none_usable():
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp', '/var/tmp']")

    monkeypatch.setattr(facts.tempfile, "gettempdir", none_usable)
    monkeypatch.setattr(facts, "_writable", lambda folder: False)
    seen = facts.of_this_rank(Communicator())
    assert of_machine([seen], "temporary").level == PROBLEM


def test_a_variable_that_chooses_the_wrong_library_is_to_be_unset():
    job = ranks(2, mpi__library=None, mpi__error="libmpi.so.40 is missing", variables__MPI4PY_MPIABI="openmpi")
    assert of_installation(job, "MPI").advice == "unset MPI4PY_MPIABI, or name a library that is here"
    alone = [job[0] | {"size": 1}]
    assert of_installation(alone, "ranks").advice.startswith("unset MPI4PY_MPIABI, ")
