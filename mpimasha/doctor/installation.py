"""Findings on what is installed, and on how the ranks were started."""

from mpimasha.doctor.facts import EXTRAS
from mpimasha.doctor.finding import NOTE, OK, PROBLEM, Finding, listed, several
from mpimasha.mpi.launcher import misled
from mpimasha.mpi.library import name_of

_PROJECTS = {"sklearn": "scikit-learn"}  # a module that is not called as its project
_FAMILIES = (("Open MPI", "pmix"), ("MPICH", "pmi2"), ("Intel(R) MPI", "pmi2"), ("MVAPICH", "pmi2"))


def findings(ranks, wanted=None):
    """What to say of the installation and the launch.

    Parameters
    ----------
    ranks : list of dict
        Facts of all ranks, rank 0 first.
    wanted : int, optional
        The ranks that -n asked for.
    """
    return [*_installation(ranks), *_launch(ranks, wanted)]


def _installation(ranks):
    return [_packages(ranks), _mpi(ranks), *_sums(ranks), _kernels(ranks), _extras(ranks[0])]


def _packages(ranks):
    first = ranks[0]["versions"]
    others = [r for r in ranks if r["versions"] != first]
    text = ", ".join(f"{name} {version}" for name, version in first.items() if version is not None)
    if not others:
        return Finding("installation", "versions", OK, text)
    name = next(name for name in first if first[name] != others[0]["versions"][name])
    return Finding("installation", "versions", PROBLEM,
                   f"{name} is {first[name]} on {ranks[0]['host']}, {others[0]['versions'][name]} on "
                   f"{others[0]['host']}", "start the same environment on every host")


def _mpi(ranks):
    mpi, needed = ranks[0]["mpi"], (ranks[0]["started"] or 1) > 1
    if mpi["library"] is None:
        return Finding("installation", "MPI", PROBLEM if needed else NOTE, f"cannot be loaded: {mpi['error']}",
                       misled(ranks[0]["variables"]) or
                       "pip install 'mpimasha[mpi]' on a laptop; on a cluster load its MPI module and build mpi4py "
                       "against it; one process needs none")
    libraries = {r["mpi"]["library"] for r in ranks}
    if len(libraries) > 1:
        return Finding("installation", "MPI", PROBLEM, f"ranks have loaded {listed(map(name_of, libraries))}",
                       "load the same MPI on every host")
    threads = "" if mpi["threads"] is None else f", thread level {mpi['threads']}"
    return Finding("installation", "MPI", OK, f"{_library(mpi)}, standard {mpi['standard']}{threads}")


def _sums(ranks):
    """Of Intel MPI only, whose Allreduce adds up as it likes, unless it is told not to."""
    loose = [r for r in ranks if "Intel(R) MPI" in (r["mpi"]["library"] or "") and r["variables"]["I_MPI_CBWR"]
             not in ("1", "2")]
    return [Finding("installation", "sums", NOTE, "transport.name = 'allreduce' may give other last bits each time, "
                    "even on the same ranks", "export I_MPI_CBWR=1, as mpimasha -n does")] if loose else []


def _kernels(ranks):
    disabled = ranks[0]["variables"]["NUMBA_DISABLE_JIT"]
    processors = sorted({r["processor"] for r in ranks})
    if disabled not in (None, "", "0"):
        return Finding("installation", "compiler", NOTE, "kernels run as plain Python, hundreds of times slower",
                       "unset NUMBA_DISABLE_JIT")
    if len(processors) > 1:
        return Finding("installation", "compiler", NOTE, f"kernels are compiled for {listed(processors)}: results may "
                       "differ in the last bits from a run on other hosts", "ask for hosts of one type")
    return Finding("installation", "compiler", OK, f"kernels are compiled for {processors[0]}")


def _extras(facts):
    names = {_PROJECTS.get(module, module): extra for module, extra in EXTRAS.items()}
    missing = {name: extra for name, extra in names.items() if not facts["extras"][_module(name)]}
    if not missing:
        return Finding("installation", "extras", OK, ", ".join(names))
    return Finding("installation", "extras", NOTE, f"without {', '.join(missing)}",
                   f"if wanted: pip install 'mpimasha[{','.join(sorted(set(missing.values())))}]' (data: the bundled "
                   f"sets, plot: figures, test: the tests)")


def _module(name):
    return next((module for module, project in _PROJECTS.items() if project == name), name)


# -- launch --------------------------------------------------------------------------------


def _launch(ranks, wanted):
    facts, found = ranks[0], [_ranks(ranks[0], wanted)]
    if facts["mpi"]["library"] is not None or wanted is not None:
        found.append(_launcher(facts, wanted))
    strangers = [name for name, (_, own) in facts["on_path"].items() if own is False]
    if strangers and facts["launcher"]["path"]:
        names = " and ".join(strangers)
        found.append(Finding("launch", "PATH", NOTE, f"{names} on PATH {'are' if len(strangers) > 1 else 'is'} not of "
                             f"{_library(facts['mpi'])}: started by it, every rank would be alone",
                             f"use mpimasha -n, or {facts['launcher']['path']}"))
    return found


def _ranks(facts, wanted):
    started, size = facts["started"] or 1, facts["size"]
    if started > 1 and size == 1:
        return Finding("launch", "ranks", PROBLEM, f"{started} ranks were started, but each is alone",
                       _introduction(facts, started))
    if started not in (1, size):
        return Finding("launch", "ranks", NOTE, f"{several(size, 'rank')}, though the launcher speaks of {started}",
                       "look for variables of another job in the environment")
    if wanted is not None and size != wanted:
        return Finding("launch", "ranks", PROBLEM, f"one process instead of the {wanted} asked for",
                       "see the launcher below")
    if size == 1:
        return Finding("launch", "ranks", OK, "one process: it simulates all workers, nothing is sent")
    return Finding("launch", "ranks", OK, f"{size} were started and see each other")


def _introduction(facts, started):
    """How ranks of this library have to be started."""
    mpi = facts["mpi"]
    if mpi["library"] is None:
        return f"{misled(facts['variables']) or 'install mpi4py and an MPI library'}, or start one process"
    plugin = next((plugin for name, plugin in _FAMILIES if name in mpi["library"]), "pmix")
    return (f"the launcher is not that of {_library(mpi)}: use `mpimasha ... -n {started}` by itself, which finds the "
            f"right one, or under SLURM `srun --mpi={plugin} mpimasha ...` without -n")


def _launcher(facts, wanted):
    launcher = facts["launcher"]
    if launcher["path"] is not None:
        return Finding("launch", "launcher", OK, f"-n starts {launcher['path']}")
    what, _, advice = launcher["error"].partition(": ")
    return Finding("launch", "launcher", NOTE if wanted is None else PROBLEM, f"none for -n: {what}",
                   advice or "start ranks with the cluster's own launcher (srun, mpirun)")


def _library(mpi):
    """MPICH 5.0.2 for "MPICH Version: 5.0.2"; "Open MPI v5.0.11" is good as it is."""
    return name_of(mpi["library"]).replace(" Version:", "")
