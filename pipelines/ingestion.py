"""Stages 1 and 2: from raw tables to features without data leakage."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from steps.data import featurise, ingest, probe, probe_features
from steps.report import report_data


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def ingestion(data: str, as_of: str) -> None:
    """Clean, validate and featurise the data with this hash, probe for leakage, and save the report."""
    rows, event_tables, ingested = ingest(data)
    features = featurise(rows, event_tables)
    probes = probe(rows, features, probe_features(rows, event_tables), as_of)
    report_data(rows, event_tables, ingested, probes, as_of)
