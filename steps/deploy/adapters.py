"""ZenML steps of stage 4."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
from zenml import step

from core.contract import load_contract
from core.settings import DEMO
from serving.settings import Settings
from steps.deploy.client import wire_rows
from steps.deploy.local import release, url
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
    contract = load_contract()
    settings = settings_in(folder)
    _, artifact = open_version(contract.name, version)
    rows = wire_rows(pd.DataFrame([one.row for one in artifact.smoke]), artifact.contract.columns)
    expected = [one.probability for one in artifact.smoke]
    difference = release(settings, version, fetch(contract.name, version), rows, expected)
    return Deployment(version, url(settings), difference)


def settings_in(folder: str) -> Settings:
    """The service's settings from the environment, with its state in a folder of its own.

    The demo's life is not logged among the operator's: it has a database of its own, and no limits.
    """
    own = {"folder": Path(folder)}
    demo: dict[str, object] = {"database": "", "rate_per_second": 0.0} if Path(folder) == DEMO else {}
    return Settings.from_environment().model_copy(update=own | demo)
