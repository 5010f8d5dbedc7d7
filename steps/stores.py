"""The stores of ZenML and MLflow, which a first run makes and a killed first run must not spoil."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from mlflow.tracking import MlflowClient
from zenml.client import Client

from core.settings import VAR

ZENML = VAR / "zenml" / "local_stores" / "default_zen_store" / "zenml.db"
MLFLOW = VAR / "mlflow" / "mlflow.db"


def open_stores() -> None:
    """Connect to both stores, so that whatever comes next finds them complete.

    Making one takes seconds and hundreds of statements; a process killed among them leaves tables that
    neither library can read or mend. Stores elsewhere than under `var/` are the user's, and left alone.
    """
    with (VAR / "stores.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _connect(ZENML, _open_zenml, ours="ZENML_STORE_URL" not in os.environ)
        _connect(MLFLOW, _open_mlflow, ours=str(MLFLOW) in os.environ["MLFLOW_TRACKING_URI"])


def _open_zenml() -> None:
    Client().active_stack_model  # noqa: B018 - reading it makes the store


def _open_mlflow() -> None:
    MlflowClient().search_experiments(max_results=1)


def _connect(store: Path, connect: Callable[[], None], *, ours: bool) -> None:
    """Connect to a database; one of ours whose first connection did not end is made anew."""
    unfinished = VAR / f"{store.name}.unfinished"
    if ours and unfinished.exists():
        for part in store.parent.glob(f"{store.name}*"):  # its journal would be played into the new one
            part.unlink()
    if ours and not store.exists():
        unfinished.touch()
    connect()
    unfinished.unlink(missing_ok=True)
