"""Point-in-time features: one implementation for whole tables and for single rows."""
