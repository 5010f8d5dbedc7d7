"""Metrics with block-bootstrap intervals, gates, and champion/challenger evaluation."""
