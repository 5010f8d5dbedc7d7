"""How large the deployment is: from the contract's objectives and what the service was measured to do."""
