"""Point-in-time features: one implementation for a table and for one row."""
