"""The page, the model card and the notices that a run leaves for a person."""
