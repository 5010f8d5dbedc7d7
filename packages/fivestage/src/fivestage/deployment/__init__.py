"""Deployment to a local process, Docker or Kubernetes: smoke tests, canary, rollback, batch scoring."""
