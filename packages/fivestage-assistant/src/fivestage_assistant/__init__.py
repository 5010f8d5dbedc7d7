"""Answers questions about a project from its pages and the records of its runs, with citations."""
