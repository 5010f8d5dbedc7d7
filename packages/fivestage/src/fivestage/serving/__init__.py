"""The HTTP service around an artifact; imports no pandas, ZenML or MLflow."""
