import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from fivestage.common.errors import UserError
from tools.bench import demo
from tools.bench.demo import BUSY, Found, Installation, Spent

WORK = """
import pathlib, subprocess, sys, time

def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(1000))

print("data (2 of 5): raw tables", flush=True)
work(0.3)
print("model: candidates", flush=True)
service = subprocess.Popen([sys.executable, "service.py"])
while not pathlib.Path("worked").exists():  # it may wait for a core
    time.sleep(0.1)
print("  a line", flush=True)
time.sleep(3)  # so that the reader of the line, which may wait for a core, sees the running service
service.kill()
print("done", flush=True)
"""

SERVICE = """
import pathlib, time
while time.process_time() < 0.6:  # counted in ticks of a hundredth
    pass
pathlib.Path("worked").touch()
time.sleep(60)
"""
STARTS = f"""
import os, subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", {BUSY!r}, str(os.getpid())]).pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    return tmp_path


def test_cpu_is_that_of_each_stage_and_of_services_that_nobody_waits_for(project: Path) -> None:
    (project / "run.py").write_text(WORK)
    (project / "service.py").write_text(SERVICE)
    stages = demo.demo(project, project / "state")
    assert stages.keys() == {"start", "data", "model", "total"}
    assert stages["data"].cpu_seconds >= 0.25
    assert stages["model"].cpu_seconds >= 0.5
    assert stages["total"].cpu_seconds == pytest.approx(
        sum(spent.cpu_seconds for name, spent in stages.items() if name != "total")
    )
    assert stages["total"].seconds >= 3


def test_a_demo_that_fails_is_a_sentence(project: Path) -> None:
    (project / "run.py").write_text("raise SystemExit('the port is in use')")
    with pytest.raises(UserError, match="the port is in use"):
        demo.demo(project, project / "state")


def test_busy_programs_end_with_who_started_them() -> None:
    with subprocess.Popen([sys.executable, "-c", STARTS], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        busy = psutil.Process(int(parent.stdout.readline()))
        os.kill(parent.pid, signal.SIGKILL)
    end = time.monotonic() + 300
    while busy.is_running() and busy.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_table_compares_with_the_run_beside_busy_programs() -> None:
    first = {"start": Spent(2.0, 3.0), "model": Spent(20.0, 30.0), "total": Spent(60.0, 100.0)}
    contended = {"start": Spent(4.0, 3.0), "model": Spent(50.0, 36.0), "total": Spent(150.0, 115.0)}
    text = demo.table(Found(2, {"first": first, "contended": contended}, Installation(61.0, 1234.0)))
    assert "| model | 20.0 s | 30.0 s | 50.0 s | 36.0 s |" in text
    assert "Training takes 1.20 times the CPU" in text
    assert "The whole demo takes 1.15 times the CPU" in text
    assert "took 1 min 01 s and 1.2 GB of disk" in text
    assert "nothing to do" not in text
    second = {"start": Spent(5.0, 6.0), "total": Spent(5.0, 6.0)}
    text = demo.table(Found(2, {"first": first, "second": second}))
    assert "| model | 20.0 s | 30.0 s | 0.0 s | 0.0 s |" in text
    assert "The second run found nothing to do" in text
