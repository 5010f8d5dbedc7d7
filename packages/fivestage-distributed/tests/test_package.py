import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PACKAGE = Path(__file__).resolve().parents[1]
PINNED = re.compile(r"(?m)^([a-z0-9-]+)==")
SENTENCE = r"torch's CPU build for Python 3\.\d+ {}\. .* make setup-distributed TORCH=cuda \(on Linux 2\.7 GB"
STAND_IN = """#!/bin/sh
case "$*" in
    {fails}) echo "ImportError: libcudnn.so.9: no such file" >&2; exit 1 ;;
    *version_info*) exec {python} "$@" ;;
esac
"""


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
    """In addition to the project's lock, which the pipelines' image contains."""
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


@pytest.mark.parametrize(
    ("fails", "sentence"),
    [
        ("*torch==*", SENTENCE.format("could not be installed from /wheels")),
        ("*import?torch", SENTENCE.format("does not import from /wheels")),
    ],
    ids=["no wheel for this Python", "a wheel that needs what there is not"],
)
def test_where_torch_cannot_be_had_setup_ends_in_a_sentence(
    tmp_path: Path, fails: str, sentence: str
) -> None:
    project, package = tmp_path, tmp_path / "packages" / PACKAGE.name
    for name in ("targets.mk", "pyproject.toml", "requirements.lock", "requirements-torch.lock"):
        package.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE / name, package)
    shutil.copy(PACKAGE.parents[1] / "Makefile", project)
    (project / "packages" / "fivestage").mkdir()
    for folder in (project, package):
        python = folder / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(STAND_IN.format(fails=fails, python=sys.executable))
        python.chmod(0o755)
    there = ("requirements-run.lock", "packages/fivestage/pyproject.toml", ".venv/bin/uv", ".venv/bin/pip")
    for name in (*there, ".venv/installed"):
        (project / name).touch()
    done = subprocess.run(
        ["make", "setup-distributed"],  # noqa: S607 (the machine's)
        cwd=project,
        env={"PATH": os.environ["PATH"], "PIP_FIND_LINKS": "/wheels"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert re.search(sentence, done.stderr), done.stderr
    assert not (package / ".venv" / "installed").exists()
