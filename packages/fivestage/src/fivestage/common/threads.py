"""Thread settings of numerical libraries: one thread per available core, and no busy waiting."""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
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


def available_cores(cgroup: Path = CGROUP) -> int:
    """Number of cores this process may use, by its CPU affinity and the CPU quota of its container.

    A quota of one and a half cores counts as 2. A container sees its own cgroup in the folder `cgroup`.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # version 2, version 1
        try:
            quota, period = " ".join((cgroup / name).read_text(encoding="ascii") for name in files).split()
        except OSError:
            continue
        if quota not in ("max", "-1"):
            return max(1, min(affinity, math.ceil(int(quota) / int(period))))
    return affinity
