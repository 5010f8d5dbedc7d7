"""Stage 4: from a registered version to a service that answers."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from steps.deploy.adapters import deploy_local


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def deployment(version: str, folder: str) -> None:
    """Serve a version; it takes over only if it passes its smoke test."""
    deploy_local(version, folder)
