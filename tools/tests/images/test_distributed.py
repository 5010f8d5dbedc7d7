"""The image for training in pods: the pipelines' image with torch's CPU build and the package."""

import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import numpy as np
import pytest
import yaml

from fivestage.common.settings import ROOT
from fivestage.deployment import images
from tools.tests.images.conftest import BASE, STAND_IN

PACKAGE = ROOT / "packages" / "fivestage-distributed"
IMAGE, PIPELINES = "fivestage-distributed-test", "fivestage-pipelines-test:own-python"
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
INDEX = "https://download.pytorch.org/whl/cpu"
DOCKERFILE = f"""
ARG BASE
FROM $BASE
COPY --from=python . /usr/local/
RUN ldconfig && ln -sf {PYTHON} /usr/local/bin/python && python -m venv --without-pip /opt/fivestage/.venv \\
    && printf '#!/bin/sh\\nexec /usr/local/bin/python -m pip "$@"\\n' > /usr/local/bin/pip
COPY --from=packages . /opt/fivestage/.venv/lib/{PYTHON}/site-packages/
COPY --from=library fivestage /opt/fivestage/lib/fivestage
ENV PATH=/opt/fivestage/.venv/bin:$PATH PYTHONPATH=/opt/fivestage/lib HOME=/tmp LOGNAME=fivestage
USER 10001:10001
"""
RUN = {
    "model": {"vocabulary": 16, "context": 8, "layers": 1, "heads": 1, "width": 8},
    "training": {"steps": 4, "batch": 4, "checkpoint_every": 2, "parallel": {"dp": 2, "zero": 3}},
}


@pytest.fixture(scope="module")
def distributed(
    engine: docker.DockerClient, flags: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Build the image on the pipelines' image, or, if torch's wheels are in a folder, on a stand-in."""
    wheels = os.environ.get("PIP_FIND_LINKS", "")
    scratch = tmp_path_factory.mktemp("image")
    if Path(wheels).is_dir():
        base = pipelines_with_own_python(scratch, STAND_IN if STAND_IN in flags else BASE)
    else:
        base, wheels = images.build_pipelines(), ""
    with served(wheels) if wheels else as_it_is() as address:
        secrets = images._pip_secrets(scratch)
        configuration = scratch / "pip.conf"
        if not configuration.exists():
            secrets.append(f"--secret=id=pip,src={configuration}")
        found = f"find-links = {address}" if address else f"extra-index-url = {INDEX}"
        with configuration.open("a", encoding="utf-8") as text:
            text.write(f"[install]\n{found}\n")
        arguments = [f"--file={PACKAGE / 'Dockerfile'}", f"--build-arg=BASE={base}", "--build-arg=TORCH=cpu"]
        build(*arguments, *secrets, f"--tag={IMAGE}", str(ROOT))
    yield IMAGE
    engine.images.remove(IMAGE)
    if base == PIPELINES:
        engine.images.remove(PIPELINES)


def pipelines_with_own_python(scratch: Path, base: str) -> str:
    """A stand-in for the pipelines' image, with the Python that runs the tests and its packages."""
    python, prefix = scratch / "python", Path(sys.base_prefix)
    for name in ("bin", "lib"):
        (python / name).mkdir(parents=True)
    shutil.copy(prefix / "bin" / PYTHON, python / "bin")
    for library in prefix.glob("lib/libpython*.so*"):
        shutil.copy(library, python / "lib", follow_symlinks=False)
    left_out = shutil.ignore_patterns("site-packages", "test", "__pycache__")
    shutil.copytree(prefix / "lib" / PYTHON, python / "lib" / PYTHON, ignore=left_out)
    shutil.copytree(
        prefix / "lib" / PYTHON / "site-packages" / "pip", python / "lib" / PYTHON / "site-packages" / "pip"
    )
    dockerfile = scratch / "Dockerfile"
    dockerfile.write_text(DOCKERFILE, encoding="utf-8")
    contexts = {
        "python": python,
        "packages": next(Path(sys.prefix).glob("lib/python*/site-packages")),
        "library": ROOT / "packages" / "fivestage" / "src",
    }
    named = [f"--build-context={name}={path}" for name, path in contexts.items()]
    build(
        f"--file={dockerfile}", f"--build-arg=BASE={base}", *named, f"--tag={PIPELINES}", str(python / "bin")
    )
    return PIPELINES


def build(*arguments: str) -> None:
    command = ["docker", "build", "--network=host", "--progress=plain", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4_000:]


@contextmanager
def served(folder: str) -> Iterator[str]:
    """Serve a folder of wheels on loopback, for a build that cannot read this machine's disk."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@contextmanager
def as_it_is() -> Iterator[str]:
    yield ""


def test_it_trains_in_two_processes_as_no_particular_user_on_a_read_only_disk(
    distributed: str, tmp_path: Path
) -> None:
    tmp_path.chmod(0o777)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(RUN), encoding="utf-8")
    tokens = np.random.default_rng(0).integers(16, size=(16, 9))
    np.savez(tmp_path / "sequences.npz", inputs=tokens[:, :-1], targets=tokens[:, 1:])
    locked = ["--network=none", "--read-only", "--cap-drop=ALL", "--tmpfs=/tmp", f"--volume={tmp_path}:/data"]
    files = [f"/data/{name}" for name in ("run.yaml", "sequences.npz", "out")]
    module = ["python", "-m", "fivestage_distributed", "train", *files]
    command = ["docker", "run", "--rm", *locked, distributed, *module]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4_000:]
    losses = (tmp_path / "out" / "losses.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in losses] == [0, 1, 2, 3]
    assert {path.parent.name for path in (tmp_path / "out").glob("step-*/.metadata")} == {
        "step-00000002",
        "step-00000004",
    }


def test_it_runs_as_no_particular_user_and_says_what_it_can_do(
    engine: docker.DockerClient, distributed: str
) -> None:
    about = engine.images.get(distributed).attrs["Config"]
    assert about["User"] == "10001:10001"
    assert about["Cmd"] == ["python", "-m", "fivestage_distributed", "--help"]
    assert b"train with the settings of a file" in engine.containers.run(distributed, remove=True)
