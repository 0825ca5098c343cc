"""What a benchmark ran on."""

import os
import pathlib
import platform

CPUINFO, CACHES = pathlib.Path("/proc/cpuinfo"), pathlib.Path("/sys/devices/system/cpu/cpu0/cache")


def describe():
    """One line: the model of the CPU, its cores that may be used, the sizes of its caches where they are known."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return ", ".join([_model(), f"{cores} cores", *_caches()])


def _model():
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _caches():
    found = []
    for cache in sorted(CACHES.glob("index*")):
        try:
            level, size = ((cache / name).read_text(encoding="utf-8").strip() for name in ("level", "size"))
        except OSError:
            continue
        if level in ("2", "3"):
            found.append(f"L{level} {size}")
    return found
