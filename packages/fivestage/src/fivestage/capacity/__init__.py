"""Size the deployment, from the contract's objectives and the measured capacity of the service."""
