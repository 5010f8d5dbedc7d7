"""Stage 4: bringing a version into service."""
