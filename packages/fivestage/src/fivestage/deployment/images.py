"""Images: the service's, with a model inside, and the one that runs the verbs."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from fivestage.artifact.artifact import artifact_digest
from fivestage.common.errors import UserError
from fivestage.common.revision import commit
from fivestage.common.settings import ROOT

SERVING, PIPELINES = "fivestage-serving", "fivestage-pipelines"
FLAGS = "DOCKER_BUILD_FLAGS"
TAIL = 25  # lines
_PIP = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def build_serving(model: Path | None = None, version: str = "") -> str:
    """Build the service's image, with a model inside if one is named, and return its name and tag.

    Raises:
        UserError: with the end of what was said, when it cannot be built.
    """
    if model is None:
        return _build(SERVING, ROOT / "serving" / "Dockerfile", revision(), {}, [])
    given = {"MODEL_VERSION": version, "MODEL_DIGEST": artifact_digest(model)}
    context = ["--build-context", f"model={model.resolve()}"]
    return _build(SERVING, ROOT / "serving" / "Dockerfile", f"{revision()}-v{version}", given, context)


def build_pipelines() -> str:
    """Build the image that runs the verbs, and return its name and tag.

    Raises:
        UserError: with the end of what was said, when it cannot be built.
    """
    return _build(PIPELINES, ROOT / "pipelines" / "Dockerfile", revision(), {}, [])


def revision() -> str:
    """The commit of the working tree, short; `-dirty` when it has been changed since."""
    name, dash, dirty = commit().partition("-")
    return name[:12] + dash + dirty


def _build(name: str, file: Path, tag: str, given: Mapping[str, str], context: Sequence[str]) -> str:
    """Ask the command line: the SDK knows no BuildKit, which secrets and reproducible layers need."""
    docker = shutil.which("docker")
    if docker is None:
        raise UserError("Building an image needs the program `docker` with buildx: install Docker Engine.")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    about = {"VERSION": project["version"], "REVISION": commit(), "SOURCE_DATE_EPOCH": _epoch()}
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            *(docker, "build", "--progress=plain", "--file", str(file)),
            *(
                word
                for key, value in (about | dict(given)).items()
                for word in ("--build-arg", f"{key}={value}")
            ),
            *(word for key in _PROXIES if key in os.environ for word in ("--build-arg", key)),
            *_secrets(Path(scratch)),
            *context,
            *("--tag", f"{name}:{tag}", "--tag", f"{name}:latest"),
            *shlex.split(os.environ.get(FLAGS, "").replace("{name}", name)),
            str(ROOT),
        ]
        built = subprocess.run(  # noqa: S603 (our own words, and what the operator adds)
            command,
            env=os.environ | {"DOCKER_BUILDKIT": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if built.returncode:
        tail = "\n".join(built.stdout.splitlines()[-TAIL:])
        raise UserError(
            f"The image {name} could not be built. {FLAGS} may add options, such as --network=host or "
            f"--build-arg BASE=...; the end of what was said:\n{tail}"
        )
    return f"{name}:{tag}"


def _epoch() -> str:
    """When the commit was made; files in an image are as old: the same commit gives the same image."""
    asked = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    found = (
        os.environ.get("SOURCE_DATE_EPOCH")
        or subprocess.run(  # noqa: S603 (fixed words)
            asked, capture_output=True, text=True, check=False
        ).stdout.strip()
    )
    return found or "0"


def _secrets(scratch: Path) -> list[str]:
    """What this machine's pip needs to find packages; it is there while they are installed, in no layer."""
    said = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )  # fmt: skip
    found = {
        name.rpartition(".")[2].removeprefix("default-"): value.strip("'")
        for name, equals, value in (line.partition("=") for line in said.stdout.splitlines())
        if equals and name.startswith((":env:", "global.", "install."))
    }
    lines = [f"{name} = {found[name]}" for name in _PIP if name in found]
    certificates = found.get("cert") or os.environ.get("SSL_CERT_FILE", "")
    secrets = []
    if certificates and Path(certificates).is_file():
        lines.append("cert = /run/secrets/certificates")
        secrets += ["--secret", f"id=certificates,src={certificates}"]
    if lines:
        path = scratch / "pip.conf"
        path.write_text("\n".join(("[global]", *lines)) + "\n", encoding="utf-8")
        secrets += ["--secret", f"id=pip,src={path}"]
    return secrets
