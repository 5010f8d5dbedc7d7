"""Peak memory of a process."""

import re
import resource
from pathlib import Path

STATUS = Path("/proc/self/status")  # on Linux `ru_maxrss` includes the parent process


def peak_bytes() -> int:
    """Return the peak resident memory of this process."""
    found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="ascii") if STATUS.exists() else "")
    if found:
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
