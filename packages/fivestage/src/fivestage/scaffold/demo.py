"""The demo's files, which a project for a table of one's own does without."""

import re
import shutil
from pathlib import Path

DEMO_TESTS = "tests/demo"  # the demo alone has it
FILES = (
    DEMO_TESTS,
    "problem/clocks.py",
    "problem/raw.py",
    "problem/routes.py",
    # Of a checkout of the template: what makes and measures the template itself.
    "docs/design",
    "docs/measured",
    "docs/pictures",
    "docs/scale.md",
    "local.mk",
    "tools",
)

# What pages of docs/ say of the template's own measurements: between comments, or the section `Measured`.
TEMPLATE_ONLY = re.compile(
    r"(?:<!-- template: begin -->.*?<!-- template: end -->|## Measured\n.*?<!-- measured: end -->)\n\n?",
    re.DOTALL,
)


def remove_demo(root: Path) -> int:
    """Remove the demo's files and measurements from a project that still has them."""
    if not (root / DEMO_TESTS).exists():
        return 0
    gone = 0
    for path in (root / name for name in FILES):
        if path.is_dir():
            gone += sum(one.is_file() and one.suffix == ".py" for one in path.rglob("*"))
            shutil.rmtree(path)
        elif path.exists():
            gone += path.suffix == ".py"
            path.unlink()
    for page in (root / "docs").glob("*.md"):
        page.write_text(TEMPLATE_ONLY.sub("", page.read_text(encoding="utf-8")), encoding="utf-8")
    return gone
