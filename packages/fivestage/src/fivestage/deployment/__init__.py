"""A local process, Docker and Kubernetes: smoke tests, canary, rollback, batch scoring."""
