"""Stage 3: model choice and its justification."""
