"""ZenML steps of stage 4."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
from zenml import step

from core.contract import load_contract
from core.settings import DEMO
from serving.settings import Settings
from steps.deploy import docker, local
from steps.deploy.client import Wire, wire_rows
from steps.deploy.images import build_serving
from steps.deploy.service import url
from steps.model.registry import fetch, open_version


@dataclass(frozen=True)
class Deployment:
    """What serves now, and how far its smoke test's answers were from the offline ones."""

    version: str
    url: str
    difference: float


@step(enable_cache=False)
def deploy_local(version: str, folder: str) -> Annotated[Deployment, "deployment"]:
    """Serve a version as a local process, smoke it over HTTP, and go back to the one before if that fails."""
    settings = settings_in(folder)
    difference = local.release(settings, version, _folder_of(version), *smoke_rows(version))
    return Deployment(version, url(settings), difference)


@step(enable_cache=False)
def deploy_docker(version: str, folder: str) -> Annotated[Deployment, "deployment"]:
    """Build an image with a version inside and serve it as a container, or stay with the one before."""
    settings = settings_in(folder)
    image = build_serving(_folder_of(version), version)
    difference = docker.release(settings, image, *smoke_rows(version))
    return Deployment(version, url(settings), difference)


TARGETS = {"local": deploy_local, "docker": deploy_docker}


def smoke_rows(version: str) -> tuple[list[Wire], list[float]]:
    """Rows as a client writes them, and the probabilities that a version gave them offline."""
    _, artifact = open_version(load_contract().name, version)
    rows = wire_rows(pd.DataFrame([one.row for one in artifact.smoke]), artifact.contract.columns)
    return rows, [one.probability for one in artifact.smoke]


def _folder_of(version: str) -> Path:
    return fetch(load_contract().name, version)


def settings_in(folder: str) -> Settings:
    """The service's settings from the environment, with its state in a folder of its own.

    The demo's life is not logged among the operator's: it has a database of its own, and no limits.
    """
    own = {"folder": Path(folder)}
    demo: dict[str, object] = {"database": "", "rate_per_second": 0.0} if Path(folder) == DEMO else {}
    return Settings.from_environment().model_copy(update=own | demo)
