"""Tasks that only workflows run: keep people informed by an issue on GitHub."""
