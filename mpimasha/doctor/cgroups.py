"""Limits of control groups: what batch systems and containers leave of a host's memory and cores."""

import os

from mpimasha.doctor import mounts

_NO_LIMIT = 2**60  # version 1 writes "none" as the largest number of whole pages


def folders(controller, groups, mounted):
    """Where a process's limits by `controller` stand, its own group first, then those around it.

    Parameters
    ----------
    controller : str
        "memory" or "cpu".
    groups, mounted : str
        Text of /proc/self/cgroup and of /proc/mounts.

    Returns
    -------
    (int, list of str)
        The version, 1 or 2, and the folders; no folder where there is no such controller.
    """
    member = {tuple(line.split(":")[1].split(",")): line.split(":", 2)[2] for line in groups.splitlines()
              if line.count(":") >= 2}
    all_mounts = mounts.parse(mounted)
    for names, path in member.items():
        point = next((m.point for m in all_mounts if m.kind == "cgroup" and controller in m.options.split(",")), None)
        if controller in names and point is not None:
            return 1, _upwards(point, path)
    point = next((m.point for m in all_mounts if m.kind == "cgroup2"), None)
    return 2, _upwards(point, member[("",)]) if point is not None and ("",) in member else []


def memory(version, paths, read):
    """(limit, bytes left below it) of the tightest group, or None; a page cache that can be dropped is not in use.

    Parameters
    ----------
    read : callable
        ``read(path)`` is the text of a file, or None.
    """
    limit_file, usage_file, cached_key = (("memory.max", "memory.current", "inactive_file") if version == 2 else
                                          ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"))
    found = []
    for path in paths:
        limit, usage = _number(read(f"{path}/{limit_file}")), _number(read(f"{path}/{usage_file}"))
        if limit is None or usage is None or limit >= _NO_LIMIT:
            continue
        stat = dict(line.split()[:2] for line in (read(f"{path}/memory.stat") or "").splitlines() if " " in line)
        cached = min(usage, int(stat.get(cached_key, 0)))
        found.append((limit, max(0, limit - usage + cached)))
    return min(found, key=lambda pair: pair[1], default=None)


def cores(version, paths, read):
    """The cores' worth of time that the tightest group grants, or None."""
    found = []
    for path in paths:
        if version == 2:
            words = (read(f"{path}/cpu.max") or "max").split()
        else:
            words = [read(f"{path}/cpu.cfs_quota_us") or "-1", read(f"{path}/cpu.cfs_period_us") or "0"]
        quota, period = _number(words[0]), _number(words[-1])
        if quota is not None and quota > 0 and period:
            found.append(quota / period)
    return min(found, default=None)


def _upwards(point, path):
    """The folders from `point`/`path` up to `point`; inside a container the inner ones may not be visible."""
    parts = [part for part in path.strip().split("/") if part]
    return [os.path.join(point, *parts[:depth]) for depth in range(len(parts), -1, -1)]


def _number(text):
    """The whole number a file holds, or None."""
    try:
        return int(text)
    except (TypeError, ValueError):
        return None
