"""Thread settings of numerical libraries: one thread per available core, and no busy waiting."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
# A waiting thread that spins takes the core from the thread it waits for: next to a busy program, fitting a
# scikit-learn model then takes 20 times the CPU.
_PASSIVE = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",  # GNU's OpenMP, which scikit-learn's wheels contain
    "KMP_BLOCKTIME": "0",  # LLVM's and Intel's
    "OPENBLAS_NUM_THREADS": "1",  # cannot wait passively, and the matrices here are narrow
    "MKL_NUM_THREADS": "1",
}
VARIABLES = (*_PASSIVE, "OMP_NUM_THREADS")


def limit_threads() -> None:
    """Set the variables of OpenMP and BLAS, which are read when NumPy or scikit-learn is imported.

    Variables that are already set are kept. An empty one counts as unset, because OpenMP warns about it.
    """
    for name, value in {**_PASSIVE, "OMP_NUM_THREADS": str(available_cores())}.items():
        os.environ[name] = os.environ.get(name) or value


def available_cores(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Number of cores this process may use, by its CPU affinity and the CPU quotas of its cgroups.

    Args:
        cgroups: where the cgroup file systems (version 1 or 2) are mounted.
        membership: the file that lists the cgroups of this process.

    Returns:
        At least 1; a quota of one and a half cores counts as 2.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *(math.ceil(quota) for quota in _quotas(cgroups, membership))]))


def _quotas(cgroups: Path, membership: Path) -> Iterator[float]:
    """CPU quotas, in cores, of the process's cgroup and of all its parents."""
    lines = membership.read_text(encoding="utf-8").splitlines() if membership.exists() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = cgroups / controllers  # version 2 has a single hierarchy, with an empty name
        own = mount / path.lstrip("/")
        for folder in (own, *own.parents):
            yield from _quota(folder)
            if folder == mount:
                break


def _quota(folder: Path) -> Iterator[float]:
    try:
        if (folder / "cpu.max").exists():  # version 2
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii")
    except OSError:
        return
    if quota not in ("max", "-1"):
        yield int(quota) / int(period)
