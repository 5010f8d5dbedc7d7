"""Threads of numerical libraries: as many as this process has cores, and none that spins while it waits."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
# A thread that spins takes the core from the very thread it waits for: beside a busy program a fit of
# scikit-learn then takes 20 times the CPU.
_PASSIVE = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",  # GNU's OpenMP, which scikit-learn brings
    "KMP_BLOCKTIME": "0",  # LLVM's and Intel's
    "OPENBLAS_NUM_THREADS": "1",  # cannot wait passively, and the matrices here are narrow
    "MKL_NUM_THREADS": "1",
}
VARIABLES = (*_PASSIVE, "OMP_NUM_THREADS")


def limit_threads() -> None:
    """Set what OpenMP and BLAS read when they are loaded: call it before NumPy or scikit-learn is imported.

    What the environment says already is kept; an empty variable counts as none, since OpenMP warns about it.
    """
    for name, value in {**_PASSIVE, "OMP_NUM_THREADS": str(available_cores())}.items():
        os.environ[name] = os.environ.get(name) or value


def available_cores(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Cores that this process may use: those of its affinity, or fewer by the CPU quota of its cgroups.

    Args:
        cgroups: Where the cgroup file systems are mounted, of version 1 or 2.
        membership: The file that names the cgroups of this process.

    Returns:
        At least 1; a quota of one and a half cores counts as 2.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *(math.ceil(quota) for quota in _quotas(cgroups, membership))]))


def _quotas(cgroups: Path, membership: Path) -> Iterator[float]:
    """CPU quotas, in cores, of the process's cgroup and of all those around it."""
    lines = membership.read_text(encoding="utf-8").splitlines() if membership.exists() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = cgroups / controllers  # version 2 has one hierarchy, without a name
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
