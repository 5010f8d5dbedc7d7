"""The command line: what every project's run.py offers, and what its commands share."""
