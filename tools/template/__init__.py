"""Tools for the template itself; copier leaves this folder out of generated projects."""
