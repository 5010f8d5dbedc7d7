"""What workflows do beside the verbs: tell people on GitHub, and try what is newest."""
