"""Stage 4: the prediction service and its container image."""
