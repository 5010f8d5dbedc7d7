"""Reading tables, validation with quarantine, temporal splits, tables in partitions."""
