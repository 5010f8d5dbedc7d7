"""ZenML pipelines, by stage: they only connect steps."""
