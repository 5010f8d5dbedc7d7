"""Batch scoring: a file or a table of raw rows in, the same with answers out, by the artifact that serves."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from steps.data import ingest
from steps.deploy import score


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def scoring(data: str, version: str, source: str, target: str) -> None:
    """Score every row of `source` with what was known at its decision time."""
    _, world, _ = ingest(data)
    score(world, version, source, target)
