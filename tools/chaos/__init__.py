"""Fault injection on a real cluster: `make chaos`."""
