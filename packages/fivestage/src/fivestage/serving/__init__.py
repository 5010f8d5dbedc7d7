"""The HTTP service that serves an artifact; it imports no pandas, ZenML or MLflow."""
