"""Answers questions about a project from its own pages and the records of its runs, with citations."""
