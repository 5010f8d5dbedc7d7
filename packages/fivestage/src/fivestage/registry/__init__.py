"""Model versions in MLflow: runs, aliases, lineage."""
