"""From a table to a problem: what `make init` inspects, plans and writes."""
