import ast
import os
import re
import subprocess
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from fivestage.common.settings import ROOT

LOCK = (ROOT / "requirements.lock").read_text()
RUN = (ROOT / "requirements-run.lock").read_text()
SERVING = (ROOT / "serving" / "requirements.lock").read_text()
PINNED = re.compile(
    r"^([a-z0-9.-]+)==(\S+)[^\n]*\\\n((?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)


def pins(lock: str) -> dict[str, str]:
    return {name: version for name, version, _ in PINNED.findall(lock)}


@pytest.mark.parametrize("lock", [LOCK, RUN, SERVING], ids=["all", "run", "serving"])
def test_a_lock_is_names_versions_and_hashes_and_nothing_else(lock: str) -> None:
    rest = [line for line in PINNED.sub("", lock).splitlines() if not line.startswith("#")]
    assert rest == []
    assert "://" not in lock


def test_the_images_get_the_versions_that_were_tested_and_the_service_no_heavy_library() -> None:
    assert pins(SERVING).items() <= pins(RUN).items() <= pins(LOCK).items()
    assert not {"zenml", "mlflow", "mlflow-skinny", "pandas", "scikit-learn"} & set(pins(SERVING))


def test_a_package_of_ones_own_routes_is_locked_for_the_image_too() -> None:
    """With one in `dependencies`, the service ran on a laptop, and not in its image."""
    planned = subprocess.run(
        ["make", "--dry-run", "lock"],  # noqa: S607 - the make of the machine
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    locks = [line for line in planned.stdout.splitlines() if " -o " in line]
    assert [line.rpartition(" -o ")[2] for line in locks if "--group serving " in line] == [
        "requirements.lock",
        "requirements-run.lock",
        "serving/requirements.lock",
    ]


def test_commands_get_the_versions_that_were_tested_and_nothing_that_only_development_needs() -> None:
    """On a laptop as in pods, including object storage and the Kubernetes client."""
    assert pins(RUN).items() <= pins(LOCK).items()
    assert {"boto3", "kubernetes", "s3fs"} <= pins(RUN).keys()
    tools = {"ruff", "mypy", "pytest", "sphinx", "copier", "zizmor", "schemathesis", "kubernetes-validate"}
    assert tools <= pins(LOCK).keys() - pins(RUN).keys()


def test_all_that_the_commands_import_is_in_the_image_that_runs_them() -> None:
    """Including imports of a single command."""
    kept = re.findall(r"^!([a-z/]+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert "packages/fivestage/src" in kept
    files = [ROOT / "run.py", *(path for name in kept for path in (ROOT / name).rglob("*.py"))]
    imported = {
        name.split(".")[0]
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        for name in _imports(node)
    }
    known = packages_distributions()
    needed = {known[name][0].lower().replace("_", "-") for name in imported & known.keys()}
    assert len(needed) > 20
    assert needed - pins(RUN).keys() <= {
        "distributed",  # for workers of a cluster, not in the lock
        "fivestage",
        "onnxruntime",  # both for candidates of the extra `onnx`
        "skl2onnx",
    }


def _imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module


def script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("python", "sentence"),
    [
        ('[ "$1" = --version ] && echo "Python 3.9.1"; exit 1', "is needed, but"),
        ('case "$2" in *ensurepip*) exit 1;; esac', "apt install python3-venv"),
    ],
    ids=["too old", "without ensurepip"],
)
def test_a_python_that_will_not_do_gets_one_sentence(tmp_path: Path, python: str, sentence: str) -> None:
    for name in (
        "Makefile",
        "requirements.lock",
        "requirements-run.lock",
        "packages/fivestage/pyproject.toml",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    script(tmp_path / "python", python)
    done = subprocess.run(
        ["make", "setup", f"PYTHON={tmp_path / 'python'}"],  # noqa: S607 - the make of the machine
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    told = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode != 0
    assert len(told) == 1, done.stderr
    assert sentence in told[0]
    assert not (tmp_path / ".venv").exists()


def test_init_has_the_tools_that_format_what_it_writes(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.lock", "requirements-run.lock"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "packages" / "fivestage").mkdir(parents=True)
    (tmp_path / "packages" / "fivestage" / "pyproject.toml").touch()
    planned = subprocess.run(
        ["make", "--dry-run", "init"],  # noqa: S607 - the make of the machine
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "-r requirements.lock" in planned.stdout
