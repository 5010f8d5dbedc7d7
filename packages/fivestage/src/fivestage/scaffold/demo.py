"""Remove the demo's files, which a project for another table does not need."""

import shutil
from pathlib import Path

DEMO_TESTS = "tests/demo"  # exists only with the demo
FILES = (
    DEMO_TESTS,
    "problem/clocks.py",
    "problem/raw.py",
    "problem/routes.py",
    # Only in a checkout of the template: files that build and measure the template itself.
    "docs/design",
    "docs/measured",
    "docs/pictures",
    "docs/scale.md",
    "local.mk",
    "tools",
)


def remove_demo(root: Path) -> list[str]:
    """Remove the demo's files, if present; return those removed."""
    removed = [name for name in FILES if (root / name).exists()] if (root / DEMO_TESTS).exists() else []
    for path in (root / name for name in removed):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return removed
