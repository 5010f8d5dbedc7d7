"""The model artifact, a folder of data with checksums, and the inference engine that loads it."""
