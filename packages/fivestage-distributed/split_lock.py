"""Split a complete lock: packages that the project's lock lacks, and torch with its CUDA libraries."""

import re
import sys
from pathlib import Path

CUDA = re.compile(r"(torch|triton|nvidia-[\w-]+|cuda-[\w-]+)==")


def entries(lock: Path) -> list[str]:
    """Return the packages of a lock with their hashes, after the comments before the first."""
    return re.split(r"(?m)^(?=[a-z0-9])", lock.read_text(encoding="utf-8"))


def split(lock: Path, project: Path) -> None:
    """Write requirements.lock and requirements-torch.lock next to the complete lock, and remove that."""
    known = {one.split("==")[0] for one in entries(project)}
    head, *rest = entries(lock)
    added = [one for one in rest if one.split("==")[0] not in known]
    for name, chosen in (("requirements.lock", False), ("requirements-torch.lock", True)):
        kept = [one for one in added if bool(CUDA.match(one)) is chosen]
        (lock.parent / name).write_text(head + "".join(kept), encoding="utf-8")
    lock.unlink()


if __name__ == "__main__":
    split(*map(Path, sys.argv[1:]))
