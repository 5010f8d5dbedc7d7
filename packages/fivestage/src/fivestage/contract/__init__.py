"""The typed model of problem.yaml, the three tasks, and what decisions cost."""
