"""How much memory a process has taken."""

import resource
from pathlib import Path

STATUS = Path("/proc/self/status")  # of Linux, whose `ru_maxrss` is also that of the process before


def peak_bytes() -> int:
    """The most that this process has held at once so far."""
    if not STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = dict(line.split(":", 1) for line in STATUS.read_text(encoding="ascii").splitlines())
    return int(told["VmHWM"].split()[0]) * 1024
