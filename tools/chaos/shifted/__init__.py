"""A model that is shifted on purpose."""
