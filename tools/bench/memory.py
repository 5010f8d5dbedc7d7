"""How much memory a process has taken."""

import re
import resource
from pathlib import Path

STATUS = Path("/proc/self/status")  # of Linux, whose `ru_maxrss` is also that of the process before


def peak_bytes() -> int:
    """The most that this process has held at once so far."""
    told = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="ascii") if STATUS.exists() else "")
    if told:
        return int(told[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
