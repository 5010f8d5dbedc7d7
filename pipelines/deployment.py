"""Stage 4: from a registered version to a running service."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from steps.deploy import TARGETS, deploy_kubernetes, roll_back_kubernetes


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def deployment(target: str, version: str, folder: str) -> None:
    """Deploy a version to a target; it goes live only if it passes its smoke test."""
    TARGETS[target](version, folder)


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def kubernetes_deployment(
    version: str, overlay: str, image: str, why: str, context: str, bake_seconds: float, accept: str
) -> None:
    """Release a version to a cluster: canary, comparison with the current release, rollout.

    The canary shares the live traffic for `bake_seconds`; `accept` names a check that it may fail.
    """
    deploy_kubernetes(version, overlay, image, why, context, bake_seconds, accept)


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def rollback(overlay: str, why: str, context: str) -> None:
    """Return a cluster and the registry to the previous release."""
    roll_back_kubernetes(overlay, why, context)
