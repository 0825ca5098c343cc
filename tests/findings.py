"""Invented facts of ranks, and one finding of the doctor about them."""

import copy

from mpimasha.doctor import facts, installation, machine
from mpimasha.doctor.finding import PROBLEM

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
