"""Stage 5: monitoring and maintenance."""
