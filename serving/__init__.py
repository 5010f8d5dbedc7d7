"""Stage 4: the artifact, the engine that runs it, and the service around it. No pandas, ZenML or MLflow here."""
