import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement

PACKAGE = Path(__file__).resolve().parents[1]
PINNED = re.compile(r"(?m)^([a-z0-9-]+)==")


def test_the_locks_name_versions_and_hashes_and_no_address() -> None:
    for name in ("requirements.lock", "requirements-torch.lock"):
        lock = (PACKAGE / name).read_text(encoding="utf-8")
        assert "://" not in lock
        assert len(PINNED.findall(lock)) > 1


def test_only_the_lock_of_torch_has_libraries_of_cuda() -> None:
    assert not re.search(r"(?m)^(torch|nvidia|triton)", (PACKAGE / "requirements.lock").read_text())
    assert re.search(r"(?m)^torch==", (PACKAGE / "requirements-torch.lock").read_text())


def test_the_package_itself_loads_no_torch() -> None:
    code = "import sys, fivestage_distributed; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_image_has_all_that_torch_needs() -> None:
    """Beside the project's own lock, which the pipelines' image holds."""
    locks = [PACKAGE.parents[1] / "requirements-run.lock", PACKAGE / "requirements-torch.lock"]
    pinned = {name for lock in locks for name in PINNED.findall(lock.read_text(encoding="utf-8"))}
    (added,) = re.findall(r"wanted = /\^\((.*)\)==/", (PACKAGE / "Dockerfile").read_text(encoding="utf-8"))
    names = set(added.split("|"))
    assert names <= set(PINNED.findall((PACKAGE / "requirements.lock").read_text(encoding="utf-8")))
    assert set(_needs("torch")) - pinned == names


def _needs(name: str) -> Iterator[str]:
    for text in requires(name) or []:
        needed = Requirement(text)
        if not needed.marker or needed.marker.evaluate({"extra": ""}):
            yield needed.name.lower().replace("_", "-")
            yield from _needs(needed.name)
