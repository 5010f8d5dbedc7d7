"""Batch scoring: adds predictions to a file or a table of raw rows, with the same artifact as the service."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from steps.data import ingest
from steps.deploy import score


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def scoring(data: str, version: str, source: str, target: str) -> None:
    """Score every row of `source` from what was known at its decision time."""
    _, event_tables, _ = ingest(data)
    score(event_tables, version, source, target)
