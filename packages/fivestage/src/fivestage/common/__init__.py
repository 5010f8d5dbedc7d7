"""Building blocks for all other packages: errors, files, settings, columns and time."""
