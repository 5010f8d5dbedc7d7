"""Stages 1 and 2: from raw tables to features without data leakage."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from steps.data import featurise, ingest, probe_feature_code, probe_for_leakage


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def ingestion(data: str, as_of: str) -> None:
    """Clean, validate and featurise the data with this hash, and probe for leakage."""
    rows, event_tables, _ = ingest(data)
    features = featurise(rows, event_tables)
    probe_for_leakage(rows, features, probe_feature_code(rows, event_tables), as_of)
