"""From raw tables to validated ones, and to features."""
