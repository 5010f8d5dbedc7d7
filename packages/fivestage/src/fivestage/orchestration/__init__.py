"""What ZenML needs to know of a project: stores, caching, materializers."""
