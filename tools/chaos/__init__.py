"""What goes wrong on clusters, tried on a real one: `make chaos`."""
