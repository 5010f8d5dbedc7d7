"""Reduce a complete lock to the packages that the project's own lock does not pin to the same version."""

import re
import sys
from pathlib import Path


def entries(lock: Path) -> list[str]:
    """Return the packages of a lock with their hashes, after the comments before the first."""
    return re.split(r"(?m)^(?=[a-z0-9])", lock.read_text(encoding="utf-8"))


def keep_own(everything: Path, project: Path, own: Path) -> None:
    """Write the assistant's lock."""
    known = {one.split()[0] for one in entries(project)}
    head, *rest = entries(everything)
    own.write_text(head + "".join(one for one in rest if one.split()[0] not in known), encoding="utf-8")


if __name__ == "__main__":
    keep_own(*map(Path, sys.argv[1:]))
