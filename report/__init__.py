"""The page, the model card and the table that a run leaves for a person."""
