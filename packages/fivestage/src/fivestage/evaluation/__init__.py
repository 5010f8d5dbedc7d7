"""Metrics with block-bootstrap intervals, gates, champion against challenger."""
