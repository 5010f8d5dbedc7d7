"""Tasks that only workflows run: notify people on GitHub, and test the newest libraries."""
