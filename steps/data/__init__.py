"""Stage 2: data pipelines."""
