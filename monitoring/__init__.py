"""The fifth stage: how well the service does, what moved, and when to train again."""
