"""Stage 4: from a registered version to a service that answers."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from steps.deploy.adapters import TARGETS


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def deployment(target: str, version: str, folder: str) -> None:
    """Serve a version where the target says; it takes over only if it passes its smoke test."""
    TARGETS[target](version, folder)
