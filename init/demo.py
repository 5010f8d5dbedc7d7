"""What the demo that the template comes with leaves behind when a table of one's own takes its place."""

from pathlib import Path

FILES = (
    "problem/clocks.py",
    "problem/raw.py",
)


def remove_demo(root: Path) -> int:
    """Remove the demo's files, and say so to copier; returns how many there were."""
    gone = [root / name for name in FILES if (root / name).exists()]
    for path in gone:
        path.unlink()
    return len(gone)
