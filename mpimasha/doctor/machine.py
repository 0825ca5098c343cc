"""Findings on the hosts: cores, folders, memory, and what an exchange costs."""

import re

from mpimasha.doctor.finding import NOTE, OK, PROBLEM, Finding, listed, several, size, time

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_SHARED = 64 * 2**20  # bytes of /dev/shm that an MPI library may take for one rank
_NAMED = 3  # of many files
_SCARCE, _SPARE = 100e6, 1e9  # bytes left for temporary files: too few, few


def findings(ranks, network=None):
    """What to say of the machine.

    Parameters
    ----------
    ranks : list of dict
        Facts of all ranks, rank 0 first.
    network : dict, optional
        What `probe.collectives` measured.
    """
    hosts = by_host(ranks)
    found = [_hosts(hosts), _cores(hosts), _threads(hosts), _memory(hosts), _shared(hosts), _left_over(hosts),
             _cache(ranks, hosts), _temporary(ranks), *_home(ranks[0]), _working(ranks[0]), _exchange(network)]
    return [finding for finding in found if finding is not None]


def by_host(ranks):
    """{host: facts of its ranks}, in the order of their first ranks."""
    hosts = {}
    for facts in ranks:
        hosts.setdefault(facts["host"], []).append(facts)
    return hosts


def _hosts(hosts):
    text = listed(f"{several(len(group), 'rank')} on {host}" for host, group in hosts.items())
    return Finding("machine", "hosts", OK, text)


# -- cores -----------------------------------------------------------------------------------


def _cores(hosts):
    for host, group in hosts.items():
        allowed, quota = usable(group)
        if len(group) > allowed:
            why = f" (the container's limit of {quota:g})" if quota is not None and quota <= allowed else ""
            return Finding("machine", "cores", PROBLEM, f"{len(group)} ranks take turns on {several(allowed, 'core')} "
                           f"of {host}{why}: MPI waits by spinning, so rounds take many times longer",
                           f"start at most {several(allowed, 'rank')} there, or ask for more cores")
        stuck = _pinned(group)
        if stuck is not None:
            cores, crowd = stuck
            return Finding("machine", "cores", PROBLEM, f"ranks {listed(crowd)} of {host} are bound to "
                           f"{_cores_in_words(cores)}, other cores are free",
                           "bind ranks to different cores: mpiexec -bind-to core, mpirun --bind-to core, srun "
                           "--cpu-bind=cores")
    allowed = {len(r["cores"]) for group in hosts.values() for r in group}
    few = f"{min(allowed)} to {max(allowed)} cores" if len(allowed) > 1 else several(min(allowed), "core")
    return Finding("machine", "cores", OK, f"a rank may use {few} of its host")


def usable(group):
    """(cores that the ranks of a host may use together, the quota of their container or None)."""
    cores = len(set().union(*(r["cores"] for r in group)))
    quotas = [r["quota"] for r in group if r["quota"] is not None]
    return (max(1, min(cores, int(min(quotas)))), min(quotas)) if quotas else (cores, None)


def _pinned(group):
    """(cores, ranks) of a set of cores to which more ranks are confined than it has cores, or None."""
    masks = {frozenset(r["cores"]) for r in group}
    for mask in sorted(masks, key=lambda m: (len(m), sorted(m))):
        crowd = [r["rank"] for r in group if mask >= set(r["cores"])]
        if len(crowd) > len(mask):
            return sorted(mask), crowd
    return None


def _cores_in_words(cores):
    return f"core {cores[0]}" if len(cores) == 1 else f"cores {listed(cores)}"


def _threads(hosts):
    variables = next(iter(hosts.values()))[0]["variables"]
    text = ", ".join(f"{name.removesuffix('_NUM_THREADS')} {variables[name] or 'unset'}" for name in _THREADS)
    for host, group in hosts.items():
        allowed, _ = usable(group)
        share = max(1, allowed // len(group))
        threads = max(map(threads_of, group))
        if threads > share:
            return Finding("machine", "threads", NOTE, f"{text} a rank, on {several(allowed, 'core')} of {host} for "
                           f"{several(len(group), 'rank')}", f"export OMP_NUM_THREADS={share} and likewise the others: "
                           f"kernels use one thread, more are in each other's way")
        promised = group[0]["variables"]["SLURM_CPUS_PER_TASK"] or ""
        if promised.isdigit() and int(promised) > len(group[0]["cores"]):
            return Finding("machine", "threads", NOTE, f"SLURM_CPUS_PER_TASK is {promised}, but a rank may use "
                           f"{several(len(group[0]['cores']), 'core')}",
                           f"repeat it for the step: srun --cpus-per-task={promised}")
    return Finding("machine", "threads", OK, f"{text} a rank")


def threads_of(facts):
    """The most threads a library of this rank may start; 1 where no variable says so."""
    leading = (re.match(r"\s*(\d+)", facts["variables"][name] or "") for name in _THREADS)  # "4,2" is OpenMP's
    return max([1, *(int(match[1]) for match in leading if match)])


# -- memory and folders ------------------------------------------------------------------------


def available(group):
    """Bytes that the ranks of one host may still take, or None; a batch system may leave less than the host has."""
    told = [r["memory"][key] for r in group for key in ("available", "left") if r["memory"][key] is not None]
    return min(told, default=None)


def _memory(hosts):
    room = {host: available(group) for host, group in hosts.items()}
    known = {host: left for host, left in room.items() if left is not None}
    if not known:
        return None
    host = min(known, key=known.get)
    memory = hosts[host][0]["memory"]
    limited = memory["left"] is not None and memory["left"] <= (memory["available"] or memory["left"])
    limit = f", under a limit of {size(memory['limit'])} (control group)" if limited else ""
    return Finding("machine", "memory", OK, f"{size(known[host])} free on {host}{limit}"
                   + (", the least of all hosts" if len(hosts) > 1 else ""))


def _shared(hosts):
    """MPI libraries exchange messages within a host through files in /dev/shm."""
    crowded = {host: group for host, group in hosts.items() if len(group) > 1}
    for host, group in crowded.items():
        free = group[0]["shared"]
        if free is None or free < _SHARED * len(group):
            have = "is missing" if free is None else f"has {size(free)} left for {len(group)} ranks"
            return Finding("machine", "/dev/shm", PROBLEM, f"{have} on {host}: MPI may fail to start, or crash",
                           f"make it {size(_SHARED * len(group))} or more, as in docker run --shm-size=1g")
    free = [group[0]["shared"] for group in (crowded or hosts).values() if group[0]["shared"] is not None]
    return Finding("machine", "/dev/shm", OK, f"{size(min(free))} free") if free else None


def _left_over(hosts):
    """Files there of jobs that were killed; MPI's names for them tell nobody whose they are."""
    for host, group in hosts.items():
        files = group[0]["left_over"]
        if files:
            first = sorted(files)[:_NAMED]
            more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
            return Finding("machine", "left over", NOTE, f"{several(len(files), 'file')} of ended MPI jobs of yours "
                           f"take {size(sum(files.values()))} of memory on {host}: {', '.join(first)}{more}",
                           "remove them: no process has them open")
    return None


def _cache(ranks, hosts):
    facts = next((r for r in ranks if _cache_fault(r, hosts)), ranks[0])
    fault = _cache_fault(facts, hosts)
    if fault is not None:
        level, value, advice = fault
        return Finding("machine", "cache", level, value + ("" if len(hosts) == 1 else f" (on {facts['host']})"), advice)
    cache = facts["cache"]
    cold = any(not r["cache"]["files"] for r in ranks)
    state = "cold, the first run compiles for some seconds" if cold else "warm"
    return Finding("machine", "cache", OK, f"{cache['folder']} ({cache['kind']}), {state}")


def _cache_fault(facts, hosts):
    """(level, value, advice) of what is wrong with the cache of compiled kernels, or None."""
    cache = facts["cache"]
    if cache["folder"] is None:
        return (PROBLEM, f"no private folder for compiled kernels can be had in {facts['temporary']['folder']}: every "
                "rank compiles for itself, at every start", "remove a folder mpimasha-<user number> there that is not "
                "yours alone, or point TMPDIR to a folder local to the host")
    where = f"{'NUMBA_CACHE_DIR = ' if cache['chosen'] else ''}{cache['folder']}"
    local = "unset NUMBA_CACHE_DIR, or name a folder" if cache["chosen"] else "point TMPDIR to a folder"
    if not cache["writable"]:
        return (PROBLEM, f"{where} cannot be written: every rank compiles for itself, at every start",
                f"{local} that you can write, and see that its disk is not full")
    if not cache["private"]:
        return (PROBLEM, f"{where} can be written by others, and what lies in it is run", f"{local} of your own")
    if cache["network"]:
        risk = ("hosts that compile at the same time may spoil it for each other, as locks need not hold there"
                if len(hosts) > 1 else "slow, and its locks need not hold when two jobs compile at the same time")
        return (PROBLEM if len(hosts) > 1 else NOTE, f"{where} lies on {cache['kind']}, a network file system: {risk}",
                f"{local} local to each host")
    return None


def _temporary(ranks):
    scarcest = min(ranks, key=lambda r: r["temporary"]["free"] or 0)
    folder, wished = scarcest["temporary"], scarcest["variables"]["TMPDIR"]
    free = folder["free"] or 0
    text = f"{size(free)} free in {folder['folder']} ({folder['kind']})"
    text += f" of {scarcest['host']}" if len(by_host(ranks)) > 1 else ""
    remedy = "remove files there, or point TMPDIR to a larger folder"
    if free < _SCARCE or not folder["writable"]:
        return Finding("machine", "temporary", PROBLEM, text, remedy)
    if wished and not folder["used_tmpdir"]:
        return Finding("machine", "temporary", NOTE, f"TMPDIR = {wished} cannot be used, {folder['folder']} stands in",
                       "make that folder, or point TMPDIR to one you can write")
    return Finding("machine", "temporary", *((NOTE, text, remedy) if free < _SPARE else (OK, text)))


def _home(facts):
    """A home on the network is common and harmless: nothing of a round lies there."""
    if facts["home"]["network"]:
        yield Finding("machine", "home", OK, f"on {facts['home']['kind']}, a network file system: only reference "
                      "solutions are kept there")


def _working(facts):
    folder = facts["working"]
    if not folder["writable"]:
        return Finding("machine", "results", PROBLEM, f"no folder runs/ can be made in {folder['folder']}",
                       "start in another folder, or name one with --out")
    if folder["free"] is not None and folder["free"] < _SCARCE:
        return Finding("machine", "results", PROBLEM, f"{size(folder['free'])} free in {folder['folder']}",
                       "start in a folder with more room, or name one with --out")
    return Finding("machine", "results", OK, f"in {folder['folder']}/runs ({folder['kind']})")


# -- what an exchange costs ------------------------------------------------------------------------


def _exchange(network):
    if network is None:
        return None
    (small, slowest), (large, _) = network["latency"], network["large"]
    return Finding("machine", "exchange", OK, f"a small one takes {time(small)} (slowest rank {time(slowest)}), and a "
                   f"round has at least one; 1 MB gathered by all takes {time(large)}, "
                   f"{size(network['bytes'] / large)}/s")
