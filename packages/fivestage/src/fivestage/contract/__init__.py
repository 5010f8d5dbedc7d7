"""The typed model of problem.yaml, the three tasks, and the cost models."""
