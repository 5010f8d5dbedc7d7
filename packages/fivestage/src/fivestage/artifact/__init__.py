"""What travels from training to serving: a folder of data with checksums, and the engine that runs it."""
