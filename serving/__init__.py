"""Stage 4: the artifact, the engine that runs it, and the service around it; no pandas, ZenML or MLflow."""
