"""No process that a test starts outlives the tests."""

import os
import subprocess
import sys
from pathlib import Path

from fivestage.common.settings import ROOT

LEAVES_ONE_RUNNING = """
import subprocess, sys
from pathlib import Path

DETACHED = '''
from subprocess import DEVNULL, Popen
print(Popen(["sleep", "60"], stdout=DEVNULL, stderr=DEVNULL, start_new_session=True).pid)
'''

def test_it() -> None:
    started = subprocess.run([sys.executable, "-c", DETACHED], stdout=subprocess.PIPE, check=True)
    Path(__file__).with_name("pid").write_bytes(started.stdout)
    assert False, "as where a limit of time is over"
"""


def running(pid: int) -> bool:
    try:
        return "sleep" in Path(f"/proc/{pid}/cmdline").read_text()
    except FileNotFoundError:
        return False


def test_a_service_that_a_failing_test_has_detached_ends_with_the_tests(tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"
    file.write_text(LEAVES_ONE_RUNNING)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider", str(file)]
    done = subprocess.run(command, cwd=ROOT, env=plain, capture_output=True, text=True, check=False)
    assert "1 failed" in done.stdout, done.stdout + done.stderr
    pid = int((tmp_path / "pid").read_text())
    assert not running(pid)
