"""Limits of control groups, of both versions."""

from mpimasha.doctor import cgroups

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
