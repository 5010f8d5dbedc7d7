"""What every other package needs: errors, files, settings, columns and time."""
