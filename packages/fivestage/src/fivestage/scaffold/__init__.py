"""From a table to `problem/`: what `make init` inspects, plans and writes."""
