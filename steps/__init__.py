"""ZenML steps, from which the pipelines are built: thin wrappers around the library's functions."""
