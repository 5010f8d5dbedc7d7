"""What workflows do beside the commands: tell people on GitHub, and try the newest libraries."""
