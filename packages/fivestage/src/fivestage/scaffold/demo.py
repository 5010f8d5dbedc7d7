"""Remove the demo's files, which a project for another table does not need."""

import re
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

# The template's own measurements in docs/: text between these comments, or the section `Measured`.
TEMPLATE_ONLY = re.compile(
    r"(?:<!-- template: begin -->.*?<!-- template: end -->|## Measured\n.*?<!-- measured: end -->)\n\n?",
    re.DOTALL,
)


def remove_demo(root: Path) -> int:
    """Remove the demo's files and measurements, if present; return the number of Python files removed."""
    if not (root / DEMO_TESTS).exists():
        return 0
    removed = 0
    for path in (root / name for name in FILES):
        if path.is_dir():
            removed += sum(one.is_file() and one.suffix == ".py" for one in path.rglob("*"))
            shutil.rmtree(path)
        elif path.exists():
            removed += path.suffix == ".py"
            path.unlink()
    for page in (root / "docs").glob("*.md"):
        page.write_text(TEMPLATE_ONLY.sub("", page.read_text(encoding="utf-8")), encoding="utf-8")
    return removed
