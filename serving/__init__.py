"""Stage 4: the service, and the image that it runs in."""
