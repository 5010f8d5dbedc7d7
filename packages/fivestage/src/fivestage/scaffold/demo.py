"""What the demo that the template comes with leaves behind when a table of one's own takes its place."""

import shutil
from pathlib import Path

MARK = "tests/problem/test_raw.py"  # the demo alone has it
FILES = (
    "tools/bench/study/network.py",
    # The design book: pages about the demo, with its numbers.
    "tools/book/pages",
    "docs/design",
    "docs/measured",
    "docs/pictures",
    "problem/clocks.py",
    "problem/raw.py",
    "problem/routes.py",
    "tools/bench/grow.py",
    # Tests that speak of the demo's rows and features; git still has them, to be learnt from.
    "tools/tests/book/test_pages.py",
    "tools/tests/chaos/test_shifted.py",
    "packages/fivestage/tests/core/test_contract.py",
    "tests/images/test_service.py",
    "packages/fivestage/tests/monitoring/test_performance.py",
    "tests/pipelines",
    "tests/problem",
    "packages/fivestage/tests/reporting/test_page.py",
    "packages/fivestage/tests/reporting/test_summary.py",
    "tests/serving",
    "tests/steps",
    "tests/test_loop.py",
    "tests/test_run.py",
)
TEST = Path(__file__).with_name("templates") / "test_problem.py.txt"


def remove_demo(root: Path) -> int:
    """Remove the demo's files and put a test of the new problem in their place; returns how many have gone.

    Whoever has no demo any more has tests of their own, which are left alone.
    """
    if not (root / MARK).exists():
        return 0
    gone = 0
    for path in (root / name for name in FILES):
        if path.is_dir():
            gone += sum(one.is_file() and one.suffix == ".py" for one in path.rglob("*"))
            shutil.rmtree(path)
        elif path.exists():
            gone += 1
            path.unlink()
    (root / "tests" / "problem").mkdir(parents=True)
    shutil.copyfile(TEST, root / "tests" / "problem" / "test_problem.py")
    return gone
