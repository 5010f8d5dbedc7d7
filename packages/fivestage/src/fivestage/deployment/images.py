"""The Docker engine: connect to it, and build and push the images of the service and of the pipelines."""

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import docker
import yaml
from docker.context import ContextAPI
from docker.errors import APIError, DockerException, ImageNotFound

from fivestage.artifact.artifact import artifact_digest
from fivestage.common.errors import UserError
from fivestage.common.programs import run_program
from fivestage.common.revision import commit
from fivestage.common.settings import ROOT

SERVING, PIPELINES = "serving", "pipelines"
FLAGS = "DOCKER_BUILD_FLAGS"  # environment variable for extra options from the operator
TAIL_LINES = 25
_PIP_OPTIONS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@contextmanager
def open_engine() -> Iterator[docker.DockerClient]:
    """Connect to the Docker engine; close the connection when the block ends."""
    context = ContextAPI.get_context(os.environ.get("DOCKER_CONTEXT"))
    address = os.environ.get("DOCKER_HOST") or (context.Host if context else "")
    try:
        engine = docker.from_env(environment=os.environ | ({"DOCKER_HOST": address} if address else {}))
        engine.ping()
    except DockerException as error:
        where = address or "its usual socket"
        if "Permission denied" in str(error):
            raise UserError(
                f"Permission denied for the Docker engine at {where}: "
                "add this user to the group `docker` and log in again."
            ) from error
        raise UserError(
            f"No Docker engine answers at {where}: install or start one, or set DOCKER_HOST to another."
        ) from error
    with contextlib.closing(engine):
        yield engine


def image_name(role: str) -> str:
    """Return the name that the manifests have for the image of `serving` or `pipelines`, without a tag."""
    path = ROOT / "k8s" / "components" / "project" / "kustomization.yaml"
    try:
        images = yaml.safe_load(path.read_text(encoding="utf-8"))["images"]
        return next(str(one["newName"]) for one in images if one["name"] == f"fivestage-{role}")
    except (OSError, KeyError, TypeError, StopIteration, yaml.YAMLError) as error:
        raise UserError(f"{path} has no `newName` for the image `fivestage-{role}`: add it.") from error


def build_serving(model: Path | None = None, version: str = "") -> str:
    """Build the serving image with the artifact of a registered version in it; return its name and tag.

    Without a model, the settings name the one to serve.
    """
    dockerfile = ROOT / "serving" / "Dockerfile"
    if model is None:
        return _build(SERVING, dockerfile, _revision(), {})
    arguments = {"MODEL_VERSION": version, "MODEL_DIGEST": artifact_digest(model)}
    context = f"--build-context=model={model.resolve()}"
    return _build(SERVING, dockerfile, f"{_revision()}-v{version}", arguments, context)


def build_pipelines() -> str:
    """Build the image that runs the pipelines; return its name and tag."""
    return _build(PIPELINES, ROOT / "pipelines" / "Dockerfile", _revision(), {})


def push_images(registry: str) -> dict[str, str]:
    """Push the newest images to a registry (host and path); return repository and digest by role."""
    with open_engine() as engine:
        return {role: _push(engine, image_name(role), registry.lower()) for role in (SERVING, PIPELINES)}


def _push(engine: docker.DockerClient, name: str, registry: str) -> str:
    repository = f"{registry}/{name}"
    try:
        image = engine.images.get(f"{name}:latest")
    except ImageNotFound as error:
        raise UserError(f"There is no image {name}:latest: run `make image` first.") from error
    own = (
        tag.rpartition(":")[2] for tag in image.tags if tag.startswith(f"{name}:") and tag != f"{name}:latest"
    )
    tag = next(own, "latest")
    image.tag(repository, tag)
    digest = ""
    try:
        for line in engine.images.push(repository, tag, stream=True, decode=True):
            if "error" in line:
                raise UserError(f"{repository}:{tag} cannot be pushed: {line['error']}")
            digest = line.get("aux", {}).get("Digest", digest)
    except APIError as error:
        raise UserError(f"{repository}:{tag} cannot be pushed: {error.explanation}") from error
    return f"{repository}@{digest}"


def _revision() -> str:
    """Return the working tree's abbreviated commit, with `-dirty` if there are uncommitted changes."""
    name, dash, dirty = commit().partition("-")
    return name[:12] + dash + dirty


def _build(role: str, dockerfile: Path, tag: str, arguments: Mapping[str, str], *options: str) -> str:
    """Build with the docker command: secrets and reproducible layers need BuildKit, which the SDK lacks."""
    name = image_name(role)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    labels = {"VERSION": project["version"], "REVISION": commit(), "SOURCE_DATE_EPOCH": _source_date()}
    with tempfile.TemporaryDirectory() as scratch:
        try:
            run_program(
                *("docker", "build", "--progress=plain", f"--file={dockerfile}"),
                *(f"--build-arg={key}={value}" for key, value in {**labels, **arguments}.items()),
                *(f"--build-arg={proxy}" for proxy in _PROXIES if proxy in os.environ),
                *_pip_secrets(Path(scratch)),
                *(*options, f"--tag={name}:{tag}", f"--tag={name}:latest"),
                *shlex.split(os.environ.get(FLAGS, "").replace("{name}", name)),
                str(ROOT),
                environment={"DOCKER_BUILDKIT": "1"},
                fix="install Docker Engine with buildx",
            )
        except UserError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise  # there is no Docker, and the sentence says so
            tail = "\n".join(str(error).splitlines()[-TAIL_LINES:])
            raise UserError(
                f"The image {name} could not be built. {FLAGS} can add options such as --network=host or "
                f"--build-arg BASE=.... The end of the output:\n{tail}"
            ) from error
    return f"{name}:{tag}"


def _source_date() -> str:
    """Return the commit's time in epoch seconds: it dates the files, so that builds are reproducible."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return given
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (fixed arguments)
    return completed.stdout.strip() or "0"


def _pip_secrets(scratch: Path) -> list[str]:
    """Return options that pass this machine's pip configuration to the build as secrets, not in a layer."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (fixed arguments)
    options = {
        name.rpartition(".")[2].removeprefix("default-"): value.strip("'")
        for name, equals, value in (line.partition("=") for line in listed.stdout.splitlines())
        if equals and name.startswith((":env:", "global.", "install."))
    }
    lines = [f"{name} = {options[name]}" for name in _PIP_OPTIONS if name in options]
    certificates = options.get("cert") or os.environ.get("SSL_CERT_FILE", "")
    secrets = []
    if certificates and Path(certificates).is_file():
        lines.append("cert = /run/secrets/certificates")
        secrets.append(f"--secret=id=certificates,src={certificates}")
    if lines:
        configuration = scratch / "pip.conf"
        configuration.write_text("\n".join(("[global]", *lines, "")), encoding="utf-8")
        secrets.append(f"--secret=id=pip,src={configuration}")
    return secrets
